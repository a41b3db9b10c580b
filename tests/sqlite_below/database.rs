//! A database of either kind, and what is asked of it after something went wrong.

use std::path::{Path, PathBuf};

use atrest::resource::sql::content_hash;
use atrest::sqlite::{Freshness, PageSize, SealedDatabase};
use rusqlite::Connection;

use crate::fixture::{FILE, SLOT, key, open};

/// Which of the two twins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Sealed,
    Plain,
}

pub const KINDS: [Kind; 2] = [Kind::Sealed, Kind::Plain];

/// A database of either kind.
pub struct Database {
    path: PathBuf,
    pub sealed: Option<SealedDatabase>,
}

impl Database {
    pub fn create(kind: Kind, path: &Path, page_size: u32) -> Result<Self, String> {
        let sealed = match kind {
            Kind::Sealed => {
                let page_size = PageSize::new(page_size).unwrap();
                let made =
                    SealedDatabase::create(path, FILE, page_size, Freshness::Kept, &SLOT, key());
                Some(made.map_err(|e| format!("create: {e}"))?)
            }
            Kind::Plain => None,
        };
        let path = path.to_owned();
        let database = Self { path, sealed };
        if kind == Kind::Plain {
            // The page size is part of the file from the first write on.
            let sql = format!("PRAGMA page_size = {page_size}; VACUUM");
            let made = database.connect()?.execute_batch(&sql);
            made.map_err(|e| database.explain(e))?;
        }
        Ok(database)
    }

    /// An error of a connection, in the words that a user sees.
    pub fn explain(&self, error: rusqlite::Error) -> String {
        match &self.sealed {
            Some(sealed) => sealed.explain(error).to_string(),
            None => error.to_string(),
        }
    }

    pub fn open(kind: Kind, path: &Path) -> Result<Self, String> {
        let sealed = match kind {
            Kind::Sealed => Some(open(path).map_err(|e| format!("open: {e}"))?),
            Kind::Plain => None,
        };
        let path = path.to_owned();
        Ok(Self { path, sealed })
    }

    pub fn connect(&self) -> Result<Connection, String> {
        match &self.sealed {
            Some(sealed) => sealed.connect().map_err(|e| format!("connect: {e}")),
            None => {
                let conn = Connection::open(&self.path);
                conn.map_err(|e| format!("connect: {e}"))
            }
        }
    }

    /// The name for ATTACH.
    pub fn uri(&self) -> String {
        match &self.sealed {
            Some(sealed) => sealed.uri(),
            None => format!("file:{}", self.path.display()),
        }
    }

    /// Passes on a plain one.
    pub fn verify(&self) -> Result<(), String> {
        match &self.sealed {
            Some(sealed) => sealed
                .verify(&mut |_, _| ())
                .map(|_| ())
                .map_err(|e| format!("verify: {e}")),
            None => Ok(()),
        }
    }
}

pub fn kind_named(name: &str) -> Kind {
    *KINDS.iter().find(|kind| label(**kind) == name).unwrap()
}

pub fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Sealed => "sealed",
        Kind::Plain => "plain",
    }
}

/// What `main` of a connection holds, as one word.
pub fn content(conn: &Connection) -> Result<String, String> {
    let content = content_hash(conn).map_err(|e| format!("content: {e}"))?;
    Ok(content.sha256())
}

pub fn whole(conn: &rusqlite::Connection) -> Result<(), String> {
    let check = conn.query_row("PRAGMA integrity_check", (), |row| row.get::<_, String>(0));
    match check.map_err(|e| format!("integrity_check: {e}"))?.as_str() {
        "ok" => Ok(()),
        wrong => Err(format!("integrity_check: {wrong}")),
    }
}

/// What was recovered can be written again, and stays.
pub fn goes_on(database: &Database) -> Result<(), String> {
    let conn = database.connect()?;
    conn.execute_batch(
        "CREATE TABLE later (a); INSERT INTO later VALUES (1); PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .map_err(|e| format!("a commit afterwards: {e}"))?;
    drop(conn);
    let conn = database.connect()?;
    whole(&conn)?;
    conn.query_row("SELECT a FROM later", (), |_| Ok(()))
        .map_err(|e| format!("a commit afterwards is lost: {e}"))?;
    drop(conn);
    database.verify()
}
