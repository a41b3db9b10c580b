//! The older model without roles: access policies of a vault
//! (learn.microsoft.com/azure/key-vault/general/rbac-access-policy).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::world::WhichVault;

use super::access::as_text;

macro_rules! permissions {
    ($(#[$doc:meta])* $type:ident: $($name:ident = $text:literal),* $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum $type {
            $(#[serde(rename = $text)] $name),*
        }

        impl $type {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().find(|p| p.name().eq_ignore_ascii_case(s));
                found.copied().ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|p| p.name()).collect();
                    format!("{s:?} is no permission: expected some of {}", names.join(", "))
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

permissions! {
    /// What an access policy permits to do with keys.
    KeyPermission:
    Get = "get",
    List = "list",
    Update = "update",
    Create = "create",
    Import = "import",
    Delete = "delete",
    Recover = "recover",
    Backup = "backup",
    Restore = "restore",
    Decrypt = "decrypt",
    Encrypt = "encrypt",
    UnwrapKey = "unwrapKey",
    WrapKey = "wrapKey",
    Verify = "verify",
    Sign = "sign",
    Purge = "purge",
    Rotate = "rotate",
    GetRotationPolicy = "getrotationpolicy",
    SetRotationPolicy = "setrotationpolicy",
    Release = "release",
}

permissions! {
    /// What an access policy permits to do with secrets.
    SecretPermission:
    Get = "get",
    List = "list",
    Set = "set",
    Delete = "delete",
    Recover = "recover",
    Backup = "backup",
    Restore = "restore",
    Purge = "purge",
}

/// What an operation needs of an access policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Key(KeyPermission),
    Secret(SecretPermission),
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(permission) => write!(f, "keys {permission}"),
            Self::Secret(permission) => write!(f, "secrets {permission}"),
        }
    }
}

/// What one identity may do in a vault whose access is by policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicy {
    /// Whose: an identity's object id.
    pub object_id: Uuid,
    /// With keys.
    pub keys: Vec<KeyPermission>,
    /// With secrets.
    pub secrets: Vec<SecretPermission>,
}

impl AccessPolicy {
    pub(super) fn permits(&self, permission: Permission) -> bool {
        match permission {
            Permission::Key(permission) => self.keys.contains(&permission),
            Permission::Secret(permission) => self.secrets.contains(&permission),
        }
    }
}

/// How a vault decides who may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VaultPolicies {
    #[serde(with = "as_text")]
    pub(super) vault: WhichVault,
    pub(super) policies: Vec<AccessPolicy>,
}
