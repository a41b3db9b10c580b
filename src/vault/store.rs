//! The open vault file: its connection, the keys that the master key gives, and transactions that
//! end in an audit record.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use crate::base::{KeyVersionRef, Part, VaultId, within};
use crate::crypto::{KeyEncryptionKey, Secret};
use crate::sqlite::SealedDatabase;

use super::anchor::{AnchorFile, AuditAnchor};
use super::audit::{self, Event};
use super::audit_operation::AuditOperation;
use super::audit_request::Caller;
use super::error::Fault;
use super::files::{ANCHOR, root_records};
use super::group::{Operation, Settled};
use super::key_cache::{KeyCache, Ready};
use super::root::{RootKeyKind, RootRecord};
use super::rows::Pick;
use super::sealed_field::FieldKey;
use super::{VaultError, rotate, rows, secret_rows};

/// Who is recorded for what the vault does by itself.
fn itself() -> Caller {
    Caller::named("vault")
}

/// An open, unsealed vault file.
pub(super) struct Store {
    pub(super) vault: VaultId,
    pub(super) master: Secret<32>,
    pub(super) connection: Connection,
    pub(super) database: SealedDatabase,
    pub(super) path: PathBuf,
    /// Which file was opened there: its device and inode.
    pub(super) place: (u64, u64),
    pub(super) audit_key: Secret<32>,
    pub(super) fields: FieldKey,
    pub(super) anchor: AnchorFile,
    pub(super) keys: Arc<KeyCache>,
    /// SQLite's `data_version`: moves when another connection has committed.
    pub(super) data_version: i64,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.keys.clear();
    }
}

/// What a step of a transaction works with.
pub(super) struct Work<'a> {
    pub(super) db: &'a Connection,
    pub(super) vault: VaultId,
    pub(super) fields: &'a FieldKey,
    pub(super) now: Timestamp,
}

impl Store {
    /// Notices what other connections have committed. `false`: one of them sealed the vault.
    pub(super) fn refresh(&mut self) -> Result<bool, VaultError> {
        self.insist_on_place()?;
        let now = self
            .ask_data_version()
            .map_err(|e| self.explain(e.into()))?;
        if now == self.data_version {
            return Ok(true);
        }
        self.forget_unusable_keys()
            .map_err(|e| self.explain(e.into()))?;
        let newest = root_records(&self.path)?.into_iter().next();
        // Only now: what could not be looked at is looked at again before the next use.
        self.data_version = now;
        Ok(!newest.is_some_and(|newest| newest.sealed))
    }

    /// Runs `change` and records how it ended, in one transaction that is on disk when this
    /// returns. A refusal rolls `change` back and is recorded; a failure of the store rolls back
    /// everything. The flag tells whether a right to use a key may have changed.
    pub(super) fn transact<T>(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        mut event: Event,
        change: impl FnOnce(&Work<'_>, &mut Event) -> Result<T, Fault>,
    ) -> Result<(Result<T, VaultError>, bool), VaultError> {
        let key = &self.audit_key;
        let database = &self.database;
        let stored = |e: rusqlite::Error| explain(database, e.into());
        let mut tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(stored)?;
        let purged = purge_overdue(&tx, key, self.vault, now).map_err(stored)?;
        let outcome = {
            let step = tx.savepoint().map_err(stored)?;
            let work = Work {
                db: &step,
                vault: self.vault,
                fields: &self.fields,
                now,
            };
            match change(&work, &mut event) {
                Ok(done) => {
                    step.commit().map_err(stored)?;
                    Ok(done)
                }
                Err(Fault::Refused(refusal)) => Err(refusal),
                Err(Fault::Store(e)) => return Err(stored(e)),
            }
        };
        let result = outcome.as_ref().map(|_| ());
        let head = audit::append(&tx, key, &event, now, caller, result).map_err(stored)?;
        tx.commit().map_err(stored)?;
        caller.set_recorded();
        let changed = purged || (outcome.is_ok() && event.operation.is_administrative());
        if changed {
            self.forget_unusable_keys()
                .map_err(|e| self.explain(e.into()))?;
        }
        let purge = [AuditOperation::KeyPurge, AuditOperation::SecretPurge];
        if purged || purge.contains(&event.operation) {
            self.overwrite_log();
        }
        self.advance_anchor(head, changed)?;
        Ok((outcome, changed))
    }

    /// Decides `operations` and records them, in one transaction that is on disk when this returns.
    /// A refusal is recorded and leaves the others alone. The flag tells whether a right to use a key
    /// may have changed.
    pub(super) fn commit(
        &mut self,
        now: Timestamp,
        operations: Vec<Operation>,
    ) -> Result<(Vec<Settled>, bool), VaultError> {
        let key = &self.audit_key;
        let database = &self.database;
        let stored = |e: rusqlite::Error| explain(database, e.into());
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(stored)?;
        let purged = purge_overdue(&tx, key, self.vault, now).map_err(stored)?;
        let work = Work {
            db: &tx,
            vault: self.vault,
            fields: &self.fields,
            now,
        };
        let due = rotate::is_due(&work).map_err(stored)?;
        let before = audit::head(&tx).map_err(stored)?;
        let mut head = before;
        let mut settled = Vec::with_capacity(operations.len());
        let mut recorded = Vec::with_capacity(operations.len());
        for operation in operations {
            let Operation {
                mut event,
                caller,
                decide,
                rotated,
            } = operation;
            if due && !rotated {
                settled.push(Settled::Due(event, decide));
                continue;
            }
            let decided = match decide(&work, &mut event) {
                Ok(done) => Ok(done),
                Err(Fault::Refused(refusal)) => Err(refusal),
                Err(Fault::Store(e)) => return Err(stored(e)),
            };
            if !matches!(decided, Ok(false)) {
                let result = decided.as_ref().map(|_| ());
                head = within(Part::Audit, || {
                    audit::append_to(&tx, key, head, &event, now, &caller, result)
                })
                .map_err(stored)?;
                recorded.push(caller);
            }
            settled.push(Settled::Answered(decided));
        }
        tx.commit().map_err(stored)?;
        recorded.iter().for_each(|caller| caller.set_recorded());
        if purged {
            self.forget_unusable_keys()
                .map_err(|e| self.explain(e.into()))?;
            self.overwrite_log();
        }
        if purged || head != before {
            self.advance_anchor(head, purged)?;
        }
        Ok((settled, purged))
    }

    /// Purges every deleted key and secret whose retention has passed. Returns whether there was one.
    pub(super) fn purge_overdue(&mut self, now: Timestamp) -> Result<bool, VaultError> {
        let database = &self.database;
        let stored = |e: rusqlite::Error| explain(database, e.into());
        let keys = overdue_keys(&self.connection, now).map_err(stored)?;
        let secrets = secret_rows::overdue(&self.connection, now).map_err(stored)?;
        if keys.is_empty() && secrets.is_empty() {
            return Ok(false);
        }
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(stored)?;
        purge_overdue(&tx, &self.audit_key, self.vault, now).map_err(stored)?;
        let head = audit::head(&tx).map_err(stored)?;
        tx.commit().map_err(stored)?;
        self.forget_unusable_keys()
            .map_err(|e| self.explain(e.into()))?;
        self.overwrite_log();
        self.advance_anchor(head, true)?;
        Ok(true)
    }

    /// The live keys whose rotation is due: each one's newest version, its kind, and when it was due.
    pub(super) fn due(&mut self, now: Timestamp) -> Result<Vec<rotate::Due>, VaultError> {
        self.read(now, |work| Ok(rotate::all_due(work)?))
    }

    /// Makes `key` the version after `due`, unless that has happened meanwhile. Returns whether it
    /// did.
    pub(super) fn rotate_if_due(
        &mut self,
        now: Timestamp,
        due: &rotate::Due,
        key: KeyEncryptionKey,
    ) -> Result<bool, VaultError> {
        let database = &self.database;
        let stored = |e: rusqlite::Error| explain(database, e.into());
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(stored)?;
        let work = Work {
            db: &tx,
            vault: self.vault,
            fields: &self.fields,
            now,
        };
        let made = rotate::follow(&work, due, key).map_err(|e| explain(database, e))?;
        let Some(kid) = made else { return Ok(false) };
        let event = Event::on(AuditOperation::KeyRotateIfDue, &kid);
        let head = audit::append(&tx, &self.audit_key, &event, now, &itself(), Ok(()));
        let head = head.map_err(stored)?;
        tx.commit().map_err(stored)?;
        self.advance_anchor(head, true)?;
        Ok(true)
    }

    /// Reads one state of the database.
    pub(super) fn read<T>(
        &mut self,
        now: Timestamp,
        read: impl FnOnce(&Work<'_>) -> Result<T, Fault>,
    ) -> Result<T, VaultError> {
        let database = &self.database;
        let tx = self
            .connection
            .transaction()
            .map_err(|e| explain(database, e.into()))?;
        let work = Work {
            db: &tx,
            vault: self.vault,
            fields: &self.fields,
            now,
        };
        read(&work).map_err(|e| explain(database, e))
    }

    /// The parsed key of a version, which is held from now on for whoever asks for `pick`.
    pub(super) fn ready(
        &mut self,
        kid: KeyVersionRef,
        pick: Pick,
    ) -> Result<Option<Ready>, VaultError> {
        let found = rows::key_encryption_key(&self.connection, &self.fields, kid.version)
            .map_err(|e| self.explain(e.into()))?;
        Ok(found.map(|key| {
            let key = Arc::new(key);
            let ready = Ready { kid, key };
            self.keys.put(ready.clone(), pick);
            ready
        }))
    }

    /// Follows the audit chain from its first record to its last, and compares the anchor.
    pub(super) fn verify_audit(&mut self) -> Result<audit::AuditSummary, VaultError> {
        let at = self.anchor.read(&self.audit_key, self.vault)?;
        let verified = audit::verify(&self.connection, &self.audit_key, at);
        verified.map_err(|e| self.explain(e))
    }

    /// Puts `record` into the key slot; returns the bytes written. Recorded before and after: a
    /// crash in between leaves `Accepted` alone in the log, and perhaps two root keys that open
    /// the vault, until the change is made again.
    pub(super) fn set_root(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        operation: AuditOperation,
        record: &RootRecord,
    ) -> Result<u64, VaultError> {
        self.transact(now, caller, Event::accepted(operation), |_, _| Ok(()))?
            .0?;
        let written = self.database.replace_key_slot(&record.to_bytes())?;
        self.transact(now, caller, Event::new(operation), |_, _| Ok(()))?
            .0?;
        Ok(written)
    }

    /// What is public of the root key.
    pub(super) fn root_kind(&self) -> Result<RootKeyKind, VaultError> {
        let newest = root_records(&self.path)?.into_iter().next();
        newest
            .map(|r| r.kind())
            .ok_or_else(|| self.explain(Fault::Refused(VaultError::Sealed)))
    }

    /// The reason behind a fault.
    pub(super) fn explain(&self, fault: Fault) -> VaultError {
        explain(&self.database, fault)
    }

    pub(super) fn advance_anchor(
        &self,
        head: AuditAnchor,
        durable: bool,
    ) -> Result<(), VaultError> {
        let moved = self
            .anchor
            .advance(&self.audit_key, self.vault, head, durable);
        moved.map_err(|e| VaultError::Store {
            path: self.path.with_file_name(ANCHOR).display().to_string(),
            why: format!("the operation is done and recorded, but its anchor was not written: {e}"),
        })
    }

    fn forget_unusable_keys(&self) -> rusqlite::Result<()> {
        let mut usable = self.connection.prepare_cached(
            "SELECT 1 FROM versions JOIN keys USING (key)
             WHERE version = ?1 AND enabled AND deleted IS NULL",
        )?;
        self.keys
            .retain(|version| usable.exists([version.as_bytes()]))
    }

    /// Moves the write-ahead log into the main file, whose freed pages SQLite overwrites
    /// (`secure_delete`). A reader elsewhere may delay it to a later checkpoint.
    fn overwrite_log(&self) {
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// The keys whose retention has passed: row and name.
fn overdue_keys(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare_cached("SELECT key, name FROM keys WHERE scheduled_purge <= ?1")?
        .query_map([now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Purges the keys and secrets whose retention has passed. Returns whether there was one.
fn purge_overdue(
    db: &Connection,
    audit_key: &Secret<32>,
    vault: VaultId,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let (keys, secrets) = (overdue_keys(db, now)?, secret_rows::overdue(db, now)?);
    for (key, name) in &keys {
        rows::delete_key(db, *key)?;
        let event = Event::on(AuditOperation::KeyPurge, &format!("{vault}/keys/{name}"));
        audit::append(db, audit_key, &event, now, &itself(), Ok(()))?;
    }
    for (secret, name) in &secrets {
        secret_rows::delete(db, *secret)?;
        let id = format!("{vault}/secrets/{name}");
        let event = Event::on(AuditOperation::SecretPurge, &id);
        audit::append(db, audit_key, &event, now, &itself(), Ok(()))?;
    }
    Ok(!keys.is_empty() || !secrets.is_empty())
}

pub(super) fn explain(database: &SealedDatabase, fault: Fault) -> VaultError {
    match fault {
        Fault::Refused(error) => error,
        Fault::Store(error) => database.explain(error).into(),
    }
}
