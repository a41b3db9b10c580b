//! Which names mean what at a step of the story.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::landscape::PersonName;
use crate::world::{Kind, Name, NamedKey, ResourceAddress, WhichVault};

use super::check_landscape::profile;
use super::format::Script;
use super::landscape;

/// Whose working directory: the customer's, or a stranger's.
pub(super) type Site = Option<Name>;

/// What there is, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    home: Option<Name>,
    /// Each environment, and whose it is.
    pub(super) environments: BTreeMap<Name, Site>,
    /// Each resource by its whole address, and whether it has a twin.
    pub(super) resources: BTreeMap<String, bool>,
    /// Keys of the customer's, as [`key`] writes them.
    pub(super) keys: BTreeSet<String>,
    /// Vaults.
    pub(super) vaults: BTreeSet<String>,
    /// Copies, each with the resources in it.
    pub(super) copies: BTreeMap<Name, BTreeMap<String, bool>>,
    /// Backups of keys.
    pub(super) backups: BTreeSet<Name>,
    /// Those of the landscape.
    pub(super) estate: EstateNames,
}

/// What there is in the landscape, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct EstateNames {
    pub(super) tenants: BTreeSet<Name>,
    /// Environments of both kinds, and their tenants.
    pub(super) finance: BTreeMap<Name, Name>,
    pub(super) power: BTreeMap<Name, Name>,
    /// Policies, and their tenants.
    pub(super) policies: BTreeMap<Name, Name>,
    /// Everybody.
    pub(super) people: BTreeSet<Name>,
    /// What was linked: the Power Platform environment, and the other one.
    pub(super) links: BTreeMap<Name, Name>,
    /// Requests of Customer Lockbox.
    pub(super) requests: BTreeSet<Name>,
    /// Backups of environments.
    pub(super) backups: BTreeSet<Name>,
    /// The environments of the working directory that its resources are in.
    places: BTreeSet<Name>,
}

/// The person of a tenant who has this duty when the landscape begins.
pub(super) fn person(tenant: &Name, duty: &str) -> PersonName {
    // A name that is too long for this is refused before the story begins.
    let text = format!("{tenant}-{duty}");
    text.parse().unwrap_or_else(|_| tenant.clone().into())
}

/// Them in a row, or that there is none.
pub(super) fn joined(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

impl EstateNames {
    fn of(script: &Script) -> Self {
        let mut names = Self::default();
        let Some(estate) = &script.landscape else {
            return names;
        };
        for (tenant, of) in &estate.tenants {
            let tenant = &tenant.0;
            names.tenants.insert(tenant.clone());
            for duty in ["admin", "vault-admin", "approver"] {
                names.people.insert(person(tenant, duty).as_name().clone());
            }
            let finance = of.finance.keys();
            (names.finance).extend(finance.map(|name| (name.0.clone(), tenant.clone())));
            let power = of.power.keys();
            (names.power).extend(power.map(|name| (name.0.clone(), tenant.clone())));
        }
        let engineers = estate.engineers.iter().map(|at| &at.value);
        let people = estate.people.keys().chain(engineers);
        names.people.extend(people.map(|label| label.0.clone()));
        names
    }

    /// The administrator of the environment's tenant.
    pub(super) fn admin(&self, environment: &Name) -> PersonName {
        let tenant = self.power.get(environment);
        let tenant = tenant.or_else(|| self.finance.get(environment));
        person(tenant.unwrap_or(environment), "admin")
    }

    /// The administrator of the policy's tenant.
    pub(super) fn vault_admin(&self, policy: &Name) -> PersonName {
        person(self.policies.get(policy).unwrap_or(policy), "vault-admin")
    }

    /// Whether the finance-and-operations environment `finance` was linked to `power`.
    pub(super) fn is_finance_of(&self, finance: &str, power: &Name) -> bool {
        let linked = self.links.get(power);
        linked.is_some_and(|linked| linked.as_str() == finance)
    }
}

/// A key as it is written: without its vault where that is the customer's first one.
pub(super) fn key(named: &NamedKey) -> String {
    match &named.vault {
        WhichVault::Customer => named.key.to_string(),
        vault => format!("{vault}/{}", named.key),
    }
}

/// The twin of a resource.
pub(super) fn twin(address: &ResourceAddress) -> ResourceAddress {
    ResourceAddress {
        name: twin_name(&address.name).expect("checked when the resource was"),
        ..address.clone()
    }
}

/// The name of a resource's twin; `None` when that is too long for a name.
pub(super) fn twin_name(name: &Name) -> Option<Name> {
    format!("{name}-twin").parse().ok()
}

impl Names {
    /// Those of a script before its first step. Whether they are good ones is not asked here.
    pub(super) fn of(script: &Script) -> Self {
        let world = &script.world;
        let mut only = world.environments.keys().map(|label| label.0.clone());
        let home = match &world.home {
            Some(home) => Some(home.value.0.clone()),
            None => only.next().filter(|_| only.next().is_none()),
        };
        let mut names = Self {
            home,
            estate: EstateNames::of(script),
            ..Self::default()
        };
        names
            .vaults
            .extend(["customer", "provider"].map(str::to_owned));
        names.keys.extend(world.vault.keys.keys().cloned());
        for (vault, new) in &world.vaults {
            names.vaults.insert(vault.0.to_string());
            let keys = new.keys.keys().map(|key| format!("{}/{key}", vault.0));
            names.keys.extend(keys);
        }
        let own = world.environments.iter().map(|e| (None, e));
        let theirs = script.strangers.iter().flat_map(|(stranger, of)| {
            let site = Some(stranger.0.clone());
            of.environments.iter().map(move |e| (site.clone(), e))
        });
        for (site, (environment, holds)) in own.chain(theirs) {
            names.environments.insert(environment.0.clone(), site);
            for (kind, all) in [(Kind::Sql, &holds.sql), (Kind::Storage, &holds.storage)] {
                for (name, resource) in all {
                    let address = ResourceAddress {
                        environment: Some(environment.0.clone()),
                        kind,
                        name: name.0.clone(),
                    };
                    names.add(&address, resource.twin);
                }
            }
        }
        if let Some(estate) = &script.landscape {
            let profile = profile(estate);
            for (name, tenant) in &estate.tenants {
                let made = landscape::resources(&name.0, tenant, profile, script);
                made.iter().for_each(|address| names.make(address));
            }
        }
        names
    }

    /// The landscape makes a resource, unless it is there, and its environment.
    pub(super) fn make(&mut self, address: &ResourceAddress) {
        if let Some(environment) = &address.environment {
            self.environments.entry(environment.clone()).or_default();
            self.estate.places.insert(environment.clone());
        }
        self.resources.entry(address.to_string()).or_default();
    }

    /// Whether a resource is the landscape's: it can have no twin beside it, and one is made of a copy of it.
    pub(super) fn is_in_landscape(&self, address: &ResourceAddress) -> bool {
        let environment = address.environment.as_ref();
        environment.is_some_and(|environment| self.estate.places.contains(environment))
    }

    /// What is attacked in a copy of which nothing more is said: what has a twin, or else what is the landscape's.
    pub(super) fn attacked(&self, copy: &Name) -> Vec<ResourceAddress> {
        let Some(all) = self.copies.get(copy) else {
            return Vec::new();
        };
        let parsed = |(address, _): (&String, _)| address.parse().ok();
        let twins: Vec<_> = all
            .iter()
            .filter(|(_, twin)| **twin)
            .filter_map(parsed)
            .collect();
        match twins.is_empty() {
            false => twins,
            true => {
                let all = all.iter().filter_map(parsed);
                all.filter(|address| self.is_in_landscape(address))
                    .collect()
            }
        }
    }

    /// A resource is made.
    pub(super) fn add(&mut self, address: &ResourceAddress, has_twin: bool) {
        self.resources.insert(address.to_string(), has_twin);
        if has_twin && twin_name(&address.name).is_some() {
            self.resources.insert(twin(address).to_string(), false);
        }
    }

    /// The address with its environment filled in; `None` where there is no telling which.
    pub(super) fn resolve(&self, address: &ResourceAddress) -> Option<ResourceAddress> {
        let environment = address.environment.clone().or_else(|| self.home.clone());
        Some(ResourceAddress {
            environment: Some(environment?),
            ..address.clone()
        })
    }

    /// An address without the environment that is meant where none is named.
    pub(super) fn short(&self, address: &ResourceAddress) -> String {
        let environment = match address.environment == self.home {
            true => None,
            false => address.environment.clone(),
        };
        let short = ResourceAddress {
            environment,
            ..address.clone()
        };
        short.to_string()
    }

    /// Whose the environment of a resolved address is.
    pub(super) fn site(&self, address: &ResourceAddress) -> Site {
        let environment = address.environment.as_ref();
        environment.and_then(|e| self.environments.get(e).cloned().flatten())
    }

    /// A copy of the customer's world is made.
    pub(super) fn copy(&mut self, name: &Name) {
        let own = |address: &str| {
            let environment = address.split('/').next().unwrap_or_default();
            let mut all = self.environments.iter();
            all.any(|(name, site)| site.is_none() && name.as_str() == environment)
        };
        let resources = self.resources.iter().filter(|(address, _)| own(address));
        let resources = resources.map(|(address, twin)| (address.clone(), *twin));
        self.copies.insert(name.clone(), resources.collect());
    }

    /// Where the resources of a copy lie once it is restored into an environment; `None` for two of one name.
    pub(super) fn restored(&self, copy: &Name, into: &Name) -> Option<Vec<(String, bool)>> {
        let mut all = BTreeMap::new();
        for (address, twin) in self.copies.get(copy)? {
            let (_, inside) = address.split_once('/')?;
            if all.insert(format!("{into}/{inside}"), *twin).is_some() {
                return None;
            }
        }
        Some(all.into_iter().collect())
    }
}
