//! Where the time of one operation goes. The paths that cost say what they are doing ([`within`]); while
//! nobody records on this thread that is one look at a thread-local flag. It measures a thread from
//! outside in: the time of a part is without the parts inside it, so that all of them add up.

use std::cell::{Cell, RefCell};
use std::fmt::Write;
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
    /// Who asks, by his token, and whether he may.
    Right,
    /// What is computed with a vault's key: wrapping, unwrapping, signing.
    Wrap,
    /// Making an audit record and putting it into its table, SQLite's work for that included.
    Audit,
    /// Reading and writing files, locks, lengths.
    System,
    /// Waiting until the disk has it.
    Sync,
    /// Waiting for another thread of the same operation, or on the way to one.
    Wait,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Rest,
        Self::Sqlite,
        Self::SealedFile,
        Self::Aead,
        Self::Derive,
        Self::Right,
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

impl Recorded {
    const NOTHING: Self = Self {
        times: [Duration::ZERO; Part::ALL.len()],
        counts: [0; Part::ALL.len()],
    };

    /// Adds what was recorded of another operation.
    pub fn add(&mut self, other: &Self) {
        for (time, more) in self.times.iter_mut().zip(&other.times) {
            *time += *more;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// As the value of a `Server-Timing` field (W3C, Server Timing): of each part its name, milliseconds, and how
    /// often it began.
    pub fn to_server_timing(&self) -> String {
        let mut text = String::new();
        for part in Part::ALL {
            let (time, count) = (self.times[part as usize], self.counts[part as usize]);
            let comma = if text.is_empty() { "" } else { ", " };
            let ms = time.as_nanos() as f64 / 1e6;
            write!(text, "{comma}{part:?};dur={ms:.6};desc={count}").expect("memory");
        }
        text
    }

    /// What [`to_server_timing`](Self::to_server_timing) wrote; `None` when it is not that.
    pub fn from_server_timing(text: &str) -> Option<Self> {
        let mut read = Self::NOTHING;
        let mut metrics = text.split(", ");
        for part in Part::ALL {
            let (name, numbers) = metrics.next()?.split_once(";dur=")?;
            let (ms, count) = numbers.split_once(";desc=")?;
            if name != format!("{part:?}") {
                return None;
            }
            let ms: f64 = ms.parse().ok()?;
            read.times[part as usize] = Duration::try_from_secs_f64(ms / 1e3).ok()?;
            read.counts[part as usize] = count.parse().ok()?;
        }
        metrics.next().is_none().then_some(read)
    }
}

struct Recording {
    so_far: Recorded,
    now: Part,
    since: Instant,
}

impl Recording {
    /// From now on it is `part`; what it was.
    fn turn(&mut self, part: Part) -> Part {
        let now = Instant::now();
        self.so_far.times[self.now as usize] += now - self.since;
        self.since = now;
        std::mem::replace(&mut self.now, part)
    }
}

/// A recording of an operation that goes on in another thread, or later in this one: until then it waits.
pub struct Moving(Recording);

impl Moving {
    /// One that begins now.
    pub fn begin() -> Self {
        Self(Recording {
            so_far: Recorded::NOTHING,
            now: Part::Rest,
            since: Instant::now(),
        })
    }

    /// Goes on in this thread, with what says nothing of itself.
    pub fn go_on(mut self) {
        self.0.turn(Part::Rest);
        RECORDING.set(Some(self.0));
        ON.set(true);
    }

    /// Ends it, and the waiting.
    pub fn end(mut self) -> Recorded {
        self.0.turn(Part::Rest);
        self.0.so_far
    }
}

/// Takes the recording of this thread away; `None` when there is none.
pub fn leave() -> Option<Moving> {
    if !ON.get() {
        return None;
    }
    ON.set(false);
    let mut recording = RECORDING.take()?;
    recording.turn(Part::Wait);
    recording.so_far.counts[Part::Wait as usize] += 1;
    Some(Moving(recording))
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
        recording.so_far.counts[part as usize] += u64::from(begins);
        recording.turn(part)
    })
}

/// Records what this thread does in `work`. Other threads are not seen, and recordings do not nest.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Recorded) {
    Moving::begin().go_on();
    let done = work();
    ON.set(false);
    let recording = RECORDING.take();
    let recorded = recording.map_or(Recorded::NOTHING, |recording| Moving(recording).end());
    (done, recorded)
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

    #[test]
    fn what_moves_between_threads_waits_on_the_way_and_loses_nothing() {
        let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
        let begun = Instant::now();
        Moving::begin().go_on();
        let moving = within(Part::Right, || {
            pause(3);
            leave()
        });
        // The part that it was left in ended with it, and this thread does something else.
        within(Part::Aead, || pause(1));
        assert!(leave().is_none());
        pause(5);
        let there = std::thread::spawn(move || {
            moving.unwrap().go_on();
            within(Part::Wrap, || pause(7));
            leave()
        });
        let moving = there.join().unwrap().unwrap();
        pause(2);
        let recorded = moving.end();
        let whole = begun.elapsed();
        let of = |part: Part| recorded.times[part as usize];
        assert!(of(Part::Right) >= Duration::from_millis(3));
        assert!(of(Part::Wait) >= Duration::from_millis(1 + 5 + 2));
        assert!(of(Part::Wrap) >= Duration::from_millis(7));
        assert_eq!(of(Part::Aead), Duration::ZERO);
        let count = |part: Part| recorded.counts[part as usize];
        assert_eq!([Part::Wait, Part::Wrap, Part::Aead].map(count), [2, 1, 0]);
        let sum: Duration = recorded.times.iter().sum();
        assert!(
            sum <= whole && sum >= Duration::from_millis(18),
            "{sum:?} of {whole:?}"
        );

        let text = recorded.to_server_timing();
        let read = Recorded::from_server_timing(&text).unwrap();
        assert_eq!(read.counts, recorded.counts);
        for (read, was) in read.times.iter().zip(&recorded.times) {
            assert!(read.abs_diff(*was) <= Duration::from_nanos(2), "{text}");
        }
        for bad in [
            "",
            "Rest;dur=1;desc=1",
            &format!("{text}, More;dur=1;desc=1"),
        ] {
            assert!(Recorded::from_server_timing(bad).is_none(), "{bad}");
        }
    }
}
