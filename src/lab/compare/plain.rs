use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};

use super::{ALL_ROWS, Beside, Left, NoKey, Target};

/// A plain SQLite database.
pub struct Plain {
    /// Its file.
    pub path: PathBuf,
}

/// Opens a database that is there, with plain SQLite.
pub(super) fn open(path: &std::path::Path) -> Result<Connection, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags(path, flags).map_err(|e| e.to_string())
}

/// All rows, as one text.
pub(super) fn rows(connection: &Connection) -> Result<String, String> {
    let all = connection.query_row(ALL_ROWS, (), |row| row.get(0));
    all.map_err(|e| e.to_string())
}

impl Target for Plain {
    fn name(&self) -> String {
        "plain SQLite".to_owned()
    }

    fn version(&self) -> String {
        format!("SQLite {}", rusqlite::version())
    }

    fn file(&self) -> PathBuf {
        self.path.clone()
    }

    fn exec(&self, sql: &str) -> Result<(), String> {
        open(&self.path)?
            .execute_batch(sql)
            .map_err(|e| e.to_string())
    }

    fn left(&self, changes: &[&str], what: Beside) -> Result<Left, String> {
        Left::by(&self.path, &open(&self.path)?, changes, what)
    }

    fn read(&self) -> Result<String, String> {
        rows(&open(&self.path)?)
    }

    fn read_without(&self, _: NoKey) -> Result<String, String> {
        self.read()
    }

    fn verify(&self) -> Result<(), String> {
        let check = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let said = open(&self.path)?.query_row("PRAGMA integrity_check", (), check);
        match said.map_err(|e| e.to_string())?.as_str() {
            "ok" => Ok(()),
            fault => Err(fault.to_owned()),
        }
    }
}
