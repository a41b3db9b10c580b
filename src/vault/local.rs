//! A vault in a directory: making, opening and sealing it, changing its root key. What it does
//! with keys is in `keys.rs` and `wrapping.rs`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::base::{Clock, VaultId, create_dir_private};
use crate::crypto::{KeyEncryptionKey, Secret, SecretBytes, random_id};

use super::audit::Event;
use super::audit_operation::AuditOperation;
use super::audit_request::Caller;
use super::error::Fault;
use super::files::{ANCHOR, DATABASE, OnAnchor};
use super::group::Queue;
use super::key_cache::KeyCache;
use super::root::{RootKeySource, RootRecord};
use super::store::{Store, Work};
use super::{AuditRequest, VaultError, VaultSettings, revision};

/// Who is recorded when nobody was named.
const UNNAMED: &str = "local";

/// A vault in a directory of this machine: `vault.db`, a SQLite database sealed under the vault's
/// master key, and `audit.anchor`. A cheap handle; clones share one connection.
///
/// Every operation on a key is decided and recorded in one transaction, so that a rule changed by
/// another process holds for the very next use, and is on disk before the answer is given. Reading
/// lists, attributes and the log itself is not recorded; who answers requests records it with
/// [`LocalVault::record`].
#[derive(Clone)]
pub struct LocalVault {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
}

struct Shared {
    id: VaultId,
    clock: Arc<dyn Clock>,
    revision: Arc<AtomicU64>,
    /// `None` once the vault is sealed.
    store: Mutex<Option<Store>>,
    /// Whether it is `None`, for who would not wait for it.
    sealed: AtomicBool,
    /// The connection by which the log is moved into the main file, once there was need of it.
    beside: Mutex<Option<Connection>>,
    /// Operations on their way into it.
    queue: Queue,
    /// Those of the store.
    keys: Arc<KeyCache>,
    /// Held while a key that is due is generated: the many who find it due wait for one.
    rotating: Mutex<()>,
}

impl LocalVault {
    /// Makes a vault in `dir`, which must not hold one. A key file that is named but missing is
    /// made too. When it fails, no file of it is left.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] when there is a vault; [`VaultError::BadParameter`] for a retention
    /// outside 7 to 90 days or a short passphrase; [`VaultError::Store`].
    pub fn create(
        dir: &Path,
        root: &RootKeySource,
        settings: &VaultSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        if !(7..=90).contains(&settings.retention_days) {
            return Err(VaultError::BadParameter(format!(
                "a retention of {} days: give 7 to 90",
                settings.retention_days
            )));
        }
        if [DATABASE, ANCHOR]
            .iter()
            .any(|file| dir.join(file).exists())
        {
            return Err(VaultError::Conflict(format!(
                "{} holds a vault already; choose another directory",
                dir.display()
            )));
        }
        create_dir_private(dir).map_err(|e| VaultError::io(dir, &e))?;
        let missing_key_file = match root {
            RootKeySource::KeyFile(path) if !path.exists() => Some(path),
            _ => None,
        };
        let (id, master) = (random_id(VaultId::from_bytes), Secret::random());
        let made = RootRecord::seal(id, false, &master, root).and_then(|record| {
            let now = truncated(clock.now());
            let store =
                Store::create(dir, &record, master, settings, now, &Caller::named(UNNAMED))?;
            Ok(Self::new(store, clock))
        });
        if made.is_err() {
            for end in ["", "-wal", "-shm", "-journal"] {
                let _ = std::fs::remove_file(dir.join(format!("{DATABASE}{end}")));
            }
            let _ = std::fs::remove_file(dir.join(ANCHOR));
            let _ = missing_key_file.map(std::fs::remove_file);
        }
        made
    }

    /// Opens the vault in `dir`.
    ///
    /// # Errors
    /// [`VaultError::RootKey`] alike for a wrong root key and an altered file;
    /// [`VaultError::Sealed`]; [`VaultError::Audit`] when the file is older than its anchor;
    /// [`VaultError::Store`]. Nothing on disk is changed, except that a refusal to open a sealed
    /// vault is recorded.
    pub fn open(
        dir: &Path,
        root: &RootKeySource,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        let (mut store, record) = Store::open(dir, root, OnAnchor::Insist)?;
        if record.sealed {
            let event = Event::new(AuditOperation::VaultOpen);
            let now = truncated(clock.now());
            let refuse = |_: &Work<'_>, _: &mut Event| Err(VaultError::Sealed.into());
            return store
                .transact(now, &Caller::named(UNNAMED), event, refuse)?
                .0;
        }
        Ok(Self::new(store, clock))
    }

    /// Opens a vault whose audit anchor is lost or does not fit, and writes the anchor anew, which
    /// the log records for good. What was cut from the log before stays unknown.
    pub fn reanchor(
        dir: &Path,
        root: &RootKeySource,
        caller: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        let (mut store, record) = Store::open(dir, root, OnAnchor::Renew)?;
        let event = Event::new(AuditOperation::AuditReanchor);
        store
            .transact(
                truncated(clock.now()),
                &Caller::named(caller),
                event,
                |_, _| Ok(()),
            )?
            .0?;
        if record.sealed {
            return Err(VaultError::Sealed);
        }
        Ok(Self::new(store, clock))
    }

    /// Seals the vault: from now on only `passphrase` leads to its master key, every use is
    /// refused until [`LocalVault::unseal`], and this process's copies of its keys are wiped. A
    /// key file that opened it until now still opens older copies of the file; it is left alone,
    /// since other vaults may share it. Other processes see the seal at their next use.
    pub fn seal(&self, passphrase: SecretBytes) -> Result<(), VaultError> {
        let root = RootKeySource::Passphrase(passphrase);
        self.set_root(AuditOperation::VaultSeal, true, &root)?;
        self.forget(&mut self.store());
        Ok(())
    }

    /// Unseals the vault in `dir`, and sets the root key that opens it from then on. A key file
    /// that is named but missing is made.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] when it is not sealed; the errors of [`LocalVault::open`].
    pub fn unseal(
        dir: &Path,
        root: &RootKeySource,
        new_root: &RootKeySource,
        caller: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        let (mut store, record) = Store::open(dir, root, OnAnchor::Insist)?;
        if !record.sealed {
            return Err(VaultError::Conflict(
                "the vault is not sealed; just use it".into(),
            ));
        }
        let unsealed = RootRecord::seal(store.vault, false, &store.master, new_root)?;
        let now = truncated(clock.now());
        store.set_root(
            now,
            &Caller::named(caller),
            AuditOperation::VaultUnseal,
            &unsealed,
        )?;
        Ok(Self::new(store, clock))
    }

    /// Changes the root key: from a key file to a passphrase or back, or to another of the same
    /// kind. Only the key slot is rewritten; returns the bytes written. The old root key still
    /// opens older copies of the file.
    pub fn change_root(&self, new_root: &RootKeySource) -> Result<u64, VaultError> {
        self.set_root(AuditOperation::VaultRootChange, false, new_root)
    }

    /// Whether this handle met a seal: it has forgotten the vault's keys, and an unseal does not bring
    /// them back. Whoever wants to go on opens the vault again.
    pub fn has_met_a_seal(&self) -> bool {
        self.shared.sealed.load(Ordering::SeqCst)
    }

    /// The same vault, used in the name of `caller`, which the audit records carry: its first 128
    /// characters, control characters replaced.
    pub fn acting_as(&self, caller: &str) -> Self {
        Self {
            shared: self.shared.clone(),
            caller: Arc::new(Caller::named(caller)),
        }
    }

    /// The same vault, used for `request`, which the audit records tell of.
    pub fn for_request(&self, request: AuditRequest) -> Self {
        Self {
            shared: self.shared.clone(),
            caller: Arc::new(Caller::of(request)),
        }
    }

    /// Whether a record tells of the request that this handle is for: most operations make one, and
    /// reading lists and attributes does not.
    pub fn is_recorded(&self) -> bool {
        self.caller.is_recorded()
    }

    fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                id: store.vault,
                clock,
                revision: revision(),
                keys: store.keys.clone(),
                store: Mutex::new(Some(store)),
                sealed: AtomicBool::new(false),
                beside: Mutex::default(),
                queue: Queue::default(),
                rotating: Mutex::new(()),
            }),
            caller: Arc::new(Caller::named(UNNAMED)),
        }
    }

    pub(super) fn vault_id(&self) -> VaultId {
        self.shared.id
    }

    pub(super) fn caller(&self) -> Arc<Caller> {
        self.caller.clone()
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    pub(super) fn beside(&self) -> &Mutex<Option<Connection>> {
        &self.shared.beside
    }

    pub(super) fn keys_held(&self) -> &KeyCache {
        &self.shared.keys
    }

    pub(super) fn revision_counter(&self) -> Arc<AtomicU64> {
        self.shared.revision.clone()
    }

    /// Runs `change` and records how it ended ([`Store::transact`]).
    pub(super) fn transact<T>(
        &self,
        event: Event,
        change: impl FnOnce(&Work<'_>, &mut Event) -> Result<T, Fault>,
    ) -> Result<T, VaultError> {
        self.rotate_due()?;
        let mut guard = self.store();
        let store = self.unsealed(&mut guard)?;
        let done = store.transact(self.now(), &self.caller, event, change);
        let log_is_long = store.log_is_long();
        drop(guard);
        let (outcome, changed) = done.inspect_err(|_| {
            // It may be committed: only the anchor, say, was not written.
            self.move_revision();
        })?;
        if changed {
            self.move_revision();
        }
        if log_is_long {
            self.move_log();
        }
        outcome
    }

    /// Reads, without a record. Keys whose retention has passed are purged first.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Work<'_>) -> Result<T, Fault>,
    ) -> Result<T, VaultError> {
        self.rotate_due()?;
        let mut guard = self.store();
        let store = self.unsealed(&mut guard)?;
        let now = self.now();
        if store.purge_overdue(now)? {
            self.move_revision();
        }
        store.read(now, read)
    }

    /// Makes the new versions of keys whose rotation is due. The lock is not held while a key is
    /// generated.
    pub(super) fn rotate_due(&self) -> Result<(), VaultError> {
        let now = self.now();
        if self.with_store(|store| store.due(now))?.is_empty() {
            return Ok(());
        }
        let rotating = &self.shared.rotating;
        let _turn = rotating.lock().unwrap_or_else(PoisonError::into_inner);
        for due in self.with_store(|store| store.due(now))? {
            let key = KeyEncryptionKey::generate(due.kind);
            if self.with_store(|store| store.rotate_if_due(now, &due, key))? {
                self.move_revision();
            }
        }
        Ok(())
    }

    /// Uses the open store outside a transaction.
    pub(super) fn with_store<T>(
        &self,
        use_store: impl FnOnce(&mut Store) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let mut guard = self.store();
        use_store(self.unsealed(&mut guard)?)
    }

    fn set_root(
        &self,
        operation: AuditOperation,
        sealed: bool,
        root: &RootKeySource,
    ) -> Result<u64, VaultError> {
        let now = self.now();
        let written = self.with_store(|store| {
            let record = RootRecord::seal(store.vault, sealed, &store.master, root)?;
            store.set_root(now, &self.caller, operation, &record)
        })?;
        self.move_revision();
        Ok(written)
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Option<Store>> {
        // A panic while it is held rolls its transaction back.
        let store = self.shared.store.lock();
        store.unwrap_or_else(PoisonError::into_inner)
    }

    /// The open store, with the changes of other processes noticed.
    pub(super) fn unsealed<'a>(
        &self,
        store: &'a mut Option<Store>,
    ) -> Result<&'a mut Store, VaultError> {
        if let Some(open) = store
            && !open.refresh()?
        {
            self.forget(store);
        }
        store.as_mut().ok_or(VaultError::Sealed)
    }

    /// Forgets all that leads to the keys.
    fn forget(&self, store: &mut Option<Store>) {
        *store = None;
        self.shared.sealed.store(true, Ordering::SeqCst);
        self.forget_beside();
        self.move_revision();
    }

    pub(super) fn now(&self) -> Timestamp {
        truncated(self.shared.clock.now())
    }

    pub(super) fn move_revision(&self) {
        self.shared.revision.fetch_add(1, Ordering::AcqRel);
    }
}

/// Times are kept in whole microseconds.
pub(super) fn truncated(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).expect("a time's microseconds are a time")
}
