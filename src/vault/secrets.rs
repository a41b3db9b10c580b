//! Secrets (being built).

use crate::base::{KeyName, KeyVersion};
use crate::crypto::SecretBytes;

use super::{
    DeletedSecret, LocalVault, Page, SecretBundle, SecretSpec, SecretUpdate, SecretValue,
    SecretVault, VaultError,
};

fn not_yet<T>() -> Result<T, VaultError> {
    Err(VaultError::BadParameter("secrets are not built yet".into()))
}

impl SecretVault for LocalVault {
    fn set_secret(
        &self,
        _: &KeyName,
        _: &SecretBytes,
        _: &SecretSpec,
    ) -> Result<SecretBundle, VaultError> {
        not_yet()
    }

    fn secret(&self, _: &KeyName, _: Option<KeyVersion>) -> Result<SecretValue, VaultError> {
        not_yet()
    }

    fn secrets(&self, _: Page<KeyName>) -> Result<Vec<SecretBundle>, VaultError> {
        not_yet()
    }

    fn secret_versions(
        &self,
        _: &KeyName,
        _: Page<KeyVersion>,
    ) -> Result<Vec<SecretBundle>, VaultError> {
        not_yet()
    }

    fn update_secret(
        &self,
        _: &KeyName,
        _: Option<KeyVersion>,
        _: &SecretUpdate,
    ) -> Result<SecretBundle, VaultError> {
        not_yet()
    }

    fn delete_secret(&self, _: &KeyName) -> Result<DeletedSecret, VaultError> {
        not_yet()
    }

    fn deleted_secrets(&self, _: Page<KeyName>) -> Result<Vec<DeletedSecret>, VaultError> {
        not_yet()
    }

    fn deleted_secret(&self, _: &KeyName) -> Result<DeletedSecret, VaultError> {
        not_yet()
    }

    fn recover_secret(&self, _: &KeyName) -> Result<SecretBundle, VaultError> {
        not_yet()
    }

    fn purge_secret(&self, _: &KeyName) -> Result<(), VaultError> {
        not_yet()
    }

    fn backup_secret(&self, _: &KeyName) -> Result<Vec<u8>, VaultError> {
        not_yet()
    }

    fn restore_secret(&self, _: &[u8]) -> Result<SecretBundle, VaultError> {
        not_yet()
    }
}
