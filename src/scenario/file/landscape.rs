//! The landscape of a story: what it begins with, its clock, and how what is done to keys takes effect on it.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::base::{Clock, KeyVersionRef};
use crate::scenario::ScenarioError;
use crate::scenario::teller::Teller;
use crate::world::landscape::{
    Duty, FinanceName, Landscape, NewFinance, PowerEnvironment, Profile, Refusal, Region, Start,
    Support, WorldClock, lcs_resources, power_place, rcs_resources,
};
use crate::world::{AskPassphrase, Kind, Name, ResourceAddress, Step, Workspace};

use super::check_landscape::profile;
use super::format::{Environment, Script};
use super::format_landscape::{Estate, Finance, Tenant};
use super::stage::Stage;
use super::words::{Label, Product, Where};

pub(super) fn quiet(_: Step) {}

/// Where something is of which nothing is said.
fn region(said: &Option<Where>) -> Region {
    let usual = || "westeurope".parse().expect("a region");
    said.as_ref().map_or_else(usual, |said| said.0.clone())
}

fn address(environment: &Name, kind: Kind, name: &str) -> ResourceAddress {
    ResourceAddress {
        environment: Some(environment.clone()),
        kind,
        name: name.parse().expect("a name"),
    }
}

/// The databases and the storage account of a finance-and-operations environment: those that are said, else
/// those that the world's environment of that name has, else the usual ones.
pub(super) fn stores(finance: &Finance, world: Option<&Environment>) -> (Vec<Name>, Name) {
    let named = |all: &mut dyn Iterator<Item = &Label>| -> Vec<Name> {
        all.map(|label| label.0.clone()).collect()
    };
    let mut databases = named(&mut finance.databases.iter().map(|at| &at.value));
    let mut accounts = named(&mut finance.storage.iter().map(|at| &at.value));
    if let Some(world) = world {
        if databases.is_empty() {
            databases = named(&mut world.sql.keys());
        }
        if accounts.is_empty() {
            accounts = named(&mut world.storage.keys().take(1));
        }
    }
    if databases.is_empty() {
        databases.push("axdb".parse().expect("a name"));
    }
    let account = accounts.pop();
    (
        databases,
        account.unwrap_or_else(|| "documents".parse().expect("a name")),
    )
}

/// Whether an add-in keeps something in RCS.
pub(super) fn uses_rcs(profile: Profile, add_in: &Product) -> bool {
    let product = profile.product(add_in.0.as_str());
    product.is_some_and(|product| product.support == Support::UsesRcs)
}

/// Every resource that a tenant's part of the landscape makes or takes over, as far as its names are names.
pub(super) fn resources(
    name: &Name,
    tenant: &Tenant,
    profile: Profile,
    script: &Script,
) -> Vec<ResourceAddress> {
    let mut all = Vec::new();
    let add_ins = || tenant.finance.values().flat_map(|finance| &finance.add_ins);
    if add_ins().any(|add_in| uses_rcs(profile, &add_in.value)) {
        all.extend(rcs_resources(&name.clone().into()).unwrap_or_default());
    }
    all.extend(lcs_resources(&tenant.project.0.clone().into()).unwrap_or_default());
    for (name, finance) in &tenant.finance {
        let world = script.world.environments.get(name);
        let (databases, account) = stores(finance, world.map(|at| &at.value));
        all.extend(
            databases
                .iter()
                .map(|d| address(&name.0, Kind::Sql, d.as_str())),
        );
        all.push(address(&name.0, Kind::Storage, account.as_str()));
    }
    for name in tenant.power.keys() {
        if let Ok(place) = power_place(&name.0.clone().into()) {
            all.push(address(&place, Kind::Sql, "dataverse"));
            all.push(address(&place, Kind::Storage, "files"));
        }
    }
    all
}

impl Stage {
    /// Makes the landscape of a script, where it has one, over what is there. From then on its clock is the
    /// world's.
    pub(super) fn settle(
        &mut self,
        script: &Script,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let Some(estate) = &script.landscape else {
            return Ok(());
        };
        let begins = Start::At(self.clock.now());
        let landscape = Landscape::create(&self.world, profile(estate), begins)?;
        make(&landscape, estate, script)?;
        let dir = self.world.dir().to_owned();
        let ask: AskPassphrase = Arc::new(|_| Err("a story has no passphrases".into()));
        self.world = Arc::new(Workspace::open(&dir, ask, Arc::new(WorldClock::of(&dir)))?);
        self.has_landscape = true;
        self.meet()?;
        for (name, tenant) in &estate.tenants {
            let environments = tenant.finance.keys().chain(tenant.power.keys());
            let environments: Vec<&str> = environments.map(|label| label.0.as_str()).collect();
            let told = format!("{}, {}", tenant.project.0, environments.join(", "));
            teller.fact(&format!("Tenant {}", name.0), told);
        }
        Ok(())
    }

    /// Learns what the landscape made since.
    pub(super) fn meet(&mut self) -> Result<(), ScenarioError> {
        for (address, _) in self.world.resources() {
            if !self.known.contains_key(&address.to_string()) {
                self.names.make(&address);
                self.learn(&address, Vec::new())?;
            }
        }
        Ok(())
    }

    pub(super) fn landscape(&self) -> Result<Landscape<'_>, ScenarioError> {
        Ok(Landscape::open(&self.world)?)
    }

    /// Lets what was done to keys take effect on the landscape.
    pub(super) fn catch_up(&self) -> Result<(), ScenarioError> {
        match self.has_landscape {
            true => Ok(self.landscape()?.catch_up()?),
            false => Ok(()),
        }
    }

    /// Moves the landscape's clock on, and tells what took effect on the way.
    pub(super) fn advance_landscape(
        &self,
        by: SignedDuration,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        if !self.has_landscape {
            return Ok(());
        }
        for event in self.landscape()?.advance(by)?.happened {
            let detail = match event.detail.is_empty() {
                true => String::new(),
                false => format!(": {}", event.detail),
            };
            let told = format!(
                "{:.0} {}, {}{detail}",
                event.time, event.operation, event.subject
            );
            teller.fact("Meanwhile", told);
        }
        Ok(())
    }

    /// Tells of a version that was disabled and is still needed.
    pub(super) fn warn_of_use(
        &mut self,
        version: &KeyVersionRef,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        if self.has_landscape {
            let warning = self.landscape()?.warn_of_use(version)?;
            self.warn(warning, teller);
        }
        Ok(())
    }

    pub(super) fn warn(
        &mut self,
        warnings: impl IntoIterator<Item = Refusal>,
        teller: &mut Teller<'_>,
    ) {
        for warning in warnings {
            teller.fact("Warning", warning.to_string());
            self.warnings.push(warning);
        }
    }
}

fn make(landscape: &Landscape<'_>, estate: &Estate, script: &Script) -> Result<(), ScenarioError> {
    for (tenant, of) in &estate.tenants {
        let (tenant, project) = (tenant.0.clone().into(), of.project.0.clone().into());
        landscape.create_tenant(&tenant)?;
        landscape.create_project(&project, &tenant)?;
        for (name, finance) in &of.finance {
            let world = script.world.environments.get(name);
            let (databases, storage) = stores(finance, world.map(|at| &at.value));
            let name: FinanceName = name.0.clone().into();
            let usual = NewFinance::usual(name.clone(), project.clone(), region(&finance.region));
            let new = NewFinance {
                kind: finance.kind.as_ref().map_or(usual.kind, |kind| kind.0),
                databases,
                storage,
                ..usual
            };
            landscape.create_finance(&[new], &quiet)?;
            for offer in &finance.offers {
                landscape.install_offer(&name, &offer.value.0)?;
            }
            for add_in in &finance.add_ins {
                landscape.install_add_in(&name, &add_in.value.0)?;
            }
        }
        for (name, power) in &of.power {
            let name = name.0.clone().into();
            let usual = PowerEnvironment::usual(name, tenant.clone(), region(&power.region));
            let new = PowerEnvironment {
                kind: power.kind.as_ref().map_or(usual.kind, |kind| kind.0),
                d365_apps: power.d365_apps.unwrap_or(usual.d365_apps),
                managed: power.managed.unwrap_or(usual.managed),
                licensed: power.licensed.unwrap_or(usual.licensed),
                capacity_mib: power.capacity_mib.unwrap_or(usual.capacity_mib),
                services: power.services.iter().map(|s| s.value.0.clone()).collect(),
                ..usual
            };
            landscape.create_power(&[new], &quiet)?;
        }
    }
    for (name, person) in &estate.people {
        let tenant = person.tenant.0.clone().into();
        let duties = person.duties.iter().map(|duty| duty.0).collect();
        landscape.set_person(
            &name.0.clone().into(),
            Some(&tenant),
            &duties,
            person.licensed,
        )?;
    }
    for engineer in &estate.engineers {
        let duties = [Duty::ProviderEngineer].into();
        landscape.set_person(&engineer.0.clone().into(), None, &duties, false)?;
    }
    Ok(())
}
