use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind, Secret, WrapAlgorithm};

use super::VaultError;

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
    fn keys(&self) -> Result<Vec<KeyBundle>, VaultError>;

    /// Every version of a key, oldest first.
    fn key_versions(&self, name: &KeyName) -> Result<Vec<KeyBundle>, VaultError>;

    /// One version of a key, or the newest.
    fn key(&self, name: &KeyName, version: Option<KeyVersion>) -> Result<KeyBundle, VaultError>;

    /// Changes attributes or operations of one version, or of the newest.
    fn update_key(
        &self,
        name: &KeyName,
        version: Option<KeyVersion>,
        update: &KeyUpdate,
    ) -> Result<KeyBundle, VaultError>;

    /// Makes a new version of the same kind; it wraps from now on.
    fn rotate_key(&self, name: &KeyName) -> Result<KeyBundle, VaultError>;

    /// Soft-deletes a key with all its versions.
    fn delete_key(&self, name: &KeyName) -> Result<DeletedKey, VaultError>;

    /// Every soft-deleted key.
    fn deleted_keys(&self) -> Result<Vec<DeletedKey>, VaultError>;

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
}

/// What a key may be used for (RFC 7517 `key_ops`); a vault for envelopes knows these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyOperation {
    /// `wrapKey`
    WrapKey,
    /// `unwrapKey`
    UnwrapKey,
}

impl fmt::Display for KeyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
        })
    }
}

impl FromStr for KeyOperation {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let all = [Self::WrapKey, Self::UnwrapKey];
        let operation = all.into_iter().find(|o| o.to_string() == s);
        operation.ok_or_else(|| format!("{s:?} is no operation: expected wrapKey or unwrapKey"))
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// Its kind.
    pub kind: KeyKind,
    /// What it may be used for; both by default.
    pub operations: Vec<KeyOperation>,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// Expires.
    pub expires: Option<Timestamp>,
}

impl KeySpec {
    /// An enabled key of `kind` for wrapping and unwrapping, without dates.
    pub fn new(kind: KeyKind) -> Self {
        Self {
            kind,
            operations: vec![KeyOperation::WrapKey, KeyOperation::UnwrapKey],
            enabled: true,
            not_before: None,
            expires: None,
        }
    }
}

/// A change to a key version; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyUpdate {
    /// Whether it may be used at all.
    pub enabled: Option<bool>,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// Expires.
    pub expires: Option<Timestamp>,
    /// What it may be used for.
    pub operations: Option<Vec<KeyOperation>>,
}

/// The attributes of a key version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttributes {
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Not before.
    #[serde(rename = "nbf")]
    pub not_before: Option<Timestamp>,
    /// Expires.
    #[serde(rename = "exp")]
    pub expires: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When an attribute last changed.
    pub updated: Timestamp,
}

/// What is public of a key version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBundle {
    /// Which.
    pub kid: KeyVersionRef,
    /// Its kind.
    pub kind: KeyKind,
    /// What it may be used for.
    pub operations: Vec<KeyOperation>,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// SHA-256 of the public key, or a one-way name of a symmetric one; 64 hexadecimal digits.
    pub thumbprint: String,
}

/// A soft-deleted key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedKey {
    /// Its newest version.
    pub bundle: KeyBundle,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// When it goes for good by itself; before then it can be recovered.
    pub scheduled_purge: Timestamp,
}
