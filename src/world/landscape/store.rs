//! The landscape's state: one SQLite file of the working directory (docs/format.md, "Landscape"). It is
//! what the provider's control plane knows, not data of the customer's, and holds no key: it is plain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

use crate::vault::revision;
use crate::world::WorldError;

use super::due::INDEXES;
use super::entities::Entity;
use super::events::Event;

/// The file's name in the working directory.
pub const LANDSCAPE: &str = "landscape.db";
/// SQLite's `application_id` of such a file: "atrL".
const APPLICATION: i64 = 0x6174_724c;
/// SQLite's `user_version` of it: the format version.
const VERSION: i64 = 1;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entity(kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
                    PRIMARY KEY(kind, name)) STRICT, WITHOUT ROWID;
CREATE TABLE event(seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
";

/// The open file.
pub struct Store {
    path: PathBuf,
    conn: Mutex<Connection>,
}

impl Store {
    /// Where it is in the working directory `dir`.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(LANDSCAPE)
    }

    /// Opens it; `None` when there is none.
    pub(in crate::world) fn open(dir: &Path) -> Result<Option<Self>, WorldError> {
        let path = Self::path(dir);
        match path.try_exists() {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(e) => return Err(WorldError::io(&path, e)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::over(path, flags)?;
        store.check()?;
        Ok(Some(store))
    }

    /// Makes it, or opens it when it is there.
    pub(super) fn create(dir: &Path, settings: &[(&str, &str)]) -> Result<Self, WorldError> {
        if let Some(store) = Self::open(dir)? {
            return Ok(store);
        }
        let path = Self::path(dir);
        // Made beside its place: half a landscape never lies there.
        let beside = path.with_extension("db.new");
        let _ = std::fs::remove_file(&beside);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let made = Self::over(beside.clone(), flags)?;
        made.run(|conn| {
            conn.execute_batch(SCHEMA)?;
            conn.execute_batch(INDEXES)?;
            for (name, value) in settings {
                conn.execute("INSERT INTO setting VALUES (?1, ?2)", (name, value))?;
            }
            conn.pragma_update(None, "application_id", APPLICATION)?;
            conn.pragma_update(None, "user_version", VERSION)?;
            conn.query_row("PRAGMA journal_mode = wal", (), |_| Ok(()))
        })?;
        drop(made);
        std::fs::rename(&beside, &path)
            .and_then(|()| crate::base::sync_names(&path))
            .map_err(|e| WorldError::io(&path, e))?;
        Self::open(dir)?.ok_or_else(|| malformed(&path, "it vanished"))
    }

    fn over(path: PathBuf, flags: OpenFlags) -> Result<Self, WorldError> {
        let open = || {
            let conn = Connection::open_with_flags(&path, flags)?;
            conn.busy_timeout(BUSY_TIMEOUT)?;
            conn.set_prepared_statement_cache_capacity(32);
            conn.pragma_update(None, "synchronous", "FULL")?;
            Ok(conn)
        };
        let conn = open().map_err(|e| failed(&path, e))?;
        Ok(Self {
            conn: Mutex::new(conn),
            path,
        })
    }

    fn check(&self) -> Result<(), WorldError> {
        let number =
            |pragma: &str| self.run(|conn| conn.query_row(pragma, (), |row| row.get::<_, i64>(0)));
        if number("PRAGMA application_id")? != APPLICATION {
            return Err(malformed(&self.path, "no landscape of atrest's"));
        }
        let version = number("PRAGMA user_version")?;
        match version {
            VERSION => self.run(|conn| conn.execute_batch(INDEXES)),
            newer if newer > VERSION => Err(WorldError::Newer {
                path: self.path.display().to_string(),
                version: newer.unsigned_abs(),
                reads: VERSION.unsigned_abs(),
            }),
            _ => Err(malformed(&self.path, "no such format version")),
        }
    }

    /// Counts the steps of SQLite's machine from now on.
    #[cfg(test)]
    pub(super) fn count_steps(&self) -> std::sync::Arc<std::sync::atomic::AtomicU64> {
        let steps = std::sync::Arc::<std::sync::atomic::AtomicU64>::default();
        let counted = steps.clone();
        let count = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            false
        };
        let set = self.lock().progress_handler(1, Some(count));
        set.expect("a handler can be set");
        steps
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, WorldError> {
        f(&self.lock()).map_err(|e| failed(&self.path, e))
    }

    /// Reads, all of it as it is at one moment.
    pub(in crate::world) fn read<T>(
        &self,
        f: impl FnOnce(&Tx<'_>) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        self.transact(TransactionBehavior::Deferred, f)
    }

    /// Changes it wholly, or not at all when `f` fails. On the disk when this returns.
    pub(super) fn write<T>(
        &self,
        f: impl FnOnce(&Tx<'_>) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        let changes = |store: &Self| {
            store.run(|conn| conn.query_row("SELECT total_changes()", (), |r| r.get::<_, i64>(0)))
        };
        let before = changes(self)?;
        let done = self.transact(TransactionBehavior::Immediate, f)?;
        if changes(self)? != before {
            // It may have changed who may use which key: what is open asks again.
            revision().fetch_add(1, Ordering::Release);
        }
        Ok(done)
    }

    fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        f: impl FnOnce(&Tx<'_>) -> Result<T, WorldError>,
    ) -> Result<T, WorldError> {
        let mut conn = self.lock();
        let tx = conn.transaction_with_behavior(behavior);
        let tx = Tx {
            tx: tx.map_err(|e| failed(&self.path, e))?,
            path: &self.path,
        };
        let done = f(&tx)?;
        tx.tx.commit().map_err(|e| failed(&self.path, e))?;
        Ok(done)
    }
}

/// A transaction.
pub struct Tx<'a> {
    tx: Transaction<'a>,
    path: &'a Path,
}

impl Tx<'_> {
    /// A setting.
    pub(super) fn setting(&self, name: &str) -> Result<Option<String>, WorldError> {
        let get = || {
            let mut query = self
                .tx
                .prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
            query.query_row([name], |row| row.get(0)).optional()
        };
        get().map_err(|e| failed(self.path, e))
    }

    /// Sets it.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<(), WorldError> {
        let sql = "INSERT INTO setting VALUES (?1, ?2)
                   ON CONFLICT(name) DO UPDATE SET value = excluded.value";
        self.execute(sql, &[&name, &value])
    }

    /// The settings whose names begin so.
    pub(super) fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>, WorldError> {
        let get = || {
            let sql = "SELECT name, value FROM setting WHERE substr(name, 1, length(?1)) = ?1";
            let mut query = self.tx.prepare_cached(sql)?;
            let rows = query.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        };
        get().map_err(|e| failed(self.path, e))
    }

    /// Removes it.
    pub(super) fn unset(&self, name: &str) -> Result<(), WorldError> {
        self.execute("DELETE FROM setting WHERE name = ?1", &[&name])
    }

    /// The entity of that name.
    pub(super) fn find<E: Entity>(&self, name: &str) -> Result<Option<E>, WorldError> {
        let get = || {
            let sql = "SELECT body FROM entity WHERE kind = ?1 AND name = ?2";
            let mut query = self.tx.prepare_cached(sql)?;
            let body = query.query_row([E::KIND, name], |row| row.get::<_, String>(0));
            body.optional()
        };
        let body = get().map_err(|e| failed(self.path, e))?;
        body.map(|body| self.parse(&body)).transpose()
    }

    /// The same, which must be there.
    pub(super) fn get<E: Entity>(&self, name: &str) -> Result<E, WorldError> {
        let found = self.find(name)?;
        found.ok_or_else(|| WorldError::NoEntity {
            kind: E::WORD,
            name: name.to_owned(),
            listed_by: E::LISTED_BY,
        })
    }

    /// Every one of that kind, by name.
    pub(super) fn all<E: Entity>(&self) -> Result<Vec<E>, WorldError> {
        let sql = "SELECT body FROM entity WHERE kind = ?1 ORDER BY name";
        self.bodies(sql, &[&E::KIND])
    }

    /// What `sql` selects: bodies of one kind.
    pub(super) fn bodies<T: serde::de::DeserializeOwned>(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<T>, WorldError> {
        let get = || {
            let mut query = self.tx.prepare_cached(sql)?;
            let rows = query.query_map(values, |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let bodies = get().map_err(|e| failed(self.path, e))?;
        bodies.iter().map(|body| self.parse(body)).collect()
    }

    /// How many there are of a kind.
    pub(super) fn count<E: Entity>(&self) -> Result<u64, WorldError> {
        let get = || {
            let sql = "SELECT count(*) FROM entity WHERE kind = ?1";
            let mut query = self.tx.prepare_cached(sql)?;
            query.query_row([E::KIND], |row| row.get::<_, i64>(0))
        };
        let count = get().map_err(|e| failed(self.path, e))?;
        Ok(count.unsigned_abs())
    }

    /// The same, to be looked up by name.
    pub(super) fn map<E: Entity>(&self) -> Result<BTreeMap<String, E>, WorldError> {
        let all = self.all::<E>()?;
        Ok(all.into_iter().map(|e| (e.key().to_owned(), e)).collect())
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`WorldError::Exists`] when the name is taken.
    pub(super) fn add<E: Entity>(&self, entity: &E) -> Result<(), WorldError> {
        match self.find::<E>(entity.key())? {
            Some(_) => Err(WorldError::Exists(format!(
                "the {} {}",
                E::WORD,
                entity.key()
            ))),
            None => self.put(entity),
        }
    }

    /// Adds or replaces one.
    pub(super) fn put<E: Entity>(&self, entity: &E) -> Result<(), WorldError> {
        let body = serde_json::to_string(entity).expect("names and times serialize");
        let sql = "INSERT INTO entity VALUES (?1, ?2, ?3)
                   ON CONFLICT(kind, name) DO UPDATE SET body = excluded.body";
        self.execute(sql, &[&E::KIND, &entity.key(), &body])
    }

    /// Removes one.
    pub(super) fn remove<E: Entity>(&self, name: &str) -> Result<(), WorldError> {
        self.execute(
            "DELETE FROM entity WHERE kind = ?1 AND name = ?2",
            &[&E::KIND, &name],
        )
    }

    /// Appends to the audit records.
    pub(super) fn record(&self, event: &Event) -> Result<(), WorldError> {
        let body = serde_json::to_string(event).expect("names and times serialize");
        self.execute("INSERT INTO event(body) VALUES (?1)", &[&body])
    }

    /// Records it, unless the same was recorded of the same before: what is tried again and again.
    pub(super) fn record_once(&self, event: &Event) -> Result<(), WorldError> {
        let same = |e: &Event| {
            (&e.operation, &e.subject, &e.detail)
                == (&event.operation, &event.subject, &event.detail)
        };
        match self.events()?.iter().any(|(_, e)| same(e)) {
            true => Ok(()),
            false => self.record(event),
        }
    }

    /// The audit records with their numbers, oldest first.
    pub(super) fn events(&self) -> Result<Vec<(i64, Event)>, WorldError> {
        self.events_by("SELECT seq, body FROM event ORDER BY seq")
    }

    /// The same, of Customer Lockbox.
    pub(super) fn lockbox_events(&self) -> Result<Vec<(i64, Event)>, WorldError> {
        self.events_by(
            "SELECT seq, body FROM event INDEXED BY event_lockbox WHERE substr(body ->> '$.operation', 1, 7) = 'Lockbox' ORDER BY seq",
        )
    }

    fn events_by(&self, sql: &str) -> Result<Vec<(i64, Event)>, WorldError> {
        let get = || {
            let mut query = self.tx.prepare_cached(sql)?;
            let rows = query.query_map((), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(i64, String)>>>()
        };
        let rows = get().map_err(|e| failed(self.path, e))?;
        let parsed = rows
            .into_iter()
            .map(|(seq, body)| Ok((seq, self.parse(&body)?)));
        parsed.collect()
    }

    /// Removes an audit record.
    pub(super) fn forget_event(&self, seq: i64) -> Result<(), WorldError> {
        self.execute("DELETE FROM event WHERE seq = ?1", &[&seq])
    }

    /// The time that the landscape's clock shows.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, WorldError> {
        let text = self.setting(name)?;
        let time = text.map(|text| text.parse().map_err(|_| malformed(self.path, "no time")));
        time.transpose()
    }

    fn execute(&self, sql: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), WorldError> {
        let run = || self.tx.prepare_cached(sql)?.execute(values).map(drop);
        run().map_err(|e| failed(self.path, e))
    }

    pub(super) fn parse<T: serde::de::DeserializeOwned>(
        &self,
        body: &str,
    ) -> Result<T, WorldError> {
        serde_json::from_str(body).map_err(|e| malformed(self.path, &e.to_string()))
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> WorldError {
    WorldError::Resource(crate::resource::ResourceError::sqlite(path, source))
}

pub(super) fn malformed(path: &Path, why: &str) -> WorldError {
    WorldError::Malformed {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}
