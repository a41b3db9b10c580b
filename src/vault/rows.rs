//! The rows of keys and their versions as types.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{KeyName, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, PublicKey};

use super::sealed_field::{Field, FieldKey};
use super::store::Work;
use super::{DeletedKey, KeyAttributes, KeyBundle, KeyOperation, Page, Tags, VaultSettings};

/// Which version of a key.
#[derive(Clone, Copy)]
pub(super) enum Pick {
    Newest,
    Exactly(KeyVersion),
}

impl From<Option<KeyVersion>> for Pick {
    fn from(version: Option<KeyVersion>) -> Self {
        version.map_or(Self::Newest, Self::Exactly)
    }
}

/// One version of a key, without its private part.
pub(super) struct VersionRow {
    /// The row of its key.
    pub(super) key: i64,
    pub(super) bundle: KeyBundle,
    /// When the key was deleted, and when it goes for good.
    pub(super) deleted: Option<(Timestamp, Timestamp)>,
}

macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT k.key, k.name, k.deleted, k.scheduled_purge, v.version, v.kind, v.hsm,
                    v.exportable, v.operations, v.enabled, v.not_before, v.expires, v.created,
                    v.updated, v.tags, v.thumbprint, v.public_key
             FROM versions v JOIN keys k USING (key) ",
            $rest
        )
    };
}

/// One version, or the newest, of the key `name`, deleted or not.
pub(super) fn find(
    db: &Connection,
    vault: VaultId,
    name: &KeyName,
    pick: Pick,
) -> rusqlite::Result<Option<VersionRow>> {
    let read = |row: &Row<'_>| VersionRow::read(row, vault);
    match pick {
        Pick::Newest => db
            .prepare_cached(select_versions!(
                "WHERE k.name = ?1 ORDER BY v.place DESC LIMIT 1"
            ))?
            .query_row([name.as_str()], read)
            .optional(),
        Pick::Exactly(version) => db
            .prepare_cached(select_versions!("WHERE k.name = ?1 AND v.version = ?2"))?
            .query_row(params![name.as_str(), version.as_bytes()], read)
            .optional(),
    }
}

/// Versions of a key, oldest first; `None` when it has no version `page.after`.
pub(super) fn versions(
    db: &Connection,
    vault: VaultId,
    name: &KeyName,
    page: &Page<KeyVersion>,
) -> rusqlite::Result<Option<Vec<VersionRow>>> {
    let place = "SELECT place FROM versions JOIN keys USING (key) WHERE name = ?1 AND version = ?2";
    let Some(after) = place_of(db, place, name, page.after)? else {
        return Ok(None);
    };
    db.prepare_cached(select_versions!(
        "WHERE k.name = ?1 AND v.place > ?2 ORDER BY v.place LIMIT ?3"
    ))?
    .query_map(params![name.as_str(), after, limit(page.limit)], |row| {
        VersionRow::read(row, vault)
    })?
    .collect::<rusqlite::Result<_>>()
    .map(Some)
}

/// The newest version of keys, by name: of live ones, or of deleted ones.
pub(super) fn newest_of_all(
    db: &Connection,
    vault: VaultId,
    deleted: bool,
    page: &Page<KeyName>,
) -> rusqlite::Result<Vec<VersionRow>> {
    let after = page.after.as_ref().map_or("", KeyName::as_str);
    db.prepare_cached(select_versions!(
        "WHERE k.name > ?1 AND (k.deleted IS NOT NULL) = ?2
           AND v.place = (SELECT max(place) FROM versions WHERE key = k.key)
         ORDER BY k.name LIMIT ?3"
    ))?
    .query_map(params![after, deleted, limit(page.limit)], |row| {
        VersionRow::read(row, vault)
    })?
    .collect()
}

/// The place after which a page of versions begins, as `sql` finds it: 0 for the first page, `None` when there
/// is no version `after`.
pub(super) fn place_of(
    db: &Connection,
    sql: &str,
    name: &KeyName,
    after: Option<KeyVersion>,
) -> rusqlite::Result<Option<i64>> {
    match after {
        None => Ok(Some(0)),
        Some(version) => db
            .prepare_cached(sql)?
            .query_row(params![name.as_str(), version.as_bytes()], |row| row.get(0))
            .optional(),
    }
}

/// A page's limit as SQL has it: -1 for none.
pub(super) fn limit(limit: Option<u32>) -> i64 {
    limit.map_or(-1, i64::from)
}

impl VersionRow {
    fn read(row: &Row<'_>, vault: VaultId) -> rusqlite::Result<Self> {
        let deleted = match row.get::<_, Option<i64>>("deleted")? {
            None => None,
            Some(_) => Some((
                column_time(row, "deleted")?,
                column_time(row, "scheduled_purge")?,
            )),
        };
        Ok(Self {
            key: row.get("key")?,
            bundle: KeyBundle {
                kid: KeyVersionRef {
                    vault,
                    name: column_parsed(row, "name")?,
                    version: KeyVersion::from_bytes(row.get("version")?),
                },
                kind: column_parsed(row, "kind")?,
                hsm: row.get("hsm")?,
                exportable: row.get("exportable")?,
                operations: operations_from_bits(row.get("operations")?),
                attributes: attributes(row)?,
                tags: column_json(row, "tags")?,
                thumbprint: hex::encode(row.get::<_, [u8; 32]>("thumbprint")?),
                public_key: row
                    .get::<_, Option<Vec<u8>>>("public_key")?
                    .map(PublicKey::from_der),
            },
            deleted,
        })
    }

    /// With its private part.
    pub(super) fn into_stored(
        self,
        db: &Connection,
        fields: &FieldKey,
    ) -> rusqlite::Result<StoredVersion> {
        let KeyBundle {
            kid,
            operations,
            attributes,
            hsm,
            exportable,
            tags,
            ..
        } = self.bundle;
        let key = key_encryption_key(db, fields, kid.version)?;
        Ok(StoredVersion {
            version: kid.version,
            operations,
            attributes,
            hsm,
            exportable,
            tags,
            key: key.ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        })
    }

    /// As a soft-deleted key, when it is one.
    pub(super) fn into_deleted(self) -> Option<DeletedKey> {
        self.deleted.map(|(deleted, scheduled_purge)| DeletedKey {
            bundle: self.bundle,
            deleted,
            scheduled_purge,
        })
    }
}

/// One version of a key with its private part: on its way into the vault or into a backup.
pub struct StoredVersion {
    /// Its identifier.
    pub version: KeyVersion,
    /// What it may be used for.
    pub operations: Vec<KeyOperation>,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Whether a key in hardware was asked for.
    pub hsm: bool,
    /// Whether its private part might be released.
    pub exportable: bool,
    /// Names and values.
    pub tags: Tags,
    /// The key itself.
    pub key: KeyEncryptionKey,
}

impl StoredVersion {
    /// Appends it as the newest version of the key in row `key`.
    pub(super) fn insert(&self, work: &Work<'_>, key: i64) -> rusqlite::Result<()> {
        let secret = self.key.to_secret_bytes();
        let material = work.fields.seal(Field::Material, self.version, &secret);
        work.db
            .prepare_cached(
                "INSERT INTO versions (key, version, kind, hsm, exportable, operations, enabled,
                                   not_before, expires, created, updated, tags, thumbprint,
                                   public_key, material)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .execute(params![
                key,
                self.version.as_bytes(),
                self.key.kind().to_string(),
                self.hsm,
                self.exportable,
                operation_bits(&self.operations),
                self.attributes.enabled,
                self.attributes.not_before.map(Timestamp::as_microsecond),
                self.attributes.expires.map(Timestamp::as_microsecond),
                self.attributes.created.as_microsecond(),
                self.attributes.updated.as_microsecond(),
                json(&self.tags),
                self.key.thumbprint(),
                self.key.public_key().as_ref().map(PublicKey::der),
                material,
            ])?;
        Ok(())
    }
}

/// Adds a key without versions; returns its row.
pub(super) fn insert_key(db: &Connection, name: &KeyName) -> rusqlite::Result<i64> {
    db.prepare_cached("INSERT INTO keys (name) VALUES (?1)")?
        .insert([name.as_str()])
}

/// When the vault was made, and its settings.
pub(super) fn vault(db: &Connection) -> rusqlite::Result<(Timestamp, VaultSettings)> {
    db.prepare_cached("SELECT created, retention_days, purge_protection FROM vault")?
        .query_row([], |row| {
            let settings = VaultSettings {
                retention_days: row.get("retention_days")?,
                purge_protection: row.get("purge_protection")?,
            };
            Ok((column_time(row, "created")?, settings))
        })
}

/// Marks a key as deleted since a time, until another; or as live again.
pub(super) fn set_deleted(
    db: &Connection,
    key: i64,
    deleted: Option<(Timestamp, Timestamp)>,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE keys SET deleted = ?2, scheduled_purge = ?3 WHERE key = ?1")?
        .execute(params![
            key,
            deleted.map(|(since, _)| since.as_microsecond()),
            deleted.map(|(_, until)| until.as_microsecond()),
        ])?;
    Ok(())
}

/// Destroys a key with all its versions.
pub(super) fn delete_key(db: &Connection, key: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM keys WHERE key = ?1")?
        .execute([key])?;
    Ok(())
}

/// The private part of a version; `None` when the vault has no such version.
pub(super) fn key_encryption_key(
    db: &Connection,
    fields: &FieldKey,
    version: KeyVersion,
) -> rusqlite::Result<Option<KeyEncryptionKey>> {
    db.prepare_cached("SELECT kind, material FROM versions WHERE version = ?1")?
        .query_row([version.as_bytes()], |row| {
            let kind = column_parsed(row, "kind")?;
            let sealed = row.get_ref("material")?.as_blob()?;
            let material = fields
                .open(Field::Material, version, sealed)
                .map_err(|e| FromSqlError::Other(e.into()))?;
            KeyEncryptionKey::from_secret_bytes(kind, &material)
                .map_err(|e| FromSqlError::Other(e.into()).into())
        })
        .optional()
}

/// A set of operations as bits.
pub(super) fn operation_bits(operations: &[KeyOperation]) -> u8 {
    operations.iter().fold(0, |bits, operation| {
        bits | match operation {
            KeyOperation::WrapKey => 1,
            KeyOperation::UnwrapKey => 2,
            KeyOperation::Encrypt => 4,
            KeyOperation::Decrypt => 8,
            KeyOperation::Sign => 16,
            KeyOperation::Verify => 32,
            KeyOperation::Import => 64,
            KeyOperation::Export => 128,
        }
    })
}

/// The operations whose bits are set.
pub(super) fn operations_from_bits(bits: u8) -> Vec<KeyOperation> {
    let all = KeyOperation::ALL.into_iter();
    all.filter(|o| bits & operation_bits(&[*o]) != 0).collect()
}

/// The attributes that every table of versions has.
pub(super) fn attributes(row: &Row<'_>) -> rusqlite::Result<KeyAttributes> {
    Ok(KeyAttributes {
        enabled: row.get("enabled")?,
        not_before: column_time_or_none(row, "not_before")?,
        expires: column_time_or_none(row, "expires")?,
        created: column_time(row, "created")?,
        updated: column_time(row, "updated")?,
    })
}

pub(super) fn column_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let microseconds = row.get(column)?;
    Timestamp::from_microsecond(microseconds)
        .map_err(|_| FromSqlError::OutOfRange(microseconds).into())
}

pub(super) fn column_time_or_none(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => column_time(row, column).map(Some),
    }
}

/// A value as a column of JSON holds it.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and times have a JSON form")
}

/// A value from a column of JSON.
pub(super) fn column_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into()))
}

pub(super) fn column_parsed<T: FromStr>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|_| {
        let why = format!("{column} holds {text:?}");
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, why.into())
    })
}
