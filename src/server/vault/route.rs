//! Which operation a method and a path ask for.

use std::str::FromStr;

use hyper::Method;

use crate::base::{KeyName, KeyVersion};
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

    /// Whether it is one on secrets.
    pub(super) fn is_on_secrets(self) -> bool {
        self.audited().name().starts_with("Secret")
    }
}

/// An operation, and what it is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) operation: Operation,
    /// Of all but lists, a restore and random bytes.
    pub(super) name: Option<KeyName>,
    /// The newest when `None`.
    pub(super) version: Option<KeyVersion>,
}

impl Call {
    /// What it is asked of, as `/keys/NAME/VERSION`.
    pub(super) fn path(&self) -> Option<String> {
        let name = self.name.as_ref()?;
        let kind = match self.operation.is_on_secrets() {
            true => "secrets",
            false => "keys",
        };
        let version = self.version.map_or_else(String::new, |v| format!("/{v}"));
        Some(format!("/{kind}/{name}{version}"))
    }
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No operation is at this path.
    Path,
    /// One is, by one of these methods.
    Method(Vec<Method>),
    /// A name or version that can be none.
    Malformed(String),
}

/// What may follow a key and its version. Clients differ in its case (`wrapkey`, `wrapKey`).
fn use_of_key(segment: &str) -> Option<(Method, Operation)> {
    use Operation::*;
    let (method, operation) = match segment.to_ascii_lowercase().as_str() {
        "encrypt" => (Method::POST, Encrypt),
        "decrypt" => (Method::POST, Decrypt),
        "wrapkey" => (Method::POST, Wrap),
        "unwrapkey" => (Method::POST, Unwrap),
        "sign" => (Method::POST, Sign),
        "verify" => (Method::POST, Verify),
        "attestation" => (Method::GET, GetAttestation),
        "release" => (Method::POST, Release),
        "securewrapkey" => (Method::POST, SecureWrap),
        "secureunwrapkey" => (Method::POST, SecureUnwrap),
        _ => return None,
    };
    Some((method, operation))
}

/// Parses a path as it was sent. Clients that name no version send `/keys/NAME/`,
/// `/keys/NAME//encrypt` or `/keys/NAME/encrypt`: an empty segment counts.
pub(super) fn route(method: &Method, path: &str) -> Result<Call, NoRoute> {
    use Operation::*;
    let segments: Vec<_> = path.split('/').collect();
    let use_of_key = segments.last().and_then(|last| use_of_key(last));
    let use_of_key = use_of_key.as_slice();
    let (offered, name, version): (&[(Method, Operation)], _, _) = match segments[..] {
        ["", "keys"] => (&[(Method::GET, List)], None, None),
        ["", "deletedkeys"] => (&[(Method::GET, ListDeleted)], None, None),
        ["", "deletedkeys", name] => (
            &[(Method::GET, GetDeleted), (Method::DELETE, Purge)],
            Some(name),
            None,
        ),
        ["", "deletedkeys", name, "recover"] => (&[(Method::POST, Recover)], Some(name), None),
        ["", "keys", "restore"] if method == Method::POST => {
            (&[(Method::POST, Restore)], None, None)
        }
        ["", "keys", name] => (
            &[
                (Method::GET, Get),
                (Method::PUT, Import),
                (Method::PATCH, Update),
                (Method::DELETE, Delete),
            ],
            Some(name),
            None,
        ),
        ["", "keys", name, "create"] => (&[(Method::POST, Create)], Some(name), None),
        ["", "keys", name, "versions"] => (&[(Method::GET, ListVersions)], Some(name), None),
        ["", "keys", name, "backup"] => (&[(Method::POST, Backup)], Some(name), None),
        ["", "keys", name, "rotate"] => (&[(Method::POST, Rotate)], Some(name), None),
        ["", "keys", name, "rotationpolicy"] => (
            &[(Method::GET, GetPolicy), (Method::PUT, SetPolicy)],
            Some(name),
            None,
        ),
        ["", "keys", name, _] if !use_of_key.is_empty() => (use_of_key, Some(name), None),
        ["", "keys", name, version] => (
            &[(Method::GET, Get), (Method::PATCH, Update)],
            Some(name),
            Some(version),
        ),
        ["", "keys", name, version, _] if !use_of_key.is_empty() => {
            (use_of_key, Some(name), Some(version))
        }
        ["", "rng"] => (&[(Method::POST, RandomBytes)], None, None),
        ["", "secrets"] => (&[(Method::GET, SecretList)], None, None),
        ["", "deletedsecrets"] => (&[(Method::GET, SecretListDeleted)], None, None),
        ["", "deletedsecrets", name] => (
            &[
                (Method::GET, SecretGetDeleted),
                (Method::DELETE, SecretPurge),
            ],
            Some(name),
            None,
        ),
        ["", "deletedsecrets", name, "recover"] => {
            (&[(Method::POST, SecretRecover)], Some(name), None)
        }
        ["", "secrets", "restore"] if method == Method::POST => {
            (&[(Method::POST, SecretRestore)], None, None)
        }
        ["", "secrets", name] => (
            &[
                (Method::GET, SecretGet),
                (Method::PUT, SecretSet),
                (Method::PATCH, SecretUpdate),
                (Method::DELETE, SecretDelete),
            ],
            Some(name),
            None,
        ),
        ["", "secrets", name, "versions"] => {
            (&[(Method::GET, SecretListVersions)], Some(name), None)
        }
        ["", "secrets", name, "backup"] => (&[(Method::POST, SecretBackup)], Some(name), None),
        ["", "secrets", name, version] => (
            &[(Method::GET, SecretGet), (Method::PATCH, SecretUpdate)],
            Some(name),
            Some(version),
        ),
        _ => return Err(NoRoute::Path),
    };
    let found = offered.iter().find(|(offered, _)| offered == method);
    let methods = || offered.iter().map(|(method, _)| method.clone()).collect();
    let (_, operation) = found.ok_or_else(|| NoRoute::Method(methods()))?;
    let malformed = |e: String| NoRoute::Malformed(e);
    let name = name.map(str::parse::<KeyName>).transpose();
    let version = version.filter(|version| !version.is_empty());
    let version = version.map(str::parse::<KeyVersion>).transpose();
    Ok(Call {
        operation: *operation,
        name: name.map_err(|e| malformed(e.to_string()))?,
        version: version.map_err(|e| malformed(e.to_string()))?,
    })
}
