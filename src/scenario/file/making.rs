//! What a story begins with: its vaults and keys, its environments, and those of strangers.

use std::path::Path;
use std::sync::Arc;

use crate::base::ManualClock;
use crate::crypto::KeyKind;
use crate::scenario::ScenarioError;
use crate::scenario::sample::Sample;
use crate::vault::{KeySpec, KeyVault, LocalVault, VaultSettings};
use crate::world::{InitOptions, Kind, Name, NewVault, VaultKind, WhichVault, Workspace};

use super::format::{self, Resource, Script};
use super::words::Key;

/// The key that protects a resource of which nothing is said.
pub(super) fn default_key(script: &Script) -> Option<Key> {
    let named = script
        .world
        .default_key
        .as_ref()
        .map(|key| key.value.clone());
    let mut only = script.world.vault.keys.keys();
    named.or_else(|| match (only.next(), only.next()) {
        (Some(name), None) => name.parse().ok(),
        _ => None,
    })
}

pub(super) fn make_world(
    script: &Script,
    dir: &Path,
    clock: &Arc<ManualClock>,
) -> Result<Workspace, ScenarioError> {
    let world = &script.world;
    let first = world.environments.keys().next();
    let first = first.expect("checked before the world was built");
    let init = InitOptions {
        environment: first.0.clone(),
        customer_key: None,
        passphrase: None,
        vault: settings(&world.vault),
    };
    let workspace = Workspace::init(&dir.join("world"), init, clock.clone())?;
    make_keys(&workspace.vault(&WhichVault::Customer)?, &world.vault)?;
    for (name, vault) in &world.vaults {
        let new = NewVault {
            settings: settings(vault),
            passphrase: None,
            kind: VaultKind::Vault,
        };
        let name = name
            .0
            .as_str()
            .parse()
            .expect("checked before the world was built");
        make_keys(&workspace.create_vault(&name, new, clock.clone())?, vault)?;
    }
    for environment in world.environments.keys().skip(1) {
        workspace.add_environment(&environment.0)?;
    }
    Ok(workspace)
}

pub(super) fn make_stranger(
    name: &Name,
    stranger: &format::Stranger,
    dir: &Path,
    clock: &Arc<ManualClock>,
) -> Result<Workspace, ScenarioError> {
    let mut environments = stranger.environments.keys().map(|label| label.0.clone());
    let init = InitOptions {
        // They need one; a name that a file cannot have said is of no matter.
        environment: environments.next().unwrap_or_else(|| name.clone()),
        customer_key: Some((
            "customer-key".parse().expect("a key name"),
            KeyKind::Rsa2048,
        )),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let dir = dir.join("strangers").join(name.as_str());
    let workspace = Workspace::init(&dir, init, clock.clone())?;
    environments.try_for_each(|environment| workspace.add_environment(&environment))?;
    Ok(workspace)
}

fn settings(vault: &format::NewVault) -> VaultSettings {
    VaultSettings {
        retention_days: vault.retention_days.as_ref().map_or(90, |days| days.value),
        purge_protection: vault.purge_protection,
    }
}

fn make_keys(vault: &LocalVault, of: &format::NewVault) -> Result<(), ScenarioError> {
    for (name, kind) in &of.keys {
        let name = name.parse().expect("checked before the world was built");
        vault.create_key(&name, &KeySpec::new(kind.value.0))?;
    }
    Ok(())
}

/// The markers in made-up data.
pub(super) fn markers(kind: Kind, resource: &Resource, seed: u64) -> Vec<String> {
    let Some(rows) = &resource.data.sample else {
        return Vec::new();
    };
    let sample = Sample::new(seed, rows.value);
    match kind {
        Kind::Sql => {
            let all = sample.canaries();
            all[..sample.markers_in_database()].to_vec()
        }
        Kind::Storage => {
            let documents = sample.documents();
            let markers = documents.iter().filter_map(|d| d.marker());
            markers.map(str::to_owned).collect()
        }
    }
}
