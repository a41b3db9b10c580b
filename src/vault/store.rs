//! The open vault file: its connection, the keys that the master key gives, and transactions that
//! end in an audit record.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::base::{KeyVersion, ResourceId, VaultId};
use crate::crypto::{KeyEncryptionKey, Label, Secret, derive};
use crate::sqlite::{PageSize, SealedDatabase};

use super::anchor::{AnchorFile, AuditAnchor};
use super::audit::{self, AuditOperation, Event};
use super::error::Fault;
use super::root::{RootKeyKind, RootKeySource, RootRecord};
use super::{VaultError, VaultSettings, rows};

/// The vault's database, in its directory.
pub(super) const DATABASE: &str = "vault.db";
/// The audit anchor, in its directory.
pub(super) const ANCHOR: &str = "audit.anchor";
/// Who is recorded for what the vault does by itself.
const ITSELF: &str = "vault";

/// How an anchor that does not fit is met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnAnchor {
    /// Refuse to open.
    Insist,
    /// Write it anew, and record that.
    Renew,
}

/// An open, unsealed vault file.
pub(super) struct Store {
    pub(super) vault: VaultId,
    pub(super) master: Secret<32>,
    pub(super) connection: Connection,
    database: SealedDatabase,
    path: PathBuf,
    audit_key: Secret<32>,
    anchor: AnchorFile,
    /// Parsed keys. A version's key never changes; what may be done with it is asked of the
    /// database at each use, so that a stale entry can only cost memory.
    keys: HashMap<KeyVersion, Arc<KeyEncryptionKey>>,
    /// SQLite's `data_version`: moves when another connection has committed.
    data_version: i64,
}

/// What a step of a transaction works with.
pub(super) struct Work<'a> {
    pub(super) db: &'a Connection,
    pub(super) vault: VaultId,
    pub(super) now: Timestamp,
}

impl Store {
    /// Makes the files of a vault in `dir`.
    pub(super) fn create(
        dir: &Path,
        record: &RootRecord,
        master: Secret<32>,
        settings: &VaultSettings,
        now: Timestamp,
        caller: &str,
    ) -> Result<Self, VaultError> {
        let (path, vault) = (dir.join(DATABASE), record.vault);
        let database = SealedDatabase::create(
            &path,
            file_id(vault),
            PageSize::DEFAULT,
            &record.to_bytes(),
            Arc::new(file_key(&master, vault)),
        )?;
        let connection = database.connect()?;
        let audit_key = audit_key(&master, vault);
        let anchor = AnchorFile::create(&dir.join(ANCHOR), &audit_key, vault)?;
        let mut store = Self {
            vault,
            master,
            connection,
            database,
            path,
            audit_key,
            anchor,
            keys: HashMap::new(),
            data_version: 0,
        };
        let made = store.initialise(settings, now, caller);
        let head = made.map_err(|e| store.explain(e.into()))?;
        store.advance_anchor(head, true)?;
        Ok(store)
    }

    fn initialise(
        &mut self,
        settings: &VaultSettings,
        now: Timestamp,
        caller: &str,
    ) -> rusqlite::Result<AuditAnchor> {
        configure(&self.connection)?;
        self.connection
            .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(rows::SCHEMA)?;
        tx.pragma_update(None, "user_version", rows::SCHEMA_VERSION)?;
        tx.execute(
            "INSERT INTO vault (one, id, created, retention_days, purge_protection)
             VALUES (1, ?1, ?2, ?3, ?4)",
            params![
                self.vault.as_bytes(),
                now.as_microsecond(),
                settings.retention_days,
                settings.purge_protection
            ],
        )?;
        let event = Event::new(AuditOperation::VaultCreate);
        let head = audit::append(&tx, &self.audit_key, &event, now, caller, Ok(()))?;
        tx.commit()?;
        Ok(head)
    }

    /// Opens the vault in `dir`, sealed or not, with the record that its root key opened.
    pub(super) fn open(
        dir: &Path,
        root: &RootKeySource,
        on_anchor: OnAnchor,
    ) -> Result<(Self, RootRecord), VaultError> {
        let path = dir.join(DATABASE);
        let (record, master) = unlock(&path, root)?;
        let vault = record.vault;
        let key = Arc::new(file_key(&master, vault));
        let database = SealedDatabase::open(&path, file_id(vault), key)?;
        let connection = database.connect()?;
        let audit_key = audit_key(&master, vault);
        let head = check(&connection, vault, &path).map_err(|e| explain(&database, e))?;
        let anchor_path = dir.join(ANCHOR);
        let anchor = match on_anchor {
            OnAnchor::Insist => {
                let anchor = AnchorFile::open(&anchor_path)?;
                // The anchor is read before the chain: a record that another process adds
                // between the two must not look like a chain that is behind.
                let at = anchor.read(&audit_key, vault)?;
                audit::check_anchor(&connection, at).map_err(|e| explain(&database, e))?;
                anchor
            }
            OnAnchor::Renew => AnchorFile::renew(&anchor_path, &audit_key, vault, head)?,
        };
        let mut store = Self {
            vault,
            master,
            connection,
            database,
            path,
            audit_key,
            anchor,
            keys: HashMap::new(),
            data_version: 0,
        };
        store.data_version = store
            .ask_data_version()
            .map_err(|e| store.explain(e.into()))?;
        Ok((store, record))
    }

    /// Notices what other connections have committed. `false`: one of them sealed the vault.
    pub(super) fn refresh(&mut self) -> Result<bool, VaultError> {
        let now = self
            .ask_data_version()
            .map_err(|e| self.explain(e.into()))?;
        if now == self.data_version {
            return Ok(true);
        }
        self.data_version = now;
        self.forget_unusable_keys()
            .map_err(|e| self.explain(e.into()))?;
        Ok(!root_records(&self.path)?
            .first()
            .is_some_and(|newest| newest.sealed))
    }

    /// Runs `change` and records how it ended, in one transaction that is on disk when this
    /// returns. A refusal rolls `change` back and is recorded; a failure of the store rolls back
    /// everything. The flag tells whether a right to use a key may have changed.
    pub(super) fn transact<T>(
        &mut self,
        now: Timestamp,
        caller: &str,
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
        let changed = purged || (outcome.is_ok() && event.operation.is_administrative());
        if changed || outcome.is_err() {
            self.forget_unusable_keys()
                .map_err(|e| self.explain(e.into()))?;
        }
        if purged || event.operation == AuditOperation::KeyPurge {
            self.overwrite_log();
        }
        self.advance_anchor(head, changed)?;
        Ok((outcome, changed))
    }

    /// Purges every deleted key whose retention has passed. Returns whether there was one.
    pub(super) fn purge_overdue(&mut self, now: Timestamp) -> Result<bool, VaultError> {
        let database = &self.database;
        let stored = |e: rusqlite::Error| explain(database, e.into());
        if overdue(&self.connection, now).map_err(stored)?.is_empty() {
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
            now,
        };
        read(&work).map_err(|e| explain(database, e))
    }

    /// The parsed key of a version.
    pub(super) fn key_encryption_key(
        &mut self,
        version: KeyVersion,
    ) -> Result<Option<Arc<KeyEncryptionKey>>, VaultError> {
        if let Some(key) = self.keys.get(&version) {
            return Ok(Some(key.clone()));
        }
        let found = rows::key_encryption_key(&self.connection, version)
            .map_err(|e| self.explain(e.into()))?;
        Ok(found.map(|key| {
            let key = Arc::new(key);
            self.keys.insert(version, key.clone());
            key
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
        caller: &str,
        operation: AuditOperation,
        record: &RootRecord,
    ) -> Result<u64, VaultError> {
        self.transact(now, caller, Event::accepted(operation), |_, _| Ok(()))?
            .0?;
        let slot = record.to_bytes();
        // A sealed file keeps its former slot beside the new one. Written twice, the former root
        // key leads nowhere in this file.
        let first = self.database.replace_key_slot(&slot)?;
        let written = first + self.database.replace_key_slot(&slot)?;
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

    fn advance_anchor(&self, head: AuditAnchor, durable: bool) -> Result<(), VaultError> {
        let moved = self
            .anchor
            .advance(&self.audit_key, self.vault, head, durable);
        moved.map_err(|e| VaultError::Store {
            path: self.path.with_file_name(ANCHOR).display().to_string(),
            why: format!("the operation is done and recorded, but its anchor was not written: {e}"),
        })
    }

    fn ask_data_version(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }

    fn forget_unusable_keys(&mut self) -> rusqlite::Result<()> {
        let mut usable = self.connection.prepare_cached(
            "SELECT 1 FROM versions JOIN keys USING (key)
             WHERE version = ?1 AND enabled AND deleted IS NULL",
        )?;
        let mut keep = HashMap::with_capacity(self.keys.len());
        for (version, key) in self.keys.drain() {
            if usable.exists([version.as_bytes()])? {
                keep.insert(version, key);
            }
        }
        self.keys = keep;
        Ok(())
    }

    /// Moves the write-ahead log into the main file, whose freed pages SQLite overwrites
    /// (`secure_delete`). A reader elsewhere may delay it to a later checkpoint.
    fn overwrite_log(&self) {
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

/// The root-key records of a vault file, newest first: not yet authenticated.
pub(super) fn root_records(path: &Path) -> Result<Vec<RootRecord>, VaultError> {
    let name = || path.display().to_string();
    if !path.exists() {
        let why = "no vault here; make one with `atrest init`".into();
        return Err(VaultError::Store { path: name(), why });
    }
    let slots = SealedDatabase::key_slots(path)?;
    let parsed: Vec<_> = slots.iter().map(RootRecord::parse).collect();
    let first_error = parsed.iter().find_map(|r| r.as_ref().err().copied());
    let mut records: Vec<_> = parsed.into_iter().filter_map(Result::ok).collect();
    records.dedup();
    match first_error {
        Some(e) if records.is_empty() => Err(VaultError::Store {
            path: name(),
            why: e.to_string(),
        }),
        _ => Ok(records),
    }
}

/// The master key, by the newest record that the root key opens: a change of the root key that a
/// crash cut short leaves two.
fn unlock(path: &Path, root: &RootKeySource) -> Result<(RootRecord, Secret<32>), VaultError> {
    let mut refusal = None;
    for record in root_records(path)? {
        match record.root_key(root).map(|key| record.open(&key)) {
            Ok(Some(master)) => return Ok((record, master)),
            Ok(None) => {}
            Err(e) => refusal = refusal.or(Some(e)),
        }
    }
    Err(refusal.unwrap_or_else(|| VaultError::RootKey {
        path: path.display().to_string(),
    }))
}

/// Settings of each connection. Each commit is synced before it returns; deleted content is
/// overwritten; nothing that the schema holds is run.
fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    db.busy_timeout(Duration::from_secs(5))?;
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
    )
}

/// Configures the connection and checks that this program reads the schema. Gives the chain's head.
fn check(db: &Connection, vault: VaultId, path: &Path) -> Result<AuditAnchor, Fault> {
    configure(db)?;
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let wrong = |why: String| {
        Err(Fault::Refused(VaultError::Store {
            path: path.display().to_string(),
            why,
        }))
    };
    match version {
        rows::SCHEMA_VERSION => {}
        0 => {
            return wrong(
                "making this vault was cut short; remove its directory and make it again".into(),
            );
        }
        newer => {
            return wrong(format!(
                "the vault's schema version {newer} is newer than this program reads ({}); use a newer one",
                rows::SCHEMA_VERSION
            ));
        }
    }
    let id: [u8; 16] = db.query_row("SELECT id FROM vault", [], |row| row.get(0))?;
    if id != *vault.as_bytes() {
        return wrong("the database is of another vault than its key slot".into());
    }
    Ok(audit::head(db)?)
}

/// The keys whose retention has passed: row and name.
fn overdue(db: &Connection, now: Timestamp) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare_cached("SELECT key, name FROM keys WHERE scheduled_purge <= ?1")?
        .query_map([now.as_microsecond()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Purges the keys whose retention has passed. Returns whether there was one.
fn purge_overdue(
    db: &Connection,
    audit_key: &Secret<32>,
    vault: VaultId,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let overdue = overdue(db, now)?;
    for (key, name) in &overdue {
        rows::delete_key(db, *key)?;
        let event = Event::on(AuditOperation::KeyPurge, &format!("{vault}/keys/{name}"));
        audit::append(db, audit_key, &event, now, ITSELF, Ok(()))?;
    }
    Ok(!overdue.is_empty())
}

fn explain(database: &SealedDatabase, fault: Fault) -> VaultError {
    match fault {
        Fault::Refused(error) => error,
        Fault::Store(error) => database.explain(error).into(),
    }
}

fn file_id(vault: VaultId) -> ResourceId {
    ResourceId::from_bytes(*vault.as_bytes())
}

fn file_key(master: &Secret<32>, vault: VaultId) -> Secret<32> {
    derive(master, Label::VaultFile, &[vault.as_bytes()])
}

fn audit_key(master: &Secret<32>, vault: VaultId) -> Secret<32> {
    derive(master, Label::VaultAudit, &[vault.as_bytes()])
}
