//! What decides on the use of a version of a key.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::{KeyName, KeyVersion, KeyVersionRef, VaultId};

use super::rows::{Pick, column_parsed, column_time_or_none};

/// A version of a key, as far as a use of it is concerned.
pub(super) struct UseRow {
    pub(super) kid: KeyVersionRef,
    pub(super) operations: u8,
    pub(super) enabled: bool,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    /// When it goes for good, where the key is deleted.
    pub(super) purge: Option<Timestamp>,
}

macro_rules! select_uses {
    ($rest:literal) => {
        concat!(
            "SELECT k.name, k.scheduled_purge, v.version, v.operations, v.enabled, v.not_before,
                    v.expires
             FROM versions v JOIN keys k USING (key) ",
            $rest
        )
    };
}

/// What decides on the use of one version, or the newest, of the key `name`, deleted or not.
pub(super) fn find_use(
    db: &Connection,
    vault: VaultId,
    name: &KeyName,
    pick: Pick,
) -> rusqlite::Result<Option<UseRow>> {
    let read = |row: &Row<'_>| {
        Ok(UseRow {
            kid: KeyVersionRef {
                vault,
                name: column_parsed(row, "name")?,
                version: KeyVersion::from_bytes(row.get("version")?),
            },
            operations: row.get("operations")?,
            enabled: row.get("enabled")?,
            not_before: column_time_or_none(row, "not_before")?,
            expires: column_time_or_none(row, "expires")?,
            purge: column_time_or_none(row, "scheduled_purge")?,
        })
    };
    match pick {
        Pick::Newest => db
            .prepare_cached(select_uses!(
                "WHERE k.name = ?1 ORDER BY v.place DESC LIMIT 1"
            ))?
            .query_row([name.as_str()], read)
            .optional(),
        Pick::Exactly(version) => db
            .prepare_cached(select_uses!("WHERE k.name = ?1 AND v.version = ?2"))?
            .query_row(params![name.as_str(), version.as_bytes()], read)
            .optional(),
    }
}
