use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::base::beside;
use crate::resource::ResourceError;
use crate::sqlite::{PageSize, file_uri};

/// A plain SQLite file of the user's, open for reading in such a way that neither it nor the files
/// beside it change.
///
/// - With a rollback journal: a read-only connection that keeps its shared lock, so that no other
///   process can commit meanwhile. A hot journal is not played back: that is refused.
/// - With a write-ahead log that another process has open (its shared memory exists): a read-only
///   connection beside that process. SQLite then creates nothing and removes nothing.
/// - With a write-ahead log and nobody there: SQLite would create the shared memory and leave it
///   behind. So the connection takes the file's exclusive lock, under which SQLite keeps the log's
///   index in memory; it writes nothing, and makes no checkpoint when it closes. (`immutable=1`
///   would take no lock, and a writer that came meanwhile would go unnoticed.)
pub(super) struct Source {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    pub(super) page_size: PageSize,
    /// Length of the main file, in bytes.
    pub(super) len: u64,
    /// Whether it keeps a write-ahead log.
    pub(super) wal: bool,
    /// A log that this connection made and that must go again.
    wal_to_remove: Option<PathBuf>,
}

impl Source {
    /// Opens the file at `path`, which must not be open in this process: its header is read
    /// through a descriptor of its own, and closing that one drops the process's POSIX locks.
    pub(super) fn open(path: &Path) -> Result<Self, ResourceError> {
        let (header, len) = read_header(path)?;
        let wal = header[18..20] == [2, 2];
        let log = beside(path, "-wal");
        let had_log = log.exists();
        let alone = wal && !(had_log && beside(path, "-shm").exists());
        let flags = match alone {
            true => OpenFlags::SQLITE_OPEN_READ_WRITE,
            false => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let failed = |e| refused(path, e);
        let conn = Connection::open_with_flags(
            file_uri(path, "vfs=unix"),
            flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(failed)?;
        if alone && conn.is_readonly("main").map_err(failed)? {
            return Err(ResourceError::Format {
                path: path.display().to_string(),
                why: "in WAL mode and write-protected, which SQLite cannot read safely; \
                      copy it to where you may write, and import the copy"
                    .to_owned(),
            });
        }
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(failed)?;
        if alone || !wal {
            conn.pragma_update(None, "locking_mode", "EXCLUSIVE")
                .map_err(failed)?;
        }
        let mut source = Self {
            conn,
            path: path.to_owned(),
            page_size: PageSize::DEFAULT,
            len,
            wal,
            wal_to_remove: (alone && !had_log).then_some(log),
        };
        // The first read: takes the lock, and reads the schema.
        source
            .conn
            .query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))
            .map_err(failed)?;
        let size = source
            .conn
            .query_row("PRAGMA page_size", (), |row| row.get(0))
            .map_err(failed)?;
        source.page_size = PageSize::new(size).expect("SQLite tells a page size");
        Ok(source)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Still under the exclusive lock: nobody else can have begun to use it.
        if let Some(log) = &self.wal_to_remove
            && fs::metadata(log).is_ok_and(|m| m.len() == 0)
        {
            let _ = fs::remove_file(log);
        }
    }
}

/// An error of SQLite on a source, with what to do.
pub(super) fn refused(path: &Path, error: rusqlite::Error) -> ResourceError {
    let extended = error.sqlite_error().map_or(0, |e| e.extended_code);
    let why = match error.sqlite_error_code() {
        _ if extended == ffi::SQLITE_READONLY_ROLLBACK => {
            "its last writer did not end cleanly and left a journal to roll back; \
             open it once with its own program, or with `sqlite3`, and import it then"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "damaged; `sqlite3 FILE .recover` may save what is left of it"
        }
        _ => return ResourceError::sqlite(path, error),
    };
    ResourceError::Format {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}

fn read_header(path: &Path) -> Result<([u8; 100], u64), ResourceError> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => ResourceError::NotFound(path.display().to_string()),
        _ => ResourceError::io(path, e),
    };
    let format = |why: &str| ResourceError::Format {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    let meta = fs::metadata(path).map_err(failed)?;
    if !meta.is_file() {
        return Err(format("not a file, so no SQLite database"));
    }
    let mut header = [0; 100];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
            return Err(format("too short for a SQLite database"));
        }
        done => done.map_err(failed)?,
    }
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(format(
            "does not begin as a SQLite database does; when a program encrypted it, \
             let that program decrypt it first",
        ));
    }
    Ok((header, meta.len()))
}
