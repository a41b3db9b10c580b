use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::base::sabotage::{Sabotage, broken};
use crate::base::{ResourceId, beside, write_private_new};

use super::header::{Facts, Slot};
use super::medium::Code;
use super::shared::Shared;
use super::{
    Conversion, Freshness, KEY_SLOT_LEN, KeySource, KeyUnavailable, PageSize, Position,
    SealedError, side, slots, verify, vfs,
};

/// A sealed SQLite database: its file, its key, and connections to it.
pub struct SealedDatabase {
    pub(super) shared: Arc<Shared>,
    pub(super) keys: Arc<dyn KeySource>,
}

impl SealedDatabase {
    /// Makes a new file at `path` (which must not exist) that is sealed from its first byte on.
    pub fn create(
        path: &Path,
        file: ResourceId,
        page_size: PageSize,
        freshness: Freshness,
        slot: &[u8; KEY_SLOT_LEN],
        keys: Arc<dyn KeySource>,
    ) -> Result<Self, SealedError> {
        let facts = Facts::new(page_size, freshness == Freshness::Kept);
        let (block, newest) = slots::first_block(path, file, &facts, 0, slot, &keys)?;
        write_private_new(path, &block).map_err(|e| io(path, e))?;
        Self::register(path, &newest, keys)
    }

    /// Opens the sealed file at `path`, whose header must be authentic under the key.
    ///
    /// # Errors
    /// [`SealedError::Format`] when it is no sealed file; [`SealedError::Unauthentic`] when it is
    /// another file, another key's, or altered.
    pub fn open(
        path: &Path,
        file: ResourceId,
        keys: Arc<dyn KeySource>,
    ) -> Result<Self, SealedError> {
        let file = match broken(Sabotage::ResourceNotBound) {
            true => slots::read(path)?[0].1.file,
            false => file,
        };
        let (_, slot) = slots::authentic(path, file, &*keys)?.swap_remove(0);
        let database = Self::register(path, &slot, keys)?;
        database.insist_on_side()?;
        Ok(database)
    }

    fn register(path: &Path, slot: &Slot, keys: Arc<dyn KeySource>) -> Result<Self, SealedError> {
        vfs::register().map_err(|c| lower(path, c))?;
        // SQLite names journals after the absolute path; so does the table of open databases.
        let path = path.canonicalize().map_err(|e| io(path, e))?;
        Ok(Self {
            shared: Shared::register(&path, slot, keys.clone()),
            keys,
        })
    }

    /// A new connection, foreign keys on, with a busy timeout of 5 s.
    pub fn connect(&self) -> Result<Connection, SealedError> {
        self.keys
            .check()
            .map_err(|e| unavailable(self.shared.path(), e))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(self.uri(), flags, vfs::NAME)
            .map_err(|e| self.explain(e))?;
        connection
            .busy_timeout(Duration::from_secs(5))
            .and_then(|()| vfs::add_view(&connection))
            .map_err(|e| self.explain(e))?;
        Ok(connection)
    }

    /// A connection that looks at the database and leaves its write-ahead log alone. An ordinary one,
    /// when it is the last, copies the log into the main file as it closes: a log that was cut would
    /// then be the newest state of the file before anybody has compared it with what it was.
    pub fn connect_to_look(&self) -> Result<Connection, SealedError> {
        let connection = self.connect()?;
        let set = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        set.map_err(|e| self.explain(e))?;
        Ok(connection)
    }

    /// The name by which SQLite's ATTACH and VACUUM INTO reach this file in this process. While
    /// the database is empty, `&auto_vacuum=1` (full) or `=2` (incremental) may be added.
    pub fn uri(&self) -> String {
        let (vfs, token) = (vfs::NAME.to_string_lossy(), self.shared.token());
        file_uri(self.shared.path(), &format!("vfs={vfs}&atrest={token}"))
    }

    pub(super) fn into_shared(self) -> Arc<Shared> {
        self.shared
    }

    /// The size of its pages.
    pub fn page_size(&self) -> PageSize {
        self.shared.page_size()
    }

    /// Turns an error of a connection into the reason behind it (a key that may not be used, a
    /// failed tag), where this file knows one.
    pub fn explain(&self, error: rusqlite::Error) -> SealedError {
        let path = self.shared.path().display().to_string();
        let code = match &error {
            rusqlite::Error::SqliteFailure(e, _) => Some(*e),
            _ => None,
        };
        match code.map(|e| (Code(e.extended_code), e.code)) {
            Some((Code::KEY_UNAVAILABLE, _)) => SealedError::KeyUnavailable {
                path,
                why: self.shared.refusal().unwrap_or_default(),
            },
            // Every page is authenticated, so a file that does not fit together was cut, or put
            // together from parts.
            Some((Code::UNAUTHENTIC, _))
            | Some((_, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) => {
                SealedError::Unauthentic { path }
            }
            _ => SealedError::Sqlite {
                path,
                source: error,
            },
        }
    }

    /// Reads and authenticates every page of the main file, and the write-ahead log up to its
    /// last whole frame; returns how many units and bytes. `progress` is told bytes done and in
    /// all. A rollback journal is not read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(u64, u64), SealedError> {
        let path = self.shared.path();
        slots::authentic(path, self.shared.file(), &*self.keys)?;
        let _held = self.hold()?;
        let read = self.unless_busy(verify::verify(&self.shared, progress))?;
        Ok((read.units, read.bytes))
    }

    /// Compares the file with what is remembered of it, where it keeps a freshness record: it must
    /// be that or newer. `kept` is `None` when nothing is remembered. Returns how far it has come.
    /// Old pages inside a file that is new enough are found by [`SealedDatabase::verify`].
    ///
    /// # Errors
    /// [`SealedError::Stale`], with what shows it.
    pub fn check_freshness(&self, kept: Option<&Position>) -> Result<Position, SealedError> {
        let _held = self.hold()?;
        self.unless_busy(verify::check(&self.shared, kept))
    }

    /// A connection in a read transaction: SQLite has played back what a crash left, and others write
    /// no pages until it goes.
    pub(super) fn hold(&self) -> Result<Connection, SealedError> {
        let connection = self.connect_to_look()?;
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")
            .map_err(|e| self.explain(e))?;
        Ok(connection)
    }

    pub(super) fn unless_busy<T>(&self, done: Result<Option<T>, Code>) -> Result<T, SealedError> {
        let path = || self.shared.path().display().to_string();
        done.map_err(|code| self.refused(code))?
            .ok_or_else(|| SealedError::Busy { path: path() })
    }

    /// Whether the file keeps freshness records.
    pub fn keeps_freshness(&self) -> bool {
        self.shared.is_fresh()
    }

    /// How far the file has come, without comparing it with anything.
    pub fn position(&self) -> Result<Position, SealedError> {
        match verify::position(&self.shared) {
            Ok(Some(position)) => Ok(position),
            Ok(None) => Err(unauthentic(self.shared.path())),
            Err(code) => Err(self.refused(code)),
        }
    }

    /// Reads every page and sums them up anew, as a version later than `past` and than the one that
    /// the file says it has: from now on this is the newest.
    pub fn renew_freshness(&self, past: u64) -> Result<(), SealedError> {
        let connection = self.connect()?;
        let run = |sql: &str| {
            let done = connection.query_row(sql, (), |_| Ok(()));
            done.or_else(|e| match e {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                e => Err(self.explain(e)),
            })
        };
        // What a crash left is played back, the log goes into the main file, and others wait.
        run("SELECT count(*) FROM sqlite_schema")?;
        run("PRAGMA wal_checkpoint(TRUNCATE)")?;
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|e| self.explain(e))?;
        self.unless_busy(verify::renew(&self.shared, past))
    }

    /// Tells the key source how far the file has come, once that is on the disk: whoever wrote it may not have
    /// synced it.
    pub fn anchor(&self, position: &Position) {
        if verify::sync(&self.shared).is_ok() {
            self.shared.anchor(position);
        }
    }

    /// The error that stands for a code of this module's own.
    pub(super) fn refused(&self, code: Code) -> SealedError {
        let path = self.shared.path();
        let (why, shown) = (
            self.shared.refusal().unwrap_or_default(),
            path.display().to_string(),
        );
        match code {
            Code::UNAUTHENTIC => unauthentic(path),
            Code::KEY_UNAVAILABLE => SealedError::KeyUnavailable { path: shown, why },
            Code::STALE => SealedError::Stale { path: shown, why },
            code => lower(path, code),
        }
    }

    /// The files that exist now: main, WAL, journal, and a plain one that it is being converted from or
    /// to. Not the `-shm` beside an open WAL, which
    /// only says where in memory the log's index lies (docs/format.md, "Shared memory").
    pub fn files(&self) -> Vec<PathBuf> {
        database_files(self.shared.path())
    }
}

/// The files that hold the data of the SQLite database at `path`, sealed or plain, as far as they
/// exist: main, WAL, journal, and the plain file that it is being converted from or to.
pub fn database_files(path: &Path) -> Vec<PathBuf> {
    let mut endings = vec!["", "-wal", "-journal"];
    if let Ok(
        conversion @ (Conversion::Encryption | Conversion::Decryption | Conversion::Decrypted),
    ) = SealedDatabase::conversion_at(path)
    {
        endings.push(side::ending(conversion));
    }
    endings
        .into_iter()
        .map(|ending| beside(path, ending))
        .filter(|path| path.is_file())
        .collect()
}

/// The URI of a file, as SQLite reads it (`https://www.sqlite.org/uri.html`): each byte of the path
/// but the harmless ones is escaped.
pub fn file_uri(path: &Path, query: &str) -> String {
    let mut uri = String::from("file:");
    for &b in path.as_os_str().as_bytes() {
        if b.is_ascii_alphanumeric() || b"/-._~".contains(&b) {
            uri.push(char::from(b));
        } else {
            uri.push_str(&format!("%{b:02x}"));
        }
    }
    uri + "?" + query
}

pub(super) fn format(path: &Path, why: &str) -> SealedError {
    SealedError::Format {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}

pub(super) fn unauthentic(path: &Path) -> SealedError {
    SealedError::Unauthentic {
        path: path.display().to_string(),
    }
}

pub(super) fn unavailable(path: &Path, KeyUnavailable(why): KeyUnavailable) -> SealedError {
    SealedError::KeyUnavailable {
        path: path.display().to_string(),
        why,
    }
}

pub(super) fn io(path: &Path, source: std::io::Error) -> SealedError {
    SealedError::Io {
        path: path.display().to_string(),
        source,
    }
}

pub(super) fn lower(path: &Path, Code(code): Code) -> SealedError {
    SealedError::Sqlite {
        path: path.display().to_string(),
        source: rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None),
    }
}
