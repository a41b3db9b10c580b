//! What can be asked of a vault, as its audit log names it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// What was asked of the vault. The names are those of Azure Key Vault's log where it has
        /// one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum AuditOperation {
            $($name),*
        }

        impl AuditOperation {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),*
                }
            }
        }
    };
}

operations! {
    VaultCreate,
    VaultOpen,
    VaultSeal,
    VaultUnseal,
    VaultRootChange,
    VaultPurgeProtection,
    AuditReanchor,
    Authentication,
    Unknown,
    KeyCreate,
    KeyImport,
    KeyGet,
    KeyList,
    KeyListVersions,
    KeyGetDeleted,
    KeyListDeleted,
    KeyUpdate,
    KeyRotate,
    KeyRotateIfDue,
    KeyRotationPolicyGet,
    KeyRotationPolicySet,
    KeyWrap,
    KeyUnwrap,
    KeyEncrypt,
    KeyDecrypt,
    KeySign,
    KeyVerify,
    KeyDelete,
    KeyRecover,
    KeyPurge,
    KeyBackup,
    KeyRestore,
    KeyGetAttestation,
    KeyRelease,
    KeySecureWrap,
    KeySecureUnwrap,
    RandomBytesGet,
    SecretSet,
    SecretGet,
    SecretList,
    SecretListVersions,
    SecretGetDeleted,
    SecretListDeleted,
    SecretUpdate,
    SecretDelete,
    SecretRecover,
    SecretPurge,
    SecretBackup,
    SecretRestore,
    VaultGet,
    EpochGet,
    EpochSet,
    EpochAdvance,
}

impl AuditOperation {
    /// The status of HTTP with which it is answered when it is done.
    pub(super) fn http_status(self) -> u16 {
        match self {
            Self::KeyPurge | Self::SecretPurge | Self::EpochSet | Self::EpochAdvance => 204,
            _ => 200,
        }
    }

    /// Whether it may change who can use which key.
    pub(super) fn is_administrative(self) -> bool {
        !matches!(
            self,
            Self::KeyWrap
                | Self::KeyUnwrap
                | Self::KeyEncrypt
                | Self::KeyDecrypt
                | Self::KeySign
                | Self::KeyVerify
                | Self::KeyBackup
                | Self::RandomBytesGet
                | Self::SecretSet
                | Self::SecretGet
                | Self::SecretUpdate
                | Self::SecretDelete
                | Self::SecretRecover
                | Self::SecretPurge
                | Self::SecretBackup
                | Self::SecretRestore
                | Self::VaultOpen
                | Self::EpochSet
        )
    }
}

impl fmt::Display for AuditOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AuditOperation {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = Self::ALL.iter().find(|o| o.name().eq_ignore_ascii_case(s));
        named.copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|o| o.name()).collect();
            format!("{s:?} is no operation: expected one of {}", all.join(", "))
        })
    }
}
