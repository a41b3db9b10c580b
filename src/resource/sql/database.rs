use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::base::ResourceId;
use crate::envelope::{Envelope, ResourceKind};
use crate::resource::{ProtectedResource, Protection, ResourceError, Rewrapped, Verified, Wrapper};
use crate::sqlite::{
    Freshness, KeySource, PageSize, SealedDatabase, database_files, file_uri, reserve_for_seal,
};

use super::conversion::new_key;
use super::key::{Keeper, LiveKey};

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A SQL database: one SQLite file with its journal or write-ahead log, plain or sealed.
pub struct SqlDatabase {
    path: PathBuf,
    id: ResourceId,
    protection: Protection,
    pub(super) wrapper: Wrapper,
    page_size: PageSize,
    pub(super) store: Store,
}

pub(super) enum Store {
    Plain,
    Sealed {
        database: SealedDatabase,
        key: Arc<LiveKey>,
    },
}

impl SqlDatabase {
    /// Makes an empty database at `path`. A protected one gets a new random data encryption key,
    /// wrapped by the newest version of the protection's key, and is sealed from its first byte on.
    ///
    /// # Errors
    /// [`ResourceError::Exists`] when there is a file at `path`;
    /// [`ResourceError::KeyUnavailable`] when the vault does not wrap.
    pub fn create(
        path: &Path,
        id: ResourceId,
        page_size: PageSize,
        protection: Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        if path.symlink_metadata().is_ok() {
            return Err(ResourceError::Exists(path.display().to_string()));
        }
        let store = match protection.key() {
            None => {
                let new = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path);
                new.and_then(|file| file.sync_all())
                    .map_err(|e| created(path, e))?;
                Store::Plain
            }
            Some(kek) => {
                let (envelope, _) = new_key(path, id, kek, wrapper)?;
                let slot = envelope.to_bytes();
                let key = LiveKey::acquire(path, envelope, id, &protection, wrapper)
                    .map_err(|e| ResourceError::envelope(path, &e))?;
                let key = Arc::new(key);
                let database = SealedDatabase::create(
                    path,
                    id,
                    page_size,
                    Freshness::Kept,
                    &slot,
                    key.clone(),
                )?;
                Store::Sealed { database, key }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            id,
            protection,
            wrapper: wrapper.clone(),
            page_size,
            store,
        })
    }

    /// Opens the database at `path`, which must be the resource `id`.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`]; [`ResourceError::Format`] when it is no such file;
    /// [`ResourceError::Unauthentic`] when it is another resource's, or was altered;
    /// [`ResourceError::KeyUnavailable`] with the vault's reason.
    pub fn open(
        path: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        Self::open_with(path, id, protection, wrapper, None)
    }

    /// Opens it as [`SqlDatabase::open`] does, when it is the newest state that `keeper` knows of; and
    /// has `keeper` remember what is committed from now on.
    ///
    /// # Errors
    /// [`ResourceError::Stale`] when it is older than what is remembered, or the vault is older
    /// than what the database was told.
    pub fn open_fresh(
        path: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
        keeper: &Keeper,
    ) -> Result<Self, ResourceError> {
        let database = Self::open_with(path, id, protection, wrapper, Some(keeper))?;
        database.keep_fresh(keeper)?;
        Ok(database)
    }

    fn open_with(
        path: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
        keeper: Option<&Keeper>,
    ) -> Result<Self, ResourceError> {
        if let Err(e) = fs::metadata(path) {
            return Err(match e.kind() {
                ErrorKind::NotFound => ResourceError::NotFound(path.display().to_string()),
                _ => ResourceError::io(path, e),
            });
        }
        let store = match protection.key() {
            None => Store::Plain,
            Some(_) => open_sealed(path, id, &protection, wrapper, keeper)?,
        };
        let mut database = Self {
            path: path.to_owned(),
            id,
            protection,
            wrapper: wrapper.clone(),
            page_size: PageSize::DEFAULT,
            store,
        };
        // The first read shows whether page 1 is what it must be.
        let conn = match &database.store {
            Store::Sealed { database, .. } => database.connect_to_look()?,
            Store::Plain => database.connect()?,
        };
        let size = conn
            .query_row("PRAGMA schema_version", (), |_| Ok(()))
            .and_then(|()| conn.query_row("PRAGMA page_size", (), |row| row.get(0)))
            .map_err(|e| database.explain(e))?;
        database.page_size = PageSize::new(size).expect("SQLite tells a page size");
        Ok(database)
    }

    /// A new connection, foreign keys on, with a busy timeout of 5 s. An error of a statement on it
    /// goes through [`SqlDatabase::explain`].
    pub fn connect(&self) -> Result<Connection, ResourceError> {
        match &self.store {
            Store::Sealed { database, .. } => Ok(database.connect()?),
            Store::Plain => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let open = || {
                    let conn = Connection::open_with_flags(&self.path, flags)?;
                    conn.busy_timeout(BUSY_TIMEOUT)?;
                    conn.pragma_update(None, "foreign_keys", true)?;
                    // Both have an effect on an empty file only, and at a VACUUM.
                    conn.pragma_update(None, "page_size", self.page_size.get())?;
                    reserve_for_seal(&conn)?;
                    Ok(conn)
                };
                open().map_err(|e| ResourceError::sqlite(&self.path, e))
            }
        }
    }

    /// The reason behind an error of one of its connections: a key that may not be used, a failed
    /// tag, a lock held elsewhere, or SQLite's own.
    pub fn explain(&self, error: rusqlite::Error) -> ResourceError {
        match &self.store {
            Store::Sealed { database, .. } => database.explain(error).into(),
            Store::Plain => ResourceError::sqlite(&self.path, error),
        }
    }

    /// What lies below a protected one.
    pub fn into_sealed(self) -> Option<SealedDatabase> {
        match self.store {
            Store::Sealed { database, .. } => Some(database),
            Store::Plain => None,
        }
    }

    /// The main file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of its pages; fixed when it is made.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The envelope that its key comes from; `None` when it is not protected.
    pub fn envelope(&self) -> Option<Envelope> {
        match &self.store {
            Store::Plain => None,
            Store::Sealed { key, .. } => Some(key.envelope()),
        }
    }

    /// The name by which VACUUM INTO reaches it while it is empty, with room at each page's end for
    /// what the seal needs. `auto_vacuum` is 0 (none), 1 (full) or 2 (incremental).
    pub(super) fn vacuum_target(&self, auto_vacuum: u8) -> String {
        match &self.store {
            Store::Plain => file_uri(&self.path, "reserve=32"),
            Store::Sealed { database, .. } => {
                let uri = database.uri();
                format!("{uri}&reserve=32&auto_vacuum={auto_vacuum}")
            }
        }
    }

    fn existing_files(&self) -> Vec<PathBuf> {
        match &self.store {
            Store::Sealed { database, .. } => database.files(),
            Store::Plain => database_files(&self.path),
        }
    }
}

impl ProtectedResource for SqlDatabase {
    fn id(&self) -> ResourceId {
        self.id
    }

    fn kind(&self) -> ResourceKind {
        ResourceKind::Sql
    }

    fn protection(&self) -> &Protection {
        &self.protection
    }

    fn files(&self) -> Result<Vec<PathBuf>, ResourceError> {
        Ok(self.existing_files())
    }

    /// A sealed database: every page of the main file and every frame of the write-ahead log is
    /// authenticated. A plain one: SQLite's own integrity check; no unit is counted, since nothing
    /// in it can be authenticated.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, ResourceError> {
        match &self.store {
            Store::Sealed { database, key } => {
                let (units, bytes) = database.verify(progress)?;
                self.verify_epoch(database, key)?;
                Ok(Verified {
                    units,
                    bytes,
                    ..Verified::default()
                })
            }
            Store::Plain => {
                let bytes = total_len(&self.existing_files())?;
                progress(0, bytes);
                let conn = self.connect()?;
                let found: String = conn
                    .query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))
                    .map_err(|e| self.explain(e))?;
                if found != "ok" {
                    return Err(ResourceError::Format {
                        path: self.path.display().to_string(),
                        why: format!("damaged: {found}"),
                    });
                }
                progress(bytes, bytes);
                Ok(Verified {
                    bytes,
                    ..Verified::default()
                })
            }
        }
    }

    fn rewrap(&mut self, to: &Protection) -> Result<Rewrapped, ResourceError> {
        let (Store::Sealed { database, key }, Some(kek)) = (&self.store, to.key()) else {
            return Err(ResourceError::Usage(format!(
                "{}: only a protected database is rewrapped, and only with a key",
                self.path.display()
            )));
        };
        let old = key.envelope();
        let new = old
            .rewrap(&*self.wrapper, kek)
            .map_err(|e| ResourceError::envelope(&self.path, &e))?;
        let (slot, to_version) = (new.to_bytes(), new.key.to_string());
        // Unwraps the new envelope before the file is touched: nothing is written that does not open.
        key.exchange(new)
            .map_err(|e| ResourceError::envelope(&self.path, &e))?;
        // Another vault knows the database before the file names its key: who dies between the two leaves
        // nothing that the new vault would take for a copy from elsewhere.
        if key.envelope().key.vault != old.key.vault {
            self.move_epoch(old.key.vault)?;
        }
        let bytes_rewritten = database.replace_key_slot(&slot)?;
        // Until then the file named the old one, which may have been gone back to.
        key.rewrapped(&slot);
        self.move_epoch(old.key.vault)?;
        let all = total_len(&self.existing_files())?;
        self.protection = to.clone();
        Ok(Rewrapped {
            left: Vec::new(),
            from: old.key.to_string(),
            to: to_version,
            bytes_rewritten,
            bytes_untouched: all.saturating_sub(bytes_rewritten),
        })
    }
}

/// Tries the key slots, newest first. An older one is tried only when a newer one is damaged: a
/// key version that the vault refuses must not be evaded through the version before it.
fn open_sealed(
    path: &Path,
    id: ResourceId,
    protection: &Protection,
    wrapper: &Wrapper,
    keeper: Option<&Keeper>,
) -> Result<Store, ResourceError> {
    let mut first_error = None;
    for slot in SealedDatabase::key_slots(path)? {
        let opened = Envelope::parse(&slot)
            .map_err(|e| ResourceError::envelope(path, &e.into()))
            .and_then(|envelope| {
                LiveKey::acquire(path, envelope, id, protection, wrapper)
                    .map_err(|e| ResourceError::envelope(path, &e))
            })
            .and_then(|key| {
                let key = Arc::new(key);
                // Asked when the first connection finds a journal.
                keeper.inspect(|keeper| key.ask(keeper));
                let database = SealedDatabase::open(path, id, key.clone())?;
                Ok(Store::Sealed { database, key })
            });
        match opened {
            Err(e @ (ResourceError::Unauthentic { .. } | ResourceError::Format { .. })) => {
                first_error.get_or_insert(e);
            }
            done => return done,
        }
    }
    Err(first_error.unwrap_or_else(|| ResourceError::Unauthentic {
        path: path.display().to_string(),
    }))
}

fn total_len(files: &[PathBuf]) -> Result<u64, ResourceError> {
    files.iter().try_fold(0, |sum, path| {
        let meta = fs::metadata(path).map_err(|e| ResourceError::io(path, e))?;
        Ok(sum + meta.len())
    })
}

fn created(path: &Path, error: std::io::Error) -> ResourceError {
    match error.kind() {
        ErrorKind::AlreadyExists => ResourceError::Exists(path.display().to_string()),
        _ => ResourceError::io(path, error),
    }
}
