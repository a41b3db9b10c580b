//! The landscape's clock. It stands still until it is moved, so that hours and days pass at once; or it
//! runs with the machine's, ahead of it by as much as it was moved.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::base::{Clock, SystemClock};
use crate::world::WorldError;

use super::store::{Store, Tx, malformed};

/// The setting that holds what it shows while it stands still.
pub(super) const CLOCK: &str = "clock";
/// The setting that holds, in seconds, how far it is ahead of the machine's while it runs.
pub(super) const AHEAD: &str = "clock-ahead";

/// The clock of a working directory: the landscape's where there is one, else the machine's. What
/// another process does to it counts at once.
pub struct WorldClock {
    dir: PathBuf,
    store: Mutex<Option<Store>>,
}

impl WorldClock {
    /// That of the working directory `dir`.
    pub fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            store: Mutex::new(None),
        }
    }

    fn shown(&self) -> Result<Option<Timestamp>, WorldError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if store.is_none() {
            *store = Store::open(&self.dir)?;
        }
        match &*store {
            None => Ok(None),
            Some(store) => store.read(now).map(Some),
        }
    }
}

impl Clock for WorldClock {
    /// The machine's time when the landscape's file cannot be read: whoever uses it next is told why.
    fn now(&self) -> Timestamp {
        let shown = self.shown().ok().flatten();
        shown.unwrap_or_else(|| SystemClock.now())
    }
}

/// The latest time that it shows: what is due later than that is in the calendar still.
pub(super) fn latest() -> Timestamp {
    "9000-01-01T00:00:00Z".parse().expect("a time")
}

/// The time `by` after `at`, or the calendar's last.
pub(super) fn after(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What it shows.
pub(super) fn now(tx: &Tx<'_>) -> Result<Timestamp, WorldError> {
    let bad = || malformed(Path::new(super::LANDSCAPE), "its clock shows no time");
    let shown = shown(tx, bad)?;
    match shown <= latest() {
        true => Ok(shown),
        false => Err(bad()),
    }
}

fn shown(tx: &Tx<'_>, bad: impl Fn() -> WorldError) -> Result<Timestamp, WorldError> {
    if let Some(ahead) = tx.setting(AHEAD)? {
        let ahead = ahead.parse().map_err(|_| bad())?;
        let now = SystemClock
            .now()
            .checked_add(SignedDuration::from_secs(ahead));
        return now.map_err(|_| bad());
    }
    tx.time(CLOCK)?.ok_or_else(bad)
}

/// Sets it. It never goes back.
pub(super) fn set(tx: &Tx<'_>, to: Timestamp) -> Result<(), WorldError> {
    match tx.setting(AHEAD)? {
        None => tx.set(CLOCK, &to.to_string()),
        Some(_) => tx.set(AHEAD, &ahead_of_machine(to).to_string()),
    }
}

/// By how many seconds the clock has to be ahead of the machine's to show `at`, or up to a second more: never less,
/// since it never goes back.
fn ahead_of_machine(at: Timestamp) -> i64 {
    let by = at.duration_since(SystemClock.now());
    by.as_secs() + i64::from(by.subsec_nanos() > 0)
}

/// Lets it run with the machine's clock from where it stands, or stand still where it is.
pub(super) fn run(tx: &Tx<'_>, real_time: bool) -> Result<(), WorldError> {
    let at = now(tx)?;
    match real_time {
        true => tx.set(AHEAD, &ahead_of_machine(at).to_string()),
        false => {
            tx.unset(AHEAD)?;
            tx.set(CLOCK, &at.to_string())
        }
    }
}
