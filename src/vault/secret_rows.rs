//! The rows of secrets and their versions as types.

use jiff::Timestamp;
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::SecretBytes;

use super::rows::{
    Pick, attributes, column_json, column_parsed, column_time, json, limit, place_of,
};
use super::sealed_field::{Field, FieldKey};
use super::store::Work;
use super::{DeletedSecret, KeyAttributes, Page, SecretBundle, SecretId, Tags};

/// One version of a secret, without its value.
pub(super) struct SecretRow {
    /// The row of its secret.
    pub(super) secret: i64,
    pub(super) bundle: SecretBundle,
    /// When the secret was deleted, and when it goes for good.
    pub(super) deleted: Option<(Timestamp, Timestamp)>,
}

/// One version of a secret with its value: on its way into the vault or into a backup.
pub struct StoredSecret {
    /// Its identifier.
    pub version: KeyVersion,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// What the value is.
    pub content_type: Option<String>,
    /// Names and values.
    pub tags: Tags,
    /// The value.
    pub value: SecretBytes,
}

macro_rules! select_secrets {
    ($rest:literal) => {
        concat!(
            "SELECT s.secret, s.name, s.deleted, s.scheduled_purge, v.version, v.enabled,
                    v.not_before, v.expires, v.created, v.updated, v.content_type, v.tags
             FROM secret_versions v JOIN secrets s USING (secret) ",
            $rest
        )
    };
}

/// One version, or the newest, of the secret `name`, deleted or not.
pub(super) fn find(
    db: &Connection,
    vault: VaultId,
    name: &KeyName,
    pick: Pick,
) -> rusqlite::Result<Option<SecretRow>> {
    let read = |row: &Row<'_>| SecretRow::read(row, vault);
    match pick {
        Pick::Newest => db
            .prepare_cached(select_secrets!(
                "WHERE s.name = ?1 ORDER BY v.place DESC LIMIT 1"
            ))?
            .query_row([name.as_str()], read)
            .optional(),
        Pick::Exactly(version) => db
            .prepare_cached(select_secrets!("WHERE s.name = ?1 AND v.version = ?2"))?
            .query_row(params![name.as_str(), version.as_bytes()], read)
            .optional(),
    }
}

/// Versions of a secret, oldest first; `None` when it has no version `page.after`.
pub(super) fn versions(
    db: &Connection,
    vault: VaultId,
    name: &KeyName,
    page: &Page<KeyVersion>,
) -> rusqlite::Result<Option<Vec<SecretRow>>> {
    let place = "SELECT place FROM secret_versions JOIN secrets USING (secret)
                 WHERE name = ?1 AND version = ?2";
    let Some(after) = place_of(db, place, name, page.after)? else {
        return Ok(None);
    };
    db.prepare_cached(select_secrets!(
        "WHERE s.name = ?1 AND v.place > ?2 ORDER BY v.place LIMIT ?3"
    ))?
    .query_map(params![name.as_str(), after, limit(page.limit)], |row| {
        SecretRow::read(row, vault)
    })?
    .collect::<rusqlite::Result<_>>()
    .map(Some)
}

/// The newest version of secrets, by name: of live ones, or of deleted ones.
pub(super) fn newest_of_all(
    db: &Connection,
    vault: VaultId,
    deleted: bool,
    page: &Page<KeyName>,
) -> rusqlite::Result<Vec<SecretRow>> {
    let after = page.after.as_ref().map_or("", KeyName::as_str);
    db.prepare_cached(select_secrets!(
        "WHERE s.name > ?1 AND (s.deleted IS NOT NULL) = ?2
           AND v.place = (SELECT max(place) FROM secret_versions WHERE secret = s.secret)
         ORDER BY s.name LIMIT ?3"
    ))?
    .query_map(params![after, deleted, limit(page.limit)], |row| {
        SecretRow::read(row, vault)
    })?
    .collect()
}

impl SecretRow {
    fn read(row: &Row<'_>, vault: VaultId) -> rusqlite::Result<Self> {
        let deleted = match row.get::<_, Option<i64>>("deleted")? {
            None => None,
            Some(_) => Some((
                column_time(row, "deleted")?,
                column_time(row, "scheduled_purge")?,
            )),
        };
        Ok(Self {
            secret: row.get("secret")?,
            bundle: SecretBundle {
                id: SecretId {
                    vault,
                    name: column_parsed(row, "name")?,
                    version: KeyVersion::from_bytes(row.get("version")?),
                },
                attributes: attributes(row)?,
                content_type: row.get("content_type")?,
                tags: column_json(row, "tags")?,
            },
            deleted,
        })
    }

    /// As a soft-deleted secret, when it is one.
    pub(super) fn into_deleted(self) -> Option<DeletedSecret> {
        self.deleted
            .map(|(deleted, scheduled_purge)| DeletedSecret {
                bundle: self.bundle,
                deleted,
                scheduled_purge,
            })
    }

    /// With its value.
    pub(super) fn into_stored(
        self,
        db: &Connection,
        fields: &FieldKey,
    ) -> rusqlite::Result<StoredSecret> {
        let SecretBundle {
            id,
            attributes,
            content_type,
            tags,
        } = self.bundle;
        Ok(StoredSecret {
            version: id.version,
            attributes,
            content_type,
            tags,
            value: value(db, fields, id.version)?,
        })
    }
}

impl StoredSecret {
    /// Appends it as the newest version of the secret in row `secret`.
    pub(super) fn insert(&self, work: &Work<'_>, secret: i64) -> rusqlite::Result<()> {
        let value = work.fields.seal(Field::Value, self.version, &self.value);
        work.db.prepare_cached(
            "INSERT INTO secret_versions (secret, version, enabled, not_before, expires, created,
                                          updated, content_type, tags, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            secret,
            self.version.as_bytes(),
            self.attributes.enabled,
            self.attributes.not_before.map(Timestamp::as_microsecond),
            self.attributes.expires.map(Timestamp::as_microsecond),
            self.attributes.created.as_microsecond(),
            self.attributes.updated.as_microsecond(),
            self.content_type,
            json(&self.tags),
            value,
        ])?;
        Ok(())
    }
}

/// The value of a version.
pub(super) fn value(
    db: &Connection,
    fields: &FieldKey,
    version: KeyVersion,
) -> rusqlite::Result<SecretBytes> {
    db.prepare_cached("SELECT value FROM secret_versions WHERE version = ?1")?
        .query_row([version.as_bytes()], |row| {
            let sealed = row.get_ref(0)?.as_blob()?;
            let value = fields.open(Field::Value, version, sealed);
            value.map_err(|e| FromSqlError::Other(e.into()).into())
        })
}

/// Changes all that may change of a version.
pub(super) fn update(db: &Connection, new: &SecretBundle) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE secret_versions SET enabled = ?2, not_before = ?3, expires = ?4, updated = ?5,
                content_type = ?6, tags = ?7
         WHERE version = ?1",
    )?
    .execute(params![
        new.id.version.as_bytes(),
        new.attributes.enabled,
        new.attributes.not_before.map(Timestamp::as_microsecond),
        new.attributes.expires.map(Timestamp::as_microsecond),
        new.attributes.updated.as_microsecond(),
        new.content_type,
        json(&new.tags),
    ])?;
    Ok(())
}

/// Adds a secret without versions; returns its row.
pub(super) fn insert(db: &Connection, name: &KeyName) -> rusqlite::Result<i64> {
    db.prepare_cached("INSERT INTO secrets (name) VALUES (?1)")?
        .insert([name.as_str()])
}

/// Marks a secret as deleted since a time, until another; or as live again.
pub(super) fn set_deleted(
    db: &Connection,
    secret: i64,
    deleted: Option<(Timestamp, Timestamp)>,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE secrets SET deleted = ?2, scheduled_purge = ?3 WHERE secret = ?1")?
        .execute(params![
            secret,
            deleted.map(|(since, _)| since.as_microsecond()),
            deleted.map(|(_, until)| until.as_microsecond()),
        ])?;
    Ok(())
}

/// Destroys a secret with all its versions.
pub(super) fn delete(db: &Connection, secret: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM secrets WHERE secret = ?1")?
        .execute([secret])?;
    Ok(())
}

/// The secrets whose retention has passed: row and name.
pub(super) fn overdue(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare_cached("SELECT secret, name FROM secrets WHERE scheduled_purge <= ?1")?
        .query_map([now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
