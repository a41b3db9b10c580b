//! The format's part on tenants, their environments and policies, Customer Lockbox and coverage.
//! Over 400 lines because it is one part of the format, and mostly its documentation.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::world::landscape::{KeyState, Verdict};

use super::at::{Abridged, At, Several, Short};
use super::format::{Act, one};
use super::words::{
    Code, DutyWord, FinanceWord, Key, Label, PermissionWord, Place, PowerWord, Product,
    ProfileWord, Vault, Where,
};

/// Who is who: tenants, their environments and organisations, and the provider's engineers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Estate {
    /// Whose rules and statements hold: `seed-2022-12` (when nothing is said) or `docs-2026-03`.
    #[serde(default)]
    pub profile: Option<ProfileWord>,
    /// Tenants, by name. Each has three people: NAME-admin (Power Platform), NAME-vault-admin (vaults and policies) and
    /// NAME-approver (Customer Lockbox), who do what the steps say unless these name somebody else.
    pub tenants: BTreeMap<Label, At<Tenant>>,
    /// More people of the tenants', by name.
    #[serde(default)]
    pub people: BTreeMap<Label, At<Person>>,
    /// Engineers of the provider's.
    #[serde(default)]
    pub engineers: Vec<At<Label>>,
}

/// A tenant: a customer of the provider's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tenant {
    /// Its project in Lifecycle Services. What that keeps is in lcs-PROJECT/sql/metadata and lcs-PROJECT/storage/assets.
    pub project: At<Label>,
    /// Finance-and-operations environments, by name. What the world's environment of that name holds is taken over;
    /// it must be `protection: service`, and have no twins.
    #[serde(default)]
    pub finance: BTreeMap<Label, At<Finance>>,
    /// Power Platform environments, by the name of their Dataverse organisation. What one holds is in
    /// NAME-dataverse/sql/dataverse and NAME-dataverse/storage/files.
    #[serde(default)]
    pub power: BTreeMap<Label, At<Power>>,
}

/// Somebody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Person {
    /// Of which tenant.
    pub tenant: At<Label>,
    /// What they may do.
    pub duties: Vec<DutyWord>,
    /// Whether they have a licence for the apps. No when nothing is said.
    #[serde(default)]
    pub licensed: bool,
}

/// A finance-and-operations environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Finance {
    /// What kind. `production` when nothing is said.
    #[serde(default)]
    pub kind: Option<FinanceWord>,
    /// Where. `westeurope` when nothing is said.
    #[serde(default)]
    pub region: Option<Where>,
    /// Its databases. Those that the world's environment has when nothing is said, or `axdb`.
    #[serde(default)]
    pub databases: Vec<At<Label>>,
    /// Its storage account. That of the world's environment when nothing is said, or `documents`.
    #[serde(default)]
    pub storage: Option<At<Label>>,
    /// Offers that are installed.
    #[serde(default)]
    pub offers: Vec<At<Product>>,
    /// Add-ins that are installed. What those of RCS keep is in rcs-TENANT/sql/configurations.
    #[serde(default)]
    pub add_ins: Vec<At<Product>>,
}

/// A Power Platform environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Power {
    /// What kind. `production` when nothing is said.
    #[serde(default)]
    pub kind: Option<PowerWord>,
    /// Where. `westeurope` when nothing is said.
    #[serde(default)]
    pub region: Option<Where>,
    /// Whether D365 apps are enabled. Yes when nothing is said.
    #[serde(default)]
    pub d365_apps: Option<bool>,
    /// Whether it is a Managed Environment. Yes when nothing is said.
    #[serde(default)]
    pub managed: Option<bool>,
    /// Whether its users are licensed. Yes when nothing is said.
    #[serde(default)]
    pub licensed: Option<bool>,
    /// Free database capacity, in MiB. 4096 when nothing is said.
    #[serde(default)]
    pub capacity_mib: Option<u32>,
    /// Services that run in it: `flows`, `connections`, ... (docs-2026-03).
    #[serde(default)]
    pub services: Vec<At<Product>>,
}

/// Arguments of `link`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LinkThem {
    /// The finance-and-operations environment.
    pub finance: At<Label>,
    /// The Power Platform environment.
    pub power: At<Label>,
    /// Who does it. The tenant's NAME-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

/// Arguments of `install`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Install {
    /// The finance-and-operations environment.
    pub environment: At<Label>,
    /// Offers.
    #[serde(default)]
    pub offers: Vec<At<Product>>,
    /// Add-ins.
    #[serde(default)]
    pub add_ins: Vec<At<Product>>,
}

/// Arguments of `create-policy`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CreatePolicy {
    /// Its name.
    pub policy: At<Label>,
    /// Whose.
    pub tenant: At<Label>,
    /// Its location: a geography. `europe` when nothing is said.
    #[serde(default)]
    pub location: Option<Where>,
    /// Its key.
    pub key: At<Key>,
    /// Who does it. The tenant's NAME-vault-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

/// A policy, and what is done to its identity.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Granting {
    /// The policy.
    pub policy: At<Label>,
    /// Which permissions: `get`, `wrapKey`, `unwrapKey`. All three when nothing is said.
    #[serde(default)]
    pub permissions: Vec<PermissionWord>,
    /// Who does it. The tenant's NAME-vault-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

impl Abridged for Granting {
    type Word = Label;
    fn of(mut policies: Vec<At<Label>>) -> Self {
        Self {
            policy: policies.pop().expect("one word, for no list is taken"),
            permissions: Vec::new(),
            by: None,
        }
    }
}

/// Arguments of `share-policy`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SharePolicy {
    /// The policy.
    pub policy: At<Label>,
    /// With whom.
    pub with: At<Label>,
}

/// Arguments of `apply`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apply {
    /// The policy.
    pub policy: At<Label>,
    /// Power Platform environments, by the names of their Dataverse organisations.
    pub to: Several<Label>,
    /// Who does it. The tenant's NAME-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

/// A Power Platform environment, and who does something to it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OfPower {
    /// The environment.
    pub environment: At<Label>,
    /// Who does it. The tenant's NAME-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

impl Abridged for OfPower {
    type Word = Label;
    fn of(mut names: Vec<At<Label>>) -> Self {
        Self {
            environment: names.pop().expect("one word, for no list is taken"),
            by: None,
        }
    }
}

/// Arguments of `back-up-environment`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackUpEnvironment {
    /// The Power Platform environment.
    pub environment: At<Label>,
    /// The name of the backup.
    #[serde(rename = "as")]
    pub name: At<Label>,
}

/// Arguments of `restore-environment`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestoreEnvironment {
    /// The backup.
    pub backup: At<Label>,
    /// The Power Platform environment.
    pub into: At<Label>,
    /// Who does it. NAME-admin of that environment's tenant when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

/// Arguments of `copy-environment`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CopyEnvironment {
    /// From this Power Platform environment.
    pub from: At<Label>,
    /// Over this one.
    pub into: At<Label>,
    /// Who does it. The tenant's NAME-admin when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

/// Arguments of `set-vault`; what is not said stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetVault {
    /// The vault.
    pub vault: At<Vault>,
    /// Where it is.
    #[serde(default)]
    pub region: Option<Where>,
    /// Whether only its own network reaches it.
    #[serde(default)]
    pub network_closed: Option<bool>,
    /// Whether trusted services reach it in spite of that.
    #[serde(default)]
    pub trusted_services: Option<bool>,
}

/// Arguments of `switch-lockbox`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SwitchLockbox {
    /// The tenant.
    pub tenant: At<Label>,
    /// On (it takes a day), or off.
    pub on: bool,
}

/// Arguments of `request-access`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RequestAccess {
    /// The name by which the steps speak of it.
    #[serde(rename = "as")]
    pub name: At<Label>,
    /// Who wants it.
    pub engineer: At<Label>,
    /// Who approved it on the provider's side.
    pub internal_approver: At<Label>,
    /// To which Power Platform environment, and what is linked to it.
    pub environment: At<Label>,
    /// To which resources of it. All when nothing is said.
    #[serde(default)]
    pub scope: Option<Several<Place>>,
    /// Why.
    pub reason: String,
    /// For how many hours, 1 to 8. 8 when nothing is said.
    #[serde(default)]
    pub hours: Option<At<u8>>,
}

/// A request of Customer Lockbox, and who decides it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Decide {
    /// The request.
    pub request: At<Label>,
    /// Who decides. The tenant's NAME-approver when nothing is said.
    #[serde(default)]
    pub by: Option<At<Label>>,
}

impl Abridged for Decide {
    type Word = Label;
    fn of(mut requests: Vec<At<Label>>) -> Self {
        Self {
            request: requests.pop().expect("one word, for no list is taken"),
            by: None,
        }
    }
}

/// Arguments of `read-as`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReadAs {
    /// The engineer.
    pub engineer: At<Label>,
    /// What is read, all of it.
    pub what: At<Place>,
}

/// Arguments of `warned`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Warned {
    /// What is done.
    pub act: Box<At<Act>>,
    /// The code of the warning: `W_VERSION_IN_USE`, ...
    pub code: Code,
}

/// Arguments of `coverage`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Covered {
    /// The environment, by its finance-and-operations or its Dataverse name.
    pub environment: At<Label>,
    /// What it is in all: `covered` only when every row is.
    pub verdict: Verdict,
    /// What single rows are, by what they are about, as `atrest coverage` prints it.
    #[serde(default)]
    pub rows: BTreeMap<String, Verdict>,
    /// Rows with a promise whose date has passed.
    #[serde(default)]
    pub stale: Vec<String>,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

/// Arguments of `state`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InState {
    /// The Power Platform environment.
    pub environment: At<Label>,
    /// What it must be.
    pub is: State,
}

/// Whose key an environment is under, as the admin centre says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Under the service-managed key.
    MicrosoftManaged,
    /// Going under the policy's key.
    Encrypting,
    /// Under the policy's key.
    Encrypted,
    /// The same, but for a service of it.
    Warning,
    /// Some of it is not under the policy's key.
    Failed,
    /// Going back under the service-managed key.
    Reverting,
    /// The key cannot be used, or it was not enabled again since.
    Locked,
    /// It was locked for too long.
    Deleted,
}

impl From<&KeyState> for State {
    fn from(state: &KeyState) -> Self {
        match state {
            KeyState::Mmk => Self::MicrosoftManaged,
            KeyState::Applying { .. } => Self::Encrypting,
            KeyState::Cmk { .. } => Self::Encrypted,
            KeyState::Warning { .. } => Self::Warning,
            KeyState::Partial { .. } => Self::Failed,
            KeyState::Reverting { .. } => Self::Reverting,
            KeyState::Locked { .. } => Self::Locked,
            KeyState::Deleted { .. } => Self::Deleted,
        }
    }
}

/// Arguments of `recorded`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recorded {
    /// What was done, as `atrest lockbox audit` names it, or how that begins: `LockboxRequestCreated`, `CMK-Renewed`, ...
    pub operation: String,
    /// Who did it; anybody when nothing is said.
    #[serde(default)]
    pub actor: Option<At<Label>>,
    /// The code of the refusal; only what was done counts when nothing is said.
    #[serde(default)]
    pub refused: Option<Code>,
    /// How often, at least. 1 when nothing is said.
    #[serde(default = "one")]
    pub at_least: u64,
}

/// What is granted to a policy's identity, or taken from it.
pub type Grant = Short<Granting>;
