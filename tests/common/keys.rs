//! A vault in memory with one key, for tests of resources that rotate and revoke it.

#[path = "key_wrapper.rs"]
mod key_wrapper;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use atrest::base::{KeyRef, KeyVersionRef};
use atrest::crypto::{Secret, WrapAlgorithm};
use atrest::resource::Protection;
use atrest::vault::{KeyWrapper, VaultError, WrappedKey};
use key_wrapper::MemoryVault;

const NAME: &str = "customer-key";

/// One key with its versions.
pub struct TestVault {
    vault: Arc<MemoryVault>,
    key: KeyRef,
}

impl TestVault {
    /// A vault with the key `customer-key` in one version.
    pub fn new() -> Arc<Self> {
        let vault = MemoryVault::new();
        let key = vault.add(NAME);
        Arc::new(Self { vault, key })
    }

    /// Protection by its key.
    pub fn protection(&self) -> Protection {
        Protection::CustomerManaged {
            key: self.key.clone(),
        }
    }

    /// A new version, which wraps from now on.
    #[allow(dead_code, reason = "each test file uses its part")]
    pub fn rotate(&self) {
        self.vault.add(NAME);
    }

    /// Switches a version, counted from 0, off or on.
    #[allow(dead_code, reason = "each test file uses its part")]
    pub fn enable(&self, version: usize, enabled: bool) {
        self.vault.enable_version(NAME, version, enabled);
    }
}

impl KeyWrapper for TestVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.vault.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.vault.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.vault.revision()
    }
}
