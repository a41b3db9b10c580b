//! Rewriting all pages of a database while it is in use: from plain to sealed, from one data
//! encryption key to another, from sealed to plain.
//!
//! The header says what is under way, and each page, where it lies, whether that has reached it. So
//! any page may be written by anybody at any time, always as it will be in the end; what is left over
//! is written by ordinary transactions that change nothing. Whatever makes a transaction safe makes a
//! conversion safe, and a crash loses no more than the transaction that was under way.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use crate::base::{FileLock, ResourceId, beside, sync_names, write_private_new};
use crate::crypto::Secret;

use super::database::{SealedDatabase, format, io, lower};
use super::header::Facts;
use super::page_file::PageFile;
use super::progress::{Progress, progress_of};
use super::side;
use super::vfs::LowerFile;
use super::{Conversion, KEY_SLOT_LEN, KeySource, PageSize, SealedError, slots, verify};

/// Bytes of pages that are rewritten in one transaction.
const BATCH: usize = 1 << 20;

/// Passes over all pages; each finds only what others have kept from being converted.
const PASSES: usize = 20;

/// How long a conversion waits between two tries for a lock, and how often.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSES: i32 = 30_000;

impl SealedDatabase {
    /// Writes a new file at `path` that is going to be made of a plain database with `pages` pages. When
    /// it is opened in its place, the plain one must lie beside it, with `.old` at the end of its name.
    pub fn create_over(
        path: &Path,
        file: ResourceId,
        page_size: PageSize,
        pages: u64,
        slot: &[u8; KEY_SLOT_LEN],
        keys: Arc<dyn KeySource>,
    ) -> Result<(), SealedError> {
        let facts = Facts {
            conversion: Conversion::Encryption,
            ..Facts::new(page_size, true)
        };
        let (block, _) = slots::first_block(path, file, &facts, pages, slot, &keys)?;
        let len = block.len() as u64 + pages * u64::from(page_size.get());
        let write = || {
            write_private_new(path, &block)?;
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(len)?;
            file.sync_all()
        };
        write().map_err(|e| io(path, e))
    }

    /// What is under way.
    pub fn conversion(&self) -> Conversion {
        self.shared.conversion()
    }

    /// The plain file beside the database, while it is converted from or to it.
    fn side_path(&self) -> PathBuf {
        beside(self.shared.path(), side::ending(self.conversion()))
    }

    /// Without that file a database that is converted is not whole.
    pub(super) fn insist_on_side(&self) -> Result<(), SealedError> {
        let path = self.side_path();
        match self.conversion() {
            Conversion::Encryption | Conversion::Decryption if !path.is_file() => Err(format(
                self.shared.path(),
                &format!("half converted, and {} is missing", path.display()),
            )),
            _ => Ok(()),
        }
    }

    fn progress(&self) -> Result<Progress, SealedError> {
        progress_of(&self.shared).map_err(|c| self.refused(c))
    }

    /// Has `new` be the data encryption key from now on, to which `slot` leads; pages that are sealed under
    /// the old one are left to [`SealedDatabase::convert`].
    pub fn begin_key_change(
        &self,
        slot: &[u8; KEY_SLOT_LEN],
        new: &Secret<32>,
    ) -> Result<(), SealedError> {
        let conn = self.connect_patiently()?;
        let file = self.shared.file();
        self.alone(&conn, "IMMEDIATE", || {
            let mut changed = None;
            let facts = self.shared.facts();
            self.shared
                .with_key(&mut |old| changed = Some(facts.change_key(file, old, new)))
                .map_err(|c| self.refused(c))?;
            let changed = changed.expect("a key source that succeeds shows its key");
            self.write_slots(Some(slot), Some(new), |_| changed)
                .map(|_| ())
        })
    }

    /// Has pages be written plain from now on, to a file beside this one; the others are left to
    /// [`SealedDatabase::convert`].
    pub fn begin_decryption(&self) -> Result<(), SealedError> {
        let path = beside(self.shared.path(), side::ending(Conversion::Decryption));
        let conn = self.connect_patiently()?;
        let page = u64::from(self.page_size().get());
        self.alone(&conn, "IMMEDIATE", || {
            let pages = self.page_count(&conn)?;
            let make = || {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(true).mode(0o600);
                let made = options.open(&path)?;
                made.set_len(pages * page)?;
                made.sync_all()?;
                sync_names(&path)
            };
            make().map_err(|e| io(&path, e))?;
            self.write_slots(None, None, |facts| Facts {
                conversion: Conversion::Decryption,
                fresh: false,
                ..facts.clone()
            })
            .map(|_| ())
        })
    }

    /// Rewrites all pages that the conversion under way has not reached, a megabyte at a time, while
    /// others read and write. Returns when all are done and [`SealedDatabase::finish`] may be called.
    ///
    /// # Errors
    /// [`SealedError::Busy`] when others kept it from ending; calling it again goes on.
    pub fn convert(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), SealedError> {
        let _scan = self.scan()?;
        let conn = self.connect_patiently()?;
        for _ in 0..PASSES {
            self.rewrite(&conn, progress)?;
            // Readers may keep a part of the log from being copied; what matters is what was.
            let _ = self.empty_log(&conn)?;
            self.cut_rest(&conn)?;
            let state = self.progress()?;
            if state.done == state.pages {
                progress(state.pages, state.pages);
                return Ok(());
            }
        }
        Err(self.busy())
    }

    /// A connection that waits for half a minute, and tries often: it is to get its turn also where others
    /// write without a pause.
    fn connect_patiently(&self) -> Result<Connection, SealedError> {
        let mut conn = self.connect()?;
        conn.busy_handler(Some(|tries| {
            std::thread::sleep(PAUSE);
            tries < PAUSES
        }))
        .map_err(|e| self.explain(e))?;
        Ok(conn)
    }

    /// The right to convert, which one process at a time has.
    fn scan(&self) -> Result<Scan, SealedError> {
        let path = scan_path(self.shared.path());
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(|e| io(&path, e))?;
        match FileLock::try_exclusive(file) {
            Ok(lock) => Ok(Scan { _lock: lock, path }),
            Err(_) => Err(self.busy()),
        }
    }

    fn rewrite(
        &self,
        conn: &Connection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), SealedError> {
        let page = self.page_size().get() as usize;
        let mut medium =
            LowerFile::open_main(&self.shared).map_err(|c| lower(self.shared.path(), c))?;
        let mut file = PageFile::new(self.shared.clone(), 0);
        let (mut next, mut pages) = (1, u64::MAX);
        while next <= pages {
            let tx = rusqlite::Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
                .map_err(|e| self.explain(e))?;
            pages = self.page_count(&tx)?;
            let mut touched = 0;
            while next <= pages && touched < (BATCH / page).max(1) {
                file.check().map_err(|c| self.refused(c))?;
                if !file
                    .is_converted(&mut medium, next)
                    .map_err(|c| self.refused(c))?
                {
                    tx.prepare_cached("UPDATE sqlite_dbpage SET data = data WHERE pgno = ?1")
                        .and_then(|mut touch| touch.execute([next as i64]))
                        .map_err(|e| self.explain(e))?;
                    touched += 1;
                }
                next += 1;
            }
            tx.commit().map_err(|e| self.explain(e))?;
            progress(next - 1, pages);
        }
        Ok(())
    }

    /// Cuts off what lies behind the last page. SQLite cuts the file after a commit; a crash before that
    /// leaves pages there which it never looks at, and which no transaction rewrites.
    fn cut_rest(&self, conn: &Connection) -> Result<(), SealedError> {
        if self.progress()?.pages <= self.page_count(conn)? {
            return Ok(());
        }
        self.alone(conn, "EXCLUSIVE", || {
            let last = self.page_count(conn)?;
            let cut = || {
                if verify::log_holds_commits(&self.shared)? {
                    return Ok(());
                }
                let mut medium = LowerFile::open_main(&self.shared)?;
                let mut file = PageFile::new(self.shared.clone(), 0);
                file.check()?;
                file.cut_rest(&mut medium, last)
            };
            cut().map_err(|code| self.refused(code))
        })
    }

    /// Ends the conversion: whoever uses the database goes by what the header then says. After a
    /// decryption that is that the plain file beside it is the database, which the caller puts in
    /// its place. Returns how many pages it has.
    ///
    /// # Errors
    /// [`SealedError::Busy`] when something is left to convert; and when others have the database open
    /// that is decrypted, of which they would not notice in the middle of a transaction.
    pub fn finish(&self) -> Result<u64, SealedError> {
        let conn = self.connect_patiently()?;
        let busy = !self.empty_log(&conn)?;
        if self.conversion() == Conversion::Decryption {
            // SQLite leaves the log only for the one connection there is.
            let mode: String = conn
                .query_row("PRAGMA journal_mode = delete", (), |row| row.get(0))
                .map_err(|e| self.explain(e))?;
            if busy || mode != "delete" {
                return Err(self.busy());
            }
            return self.alone(&conn, "EXCLUSIVE", || {
                let pages = self.insist_on_all()?;
                let path = self.side_path();
                let synced = File::open(&path).and_then(|file| file.sync_all());
                synced.map_err(|e| io(&path, e))?;
                self.settle(Conversion::Decrypted)?;
                Ok(pages)
            });
        }
        self.alone(&conn, "IMMEDIATE", || {
            let pages = self.insist_on_all()?;
            if !verify::seal_records(&self.shared).map_err(|c| self.refused(c))? {
                return Err(self.busy());
            }
            self.settle(Conversion::None)?;
            Ok(pages)
        })
    }

    /// How many pages there are, all of which must be done.
    fn insist_on_all(&self) -> Result<u64, SealedError> {
        let state = self.progress()?;
        match state.done == state.pages {
            true => Ok(state.pages),
            false => Err(self.busy()),
        }
    }

    fn settle(&self, conversion: Conversion) -> Result<(), SealedError> {
        let settled = self.write_slots(None, None, |facts| Facts {
            conversion,
            previous: None,
            ..facts.clone()
        });
        settled.map(|_| ())
    }

    /// Moves what the write-ahead log holds, if there is one, into the main file; `false` when others
    /// keep that from being done.
    fn empty_log(&self, conn: &Connection) -> Result<bool, SealedError> {
        let busy: i64 = conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get(0))
            .map_err(|e| self.explain(e))?;
        Ok(busy == 0)
    }

    fn page_count(&self, conn: &Connection) -> Result<u64, SealedError> {
        let count: i64 = conn
            .query_row("PRAGMA page_count", (), |row| row.get(0))
            .map_err(|e| self.explain(e))?;
        Ok(count.unsigned_abs())
    }

    /// Does `work` while nobody else writes (`IMMEDIATE`), or reads (`EXCLUSIVE`).
    fn alone<T>(
        &self,
        conn: &Connection,
        lock: &str,
        work: impl FnOnce() -> Result<T, SealedError>,
    ) -> Result<T, SealedError> {
        conn.execute_batch(&format!("BEGIN {lock}"))
            .map_err(|e| self.explain(e))?;
        let done = work();
        let ended = conn.execute_batch("ROLLBACK").map_err(|e| self.explain(e));
        match (done, self.conversion()) {
            // Then this connection is refused, too.
            (Ok(done), Conversion::Decrypted) => Ok(done),
            (done, _) => done.and_then(|done| ended.map(|()| done)),
        }
    }

    fn busy(&self) -> SealedError {
        SealedError::Busy {
            path: self.shared.path().display().to_string(),
        }
    }
}

/// Whether a process is converting the database at `path` at this moment.
pub(super) fn is_scanned(path: &Path) -> bool {
    let file = File::open(scan_path(path));
    file.is_ok_and(|file| file.try_lock_shared().is_err())
}

/// While it lives, others see that the database is being converted.
struct Scan {
    _lock: FileLock,
    path: PathBuf,
}

impl Drop for Scan {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// An empty file beside the database, locked while a process converts it.
fn scan_path(path: &Path) -> PathBuf {
    beside(path, "-scan")
}
