//! The shim between SQLite's VFS interface (<https://www.sqlite.org/vfs.html>) and sealed files:
//! it opens the file below through the system's own VFS, turns pointers into slices, and passes
//! on what is not data (locks, shared memory, names, time). The only file with `unsafe` code.
//! It is registered with the bundled SQLite, and with that of a program that loads this library as
//! an extension (the last part).
//!
//! SQLite promises, and every block here relies on it: a file's methods get the `sqlite3_file`
//! that `xOpen` filled, one call at a time, not after `xClose`; names end in NUL and live as long
//! as the file is open; buffers have the length given. A panic in a method ends the process, as Rust
//! does at every such border: a file whose method stopped half way must not be used again.
//!
//! Over 400 lines because all `unsafe` code of the program is in this one file.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, ffi};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::base::{Part, beside, may_wait, within};

use super::PageSize;
use super::host::{self, Host};
use super::journal_file::JournalFile;
use super::medium::{Code, Medium};
use super::page_file::PageFile;
use super::shared::Shared;
use super::stream_file::StreamFile;
use super::unit::UnitKind;
use super::verify;
use super::view::{self, Value};
use super::wal_file::{Main, WalFile};
use super::wal_index::WalIndexHome;

/// The VFS's name, in `file:...?vfs=atrest`.
pub(super) const NAME: &CStr = c"atrest";

/// The lock of a write-ahead log's writer (SQLite's "WAL-mode File Format", section 2.3).
const WRITE_LOCK: c_int = 0;

/// Growth of a file, in bytes, up to which an old mapping is kept in any case.
const MAP_STEP: u64 = 1 << 20;

/// A file of the VFS below.
pub(super) struct LowerFile {
    /// `sqlite3_file` and what the VFS below keeps behind it; aligned for any of its fields.
    memory: Box<[u64]>,
    /// A name that this file keeps alive, when SQLite does not.
    _name: Option<FileName>,
    /// The length that the VFS below has mapped, as far as it was asked to.
    mapped: u64,
}

/// A file's name in the form in which SQLite hands names to a VFS, which may ask it for parameters.
struct FileName {
    name: *const c_char,
    free: unsafe extern "C" fn(*const c_char),
}

impl FileName {
    fn new(sqlite: &Sqlite, path: &Path) -> Result<Self, Code> {
        let path = CString::new(path.as_os_str().as_bytes());
        let path = path.map_err(|_| Code(ffi::SQLITE_CANTOPEN))?;
        let (none, empty) = (std::ptr::null_mut(), c"".as_ptr());
        let create = sqlite.functions.create_filename;
        // SAFETY: all names end in NUL, and there are no parameters.
        let name = unsafe { create(path.as_ptr(), empty, empty, 0, none) };
        match name.is_null() {
            true => Err(Code(ffi::SQLITE_NOMEM)),
            false => Ok(Self {
                name,
                free: sqlite.functions.free_filename,
            }),
        }
    }
}

impl Drop for FileName {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and this is the last use of it.
        unsafe { (self.free)(self.name) }
    }
}

// SAFETY: SQLite itself moves a connection's files between threads; the memory is owned, and one
// call at a time goes through `&mut self`.
unsafe impl Send for LowerFile {}

impl LowerFile {
    /// Opens an existing database file beside SQLite, for header and verification. It goes through
    /// the VFS below, since a descriptor opened and closed elsewhere would drop SQLite's locks; of
    /// the SQLite that has the file open, since the other one knows nothing of those.
    pub(super) fn open_path(path: &Path) -> Result<Self, Code> {
        let server = Shared::served_at(path).and_then(|shared| shared.server());
        Self::open_by(server, path)
    }

    /// The same for the main file of `shared`, also when that is being let go of.
    pub(super) fn open_main(shared: &Shared) -> Result<Self, Code> {
        Self::open_by(shared.server(), shared.path())
    }

    /// An existing file whose name is that of the main file of `shared` with `ending` at its end.
    pub(super) fn open_beside(shared: &Shared, ending: &str) -> Result<Self, Code> {
        Self::open_by(shared.server(), &beside(shared.path(), ending))
    }

    fn open_by(server: Option<&'static Sqlite>, path: &Path) -> Result<Self, Code> {
        let sqlite = match server {
            Some(sqlite) => sqlite,
            None => bundled()?,
        };
        let name = FileName::new(sqlite, path)?;
        let flags = ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_MAIN_DB;
        // SAFETY: the name ends in NUL and is kept in the file below until it is closed.
        let mut file = unsafe { Self::open(sqlite, name.name, flags, std::ptr::null_mut())? };
        file._name = Some(name);
        Ok(file)
    }

    /// Opens the main file of `shared` by its name `link`, while this process has a lock on it. The VFS below
    /// follows no link, but takes over the descriptor of a file that was closed under a lock, whatever
    /// name it is asked for: so one is closed first. Another thread may be quicker to take it.
    fn open_by_link(shared: &Shared, link: &Path) -> Result<Self, Code> {
        let mut opened = Err(Code(ffi::SQLITE_CANTOPEN));
        for _ in 0..100 {
            drop(Self::open_main(shared)?);
            opened = Self::open_by(shared.server(), link);
            if opened.is_ok() {
                break;
            }
        }
        opened
    }

    /// # Safety
    /// `name` is null or ends in NUL and outlives the file; `out_flags` is null or writable.
    unsafe fn open(
        sqlite: &Sqlite,
        name: *const c_char,
        flags: c_int,
        out_flags: *mut c_int,
    ) -> Result<Self, Code> {
        let base = sqlite.base;
        // SAFETY: `base` is a registered VFS, which SQLite never frees.
        let (size, open) = unsafe { ((*base).szOsFile, (*base).xOpen) };
        let words = usize::try_from(size)
            .map_err(|_| Code(ffi::SQLITE_ERROR))?
            .div_ceil(8);
        let mut file = Self {
            memory: vec![0; words].into_boxed_slice(),
            _name: None,
            mapped: 0,
        };
        let open = open.ok_or(Code(ffi::SQLITE_ERROR))?;
        // SAFETY: the memory has the size that the VFS asks for and is zeroed; the rest is the
        // caller's promise.
        check(unsafe { open(base, name, file.raw(), flags, out_flags) })?;
        Ok(file)
    }

    fn raw(&mut self) -> *mut ffi::sqlite3_file {
        self.memory.as_mut_ptr().cast()
    }

    fn methods(&mut self) -> Option<&'static ffi::sqlite3_io_methods> {
        // SAFETY: `pMethods` is null or points to a table that the VFS below never frees.
        unsafe { (*self.raw()).pMethods.as_ref() }
    }

    /// Lets the VFS below read from a mapping of the file, which saves a system call a page: it
    /// copies the sealed bytes out, so what is authenticated is what is opened. Called with a lock
    /// held that keeps the file from shrinking; a mapping longer than the file is given up, and a
    /// shorter one when the file has outgrown it.
    fn map(&mut self) -> Result<(), Code> {
        let len = self.len()?;
        if (self.mapped..=self.mapped + self.mapped / 4 + MAP_STEP).contains(&len) {
            return Ok(());
        }
        self.mapped = len;
        let mut limit = i64::MAX;
        let mut bytes = std::ptr::null_mut();
        call(
            self,
            |m| m.xFileControl,
            |f, control| {
                // SAFETY: the argument of this operation is a 64-bit integer.
                unsafe { control(f, ffi::SQLITE_FCNTL_MMAP_SIZE, (&raw mut limit).cast()) }
            },
        )?;
        call(
            self,
            |m| m.xUnfetch,
            |f, unfetch| {
                // SAFETY: null gives up the mapping; nothing points into it.
                unsafe { unfetch(f, 0, std::ptr::null_mut()) }
            },
        )?;
        call(
            self,
            |m| m.xFetch,
            |f, fetch| {
                // SAFETY: `bytes` is a place for the pointer; fetching maps the file anew.
                unsafe { fetch(f, 0, 1, &raw mut bytes) }
            },
        )?;
        call(
            self,
            |m| m.xUnfetch,
            |f, unfetch| match bytes.is_null() {
                true => ffi::SQLITE_OK,
                // SAFETY: the pointer came from `xFetch` at this offset, and is not used.
                false => unsafe { unfetch(f, 0, bytes) },
            },
        )
    }
}

impl Drop for LowerFile {
    fn drop(&mut self) {
        let _ = call(
            self,
            |m| m.xClose,
            |f, close| {
                // SAFETY: the file is open, and this is the last use of it.
                unsafe { close(f) }
            },
        );
    }
}

impl Medium for LowerFile {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, Code> {
        let (len, offset) = (length(buf.len())?, position(offset)?);
        let read = call(
            self,
            |m| m.xRead,
            |f, read| {
                // SAFETY: the buffer is writable for `len` bytes.
                unsafe { read(f, buf.as_mut_ptr().cast(), len, offset) }
            },
        );
        match read {
            Ok(()) => Ok(buf.len()),
            // The VFS below fills with zeros and does not say how much it read: the length does.
            Err(Code::SHORT_READ) => {
                let end = self.len()?;
                let there = end.saturating_sub(offset.unsigned_abs());
                Ok(usize::try_from(there).unwrap_or(usize::MAX).min(buf.len()))
            }
            // SQLite would take it for a malformed file, which here means that it was altered.
            Err(Code(ffi::SQLITE_IOERR_CORRUPTFS)) => Err(Code(ffi::SQLITE_IOERR_READ)),
            Err(code) => Err(code),
        }
    }

    fn write_at(&mut self, buf: &[u8], offset: u64) -> Result<(), Code> {
        let (len, offset) = (length(buf.len())?, position(offset)?);
        call(
            self,
            |m| m.xWrite,
            |f, write| {
                // SAFETY: the buffer is readable for `len` bytes.
                unsafe { write(f, buf.as_ptr().cast(), len, offset) }
            },
        )
    }

    fn len(&mut self) -> Result<u64, Code> {
        let mut len = 0;
        call(
            self,
            |m| m.xFileSize,
            |f, file_size| {
                // SAFETY: `len` is writable.
                unsafe { file_size(f, &mut len) }
            },
        )?;
        Ok(len.unsigned_abs())
    }

    fn set_len(&mut self, len: u64) -> Result<(), Code> {
        let len = position(len)?;
        call(
            self,
            |m| m.xTruncate,
            |f, truncate| {
                // SAFETY: the file is open.
                unsafe { truncate(f, len) }
            },
        )
    }

    fn sync(&mut self) -> Result<(), Code> {
        call(
            self,
            |m| m.xSync,
            |f, sync| {
                // SAFETY: the file is open.
                within(Part::Sync, || unsafe { sync(f, ffi::SQLITE_SYNC_NORMAL) })
            },
        )
    }
}

/// Calls one method of the file below, when it has it.
fn call<F>(
    file: &mut LowerFile,
    method: impl FnOnce(&'static ffi::sqlite3_io_methods) -> Option<F>,
    use_method: impl FnOnce(*mut ffi::sqlite3_file, F) -> c_int,
) -> Result<(), Code> {
    match file.methods().and_then(method) {
        Some(f) => check(within(Part::System, || use_method(file.raw(), f))),
        None => Err(Code(ffi::SQLITE_IOERR)),
    }
}

fn check(code: c_int) -> Result<(), Code> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Code(code)),
    }
}

fn code(result: Result<(), Code>) -> c_int {
    result.map_or_else(|Code(code)| code, |()| ffi::SQLITE_OK)
}

fn length(len: usize) -> Result<c_int, Code> {
    c_int::try_from(len).map_err(|_| Code(ffi::SQLITE_IOERR))
}

fn position(offset: u64) -> Result<i64, Code> {
    i64::try_from(offset).map_err(|_| Code(ffi::SQLITE_IOERR))
}

/// What SQLite holds for an open file: its own part first, then ours.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    open: *mut Open,
}

/// Fields are dropped in this order: the files below are closed before the database is let go of,
/// after which another SQLite may open it.
struct Open {
    lower: LowerFile,
    /// Of a main file with a write-ahead log: the same file under the name by which its shared
    /// memory lies in a memory file system.
    index: Option<(LowerFile, WalIndexHome)>,
    io: Io,
    /// The database, when this is its main file: its locks ask whether the key may be used.
    database: Option<Arc<Shared>>,
    /// Of a log or a rollback journal: the main file of the same connection, which outlives it.
    main: *mut Open,
    /// Of a main file: the log of the same connection, while it is open.
    log: *mut Open,
    /// Of a main file: the rollback journal of the same connection, while it is open.
    journal: *mut Open,
}

/// What SQLite sees of a file: plain bytes at plain offsets.
enum Io {
    Pages(Box<PageFile>),
    Log(WalFile),
    Journal(JournalFile),
    Stream(StreamFile),
}

impl Open {
    fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<(), Code> {
        let lower = &mut self.lower;
        // SAFETY: the main file is open for as long as this one is.
        let mut main = unsafe { main(self.main) };
        match &mut self.io {
            Io::Pages(file) => file.read(lower, buf, offset),
            Io::Log(file) => file.read(lower, &mut main, buf, offset),
            Io::Journal(file) => match &mut main {
                Some(main) => file.read(lower, main, buf, offset),
                None => Err(Code(ffi::SQLITE_IOERR_READ)),
            },
            Io::Stream(file) => file.read(lower, buf, offset),
        }
    }

    fn write(&mut self, buf: &[u8], offset: u64) -> Result<(), Code> {
        self.write_out_journal()?;
        if let Io::Pages(file) = &self.io
            && file.is_free(offset)
            && let Some((journal, lower)) = self.journal()
        {
            journal.sync_free(lower)?;
        }
        let lower = &mut self.lower;
        // SAFETY: the main file is open for as long as this one is.
        let mut main = unsafe { main(self.main) };
        match &mut self.io {
            Io::Pages(file) => file.write(lower, buf, offset),
            Io::Log(file) => file
                .write(lower, &mut main, buf, offset)
                .inspect_err(|_| file.failed()),
            Io::Journal(file) => match &mut main {
                Some(main) => file.write(lower, main, buf, offset),
                None => Err(Code(ffi::SQLITE_IOERR_WRITE)),
            },
            Io::Stream(file) => file.write(lower, buf, offset),
        }
    }

    fn truncate(&mut self, len: u64) -> Result<(), Code> {
        self.write_out_journal()?;
        let lower = &mut self.lower;
        // SAFETY: a log takes itself out of its main file before it is closed.
        let log = unsafe { self.log.as_mut() };
        match &mut self.io {
            Io::Pages(file) => {
                let log = log.and_then(|open| match &mut open.io {
                    Io::Log(log) => Some((log, &mut open.lower as &mut dyn Medium)),
                    _ => None,
                });
                file.truncate(lower, log, len)
            }
            Io::Log(file) => file.truncate(lower, len),
            Io::Journal(file) => file.truncate(lower, len),
            Io::Stream(file) => file.truncate(lower, len),
        }
    }

    fn len(&mut self) -> Result<u64, Code> {
        match &mut self.io {
            Io::Pages(file) => file.len(&mut self.lower),
            Io::Log(file) => file.len(&mut self.lower),
            Io::Journal(file) => file.len(&mut self.lower),
            Io::Stream(file) => file.len(&mut self.lower),
        }
    }

    /// The file below whose shared memory is used.
    fn index(&mut self) -> Result<&mut LowerFile, Code> {
        if self.index.is_none() {
            let shared = self.database.as_ref().ok_or(Code(ffi::SQLITE_IOERR))?;
            let home = WalIndexHome::enter(shared.path())
                .map_err(|e| shared.refuse(Code(ffi::SQLITE_IOERR_SHMOPEN), &e.to_string()))?;
            let file = LowerFile::open_by_link(shared, &home.link())?;
            self.index = Some((file, home));
        }
        let (file, _) = self.index.as_mut().expect("opened above");
        Ok(file)
    }

    /// The journal of this main file, while it is open.
    fn journal(&mut self) -> Option<(&mut JournalFile, &mut LowerFile)> {
        // SAFETY: a journal takes itself out of its main file before it is closed, and is a file of its
        // own, which nothing else refers to during a call on the main file.
        let open = unsafe { self.journal.as_mut() }?;
        match &mut open.io {
            Io::Journal(journal) => Some((journal, &mut open.lower)),
            _ => None,
        }
    }

    /// Before a byte of this main file changes: the records that bring it back are on the medium.
    fn write_out_journal(&mut self) -> Result<(), Code> {
        match self.journal() {
            Some((journal, lower)) => journal.write_out(lower),
            None => Ok(()),
        }
    }

    /// What was written is on the disk.
    fn synced(&mut self) -> Result<(), Code> {
        match &mut self.io {
            Io::Pages(file) => {
                file.sync_side()?;
                file.forget();
                file.synced(&mut self.lower, None)
            }
            Io::Log(log) => {
                log.synced();
                // SAFETY: the main file is open for as long as this one is, and nothing else refers to it
                // during a call on the log.
                match unsafe { self.main.as_mut() } {
                    // Others see the commit only when it is in the shared memory.
                    Some(open) if open.index.is_none() => open.tell(log),
                    _ => Ok(()),
                }
            }
            Io::Journal(journal) => {
                journal.synced();
                Ok(())
            }
            Io::Stream(_) => Ok(()),
        }
    }

    /// The commits that this main file's log has on the disk are there for good.
    fn tell(&mut self, log: &mut WalFile) -> Result<(), Code> {
        match (&mut self.io, log.take_synced()) {
            (Io::Pages(file), position @ Some(_)) => file.synced(&mut self.lower, position),
            _ => Ok(()),
        }
    }

    /// A lock was taken under which this main file is read.
    fn begin_to_read(&mut self) -> Result<(), Code> {
        if let Io::Pages(file) = &mut self.io {
            file.forget_seen();
        }
        self.lower.map()
    }

    /// What is known of the file, and of its log, may have gone stale.
    fn forget(&mut self) {
        if let Io::Pages(file) = &mut self.io {
            file.forget();
        }
        // SAFETY: a log takes itself out of its main file before it is closed.
        if let Some(Io::Log(log)) = unsafe { self.log.as_mut() }.map(|open| &mut open.io) {
            log.forget();
        }
    }
}

/// The main file that a log or a journal belongs to.
///
/// # Safety
/// `open` is null, or an open file that nothing else refers to during the call.
unsafe fn main<'a>(open: *mut Open) -> Option<Main<'a>> {
    // SAFETY: the caller's promise.
    let open = unsafe { open.as_mut() }?;
    // A log's connection may look at pages that a checkpoint elsewhere is cutting off: it reads past
    // the mapping, in which that would be a fault.
    let medium = match &mut open.index {
        Some((unmapped, _)) => unmapped,
        None => &mut open.lower,
    };
    match &mut open.io {
        Io::Pages(file) => Some(Main { file, medium }),
        _ => None,
    }
}

/// A SQLite in this process: the bundled one, or that of a program which loaded this library as an
/// extension. They are two libraries that know nothing of each other's files, locks and VFSs.
pub(super) struct Sqlite {
    /// Its default VFS, which ours stands above.
    base: *mut ffi::sqlite3_vfs,
    functions: Functions,
    /// Finds its databases; those of the bundled one are found by the token in their URI.
    host: Option<Host>,
}

// SAFETY: it never changes, and a registered VFS is immutable and lives as long as the process.
unsafe impl Send for Sqlite {}
// SAFETY: as above.
unsafe impl Sync for Sqlite {}

/// What of a SQLite the VFS calls.
struct Functions {
    vfs_find: unsafe extern "C" fn(*const c_char) -> *mut ffi::sqlite3_vfs,
    vfs_register: unsafe extern "C" fn(*mut ffi::sqlite3_vfs, c_int) -> c_int,
    filename_database: unsafe extern "C" fn(*const c_char) -> *const c_char,
    database_file_object: unsafe extern "C" fn(*const c_char) -> *mut ffi::sqlite3_file,
    create_filename: CreateFilename,
    free_filename: unsafe extern "C" fn(*const c_char),
    uri_int64: unsafe extern "C" fn(*const c_char, *const c_char, i64) -> i64,
}

type CreateFilename = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const c_char,
    c_int,
    *mut *const c_char,
) -> *const c_char;

impl Sqlite {
    /// Registers our VFS above the default one.
    ///
    /// # Safety
    /// The functions are those of one SQLite.
    unsafe fn register(functions: Functions, host: Option<Host>) -> Result<&'static Self, Code> {
        // SAFETY: null asks for the default VFS; ours is built from it. Both parts are leaked, since
        // SQLite keeps the pointer.
        unsafe {
            let base = (functions.vfs_find)(std::ptr::null());
            let lower = base.as_ref().ok_or(Code(ffi::SQLITE_ERROR))?;
            let sqlite = Box::leak(Box::new(Self {
                base,
                functions,
                host,
            }));
            let ours = Box::leak(Box::new(ffi::sqlite3_vfs {
                iVersion: 2,
                szOsFile: size_of::<File>() as c_int,
                mxPathname: lower.mxPathname,
                pNext: std::ptr::null_mut(),
                zName: NAME.as_ptr(),
                pAppData: (&raw const *sqlite).cast_mut().cast(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                xFullPathname: Some(full_pathname),
                xDlOpen: Some(dl_open),
                xDlError: Some(dl_error),
                xDlSym: Some(dl_sym),
                xDlClose: Some(dl_close),
                xRandomness: Some(randomness),
                xSleep: Some(sleep),
                xCurrentTime: Some(current_time),
                xGetLastError: Some(last_error),
                xCurrentTimeInt64: Some(current_time_ms),
                xSetSystemCall: None,
                xGetSystemCall: None,
                xNextSystemCall: None,
            }));
            check((sqlite.functions.vfs_register)(ours, 0))?;
            Ok(sqlite)
        }
    }

    /// The one that calls a method of our VFS.
    ///
    /// # Safety
    /// `vfs` is ours.
    unsafe fn of(vfs: *mut ffi::sqlite3_vfs) -> &'static Self {
        // SAFETY: `register` put it there, and leaked it.
        unsafe { &*(*vfs).pAppData.cast::<Self>() }
    }

    pub(super) fn host(&self) -> Option<Host> {
        self.host
    }

    /// The database that the name of a main file, a journal or a log belongs to, in what SQLite
    /// calls a file name: with the URI's parameters behind it.
    ///
    /// # Safety
    /// SQLite made the name.
    unsafe fn database(
        &'static self,
        name: *const c_char,
        flags: c_int,
    ) -> Result<Arc<Shared>, Code> {
        // SAFETY: the caller's promise; the parameter's name ends in NUL.
        let (path, token) = unsafe {
            (
                path(name),
                (self.functions.uri_int64)(name, c"atrest".as_ptr(), 0),
            )
        };
        let found = match self.host {
            Some(host) if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => return host.open(path, self),
            // A token is no use to a program from outside: it could name the vault's own file.
            Some(_) => Shared::served_at(path),
            None => Shared::by_token(token.unsigned_abs()),
        };
        found.ok_or(Code(ffi::SQLITE_CANTOPEN))
    }
}

/// The SQLite that this library brings along, with our VFS registered on first use.
fn bundled() -> Result<&'static Sqlite, Code> {
    static BUNDLED: OnceLock<Result<&Sqlite, Code>> = OnceLock::new();
    *BUNDLED.get_or_init(|| {
        let functions = Functions {
            vfs_find: ffi::sqlite3_vfs_find,
            vfs_register: ffi::sqlite3_vfs_register,
            filename_database: ffi::sqlite3_filename_database,
            database_file_object: ffi::sqlite3_database_file_object,
            create_filename: ffi::sqlite3_create_filename,
            free_filename: ffi::sqlite3_free_filename,
            uri_int64: ffi::sqlite3_uri_int64,
        };
        // SAFETY: they are all the bundled SQLite's.
        unsafe { Sqlite::register(functions, None) }
    })
}

/// Has a database that is still plain leave room for a seal in each page, once that is written: in
/// an empty one from its first page on, in another at the next VACUUM.
pub fn reserve_for_seal(conn: &Connection) -> rusqlite::Result<()> {
    let mut reserved = c_int::from(PageSize::RESERVED);
    // SAFETY: the connection is open; the argument of this operation is an integer.
    let code = unsafe {
        ffi::sqlite3_file_control(
            conn.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut reserved).cast(),
        )
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// A number that a process does not share with the one that it was forked from, and that costs no
/// system call: it lies in memory that the system wipes in the child, by whatever call that was made.
pub(super) fn process() -> u32 {
    static MARK: OnceLock<Option<&AtomicU32>> = OnceLock::new();
    static LAST: AtomicU32 = AtomicU32::new(0);
    let Some(mark) = MARK.get_or_init(wiped_on_fork) else {
        return std::process::id();
    };
    match mark.load(Ordering::Relaxed) {
        0 => {
            // The parent's number, and all before it, are at most this.
            let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            mark.store(number, Ordering::Relaxed);
            number
        }
        number => number,
    }
}

/// A zero that is one again in each process that is forked from this one; `None` where the system has
/// no such memory.
fn wiped_on_fork() -> Option<&'static AtomicU32> {
    const LEN: usize = size_of::<AtomicU32>();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the mapping is new, at a place that the system chooses, and is never given back; it is
    // aligned to a page and holds zeros. It stays readable and writable in a child too.
    unsafe {
        let page = mm::mmap_anonymous(std::ptr::null_mut(), LEN, access, MapFlags::PRIVATE).ok()?;
        mm::madvise(page, LEN, Advice::LinuxWipeOnFork).ok()?;
        Some(&*page.cast::<AtomicU32>())
    }
}

/// Makes the VFS known to the bundled SQLite.
pub(super) fn register() -> Result<(), Code> {
    bundled().map(|_| ())
}

/// A name as a path.
///
/// # Safety
/// `name` ends in NUL and outlives the path.
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    Path::new(std::ffi::OsStr::from_bytes(
        unsafe { CStr::from_ptr(name) }.to_bytes(),
    ))
}

/// A sealed file, the database when it is the main file of one, and otherwise the main file that it
/// belongs to (or null).
type Sealed = (Io, Option<Arc<Shared>>, *mut Open);

/// Which sealed file a name stands for.
///
/// # Safety
/// `name` is null or was handed to `xOpen` by SQLite.
unsafe fn sealed_io(
    sqlite: &'static Sqlite,
    name: *const c_char,
    flags: c_int,
) -> Result<Sealed, Code> {
    let none = std::ptr::null_mut();
    const TEMPORARY: c_int = ffi::SQLITE_OPEN_TEMP_DB
        | ffi::SQLITE_OPEN_TRANSIENT_DB
        | ffi::SQLITE_OPEN_TEMP_JOURNAL
        | ffi::SQLITE_OPEN_SUBJOURNAL;
    let unknown = Code(ffi::SQLITE_CANTOPEN);
    if flags & TEMPORARY != 0 {
        return Ok((Io::Stream(StreamFile::temporary()), None, none));
    }
    if name.is_null() {
        return Err(unknown);
    }
    if flags & ffi::SQLITE_OPEN_SUPER_JOURNAL != 0 {
        // SAFETY: the name ends in NUL.
        let path = unsafe { path(name) };
        let (shared, kind) = Shared::by_journal(path).ok_or(unknown)?;
        let mut journal = StreamFile::journal(shared.clone(), kind);
        if kind == UnitKind::Journal {
            journal.lead_back_to(verify::journal_versions(&shared)?);
        }
        return Ok((Io::Stream(journal), None, none));
    }
    // SAFETY: SQLite made the name of a main file, a journal or a WAL, as these functions demand.
    let (shared, auto_vacuum) = unsafe {
        let database = (sqlite.functions.filename_database)(name);
        (
            sqlite.database(database, flags)?,
            (sqlite.functions.uri_int64)(database, c"auto_vacuum".as_ptr(), 0),
        )
    };
    if flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0 {
        // SAFETY: SQLite made the name of a journal or a WAL, and has the main file open, which is
        // ours when its methods are.
        let main = unsafe {
            let file = (sqlite.functions.database_file_object)(name);
            match !file.is_null() && std::ptr::eq((*file).pMethods, &METHODS) {
                true => (*file.cast::<File>()).open,
                false => return Err(unknown),
            }
        };
        let io = match flags & ffi::SQLITE_OPEN_WAL {
            0 => Io::Journal(JournalFile::new(shared)),
            _ => Io::Log(WalFile::new(shared)),
        };
        return Ok((io, None, main));
    }
    let auto_vacuum = u8::try_from(auto_vacuum.clamp(0, 2)).expect("0 to 2");
    let io = PageFile::new(shared.clone(), auto_vacuum);
    Ok((Io::Pages(Box::new(io)), Some(shared), none))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` has room for our `File`; a null `pMethods` tells SQLite not to close it.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let sqlite = Sqlite::of(vfs);
        let opened = sealed_io(sqlite, name, flags).and_then(|(io, database, main)| {
            // A main file has its header before SQLite opens it; SQLite must not make one.
            let not_created = match database {
                Some(_) => !ffi::SQLITE_OPEN_CREATE,
                None => !0,
            };
            let lower = LowerFile::open(sqlite, name, flags & not_created, out_flags)?;
            Ok(Open {
                lower,
                io,
                database,
                main,
                log: std::ptr::null_mut(),
                journal: std::ptr::null_mut(),
                index: None,
            })
        });
        match opened {
            Ok(open) => {
                let open = Box::into_raw(Box::new(open));
                match (&(*open).io, (*open).main.as_mut()) {
                    (Io::Log(_), Some(main)) => main.log = open,
                    (Io::Journal(_), Some(main)) => main.journal = open,
                    _ => (),
                }
                (*file.cast::<File>()).open = open;
                (*file).pMethods = &raw const METHODS;
                ffi::SQLITE_OK
            }
            Err(Code(code)) => code,
        }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 3,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(file_lock),
    xUnlock: Some(file_unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: Some(fetch),
    xUnfetch: Some(unfetch),
};

/// # Safety
/// `file` was opened by [`open`] and not closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Open {
    // SAFETY: the caller's promise; SQLite makes one call at a time on a file.
    unsafe { &mut *(*file.cast::<File>()).open }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box, and SQLite closes a file once.
    unsafe {
        let mut open = Box::from_raw((*file.cast::<File>()).open);
        match (&mut open.io, open.main.as_mut()) {
            (Io::Log(_), Some(main)) => main.log = std::ptr::null_mut(),
            (Io::Journal(journal), Some(main)) => {
                journal.end(&mut open.lower);
                main.journal = std::ptr::null_mut();
            }
            _ => (),
        }
        drop(open);
        (*file).pMethods = std::ptr::null();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buf: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite gives `len` writable bytes. They are written before they are read.
    let (open, buf) = unsafe {
        let len = usize::try_from(len).unwrap_or(0);
        (
            opened(file),
            std::slice::from_raw_parts_mut(buf.cast::<u8>(), len),
        )
    };
    code(within(Part::SealedFile, || {
        open.read(buf, offset.unsigned_abs())
    }))
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buf: *const c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite gives `len` readable bytes.
    let (open, buf) = unsafe {
        let len = usize::try_from(len).unwrap_or(0);
        (
            opened(file),
            std::slice::from_raw_parts(buf.cast::<u8>(), len),
        )
    };
    code(within(Part::SealedFile, || {
        open.write(buf, offset.unsigned_abs())
    }))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(within(Part::SealedFile, || {
        open.truncate(len.unsigned_abs())
    }))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let written = match &mut open.io {
        Io::Log(log) => log
            .write_pending(&mut open.lower)
            .inspect_err(|_| log.failed()),
        Io::Journal(journal) => journal.write_out(&mut open.lower),
        Io::Pages(_) => open.write_out_journal(),
        Io::Stream(_) => Ok(()),
    };
    if let Err(Code(code)) = written {
        return code;
    }
    let synced = call(
        &mut open.lower,
        |m| m.xSync,
        |f, sync| {
            // SAFETY: the file below is open.
            within(Part::Sync, || unsafe { sync(f, flags) })
        },
    );
    if let (Err(_), Io::Log(log)) = (&synced, &mut open.io) {
        log.failed();
    }
    code(synced.and_then(|()| open.synced()))
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, len: *mut i64) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(open.len().and_then(|n| {
        let n = position(n)?;
        // SAFETY: SQLite gives a place for the length.
        unsafe { *len = n };
        Ok(())
    }))
}

/// A lock begins a transaction: the key is asked for there too, since SQLite may answer from the
/// pages that it holds in memory.
fn ask(open: &Open) -> Result<(), Code> {
    match &open.database {
        Some(shared) => shared.check().map(|_| ()),
        None => Ok(()),
    }
}

/// After a lock: what the header says now holds for all that is done under it.
fn look(open: &mut Open) -> Result<(), Code> {
    match &open.database {
        Some(shared) => shared.look(&mut open.lower),
        None => Ok(()),
    }
}

unsafe extern "C" fn file_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(ask(open).and_then(|()| {
        call(
            &mut open.lower,
            |m| m.xLock,
            |f, lock| {
                // SAFETY: the file below is open.
                unsafe { lock(f, level) }
            },
        )?;
        if level == ffi::SQLITE_LOCK_SHARED {
            open.begin_to_read()?;
        }
        look(open)
    }))
}

unsafe extern "C" fn file_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    open.forget();
    if level < ffi::SQLITE_LOCK_RESERVED {
        if let Some((journal, lower)) = open.journal() {
            journal.end(lower);
        }
        if let Io::Pages(pages) = &mut open.io {
            pages.let_go();
        }
    }
    code(call(
        &mut open.lower,
        |m| m.xUnlock,
        |f, unlock| {
            // SAFETY: the file below is open.
            unsafe { unlock(f, level) }
        },
    ))
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    reserved: *mut c_int,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(call(
        &mut open.lower,
        |m| m.xCheckReservedLock,
        |f, check| {
            // SAFETY: SQLite gives a place for the answer.
            unsafe { check(f, reserved) }
        },
    ))
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    match operation {
        // They would grow the file by bytes that are not sealed, or say so.
        ffi::SQLITE_FCNTL_CHUNK_SIZE | ffi::SQLITE_FCNTL_SIZE_HINT => ffi::SQLITE_OK,
        // Pages on the medium are sealed: there is nothing that SQLite could map.
        ffi::SQLITE_FCNTL_MMAP_SIZE => {
            // SAFETY: the argument of this operation is a 64-bit integer.
            unsafe { *argument.cast::<i64>() = 0 };
            ffi::SQLITE_OK
        }
        // Without it SQLite splits writes to the WAL where no unit ends.
        ffi::SQLITE_FCNTL_POWERSAFE_OVERWRITE => {
            // SAFETY: the argument of this operation is an integer.
            unsafe { *argument.cast::<c_int>() = 1 };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_SYNC
        | ffi::SQLITE_FCNTL_COMMIT_PHASETWO
        | ffi::SQLITE_FCNTL_CKPT_START
        | ffi::SQLITE_FCNTL_CKPT_DONE => {
            // SAFETY: the file is open; these tell where a transaction or a checkpoint stands.
            let open = unsafe { opened(file) };
            if let Err(Code(code)) = open.write_out_journal() {
                return code;
            }
            let Io::Pages(pages) = &mut open.io else {
                return ffi::SQLITE_OK;
            };
            match operation {
                ffi::SQLITE_FCNTL_SYNC => return code(pages.commit(&mut open.lower)),
                ffi::SQLITE_FCNTL_COMMIT_PHASETWO => pages.end(&mut open.lower),
                _ => pages.checkpoint(operation == ffi::SQLITE_FCNTL_CKPT_START),
            }
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_LOCKSTATE
        | ffi::SQLITE_FCNTL_LAST_ERRNO
        | ffi::SQLITE_FCNTL_PERSIST_WAL
        | ffi::SQLITE_FCNTL_HAS_MOVED
        | ffi::SQLITE_FCNTL_TEMPFILENAME
        | ffi::SQLITE_FCNTL_LOCK_TIMEOUT
        | ffi::SQLITE_FCNTL_EXTERNAL_READER
        | ffi::SQLITE_FCNTL_VFSNAME => {
            // SAFETY: the file is open; these neither read nor write data.
            let open = unsafe { opened(file) };
            code(call(
                &mut open.lower,
                |m| m.xFileControl,
                |f, control| {
                    // SAFETY: the argument is SQLite's own.
                    unsafe { control(f, operation, argument) }
                },
            ))
        }
        _ => ffi::SQLITE_NOTFOUND,
    }
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    512
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // Nothing sealed is written atomically because the medium writes its bytes so.
    const NEVER: c_int = ffi::SQLITE_IOCAP_BATCH_ATOMIC
        | ffi::SQLITE_IOCAP_SUBPAGE_READ
        | ffi::SQLITE_IOCAP_SAFE_APPEND
        | 0x1ff; // SQLITE_IOCAP_ATOMIC, SQLITE_IOCAP_ATOMIC512 to SQLITE_IOCAP_ATOMIC64K
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let method = open.lower.methods().and_then(|m| m.xDeviceCharacteristics);
    // SAFETY: the file below is open.
    let below = method.map_or(0, |method| unsafe { method(open.lower.raw()) });
    (below & !NEVER) | ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    mapped: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    code(open.index().and_then(|index| {
        call(
            index,
            |m| m.xShmMap,
            |f, map| {
                // SAFETY: the arguments are SQLite's own.
                unsafe { map(f, region, size, extend, mapped) }
            },
        )
    }))
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    const UNLOCK: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE;
    if (offset, flags) == (WRITE_LOCK, UNLOCK) {
        // SAFETY: a log takes itself out of its main file before it is closed, and is a file of its own.
        if let Some(Io::Log(log)) = unsafe { open.log.as_mut() }.map(|open| &mut open.io) {
            // What cannot be told now is told later.
            let _ = open.tell(log);
        }
    }
    open.forget();
    const SHARED_LOCK: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED;
    let asked = match flags & ffi::SQLITE_SHM_LOCK {
        0 => Ok(()),
        _ => ask(open),
    };
    code(asked.and_then(|()| {
        call(
            open.index()?,
            |m| m.xShmLock,
            |f, lock| {
                // SAFETY: the file below is open.
                unsafe { lock(f, offset, count, flags) }
            },
        )?;
        if flags & ffi::SQLITE_SHM_LOCK == 0 {
            return Ok(());
        }
        let mapped = match flags {
            SHARED_LOCK => open.begin_to_read(),
            _ => Ok(()),
        };
        // SQLite takes a lock that failed for one that it has not.
        mapped.and_then(|()| look(open)).inspect_err(|_| {
            let unlock = flags & !ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_UNLOCK;
            let _ = open.index().and_then(|index| {
                call(
                    index,
                    |m| m.xShmLock,
                    |f, lock| {
                        // SAFETY: the file below is open.
                        unsafe { lock(f, offset, count, unlock) }
                    },
                )
            });
        })
    }))
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    if let Some((index, _)) = &mut open.index
        && let Some(barrier) = index.methods().and_then(|m| m.xShmBarrier)
    {
        // SAFETY: the file below is open.
        unsafe { barrier(index.raw()) }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: the file is open.
    let open = unsafe { opened(file) };
    let Some((mut index, home)) = open.index.take() else {
        return ffi::SQLITE_OK;
    };
    // SQLite leaves it when it leaves the log, as after a look only; but whoever is next makes it anew.
    let last = delete != 0 || home.is_last();
    let unmapped = call(
        &mut index,
        |m| m.xShmUnmap,
        |f, unmap| {
            // SAFETY: the file below is open.
            unsafe { unmap(f, c_int::from(last)) }
        },
    );
    if last && unmapped.is_ok() {
        home.remove();
    }
    code(unmapped)
}

unsafe extern "C" fn fetch(
    _file: *mut ffi::sqlite3_file,
    _offset: i64,
    _len: c_int,
    page: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives a place for the pointer. Null makes it read instead.
    unsafe { *page = std::ptr::null_mut() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn unfetch(
    _file: *mut ffi::sqlite3_file,
    _offset: i64,
    _page: *mut c_void,
) -> c_int {
    ffi::SQLITE_OK
}

/// What `xDlSym` gives.
type Symbol = Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)>;

/// Passes a call on to the VFS below, with that VFS as its first argument.
macro_rules! pass_on {
    ($name:ident, $method:ident, $result:ty, $failure:expr, ($($argument:ident: $type:ty),*)) => {
        unsafe extern "C" fn $name(vfs: *mut ffi::sqlite3_vfs, $($argument: $type),*) -> $result {
            // SAFETY: the VFS is ours, and the one below is registered; the arguments are SQLite's own.
            unsafe {
                let base = Sqlite::of(vfs).base;
                match (*base).$method {
                    Some(method) => method(base, $($argument),*),
                    None => $failure,
                }
            }
        }
    };
}

pass_on!(delete, xDelete, c_int, ffi::SQLITE_IOERR_DELETE, (name: *const c_char, sync: c_int));
pass_on!(access, xAccess, c_int, ffi::SQLITE_IOERR_ACCESS, (name: *const c_char, flags: c_int, out: *mut c_int));
pass_on!(full_pathname, xFullPathname, c_int, ffi::SQLITE_CANTOPEN, (name: *const c_char, len: c_int, out: *mut c_char));
pass_on!(dl_open, xDlOpen, *mut c_void, std::ptr::null_mut(), (name: *const c_char));
pass_on!(dl_error, xDlError, (), (), (len: c_int, out: *mut c_char));
pass_on!(dl_sym, xDlSym, Symbol, None, (library: *mut c_void, name: *const c_char));
pass_on!(dl_close, xDlClose, (), (), (library: *mut c_void));
pass_on!(randomness, xRandomness, c_int, 0, (len: c_int, out: *mut c_char));
pass_on!(sleep_below, xSleep, c_int, 0, (microseconds: c_int));
pass_on!(current_time, xCurrentTime, c_int, ffi::SQLITE_ERROR, (out: *mut f64));
pass_on!(current_time_ms, xCurrentTimeInt64, c_int, ffi::SQLITE_ERROR, (out: *mut i64));
pass_on!(last_error, xGetLastError, c_int, 0, (len: c_int, out: *mut c_char));

/// Who may not wait is through with SQLite's retries at once: what comes of them counts for nothing.
unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    if !may_wait() {
        return 0;
    }
    // SAFETY: as SQLite called it.
    unsafe { sleep_below(vfs, microseconds) }
}

/// The functions that a SQLite gives to an extension: of `sqlite3_api_routines` (`sqlite3ext.h`),
/// to which SQLite only ever appends, those that are used here, and how many lie between.
#[repr(C)]
struct Routines {
    _0: [usize; 50],
    declare_vtab: unsafe extern "C" fn(*mut ffi::sqlite3, *const c_char) -> c_int,
    _51: [usize; 16],
    libversion_number: unsafe extern "C" fn() -> c_int,
    _68: [usize; 1],
    mprintf: unsafe extern "C" fn(*const c_char, ...) -> *mut c_char,
    _70: [usize; 8],
    result_blob: ResultBytes<c_void>,
    result_double: unsafe extern "C" fn(*mut ffi::sqlite3_context, f64),
    _80: [usize; 3],
    result_int64: unsafe extern "C" fn(*mut ffi::sqlite3_context, i64),
    _84: [usize; 1],
    result_text: ResultBytes<c_char>,
    _86: [usize; 33],
    create_module_v2: CreateModule,
    _120: [usize; 21],
    vfs_find: unsafe extern "C" fn(*const c_char) -> *mut ffi::sqlite3_vfs,
    vfs_register: unsafe extern "C" fn(*mut ffi::sqlite3_vfs, c_int) -> c_int,
    _143: [usize; 19],
    create_function_v2: unsafe extern "C" fn(
        *mut ffi::sqlite3,
        *const c_char,
        c_int,
        c_int,
        *mut c_void,
        Option<Function>,
        Option<Function>,
        Option<unsafe extern "C" fn(*mut ffi::sqlite3_context)>,
        Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> c_int,
    _163: [usize; 25],
    uri_int64: unsafe extern "C" fn(*const c_char, *const c_char, i64) -> i64,
    _189: [usize; 3],
    auto_extension: unsafe extern "C" fn(Option<EntryPoint>) -> c_int,
    _193: [usize; 53],
    filename_database: unsafe extern "C" fn(*const c_char) -> *const c_char,
    _247: [usize; 2],
    create_filename: CreateFilename,
    free_filename: unsafe extern "C" fn(*const c_char),
    database_file_object: unsafe extern "C" fn(*const c_char) -> *mut ffi::sqlite3_file,
}

type ResultBytes<T> =
    unsafe extern "C" fn(*mut ffi::sqlite3_context, *const T, c_int, ffi::sqlite3_destructor_type);

type CreateModule = unsafe extern "C" fn(
    *mut ffi::sqlite3,
    *const c_char,
    *const ffi::sqlite3_module,
    *mut c_void,
    Option<unsafe extern "C" fn(*mut c_void)>,
) -> c_int;

type Function =
    unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

type EntryPoint = unsafe extern "C" fn(
    *mut ffi::sqlite3,
    *mut *mut c_char,
    *const ffi::sqlite3_api_routines,
) -> c_int;

const _: () = assert!(size_of::<Routines>() == 252 * size_of::<usize>());

/// The oldest SQLite that has all of them: 3.32.0.
const OLDEST: c_int = 3_032_000;

/// What the entry point of a loadable extension does: registers the VFS with the SQLite that loads
/// it, and gives each connection the function `atrest_last_error()`. The library then stays.
///
/// # Safety
/// The arguments are those of an entry point that SQLite calls
/// (<https://www.sqlite.org/loadext.html>).
pub unsafe fn load_extension(
    db: *mut ffi::sqlite3,
    message: *mut *mut c_char,
    api: *const ffi::sqlite3_api_routines,
    host: Host,
) -> c_int {
    let routines = api.cast::<Routines>();
    // SAFETY: every SQLite that loads extensions has these two.
    let (version, print) = unsafe { ((*routines).libversion_number, (*routines).mprintf) };
    // SAFETY: it takes no arguments.
    if unsafe { version() } < OLDEST {
        if !message.is_null() {
            // SAFETY: the text holds no `%`; SQLite frees what its own function made.
            unsafe { *message = print(c"atrest needs SQLite 3.32 or newer".as_ptr()) };
        }
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: it is new enough to have them all.
    let api_of_host = unsafe { &*routines };
    let functions = Functions {
        vfs_find: api_of_host.vfs_find,
        vfs_register: api_of_host.vfs_register,
        filename_database: api_of_host.filename_database,
        database_file_object: api_of_host.database_file_object,
        create_filename: api_of_host.create_filename,
        free_filename: api_of_host.free_filename,
        uri_int64: api_of_host.uri_int64,
    };
    // SAFETY: the name ends in NUL; the functions are of the SQLite that loads us; the entry point
    // has the type of one.
    let loaded = unsafe {
        // Another connection of the same program may have loaded it already.
        let registered = match (functions.vfs_find)(NAME.as_ptr()).is_null() {
            true => Sqlite::register(functions, Some(host)).map(|_| ()),
            false => Ok(()),
        };
        registered
            .and_then(|()| check((api_of_host.auto_extension)(Some(add_function))))
            .and_then(|()| check(add_function(db, message, api)))
    };
    match code(loaded) {
        ffi::SQLITE_OK => ffi::SQLITE_OK_LOAD_PERMANENTLY,
        code => code,
    }
}

/// The functions of the program's SQLite. A second one in the same process gets the VFS only: a SQL
/// function is not told which SQLite calls it.
static ROUTINES: OnceLock<&Routines> = OnceLock::new();

unsafe extern "C" fn add_function(
    db: *mut ffi::sqlite3,
    _message: *mut *mut c_char,
    api: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: `load_extension` found the table complete, and SQLite never frees it.
    let api = unsafe { &*api.cast::<Routines>() };
    if !std::ptr::eq(*ROUTINES.get_or_init(|| api), api) {
        return ffi::SQLITE_OK;
    }
    static VIEW: OnceLock<View> = OnceLock::new();
    let view = VIEW.get_or_init(|| View {
        declare_vtab: api.declare_vtab,
        result_blob: api.result_blob,
        result_double: api.result_double,
        result_int64: api.result_int64,
        result_text: api.result_text,
    });
    // SAFETY: the functions are all of the SQLite whose connection this is.
    let added = unsafe { view.add(api.create_module_v2, db) };
    if added != ffi::SQLITE_OK {
        return added;
    }
    // SAFETY: the name ends in NUL; the function has the type of one.
    unsafe {
        (api.create_function_v2)(
            db,
            c"atrest_last_error".as_ptr(),
            0,
            ffi::SQLITE_UTF8,
            std::ptr::null_mut(),
            Some(tell_last_error),
            None,
            None,
            None,
        )
    }
}

unsafe extern "C" fn tell_last_error(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    _arguments: *mut *mut ffi::sqlite3_value,
) {
    // SQLite takes it as NULL when no result is set.
    let (Some(api), Some(why)) = (ROUTINES.get(), host::last_refusal()) else {
        return;
    };
    let Ok(len) = c_int::try_from(why.len()) else {
        return;
    };
    // SAFETY: the text has the length given, and SQLite copies it.
    unsafe { (api.result_text)(context, why.as_ptr().cast(), len, ffi::SQLITE_TRANSIENT()) }
}

/// What of a SQLite the view `sys_dm_database_encryption_keys` calls: a virtual table of its own name
/// (<https://www.sqlite.org/vtab.html>), which is there without being created.
struct View {
    declare_vtab: unsafe extern "C" fn(*mut ffi::sqlite3, *const c_char) -> c_int,
    result_blob: ResultBytes<c_void>,
    result_double: unsafe extern "C" fn(*mut ffi::sqlite3_context, f64),
    result_int64: unsafe extern "C" fn(*mut ffi::sqlite3_context, i64),
    result_text: ResultBytes<c_char>,
}

/// What SQLite holds for the table: its own part first, then ours.
#[repr(C)]
struct ViewTable {
    base: ffi::sqlite3_vtab,
    view: &'static View,
}

#[repr(C)]
struct ViewCursor {
    base: ffi::sqlite3_vtab_cursor,
    view: &'static View,
    rows: Vec<Vec<Value>>,
    at: usize,
}

impl View {
    /// Makes the view known to a connection.
    ///
    /// # Safety
    /// The connection is open, and of the SQLite whose functions these are.
    unsafe fn add(&'static self, create: CreateModule, db: *mut ffi::sqlite3) -> c_int {
        static MODULE: Module = Module(ffi::sqlite3_module {
            iVersion: 1,
            xCreate: None,
            xConnect: Some(view_connect),
            xBestIndex: Some(view_best_index),
            xDisconnect: Some(view_disconnect),
            xDestroy: None,
            xOpen: Some(view_open),
            xClose: Some(view_close),
            xFilter: Some(view_filter),
            xNext: Some(view_next),
            xEof: Some(view_eof),
            xColumn: Some(view_column),
            xRowid: Some(view_rowid),
            xUpdate: None,
            xBegin: None,
            xSync: None,
            xCommit: None,
            xRollback: None,
            xFindFunction: None,
            xRename: None,
            xSavepoint: None,
            xRelease: None,
            xRollbackTo: None,
            xShadowName: None,
            xIntegrity: None,
        });
        let aux = (&raw const *self).cast_mut().cast();
        // SAFETY: the name ends in NUL; module and argument live as long as the process.
        unsafe { create(db, view::NAME.as_ptr(), &raw const MODULE.0, aux, None) }
    }
}

/// Never written to.
struct Module(ffi::sqlite3_module);

// SAFETY: it holds functions and nothing else.
unsafe impl Sync for Module {}

/// Makes the view known to a connection of the bundled SQLite.
pub(super) fn add_view(conn: &Connection) -> rusqlite::Result<()> {
    static VIEW: View = View {
        declare_vtab: ffi::sqlite3_declare_vtab,
        result_blob: ffi::sqlite3_result_blob,
        result_double: ffi::sqlite3_result_double,
        result_int64: ffi::sqlite3_result_int64,
        result_text: ffi::sqlite3_result_text,
    };
    // SAFETY: the connection is open, and all are the bundled SQLite's.
    match unsafe { VIEW.add(ffi::sqlite3_create_module_v2, conn.handle()) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

unsafe extern "C" fn view_connect(
    db: *mut ffi::sqlite3,
    aux: *mut c_void,
    _count: c_int,
    _arguments: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _message: *mut *mut c_char,
) -> c_int {
    // SAFETY: `View::add` gave itself as the argument.
    let view = unsafe { &*aux.cast::<View>() };
    // SAFETY: the text ends in NUL.
    let declared = unsafe { (view.declare_vtab)(db, view::SCHEMA.as_ptr()) };
    if declared == ffi::SQLITE_OK {
        let base = ffi::sqlite3_vtab {
            pModule: std::ptr::null(),
            nRef: 0,
            zErrMsg: std::ptr::null_mut(),
        };
        let made = Box::into_raw(Box::new(ViewTable { base, view }));
        // SAFETY: SQLite gives a place for the table, whose first part is its own.
        unsafe { *table = made.cast() };
    }
    declared
}

unsafe extern "C" fn view_best_index(
    _table: *mut ffi::sqlite3_vtab,
    _info: *mut ffi::sqlite3_index_info,
) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: `view_connect` made the box, and SQLite lets go of it once.
    drop(unsafe { Box::from_raw(table.cast::<ViewTable>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_open(
    table: *mut ffi::sqlite3_vtab,
    cursor: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    // SAFETY: `view_connect` made the table.
    let view = unsafe { (*table.cast::<ViewTable>()).view };
    let made = Box::into_raw(Box::new(ViewCursor {
        base: ffi::sqlite3_vtab_cursor { pVtab: table },
        view,
        rows: Vec::new(),
        at: 0,
    }));
    // SAFETY: SQLite gives a place for the cursor, whose first part is its own.
    unsafe { *cursor = made.cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: `view_open` made the box, and SQLite closes a cursor once.
    drop(unsafe { Box::from_raw(cursor.cast::<ViewCursor>()) });
    ffi::SQLITE_OK
}

/// # Safety
/// `view_open` made the cursor, and SQLite has not closed it.
unsafe fn view_cursor<'a>(cursor: *mut ffi::sqlite3_vtab_cursor) -> &'a mut ViewCursor {
    // SAFETY: the caller's promise; SQLite makes one call at a time on a cursor.
    unsafe { &mut *cursor.cast::<ViewCursor>() }
}

unsafe extern "C" fn view_filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _number: c_int,
    _text: *const c_char,
    _count: c_int,
    _arguments: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: the cursor is open.
    let cursor = unsafe { view_cursor(cursor) };
    (cursor.rows, cursor.at) = (view::rows(), 0);
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: the cursor is open.
    unsafe { view_cursor(cursor) }.at += 1;
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: the cursor is open.
    let cursor = unsafe { view_cursor(cursor) };
    c_int::from(cursor.at >= cursor.rows.len())
}

unsafe extern "C" fn view_column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    context: *mut ffi::sqlite3_context,
    column: c_int,
) -> c_int {
    // SAFETY: the cursor is open.
    let cursor = unsafe { view_cursor(cursor) };
    let row = cursor.rows.get(cursor.at);
    let value = row.and_then(|row| row.get(usize::try_from(column).ok()?));
    let (view, copied) = (cursor.view, ffi::SQLITE_TRANSIENT());
    let len = |len: usize| c_int::try_from(len).unwrap_or(0);
    // SAFETY: the context is SQLite's own; texts and blobs have the length given and are copied. Without a
    // result the value is NULL.
    unsafe {
        match value {
            None | Some(Value::Null) => (),
            Some(Value::Integer(n)) => (view.result_int64)(context, *n),
            Some(Value::Real(x)) => (view.result_double)(context, *x),
            Some(Value::Text(text)) => {
                (view.result_text)(context, text.as_ptr().cast(), len(text.len()), copied);
            }
            Some(Value::Blob(blob)) => {
                (view.result_blob)(context, blob.as_ptr().cast(), len(blob.len()), copied);
            }
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn view_rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut i64) -> c_int {
    // SAFETY: the cursor is open; SQLite gives a place for the number.
    unsafe { *rowid = view_cursor(cursor).at as i64 };
    ffi::SQLITE_OK
}
