use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::ffi;

use super::SealedDatabase;
use super::medium::Code;
use super::shared::{Shared, lock};
use super::vfs::Sqlite;

/// What a program that loads this library as a SQLite extension needs of the layers above.
#[derive(Clone, Copy)]
pub struct Host {
    /// Opens the database whose main file is at this path, which is absolute.
    pub find: fn(&Path) -> Result<SealedDatabase, Refused>,
    /// Tells the user why something was refused; SQLite itself passes on no more than a code.
    pub tell: fn(&str),
}

/// Why a database does not open for another program's SQLite; each with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The key may not be used (SQLite: "authorization denied").
    NoKey(String),
    /// Not protected, not authentic, or no database at all (SQLite: "file is not a database").
    NotSealed(String),
    /// Anything else (SQLite: "unable to open database file").
    Other(String),
}

static LAST: Mutex<Option<String>> = Mutex::new(None);

/// What was refused last, to any connection of this process.
pub(super) fn last_refusal() -> Option<String> {
    lock(&LAST).clone()
}

impl Host {
    /// The database at `path` for `sqlite`, opened when it is not open yet.
    ///
    /// To open it the bundled SQLite reads the file, and closing a file drops all locks that the
    /// process has on it, also those of another SQLite. So it is opened only while no other SQLite
    /// has it open, one at a time, and is then shared until that SQLite has closed it.
    pub(super) fn open(self, path: &Path, sqlite: &'static Sqlite) -> Result<Arc<Shared>, Code> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = lock(&ONE_AT_A_TIME);
        let open = match Shared::served_at(path) {
            Some(open) => Ok(open),
            // A panic must not pass through SQLite; nothing half made is kept.
            None => catch_unwind(AssertUnwindSafe(|| (self.find)(path)))
                .unwrap_or_else(|_| {
                    let path = path.display();
                    Err(Refused::Other(format!("{path}: a fault in atrest")))
                })
                .map(SealedDatabase::into_shared),
        };
        let (code, why) = match open {
            Ok(open) if open.serve(sqlite) => return Ok(open),
            Ok(open) => {
                let path = open.path().display();
                let why = format!("{path}: open in this process through another SQLite library");
                (ffi::SQLITE_CANTOPEN, why)
            }
            Err(Refused::NoKey(why)) => (ffi::SQLITE_AUTH, why),
            Err(Refused::NotSealed(why)) => (ffi::SQLITE_NOTADB, why),
            Err(Refused::Other(why)) => (ffi::SQLITE_CANTOPEN, why),
        };
        self.refuse(&why);
        Err(Code(code))
    }

    pub(super) fn refuse(self, why: &str) {
        *lock(&LAST) = Some(why.to_owned());
        (self.tell)(why);
    }
}
