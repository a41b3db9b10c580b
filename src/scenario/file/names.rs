//! Which names mean what at a step of the story.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Kind, Name, NamedKey, ResourceAddress, WhichVault};

use super::format::Script;

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
        names
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
