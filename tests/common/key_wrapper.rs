//! A key vault in memory that does nothing but wrap and unwrap, for tests of what stands on a
//! vault.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use atrest::base::{KeyRef, KeyVersion, KeyVersionRef, VaultId};
use atrest::crypto::{KeyEncryptionKey, KeyKind, Secret, WrapAlgorithm, random_id};
use atrest::vault::{KeyWrapper, VaultError, WrappedKey};

/// The vault.
pub struct MemoryVault {
    id: VaultId,
    revision: Arc<AtomicU64>,
    keys: Mutex<BTreeMap<String, Key>>,
}

struct Key {
    enabled: bool,
    versions: Vec<(KeyVersion, KeyEncryptionKey)>,
}

impl MemoryVault {
    /// A vault without keys.
    pub fn new() -> Arc<Self> {
        Self::with_id(random_id(VaultId::from_bytes))
    }

    /// The same, of a known identity.
    pub fn with_id(id: VaultId) -> Arc<Self> {
        Arc::new(Self {
            id,
            revision: Arc::default(),
            keys: Mutex::default(),
        })
    }

    /// A new key, or a new version of one.
    pub fn add(&self, name: &str) -> KeyRef {
        let version = random_id(KeyVersion::from_bytes);
        self.add_version(name, version, KeyEncryptionKey::generate(KeyKind::Oct256))
    }

    /// A version of a key with the material given.
    pub fn add_version(&self, name: &str, version: KeyVersion, key: KeyEncryptionKey) -> KeyRef {
        let mut keys = self.keys.lock().unwrap();
        let entry = keys.entry(name.to_owned()).or_insert(Key {
            enabled: true,
            versions: Vec::new(),
        });
        entry.versions.push((version, key));
        self.revision.fetch_add(1, Ordering::AcqRel);
        KeyRef {
            vault: self.id,
            name: name.parse().unwrap(),
        }
    }

    /// Enables or disables every version of a key.
    pub fn enable(&self, name: &str, enabled: bool) {
        self.keys.lock().unwrap().get_mut(name).unwrap().enabled = enabled;
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    fn with<T>(
        &self,
        key: &KeyRef,
        then: impl FnOnce(&Key) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let keys = self.keys.lock().unwrap();
        match keys.get(key.name.as_str()) {
            Some(found) if key.vault == self.id && found.enabled => then(found),
            Some(_) if key.vault == self.id => Err(VaultError::KeyDisabled(key.to_string())),
            _ => Err(VaultError::KeyNotFound(key.to_string())),
        }
    }
}

impl KeyWrapper for MemoryVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.with(key, |found| {
            let (version, kek) = found.versions.last().unwrap();
            Ok(WrappedKey {
                key: KeyVersionRef {
                    vault: key.vault,
                    name: key.name.clone(),
                    version: *version,
                },
                algorithm: kek.kind().wrap_algorithm(),
                bytes: kek.wrap(dek),
            })
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.with(&key.key(), |found| {
            let version = found.versions.iter().find(|(v, _)| *v == key.version);
            let (_, kek) = version.ok_or_else(|| VaultError::KeyNotFound(key.to_string()))?;
            kek.unwrap(algorithm, wrapped)
                .map_err(|_| VaultError::UnwrapFailed)
        })
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}
