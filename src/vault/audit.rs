//! The audit log: one record for each operation, allowed or refused, in a chain of MACs. Each MAC
//! covers its record and the MAC before it, so that no record can be changed, left out or moved.

use std::fmt;

use jiff::Timestamp;
use rusqlite::{Connection, Row, named_params, params};
use serde::{Deserialize, Serialize};

use crate::base::KeyName;
use crate::crypto::{Secret, hmac_sha256, hmac_verify, random_bytes};

use super::VaultError;
use super::anchor::AuditAnchor;
use super::audit_operation::AuditOperation;
use super::error::Fault;
use super::rows::column_time;

/// One record. The fields are those of Azure Key Vault's `AuditEvent` that mean something here;
/// no key bytes and no data bytes are in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Its place in the chain, from 1.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// What was asked: an [`AuditOperation`].
    pub operation_name: String,
    /// Of which key or version, where the operation concerns one.
    pub kid: Option<String>,
    /// Whether it was done: `Success` or `Failed`.
    pub result_type: String,
    /// `OK`, `Accepted` (begun; another record says how it ended), or [`VaultError::code`].
    pub result_signature: String,
    /// What the caller was told, when it failed.
    pub result_description: String,
    /// Who asked: the name given to `LocalVault::acting_as`.
    pub identity: String,
    /// 32 hexadecimal digits, random for each operation.
    pub correlation_id: String,
}

/// Which records to give; all of them by default.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not at or after.
    pub until: Option<Timestamp>,
    /// This operation only.
    pub operation: Option<AuditOperation>,
    /// This key only, whatever the version.
    pub key: Option<KeyName>,
    /// This caller only.
    pub identity: Option<String>,
    /// Refusals only.
    pub failed: bool,
    /// At most so many, the newest ones.
    pub limit: Option<u32>,
}

/// What `verify_audit` found: a chain without a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditSummary {
    /// How many records there are.
    pub records: u64,
    /// The last record's MAC, 64 hexadecimal digits: note it elsewhere to anchor the log there.
    pub head: String,
    /// How many of them the anchor vouches for; later ones were written as the process stopped.
    pub anchored: u64,
}

/// What is to be recorded of an operation under way.
pub(super) struct Event {
    pub(super) operation: AuditOperation,
    pub(super) kid: Option<String>,
    /// How it is recorded when it succeeds.
    success: &'static str,
}

impl Event {
    pub(super) fn new(operation: AuditOperation) -> Self {
        Self {
            operation,
            kid: None,
            success: "OK",
        }
    }

    /// An operation that is about to begin.
    pub(super) fn accepted(operation: AuditOperation) -> Self {
        Self {
            operation,
            kid: None,
            success: "Accepted",
        }
    }

    pub(super) fn on(operation: AuditOperation, kid: &impl fmt::Display) -> Self {
        Self {
            kid: Some(kid.to_string()),
            ..Self::new(operation)
        }
    }

    fn outcome(
        &self,
        time: Timestamp,
        caller: &str,
        result: Result<(), &VaultError>,
    ) -> AuditRecord {
        let (kind, signature, description) = match result {
            Ok(()) => ("Success", self.success, String::new()),
            Err(e) => ("Failed", e.code(), e.to_string()),
        };
        AuditRecord {
            number: 0,
            time,
            operation_name: self.operation.to_string(),
            kid: self.kid.clone(),
            result_type: kind.into(),
            result_signature: signature.into(),
            result_description: description,
            identity: caller.to_string(),
            correlation_id: hex::encode(random_bytes::<16>()),
        }
    }
}

/// Appends a record to the chain, within the caller's transaction; returns the new head.
pub(super) fn append(
    db: &Connection,
    key: &Secret<32>,
    event: &Event,
    time: Timestamp,
    caller: &str,
    result: Result<(), &VaultError>,
) -> rusqlite::Result<AuditAnchor> {
    append_to(db, key, head(db)?, event, time, caller, result)
}

/// The same, to a chain whose head is known.
pub(super) fn append_to(
    db: &Connection,
    key: &Secret<32>,
    head: AuditAnchor,
    event: &Event,
    time: Timestamp,
    caller: &str,
    result: Result<(), &VaultError>,
) -> rusqlite::Result<AuditAnchor> {
    let mut record = event.outcome(time, caller, result);
    record.number = head.records + 1;
    let mac = record.mac(key, &head.head);
    db.prepare_cached(
        "INSERT INTO audit (number, time, operation_name, kid, result_type, result_signature,
                            result_description, identity, correlation_id, mac)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        record.number.cast_signed(),
        record.time.as_microsecond(),
        record.operation_name,
        record.kid,
        record.result_type,
        record.result_signature,
        record.result_description,
        record.identity,
        record.correlation_id,
        mac,
    ])?;
    Ok(AuditAnchor {
        records: record.number,
        head: mac,
    })
}

/// The chain's head as the database has it.
pub(super) fn head(db: &Connection) -> rusqlite::Result<AuditAnchor> {
    let mut newest =
        db.prepare_cached("SELECT number, mac FROM audit ORDER BY number DESC LIMIT 1")?;
    let mut rows = newest.query([])?;
    Ok(match rows.next()? {
        None => AuditAnchor {
            records: 0,
            head: [0; 32],
        },
        Some(row) => AuditAnchor {
            records: row.get::<_, i64>(0)?.cast_unsigned(),
            head: row.get(1)?,
        },
    })
}

/// The records that `filter` lets through, oldest first.
pub(super) fn select(db: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut statement = db.prepare_cached(
        "SELECT * FROM audit
         WHERE (:since IS NULL OR time >= :since) AND (:until IS NULL OR time < :until)
           AND (:operation IS NULL OR operation_name = :operation)
           AND (:key IS NULL OR kid LIKE '%/keys/' || :key OR kid LIKE '%/keys/' || :key || '/%')
           AND (:identity IS NULL OR identity = :identity)
           AND (NOT :failed OR result_type = 'Failed')
         ORDER BY number DESC LIMIT :limit",
    )?;
    let found = statement.query_map(
        named_params! {
            ":since": filter.since.map(Timestamp::as_microsecond),
            ":until": filter.until.map(Timestamp::as_microsecond),
            ":operation": filter.operation.map(|o| o.to_string()),
            ":key": filter.key.as_ref().map(KeyName::as_str),
            ":identity": filter.identity,
            ":failed": filter.failed,
            ":limit": filter.limit.map_or(-1, i64::from),
        },
        AuditRecord::read,
    )?;
    let mut records = found.collect::<rusqlite::Result<Vec<_>>>()?;
    records.reverse();
    Ok(records)
}

/// Follows the whole chain.
pub(super) fn verify(
    db: &Connection,
    key: &Secret<32>,
    anchor: AuditAnchor,
) -> Result<AuditSummary, Fault> {
    let broken = |what: String| Fault::Refused(VaultError::Audit(what));
    let mut all = db.prepare("SELECT * FROM audit ORDER BY number")?;
    let mut rows = all.query([])?;
    let mut last = AuditAnchor {
        records: 0,
        head: [0; 32],
    };
    let mut anchored = anchor.records == 0;
    while let Some(row) = rows.next()? {
        let place = last.records + 1;
        let number = row.get::<_, i64>(0)?.cast_unsigned();
        if number != place {
            return Err(broken(format!(
                "record {place} is missing: {number} comes in its place"
            )));
        }
        // A record that cannot be read at all was altered too.
        let read = AuditRecord::read(row).and_then(|r| Ok((r, row.get::<_, [u8; 32]>("mac")?)));
        last = match read {
            Ok((record, mac)) if hmac_verify(key, &[&record.to_bytes(&last.head)], &mac) => {
                AuditAnchor {
                    records: number,
                    head: mac,
                }
            }
            _ => {
                return Err(broken(format!(
                    "record {number} was altered, or was not written at this place"
                )));
            }
        };
        anchored |= last == anchor;
    }
    if !anchored {
        return Err(Fault::Refused(behind(last, anchor)));
    }
    Ok(AuditSummary {
        records: last.records,
        head: hex::encode(last.head),
        anchored: anchor.records,
    })
}

/// Whether the database's chain holds the anchored record: a chain that a crash let run ahead of
/// its anchor does, one whose tail was cut, or an old file's, does not.
pub(super) fn check_anchor(db: &Connection, anchor: AuditAnchor) -> Result<(), Fault> {
    let mut at = db.prepare_cached("SELECT 1 FROM audit WHERE number = ?1 AND mac = ?2")?;
    if anchor.records == 0 || at.exists(params![anchor.records.cast_signed(), anchor.head])? {
        return Ok(());
    }
    Err(Fault::Refused(behind(head(db)?, anchor)))
}

fn behind(last: AuditAnchor, anchor: AuditAnchor) -> VaultError {
    VaultError::Audit(if last.records < anchor.records {
        format!(
            "vault.db ends at record {}, but its anchor says {}: the log's tail was cut, or an old vault.db was put back; restore the newest vault.db, or accept the loss with `atrest audit reanchor`",
            last.records, anchor.records
        )
    } else {
        format!(
            "record {} is not the one that the anchor vouches for: vault.db and audit.anchor come from different copies of the vault; restore both from one copy",
            anchor.records
        )
    })
}

impl AuditRecord {
    /// Its MAC in a chain under `audit_key`, after a record with the MAC `previous` (docs/format.md,
    /// "Vault"); zeros come before the first.
    pub fn mac(&self, audit_key: &Secret<32>, previous: &[u8; 32]) -> [u8; 32] {
        hmac_sha256(audit_key, &[&self.to_bytes(previous)])
    }

    fn to_bytes(&self, previous: &[u8; 32]) -> Vec<u8> {
        let mut bytes = b"record\0\0".to_vec();
        bytes.extend_from_slice(previous);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.time.as_microsecond().to_le_bytes());
        let fields: [&str; 7] = [
            &self.operation_name,
            self.kid.as_deref().unwrap_or_default(),
            &self.result_type,
            &self.result_signature,
            &self.result_description,
            &self.identity,
            &self.correlation_id,
        ];
        for field in fields {
            let len = u32::try_from(field.len()).expect("SQLite's texts are shorter than 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get::<_, i64>("number")?.cast_unsigned(),
            time: column_time(row, "time")?,
            operation_name: row.get("operation_name")?,
            kid: row.get("kid")?,
            result_type: row.get("result_type")?,
            result_signature: row.get("result_signature")?,
            result_description: row.get("result_description")?,
            identity: row.get("identity")?,
            correlation_id: row.get("correlation_id")?,
        })
    }
}
