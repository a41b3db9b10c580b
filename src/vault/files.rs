//! The files of a vault in its directory: making them, and opening them by the root key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::base::{ResourceId, VaultId, file_identity};
use crate::crypto::{Label, Secret, derive};
use crate::sqlite::{Freshness, PageSize, SealedDatabase};

use super::anchor::{AnchorFile, AuditAnchor};
use super::audit::{self, Event};
use super::audit_operation::AuditOperation;
use super::audit_request::Caller;
use super::error::Fault;
use super::root::{RootKeySource, RootRecord};
use super::sealed_field::FieldKey;
use super::store::{Store, explain};
use super::{LocalVault, VaultError, VaultSettings, schema};

/// The vault's database, in its directory.
pub(super) const DATABASE: &str = "vault.db";
/// The audit anchor, in its directory.
pub(super) const ANCHOR: &str = "audit.anchor";

/// How an anchor that does not fit is met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnAnchor {
    /// Refuse to open.
    Insist,
    /// Write it anew, and record that.
    Renew,
}

impl Store {
    /// Makes the files of a vault in `dir`.
    pub(super) fn create(
        dir: &Path,
        record: &RootRecord,
        master: Secret<32>,
        settings: &VaultSettings,
        now: Timestamp,
        caller: &Caller,
    ) -> Result<Self, VaultError> {
        let (path, vault) = (dir.join(DATABASE), record.vault);
        let database = SealedDatabase::create(
            &path,
            file_id(vault),
            PageSize::DEFAULT,
            Freshness::NotKept,
            &record.to_bytes(),
            Arc::new(file_key(&master, vault)),
        )?;
        let connection = database.connect()?;
        let audit_key = audit_key(&master, vault);
        let anchor = AnchorFile::create(&dir.join(ANCHOR), &audit_key, vault)?;
        let mut store = Self {
            vault,
            fields: FieldKey::new(&master, vault),
            master,
            connection,
            database,
            place: place(&path)?,
            path: canonical(&path)?,
            audit_key,
            anchor,
            keys: Arc::default(),
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
        caller: &Caller,
    ) -> rusqlite::Result<AuditAnchor> {
        configure(&self.connection)?;
        self.connection
            .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(schema::SCHEMA)?;
        tx.pragma_update(None, "user_version", schema::SCHEMA_VERSION)?;
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
            fields: FieldKey::new(&master, vault),
            master,
            connection,
            database,
            place: place(&path)?,
            path: canonical(&path)?,
            audit_key,
            anchor,
            keys: Arc::default(),
            data_version: 0,
        };
        store.data_version = store
            .ask_data_version()
            .map_err(|e| store.explain(e.into()))?;
        Ok((store, record))
    }

    /// Refuses when the vault's file is not in its place any more: what is open outlives its directory, and would
    /// go on giving keys of a vault that somebody took away.
    pub(super) fn insist_on_place(&self) -> Result<(), VaultError> {
        match place(&self.path) {
            Ok(place) if place == self.place => Ok(()),
            _ => Err(VaultError::Store {
                path: self.path.display().to_string(),
                why: "the file that was opened is not there any more; put it back, or end this \
                      process and start another"
                    .into(),
            }),
        }
    }

    pub(super) fn ask_data_version(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }
}

fn place(path: &Path) -> Result<(u64, u64), VaultError> {
    let about = fs::metadata(path).map_err(|e| VaultError::io(path, &e))?;
    Ok(file_identity(&about))
}

impl LocalVault {
    /// What is public of the root key of the vault in `dir`, and whether it is sealed: read
    /// without the root key, so not authenticated before [`LocalVault::open`].
    pub fn root_record(dir: &Path) -> Result<RootRecord, VaultError> {
        let newest = root_records(&dir.join(DATABASE))?.into_iter().next();
        newest.ok_or_else(|| VaultError::Store {
            path: dir.join(DATABASE).display().to_string(),
            why: "it has no root-key record; restore the file".into(),
        })
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
/// overwritten; nothing that the schema holds is run. Who commits does not move the log (`checkpoint.rs`).
pub(super) fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(64);
    // Or SQLite plans anew each statement whose values are bound anew, where it has partial indexes.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;
         PRAGMA wal_autocheckpoint = 0;",
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
        schema::SCHEMA_VERSION => {}
        0 => {
            return wrong(
                "making this vault was cut short; remove its directory and make it again".into(),
            );
        }
        older @ 1..schema::SCHEMA_VERSION => {
            return wrong(format!(
                "the vault's schema version {older} is of a version of this program before the first release, and is not read any more; make a new vault"
            ));
        }
        newer => {
            return wrong(format!(
                "the vault's schema version {newer} is newer than this program reads ({}); use a newer one",
                schema::SCHEMA_VERSION
            ));
        }
    }
    let id: [u8; 16] = db.query_row("SELECT id FROM vault", [], |row| row.get(0))?;
    if id != *vault.as_bytes() {
        return wrong("the database is of another vault than its key slot".into());
    }
    Ok(audit::head(db)?)
}

/// Where the file is, whatever becomes of the current directory.
fn canonical(path: &Path) -> Result<PathBuf, VaultError> {
    path.canonicalize().map_err(|e| VaultError::io(path, &e))
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
