use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Row};

use crate::base::open_elsewhere;
use crate::resource::ResourceError;
use crate::resource::sql::SqlDatabase;

use super::WorldError;

/// How often it is asked who else has a file open, before the answer counts, and the time between.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// A connection to a database that is being replaced, with which nothing that others commit
/// meanwhile goes unnoticed.
pub(super) struct Hold {
    conn: Connection,
    /// SQLite's `data_version` before the first page was copied.
    version: i64,
    /// Whether the database kept a write-ahead log, which it does not while it is held.
    pub(super) wal: bool,
}

impl Hold {
    /// Leaves WAL mode, which SQLite does only for the one connection there is; and in which it
    /// would not notice, later, that the file was replaced.
    pub(super) fn begin(database: &SqlDatabase) -> Result<Self, WorldError> {
        open_here_only(database.path())?;
        let conn = database.connect()?;
        let begin = || {
            let text = |row: &Row<'_>| row.get::<_, String>(0);
            let mode = conn.query_row("PRAGMA journal_mode", (), text)?;
            if mode == "wal" {
                conn.query_row("PRAGMA journal_mode = delete", (), text)?;
            }
            Ok((data_version(&conn)?, mode == "wal"))
        };
        let (version, wal) = begin().map_err(|e| database.explain(e))?;
        Ok(Self { conn, version, wal })
    }

    /// From now on nobody writes; refuses when somebody has since [`Hold::begin`]. SQLite itself
    /// refuses to write to a file that was renamed.
    pub(super) fn insist(&self, database: &SqlDatabase) -> Result<(), WorldError> {
        let locked = self.conn.execute_batch("BEGIN IMMEDIATE");
        let version = locked.and_then(|()| data_version(&self.conn));
        if version.map_err(|e| database.explain(e))? == self.version {
            return open_here_only(database.path());
        }
        Err(ResourceError::Busy {
            path: database.path().display().to_string(),
        }
        .into())
    }

    /// From now on nobody reads or writes.
    pub(super) fn alone(&self, database: &SqlDatabase) -> Result<(), WorldError> {
        let locked = self.conn.execute_batch("BEGIN EXCLUSIVE");
        locked.map_err(|e| database.explain(e))?;
        open_here_only(database.path())
    }

    /// Puts the database back as it was.
    pub(super) fn give_up(&self) {
        let _ = self.conn.execute_batch("ROLLBACK");
        if self.wal {
            let _ = self.conn.pragma_update(None, "journal_mode", "wal");
        }
    }
}

/// Has a database keep a write-ahead log.
pub(super) fn keep_log(database: &SqlDatabase) -> Result<(), WorldError> {
    let conn = database.connect()?;
    let set = conn.pragma_update(None, "journal_mode", "wal");
    Ok(set.map_err(|e| database.explain(e))?)
}

/// SQLite finds journals by name: who has the old file open would take the new one's for its own, and
/// play it back or delete it.
///
/// A program that is just being started shows the files of the process that starts it: whoever has it
/// open is asked again for a while.
pub(super) fn open_here_only(path: &Path) -> Result<(), WorldError> {
    let mut by = Vec::new();
    for _ in 0..TRIES {
        by = open_elsewhere(path).map_err(|e| WorldError::io(path, e))?;
        if by.is_empty() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(WorldError::OpenElsewhere {
        path: path.display().to_string(),
        by,
    })
}

fn data_version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA data_version", (), |row| row.get(0))
}
