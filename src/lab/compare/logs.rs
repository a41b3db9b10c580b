use std::fs;
use std::path::Path;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;

use super::Target;
use super::attacks::{CANARY, States, judge, put, told};
use crate::base::beside;
use crate::lab::attack::past::alterations;
use crate::lab::{CanarySet, Evidence, LabError, PAGE, Searcher, scan_copy};

/// How many of the alterations within a log are tried.
const ALTERED: usize = 24;

/// What makes a connection write a log, and not write it back.
pub(super) const IN_WAL_MODE: [&str; 2] = [
    "PRAGMA journal_mode = wal;",
    "PRAGMA wal_autocheckpoint = 0;",
];

/// A database's file and its write-ahead log, as a killed process leaves them.
pub struct Logged {
    file: Vec<u8>,
    log: Vec<u8>,
}

impl Logged {
    /// What lies there now.
    pub(super) fn of(file: &Path) -> Result<Self, String> {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        Ok(Self {
            file: read(file)?,
            log: read(&beside(file, "-wal"))?,
        })
    }

    /// What lies there after these statements, each a transaction of its own, while `connection` is open.
    pub(super) fn by(
        file: &Path,
        connection: &Connection,
        statements: &[&str],
    ) -> Result<Self, String> {
        for statement in IN_WAL_MODE.iter().chain(statements) {
            let done = connection.execute_batch(statement);
            done.map_err(|e| e.to_string())?;
        }
        Self::of(file)
    }
}

/// A database that two processes left with a log each, one after the other.
pub(super) struct LogStates {
    /// As the first left it; later its log was written back.
    old: Logged,
    live: Logged,
    /// What reading the live state gives.
    truth: String,
}

impl LogStates {
    /// From the state that lies there, which is the newest that anybody remembers.
    pub(super) fn of(target: &dyn Target) -> Result<Self, LabError> {
        let failed = |e: String| LabError::Report(format!("{}: {e}", target.name()));
        let change =
            |i: usize| format!("UPDATE t SET memo = 'D' || memo WHERE id / 40 IN ({i}, 9);");
        let changes: Vec<String> = (0..5).map(change).collect();
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let old = target.log(&changes[..2]).map_err(failed)?;
        newest(target, &old)?;
        // It finds the log, and writes it back when it ends.
        target.exec(changes[2]).map_err(failed)?;
        let live = target.log(&changes[3..]).map_err(failed)?;
        let read = |logged: &Logged| {
            newest(target, logged)?;
            target.read().map_err(failed)
        };
        let (before, truth) = (read(&old)?, read(&live)?);
        match before == truth {
            true => Err(failed("its log is not read".to_owned())),
            false => Ok(Self { old, live, truth }),
        }
    }
}

/// Puts a file and its log in place, as the newest that anybody remembers.
fn newest(target: &dyn Target, logged: &Logged) -> Result<(), LabError> {
    place(target, &logged.file, Some(&logged.log))?;
    let remembered = target.remember();
    remembered.map_err(|e| LabError::Report(format!("{}: {e}", target.name())))?;
    // Whoever looked at them may have written the log back.
    place(target, &logged.file, Some(&logged.log))
}

/// Puts a file and a log in place. The log's index goes away, as it does with a machine that stops.
pub(super) fn place(target: &dyn Target, file: &[u8], log: Option<&[u8]>) -> Result<(), LabError> {
    put(target, file)?;
    let file = target.file();
    let path = beside(&file, "-wal");
    for gone in [&path, &beside(&file, "-shm"), &beside(&file, "-journal")] {
        match fs::remove_file(gone) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::io(gone, e));
            }
            _ => {}
        }
    }
    match log {
        Some(bytes) => fs::write(&path, bytes).map_err(|e| LabError::io(&path, e)),
        None => Ok(()),
    }
}

/// Reads and verifies, as the owner, a file beside which lies another log than was left there.
fn trial(
    target: &dyn Target,
    states: &LogStates,
    (file, log): (&[u8], Option<&[u8]>),
    evidence: &mut Evidence,
) -> Result<(), LabError> {
    newest(target, &states.live)?;
    place(target, file, log)?;
    judge(target, &states.truth, evidence);
    Ok(())
}

pub(super) fn search(
    target: &dyn Target,
    states: &States,
    _: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let logs = &states.logs;
    place(target, &logs.live.file, Some(&logs.live.log))?;
    let mut canaries = CanarySet::default();
    canaries.plant([CANARY]);
    let log = beside(&target.file(), "-wal");
    let figures = scan_copy(&log, &Searcher::new(&canaries)?, &|_| ())?;
    let mut evidence = Evidence::of(format!("{} found", figures.canary_hits));
    evidence.tally.trials = 1;
    evidence.tally.succeeded = u64::from(figures.canary_hits > 0);
    Ok(evidence)
}

pub(super) fn old_file(
    target: &dyn Target,
    states: &States,
    _: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let (logs, mut evidence) = (&states.logs, Evidence::default());
    let both = (&logs.old.file[..], Some(&logs.old.log[..]));
    trial(target, logs, both, &mut evidence)?;
    Ok(told(evidence))
}

pub(super) fn old_log(
    target: &dyn Target,
    states: &States,
    _: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let (logs, mut evidence) = (&states.logs, Evidence::default());
    let mixed = (&logs.live.file[..], Some(&logs.old.log[..]));
    trial(target, logs, mixed, &mut evidence)?;
    Ok(told(evidence))
}

pub(super) fn alter(
    target: &dyn Target,
    states: &States,
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let (logs, mut evidence) = (&states.logs, Evidence::default());
    let all = alterations(&logs.live.log, target.log_layout(), PAGE);
    // The log as a whole, and some of what is done within it.
    let (whole, within) = all.split_at(4);
    let some = within.sample(rng, ALTERED);
    for (_, log) in whole.iter().chain(some) {
        let altered = (&logs.live.file[..], log.as_deref());
        trial(target, logs, altered, &mut evidence)?;
    }
    Ok(told(evidence))
}
