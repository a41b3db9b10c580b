//! A key vault in memory for tests of resources: one oct-256 key with versions that can be switched
//! off and on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use atrest::base::{KeyRef, KeyVersion, KeyVersionRef, VaultId};
use atrest::crypto::{KeyEncryptionKey, KeyKind, Secret, WrapAlgorithm, random_id};
use atrest::resource::Protection;
use atrest::vault::{KeyWrapper, VaultError, WrappedKey};

/// One key with its versions.
pub struct TestVault {
    key: KeyRef,
    versions: Mutex<Vec<Version>>,
    revision: Arc<AtomicU64>,
}

struct Version {
    id: KeyVersion,
    kek: KeyEncryptionKey,
    enabled: bool,
}

impl TestVault {
    /// A vault with the key `customer-key` in one version.
    pub fn new() -> Arc<Self> {
        let vault = Arc::new(Self {
            key: KeyRef {
                vault: random_id(VaultId::from_bytes),
                name: "customer-key".parse().unwrap(),
            },
            versions: Mutex::default(),
            revision: Arc::default(),
        });
        vault.rotate();
        vault
    }

    /// Protection by its key.
    pub fn protection(&self) -> Protection {
        Protection::CustomerManaged {
            key: self.key.clone(),
        }
    }

    /// A new version, which wraps from now on.
    pub fn rotate(&self) {
        self.versions.lock().unwrap().push(Version {
            id: random_id(KeyVersion::from_bytes),
            kek: KeyEncryptionKey::generate(KeyKind::Oct256),
            enabled: true,
        });
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Switches a version, counted from 0, off or on.
    #[allow(
        dead_code,
        reason = "not every test that shares this file revokes a key"
    )]
    pub fn enable(&self, version: usize, enabled: bool) {
        self.versions.lock().unwrap()[version].enabled = enabled;
        self.revision.fetch_add(1, Ordering::Release);
    }
}

impl KeyWrapper for TestVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        let versions = self.versions.lock().unwrap();
        let newest = versions.last().unwrap();
        if *key != self.key {
            return Err(VaultError::KeyNotFound(key.to_string()));
        }
        if !newest.enabled {
            return Err(VaultError::KeyDisabled(key.to_string()));
        }
        Ok(WrappedKey {
            key: KeyVersionRef {
                vault: key.vault,
                name: key.name.clone(),
                version: newest.id,
            },
            algorithm: newest.kek.kind().wrap_algorithm(),
            bytes: newest.kek.wrap(dek),
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let versions = self.versions.lock().unwrap();
        let found = versions.iter().find(|v| v.id == key.version);
        let version = found
            .filter(|_| key.key() == self.key)
            .ok_or_else(|| VaultError::KeyNotFound(key.to_string()))?;
        if !version.enabled {
            return Err(VaultError::KeyDisabled(key.to_string()));
        }
        version
            .kek
            .unwrap(algorithm, wrapped)
            .map_err(|_| VaultError::UnwrapFailed)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}
