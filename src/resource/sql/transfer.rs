use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::base::{ResourceId, sync_names};
use crate::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use crate::sqlite::file_uri;

use super::SqlDatabase;
use super::content;
use super::source::{Source, refused};

/// How often `progress` is told where a transfer stands.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl SqlDatabase {
    /// Makes a database at `path` that holds what the plain SQLite file `source` holds, with pages
    /// of the same size; nothing is left at `path` when it fails. See [`SqlDatabase::import`].
    pub fn create_from(
        path: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
        source: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, ResourceError> {
        let source = Source::open(source)?;
        let database = Self::create(path, id, source.page_size, protection, wrapper)?;
        match database.fill(source, progress) {
            Ok(()) => Ok(database),
            Err(e) => {
                for file in database.files()? {
                    let _ = fs::remove_file(file);
                }
                Err(e)
            }
        }
    }

    /// Fills this fresh database from the plain SQLite file `source`, which is read and not changed,
    /// nor are the files beside it. `progress` is told bytes done and in all.
    ///
    /// The copy is SQLite's own (`VACUUM INTO`), whatever the schema: tables with and without row
    /// ids, generated columns, indexes, views, triggers, virtual tables with their shadow tables,
    /// and the settings of [`content::Content`]. Row ids stay, those without an INTEGER PRIMARY KEY
    /// too. Free pages are not copied. Afterwards both are read and compared.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when this database is not fresh or has pages of another size;
    /// [`ResourceError::Format`] when `source` is no SQLite database or a damaged one, or was not
    /// closed cleanly; [`ResourceError::Busy`] when another process writes to it. After any but the
    /// first the database may be incomplete and must be removed, as `create_from` does.
    pub fn import(
        &self,
        source: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ResourceError> {
        self.fill(Source::open(source)?, progress)
    }

    fn fill(
        &self,
        source: Source,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ResourceError> {
        let pages: i64 = self
            .connect()?
            .query_row("PRAGMA page_count", (), |row| row.get(0))
            .map_err(|e| self.explain(e))?;
        if pages != 0 {
            return Err(ResourceError::Usage(format!(
                "{}: holds data already; import into a new database",
                self.path().display()
            )));
        }
        if source.page_size != self.page_size() {
            return Err(ResourceError::Usage(format!(
                "{}: has pages of {} bytes; import it into a database with pages of that size",
                source.path.display(),
                source.page_size.get()
            )));
        }
        let (total, wal) = (source.len.saturating_mul(3), source.wal);
        let len = source.len;
        watch(self.path(), len, total, progress, move |hashed| {
            self.fill_from(&source, hashed)
        })?;
        if wal {
            self.connect()?
                .pragma_update(None, "journal_mode", "wal")
                .map_err(|e| self.explain(e))?;
        }
        Ok(())
    }

    fn fill_from(&self, source: &Source, hashed: &AtomicU64) -> Result<(), ResourceError> {
        let stamp = || data_version(&source.conn).map_err(|e| refused(&source.path, e));
        let before = stamp()?;
        let auto_vacuum = source
            .conn
            .query_row("PRAGMA auto_vacuum", (), |row| row.get(0))
            .map_err(|e| refused(&source.path, e))?;
        let target = self.vacuum_target(auto_vacuum);
        source
            .conn
            .execute("VACUUM INTO ?1", [target])
            .map_err(|e| match e.sqlite_error_code() {
                // Of the two, only the source can be so: what seals the target knows its own.
                Some(ErrorCode::DatabaseCorrupt) => refused(&source.path, e),
                _ => self.explain(e),
            })?;
        let original =
            content::counted(&source.conn, hashed).map_err(|e| refused(&source.path, e))?;
        if stamp()? != before {
            return Err(ResourceError::Busy {
                path: source.path.display().to_string(),
            });
        }
        let copy = content::counted(&self.connect()?, hashed).map_err(|e| self.explain(e))?;
        same(self.path(), &original, &copy)
    }

    /// Writes a plain, unprotected SQLite file to `dest`, which must not exist: whoever can read
    /// that file can read the data. It is written beside `dest` under another name, compared with
    /// this database, and then renamed. `progress` is told bytes done and in all.
    ///
    /// # Errors
    /// [`ResourceError::Exists`]; this database's own; nothing is left at `dest` then.
    pub fn export(
        &self,
        dest: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ResourceError> {
        if dest.symlink_metadata().is_ok() {
            return Err(ResourceError::Exists(dest.display().to_string()));
        }
        let dir = match dest.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let temp = tempfile::NamedTempFile::new_in(dir).map_err(|e| ResourceError::io(dir, e))?;
        let len = fs::metadata(self.path()).map_or(0, |m| m.len());
        let conn = self.connect()?;
        let (plain, total) = (temp.path(), len.saturating_mul(3));
        watch(plain, len, total, progress, move |hashed| {
            self.export_to(&conn, plain, hashed)
        })?;
        temp.as_file()
            .sync_all()
            .map_err(|e| ResourceError::io(dest, e))?;
        temp.persist_noclobber(dest)
            .map_err(|e| match e.error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    ResourceError::Exists(dest.display().to_string())
                }
                _ => ResourceError::io(dest, e.error),
            })?;
        sync_names(dest).map_err(|e| ResourceError::io(dir, e))
    }

    fn export_to(
        &self,
        conn: &Connection,
        plain: &Path,
        hashed: &AtomicU64,
    ) -> Result<(), ResourceError> {
        let stamp = || data_version(conn).map_err(|e| self.explain(e));
        let before = stamp()?;
        conn.execute("VACUUM INTO ?1", [file_uri(plain, "vfs=unix&reserve=0")])
            .map_err(|e| self.explain(e))?;
        let original = content::counted(conn, hashed).map_err(|e| self.explain(e))?;
        if stamp()? != before {
            return Err(ResourceError::Busy {
                path: self.path().display().to_string(),
            });
        }
        let mode: String = conn
            .query_row("PRAGMA journal_mode", (), |row| row.get(0))
            .map_err(|e| self.explain(e))?;
        let read_copy = || {
            let copy = Connection::open(plain)?;
            if mode == "wal" {
                copy.pragma_update(None, "journal_mode", mode)?;
            }
            content::counted(&copy, hashed)
        };
        same(
            plain,
            &original,
            &read_copy().map_err(|e| refused(plain, e))?,
        )
    }
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", (), |row| row.get(0))
}

/// The copy must be what the original is; SQLite gives no reason to expect anything else.
fn same(
    copy_path: &Path,
    original: &content::Content,
    copy: &content::Content,
) -> Result<(), ResourceError> {
    match original.difference(copy) {
        None => Ok(()),
        Some(what) => Err(ResourceError::Format {
            path: copy_path.display().to_string(),
            why: format!("the copy differs from the original: {what}"),
        }),
    }
}

/// Does `work` on a thread of its own, and tells `progress` meanwhile how far it is: the length
/// that the file `copy` has reached, of `copy_len`, and the bytes that `work` counts.
fn watch(
    copy: &Path,
    copy_len: u64,
    total: u64,
    progress: &mut dyn FnMut(u64, u64),
    work: impl FnOnce(&AtomicU64) -> Result<(), ResourceError> + Send,
) -> Result<(), ResourceError> {
    let counted = AtomicU64::new(0);
    let worked = thread::scope(|scope| {
        let (done, waiting) = mpsc::channel::<()>();
        let counted = &counted;
        let worker = scope.spawn(move || {
            let _dropped_at_the_end = done;
            work(counted)
        });
        while let Err(RecvTimeoutError::Timeout) = waiting.recv_timeout(PROGRESS_INTERVAL) {
            let copied = fs::metadata(copy).map_or(0, |m| m.len()).min(copy_len);
            let read = counted.load(Ordering::Relaxed);
            progress((copied + read).min(total), total);
        }
        worker.join()
    });
    match worked {
        Ok(result) => result.inspect(|()| progress(total, total)),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
