//! What a landscape consists of, as the store keeps it (docs/format.md, "Landscape").

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{KeyName, KeyVersion, ResourceId};
use crate::world::{BadAddress, Name, WhichVault};

use super::names::{
    BackupName, FinanceName, PersonName, PolicyName, PowerName, ProjectName, TenantName,
};
use super::products::ProductId;
use super::region::Region;
use super::state::{KeyState, Link, LockboxSwitch};

/// What is kept by its name.
pub trait Entity: Serialize + serde::de::DeserializeOwned {
    /// What the store calls its kind.
    const KIND: &'static str;
    /// What users call its kind.
    const WORD: &'static str;
    /// The command that lists them, without the program's name.
    const LISTED_BY: &'static str;
    /// Its name.
    fn key(&self) -> &str;
}

macro_rules! entities {
    ($($type:ident = $kind:literal, $word:literal, $listed_by:literal;)*) => {$(
        impl Entity for $type {
            const KIND: &'static str = $kind;
            const WORD: &'static str = $word;
            const LISTED_BY: &'static str = $listed_by;
            fn key(&self) -> &str {
                self.name.as_str()
            }
        }
    )*};
}

entities! {
    Tenant = "tenant", "tenant", "tenant list";
    Person = "person", "person", "tenant show TENANT";
    Project = "project", "LCS project", "project list";
    FinanceEnvironment = "finance", "finance and operations environment", "env list";
    PowerEnvironment = "power", "Power Platform environment", "env list";
    Policy = "policy", "enterprise policy", "policy list";
    VaultFacts = "vault", "vault", "vault list";
    Backup = "backup", "backup", "env backups";
}

/// A tenant: a customer of the provider's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Whether its subscription has registered the Power Platform resource provider.
    pub provider_registered: bool,
    /// Whether its Regulatory Configuration Service (RCS) holds anything.
    pub rcs: bool,
    /// Customer Lockbox.
    pub lockbox: LockboxSwitch,
}

/// What a person may do in a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Power Platform administrator: environments, and which policy each has.
    PowerAdmin,
    /// Administrator of the vault and of policies: keys, policies, grants.
    VaultAdmin,
    /// May approve requests of Customer Lockbox.
    LockboxApprover,
    /// An engineer of the provider's, who works in no tenant.
    ProviderEngineer,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name.
    pub name: PersonName,
    /// The tenant; none for an engineer of the provider's.
    pub tenant: Option<TenantName>,
    /// What the person may do.
    pub duties: BTreeSet<Duty>,
    /// Whether the person has a licence for the apps.
    pub licensed: bool,
}

/// A project of LCS. Its assets and metadata are resources of the provider's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Whose.
    pub tenant: TenantName,
    /// When it was made.
    pub created: Timestamp,
}

/// What kind a finance-and-operations environment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinanceKind {
    /// Production.
    Production,
    /// A sandbox.
    Sandbox,
    /// Cloud-hosted, in the customer's own subscription.
    CloudHosted,
    /// Human Resources Standalone, not migrated yet.
    HrStandalone,
}

/// A finance-and-operations environment. Its databases and its storage account are the resources of the
/// working directory's environment of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinanceEnvironment {
    /// Its name in LCS.
    pub name: FinanceName,
    /// Its project.
    pub project: ProjectName,
    /// What kind.
    pub kind: FinanceKind,
    /// Where.
    pub region: Region,
    /// Its link to a Power Platform environment.
    pub link: Link,
    /// The offers (apps) that run in it.
    pub offers: BTreeSet<ProductId>,
    /// The add-ins that are installed in it.
    pub add_ins: BTreeSet<ProductId>,
    /// Whether it was deleted with its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
}

/// What kind a Power Platform environment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerKind {
    /// Production.
    Production,
    /// A sandbox.
    Sandbox,
    /// A trial.
    Trial,
    /// Made by Teams.
    Teams,
}

/// A Power Platform environment with its Dataverse organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerEnvironment {
    /// The name of its Dataverse organisation.
    pub name: PowerName,
    /// Whose.
    pub tenant: TenantName,
    /// What kind.
    pub kind: PowerKind,
    /// Where.
    pub region: Region,
    /// Whether D365 apps are enabled in it; decided when it is made.
    pub d365_apps: bool,
    /// Whether it is a Managed Environment.
    pub managed: bool,
    /// Whether its users have the licence that a policy needs.
    pub licensed: bool,
    /// Free database capacity, in MiB.
    pub capacity_mib: u32,
    /// Services that run in it beside the apps: flows, connections.
    pub services: BTreeSet<ProductId>,
    /// Whose key it is under, and what happens to it.
    pub key: KeyState,
    /// The finance-and-operations environment that is linked to it.
    pub linked: Option<FinanceName>,
}

impl PowerEnvironment {
    /// The working directory's environment in which its database and its storage account are.
    pub fn place(&self) -> Name {
        power_place(&self.name).expect("the name was short enough when it was made")
    }
}

pub(super) const POWER_SUFFIX: &str = "-dataverse";

/// The working directory's environment in which the database and the storage account of a Power Platform
/// environment are.
///
/// # Errors
/// The name is too long.
pub fn power_place(name: &PowerName) -> Result<Name, BadAddress> {
    format!("{name}{POWER_SUFFIX}").parse()
}

/// What an identity may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Permission {
    /// Read its public part and its attributes.
    Get,
    /// Wrap.
    WrapKey,
    /// Unwrap.
    UnwrapKey,
}

impl Permission {
    /// What the role Key Vault Crypto Service Encryption User gives.
    pub const ALL: [Self; 3] = [Self::Get, Self::WrapKey, Self::UnwrapKey];

    /// As Azure writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
        }
    }
}

impl std::str::FromStr for Permission {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|p| p.name().eq_ignore_ascii_case(s));
        found.ok_or_else(|| format!("{s:?} is no permission: expected get, wrapKey or unwrapKey"))
    }
}

/// A version of a policy's key, as it was when the policy began to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownVersion {
    /// SHA-256 of its public key.
    pub thumbprint: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether a resource is under it.
    pub in_use: bool,
}

/// An enterprise policy of kind Encryption. The key is named without a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// Whose.
    pub tenant: TenantName,
    /// Its location.
    pub location: Region,
    /// The vault of its key.
    pub vault: WhichVaultText,
    /// Its key.
    pub key: KeyName,
    /// The object identifier of its system-assigned managed identity.
    pub identity: uuid::Uuid,
    /// What that identity may do with the key.
    pub grants: BTreeSet<Permission>,
    /// Who has the role Reader on it.
    pub readers: BTreeSet<PersonName>,
    /// Who made it.
    pub created_by: PersonName,
    /// The versions that its environments were ever under.
    pub versions: BTreeMap<String, KnownVersion>,
    /// The newest version that all of them are under by now.
    pub current: Option<KeyVersion>,
    /// Whether the last look found that the key could not be used.
    pub unhealthy_since: Option<Timestamp>,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
}

/// A vault's name, as text in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WhichVaultText(pub WhichVault);

impl TryFrom<String> for WhichVaultText {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse().map(Self).map_err(|e| format!("{e}"))
    }
}

impl From<WhichVaultText> for String {
    fn from(vault: WhichVaultText) -> Self {
        vault.0.to_string()
    }
}

/// What the management plane knows of a vault; the keys are in the vault itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultFacts {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub region: Option<Region>,
    /// Whether only its own network reaches it.
    pub network_closed: bool,
    /// Whether trusted services reach it in spite of that.
    pub trusted_services: bool,
    /// When it was deleted; its name is taken, and it can be recovered.
    pub deleted: Option<Timestamp>,
    /// When it was purged.
    pub purged: Option<Timestamp>,
}

/// A backup of the resources of an environment and of what is linked to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Its name; also that of its directory.
    pub name: BackupName,
    /// The environment that it was made of.
    pub power: PowerName,
    /// The finance-and-operations environment, when one was linked.
    pub finance: Option<FinanceName>,
    /// When it was made.
    pub taken: Timestamp,
    /// When it goes.
    pub expires: Timestamp,
    /// The resources in it.
    pub parts: Vec<BackupPart>,
}

/// A resource in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupPart {
    /// Its address when the backup was made.
    pub address: String,
    /// Its identity.
    pub id: ResourceId,
    /// The key version that it needs: VAULT/keys/NAME/VERSION.
    pub protector: String,
}
