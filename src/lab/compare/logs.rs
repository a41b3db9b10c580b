//! What lies beside a database's file when its process is killed: a write-ahead log, or the rollback journal of
//! a transaction under way.

use std::fs;
use std::path::Path;

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;

use super::Target;
use super::attacks::{CANARY, judge, put, told};
use crate::base::beside;
use crate::lab::attack::past::alterations;
use crate::lab::{CanarySet, Evidence, LabError, Searcher, scan_copy};

/// How many of the alterations within a log or journal are tried.
const ALTERED: usize = 24;

/// What makes a connection write a log, and not write it back.
const IN_WAL_MODE: [&str; 2] = [
    "PRAGMA journal_mode = wal;",
    "PRAGMA wal_autocheckpoint = 0;",
];

/// What has a transaction write to the file before it ends: so few pages fit into memory.
const IN_JOURNAL_MODE: [&str; 2] = ["PRAGMA journal_mode = delete;", "PRAGMA cache_size = 2;"];

/// What a killed process leaves beside a database's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A write-ahead log.
    Log,
    /// A rollback journal.
    Journal,
}

impl Beside {
    fn ending(self) -> &'static str {
        match self {
            Self::Log => "-wal",
            Self::Journal => "-journal",
        }
    }

    /// The statements after which a process that is killed leaves it, each a line.
    pub(super) fn statements<'a>(self, changes: &[&'a str]) -> Vec<&'a str> {
        match self {
            Self::Log => [&IN_WAL_MODE[..], changes].concat(),
            Self::Journal => [&IN_JOURNAL_MODE[..], &["BEGIN;"], changes].concat(),
        }
    }
}

/// A database's file and what lies beside it, as a killed process leaves them.
pub struct Left {
    file: Vec<u8>,
    beside: Vec<u8>,
}

impl Left {
    /// What lies there now.
    pub(super) fn of(file: &Path, what: Beside) -> Result<Self, String> {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        Ok(Self {
            file: read(file)?,
            beside: read(&beside(file, what.ending()))?,
        })
    }

    /// What lies there after these changes, while `connection` is open.
    pub(super) fn by(
        file: &Path,
        connection: &Connection,
        changes: &[&str],
        what: Beside,
    ) -> Result<Self, String> {
        for statement in what.statements(changes) {
            let done = connection.execute_batch(statement);
            done.map_err(|e| e.to_string())?;
        }
        Self::of(file, what)
    }
}

/// A database that two processes left with a log or a journal each, one after the other.
pub(super) struct LeftStates {
    what: Beside,
    /// As the first left it; later its log was written back, or its transaction undone.
    old: Left,
    /// What somebody committed before the second began; nothing lies beside it.
    between: Vec<u8>,
    live: Left,
    /// What reading the live state gives.
    truth: String,
}

impl LeftStates {
    /// From the state that lies there, which is the newest that anybody remembers.
    pub(super) fn of(target: &dyn Target, what: Beside) -> Result<Self, LabError> {
        let failed = |e: String| LabError::Report(format!("{}: {e}", target.name()));
        let change = |i: usize| match what {
            Beside::Log => format!("UPDATE t SET memo = 'D' || memo WHERE id / 40 IN ({i}, 9);"),
            Beside::Journal => format!("UPDATE t SET memo = '{i} ' || substr(memo, 3);"),
        };
        let changes: Vec<String> = (0..5).map(change).collect();
        let changes: Vec<&str> = changes.iter().map(String::as_str).collect();
        let old = target.left(&changes[..2], what).map_err(failed)?;
        newest(target, &old, what)?;
        // It finds what was left, and deals with it.
        target.exec(changes[2]).map_err(failed)?;
        let between = fs::read(target.file()).map_err(|e| LabError::io(&target.file(), e))?;
        let live = target.left(&changes[3..], what).map_err(failed)?;
        let read = |left: &Left| {
            newest(target, left, what)?;
            target.read().map_err(failed)
        };
        let (before, truth) = (read(&old)?, read(&live)?);
        if before == truth {
            return Err(failed(format!("its {} is not read", what.ending())));
        }
        // A transaction of which nothing reached the file needs no journal: altering that would prove nothing.
        if live.file == between && what == Beside::Journal {
            return Err(failed("its transaction did not reach the file".to_owned()));
        }
        Ok(Self {
            what,
            old,
            between,
            live,
            truth,
        })
    }
}

/// Puts a file and what lies beside it in place, as the newest that anybody remembers.
fn newest(target: &dyn Target, left: &Left, what: Beside) -> Result<(), LabError> {
    place(target, &left.file, Some((what, &left.beside)))?;
    let remembered = target.remember();
    remembered.map_err(|e| LabError::Report(format!("{}: {e}", target.name())))?;
    // Whoever looked at them may have dealt with what lay there.
    place(target, &left.file, Some((what, &left.beside)))
}

/// Puts a file in place, and this beside it. A log's index goes away, as it does with a machine that stops.
pub(super) fn place(
    target: &dyn Target,
    file: &[u8],
    left: Option<(Beside, &[u8])>,
) -> Result<(), LabError> {
    put(target, file)?;
    let file = target.file();
    for gone in ["-wal", "-shm", "-journal"].map(|ending| beside(&file, ending)) {
        match fs::remove_file(&gone) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::io(&gone, e));
            }
            _ => {}
        }
    }
    match left {
        Some((what, bytes)) => {
            let path = beside(&file, what.ending());
            fs::write(&path, bytes).map_err(|e| LabError::io(&path, e))
        }
        None => Ok(()),
    }
}

/// Reads and verifies, as the owner, a file beside which lies something else than was left there.
fn trial(
    target: &dyn Target,
    states: &LeftStates,
    (file, beside): (&[u8], Option<&[u8]>),
    evidence: &mut Evidence,
) -> Result<(), LabError> {
    newest(target, &states.live, states.what)?;
    place(target, file, beside.map(|bytes| (states.what, bytes)))?;
    judge(target, &states.truth, evidence);
    Ok(())
}

pub(super) fn search(target: &dyn Target, states: &LeftStates) -> Result<Evidence, LabError> {
    let live = &states.live;
    place(target, &live.file, Some((states.what, &live.beside)))?;
    let mut canaries = CanarySet::default();
    canaries.plant([CANARY]);
    let path = beside(&target.file(), states.what.ending());
    let figures = scan_copy(&path, &Searcher::new(&canaries)?, &|_| ())?;
    let mut evidence = Evidence::of(format!("{} found", figures.canary_hits));
    evidence.tally.trials = 1;
    evidence.tally.succeeded = u64::from(figures.canary_hits > 0);
    Ok(evidence)
}

/// The old file, with what lay beside it.
pub(super) fn old_file(target: &dyn Target, states: &LeftStates) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    let both = (&states.old.file[..], Some(&states.old.beside[..]));
    trial(target, states, both, &mut evidence)?;
    Ok(told(evidence))
}

/// The newer file, at rest and not, with what lay beside the old one.
pub(super) fn old_beside(target: &dyn Target, states: &LeftStates) -> Result<Evidence, LabError> {
    let (mut evidence, old) = (Evidence::default(), &states.old.beside);
    trial(
        target,
        states,
        (&states.live.file, Some(old)),
        &mut evidence,
    )?;
    // At rest the file alone is the newest state; not so where a log is to lie beside it.
    if states.what == Beside::Journal {
        place(target, &states.between, None)?;
        let remembered = target.remember();
        remembered.map_err(|e| LabError::Report(format!("{}: {e}", target.name())))?;
        place(target, &states.between, Some((states.what, old)))?;
        judge(target, &states.truth, &mut evidence);
    }
    Ok(told(evidence))
}

pub(super) fn alter(
    target: &dyn Target,
    states: &LeftStates,
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let (live, mut evidence) = (&states.live, Evidence::default());
    let layout = match states.what {
        Beside::Log => target.log_layout(),
        Beside::Journal => target.journal_layout(),
    };
    let all = alterations(&live.beside, layout);
    // All of it as a whole, and some of what is done within it.
    let (whole, within) = all.split_at(4);
    let some = within.sample(rng, ALTERED);
    for (_, altered) in whole.iter().chain(some) {
        trial(
            target,
            states,
            (&live.file, altered.as_deref()),
            &mut evidence,
        )?;
    }
    Ok(told(evidence))
}
