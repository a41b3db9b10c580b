//! What a vault tells of itself, and its audit log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::VaultId;

use super::audit::{self, AuditFilter, AuditOutcome, AuditPage, AuditSummary, Event};
use super::audit_operation::AuditOperation;
use super::{AuditRecord, LocalVault, RootKeyKind, VaultError, rows};

/// What is fixed when a vault is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultSettings {
    /// How long a deleted key or secret can be recovered, in days: 7 to 90.
    pub retention_days: u8,
    /// Whether a soft-deleted key or secret cannot be purged before its time. One-way.
    pub purge_protection: bool,
}

impl Default for VaultSettings {
    /// Azure Key Vault's: 90 days, without purge protection.
    fn default() -> Self {
        Self {
            retention_days: 90,
            purge_protection: false,
        }
    }
}

/// What `status` tells of a vault. Nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultStatus {
    /// Its identity.
    pub id: VaultId,
    /// When it was made.
    pub created: Timestamp,
    /// Retention and purge protection.
    pub settings: VaultSettings,
    /// What its root key comes from.
    pub root: RootKeyKind,
    /// Live keys.
    pub keys: u64,
    /// Versions of live keys.
    pub versions: u64,
    /// Soft-deleted keys.
    pub deleted_keys: u64,
    /// Live secrets.
    pub secrets: u64,
    /// Soft-deleted secrets.
    pub deleted_secrets: u64,
    /// Audit records.
    pub audit_records: u64,
}

impl LocalVault {
    /// Protects deleted keys against purge before their time. There is no way back.
    pub fn enable_purge_protection(&self) -> Result<(), VaultError> {
        self.transact(
            Event::new(AuditOperation::VaultPurgeProtection),
            |work, _| {
                work.db
                    .execute("UPDATE vault SET purge_protection = 1", [])?;
                Ok(())
            },
        )
    }

    /// What there is to know of the vault.
    pub fn status(&self) -> Result<VaultStatus, VaultError> {
        let root = self.with_store(|store| store.root_kind())?;
        self.read(|work| {
            let count = |sql: &str| -> rusqlite::Result<u64> {
                work.db
                    .query_row(sql, [], |row| row.get::<_, i64>(0))
                    .map(i64::cast_unsigned)
            };
            let (created, settings) = rows::vault(work.db)?;
            Ok(VaultStatus {
                id: work.vault,
                created,
                settings,
                root,
                keys: count("SELECT count(*) FROM keys WHERE deleted IS NULL")?,
                versions: count(
                    "SELECT count(*) FROM versions JOIN keys USING (key) WHERE deleted IS NULL",
                )?,
                deleted_keys: count("SELECT count(*) FROM keys WHERE deleted IS NOT NULL")?,
                secrets: count("SELECT count(*) FROM secrets WHERE deleted IS NULL")?,
                deleted_secrets: count("SELECT count(*) FROM secrets WHERE deleted IS NOT NULL")?,
                audit_records: audit::head(work.db)?.records,
            })
        })
    }

    /// Records what the vault did not: that somebody was refused before it was asked, or has read what
    /// is read without a record. On disk when this returns. `path` says of what, as
    /// `/keys/NAME/VERSION`.
    pub fn record(
        &self,
        operation: AuditOperation,
        path: Option<&str>,
        outcome: AuditOutcome,
    ) -> Result<(), VaultError> {
        let kid = path.map(|path| format!("{}{path}", self.vault_id()));
        let event = Event::ended(operation, kid, outcome);
        self.decide(event, |_, _| Ok(Some(()))).map(drop)
    }

    /// The audit records that `filter` lets through, oldest first.
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, VaultError> {
        self.read(|work| {
            let start = audit::start(work.db, filter)?;
            Ok(audit::select(work.db, filter, start, u32::MAX)?.records)
        })
    }

    /// The number before that of the oldest record that [`LocalVault::audit`] gives.
    pub fn audit_start(&self, filter: &AuditFilter) -> Result<u64, VaultError> {
        self.read(|work| Ok(audit::start(work.db, filter)?))
    }

    /// At most `count` of the records after the number `after` that `filter`, its limit aside, lets
    /// through: a page of a log that may be long, or that goes on.
    pub fn audit_after(
        &self,
        filter: &AuditFilter,
        after: u64,
        count: u32,
    ) -> Result<AuditPage, VaultError> {
        self.read(|work| Ok(audit::select(work.db, filter, after, count)?))
    }

    /// Follows the audit chain from its first record to its last, and compares the anchor.
    ///
    /// # Errors
    /// [`VaultError::Audit`] names the first record that is altered, missing or moved, or tells
    /// that the tail was cut.
    pub fn verify_audit(&self) -> Result<AuditSummary, VaultError> {
        self.with_store(|store| store.verify_audit())
    }
}
