//! The audit log: one record for each operation, allowed or refused, in a chain of MACs. Each MAC
//! covers its record and the MAC before it, so that no record can be changed, left out or moved.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use jiff::Timestamp;
use rusqlite::{Connection, named_params, params};
use serde::{Deserialize, Serialize};

use crate::base::KeyName;
use crate::base::sabotage::{self, Sabotage};
use crate::crypto::{Secret, hmac_verify, random_bytes};

use super::anchor::AuditAnchor;
use super::audit_operation::AuditOperation;
use super::audit_request::Caller;
use super::error::Fault;
use super::{AuditRecord, VaultError};

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
    /// This secret only, whatever the version.
    pub secret: Option<KeyName>,
    /// This caller only, by name, object id or client id.
    pub identity: Option<String>,
    /// From this address only.
    pub address: Option<IpAddr>,
    /// What was answered with this status of HTTP only.
    pub http_status: Option<u16>,
    /// What goes by this correlation id only.
    pub correlation_id: Option<String>,
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

/// How an operation ended that the vault did not decide itself.
#[derive(Clone, Debug)]
pub struct AuditOutcome {
    /// The status of the answer over HTTP.
    pub http_status: u16,
    /// `OK`, or the refusal's code.
    pub code: Cow<'static, str>,
    /// What the caller was told, when it was refused.
    pub description: String,
}

impl AuditOutcome {
    /// Done, with this status.
    pub fn done(http_status: u16) -> Self {
        Self {
            http_status,
            code: "OK".into(),
            description: String::new(),
        }
    }

    /// Refused by the vault.
    pub fn refused(error: &VaultError) -> Self {
        Self {
            http_status: error.http_status(),
            code: error.code().into(),
            description: error.to_string(),
        }
    }
}

/// What is to be recorded of an operation under way.
pub(super) struct Event {
    pub(super) operation: AuditOperation,
    pub(super) kid: Option<String>,
    /// By which algorithm a key is used; empty for other operations.
    pub(super) algorithm: String,
    /// How it is recorded when it succeeds.
    success: AuditOutcome,
    begun: Instant,
}

impl Event {
    pub(super) fn new(operation: AuditOperation) -> Self {
        Self {
            operation,
            kid: None,
            algorithm: String::new(),
            success: AuditOutcome::done(operation.http_status()),
            begun: Instant::now(),
        }
    }

    /// An operation that is about to begin.
    pub(super) fn accepted(operation: AuditOperation) -> Self {
        let mut event = Self::new(operation);
        event.success.code = "Accepted".into();
        event
    }

    pub(super) fn on(operation: AuditOperation, kid: &impl fmt::Display) -> Self {
        Self {
            kid: Some(kid.to_string()),
            ..Self::new(operation)
        }
    }

    /// One that has ended, as `outcome` says.
    pub(super) fn ended(
        operation: AuditOperation,
        kid: Option<String>,
        outcome: AuditOutcome,
    ) -> Self {
        Self {
            kid,
            success: outcome,
            ..Self::new(operation)
        }
    }

    fn outcome(
        &self,
        time: Timestamp,
        caller: &Caller,
        result: Result<(), &VaultError>,
    ) -> AuditRecord {
        let outcome = match result {
            Ok(()) => self.success.clone(),
            Err(e) => AuditOutcome::refused(e),
        };
        let kind = match outcome.http_status {
            ..400 => "Success",
            _ => "Failed",
        };
        let request = caller.request.as_ref();
        let text = |of: fn(&super::AuditRequest) -> &String| request.map(of).cloned();
        let begun = request.map_or(self.begun, |request| request.begun);
        let address = request.and_then(|request| request.address);
        AuditRecord {
            number: 0,
            time,
            operation_name: self.operation.name().to_owned(),
            operation_version: text(|r| &r.version).unwrap_or_default(),
            kid: self.kid.clone(),
            algorithm: self.algorithm.clone(),
            result_type: kind.into(),
            result_signature: outcome.code.into_owned(),
            result_description: outcome.description,
            duration_microseconds: i64::try_from(begun.elapsed().as_micros())
                .unwrap_or(i64::MAX)
                .cast_unsigned(),
            identity: caller.identity.clone(),
            object_id: text(|r| &r.object_id).unwrap_or_default(),
            client_id: text(|r| &r.client_id).unwrap_or_default(),
            caller_ip_address: address.map(|a| a.to_string()).unwrap_or_default(),
            correlation_id: text(|r| &r.correlation_id)
                .unwrap_or_else(|| hex::encode(random_bytes::<16>())),
            client_info: text(|r| &r.client_info).unwrap_or_default(),
            request_uri: text(|r| &r.uri).unwrap_or_default(),
            http_status: request.map(|_| outcome.http_status),
        }
    }
}

/// Appends a record to the chain, within the caller's transaction; returns the new head.
pub(super) fn append(
    db: &Connection,
    key: &Secret<32>,
    event: &Event,
    time: Timestamp,
    caller: &Caller,
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
    caller: &Caller,
    result: Result<(), &VaultError>,
) -> rusqlite::Result<AuditAnchor> {
    let mut record = event.outcome(time, caller, result);
    record.number = head.records + 1;
    let mac = record.mac(key, &head.head);
    record.insert(db, &mac)?;
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

/// A page of the log.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Oldest first.
    pub records: Vec<AuditRecord>,
    /// The number up to which the log was looked at: where the next page begins.
    pub through: u64,
}

macro_rules! select_filtered {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ", $what, " FROM audit
             WHERE number > :after
               AND (:since IS NULL OR time >= :since) AND (:until IS NULL OR time < :until)
               AND (:operation IS NULL OR operation_name = :operation)
               AND (:key IS NULL OR kid LIKE '%/keys/' || :key OR kid LIKE '%/keys/' || :key || '/%')
               AND (:secret IS NULL OR kid LIKE '%/secrets/' || :secret
                    OR kid LIKE '%/secrets/' || :secret || '/%')
               AND (:identity IS NULL OR :identity IN (identity, object_id, client_id))
               AND (:address IS NULL OR caller_ip_address = :address)
               AND (:http_status IS NULL OR http_status = :http_status)
               AND (:correlation_id IS NULL OR correlation_id = :correlation_id)
               AND (NOT :failed OR result_type = 'Failed') ",
            $rest
        )
    };
}

/// Runs a statement of `select_filtered`, with the records after the number `after`.
macro_rules! filtered {
    ($statement:expr, $filter:expr, $after:expr, $limit:expr, $read:expr) => {
        $statement.query_map(
            named_params! {
                ":after": $after.cast_signed(),
                ":since": $filter.since.map(Timestamp::as_microsecond),
                ":until": $filter.until.map(Timestamp::as_microsecond),
                ":operation": $filter.operation.map(AuditOperation::name),
                ":key": $filter.key.as_ref().map(KeyName::as_str),
                ":secret": $filter.secret.as_ref().map(KeyName::as_str),
                ":identity": $filter.identity,
                ":address": $filter.address.map(|a| a.to_string()),
                ":http_status": $filter.http_status,
                ":correlation_id": $filter.correlation_id,
                ":failed": $filter.failed,
                ":limit": $limit,
            },
            $read,
        )
    };
}

/// The number before that of the oldest record that `filter` gives, with its limit; 0 without one.
pub(super) fn start(db: &Connection, filter: &AuditFilter) -> rusqlite::Result<u64> {
    let Some(limit) = filter.limit else {
        return Ok(0);
    };
    let newest = select_filtered!("number", "ORDER BY number DESC LIMIT :limit");
    let mut statement = db.prepare_cached(newest)?;
    let numbers = filtered!(statement, filter, 0_u64, limit, |row| row.get::<_, i64>(0))?;
    let oldest = numbers.last().transpose()?;
    // Without one, all that come are new.
    Ok(match oldest {
        Some(oldest) => oldest.cast_unsigned() - 1,
        None => head(db)?.records,
    })
}

/// At most `count` of the records after the number `after` that `filter`, its limit aside, lets
/// through.
pub(super) fn select(
    db: &Connection,
    filter: &AuditFilter,
    after: u64,
    count: u32,
) -> rusqlite::Result<AuditPage> {
    let oldest = select_filtered!("*", "ORDER BY number LIMIT :limit");
    let mut statement = db.prepare_cached(oldest)?;
    let records = filtered!(statement, filter, after, count, AuditRecord::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let through = match records.last() {
        Some(last) if records.len() == count as usize => last.number,
        _ => head(db)?.records,
    };
    Ok(AuditPage { records, through })
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
            Ok((record, mac))
                if sabotage::broken(Sabotage::ChainUnchecked)
                    || hmac_verify(key, &[&record.to_bytes(&last.head)], &mac) =>
            {
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
