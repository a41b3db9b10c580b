//! The format of a scenario file. What is said here of each field is what its JSON Schema says.
//! Over 400 lines because it is one format, and mostly its documentation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::at::{Abridged, At, Several, Short};
use super::format_landscape::{
    Apply, BackUpEnvironment, CopyEnvironment, Covered, CreatePolicy, Decide, Estate, Grant,
    InState, Install, LinkThem, OfPower, ReadAs, Recorded, RequestAccess, RestoreEnvironment,
    SetVault, SharePolicy, SwitchLockbox, Warned,
};
use super::words::{Bound, Code, Key, Kind, Label, Length, Moment, Operation, Place, Vault};

/// A scenario: a world, and what happens in it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// What it shows, in one line: the report's heading.
    pub scenario: String,
    /// More about it, for its readers.
    #[serde(default)]
    pub about: Option<String>,
    /// Made-up data and the lab's random choices come from this; keys never do. 1 when nothing is said.
    #[serde(default = "one")]
    pub seed: u64,
    /// What the clock says at the beginning: 2026-03-01T00:00:00Z when nothing is said. It stands still but for
    /// `advance`.
    #[serde(default)]
    pub clock: Option<Moment>,
    /// The customer's working directory.
    pub world: World,
    /// Other customers, each with a vault, a key and environments of their own: what a copy of the
    /// world's data is worth there.
    #[serde(default)]
    pub strangers: BTreeMap<Label, At<Stranger>>,
    /// The landscape over the world's environments: tenants, projects, policies, Customer Lockbox.
    #[serde(default)]
    pub landscape: Option<At<Estate>>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

pub(super) fn one() -> u64 {
    1
}

/// A working directory: vaults, environments, and what is in them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct World {
    /// The customer's vault.
    #[serde(default)]
    pub vault: NewVault,
    /// Further vaults of the customer's, by name.
    #[serde(default)]
    pub vaults: BTreeMap<Label, At<NewVault>>,
    /// The key that protects a resource of which nothing is said; by default the only one of the customer's vault.
    #[serde(default)]
    pub default_key: Option<At<Key>>,
    /// Environments, by name.
    pub environments: BTreeMap<Label, At<Environment>>,
    /// The environment that is meant where an address names none; to be said where there are several.
    #[serde(default)]
    pub home: Option<At<Label>>,
}

/// A vault that is made at the beginning.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NewVault {
    /// How long a deleted key can be recovered, in days: 7 to 90. 90 when nothing is said.
    #[serde(default)]
    pub retention_days: Option<At<u8>>,
    /// Whether a deleted key cannot be purged before its time. No when nothing is said.
    #[serde(default)]
    pub purge_protection: bool,
    /// Its keys, by name, and their kinds.
    #[serde(default)]
    pub keys: BTreeMap<String, At<Kind>>,
}

/// An environment: databases and storage accounts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Environment {
    /// SQL databases, by name.
    #[serde(default)]
    pub sql: BTreeMap<Label, At<Resource>>,
    /// Storage accounts, by name.
    #[serde(default)]
    pub storage: BTreeMap<Label, At<Resource>>,
}

/// A database or a storage account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Resource {
    /// The customer's key that protects it.
    #[serde(default)]
    pub key: Option<At<Key>>,
    /// How it is protected. By the customer's key when nothing is said.
    #[serde(default)]
    pub protection: Managed,
    /// Whether an unprotected twin with the same data is made, NAME-twin: the positive control of attacks.
    #[serde(default)]
    pub twin: bool,
    /// What is in it.
    #[serde(default)]
    pub data: Data,
}

/// Who manages the key that protects a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Managed {
    /// The customer.
    #[default]
    Customer,
    /// The provider.
    Service,
    /// Nobody: it is not protected.
    Plain,
}

/// Data: made up, the user's own, or written here. The parts are put in in this order.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// Made-up data of a trading company: so many rows in a database (at least 200), or the documents that go with
    /// so many rows in a storage account.
    #[serde(default)]
    pub sample: Option<At<u64>>,
    /// A SQLite database of the user's, for a database; it is only read.
    #[serde(default)]
    pub database: Option<At<PathBuf>>,
    /// A folder of the user's, for a storage account; it is only read.
    #[serde(default)]
    pub folder: Option<At<PathBuf>>,
    /// Statements in SQL, for a database.
    #[serde(default)]
    pub sql: Option<At<String>>,
    /// Blobs with these texts, by name, for a storage account.
    #[serde(default)]
    pub blobs: BTreeMap<String, At<String>>,
}

/// Another customer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stranger {
    /// Their environments; copies of the world's data can be restored into them, or into new ones.
    #[serde(default)]
    pub environments: BTreeMap<Label, At<Environment>>,
}

/// A step of the story.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// Its heading.
    pub step: String,
    /// What is done and expected, in order. What is done must succeed (else the story ends there, and the rest
    /// was not tried); an expectation that is not met is told, and the story goes on.
    #[serde(rename = "do")]
    pub acts: Vec<At<Act>>,
}

/// Something that is done, or expected.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Make a key, or a new version of it.
    CreateKey(CreateKey),
    /// Make a new version of a key. What was wrapped by the version before stays so until `rewrap`.
    Rotate(At<Key>),
    /// Wrap the data keys of resources anew, with the newest version of their key. No data is rewritten.
    Rewrap(Several<Place>),
    /// Disable a key, or one of its versions.
    Disable(Short<VersionOf>),
    /// Enable a key again, or one of its versions.
    Enable(Short<VersionOf>),
    /// Delete a key with all its versions; it can be recovered for as long as the vault retains it.
    Delete(At<Key>),
    /// Bring a deleted key back.
    Recover(At<Key>),
    /// Destroy a deleted key.
    Purge(At<Key>),
    /// Make a sealed backup of a key, kept outside the vault.
    BackUpKey(BackUpKey),
    /// Bring a key back from its backup.
    RestoreKey(At<Label>),
    /// Protect what is deleted in a vault against purge. There is no way back.
    ProtectFromPurge(At<Vault>),
    /// Make a database or a storage account.
    Create(Create),
    /// Write into a database or a storage account.
    Write(Write),
    /// Put resources under a key of the customer's.
    Protect(Protect),
    /// Take resources away from the customer's key, to the provider's.
    Unprotect(Several<Place>),
    /// Give a database a new data key: every page is sealed anew.
    Rekey(At<Place>),
    /// Copy what a thief of the disks gets: everything but the vaults.
    Steal(At<Label>),
    /// Make the owner's copy of the same.
    BackUp(At<Label>),
    /// Bring a copy back into an environment, which is made when it is missing.
    Restore(Restore),
    /// Move the clock on; in a landscape, what is due on the way takes effect.
    Advance(At<Length>),
    /// Integrate a finance-and-operations environment with a Power Platform environment. It takes an hour.
    Link(LinkThem),
    /// Install offers and add-ins in a finance-and-operations environment.
    Install(Install),
    /// Migrate Human Resources Standalone to a finance-and-operations environment.
    Migrate(At<Label>),
    /// Make an enterprise policy with a key of the customer's.
    CreatePolicy(CreatePolicy),
    /// Grant a policy's identity the use of its key.
    Grant(Grant),
    /// Revoke what a policy's identity was granted: all of its environments are locked.
    Revoke(Grant),
    /// Give somebody the role Reader on a policy, without which nobody adds an environment to it.
    SharePolicy(SharePolicy),
    /// Delete a policy: all of its environments are locked.
    DeletePolicy(At<Label>),
    /// Bring a deleted policy back.
    RestorePolicy(At<Label>),
    /// Apply a policy: every resource of these environments goes under its key.
    Apply(Apply),
    /// Take an environment from its policy: back under the service-managed key.
    RemoveFromPolicy(Short<OfPower>),
    /// Enable a locked environment again, once its key can be used.
    EnableEnvironment(Short<OfPower>),
    /// Back an environment up, with what is linked to it.
    BackUpEnvironment(BackUpEnvironment),
    /// Restore the backup of an environment.
    RestoreEnvironment(RestoreEnvironment),
    /// Copy an environment over another one.
    CopyEnvironment(CopyEnvironment),
    /// Delete an environment's data and backups.
    ResetEnvironment(Short<OfPower>),
    /// Say where a vault is, and who reaches it.
    SetVault(SetVault),
    /// Delete a vault softly: all environments of its policies are locked.
    DeleteVault(At<Vault>),
    /// Recover a deleted vault; its grants do not come back.
    RecoverVault(At<Vault>),
    /// Purge a deleted vault.
    PurgeVault(At<Vault>),
    /// Switch Customer Lockbox on, which takes a day, or off.
    SwitchLockbox(SwitchLockbox),
    /// Request access for an engineer of the provider's. It gives none before the customer approves it.
    RequestAccess(RequestAccess),
    /// Approve a request.
    Approve(Short<Decide>),
    /// Deny a request.
    Deny(Short<Decide>),
    /// Try to revoke an approved request: it ends by itself only.
    RevokeAccess(Short<Decide>),
    /// Read everything in a resource as an engineer of the provider's.
    ReadAs(ReadAs),
    /// Run attacks of the lab on copies, each on the protected resource and on its twin; `atrest prove --list`
    /// lists them. Of a landscape's resource the twin is made when it is copied.
    Attack(Attack),
    /// Read and write from several threads while something else is done.
    Load(Load),
    /// Expect that resources open and hold exactly what was written into them.
    Readable(Short<Readable>),
    /// Expect that resources cannot be read. Proves something only of what could be read at that place before, or
    /// has a twin there that can.
    Unreadable(Short<Unreadable>),
    /// Expect that something is refused, with this code.
    Refused(Refused),
    /// Expect what a query gives.
    Query(Query),
    /// Expect that since a copy was made a resource's keys were rewrapped, and not a byte of its data.
    OnlyKeysChanged(OnlyKeysChanged),
    /// Expect that to every detector a resource's bytes in a copy are noise, and those of its twin are not.
    Noise(InCopy),
    /// Expect records in a vault's audit log, whose chain must be whole.
    Audited(Audited),
    /// Declare what protection does not do, and expect to see it.
    NotProtected(NotProtected),
    /// Do something, and expect to be warned with this code.
    Warned(Warned),
    /// Expect what is under the customer's key in an environment, and what is not.
    Coverage(Covered),
    /// Expect the state of a Power Platform environment.
    State(InState),
    /// Expect audit records of the landscape's: of environments, policies and Customer Lockbox.
    Recorded(Recorded),
}

/// Arguments of `create-key`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CreateKey {
    /// The key.
    pub key: At<Key>,
    /// Its kind.
    pub kind: Kind,
}

/// A key, or one version of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VersionOf {
    /// The key.
    pub key: At<Key>,
    /// Which version, 1 for the oldest; the newest when nothing is said.
    #[serde(default)]
    pub version: Option<At<u32>>,
}

impl Abridged for VersionOf {
    type Word = Key;
    fn of(mut keys: Vec<At<Key>>) -> Self {
        let key = keys.pop().expect("one word, for no list is taken");
        Self { key, version: None }
    }
}

/// Arguments of `back-up-key`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BackUpKey {
    /// The key.
    pub key: At<Key>,
    /// The name of the backup.
    #[serde(rename = "as")]
    pub name: At<Label>,
}

/// Arguments of `create`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Create {
    /// The resource.
    pub what: At<Place>,
    /// What it is to be.
    #[serde(default, rename = "with")]
    pub resource: Resource,
}

/// Arguments of `write`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Write {
    /// The resource.
    pub to: At<Place>,
    /// Statements in SQL, for a database.
    #[serde(default)]
    pub sql: Option<At<String>>,
    /// Blobs with these texts, by name, for a storage account.
    #[serde(default)]
    pub blobs: BTreeMap<String, At<String>>,
}

/// Arguments of `protect`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Protect {
    /// The resources.
    pub what: Several<Place>,
    /// The key.
    pub key: At<Key>,
}

/// Arguments of `restore`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Restore {
    /// The copy.
    pub copy: At<Label>,
    /// The environment.
    pub into: At<Label>,
    /// At which stranger's; in the customer's own world when nothing is said.
    #[serde(default)]
    pub at: Option<At<Label>>,
}

/// Arguments of `attack`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Attack {
    /// The copy.
    pub copy: At<Label>,
    /// Numbers of attacks.
    pub numbers: Vec<At<u8>>,
    /// On which resources; when nothing is said on all of the copy that have a twin, or else on all of the landscape's.
    #[serde(default)]
    pub on: Option<Several<Place>>,
    /// What every attack must come to: `holds`, or what is declared not to be protected as well (`acceptable`, when
    /// nothing is said).
    #[serde(default)]
    pub verdict: AttackVerdict,
}

/// What an attack must come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttackVerdict {
    /// It fails, or is declared in advance as something that is not protected against.
    #[default]
    Acceptable,
    /// It fails.
    Holds,
    /// It succeeds.
    Fails,
}

/// Arguments of `load`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// The resources.
    pub on: Several<Place>,
    /// Threads that read, for each resource. 2 when nothing is said.
    #[serde(default)]
    pub readers: Option<At<u8>>,
    /// Threads that write, for each resource. 1 when nothing is said.
    #[serde(default)]
    pub writers: Option<At<u8>>,
    /// What is done meanwhile, once every thread has done its work several times.
    pub during: Vec<At<Act>>,
    /// What becomes of the threads then.
    pub then: Then,
    /// After how long at most: whatever is begun later must go as `then` says. `0 s` when nothing is said: from the
    /// moment at which the last of `during` is answered.
    #[serde(default)]
    pub within: Option<Bound>,
}

/// What becomes of threads that read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Every read and write is refused.
    Stopped,
    /// Every read and write goes on.
    GoesOn,
}

/// Arguments of `readable`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Readable {
    /// The resources.
    pub what: Several<Place>,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

impl Abridged for Readable {
    type Word = Place;
    const LISTS: bool = true;
    fn of(what: Vec<At<Place>>) -> Self {
        Self {
            what: Several(what),
            claim: None,
        }
    }
}

/// Arguments of `unreadable`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unreadable {
    /// The resources.
    pub what: Several<Place>,
    /// The code with which reading them is refused; any when nothing is said.
    #[serde(default)]
    pub code: Option<Code>,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

impl Abridged for Unreadable {
    type Word = Place;
    const LISTS: bool = true;
    fn of(what: Vec<At<Place>>) -> Self {
        Self {
            what: Several(what),
            code: None,
            claim: None,
        }
    }
}

/// Arguments of `refused`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Refused {
    /// What is tried.
    pub act: Box<At<Act>>,
    /// The code of the refusal.
    pub code: Code,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

/// Arguments of `query`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Query {
    /// The database.
    pub from: At<Place>,
    /// One SELECT.
    pub sql: At<String>,
    /// The rows that it must give; texts, numbers and nulls are compared as SQLite gives them.
    pub rows: Vec<Vec<Cell>>,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Cell {
    /// NULL.
    Null(()),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
}

/// Arguments of `only-keys-changed`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OnlyKeysChanged {
    /// The resources.
    pub what: Several<Place>,
    /// The copy.
    pub since: At<Label>,
    /// What that shows, in a sentence for the report.
    #[serde(default)]
    pub claim: Option<String>,
}

/// Arguments of `noise`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InCopy {
    /// The copy.
    pub copy: At<Label>,
    /// The resources, each with a twin.
    pub what: Several<Place>,
}

/// Arguments of `audited`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Audited {
    /// The vault; the customer's when nothing is said.
    #[serde(default)]
    pub vault: Option<At<Vault>>,
    /// What was asked of it.
    pub operation: Operation,
    /// Of which key; of any when nothing is said.
    #[serde(default)]
    pub key: Option<At<Key>>,
    /// The code of the refusal; only what was done counts when nothing is said.
    #[serde(default)]
    pub refused: Option<Code>,
    /// How often, at least. 1 when nothing is said.
    #[serde(default = "one")]
    pub at_least: u64,
}

/// Arguments of `not-protected`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotProtected {
    /// What somebody might think, and is not so.
    pub claim: String,
    /// The resources that are readable in spite of it.
    pub readable: Several<Place>,
    /// Why, and what does it instead.
    pub because: String,
}
