//! The lab's attacks on a copy, on other people's formats: each target is only what opens, reads and
//! verifies it, and what comes out of that decides. The plain target is the control of all of them.

mod attacks;
mod logs;
mod opaque;
mod ours;
mod plain;
mod sqlcipher;

use std::path::PathBuf;

use serde::Serialize;

use super::attack::past::{Layout, PLAIN_JOURNAL, PLAIN_LOG};
use super::{Evidence, PAGE, Tally, Verdict};

pub use attacks::compare;
pub use logs::{Beside, Left};
pub(super) use opaque::plain_rows;
pub use opaque::{Opaque, look_at};
pub use ours::{OURS, Ours};
pub use plain::Plain;
pub use sqlcipher::SqlCipher;

/// A database of somebody's format, with its key. Errors are texts: what it says is shown, not understood.
pub trait Target {
    /// Its name.
    fn name(&self) -> String;

    /// What opens it, and the version of that.
    fn version(&self) -> String;

    /// Its file.
    fn file(&self) -> PathBuf;

    /// Length of what comes before its first page, in bytes.
    fn header_len(&self) -> usize {
        0
    }

    /// How its write-ahead log is laid out. By default as SQLite's own, of pages of 4 KiB.
    fn log_layout(&self) -> Layout {
        PLAIN_LOG.of_pages(PAGE)
    }

    /// How its rollback journal is laid out. By default as SQLite's own, of pages of 4 KiB.
    fn journal_layout(&self) -> Layout {
        PLAIN_JOURNAL.of_pages(PAGE)
    }

    /// Runs statements on it, with its key, and closes it.
    fn exec(&self, sql: &str) -> Result<(), String>;

    /// Makes these changes to it, with its key, and tells what a process that is killed then leaves: with a log
    /// after them, each a transaction; with a journal in the midst of one of all of them. What lies there afterwards
    /// is not said.
    fn left(&self, changes: &[&str], what: Beside) -> Result<Left, String>;

    /// All rows of the table `t` (`id`, `memo`), with its key, as one text.
    fn read(&self) -> Result<String, String>;

    /// The same with a wrong key, or without one.
    fn read_without(&self, key: NoKey) -> Result<String, String>;

    /// Every check of itself that it offers, with its key.
    fn verify(&self) -> Result<(), String>;

    /// Says that the file was put there on purpose, where somebody remembers which is the newest.
    fn accept(&self) -> Result<(), String> {
        Ok(())
    }

    /// Sets whoever remembers which is the newest to what lies there now, as if nothing had been seen after it.
    /// No owner can do this: it takes an attack back, before the next one.
    fn remember(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What somebody without the key tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// Opens it as a plain database.
    None,
    /// Opens it with another key.
    Wrong,
}

/// What came out of one attack on one target.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The target.
    pub target: String,
    /// What came out, with the plain target as control.
    pub verdict: Verdict,
    /// Counts.
    pub tally: Tally,
    /// What was seen, in a sentence.
    pub seen: String,
}

/// One attack on all targets.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedAttack {
    /// The attack's number in the threat model.
    pub number: u8,
    /// What the thief does.
    pub what: &'static str,
    /// What came out, target by target.
    pub results: Vec<Compared>,
}

/// The query of [`Target::read`].
const ALL_ROWS: &str =
    "SELECT group_concat(id || '|' || memo, ';') FROM (SELECT id, memo FROM t ORDER BY id)";

/// A verdict, as the table gives it, from the target's evidence and the plain one's.
fn compared(target: &dyn Target, evidence: Evidence) -> Compared {
    Compared {
        target: target.name(),
        verdict: evidence.verdict(),
        tally: evidence.tally,
        seen: evidence.summary,
    }
}
