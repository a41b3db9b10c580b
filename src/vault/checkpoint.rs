//! The vault's write-ahead log is moved into the main file beside the commits, not within one: who
//! commits does not wait for it.

use rusqlite::Connection;

use super::files::configure;
use super::store::Store;
use super::{LocalVault, VaultError};

/// So many pages of the log that the main file has not are moved there at once.
const PAGES: i64 = 1000;

impl Store {
    /// Whether the log has grown so long that it shall be moved.
    pub(super) fn log_is_long(&self) -> bool {
        let asked = (self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(NOOP)"))
        .and_then(|mut noop| noop.query_row([], |row| Ok((row.get(1)?, row.get(2)?))));
        matches!(asked, Ok::<(i64, i64), _>((pages, moved)) if pages - moved >= PAGES)
    }
}

impl LocalVault {
    /// Moves the log into the main file, when nobody else does. What was committed so far is copied
    /// over a connection of its own, while others go on; then, with the store held for a moment, what
    /// came meanwhile, so that the log begins anew. A failure is left to the next time: the log only
    /// grows by it.
    pub(super) fn move_log(&self) {
        let Ok(mut beside) = self.beside().try_lock() else {
            return;
        };
        if beside.is_none() {
            *beside = self.with_store(connect).ok();
        }
        if let Some(connection) = &*beside {
            copy(connection);
        }
        let copied = self.with_store(|store| {
            copy(&store.connection);
            Ok(())
        });
        if copied.is_err() {
            // Sealed, perhaps: its pages hold keys.
            *beside = None;
        }
        drop(beside);
        // Sealed since: who forgot the keys found this connection held, and left it.
        self.forget_beside();
    }

    /// Drops the connection when the vault is sealed, unless somebody holds it: who does looks again.
    pub(super) fn forget_beside(&self) {
        if self.has_met_a_seal()
            && let Ok(mut beside) = self.beside().try_lock()
        {
            *beside = None;
        }
    }
}

fn connect(store: &mut Store) -> Result<Connection, VaultError> {
    let connection = store.database.connect()?;
    configure(&connection).map_err(|e| store.explain(e.into()))?;
    Ok(connection)
}

fn copy(connection: &Connection) {
    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
}
