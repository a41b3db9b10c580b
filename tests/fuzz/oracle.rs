//! What a reader may make of a database's files, whatever is in them.

use std::path::Path;
use std::sync::Arc;

use atrest::crypto::Secret;
use atrest::sqlite::{KeySource, KeyUnavailable, Position, SealedDatabase, SealedError};
use rusqlite::{Connection, ErrorCode};

use crate::content::{Content, FORKED, MORE, STATES, limit};
use crate::corpus::Entry;
use crate::files::{FILE, dek};

/// What came of an input; targets count them, to see that all kinds of them come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The header was refused.
    NoDatabase,
    /// It was opened, and verifying or reading it was refused.
    Refused,
    /// A committed state was read, which the remembered position shows to be old.
    Old,
    /// A committed state was read, at least as new as the remembered one.
    New,
    /// It was written with the key: whatever it says is what it says.
    Forged,
}

/// Judges what the files of `entry`, placed at `path`, are taken for.
pub fn sealed(entry: &Entry, path: &Path) -> Result<Outcome, String> {
    entry.files.place(path);
    let judge = Judge {
        path,
        forged: entry.forged,
    };
    let slots = judge.allowed(SealedDatabase::key_slots(path), "the key slots")?;
    let Some(db) = judge.allowed(open_remembered(entry, path), "opening")? else {
        return Ok(Outcome::NoDatabase);
    };
    if slots.is_none() {
        return Err("opened without a key slot".to_owned());
    }
    let fresh = match &entry.remembered {
        Some((_, position)) => {
            let position = Position::from_bytes(position).ok_or("no position is remembered")?;
            judge
                .allowed(db.check_freshness(Some(&position)), "comparing")?
                .is_some()
        }
        None => false,
    };
    // The second time the last connection was closed: what it recovered is in the file by then.
    let look = || Ok::<_, String>((judge.verify(&db)?, judge.read(&db)?));
    let looks = [look()?, look()?];
    let newest = entry.remembered.as_ref().filter(|_| fresh);
    let oldest = newest.map(|(newest, _)| *newest);
    let state = match conclude(entry, oldest, &looks)? {
        Concluded::State(state) => state,
        Concluded::Outcome(outcome) => {
            if outcome == Outcome::Forged {
                let more = judge.on(&db, |conn| conn.execute_batch(MORE));
                judge.allowed(more, "a further commit")?;
            }
            return Ok(outcome);
        }
    };
    judge.goes_on(&db, state)?;
    Ok(if fresh { Outcome::New } else { Outcome::Old })
}

/// What follows from two looks.
pub enum Concluded {
    Outcome(Outcome),
    /// This state was read.
    State(usize),
}

/// Judges two looks at a file, each whether it verified and what was read; `oldest` is the oldest state that
/// it may hold when it passed for what is remembered of it.
pub fn conclude(
    entry: &Entry,
    oldest: Option<usize>,
    looks: &[(bool, Option<Content>); 2],
) -> Result<Concluded, String> {
    if entry.forged {
        return Ok(Concluded::Outcome(Outcome::Forged));
    }
    let reads = looks.iter().filter_map(|(_, read)| read.as_ref());
    if let Some(row) = reads.filter_map(Content::foreign).next() {
        return Err(format!("a row was read that nobody wrote: {row}"));
    }
    if let (Some(_), [(_, Some(read)), _]) = (oldest, looks)
        && *read == Content::default()
    {
        return Err("an empty database passes for one with tables".to_owned());
    }
    let [(true, Some(read)), again] = looks else {
        return Ok(Concluded::Outcome(Outcome::Refused));
    };
    let Some(state) = read.state() else {
        return Err(format!("verified, and read as no state: {read:?}"));
    };
    if *again != looks[0] {
        return Err(format!(
            "state {state} was read, and is gone when it is read again: {again:?}"
        ));
    }
    match oldest {
        Some(oldest) if !(oldest..FORKED).contains(&state) => Err(format!(
            "state {state} passes for state {oldest} or a newer one"
        )),
        _ => Ok(Concluded::State(state)),
    }
}

pub fn open(path: &Path) -> Result<SealedDatabase, SealedError> {
    SealedDatabase::open(path, FILE, Arc::new(dek()))
}

/// With what is remembered of it, which is asked before a journal is played back.
fn open_remembered(entry: &Entry, path: &Path) -> Result<SealedDatabase, SealedError> {
    let position = entry.remembered.as_ref().map(|(_, position)| position);
    let key = Remembering {
        key: dek(),
        version: position.and_then(Position::from_bytes).map(|p| p.version()),
    };
    SealedDatabase::open(path, FILE, Arc::new(key))
}

struct Remembering {
    key: Secret<32>,
    version: Option<u64>,
}

impl KeySource for Remembering {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        KeySource::check(&self.key)
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        KeySource::with_key(&self.key, use_key)
    }

    fn remembered(&self) -> Result<Option<u64>, KeyUnavailable> {
        Ok(self.version)
    }
}

struct Judge<'a> {
    path: &'a Path,
    forged: bool,
}

impl Judge<'_> {
    /// The result, or nothing when an error was given that such a file deserves.
    fn allowed<T>(&self, result: Result<T, SealedError>, doing: &str) -> Result<Option<T>, String> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        let named = error.to_string().contains(&self.path.display().to_string());
        let deserved = match &error {
            SealedError::Format { .. }
            | SealedError::Unauthentic { .. }
            | SealedError::Stale { .. } => true,
            SealedError::Sqlite { source, .. } => self.is_sqlites(source),
            _ => false,
        };
        match named && deserved {
            true => Ok(None),
            false => Err(format!("{doing}: {error:?}")),
        }
    }

    /// An error that SQLite itself may give of a file whose units are good, but say nonsense.
    fn is_sqlites(&self, error: &rusqlite::Error) -> bool {
        // Memory ends where a row claims a length, for which SQLite takes it.
        let never = [
            ErrorCode::OperationInterrupted,
            ErrorCode::ApiMisuse,
            ErrorCode::InternalMalfunction,
        ];
        match error {
            rusqlite::Error::SqliteFailure(e, _) => self.forged && !never.contains(&e.code),
            _ => self.forged,
        }
    }

    fn verify(&self, db: &SealedDatabase) -> Result<bool, String> {
        let verified = db.verify(&mut |_, _| ());
        Ok(self.allowed(verified, "verifying")?.is_some())
    }

    /// What is read; nothing at all where the tables are gone.
    fn read(&self, db: &SealedDatabase) -> Result<Option<Content>, String> {
        let read = match self.on(db, Content::read) {
            Err(e) if e.to_string().contains("no such table") => Ok(Content::default()),
            read => read,
        };
        self.allowed(read, "reading")
    }

    /// Works on a connection, which is closed then.
    fn on<T>(
        &self,
        db: &SealedDatabase,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, SealedError> {
        let mut conn = db.connect()?;
        let done = limit(&mut conn).and_then(|()| work(&conn));
        done.map_err(|e| db.explain(e))
    }

    /// What was verified can be written again, and holds the commit.
    fn goes_on(&self, db: &SealedDatabase, state: usize) -> Result<(), String> {
        let wrote = self.on(db, |conn| {
            conn.execute_batch(MORE)?;
            Content::read(conn)
        });
        let wrote = wrote.map_err(|e| format!("state {state}, a further commit: {e:?}"))?;
        let (last, before) = wrote.rows.split_last().ok_or("a further commit is lost")?;
        if before != STATES[state] || !last.contains("version 99") || !wrote.agrees() {
            return Err(format!(
                "state {state}, and after a further commit {wrote:?}"
            ));
        }
        match self.verify(db)? {
            true => Ok(()),
            false => Err(format!(
                "state {state}, and after a further commit it does not verify"
            )),
        }
    }
}
