//! Whether a key may be used, for many threads that ask at once and one that changes it: read without a lock and
//! without a write to memory that others read (a sequence lock: Boehm, "Can seqlocks get along with programming
//! language memory models?", MSPC 2012).

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The generation of the key, the vault's revision when it allowed it, and the time before it was asked.
type Allowed = (u64, u64, u64);

/// The vault's last answer; nothing is allowed before there is one.
#[derive(Default)]
pub(super) struct Standing {
    /// Odd while it is being changed.
    turn: AtomicU64,
    is_allowed: AtomicU64,
    generation: AtomicU64,
    revision: AtomicU64,
    asked: AtomicU64,
}

impl Standing {
    /// What was set last; `None` when the key may not be used.
    #[inline]
    pub(super) fn get(&self) -> Option<Allowed> {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let is_allowed = self.is_allowed.load(Ordering::Relaxed);
            let generation = self.generation.load(Ordering::Relaxed);
            let revision = self.revision.load(Ordering::Relaxed);
            let asked = self.asked.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if turn.is_multiple_of(2) && self.turn.load(Ordering::Relaxed) == turn {
                return (is_allowed != 0).then_some((generation, revision, asked));
            }
            spin_loop();
        }
    }

    /// Sets it. One thread at a time: who calls it has the lease's lock.
    pub(super) fn set(&self, allowed: Option<Allowed>) {
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.is_allowed
            .store(allowed.is_some().into(), Ordering::Relaxed);
        if let Some((generation, revision, asked)) = allowed {
            self.generation.store(generation, Ordering::Relaxed);
            self.revision.store(revision, Ordering::Relaxed);
            self.asked.store(asked, Ordering::Relaxed);
        }
        self.turn.store(turn + 2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_never_read_half_of_one_and_half_of_the_next() {
        const LAST: u64 = 20_000;
        let standing = Standing::default();
        assert_eq!(standing.get(), None);
        let nth = |n: u64| (n, n * 3, n * 7);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=LAST {
                    // Now and then it is not allowed.
                    standing.set((n % 5 != 0).then(|| nth(n)));
                }
                standing.set(Some(nth(LAST)));
            });
            scope.spawn(|| {
                let mut before = 0;
                while before < LAST {
                    if let Some(read) = standing.get() {
                        assert_eq!(read, nth(read.0));
                        assert!(before <= read.0, "it never goes back");
                        before = read.0;
                    }
                }
            });
        });
        standing.set(None);
        assert_eq!(standing.get(), None);
    }
}
