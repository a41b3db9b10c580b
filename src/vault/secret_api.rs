//! What a vault tells of secrets, and what it is told of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{KeyName, KeyVersion, VaultId};
use crate::crypto::SecretBytes;

use super::{KeyAttributes, Tags};

/// One version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretId {
    /// The vault that holds it.
    pub vault: VaultId,
    /// Its name there.
    pub name: KeyName,
    /// Which version of it.
    pub version: KeyVersion,
}

impl std::fmt::Display for SecretId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/secrets/{}/{}", self.vault, self.name, self.version)
    }
}

/// What goes with a new secret; `Default` is an enabled one without all else.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// Whether it may be read.
    pub enabled: bool,
    /// Not before: told, not enforced.
    pub not_before: Option<Timestamp>,
    /// Expires: told, not enforced.
    pub expires: Option<Timestamp>,
    /// What the value is, at most 255 characters.
    pub content_type: Option<String>,
    /// Names and values.
    pub tags: Tags,
}

impl Default for SecretSpec {
    fn default() -> Self {
        Self {
            enabled: true,
            not_before: None,
            expires: None,
            content_type: None,
            tags: Tags::default(),
        }
    }
}

/// A change to a secret's version; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SecretUpdate {
    /// Whether it may be read.
    pub enabled: Option<bool>,
    /// Not before; `Some(None)` removes the date.
    pub not_before: Option<Option<Timestamp>>,
    /// Expires; `Some(None)` removes the date.
    pub expires: Option<Option<Timestamp>>,
    /// What the value is.
    pub content_type: Option<String>,
    /// Names and values, in place of all that there are.
    pub tags: Option<Tags>,
}

/// What a list tells of a secret's version: all but the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBundle {
    /// Which.
    pub id: SecretId,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// What the value is.
    pub content_type: Option<String>,
    /// Names and values.
    pub tags: Tags,
}

/// A secret's version with its value.
#[derive(Debug)]
pub struct SecretValue {
    /// All else.
    pub bundle: SecretBundle,
    /// The value: UTF-8 when it came through Azure's API.
    pub value: SecretBytes,
}

/// A soft-deleted secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedSecret {
    /// Its newest version.
    pub bundle: SecretBundle,
    /// When it was deleted.
    pub deleted: Timestamp,
    /// When it goes for good by itself; before then it can be recovered.
    pub scheduled_purge: Timestamp,
}
