//! What a vault tells of keys and secrets, and what it is told of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::KeyVersionRef;
use crate::crypto::{KeyFamily, KeyKind, PublicKey};

use super::{VaultError, VaultSettings};

/// What a key may be used for (RFC 7517 `key_ops`, and Azure Key Vault's `import` and `export`,
/// which are kept and do nothing here).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyOperation {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    WrapKey,
    UnwrapKey,
    Import,
    Export,
}

impl KeyOperation {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Sign,
        Self::Verify,
        Self::WrapKey,
        Self::UnwrapKey,
        Self::Import,
        Self::Export,
    ];

    /// Those that a key of `kind` can do: what Azure Key Vault gives a key that is made without a
    /// list.
    pub fn usual(kind: KeyKind) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|o| !matches!(o, Self::Import | Self::Export) && o.fits(kind))
            .collect()
    }

    /// Whether a key of `kind` can do it.
    pub fn fits(self, kind: KeyKind) -> bool {
        match self {
            Self::Encrypt | Self::Decrypt | Self::WrapKey | Self::UnwrapKey => {
                !matches!(kind.family(), KeyFamily::Ec(_))
            }
            Self::Sign | Self::Verify => kind.family() != KeyFamily::Oct,
            Self::Import | Self::Export => true,
        }
    }
}

impl fmt::Display for KeyOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
            Self::Import => "import",
            Self::Export => "export",
        })
    }
}

impl FromStr for KeyOperation {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let operation = Self::ALL.into_iter().find(|o| o.to_string() == s);
        operation.ok_or_else(|| {
            let all = Self::ALL.map(|o| o.to_string()).join(", ");
            format!("{s:?} is no operation: expected one of {all}")
        })
    }
}

/// Names and values that a caller gives a key or secret; at most 15, of at most 256 characters
/// each (Azure Key Vault's limits).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Tags(BTreeMap<String, String>);

impl Tags {
    /// The most tags.
    pub const MAX: usize = 15;
    /// The longest name or value, in characters.
    pub const MAX_CHARS: usize = 256;

    /// Name by name.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = VaultError;
    fn try_from(tags: BTreeMap<String, String>) -> Result<Self, VaultError> {
        let bad = |why: String| Err(VaultError::BadParameter(why));
        if tags.len() > Self::MAX {
            return bad(format!("{} tags: give at most {}", tags.len(), Self::MAX));
        }
        if tags.contains_key("") {
            return bad("a tag without a name: name it".into());
        }
        let long = |text: &String| text.chars().nth(Self::MAX_CHARS).is_some();
        match tags.iter().any(|(name, value)| long(name) || long(value)) {
            true => bad(format!(
                "a tag is too long: its name and its value may have {} characters each",
                Self::MAX_CHARS
            )),
            false => Ok(Self(tags)),
        }
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

/// What becomes of a deleted key or secret. The names are Azure Key Vault's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecoveryLevel {
    /// Recoverable for 90 days, and purge is allowed.
    #[serde(rename = "Recoverable+Purgeable")]
    RecoverablePurgeable,
    /// Recoverable for 90 days; purge protection holds.
    Recoverable,
    /// Recoverable for 7 to 89 days, and purge is allowed.
    #[serde(rename = "CustomizedRecoverable+Purgeable")]
    CustomizedRecoverablePurgeable,
    /// Recoverable for 7 to 89 days; purge protection holds.
    CustomizedRecoverable,
}

impl RecoveryLevel {
    /// Its name, as the wire has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecoverablePurgeable => "Recoverable+Purgeable",
            Self::Recoverable => "Recoverable",
            Self::CustomizedRecoverablePurgeable => "CustomizedRecoverable+Purgeable",
            Self::CustomizedRecoverable => "CustomizedRecoverable",
        }
    }
}

impl VaultSettings {
    /// What these settings mean for a deleted key.
    pub fn recovery_level(&self) -> RecoveryLevel {
        match (self.retention_days < 90, self.purge_protection) {
            (false, false) => RecoveryLevel::RecoverablePurgeable,
            (false, true) => RecoveryLevel::Recoverable,
            (true, false) => RecoveryLevel::CustomizedRecoverablePurgeable,
            (true, true) => RecoveryLevel::CustomizedRecoverable,
        }
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// Its kind.
    pub kind: KeyKind,
    /// What it may be used for.
    pub operations: Vec<KeyOperation>,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Not before.
    pub not_before: Option<Timestamp>,
    /// Expires.
    pub expires: Option<Timestamp>,
    /// Whether the caller asked for a key in hardware (`RSA-HSM`): kept and told, while the key is
    /// software here.
    pub hsm: bool,
    /// Whether its private part might be released; kept and told, nothing releases it.
    pub exportable: bool,
    /// Names and values.
    pub tags: Tags,
}

impl KeySpec {
    /// An enabled key of `kind`, without dates: for wrapping and unwrapping, or for signing and
    /// verifying when that is all it can.
    pub fn new(kind: KeyKind) -> Self {
        let operations = match kind.family() {
            KeyFamily::Ec(_) => KeyOperation::usual(kind),
            KeyFamily::Rsa | KeyFamily::Oct => {
                vec![KeyOperation::WrapKey, KeyOperation::UnwrapKey]
            }
        };
        Self {
            kind,
            operations,
            enabled: true,
            not_before: None,
            expires: None,
            hsm: false,
            exportable: false,
            tags: Tags::default(),
        }
    }
}

/// A change to a key version; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyUpdate {
    /// Whether it may be used at all.
    pub enabled: Option<bool>,
    /// Not before; `Some(None)` removes the date.
    pub not_before: Option<Option<Timestamp>>,
    /// Expires; `Some(None)` removes the date.
    pub expires: Option<Option<Timestamp>>,
    /// What it may be used for.
    pub operations: Option<Vec<KeyOperation>>,
    /// Names and values, in place of all that there are.
    pub tags: Option<Tags>,
}

/// The attributes of a version of a key or secret.
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
    /// Whether a key in hardware was asked for.
    pub hsm: bool,
    /// Whether its private part might be released.
    pub exportable: bool,
    /// What it may be used for.
    pub operations: Vec<KeyOperation>,
    /// Its attributes.
    pub attributes: KeyAttributes,
    /// Names and values.
    pub tags: Tags,
    /// SHA-256 of the public key, or a one-way name of a symmetric one; 64 hexadecimal digits.
    pub thumbprint: String,
    /// The public key; none for a symmetric one.
    pub public_key: Option<PublicKey>,
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
