use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Clock;
use crate::crypto::SecretBytes;

use super::VaultError;

/// Where the key that seals the vault's file comes from.
pub enum RootKeySource {
    /// A file of 32 random bytes, mode 0600.
    KeyFile(PathBuf),
    /// A passphrase, stretched by Argon2id.
    Passphrase(SecretBytes),
}

/// What is fixed when a vault is made.
pub struct VaultSettings {
    /// How long a deleted key can be recovered, in days: 7 to 90.
    pub retention_days: u8,
    /// Whether a soft-deleted key cannot be purged before its time. One-way.
    pub purge_protection: bool,
}

/// A vault in a directory of this machine.
pub struct LocalVault {}

impl LocalVault {
    /// Makes a vault in `dir`, which must not hold one.
    pub fn create(
        _dir: &Path,
        _root: &RootKeySource,
        _settings: &VaultSettings,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        todo!()
    }

    /// Opens the vault in `dir`.
    pub fn open(
        _dir: &Path,
        _root: &RootKeySource,
        _clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        todo!()
    }
}
