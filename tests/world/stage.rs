//! A landscape to act in: a tenant, a project, an environment with its Dataverse organisation, a policy.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use atrest::base::{KeyVersion, ManualClock};
use atrest::crypto::KeyKind;
use atrest::resource::ProtectedResource;
use atrest::resource::blob::{BlobName, BlobPath};
use atrest::vault::{KeyUpdate, KeyVault, LocalVault, VaultSettings};
use atrest::world::landscape::{
    Duty, FinanceName, KeyState, Landscape, NewFinance, NewPolicy, Permission, PersonName,
    PolicyName, PowerEnvironment, PowerName, Profile, Refusal, Region, Rule, Start, WorldClock,
};
use atrest::world::{
    AskPassphrase, InitOptions, ResourceAddress, Step, WhichVault, Workspace, WorldError,
};
use jiff::{SignedDuration, Timestamp};

use crate::scratch::Scratch;

pub const KEY: &str = "finance-key";
pub const MARKER: &str = "the-ledger-of-contoso";

/// When every stage begins.
pub fn began() -> Timestamp {
    "2026-03-15T12:00:00Z".parse().unwrap()
}

pub fn quiet(_: Step) {}

pub struct Stage {
    pub workspace: Workspace,
    dir: Scratch,
}

pub fn open(dir: &Path) -> Workspace {
    let ask: AskPassphrase = Arc::new(|_| Err("there is nobody to ask".into()));
    Workspace::open(dir, ask, Arc::new(WorldClock::of(dir))).unwrap()
}

impl Stage {
    /// Vaults with purge protection and a key; no landscape yet.
    pub fn bare(kind: KeyKind, purge_protection: bool) -> Self {
        Self::bare_with(kind, purge_protection, 90)
    }

    fn bare_with(kind: KeyKind, purge_protection: bool, retention_days: u8) -> Self {
        let dir = Scratch::new();
        let options = InitOptions {
            environment: "aside".parse().unwrap(),
            customer_key: Some((KEY.parse().unwrap(), kind)),
            passphrase: None,
            vault: VaultSettings {
                retention_days,
                purge_protection,
            },
        };
        let clock = Arc::new(ManualClock::new(began()));
        drop(Workspace::init(dir.path(), options, clock).unwrap());
        let workspace = open(dir.path());
        Self { workspace, dir }
    }

    /// With a tenant `contoso`, a project `erp`, the environments `prod` and `org-prod`, not linked, and the
    /// policy `cmk`, granted and shared.
    pub fn with(profile: Profile) -> Self {
        Self::over(Self::bare(KeyKind::Rsa2048, true), profile)
    }

    fn over(stage: Self, profile: Profile) -> Self {
        let landscape = Landscape::create(&stage.workspace, profile, Start::At(began())).unwrap();
        landscape
            .create_tenant(&"contoso".parse().unwrap())
            .unwrap();
        landscape
            .create_project(&"erp".parse().unwrap(), &"contoso".parse().unwrap())
            .unwrap();
        let region: Region = "westeurope".parse().unwrap();
        stage.finance("prod", region.clone());
        landscape
            .create_power(
                &[PowerEnvironment::usual(
                    "org-prod".parse().unwrap(),
                    "contoso".parse().unwrap(),
                    region,
                )],
                &quiet,
            )
            .unwrap();
        stage.policy("cmk", KEY).unwrap();
        stage.grant("cmk");
        stage
    }

    /// The same, linked and filled.
    pub fn linked() -> Self {
        Self::with(Profile::Seed2022).and_linked()
    }

    fn and_linked(self) -> Self {
        let stage = self;
        stage.link("prod", "org-prod").unwrap();
        stage.hours(1);
        for address in stage.environment() {
            stage.fill(&address);
        }
        stage
    }

    /// The same, under the policy.
    pub fn protected() -> Self {
        Self::linked().and_protected()
    }

    /// The same, in a vault that keeps a deleted key for a week.
    pub fn protected_for_a_week() -> Self {
        let bare = Self::bare_with(KeyKind::Rsa2048, true, 7);
        Self::over(bare, Profile::Seed2022)
            .and_linked()
            .and_protected()
    }

    fn and_protected(self) -> Self {
        let stage = self;
        let told = stage.apply("cmk", &["org-prod"]).unwrap();
        assert_eq!(told.failed, [""; 0]);
        assert_eq!(told.resources, 4);
        stage
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn landscape(&self) -> Landscape<'_> {
        Landscape::open(&self.workspace).unwrap()
    }

    pub fn finance(&self, name: &str, region: Region) {
        let new = NewFinance::usual(name.parse().unwrap(), "erp".parse().unwrap(), region);
        self.landscape().create_finance(&[new], &quiet).unwrap();
    }

    pub fn power(&self, name: &str, change: impl FnOnce(&mut PowerEnvironment)) {
        let region = "westeurope".parse().unwrap();
        let mut new =
            PowerEnvironment::usual(name.parse().unwrap(), "contoso".parse().unwrap(), region);
        change(&mut new);
        self.landscape().create_power(&[new], &quiet).unwrap();
    }

    pub fn policy(&self, name: &str, key: &str) -> Result<(), WorldError> {
        let new = NewPolicy {
            name: name.parse().unwrap(),
            tenant: "contoso".parse().unwrap(),
            location: "europe".parse().unwrap(),
            vault: WhichVault::Customer,
            key: key.parse().unwrap(),
        };
        self.landscape()
            .create_policy(&new, &vault_admin())
            .map(drop)
    }

    pub fn grant(&self, policy: &str) {
        let policy: PolicyName = policy.parse().unwrap();
        let landscape = self.landscape();
        landscape
            .grant(&policy, &Permission::ALL, &vault_admin())
            .unwrap();
        landscape
            .share_policy(&policy, &admin(), &vault_admin())
            .unwrap();
    }

    pub fn link(&self, finance: &str, power: &str) -> Result<(), WorldError> {
        let (finance, power) = (finance.parse().unwrap(), power.parse().unwrap());
        self.landscape().link(&finance, &power, &admin()).map(drop)
    }

    pub fn apply(
        &self,
        policy: &str,
        environments: &[&str],
    ) -> Result<atrest::world::landscape::Applied, WorldError> {
        self.apply_as(policy, environments, &admin())
            .map(|told| told.0)
    }

    /// With the warnings.
    pub fn apply_as(
        &self,
        policy: &str,
        environments: &[&str],
        by: &PersonName,
    ) -> Result<(atrest::world::landscape::Applied, Vec<Refusal>), WorldError> {
        let names: Vec<PowerName> = environments.iter().map(|e| e.parse().unwrap()).collect();
        let told = self
            .landscape()
            .apply(&policy.parse().unwrap(), &names, by, &quiet)?;
        Ok((told.value, told.warnings))
    }

    pub fn hours(&self, hours: i64) -> atrest::world::landscape::Advanced {
        self.landscape()
            .advance(SignedDuration::from_hours(hours))
            .unwrap()
    }

    pub fn days(&self, days: i64) -> atrest::world::landscape::Advanced {
        self.hours(24 * days)
    }

    pub fn state(&self, power: &str) -> KeyState {
        self.landscape().get::<PowerEnvironment>(power).unwrap().key
    }

    /// The resources of the environment and of what is linked to it.
    pub fn environment(&self) -> Vec<ResourceAddress> {
        let landscape = self.landscape();
        landscape.resources_of(&landscape.get("org-prod").unwrap())
    }

    pub fn person(
        &self,
        name: &str,
        tenant: Option<&str>,
        duties: &[Duty],
        licensed: bool,
    ) -> PersonName {
        let name: PersonName = name.parse().unwrap();
        let tenant = tenant.map(|tenant| tenant.parse().unwrap());
        let duties: BTreeSet<_> = duties.iter().copied().collect();
        self.landscape()
            .set_person(&name, tenant.as_ref(), &duties, licensed)
            .unwrap();
        name
    }

    pub fn vault(&self) -> LocalVault {
        self.workspace.vault(&WhichVault::Customer).unwrap()
    }

    pub fn set_enabled(&self, version: Option<KeyVersion>, enabled: bool) {
        let update = KeyUpdate {
            enabled: Some(enabled),
            ..KeyUpdate::default()
        };
        self.vault()
            .update_key(&KEY.parse().unwrap(), version, &update)
            .unwrap();
        self.landscape().catch_up().unwrap();
    }

    /// Puts something into a resource.
    pub fn fill(&self, address: &ResourceAddress) {
        fill(&self.workspace, address);
    }

    /// What was put there, when it can be read.
    pub fn read(&self, address: &ResourceAddress) -> Result<String, WorldError> {
        read(&self.workspace, address)
    }

    pub fn reads(&self, address: &str) -> bool {
        self.read(&address.parse().unwrap())
            .is_ok_and(|text| text == MARKER)
    }
}

pub fn fill(workspace: &Workspace, address: &ResourceAddress) {
    if address.kind == atrest::world::Kind::Sql {
        let database = workspace.open_sql(address).unwrap();
        let conn = database.connect().unwrap();
        let sql =
            format!("CREATE TABLE IF NOT EXISTS t(x TEXT); INSERT INTO t VALUES ('{MARKER}')");
        conn.execute_batch(&sql).unwrap();
    } else {
        let account = workspace.open_storage(address).unwrap();
        account
            .put(&blob(), &mut MARKER.as_bytes(), &mut |_| ())
            .unwrap();
    }
}

/// Puts another text in the place of what was there.
pub fn rewrite(workspace: &Workspace, address: &ResourceAddress, text: &str) {
    if address.kind == atrest::world::Kind::Sql {
        let database = workspace.open_sql(address).unwrap();
        let conn = database.connect().unwrap();
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS t(x TEXT); DELETE FROM t; INSERT INTO t VALUES ('{text}')"
        );
        conn.execute_batch(&sql).unwrap();
    } else {
        let account = workspace.open_storage(address).unwrap();
        account
            .put(&blob(), &mut text.as_bytes(), &mut |_| ())
            .unwrap();
    }
}

pub fn read(workspace: &Workspace, address: &ResourceAddress) -> Result<String, WorldError> {
    if address.kind == atrest::world::Kind::Sql {
        let database = workspace.open_sql(address)?;
        return read_sql(&database);
    }
    let account = workspace.open_storage(address)?;
    let mut bytes = Vec::new();
    account.get(&blob(), None, &mut bytes, &mut |_| ())?;
    Ok(String::from_utf8(bytes).unwrap())
}

pub fn read_sql(database: &atrest::resource::sql::SqlDatabase) -> Result<String, WorldError> {
    let conn = database.connect()?;
    let read = conn.query_row("SELECT x FROM t", (), |row| row.get(0));
    Ok(read.map_err(|e| database.explain(e))?)
}

pub fn blob() -> BlobPath {
    BlobPath::in_default("ledger.txt".parse::<BlobName>().unwrap())
}

pub fn admin() -> PersonName {
    "contoso-admin".parse().unwrap()
}

pub fn vault_admin() -> PersonName {
    "contoso-vault-admin".parse().unwrap()
}

pub fn power(name: &str) -> PowerName {
    name.parse().unwrap()
}

pub fn finance(name: &str) -> FinanceName {
    name.parse().unwrap()
}

/// The rule that refused it.
pub fn rule<T>(refused: Result<T, WorldError>) -> Rule {
    match refused {
        Err(WorldError::Refused(refusal)) => {
            assert!(
                refusal.to_string().starts_with(refusal.rule.code()),
                "{refusal}"
            );
            assert!(!refusal.next.is_empty(), "{refusal}");
            refusal.rule
        }
        Err(other) => panic!("not by a rule: {other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// SHA-256 of all files of the resources, but for the first `skip` bytes of a database and the header of a
/// storage account: of its data.
pub fn data_of(stage: &Stage, addresses: &[ResourceAddress]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for address in addresses {
        let resource = stage.workspace.open_resource(address).unwrap();
        let files = ProtectedResource::files(&*resource).unwrap();
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let name = file.file_name().unwrap().to_str().unwrap();
            if name == "account.atrest" {
                continue;
            }
            // The first block of a sealed file is its header.
            let skip = if name.ends_with(".db") { 4096 } else { 0 };
            all.push(bytes[skip.min(bytes.len())..].to_vec());
        }
    }
    all
}

/// Copies a directory with all that is in it.
pub fn copy_all(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        let target = if entry.path() == from {
            to.to_owned()
        } else {
            target
        };
        match entry.file_type().is_dir() {
            true => std::fs::create_dir_all(target).unwrap(),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
