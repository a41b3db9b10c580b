use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{
    CipherParameters, Ciphertext, EncryptionAlgorithm, KeyEncryptionKey, Secret, SecretBytes,
    SignatureAlgorithm, WrapAlgorithm,
};

use super::{
    DeletedKey, DeletedSecret, KeyBundle, KeySpec, KeyUpdate, RotationPolicy, SecretBundle,
    SecretSpec, SecretUpdate, SecretValue, VaultError, VaultSettings,
};

/// All that a resource ever sees of a vault.
pub trait KeyWrapper: Send + Sync {
    /// Wraps `dek` with the newest version of `key`.
    ///
    /// # Errors
    /// The vault's rules: no such key, disabled, expired or not yet valid, `wrapKey` not permitted.
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError>;

    /// Unwraps a data encryption key with exactly this version. An expired version still unwraps;
    /// a disabled, deleted or purged one does not.
    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError>;

    /// A number that moves each time a right to use a key may have changed in this process.
    fn revision(&self) -> Arc<AtomicU64>;
}

/// What [`KeyWrapper::wrap_key`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The version that wrapped.
    pub key: KeyVersionRef,
    /// How.
    pub algorithm: WrapAlgorithm,
    /// The wrapped key: 40 bytes (A256KW), or as many as the modulus has.
    pub bytes: Vec<u8>,
}

/// The administration of a vault. A local vault implements it, and a client of a remote one can.
pub trait KeyVault: KeyWrapper {
    /// The vault's identity.
    fn id(&self) -> VaultId;

    /// Its retention and purge protection; [`VaultSettings::recovery_level`] says what they mean for
    /// each of its keys and secrets.
    fn settings(&self) -> Result<VaultSettings, VaultError>;

    /// Creates a key, or a new version when the name exists (as Azure does).
    fn create_key(&self, name: &KeyName, spec: &KeySpec) -> Result<KeyBundle, VaultError>;

    /// Brings a key in from outside.
    fn import_key(
        &self,
        name: &KeyName,
        material: KeyEncryptionKey,
        spec: &KeySpec,
    ) -> Result<KeyBundle, VaultError>;

    /// The newest version of every live key, by name.
    fn keys(&self, page: Page<KeyName>) -> Result<Vec<KeyBundle>, VaultError>;

    /// The versions of a key, oldest first, so that one made meanwhile is on a later page.
    ///
    /// # Errors
    /// [`VaultError::BadParameter`] when the key has no version `page.after`.
    fn key_versions(
        &self,
        name: &KeyName,
        page: Page<KeyVersion>,
    ) -> Result<Vec<KeyBundle>, VaultError>;

    /// One version of a key, or the newest.
    fn key(&self, name: &KeyName, version: Option<KeyVersion>) -> Result<KeyBundle, VaultError>;

    /// Changes attributes or operations of one version, or of the newest.
    fn update_key(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &KeyUpdate,
    ) -> Result<KeyBundle, VaultError>;

    /// Makes a new version of the same kind, operations and tags; it wraps from now on. It expires when
    /// the rotation policy says, or never.
    fn rotate_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError>;

    /// Soft-deletes a key with all its versions.
    fn delete_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError>;

    /// The soft-deleted keys, by name.
    fn deleted_keys(&self, page: Page<KeyName>) -> Result<Vec<DeletedKey>, VaultError>;

    /// One soft-deleted key.
    ///
    /// # Errors
    /// [`VaultError::KeyNotFound`], also for one that is live.
    fn deleted_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError>;

    /// Brings a soft-deleted key back.
    fn recover_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError>;

    /// Destroys a soft-deleted key; refused while purge protection holds. It erases the key only when
    /// no backup of it is left.
    fn purge_key(&self, name: &KeyName) -> Result<(), VaultError>;

    /// A sealed copy of a key with all its versions, which only this vault restores: also after the
    /// key was purged, as in Azure.
    fn backup_key(&self, name: &KeyName) -> Result<Vec<u8>, VaultError>;

    /// Restores a backup; the name must be free.
    fn restore_key(&self, backup: &[u8]) -> Result<KeyBundle, VaultError>;

    /// When a key is rotated by itself; the default policy when none was set.
    fn rotation_policy(&self, name: &KeyName) -> Result<RotationPolicy, VaultError>;

    /// Sets it; returns it with its times.
    fn set_rotation_policy(
        &self,
        name: &KeyName,
        policy: &RotationPolicy,
    ) -> Result<RotationPolicy, VaultError>;
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page<T> {
    /// Begins after this one (the last of the page before); at the beginning when `None`.
    pub after: Option<T>,
    /// How many at most; all when `None`.
    pub limit: Option<u32>,
}

impl<T> Page<T> {
    /// The whole list.
    pub fn all() -> Self {
        Self {
            after: None,
            limit: None,
        }
    }
}

/// What a vault's keys do for a caller who never sees them. Each use is decided by the vault's rules
/// and recorded, as those of [`KeyWrapper`] are; without a version the newest does it.
pub trait Cryptography {
    /// Encrypts `plaintext`.
    ///
    /// # Errors
    /// The vault's rules; [`VaultError::BadParameter`] for an algorithm or parameter that the key
    /// does not take.
    fn encrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<Ciphertext>, VaultError>;

    /// Decrypts what [`Cryptography::encrypt`] gave; an expired version still does.
    ///
    /// # Errors
    /// As [`Cryptography::encrypt`], and [`VaultError::DecryptFailed`] alike for all else.
    fn decrypt(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Used<SecretBytes>, VaultError>;

    /// Wraps a key of any length.
    fn wrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        key: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError>;

    /// Unwraps it; an expired version still does.
    fn unwrap_bytes(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: EncryptionAlgorithm,
        wrapped: &[u8],
    ) -> Result<Used<SecretBytes>, VaultError>;

    /// Signs a digest.
    fn sign(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
    ) -> Result<Used<Vec<u8>>, VaultError>;

    /// Whether `signature` is one over `digest`; an expired version still tells.
    fn verify(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<Used<bool>, VaultError>;

    /// So many random bytes, 1 to 128.
    fn random_bytes(&self, count: usize) -> Result<SecretBytes, VaultError>;
}

/// What the use of a key gave, and which version did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used<T> {
    /// The version.
    pub kid: KeyVersionRef,
    /// What it gave.
    pub value: T,
}

/// Secrets: values of at most 25 KiB with versions, soft-delete and backup, as keys have them. The
/// same rule for names holds, in a space of names of their own.
pub trait SecretVault {
    /// Sets a secret: a new one, or a new version when the name exists.
    ///
    /// # Errors
    /// [`VaultError::BadParameter`] for a value of more than 25 KiB; [`VaultError::Conflict`] when
    /// the name is that of a deleted one.
    fn set_secret(
        &self,
        name: &KeyName,
        value: &SecretBytes,
        spec: &SecretSpec,
    ) -> Result<SecretBundle, VaultError>;

    /// One version of a secret with its value, or the newest. Recorded. Its dates do not matter,
    /// as in Azure; a disabled one is refused.
    fn secret(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<SecretValue, VaultError>;

    /// The newest version of every live secret, by name.
    fn secrets(&self, page: Page<KeyName>) -> Result<Vec<SecretBundle>, VaultError>;

    /// The versions of a secret, oldest first.
    fn secret_versions(
        &self,
        name: &KeyName,
        page: Page<KeyVersion>,
    ) -> Result<Vec<SecretBundle>, VaultError>;

    /// Changes what goes with one version, or with the newest.
    fn update_secret(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &SecretUpdate,
    ) -> Result<SecretBundle, VaultError>;

    /// Soft-deletes a secret with all its versions.
    fn delete_secret(&self, name: &KeyName) -> Result<DeletedSecret, VaultError>;

    /// The soft-deleted secrets, by name.
    fn deleted_secrets(&self, page: Page<KeyName>) -> Result<Vec<DeletedSecret>, VaultError>;

    /// One soft-deleted secret.
    fn deleted_secret(&self, name: &KeyName) -> Result<DeletedSecret, VaultError>;

    /// Brings a soft-deleted secret back.
    fn recover_secret(&self, name: &KeyName) -> Result<SecretBundle, VaultError>;

    /// Destroys a soft-deleted secret; refused while purge protection holds.
    fn purge_secret(&self, name: &KeyName) -> Result<(), VaultError>;

    /// A sealed copy of a secret with all its versions, which only this vault restores.
    fn backup_secret(&self, name: &KeyName) -> Result<Vec<u8>, VaultError>;

    /// Restores a backup; the name must be free.
    fn restore_secret(&self, backup: &[u8]) -> Result<SecretBundle, VaultError>;
}
