//! Which things need which version of a key, and what the rules say of a change to one.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::base::{KeyName, KeyVersion, KeyVersionRef};
use crate::vault::{KeyBundle, VaultError};
use crate::world::{ResourceAddress, Workspace, WorldError};

use super::Landscape;
use super::clock;
use super::entities::{Backup, KnownVersion, Policy, PowerEnvironment};
use super::gate::governing;
use super::names::PolicyName;
use super::rules::{Refusal, Rule};
use super::state::KeyState;
use super::tick::OLD_VERSION_STAYS;

/// The state of a version of a key (NIST SP 800-57 part 1, 7), as far as it follows from what the vault
/// knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// Not valid yet.
    PreActivation,
    /// It wraps.
    Active,
    /// Disabled.
    Suspended,
    /// Replaced or expired: it unwraps.
    Deactivated,
    /// Gone, with its key; a backup of the key brings it back.
    Destroyed,
}

impl Landscape<'_> {
    /// The versions that a policy's environments were ever under, oldest first, and the state of each.
    pub fn version_states(
        &self,
        policy: &Policy,
    ) -> Result<Vec<(String, VersionState)>, WorldError> {
        let vault = self.vault_of(policy)?;
        let now = self.now()?;
        let newest = vault.key(&policy.key, None).ok();
        let newest = newest.map(|bundle| bundle.kid.version.to_string());
        let mut known: Vec<_> = policy.versions.iter().collect();
        known.sort_by_key(|(_, known)| known.created);
        let state = |version: &str| {
            let parsed: KeyVersion = version.parse().ok()?;
            let attributes = vault.key(&policy.key, Some(parsed)).ok()?.attributes;
            let replaced = newest.as_deref() != Some(version);
            let expired = attributes.expires.is_some_and(|at| at <= now);
            Some(match attributes {
                a if !a.enabled => VersionState::Suspended,
                _ if replaced || expired => VersionState::Deactivated,
                a if a.not_before.is_some_and(|at| at > now) => VersionState::PreActivation,
                _ => VersionState::Active,
            })
        };
        // A deleted key is not usable, and not gone.
        let gone = match vault.deleted_key(&policy.key) {
            Ok(_) => VersionState::Suspended,
            Err(_) => VersionState::Destroyed,
        };
        let states = known.into_iter().map(|(version, _)| {
            let state = state(version).unwrap_or(gone);
            (version.clone(), state)
        });
        Ok(states.collect())
    }

    /// From now on resources may be under this version.
    pub(super) fn use_version(
        &self,
        policy: &PolicyName,
        version: &KeyBundle,
    ) -> Result<(), WorldError> {
        self.store().write(|tx| {
            let mut policy: Policy = tx.get(policy.as_str())?;
            let known = KnownVersion {
                thumbprint: version.thumbprint.clone(),
                created: version.attributes.created,
                in_use: true,
            };
            policy
                .versions
                .insert(version.kid.version.to_string(), known);
            policy.current.get_or_insert(version.kid.version);
            tx.put(&policy)
        })
    }

    /// Which versions resources of the policy are under, as their files say.
    pub(super) fn look_at_versions(
        &self,
        policy: &PolicyName,
    ) -> Result<BTreeSet<KeyVersion>, WorldError> {
        let powers = self.all::<PowerEnvironment>()?;
        let of = powers.iter().filter(|power| {
            power.key.policy() == Some(policy) && !matches!(power.key, KeyState::Deleted { .. })
        });
        let policy: Policy = self.get(policy.as_str())?;
        let key = self.protection_by(&policy)?;
        let mut found = BTreeSet::new();
        for power in of {
            for address in self.resources_of(power) {
                let version = self.workspace.key_version(&address)?;
                found.extend(
                    version
                        .filter(|v| Some(&v.key()) == key.key())
                        .map(|v| v.version),
                );
            }
        }
        // One that came onto the disk without a pick-up (a restore, a new data encryption key) is watched from
        // now on, too.
        let mut met = Vec::new();
        let vault = self.vault_of(&policy).ok();
        for version in &found {
            if !policy.versions.contains_key(&version.to_string())
                && let Some(vault) = &vault
                && let Ok(bundle) = vault.key(&policy.key, Some(*version))
            {
                met.push(bundle);
            }
        }
        self.store().write(|tx| {
            let mut policy: Policy = tx.get(policy.name.as_str())?;
            for bundle in met {
                let version = bundle.kid.version.to_string();
                policy.versions.entry(version).or_insert(KnownVersion {
                    thumbprint: bundle.thumbprint,
                    created: bundle.attributes.created,
                    in_use: true,
                });
            }
            for (version, known) in &mut policy.versions {
                known.in_use = found.iter().any(|v| v.to_string() == *version);
            }
            tx.put(&policy)
        })?;
        Ok(found)
    }

    /// Looks which version a resource is under, after its data encryption key was wrapped anew by hand.
    pub fn look_again(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        let _turn = self.begin()?;
        let (address, _) = self.workspace.resource(address)?;
        let place = address.environment.expect("a resolved address");
        let governing = self.store().read(|tx| governing(tx, &place))?;
        match governing.as_ref().and_then(|power| power.key.policy()) {
            Some(policy) => self.look_at_versions(policy).map(drop),
            None => Ok(()),
        }
    }

    /// Those of these resources that are not under a version that `is_right`.
    pub(super) fn not_under(
        &self,
        addresses: &[ResourceAddress],
        is_right: impl Fn(&KeyVersionRef) -> bool,
    ) -> Result<Vec<ResourceAddress>, WorldError> {
        let mut left = Vec::new();
        for address in addresses {
            if !self
                .workspace
                .key_version(address)?
                .is_some_and(|at| is_right(&at))
            {
                left.push(address.clone());
            }
        }
        Ok(left)
    }

    /// What needs a version: data encryption keys of resources, and backups that are kept.
    pub fn needs(&self, version: &KeyVersionRef) -> Result<Vec<String>, WorldError> {
        let mut found = Vec::new();
        for (address, _) in self.workspace.resources() {
            if self.workspace.key_version(&address)?.as_ref() == Some(version) {
                found.push(format!("the data encryption key of {address}"));
            }
        }
        let text = version.to_string();
        for backup in self.all::<Backup>()? {
            for part in backup.parts.iter().filter(|part| part.protector == text) {
                found.push(format!("{} in the backup {}", part.address, backup.name));
            }
        }
        let now = self.now()?;
        for policy in self.all::<Policy>()? {
            let versions = policy.versions.iter();
            let newer = versions
                .filter(|(_, known)| known.in_use)
                .map(|(_, known)| known.created)
                .max();
            let old = policy
                .versions
                .get(&version.version.to_string())
                .is_some_and(|known| !known.in_use);
            if policy.key == version.name
                && old
                && newer.is_some_and(|at| now < clock::after(at, OLD_VERSION_STAYS))
            {
                found.push(format!(
                    "restores of the last 28 days under the policy {}",
                    policy.name
                ));
            }
        }
        Ok(found)
    }

    /// After a version was disabled: what still needs it, as a warning.
    pub fn warn_of_use(&self, version: &KeyVersionRef) -> Result<Option<Refusal>, WorldError> {
        let needs = self.needs(version)?;
        Ok((!needs.is_empty()).then(|| {
            Rule::VersionInUse.broken(
                format_args!(
                    "version {} of the key {} is disabled, and still needed by {}",
                    version.version,
                    version.name,
                    needs.join(", ")
                ),
                "enable it again, or lose what needs it; an old version stays enabled for 28 days after a rotation",
            )
        }))
    }

    /// Refused: a key is deleted with all its versions, never one of them.
    pub fn delete_version(&self, key: &KeyName, version: KeyVersion) -> Result<(), WorldError> {
        Err(version_delete(key, version).into())
    }
}

fn version_delete(key: &KeyName, version: KeyVersion) -> Refusal {
    Rule::VersionDelete.broken(
        format_args!("version {version} of the key {key} cannot be deleted alone"),
        "disable it, or delete the key with all its versions",
    )
}

/// The rule behind a vault's refusal, where there is a landscape and it has one.
pub fn as_rule(workspace: &Workspace, error: &VaultError) -> Option<Refusal> {
    Landscape::find(workspace).ok().flatten()?;
    match error {
        VaultError::PurgeProtected { object, until } => Some(Rule::PurgeProtected.broken(
            format_args!("{object} is under purge protection until {until}"),
            "wait until it is purged by itself, or recover it",
        )),
        _ => None,
    }
}
