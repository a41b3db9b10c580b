use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior};

use crate::base::{ExtentId, GenerationId, ResourceId};
use crate::resource::ResourceError;
use crate::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase, database_files};

use super::BlobName;
use super::key::HeldKey;

// docs/format.md, "Catalog".
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE blobs (
        name       TEXT    NOT NULL PRIMARY KEY,
        generation BLOB    NOT NULL UNIQUE,
        size       INTEGER NOT NULL,
        created    INTEGER NOT NULL,
        manifest   BLOB    NOT NULL
    ) STRICT;
    CREATE TABLE extents (
        id         BLOB    NOT NULL PRIMARY KEY,
        generation BLOB    NOT NULL REFERENCES blobs (generation) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX extents_by_generation ON extents (generation);
    CREATE TABLE account_key (
        commitment BLOB    NOT NULL
    ) STRICT;
";

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the catalog says of a blob without the customer's key: what a list shows.
pub(super) struct Entry {
    pub name: BlobName,
    pub generation: GenerationId,
    pub size: u64,
    pub created_micros: i64,
    /// How many extents it has.
    pub extents: u64,
}

/// The names of an account's blobs: a SQLite database, plain or sealed under the service's key.
pub(super) struct Catalog {
    path: PathBuf,
    sealed: Option<SealedDatabase>,
    connection: Mutex<Connection>,
}

impl Catalog {
    /// Makes an empty catalog at `path`, sealed when there is a key, which keeps the commitment to
    /// the account key.
    pub(super) fn create(
        path: &Path,
        account: ResourceId,
        key: Option<Arc<HeldKey>>,
        account_key: Option<[u8; 32]>,
    ) -> Result<Self, ResourceError> {
        // The account header says how the key is got, so the file's own slot says nothing.
        let slot = [0; KEY_SLOT_LEN];
        let sealed = key
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
        let catalog = Self::connect(path, sealed, OpenFlags::SQLITE_OPEN_CREATE)?;
        catalog.run(|connection| {
            connection.pragma_update(None, "journal_mode", "wal")?;
            let tx = connection.transaction()?;
            tx.execute_batch(SCHEMA)?;
            if let Some(commitment) = account_key {
                tx.execute("INSERT INTO account_key VALUES (?1)", [commitment])?;
            }
            tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            tx.commit()
        })?;
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
        let sealed = key
            .map(|key| SealedDatabase::open(path, account, key))
            .transpose()?;
        let catalog = Self::connect(path, sealed, OpenFlags::empty())?;
        let version: i64 =
            catalog.run(|c| c.pragma_query_value(None, "user_version", |r| r.get(0)))?;
        if version != SCHEMA_VERSION {
            return Err(catalog.malformed(&format!(
                "catalog version {version}, but this program reads {SCHEMA_VERSION}"
            )));
        }
        Ok(catalog)
    }

    fn connect(
        path: &Path,
        sealed: Option<SealedDatabase>,
        create: OpenFlags,
    ) -> Result<Self, ResourceError> {
        let connection = match &sealed {
            Some(database) => database.connect()?,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(path, flags | create)
                    .and_then(|c| {
                        c.busy_timeout(BUSY_TIMEOUT)?;
                        c.pragma_update(None, "foreign_keys", true)?;
                        Ok(c)
                    })
                    .map_err(|e| ResourceError::sqlite(path, e))?
            }
        };
        let catalog = Self {
            path: path.to_owned(),
            sealed,
            connection: Mutex::new(connection),
        };
        // A put is durable when it returns.
        catalog.run(|c| c.pragma_update(None, "synchronous", "full"))?;
        Ok(catalog)
    }

    /// The database's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The commitment to the account key; `None` in a plain account.
    pub(super) fn account_key(&self) -> Result<Option<[u8; 32]>, ResourceError> {
        self.run(|c| {
            c.query_row("SELECT commitment FROM account_key", (), |row| row.get(0))
                .optional()
        })
    }

    /// The blob `name`, if there is one, with its manifest (sealed, or plain in a plain account).
    pub(super) fn find(&self, name: &BlobName) -> Result<Option<(Entry, Vec<u8>)>, ResourceError> {
        let found = self.run(|c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS}, manifest FROM blobs WHERE name = ?1"
            ))?
            .query_row([name.as_str()], |row| Ok((self.entry(row), row.get(5)?)))
            .optional()
        })?;
        found
            .map(|(entry, manifest)| Ok((entry?, manifest)))
            .transpose()
    }

    /// The blobs whose names start with `prefix`, in the order of their names' bytes.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Entry>, ResourceError> {
        let from = format!("SELECT {COLUMNS} FROM blobs WHERE name >= ?1 ORDER BY name");
        self.run(|c| {
            let mut query = c.prepare_cached(&from)?;
            let rows = query.query_map([prefix], |row| Ok(self.entry(row)))?;
            rows.take_while(|row| match row {
                Ok(Ok(entry)) => entry.name.as_str().starts_with(prefix),
                _ => true,
            })
            .collect::<Result<Vec<_>, _>>()
        })?
        .into_iter()
        .collect()
    }

    /// Makes `entry`, with its manifest and extents, the blob of its name. Returns the extents of the
    /// blob that it replaces, which nothing refers to any more.
    pub(super) fn replace(
        &self,
        entry: &Entry,
        manifest: &[u8],
        extents: &[ExtentId],
    ) -> Result<Vec<ExtentId>, ResourceError> {
        let size = i64::try_from(entry.size).map_err(|_| self.malformed("a blob is too long"))?;
        self.write(|c| {
            let old = remove(c, &entry.name)?.unwrap_or_default();
            c.prepare_cached("INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5)")?
                .execute((
                    entry.name.as_str(),
                    entry.generation.as_bytes(),
                    size,
                    entry.created_micros,
                    manifest,
                ))?;
            let mut insert = c.prepare_cached("INSERT INTO extents VALUES (?1, ?2)")?;
            for extent in extents {
                insert.execute((extent.as_bytes(), entry.generation.as_bytes()))?;
            }
            Ok(old)
        })
    }

    /// Removes the blob `name`. Returns its extents, which nothing refers to any more; `None` when
    /// there is no such blob.
    pub(super) fn remove(&self, name: &BlobName) -> Result<Option<Vec<ExtentId>>, ResourceError> {
        self.write(|c| remove(c, name))
    }

    /// Whether a blob refers to the extent.
    pub(super) fn refers_to(&self, extent: ExtentId) -> Result<bool, ResourceError> {
        self.run(|c| {
            c.prepare_cached("SELECT 1 FROM extents WHERE id = ?1")?
                .exists([extent.as_bytes()])
        })
    }

    /// Reads and authenticates every page; units and bytes.
    pub(super) fn verify(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(u64, u64), ResourceError> {
        match &self.sealed {
            Some(database) => Ok(database.verify(progress)?),
            None => Ok((0, 0)),
        }
    }

    /// The files that exist now.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match &self.sealed {
            Some(database) => database.files(),
            None => database_files(&self.path),
        }
    }

    fn entry(&self, row: &Row<'_>) -> Result<Entry, ResourceError> {
        let parse = || {
            let name: String = get(row, 0)?;
            let generation: [u8; 16] = get(row, 1)?;
            Some(Entry {
                name: BlobName::parse(&name).ok()?,
                generation: GenerationId::from_bytes(generation),
                size: u64::try_from(get::<i64>(row, 2)?).ok()?,
                created_micros: get(row, 3)?,
                extents: u64::try_from(get::<i64>(row, 4)?).ok()?,
            })
        };
        parse().ok_or_else(|| self.malformed("a row of the catalog is malformed"))
    }

    fn run<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ResourceError> {
        let mut connection = self.lock();
        work(&mut connection).map_err(|e| self.explain(e))
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ResourceError> {
        self.run(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx)?;
            tx.commit()?;
            Ok(done)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A holder that panicked rolled its transaction back.
        self.connection.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn explain(&self, error: rusqlite::Error) -> ResourceError {
        match &self.sealed {
            Some(database) => database.explain(error).into(),
            None => ResourceError::sqlite(&self.path, error),
        }
    }

    fn malformed(&self, why: &str) -> ResourceError {
        ResourceError::Format {
            path: self.path.display().to_string(),
            why: why.to_owned(),
        }
    }
}

const COLUMNS: &str = "name, generation, size, created,
    (SELECT count(*) FROM extents WHERE extents.generation = blobs.generation)";

fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Option<T> {
    row.get(column).ok()
}

fn remove(c: &Connection, name: &BlobName) -> rusqlite::Result<Option<Vec<ExtentId>>> {
    let extents = c
        .prepare_cached("SELECT id FROM extents JOIN blobs USING (generation) WHERE name = ?1")?
        .query_map([name.as_str()], |row| row.get(0).map(ExtentId::from_bytes))?
        .collect::<Result<Vec<_>, _>>()?;
    let removed = c
        .prepare_cached("DELETE FROM blobs WHERE name = ?1")?
        .execute([name.as_str()])?;
    Ok((removed == 1).then_some(extents))
}
