//! Sealed databases with a fixed key, in directories that go with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::resource::sql::{Content, content_hash};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, KeySource, PageSize, SealedDatabase, SealedError};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

#[path = "../common/scratch.rs"]
pub mod directory;

pub use directory::Scratch;

/// Length of the header block before page 1 (docs/format.md).
pub const HEADER_LEN: usize = 4096;
pub const SLOT: [u8; KEY_SLOT_LEN] = [0x5a; KEY_SLOT_LEN];
pub const FILE: ResourceId = ResourceId::from_bytes([7; 16]);

pub fn key() -> Arc<dyn KeySource> {
    Arc::new(Secret::copy_from(&[0x42; 32]).unwrap())
}

pub fn scratch() -> Scratch {
    Scratch::new()
}

/// A directory and a sealed database `db` in it.
pub struct Fixture {
    pub dir: Scratch,
    pub db: SealedDatabase,
}

impl Fixture {
    pub fn new(page_size: u32) -> Self {
        let dir = scratch();
        let db = create(&dir.path().join("db"), page_size);
        Self { dir, db }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn connect(&self) -> Connection {
        self.db.connect().unwrap()
    }

    /// The bytes of the main file.
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("db")).unwrap()
    }
}

pub fn create(path: &Path, page_size: u32) -> SealedDatabase {
    let page_size = PageSize::new(page_size).unwrap();
    SealedDatabase::create(path, FILE, page_size, Freshness::Kept, &SLOT, key()).unwrap()
}

/// A connection to a database that is still empty and shall get this auto-vacuum mode: SQLite sees
/// a sealed file's header from the start, so its pragma comes too late.
pub fn connect_empty(db: &SealedDatabase, auto_vacuum: u32) -> Connection {
    let uri = format!("{}&auto_vacuum={auto_vacuum}", db.uri());
    Connection::open_with_flags(uri, OpenFlags::default()).unwrap()
}

pub fn open(path: &Path) -> Result<SealedDatabase, SealedError> {
    SealedDatabase::open(path, FILE, key())
}

/// Files of a database as a thief or a power cut leaves them: main, journal, log.
#[derive(Clone, Default, PartialEq)]
pub struct Files {
    pub main: Vec<u8>,
    pub journal: Option<Vec<u8>>,
    pub wal: Option<Vec<u8>>,
}

impl Files {
    /// The files of the database at `path`, now. Never the shared memory: a power cut loses it.
    pub fn copy(path: &Path) -> Self {
        let beside = |suffix: &str| fs::read(format!("{}{suffix}", path.display())).ok();
        Self {
            main: fs::read(path).unwrap(),
            journal: beside("-journal"),
            wal: beside("-wal"),
        }
    }

    /// Puts them into a directory of their own, as `db`.
    pub fn place(&self) -> (Scratch, PathBuf) {
        let dir = scratch();
        let path = dir.path().join("db");
        fs::write(&path, &self.main).unwrap();
        for (suffix, bytes) in [("-journal", &self.journal), ("-wal", &self.wal)] {
            if let Some(bytes) = bytes {
                fs::write(format!("{}{suffix}", path.display()), bytes).unwrap();
            }
        }
        (dir, path)
    }

    /// All that can be read of them, or the first error.
    pub fn read(&self) -> Result<Content, SealedError> {
        let (_dir, path) = self.place();
        read_all(&path)
    }
}

/// Opens the database at `path` and reads it whole.
pub fn read_all(path: &Path) -> Result<Content, SealedError> {
    let db = open(path)?;
    let conn = db.connect()?;
    content_hash(&conn).map_err(|e| db.explain(e))
}

pub fn run(conn: &Connection, sql: &str) {
    conn.execute_batch(sql)
        .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

pub fn get<T: FromSql>(conn: &Connection, sql: &str) -> T {
    conn.query_row(sql, (), |row| row.get(0))
        .unwrap_or_else(|e| panic!("{sql}: {e}"))
}

pub fn assert_intact(conn: &Connection) {
    assert_eq!(get::<String>(conn, "PRAGMA integrity_check"), "ok");
}

/// The same statements on plain SQLite in memory: what must come out.
pub fn expected(sql: &str) -> Content {
    let conn = Connection::open_in_memory().unwrap();
    run(&conn, sql);
    content_hash(&conn).unwrap()
}

/// Sets the journal mode, which must be taken.
pub fn set_journal(conn: &Connection, mode: &str) {
    let set: String = get(conn, &format!("PRAGMA journal_mode = {mode}"));
    assert_eq!(set, mode);
}
