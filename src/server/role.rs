//! Who may do what: Azure's built-in roles of the key vault's data plane, by their names and data
//! actions (learn.microsoft.com/azure/role-based-access-control/built-in-roles, `security` and
//! `storage`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! actions {
    ($($name:ident = $action:literal),* $(,)?) => {
        /// A data action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum DataAction {
            $($name),*
        }

        impl DataAction {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name; of a key vault's, what is below `Microsoft.KeyVault/vaults/`.
            fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $action),*
                }
            }
        }
    };
}

actions! {
    KeysRead = "keys/read",
    KeysCreate = "keys/create/action",
    KeysImport = "keys/import/action",
    KeysUpdate = "keys/update/action",
    KeysRotate = "keys/rotate/action",
    KeysDelete = "keys/delete",
    KeysRecover = "keys/recover/action",
    KeysPurge = "keys/purge/action",
    KeysBackup = "keys/backup/action",
    KeysRestore = "keys/restore/action",
    KeysEncrypt = "keys/encrypt/action",
    KeysDecrypt = "keys/decrypt/action",
    KeysWrap = "keys/wrap/action",
    KeysUnwrap = "keys/unwrap/action",
    KeysSign = "keys/sign/action",
    KeysVerify = "keys/verify/action",
    KeysRelease = "keys/release/action",
    PositionsRead = "positions/read",
    PositionsWrite = "positions/write",
    RotationPolicyRead = "keyrotationpolicies/read",
    RotationPolicyWrite = "keyrotationpolicies/write",
    SecretsReadMetadata = "secrets/readMetadata/action",
    SecretsGet = "secrets/getSecret/action",
    SecretsSet = "secrets/setSecret/action",
    SecretsUpdate = "secrets/update/action",
    SecretsDelete = "secrets/delete",
    SecretsRecover = "secrets/recover/action",
    SecretsPurge = "secrets/purge/action",
    SecretsBackup = "secrets/backup/action",
    SecretsRestore = "secrets/restore/action",
    RandomBytes = "rng/action",
    ContainersRead = "Microsoft.Storage/storageAccounts/blobServices/containers/read",
    ContainersWrite = "Microsoft.Storage/storageAccounts/blobServices/containers/write",
    ContainersDelete = "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
    ContainersGetAcl = "Microsoft.Storage/storageAccounts/blobServices/containers/getAcl/action",
    ContainersSetAcl = "Microsoft.Storage/storageAccounts/blobServices/containers/setAcl/action",
    BlobsRead = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    BlobsWrite = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
    BlobsDelete = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
    BlobsAdd = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
    BlobsFilter = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/filter/action",
    DelegationKey = "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
    BlobTagsRead = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/read",
    BlobTagsWrite = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/write",
}

impl fmt::Display for DataAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path().starts_with("Microsoft.") {
            f.write_str("Microsoft.KeyVault/vaults/")?;
        }
        f.write_str(self.path())
    }
}

/// A built-in role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(&'static Definition);

#[derive(Debug, PartialEq, Eq)]
struct Definition {
    name: &'static str,
    /// Data actions, or all below a path that ends in `*`.
    permits: &'static [&'static str],
}

/// `vaults/*/read` of the Reader has no data action here beside the two that it names. `positions` are
/// this server's own: who may unwrap a file's key may say which state of the file is the newest, since
/// he can make any (docs/design.md). `rng` is Managed HSM's, and there goes with the use of keys.
const ROLES: &[Definition] = &[
    Definition {
        name: "Key Vault Administrator",
        permits: &[
            "keys/*",
            "keyrotationpolicies/*",
            "secrets/*",
            "rng/action",
            "positions/*",
        ],
    },
    Definition {
        name: "Key Vault Reader",
        permits: &[
            "keys/read",
            "keyrotationpolicies/read",
            "secrets/readMetadata/action",
        ],
    },
    Definition {
        name: "Key Vault Crypto Officer",
        permits: &[
            "keys/*",
            "keyrotationpolicies/*",
            "rng/action",
            "positions/*",
        ],
    },
    Definition {
        name: "Key Vault Crypto User",
        permits: &[
            "keys/read",
            "keys/update/action",
            "keys/backup/action",
            "keys/encrypt/action",
            "keys/decrypt/action",
            "keys/wrap/action",
            "keys/unwrap/action",
            "keys/sign/action",
            "keys/verify/action",
            "rng/action",
            "positions/*",
        ],
    },
    Definition {
        name: "Key Vault Crypto Service Encryption User",
        permits: &[
            "keys/read",
            "keys/wrap/action",
            "keys/unwrap/action",
            "positions/*",
        ],
    },
    Definition {
        name: "Key Vault Secrets Officer",
        permits: &["secrets/*"],
    },
    Definition {
        name: "Key Vault Secrets User",
        permits: &["secrets/getSecret/action", "secrets/readMetadata/action"],
    },
    Definition {
        name: "Storage Blob Data Owner",
        permits: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/*",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
    },
    Definition {
        name: "Storage Blob Data Contributor",
        permits: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
    },
    Definition {
        name: "Storage Blob Data Reader",
        permits: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
    },
    Definition {
        name: "Storage Blob Delegator",
        permits: &[
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
    },
];

impl Role {
    /// The roles of the identity that is there from the start.
    pub(super) fn administrators() -> Vec<Self> {
        let all = ["Key Vault Administrator", "Storage Blob Data Owner"];
        let roles = ROLES.iter().filter(|role| all.contains(&role.name));
        roles.map(Self).collect()
    }

    /// Every role's name.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROLES.iter().map(|role| role.name)
    }

    /// Whether it permits `action`.
    pub fn permits(self, action: DataAction) -> bool {
        self.0
            .permits
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(below) => action.path().starts_with(below),
                None => action.path() == *pattern,
            })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = ROLES.iter().find(|role| role.name.eq_ignore_ascii_case(s));
        found.map(Self).ok_or_else(|| {
            let names: Vec<_> = Self::names().collect();
            format!("{s:?} is no role: expected one of {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for Role {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataAction::*;

    #[test]
    fn no_role_permits_more_or_less_than_its_row() {
        let keys = [
            KeysRead,
            KeysCreate,
            KeysImport,
            KeysUpdate,
            KeysRotate,
            KeysDelete,
            KeysRecover,
            KeysPurge,
            KeysBackup,
            KeysRestore,
            KeysEncrypt,
            KeysDecrypt,
            KeysWrap,
            KeysUnwrap,
            KeysSign,
            KeysVerify,
            KeysRelease,
        ];
        let policies = [RotationPolicyRead, RotationPolicyWrite];
        let secrets = [
            SecretsReadMetadata,
            SecretsGet,
            SecretsSet,
            SecretsUpdate,
            SecretsDelete,
            SecretsRecover,
            SecretsPurge,
            SecretsBackup,
            SecretsRestore,
        ];
        let own = [RandomBytes, PositionsRead, PositionsWrite];
        let officer = [&keys[..], &policies, &own].concat();
        let administrator = [&officer[..], &secrets].concat();
        let contributor = [
            ContainersRead,
            ContainersWrite,
            ContainersDelete,
            BlobsRead,
            BlobsWrite,
            BlobsDelete,
            BlobsAdd,
            DelegationKey,
        ];
        let owner = [
            &contributor[..],
            &[
                ContainersGetAcl,
                ContainersSetAcl,
                BlobsFilter,
                BlobTagsRead,
                BlobTagsWrite,
            ],
        ]
        .concat();
        let rows: [(&str, &[DataAction]); 11] = [
            ("Key Vault Administrator", &administrator),
            (
                "Key Vault Reader",
                &[KeysRead, RotationPolicyRead, SecretsReadMetadata],
            ),
            ("Key Vault Crypto Officer", &officer),
            (
                "Key Vault Crypto User",
                &[
                    KeysRead,
                    KeysUpdate,
                    KeysBackup,
                    KeysEncrypt,
                    KeysDecrypt,
                    KeysWrap,
                    KeysUnwrap,
                    KeysSign,
                    KeysVerify,
                    RandomBytes,
                    PositionsRead,
                    PositionsWrite,
                ],
            ),
            (
                "Key Vault Crypto Service Encryption User",
                &[
                    KeysRead,
                    KeysWrap,
                    KeysUnwrap,
                    PositionsRead,
                    PositionsWrite,
                ],
            ),
            ("Key Vault Secrets Officer", &secrets),
            ("Key Vault Secrets User", &[SecretsReadMetadata, SecretsGet]),
            ("Storage Blob Data Owner", &owner),
            ("Storage Blob Data Contributor", &contributor),
            (
                "Storage Blob Data Reader",
                &[ContainersRead, BlobsRead, DelegationKey],
            ),
            ("Storage Blob Delegator", &[DelegationKey]),
        ];
        assert_eq!(
            rows.map(|(name, _)| name).as_slice(),
            Role::names().collect::<Vec<_>>()
        );
        for (name, permitted) in rows {
            let role: Role = name.parse().unwrap();
            for &action in DataAction::ALL {
                assert_eq!(
                    role.permits(action),
                    permitted.contains(&action),
                    "{name}: {action}"
                );
            }
        }
        assert!("Owner".parse::<Role>().is_err());
    }
}
