use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Work that whoever does it does for all who asked before he began, such as the sync of a directory.
///
/// The system tells of a failed write once, and perhaps not to who opens the directory later. So nobody relies on
/// work that came after a failure in his time.
#[derive(Default)]
pub(super) struct Rounds {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the round that began last.
    begun: u64,
    /// Of the last one that succeeded.
    done: u64,
    is_running: bool,
    /// How many failed, and with what the last of them did.
    failed: (u64, Option<io::ErrorKind>),
}

/// Since when somebody relies on the rounds.
pub(super) struct Since {
    failed: u64,
}

impl Rounds {
    /// Taken before that is done which a round shall make durable.
    pub(super) fn since(&self) -> Since {
        let failed = self.lock().failed.0;
        Since { failed }
    }

    /// Whether one ever failed.
    pub(super) fn have_failed(&self) -> bool {
        self.lock().failed.0 > 0
    }

    /// Returns when `work` was done by somebody who began it after this was called.
    ///
    /// # Errors
    /// What `work` says here, or said to anybody since `since`.
    pub(super) fn join(&self, since: &Since, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        let mine = state.begun + 1;
        loop {
            if let (failed, Some(kind)) = state.failed
                && failed != since.failed
            {
                return Err(kind.into());
            }
            if state.done >= mine {
                return Ok(());
            }
            if state.is_running {
                let waited = self.ended.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let round = state.begun;
            drop(state);
            let done = work();
            state = self.lock();
            state.is_running = false;
            self.ended.notify_all();
            match done {
                Ok(()) => state.done = round,
                Err(e) => {
                    state.failed = (state.failed.0 + 1, Some(e.kind()));
                    return Err(e);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No holder of the lock can panic: `work` runs without it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn nobody_relies_on_work_that_began_before_he_asked() {
        let rounds = Rounds::default();
        let (begun, wait_for_begin) = channel();
        let (go_on, wait) = channel::<()>();
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            let wait = Mutex::new(wait);
            let (rounds, count) = (&rounds, &count);
            scope.spawn(move || {
                rounds.join(&rounds.since(), || {
                    begun.send(()).unwrap();
                    wait.lock().unwrap().recv().unwrap();
                    Ok(())
                })
            });
            wait_for_begin.recv().unwrap();
            let late: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(move || {
                        rounds.join(&rounds.since(), || {
                            count.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                    })
                })
                .collect();
            assert_eq!(count.load(Ordering::SeqCst), 0);
            go_on.send(()).unwrap();
            for one in late {
                one.join().unwrap().unwrap();
            }
        });
        assert!((1..=8).contains(&count.load(Ordering::SeqCst)));
    }

    #[test]
    fn work_that_failed_is_reported_to_everybody_who_relied_on_it() {
        let rounds = Rounds::default();
        let failures: usize = thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let failed = || Err(io::ErrorKind::StorageFull.into());
                        rounds.join(&rounds.since(), failed)
                    })
                })
                .collect();
            let ended = all.into_iter().map(|one| one.join().unwrap());
            ended.filter(Result::is_err).count()
        });
        assert_eq!(failures, 8);
        rounds.join(&rounds.since(), || Ok(())).unwrap();
    }

    #[test]
    fn nobody_relies_on_work_that_succeeds_after_a_failure_since_he_began() {
        let rounds = Rounds::default();
        let before = rounds.since();
        let full = || Err(io::ErrorKind::StorageFull.into());
        rounds.join(&rounds.since(), full).unwrap_err();
        let after = rounds.since();
        rounds.join(&after, || Ok(())).unwrap();
        let error = rounds.join(&before, || Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
