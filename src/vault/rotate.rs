//! What rotation policies do: the times at which keys are due, and their new versions.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::base::{KeyName, KeyVersion, KeyVersionRef};
use crate::crypto::{KeyEncryptionKey, KeyKind, random_id};

use super::error::Fault;
use super::rows::{self, Pick, StoredVersion};
use super::store::Work;
use super::{KeyAttributes, KeyBundle, KeySpec, RotationPolicy};

/// A key whose rotation is due.
pub(super) struct Due {
    name: KeyName,
    /// Its newest version, of this kind.
    version: KeyVersion,
    pub(super) kind: KeyKind,
}

/// The policy of the key in row `key`; `None` when none was set.
pub(super) fn policy(work: &Work<'_>, key: i64) -> rusqlite::Result<Option<RotationPolicy>> {
    let sql = "SELECT rotation FROM keys WHERE key = ?1 AND rotation IS NOT NULL";
    work.db
        .prepare_cached(sql)?
        .query_row([key], |row| rows::column_json(row, "rotation"))
        .optional()
}

/// Sets it.
pub(super) fn set_policy(
    work: &Work<'_>,
    key: i64,
    policy: &RotationPolicy,
) -> Result<RotationPolicy, Fault> {
    let created = self::policy(work, key)?.and_then(|old| old.created);
    let policy = RotationPolicy {
        created: created.or(Some(work.now)),
        updated: Some(work.now),
        ..*policy
    };
    work.db
        .prepare_cached("UPDATE keys SET rotation = ?2 WHERE key = ?1")?
        .execute(params![key, rows::json(&policy)])?;
    schedule(work, key)?;
    Ok(policy)
}

/// Notes when the key in row `key` is due, after its policy, its newest version or its deletion
/// changed.
pub(super) fn schedule(work: &Work<'_>, key: i64) -> Result<(), Fault> {
    let policy = policy(work, key)?;
    let due = match policy {
        None => None,
        Some(policy) => {
            let sql = "SELECT v.* FROM versions v JOIN keys k USING (key)
                       WHERE key = ?1 AND k.deleted IS NULL ORDER BY place DESC LIMIT 1";
            let newest = work
                .db
                .prepare_cached(sql)?
                .query_row([key], rows::attributes)
                .optional()?;
            newest.and_then(|newest| policy.due(&newest))
        }
    };
    work.db
        .prepare_cached("UPDATE keys SET rotation_due = ?2 WHERE key = ?1")?
        .execute(params![key, due.map(Timestamp::as_microsecond)])?;
    Ok(())
}

/// Whether a key is due.
pub(super) fn is_due(work: &Work<'_>) -> rusqlite::Result<bool> {
    work.db
        .prepare_cached("SELECT 1 FROM keys WHERE rotation_due <= ?1")?
        .exists([work.now.as_microsecond()])
}

/// The keys that are due.
pub(super) fn all_due(work: &Work<'_>) -> rusqlite::Result<Vec<Due>> {
    let sql = "SELECT name FROM keys WHERE rotation_due <= ?1 ORDER BY rotation_due";
    let names = work
        .db
        .prepare_cached(sql)?
        .query_map([work.now.as_microsecond()], |row| {
            rows::column_parsed(row, "name")
        })?
        .collect::<rusqlite::Result<Vec<KeyName>>>()?;
    let newest = names.into_iter().map(|name| {
        let row = rows::find(work.db, work.vault, &name, Pick::Newest)?;
        let bundle = row.ok_or(rusqlite::Error::QueryReturnedNoRows)?.bundle;
        Ok(Due {
            name,
            version: bundle.kid.version,
            kind: bundle.kind,
        })
    });
    newest.collect()
}

/// Makes `new` the version after `due`; `None` when the key is not due any more.
pub(super) fn follow(
    work: &Work<'_>,
    due: &Due,
    new: KeyEncryptionKey,
) -> Result<Option<KeyVersionRef>, Fault> {
    let still = all_due(work)?;
    let same = |d: &&Due| d.name == due.name && d.version == due.version;
    if still.iter().find(same).is_none() {
        return Ok(None);
    }
    let Some(newest) = rows::find(work.db, work.vault, &due.name, Pick::Newest)? else {
        return Ok(None);
    };
    let (key, kid) = (newest.key, newest.bundle.kid.clone());
    let version = StoredVersion::new(work, spec(work, key, newest.bundle)?, new);
    version.insert(work, key)?;
    schedule(work, key)?;
    Ok(Some(KeyVersionRef {
        version: version.version,
        ..kid
    }))
}

/// What the version after `newest` shall be: as it is, enabled, with the date that the policy gives.
pub(super) fn spec(work: &Work<'_>, key: i64, newest: KeyBundle) -> Result<KeySpec, Fault> {
    let expiry = policy(work, key)?.and_then(|policy| policy.expiry);
    Ok(KeySpec {
        enabled: true,
        operations: newest.operations,
        expires: expiry.map(|period| period.after(work.now)),
        hsm: newest.hsm,
        exportable: newest.exportable,
        tags: newest.tags,
        ..KeySpec::new(newest.kind)
    })
}

impl StoredVersion {
    /// A version that begins now.
    pub(super) fn new(work: &Work<'_>, spec: KeySpec, key: KeyEncryptionKey) -> Self {
        Self {
            version: random_id(KeyVersion::from_bytes),
            operations: spec.operations,
            attributes: KeyAttributes {
                enabled: spec.enabled,
                not_before: spec.not_before,
                expires: spec.expires,
                created: work.now,
                updated: work.now,
            },
            hsm: spec.hsm,
            exportable: spec.exportable,
            tags: spec.tags,
            key,
        }
    }
}
