//! What rotation policies do: the times at which keys are due, and their new versions.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::error::Fault;
use super::rows;
use super::store::Work;
use super::{KeyBundle, KeySpec, RotationPolicy};

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

/// What the version after `newest` shall be: as it is, enabled, with the date that the policy gives.
pub(super) fn spec(work: &Work<'_>, key: i64, newest: KeyBundle) -> Result<KeySpec, Fault> {
    let expiry = policy(work, key)?.and_then(|policy| policy.expiry);
    Ok(KeySpec {
        operations: newest.operations,
        expires: expiry.map(|period| period.after(work.now)),
        hsm: newest.hsm,
        exportable: newest.exportable,
        tags: newest.tags,
        ..KeySpec::new(newest.kind)
    })
}
