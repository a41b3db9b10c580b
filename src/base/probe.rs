//! Where the time of one operation goes. The paths that cost say what they are doing ([`within`]); while
//! nobody records on this thread that is one look at a thread-local flag. It measures a thread from
//! outside in: the time of a part is without the parts inside it, so that all of them add up.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything that says nothing of itself.
    Rest,
    /// SQLite's own work: statements, trees, its page cache.
    Sqlite,
    /// Sealed files: which page is where, journals, logs, freshness.
    SealedFile,
    /// AES-256-GCM.
    Aead,
    /// Deriving and expanding keys.
    Derive,
    /// Wrapping and unwrapping by a vault's key.
    Wrap,
    /// Making an audit record and putting it into its table, SQLite's work for that included.
    Audit,
    /// Reading and writing files, locks, lengths.
    System,
    /// Waiting until the disk has it.
    Sync,
    /// Waiting for another thread of the same operation.
    Wait,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rest,
        Self::Sqlite,
        Self::SealedFile,
        Self::Aead,
        Self::Derive,
        Self::Wrap,
        Self::Audit,
        Self::System,
        Self::Sync,
        Self::Wait,
    ];
}

/// What was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Of each part, in the order of [`Part::ALL`], without the parts inside it.
    pub times: [Duration; Part::ALL.len()],
    /// How often each began.
    pub counts: [u64; Part::ALL.len()],
}

struct Recording {
    so_far: Recorded,
    now: Part,
    since: Instant,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Does `work`, which is a `part` of what this thread does.
#[inline]
pub fn within<T>(part: Part, work: impl FnOnce() -> T) -> T {
    if !ON.get() {
        return work();
    }
    let _span = Span(turn(part, true));
    work()
}

/// Ends a part, also when it panics.
struct Span(Part);

impl Drop for Span {
    fn drop(&mut self) {
        turn(self.0, false);
    }
}

/// From now on it is `part`; what it was.
fn turn(part: Part, begins: bool) -> Part {
    RECORDING.with_borrow_mut(|recording| {
        let Some(recording) = recording else {
            return part;
        };
        let now = Instant::now();
        recording.so_far.times[recording.now as usize] += now - recording.since;
        recording.so_far.counts[part as usize] += u64::from(begins);
        recording.since = now;
        std::mem::replace(&mut recording.now, part)
    })
}

/// Records what this thread does in `work`. Other threads are not seen, and recordings do not nest.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Recorded) {
    let nothing = Recorded {
        times: [Duration::ZERO; Part::ALL.len()],
        counts: [0; Part::ALL.len()],
    };
    RECORDING.set(Some(Recording {
        so_far: nothing,
        now: Part::Rest,
        since: Instant::now(),
    }));
    ON.set(true);
    let done = work();
    turn(Part::Rest, false);
    ON.set(false);
    let recorded = RECORDING.take();
    (done, recorded.map_or(nothing, |recording| recording.so_far))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_what_is_inside_counts_once() {
        let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
        let begun = Instant::now();
        let ((), recorded) = record(|| {
            within(Part::Sqlite, || {
                pause(5);
                within(Part::Aead, || pause(10));
                within(Part::Aead, || pause(1));
            });
            pause(1);
        });
        let whole = begun.elapsed();
        let sum: Duration = recorded.times.iter().sum();
        assert!(sum <= whole, "{sum:?} of {whole:?}");
        // Nothing is lost, inside a part or between two.
        assert!(sum >= Duration::from_millis(5 + 10 + 1 + 1), "{sum:?}");
        let of = |part: Part| recorded.times[part as usize];
        assert!(of(Part::Aead) >= Duration::from_millis(11));
        assert!(of(Part::Sqlite) >= Duration::from_millis(5));
        assert_eq!(recorded.counts[Part::Aead as usize], 2);
        assert_eq!(recorded.counts[Part::Wrap as usize], 0);
        // Nobody records any more.
        within(Part::Wrap, || ());
        assert_eq!(record(|| ()).1.counts, [0; Part::ALL.len()]);
    }
}
