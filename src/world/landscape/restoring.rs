//! Restores of backups, and copies of environments: the rules for keys, and the work, which is named in the store
//! before it begins and is ended by whoever comes next.
//! Over 400 lines because what a restore refuses stands beside each step that would have done it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::{KeyRef, KeyVersionRef, ResourceId};
use crate::resource::Protection;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::vault::VaultError;
use crate::world::resources::key_is_given;
use crate::world::restore::under_the_key;
use crate::world::workspace::resource_path;
use crate::world::{BACKUPS, Kind, ResourceAddress, WorldError};

use super::Landscape;
use super::backup::RESETTING;
use super::entities::{Backup, Policy, PowerEnvironment, power_place};
use super::events::by_provider;
use super::health::SERVICES;
use super::names::{BackupName, PersonName, PowerName};
use super::rules::Rule;
use super::turn::refused;

/// What the settings begin with that say which restore or copy is under way.
const UNDER_WAY: &str = "restoring:";

/// What was restored or copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Into which environment.
    pub environment: String,
    /// What was replaced.
    pub resources: Vec<String>,
}

/// A restore or a copy that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnderWay {
    into: PowerName,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Where its files are, below the working directory.
    from: PathBuf,
    to: String,
    id: ResourceId,
    service_managed: bool,
    key: KeyRef,
}

impl Part {
    fn protection(&self) -> Protection {
        let key = self.key.clone();
        match self.service_managed {
            true => Protection::ServiceManaged { key },
            false => Protection::CustomerManaged { key },
        }
    }
}

impl Landscape<'_> {
    /// Restores a backup into an environment: the one that it was made of, or one under the same key.
    ///
    /// # Errors
    /// [`Rule::Locked`], [`Rule::CmkMismatch`] with both keys, [`Rule::ProtectorMissing`] with the versions.
    pub fn restore_backup(
        &self,
        backup: &BackupName,
        into: &PowerName,
        by: &PersonName,
    ) -> Result<Restored, WorldError> {
        let turn = self.begin()?;
        let begun = || {
            let power = self.usable(into, by)?;
            let backup: Backup = self.get(backup.as_str())?;
            let root = Path::new(BACKUPS).join(backup.name.as_str());
            let mut parts = Vec::new();
            for part in &backup.parts {
                let address: ResourceAddress = part.address.parse()?;
                let protector = version_ref(&part.protector)?;
                let place = address.environment.clone().expect("a full address");
                parts.push(Part {
                    from: resource_path(&root, &place, address.kind, &address.name),
                    to: self.target(&backup.power, &address, &power)?.to_string(),
                    id: part.id,
                    service_managed: protector.vault == self.workspace.service_key().vault,
                    key: protector.key(),
                });
            }
            if backup.power != power.name {
                self.same_key(&parts, &power, backup.name.as_str())?;
            }
            self.protectors_there(&backup, &power)?;
            self.copies_there(&parts)?;
            self.copies_open(&parts)?;
            self.take_over(&power, parts)
        };
        self.told(&turn, by, "EnvironmentRestored", into, begun())
    }

    /// Copies an environment over another one under the same key.
    ///
    /// # Errors
    /// [`Rule::Locked`] when either is locked; [`Rule::CmkMismatch`] with both keys.
    pub fn copy(
        &self,
        from: &PowerName,
        into: &PowerName,
        by: &PersonName,
    ) -> Result<Restored, WorldError> {
        let turn = self.begin()?;
        let begun = || {
            let (source, power) = (self.usable(from, by)?, self.usable(into, by)?);
            if source.name == power.name {
                return Err(WorldError::Usage(format!(
                    "{from} is the environment itself"
                )));
            }
            let mut parts = Vec::new();
            for address in self.resources_of(&source) {
                let (address, entry) = self.workspace.resource(&address)?;
                let Some(protector) = self.workspace.key_version(&address)? else {
                    continue;
                };
                let live = self.workspace.resolved_path(&address);
                let from = live.strip_prefix(self.workspace.dir()).unwrap_or(&live);
                parts.push(Part {
                    from: from.to_owned(),
                    to: self.target(&source.name, &address, &power)?.to_string(),
                    id: entry.id,
                    service_managed: matches!(entry.protection, Protection::ServiceManaged { .. }),
                    key: protector.key(),
                });
            }
            self.same_key(&parts, &power, from.as_str())?;
            self.take_over(&power, parts)
        };
        self.told(&turn, by, "EnvironmentCopied", into, begun())
    }

    /// Goes on with restores, copies and resets that were interrupted.
    pub(super) fn go_on_restores(&self) -> Result<(), WorldError> {
        self.clear_unfinished_backups()?;
        let (restores, resets) = self
            .store()
            .read(|tx| Ok((tx.settings(UNDER_WAY)?, tx.settings(RESETTING)?)))?;
        for (_, text) in restores {
            let under_way: UnderWay = self.store().read(|tx| tx.parse(&text))?;
            // What cannot be put in its place, by a damaged backup say, hinders nothing else: it is told, and
            // tried again by whoever comes next.
            if !under_way.parts.is_empty()
                && let Err(e) = self.put_in_place(&under_way)
            {
                let now = self.now()?;
                let event = by_provider(now, "EnvironmentRestoreFailed", &under_way.into, e);
                self.store().write(|tx| tx.record_once(&event))?;
                continue;
            }
            // A key that cannot be used now hinders nothing else: it is tried again by whoever comes next.
            let _ = self.under_own_key(&under_way.into);
        }
        for (name, text) in resets {
            let environment = name[RESETTING.len()..].parse()?;
            self.finish_reset(&environment, &text)?;
        }
        Ok(())
    }

    /// Where a resource of the environment `from` goes in `into`.
    fn target(
        &self,
        from: &PowerName,
        address: &ResourceAddress,
        into: &PowerEnvironment,
    ) -> Result<ResourceAddress, WorldError> {
        let own = power_place(from)?;
        let place = match address.environment == Some(own) {
            true => into.place(),
            false => match &into.linked {
                Some(finance) => finance.as_name().clone(),
                None => {
                    return Err(WorldError::Usage(format!(
                        "{} has no finance and operations environment, for which {address} is; integrate one first",
                        into.name
                    )));
                }
            },
        };
        Ok(ResourceAddress {
            environment: Some(place),
            ..address.clone()
        })
    }

    /// The key that an environment is under by its state.
    fn key_of(&self, power: &PowerEnvironment) -> Result<Protection, WorldError> {
        match power.key.policy() {
            None => Ok(self.service_managed()),
            Some(policy) => self.protection_by(&self.get::<Policy>(policy.as_str())?),
        }
    }

    fn same_key(
        &self,
        parts: &[Part],
        power: &PowerEnvironment,
        from: &str,
    ) -> Result<(), WorldError> {
        let own = self.key_of(power)?;
        let own = own.key().expect("of a vault");
        match parts.iter().find(|part| part.key != *own) {
            None => Ok(()),
            Some(other) => refused(
                Rule::CmkMismatch,
                format_args!(
                    "{from} is under the key {}, {} under {own}",
                    other.key, power.name
                ),
                "restore into the same environment, or into one under the same key",
            ),
        }
    }

    /// Whether every key version that the backup needs can be used.
    fn protectors_there(
        &self,
        backup: &Backup,
        power: &PowerEnvironment,
    ) -> Result<(), WorldError> {
        let mut missing = BTreeSet::new();
        for part in &backup.parts {
            let version = version_ref(&part.protector)?;
            if !self.is_usable(&version)? {
                missing.insert(part.protector.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut first = backup.taken;
        let mut uris = Vec::new();
        for protector in &missing {
            let version = version_ref(protector)?;
            let vaults = self.workspace.vaults()?;
            let vault = vaults.iter().find(|(_, id, _)| *id == version.vault);
            let vault = vault.map_or_else(
                || version.vault.to_string(),
                |(which, ..)| which.to_string(),
            );
            uris.push(format!(
                "https://{vault}.vault.azure.net/keys/{}/{}",
                version.name, version.version
            ));
            for policy in self.all::<Policy>()? {
                if let Some(known) = policy.versions.get(&version.version.to_string()) {
                    first = first.min(known.created);
                }
            }
        }
        let server = power.name.as_str();
        refused(
            Rule::ProtectorMissing,
            format_args!(
                "Target server `{server}` doesn't have access to all AKV URIs created between <{first}> and <{}>. \
                 Retry operation after restoring all AKV URIs.",
                backup.taken
            ),
            format_args!("they are {}", uris.join(", ")),
        )
    }

    fn is_usable(&self, version: &KeyVersionRef) -> Result<bool, WorldError> {
        let vaults = self.workspace.vaults()?;
        let Some((which, ..)) = vaults.iter().find(|(_, id, _)| *id == version.vault) else {
            return Ok(false);
        };
        match self
            .workspace
            .keys(which, SERVICES)?
            .key(&version.name, Some(version.version))
        {
            Ok(bundle) => Ok(bundle.attributes.enabled),
            Err(VaultError::KeyNotFound(_) | VaultError::KeyDeleted { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn take_over(
        &self,
        power: &PowerEnvironment,
        parts: Vec<Part>,
    ) -> Result<Restored, WorldError> {
        let under_way = UnderWay {
            into: power.name.clone(),
            parts,
        };
        let text = serde_json::to_string(&under_way).expect("names and paths serialize");
        self.store()
            .write(|tx| tx.set(&format!("{UNDER_WAY}{}", power.name), &text))?;
        self.finish_restore(&under_way)
    }

    fn finish_restore(&self, under_way: &UnderWay) -> Result<Restored, WorldError> {
        let done = self.put_in_place(under_way)?;
        self.under_own_key(&under_way.into)?;
        Ok(Restored {
            environment: under_way.into.to_string(),
            resources: done.iter().map(ToString::to_string).collect(),
        })
    }

    /// Whether the files of every part are there, under the key that they were under.
    fn copies_there(&self, parts: &[Part]) -> Result<(), WorldError> {
        for part in parts {
            let address: ResourceAddress = part.to.parse()?;
            let from = self.workspace.dir().join(&part.from);
            under_the_key(address.kind, &from, &part.protection(), &part.from)?;
        }
        Ok(())
    }

    /// Whether each part opens with the key that it was under: what does not must not take the place of what does.
    fn copies_open(&self, parts: &[Part]) -> Result<(), WorldError> {
        for part in parts {
            let address: ResourceAddress = part.to.parse()?;
            let place = address.environment.as_ref().expect("a full address");
            let through = self.workspace.wrapper_in(place)?;
            let from = self.workspace.dir().join(&part.from);
            let opened = match address.kind {
                Kind::Sql => SqlDatabase::open(&from, part.id, part.protection(), &through)
                    .map(drop)
                    .map_err(WorldError::from),
                Kind::Storage => StorageAccount::open(&from, part.id, part.protection(), &through)
                    .map_err(WorldError::from)
                    .and_then(|account| key_is_given(&account, &through)),
            };
            opened.map_err(|e| {
                WorldError::Usage(format!(
                    "{}: it does not open, and nothing was restored ({e}); restore another backup",
                    part.from.display()
                ))
            })?;
        }
        Ok(())
    }

    fn put_in_place(&self, under_way: &UnderWay) -> Result<Vec<ResourceAddress>, WorldError> {
        // Nothing is replaced before all of it is there.
        self.copies_there(&under_way.parts)?;
        let mut done = Vec::new();
        for part in &under_way.parts {
            let address: ResourceAddress = part.to.parse()?;
            let from = self.workspace.dir().join(&part.from);
            self.workspace
                .replace_by_copy(&address, &from, part.id, &part.protection())?;
            done.push(address);
        }
        // From here on nothing of the data is written again.
        let rest = UnderWay {
            into: under_way.into.clone(),
            parts: Vec::new(),
        };
        let text = serde_json::to_string(&rest).expect("names serialize");
        let setting = format!("{UNDER_WAY}{}", under_way.into);
        self.store().write(|tx| tx.set(&setting, &text))?;
        Ok(done)
    }

    /// Puts what was restored under the key that the environment is under now.
    fn under_own_key(&self, environment: &PowerName) -> Result<(), WorldError> {
        let power: PowerEnvironment = self.get(environment.as_str())?;
        let to = self.key_of(&power)?;
        let left = self.not_under(&self.resources_of(&power), |at| Some(&at.key()) == to.key())?;
        let moved = self.workspace.move_all(&left, &to, &|_| ())?;
        if let Some(failed) = moved.into_iter().find_map(|m| m.result.err()) {
            return Err(failed);
        }
        self.store()
            .write(|tx| tx.unset(&format!("{UNDER_WAY}{environment}")))?;
        match power.key.policy() {
            Some(policy) => self.look_at_versions(policy).map(drop),
            None => Ok(()),
        }
    }
}

fn version_ref(text: &str) -> Result<KeyVersionRef, WorldError> {
    let bad = || WorldError::Malformed {
        path: super::LANDSCAPE.into(),
        why: format!("{text:?} is no key version"),
    };
    let parts: Vec<_> = text.split('/').collect();
    let [vault, "keys", name, version] = parts[..] else {
        return Err(bad());
    };
    Ok(KeyVersionRef {
        vault: vault.parse().map_err(|_| bad())?,
        name: name.parse().map_err(|_| bad())?,
        version: version.parse().map_err(|_| bad())?,
    })
}
