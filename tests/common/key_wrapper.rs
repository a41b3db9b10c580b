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

/// The versions of a key, oldest first.
type Key = Vec<Version>;

struct Version {
    id: KeyVersion,
    kek: KeyEncryptionKey,
    enabled: bool,
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
        keys.entry(name.to_owned()).or_default().push(Version {
            id: version,
            kek: key,
            enabled: true,
        });
        self.revision.fetch_add(1, Ordering::AcqRel);
        KeyRef {
            vault: self.id,
            name: name.parse().unwrap(),
        }
    }

    /// Enables or disables every version of a key.
    pub fn enable(&self, name: &str, enabled: bool) {
        for version in self.keys.lock().unwrap().get_mut(name).unwrap() {
            version.enabled = enabled;
        }
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    /// Enables or disables one version of a key, counted from 0.
    pub fn enable_version(&self, name: &str, version: usize, enabled: bool) {
        self.keys.lock().unwrap().get_mut(name).unwrap()[version].enabled = enabled;
        self.revision.fetch_add(1, Ordering::AcqRel);
    }

    fn with<T>(
        &self,
        key: &KeyRef,
        choose: impl FnOnce(&Key) -> Option<&Version>,
        then: impl FnOnce(&Version) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let keys = self.keys.lock().unwrap();
        let found = keys.get(key.name.as_str()).and_then(choose);
        match found.filter(|_| key.vault == self.id) {
            Some(version) if version.enabled => then(version),
            Some(_) => Err(VaultError::KeyDisabled(key.to_string())),
            None => Err(VaultError::KeyNotFound(key.to_string())),
        }
    }
}

impl KeyWrapper for MemoryVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.with(
            key,
            |versions| versions.last(),
            |newest| {
                Ok(WrappedKey {
                    key: KeyVersionRef {
                        vault: key.vault,
                        name: key.name.clone(),
                        version: newest.id,
                    },
                    algorithm: newest.kek.kind().wrap_algorithm().unwrap(),
                    bytes: newest.kek.wrap(dek).unwrap(),
                })
            },
        )
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.with(
            &key.key(),
            |versions| versions.iter().find(|v| v.id == key.version),
            |version| {
                let dek = version.kek.unwrap(algorithm, wrapped);
                dek.map_err(|_| VaultError::UnwrapFailed)
            },
        )
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}

/// What a vault is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Wrap,
    Unwrap,
}

/// Happens before an answer, or refuses it.
type Before = dyn FnMut(Asked) -> Result<(), VaultError> + Send;

/// A vault before whose every answer something happens, or that refuses instead.
pub struct Meddled {
    vault: Arc<MemoryVault>,
    before: Mutex<Box<Before>>,
}

impl Meddled {
    pub fn new(
        vault: &Arc<MemoryVault>,
        before: impl FnMut(Asked) -> Result<(), VaultError> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            vault: vault.clone(),
            before: Mutex::new(Box::new(before)),
        })
    }
}

impl KeyWrapper for Meddled {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        (self.before.lock().unwrap())(Asked::Wrap)?;
        self.vault.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        (self.before.lock().unwrap())(Asked::Unwrap)?;
        self.vault.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.vault.revision()
    }
}
