use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::{EpochId, KeyName, KeyRef, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind, Secret, WrapAlgorithm, random_id};
use crate::lab::StolenCopy;
use crate::resource::sql::Keeper;
use crate::resource::{Protection, Wrapper};
use crate::sqlite::Position;
use crate::vault::{Epoch, EpochKeeper, FreshnessCheck, KeyWrapper, VaultError, WrappedKey};

/// The vault of the lab's specimens: in memory, without rules or audit, since what it keeps safe is
/// made up. The stolen copies' own vault is never asked on behalf of a specimen.
pub(super) struct LabVault {
    id: VaultId,
    versions: Mutex<Vec<(KeyVersionRef, KeyEncryptionKey)>>,
    disabled: Mutex<HashSet<KeyVersion>>,
    epochs: Mutex<HashMap<EpochId, Epoch>>,
    revision: Arc<AtomicU64>,
}

impl LabVault {
    /// A vault without keys.
    pub(super) fn empty() -> Arc<Self> {
        Arc::new(Self {
            id: random_id(VaultId::from_bytes),
            versions: Mutex::default(),
            disabled: Mutex::default(),
            epochs: Mutex::default(),
            revision: Arc::default(),
        })
    }

    /// Makes a key, or a new version of it.
    pub(super) fn add(&self, name: &str) -> KeyRef {
        let name: KeyName = name.parse().expect("the lab's names are key names");
        let version = KeyVersionRef {
            vault: self.id,
            name,
            version: random_id(KeyVersion::from_bytes),
        };
        let key = version.key();
        let material = KeyEncryptionKey::generate(KeyKind::Oct256);
        self.versions().push((version, material));
        self.revision.fetch_add(1, Ordering::Release);
        key
    }

    /// Which versions of a key may be used from now on: the newest, and all before it.
    fn enable(&self, key: &KeyRef, before: bool, newest: bool) {
        let versions = self.versions();
        let mut disabled = lock(&self.disabled);
        disabled.clear();
        let of_key = versions.iter().rev().map(|(version, _)| version);
        for (age, version) in of_key.filter(|v| v.key() == *key).enumerate() {
            if !(if age == 0 { newest } else { before }) {
                disabled.insert(version.version);
            }
        }
        self.revision.fetch_add(1, Ordering::Release);
    }

    fn versions(&self) -> MutexGuard<'_, Vec<(KeyVersionRef, KeyEncryptionKey)>> {
        lock(&self.versions)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock can panic")
}

impl EpochKeeper for LabVault {
    fn epoch(&self, _: VaultId, id: EpochId) -> Result<Option<Epoch>, VaultError> {
        Ok(lock(&self.epochs).get(&id).cloned())
    }

    fn set_epoch(&self, _: VaultId, id: EpochId, epoch: &Epoch) -> Result<(), VaultError> {
        lock(&self.epochs).insert(id, epoch.clone());
        Ok(())
    }

    fn advance_epoch(&self, _: VaultId, id: EpochId, to: &Position) -> Result<(), VaultError> {
        let mut epochs = lock(&self.epochs);
        let known = epochs.get(&id).and_then(|epoch| epoch.position.clone());
        let position = known.map_or(to.clone(), |known| known.max(to.clone()));
        let epoch = Epoch {
            check: FreshnessCheck::Open,
            position: Some(position),
        };
        epochs.insert(id, epoch);
        Ok(())
    }
}

impl KeyWrapper for LabVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        let versions = self.versions();
        let newest = versions.iter().rev().find(|(v, _)| v.key() == *key);
        let (version, material) = newest.ok_or_else(|| VaultError::KeyNotFound(key.to_string()))?;
        Ok(WrappedKey {
            key: version.clone(),
            algorithm: WrapAlgorithm::A256Kw,
            bytes: material.wrap(dek).expect("the lab's keys are oct-256"),
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let versions = self.versions();
        let found = versions.iter().find(|(v, _)| v == key);
        let (_, material) = found.ok_or_else(|| VaultError::KeyNotFound(key.to_string()))?;
        if lock(&self.disabled).contains(&key.version) {
            return Err(VaultError::KeyDisabled(key.to_string()));
        }
        material
            .unwrap(algorithm, wrapped)
            .map_err(|_| VaultError::UnwrapFailed)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}

/// A vault that answers every request with some other key: the strongest form of a wrong key, since
/// only what the data itself authenticates is left to refuse it.
pub(super) struct LyingVault;

impl KeyWrapper for LyingVault {
    fn wrap_key(&self, key: &KeyRef, _: &Secret<32>) -> Result<WrappedKey, VaultError> {
        Err(VaultError::KeyNotFound(key.to_string()))
    }

    fn unwrap_key(
        &self,
        _: &KeyVersionRef,
        _: WrapAlgorithm,
        _: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        Ok(Secret::random())
    }

    fn revision(&self) -> Arc<AtomicU64> {
        Arc::default()
    }
}

/// Another tenant's vault, which tries a key of its own on whatever it is asked to unwrap, of the kind that was
/// asked for: its owner may use that key, and made it himself.
#[derive(Default)]
pub(super) struct Tenant {
    keys: Mutex<HashMap<usize, KeyEncryptionKey>>,
}

impl KeyWrapper for Tenant {
    fn wrap_key(&self, key: &KeyRef, _: &Secret<32>) -> Result<WrappedKey, VaultError> {
        Err(VaultError::KeyNotFound(key.to_string()))
    }

    fn unwrap_key(
        &self,
        _: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let kind = match (algorithm, wrapped.len()) {
            (WrapAlgorithm::A256Kw, _) => KeyKind::Oct256,
            (WrapAlgorithm::RsaOaep256, 512) => KeyKind::Rsa4096,
            (WrapAlgorithm::RsaOaep256, 384) => KeyKind::Rsa3072,
            (WrapAlgorithm::RsaOaep256, _) => KeyKind::Rsa2048,
        };
        let mut keys = lock(&self.keys);
        let own = keys.entry(wrapped.len());
        let own = own.or_insert_with(|| KeyEncryptionKey::generate(kind));
        own.unwrap(algorithm, wrapped)
            .map_err(|_| VaultError::UnwrapFailed)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        Arc::default()
    }
}

/// How a specimen is protected, and the vault that opens it: by the lab's own key, or not at all.
#[derive(Clone)]
pub(super) struct Arm {
    pub protection: Protection,
    pub wrapper: Wrapper,
    vault: Arc<LabVault>,
}

impl Arm {
    /// Protected by a fresh key of the lab; or not, when `copy` is not.
    pub(super) fn like(copy: &StolenCopy) -> Self {
        match copy.protection {
            Protection::Plain => Self::plain(),
            _ => Self::with_key(),
        }
    }

    /// Protected by a fresh key of the lab.
    pub(super) fn with_key() -> Self {
        let vault = LabVault::empty();
        let key = vault.add("specimen");
        Self {
            protection: Protection::CustomerManaged { key },
            wrapper: vault.clone(),
            vault,
        }
    }

    /// Not protected: the control.
    pub(super) fn plain() -> Self {
        let vault = LabVault::empty();
        Self {
            protection: Protection::Plain,
            wrapper: vault.clone(),
            vault,
        }
    }

    /// The same, its vault reached through `wrapper`.
    pub(super) fn through(&self, wrapper: Wrapper) -> Self {
        Self {
            wrapper,
            ..self.clone()
        }
    }

    /// Whether it is protected.
    pub(super) fn is_protected(&self) -> bool {
        self.protection.key().is_some()
    }

    /// Who remembers the newest state of a specimen.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper {
            epochs: self.vault.clone(),
            id: random_id(EpochId::from_bytes),
        }
    }

    /// Which versions of its key may be used from now on.
    pub(super) fn enable(&self, before: bool, newest: bool) {
        if let Some(key) = self.protection.key() {
            self.vault.enable(key, before, newest);
        }
    }

    /// A key beside it, as the provider's is beside the customer's.
    pub(super) fn service_key(&self) -> Option<KeyRef> {
        self.is_protected().then(|| self.vault.add("service"))
    }

    /// Makes a new version of the key, where there is one.
    pub(super) fn rotate(&self) {
        if let Some(key) = self.protection.key() {
            self.vault.add(key.name.as_str());
        }
    }
}
