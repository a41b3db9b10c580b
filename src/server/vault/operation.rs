//! What can be asked of keys and secrets.

use std::str::FromStr;

use crate::server::permission::{KeyPermission, Permission, SecretPermission};
use crate::server::role::DataAction;
use crate::vault::AuditOperation;

macro_rules! permission {
    (Key $permission:ident) => {
        Permission::Key(KeyPermission::$permission)
    };
    (Secret $permission:ident) => {
        Permission::Secret(SecretPermission::$permission)
    };
}

macro_rules! operations {
    ($($name:ident = $audited:ident by $action:ident or $kind:ident $permission:ident),* $(,)?) => {
        /// What can be asked of keys and secrets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation {
            $($name),*
        }

        impl Operation {
            /// What audit records, log and metrics call it.
            pub(super) fn audited(self) -> AuditOperation {
                match self {
                    $(Self::$name => AuditOperation::$audited),*
                }
            }

            /// Every one.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// What a role must permit.
            pub(super) fn action(self) -> DataAction {
                match self {
                    $(Self::$name => DataAction::$action),*
                }
            }

            /// What an access policy must permit.
            pub(super) fn permission(self) -> Permission {
                match self {
                    $(Self::$name => permission!($kind $permission)),*
                }
            }
        }
    };
}

operations! {
    Create = KeyCreate by KeysCreate or Key Create,
    Import = KeyImport by KeysImport or Key Import,
    Get = KeyGet by KeysRead or Key Get,
    Update = KeyUpdate by KeysUpdate or Key Update,
    Delete = KeyDelete by KeysDelete or Key Delete,
    List = KeyList by KeysRead or Key List,
    ListVersions = KeyListVersions by KeysRead or Key List,
    Backup = KeyBackup by KeysBackup or Key Backup,
    Restore = KeyRestore by KeysRestore or Key Restore,
    Rotate = KeyRotate by KeysRotate or Key Rotate,
    GetPolicy = KeyRotationPolicyGet by RotationPolicyRead or Key GetRotationPolicy,
    SetPolicy = KeyRotationPolicySet by RotationPolicyWrite or Key SetRotationPolicy,
    Encrypt = KeyEncrypt by KeysEncrypt or Key Encrypt,
    Decrypt = KeyDecrypt by KeysDecrypt or Key Decrypt,
    Wrap = KeyWrap by KeysWrap or Key WrapKey,
    Unwrap = KeyUnwrap by KeysUnwrap or Key UnwrapKey,
    Sign = KeySign by KeysSign or Key Sign,
    Verify = KeyVerify by KeysVerify or Key Verify,
    ListDeleted = KeyListDeleted by KeysRead or Key List,
    GetDeleted = KeyGetDeleted by KeysRead or Key Get,
    Recover = KeyRecover by KeysRecover or Key Recover,
    Purge = KeyPurge by KeysPurge or Key Purge,
    GetAttestation = KeyGetAttestation by KeysRead or Key Get,
    Release = KeyRelease by KeysRelease or Key Release,
    SecureWrap = KeySecureWrap by KeysWrap or Key WrapKey,
    SecureUnwrap = KeySecureUnwrap by KeysUnwrap or Key UnwrapKey,
    // No access policy speaks of it: Azure has it in managed HSMs only, which have none.
    RandomBytes = RandomBytesGet by RandomBytes or Key Get,
    SecretSet = SecretSet by SecretsSet or Secret Set,
    SecretGet = SecretGet by SecretsGet or Secret Get,
    SecretUpdate = SecretUpdate by SecretsUpdate or Secret Set,
    SecretDelete = SecretDelete by SecretsDelete or Secret Delete,
    SecretList = SecretList by SecretsReadMetadata or Secret List,
    SecretListVersions = SecretListVersions by SecretsReadMetadata or Secret List,
    SecretBackup = SecretBackup by SecretsBackup or Secret Backup,
    SecretRestore = SecretRestore by SecretsRestore or Secret Restore,
    SecretListDeleted = SecretListDeleted by SecretsReadMetadata or Secret List,
    SecretGetDeleted = SecretGetDeleted by SecretsReadMetadata or Secret Get,
    SecretRecover = SecretRecover by SecretsRecover or Secret Recover,
    SecretPurge = SecretPurge by SecretsPurge or Secret Purge,
}

impl FromStr for Operation {
    type Err = String;
    /// Reads a name, or what a key's `key_ops` say for it.
    fn from_str(s: &str) -> Result<Self, String> {
        let name = match s {
            "wrapKey" => "KeyWrap",
            "unwrapKey" => "KeyUnwrap",
            "encrypt" => "KeyEncrypt",
            "decrypt" => "KeyDecrypt",
            "sign" => "KeySign",
            "verify" => "KeyVerify",
            other => other,
        };
        let found = Self::ALL
            .iter()
            .find(|o| o.audited().name().eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|o| o.audited().name()).collect();
            format!(
                "{s:?} is no operation: expected * or one of {}",
                names.join(", ")
            )
        })
    }
}

impl Operation {
    /// Whether it is asked of what was deleted.
    pub(super) fn is_on_deleted(self) -> bool {
        use Operation::*;
        matches!(
            self,
            GetDeleted | Recover | Purge | SecretGetDeleted | SecretRecover | SecretPurge
        )
    }

    /// Whether it is asked of a key that is there, of this name and version.
    pub(super) fn uses_a_key(self) -> bool {
        use Operation::*;
        let of_vault = matches!(
            self,
            Create | Import | List | Restore | ListDeleted | RandomBytes
        );
        !of_vault && !self.is_on_secrets() && !self.is_on_deleted()
    }

    /// Whether a key does it.
    pub(super) fn is_use(self) -> bool {
        use Operation::*;
        matches!(self, Encrypt | Decrypt | Wrap | Unwrap | Sign | Verify)
    }

    /// Whether it is one on secrets.
    pub(super) fn is_on_secrets(self) -> bool {
        self.audited().name().starts_with("Secret")
    }
}
