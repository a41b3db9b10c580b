//! The catalog of an account: its containers, its blobs' names, and their blocks.
//!
//! Over 400 lines because the schema is one text, and what runs statements stands beside it.

mod access_keys;
mod appends;
mod blobs;
mod block_lists;
mod blocks;
mod containers;
mod extents;
mod leases;
mod policies;
mod replace;
mod scopes;
mod service;
mod snapshots;
mod staging;
mod walk;
mod writer;

use std::any::Any;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{Clock, ResourceId, SystemClock, may_wait};
use crate::resource::ResourceError;
use crate::sqlite::{
    Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase, SealedError, database_files,
};

use super::account::unauthentic;
use super::attributes::Etag;
use super::key::HeldKey;
use super::objects::ObjectsUrl;
use staging::Staging;
use writer::Writer;

pub(super) use blobs::Entry;
pub(super) use blocks::StagedBlock;
pub use containers::ContainerInfo;
pub(super) use extents::Known;
pub(super) use replace::NewRow;
pub(super) use scopes::ScopeRow;

// docs/format.md, "Catalog".
const SCHEMA_VERSION: i64 = 6;
const SCHEMA: &str = "
    CREATE TABLE account (
        one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        last       INTEGER NOT NULL,
        commitment BLOB,
        infrastructure INTEGER NOT NULL CHECK (infrastructure IN (0, 1)),
        objects    TEXT
    ) STRICT;
    CREATE TABLE access_keys (
        number     INTEGER NOT NULL PRIMARY KEY CHECK (number IN (1, 2)),
        key        BLOB    NOT NULL CHECK (length(key) = 64)
    ) STRICT;
    CREATE TABLE containers (
        name       TEXT    NOT NULL PRIMARY KEY,
        etag       INTEGER NOT NULL,
        modified   INTEGER NOT NULL,
        metadata   TEXT    NOT NULL
    ) STRICT;
    CREATE TABLE blobs (
        container  TEXT    NOT NULL REFERENCES containers ON DELETE CASCADE,
        name       TEXT    NOT NULL,
        snapshot   INTEGER NOT NULL,
        generation BLOB    NOT NULL UNIQUE,
        size       INTEGER NOT NULL,
        extents    INTEGER NOT NULL,
        created    INTEGER NOT NULL,
        modified   INTEGER NOT NULL,
        etag       INTEGER NOT NULL,
        properties TEXT    NOT NULL,
        tags       TEXT    NOT NULL,
        status     TEXT    NOT NULL,
        manifest   BLOB    NOT NULL,
        PRIMARY KEY (container, name, snapshot)
    ) STRICT;
    CREATE TABLE extents (
        id         BLOB    NOT NULL,
        generation BLOB    NOT NULL REFERENCES blobs (generation) ON DELETE CASCADE,
        PRIMARY KEY (id, generation)
    ) STRICT;
    CREATE INDEX extents_by_generation ON extents (generation);
    CREATE TABLE blocks (
        container  TEXT    NOT NULL REFERENCES containers ON DELETE CASCADE,
        blob       TEXT    NOT NULL,
        id         BLOB    NOT NULL,
        generation BLOB    NOT NULL,
        extent     BLOB    NOT NULL UNIQUE,
        size       INTEGER NOT NULL,
        staged     INTEGER NOT NULL,
        manifest   BLOB    NOT NULL,
        PRIMARY KEY (container, blob, id)
    ) STRICT;
    CREATE INDEX blocks_by_age ON blocks (staged);
    CREATE TABLE leases (
        container  TEXT    NOT NULL REFERENCES containers ON DELETE CASCADE,
        blob       TEXT    NOT NULL,
        id         BLOB    NOT NULL CHECK (length(id) = 16),
        seconds    INTEGER,
        ends       INTEGER,
        broken     INTEGER NOT NULL,
        PRIMARY KEY (container, blob)
    ) STRICT;
    CREATE TABLE policies (
        container  TEXT    NOT NULL PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
        policies   TEXT    NOT NULL
    ) STRICT;
    CREATE TABLE service (
        one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        delegation BLOB    NOT NULL CHECK (length(delegation) = 32),
        properties TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX blobs_with_tags ON blobs (container, name) WHERE tags <> '{}';
";

/// Connections for reading that are kept, and what each keeps of the file (in KiB, negative as SQLite wants it).
const READERS_KEPT: usize = 32;
const READER_CACHE: i64 = -512;
/// Statements that a connection keeps prepared: more than the catalog has.
const STATEMENTS_KEPT: usize = 128;
/// How often what another process has locked is tried again, at most: for five seconds.
const BUSY_TRIES: i32 = 260;

/// The names of an account's blobs: a SQLite database, plain or sealed under the service's key.
pub(super) struct Catalog {
    path: PathBuf,
    sealed: Option<SealedDatabase>,
    /// What it is sealed under.
    key: Option<Arc<HeldKey>>,
    clock: RwLock<Arc<dyn Clock>>,
    /// All changes of this process are made on one connection, in groups.
    writer: Writer,
    /// Reads have others, which see what was committed: nobody waits for a disk to read.
    readers: Mutex<Vec<Connection>>,
    staging: Staging,
}

impl Catalog {
    /// Makes an empty catalog at `path`, sealed when there is a key, which keeps the commitment to
    /// the account key, whether extents are sealed twice, and where they are when they are objects.
    pub(super) fn create(
        path: &Path,
        account: ResourceId,
        key: Option<Arc<HeldKey>>,
        account_key: Option<[u8; 32]>,
        infrastructure: bool,
        objects: Option<&ObjectsUrl>,
    ) -> Result<Self, ResourceError> {
        // The account header says how the key is got, so the file's own slot says nothing.
        let slot = [0; KEY_SLOT_LEN];
        let sealed = (key.clone())
            .map(|key| {
                SealedDatabase::create(
                    path,
                    account,
                    PageSize::DEFAULT,
                    Freshness::NotKept,
                    &slot,
                    key,
                )
            })
            .transpose()?;
        let catalog = Self::connect(path, sealed, key, OpenFlags::SQLITE_OPEN_CREATE)?;
        let made = catalog.writer.alone(|connection| {
            connection.pragma_update(None, "journal_mode", "wal")?;
            let tx = connection.transaction()?;
            tx.execute_batch(SCHEMA)?;
            tx.execute_batch(block_lists::SCHEMA)?;
            tx.execute_batch(scopes::SCHEMA)?;
            tx.execute(
                "INSERT INTO account VALUES (1, 0, ?1, ?2, ?3)",
                (
                    account_key,
                    infrastructure,
                    objects.map(ToString::to_string),
                ),
            )?;
            for number in [1, 2] {
                access_keys::replace(&tx, number)?;
            }
            service::create(&tx)?;
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            tx.commit()
        });
        made.map_err(|e| catalog.explain(e))?;
        Ok(catalog)
    }

    /// Opens the catalog at `path`.
    pub(super) fn open(
        path: &Path,
        account: ResourceId,
        key: Option<Arc<HeldKey>>,
    ) -> Result<Self, ResourceError> {
        if !path.exists() {
            return Err(ResourceError::NotFound(path.display().to_string()));
        }
        if let Some(key) = &key {
            // Asked here for its own error: SQLite would only pass a text on.
            key.check()?;
        }
        let sealed = (key.clone())
            .map(|key| SealedDatabase::open(path, account, key))
            .transpose()?;
        let catalog = Self::connect(path, sealed, key, OpenFlags::empty())?;
        let version: i64 =
            catalog.run(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))?;
        match version {
            SCHEMA_VERSION => Ok(catalog),
            0..SCHEMA_VERSION => Err(catalog.malformed(&format!(
                "the catalog's version {version} is of a version of this program before the first \
                 release, and is not read any more; make a new storage account"
            ))),
            newer => Err(catalog.malformed(&format!(
                "the catalog's version {newer} is newer than this program reads ({SCHEMA_VERSION}); \
                 use a newer one"
            ))),
        }
    }

    fn connect(
        path: &Path,
        sealed: Option<SealedDatabase>,
        key: Option<Arc<HeldKey>>,
        create: OpenFlags,
    ) -> Result<Self, ResourceError> {
        let connection = connection(path, sealed.as_ref(), create)?;
        let catalog = Self {
            path: path.to_owned(),
            sealed,
            key,
            clock: RwLock::new(Arc::new(SystemClock)),
            writer: Writer::new(connection),
            readers: Mutex::default(),
            staging: Staging::default(),
        };
        // A put is durable when it returns.
        let full = catalog
            .writer
            .alone(|c| c.pragma_update(None, "synchronous", "full"));
        full.map_err(|e| catalog.explain(e))?;
        Ok(catalog)
    }

    /// Goes by this clock from now on.
    pub(super) fn set_clock(&self, clock: Arc<dyn Clock>) {
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    pub(super) fn now(&self) -> Timestamp {
        let clock = self.clock.read().unwrap_or_else(PoisonError::into_inner);
        clock.now()
    }

    /// The number and the time of the next change of anything in the account. The number is the time in
    /// microseconds, or one more than the last: no two changes share one, also when the clock goes back.
    fn next_change(&self, c: &Connection) -> rusqlite::Result<(Etag, i64)> {
        let now = self.now().as_microsecond();
        let next = "UPDATE account SET last = max(last + 1, ?1) RETURNING last";
        let last = c.prepare_cached(next)?.query_row([now], |row| row.get(0))?;
        Ok((Etag(last), now))
    }

    /// The database's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The commitment to the account key; `None` in a plain account.
    pub(super) fn account_key(&self) -> Result<Option<[u8; 32]>, ResourceError> {
        self.run(|c| c.query_row("SELECT commitment FROM account", (), |row| row.get(0)))
    }

    /// Whether every extent is sealed twice.
    pub(super) fn infrastructure(&self) -> Result<bool, ResourceError> {
        self.run(|c| c.query_row("SELECT infrastructure FROM account", (), |row| row.get(0)))
    }

    /// Where the extents are; `None` when they are files of the account's.
    pub(super) fn objects(&self) -> Result<Option<ObjectsUrl>, ResourceError> {
        let text: Option<String> =
            self.run(|c| c.query_row("SELECT objects FROM account", (), |row| row.get(0)))?;
        let url = text.map(|text| text.parse());
        url.transpose().map_err(|_| unauthentic(&self.path))
    }

    /// Reads and authenticates every page; units and bytes.
    pub(super) fn verify(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(u64, u64), ResourceError> {
        let Some(database) = &self.sealed else {
            return Ok((0, 0));
        };
        let verified = match database.verify(progress) {
            // Others write all the time: now they wait.
            Err(SealedError::Busy { .. }) => {
                let alone = self.writer.alone(|connection| {
                    let _locked =
                        connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    Ok(database.verify(progress))
                });
                alone.map_err(|e| self.explain(e))?
            }
            verified => verified,
        };
        verified.map_err(|e| self.told(e.into()))
    }

    /// The files that exist now.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match &self.sealed {
            Some(database) => database.files(),
            None => database_files(&self.path),
        }
    }

    /// Runs `work`, which only reads.
    fn run<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ResourceError> {
        self.read(|c| Ok(work(c)?))
    }

    /// Runs `work` in a transaction, which is taken back when it refuses; durable when this returns. It
    /// may be run twice.
    fn write<T>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, Refused>,
    ) -> Result<T, ResourceError> {
        self.writer.write(&mut work).map_err(|e| self.refused(e))
    }

    /// Runs each of `works` as [`Catalog::write`] does, all of them in one transaction. One that panics has failed: the
    /// others have not.
    fn write_all<T>(
        &self,
        works: &mut [impl FnMut(&Connection) -> Result<T, Refused>],
    ) -> Vec<Result<T, ResourceError>> {
        let mut works: Vec<_> = (works.iter_mut())
            .map(|work| work as &mut dyn FnMut(&Connection) -> Result<T, Refused>)
            .collect();
        let told = |refused| match refused {
            Refused::Panicked(_) => {
                let why = io::Error::other("a change failed that should not have");
                ResourceError::io(&self.path, why)
            }
            refused => self.refused(refused),
        };
        let done = self.writer.write_all(&mut works).into_iter();
        done.map(|done| done.map_err(told)).collect()
    }

    /// Runs `work`, which changes something beside the catalog, while nobody else does so or changes the catalog, in this
    /// process or another. It may be run twice.
    pub(super) fn while_unchanged<T>(
        &self,
        work: &mut dyn FnMut() -> Result<T, ResourceError>,
    ) -> Result<T, ResourceError> {
        self.write(|_| Ok(work()?))
    }

    /// As [`Catalog::write`], for what may find that what it was made from is not there any more.
    fn write_unless_outdated<T>(
        &self,
        mut work: impl FnMut(&Connection) -> Result<T, Refused>,
    ) -> Result<Option<T>, ResourceError> {
        let mut outdated = false;
        let written = self.write(|c| {
            outdated = false;
            work(c).inspect_err(|e| outdated = matches!(e, Refused::Outdated))
        });
        match outdated {
            true => Ok(None),
            false => written.map(Some),
        }
    }

    /// Runs `work`, which only reads: all of it what was committed at one moment.
    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Refused>,
    ) -> Result<T, ResourceError> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let new = connection(&self.path, self.sealed.as_ref(), OpenFlags::empty())
                    .map_err(|e| self.told(e))?;
                let set = (new.pragma_update(None, "cache_size", READER_CACHE))
                    .and_then(|()| new.pragma_update(None, "query_only", true));
                set.map_err(|e| self.explain(e))?;
                new
            }
        };
        let run = |sql| connection.prepare_cached(sql)?.execute(());
        let read = run("BEGIN DEFERRED")
            .map_err(Refused::from)
            .and_then(|_| work(&connection));
        // One that cannot end its transaction is not used again.
        if connection.is_autocommit() || run("ROLLBACK").is_ok() {
            let mut readers = self.readers();
            if readers.len() < READERS_KEPT {
                readers.push(connection);
            }
        }
        read.map_err(|e| self.refused(e))
    }

    fn refused(&self, refused: Refused) -> ResourceError {
        match refused {
            Refused::Sqlite(e) => self.explain(e),
            Refused::Malformed | Refused::Outdated => self.malformed(BAD_ROW),
            Refused::Because(e) => *e,
            Refused::Panicked(panic) => resume_unwind(panic),
        }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn explain(&self, error: rusqlite::Error) -> ResourceError {
        match &self.sealed {
            Some(database) => self.told(database.explain(error).into()),
            None => ResourceError::sqlite(&self.path, error),
        }
    }

    /// What the loss of the key is: SQLite passes no more than a text on, so the key is asked itself.
    fn told(&self, error: ResourceError) -> ResourceError {
        let refusal = match (&error, &self.key) {
            (ResourceError::KeyUnavailable { .. }, Some(key)) => key.check().err(),
            _ => None,
        };
        refusal.unwrap_or(error)
    }

    fn malformed(&self, why: &str) -> ResourceError {
        ResourceError::Format {
            path: self.path.display().to_string(),
            why: why.to_owned(),
        }
    }
}

/// Waits for another process, where this thread may wait.
fn is_patient(tries: i32) -> bool {
    let goes_on = tries < BUSY_TRIES && may_wait();
    if goes_on {
        let step = u64::try_from(tries).unwrap_or_default().min(20);
        thread::sleep(Duration::from_millis(step.max(1)));
    }
    goes_on
}

fn connection(
    path: &Path,
    sealed: Option<&SealedDatabase>,
    create: OpenFlags,
) -> Result<Connection, ResourceError> {
    let mut connection = match sealed {
        Some(database) => database.connect()?,
        None => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags | create)
                .and_then(|c| {
                    c.pragma_update(None, "foreign_keys", true)?;
                    Ok(c)
                })
                .map_err(|e| ResourceError::sqlite(path, e))?
        }
    };
    let patient = connection.busy_handler(Some(is_patient));
    patient.map_err(|e| ResourceError::sqlite(path, e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Or SQLite plans anew each statement whose values are bound anew, where a partial index may serve.
    let stable = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    stable.map_err(|e| ResourceError::sqlite(path, e))?;
    Ok(connection)
}

const BAD_ROW: &str = "a row of the catalog is malformed";

/// Why a transaction was taken back.
enum Refused {
    Sqlite(rusqlite::Error),
    Malformed,
    /// What it was made from is not there any more.
    Outdated,
    Because(Box<ResourceError>),
    /// What was done panicked.
    Panicked(Box<dyn Any + Send>),
}

impl From<rusqlite::Error> for Refused {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sqlite(e)
    }
}

impl From<ResourceError> for Refused {
    fn from(e: ResourceError) -> Self {
        Self::Because(Box::new(e))
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts have a JSON form")
}

fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Option<T> {
    row.get(column).ok()
}

fn get_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Option<T> {
    serde_json::from_str(&get::<String>(row, column)?).ok()
}

fn get_count(row: &Row<'_>, column: usize) -> Option<u64> {
    u64::try_from(get::<i64>(row, column)?).ok()
}
