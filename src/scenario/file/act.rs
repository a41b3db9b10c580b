//! What is done in a story. Over 400 lines because each word that does something has its arm here.

use std::time::Instant;

use crate::base::KeyVersion;
use crate::resource::Protection;
use crate::scenario::ScenarioError;
use crate::scenario::figures::{count, millis, size};
use crate::scenario::teller::Teller;
use crate::vault::{KeySpec, KeyUpdate, KeyVault, Page, VaultError};
use crate::world::ResourceAddress;

use super::at::{At, Several};
use super::data::{execute, put};
use super::format::{Act, Protect, Restore, VersionOf, Write};
use super::names::{key, twin};
use super::stage::Stage;
use super::words::Place;

impl Act {
    /// Whether it is expected instead of done.
    pub(super) fn is_expectation(&self) -> bool {
        matches!(
            self,
            Self::Attack(_)
                | Self::Load(_)
                | Self::Readable(_)
                | Self::Unreadable(_)
                | Self::Refused(_)
                | Self::Query(_)
                | Self::OnlyKeysChanged(_)
                | Self::Noise(_)
                | Self::Audited(_)
                | Self::NotProtected(_)
                | Self::Warned(_)
                | Self::Coverage(_)
                | Self::State(_)
                | Self::Recorded(_)
        )
    }

    /// The word for it in a file.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::CreateKey(_) => "create-key",
            Self::Rotate(_) => "rotate",
            Self::Rewrap(_) => "rewrap",
            Self::Disable(_) => "disable",
            Self::Enable(_) => "enable",
            Self::Delete(_) => "delete",
            Self::Recover(_) => "recover",
            Self::Purge(_) => "purge",
            Self::BackUpKey(_) => "back-up-key",
            Self::RestoreKey(_) => "restore-key",
            Self::ProtectFromPurge(_) => "protect-from-purge",
            Self::Create(_) => "create",
            Self::Write(_) => "write",
            Self::Protect(_) => "protect",
            Self::Unprotect(_) => "unprotect",
            Self::Rekey(_) => "rekey",
            Self::Steal(_) => "steal",
            Self::BackUp(_) => "back-up",
            Self::Restore(_) => "restore",
            Self::Advance(_) => "advance",
            Self::Link(_) => "link",
            Self::Install(_) => "install",
            Self::Migrate(_) => "migrate",
            Self::CreatePolicy(_) => "create-policy",
            Self::Grant(_) => "grant",
            Self::Revoke(_) => "revoke",
            Self::SharePolicy(_) => "share-policy",
            Self::DeletePolicy(_) => "delete-policy",
            Self::RestorePolicy(_) => "restore-policy",
            Self::Apply(_) => "apply",
            Self::RemoveFromPolicy(_) => "remove-from-policy",
            Self::EnableEnvironment(_) => "enable-environment",
            Self::BackUpEnvironment(_) => "back-up-environment",
            Self::RestoreEnvironment(_) => "restore-environment",
            Self::CopyEnvironment(_) => "copy-environment",
            Self::ResetEnvironment(_) => "reset-environment",
            Self::SetVault(_) => "set-vault",
            Self::DeleteVault(_) => "delete-vault",
            Self::RecoverVault(_) => "recover-vault",
            Self::PurgeVault(_) => "purge-vault",
            Self::SwitchLockbox(_) => "switch-lockbox",
            Self::RequestAccess(_) => "request-access",
            Self::Approve(_) => "approve",
            Self::Deny(_) => "deny",
            Self::RevokeAccess(_) => "revoke-access",
            Self::ReadAs(_) => "read-as",
            Self::Attack(_) => "attack",
            Self::Load(_) => "load",
            Self::Readable(_) => "readable",
            Self::Unreadable(_) => "unreadable",
            Self::Refused(_) => "refused",
            Self::Query(_) => "query",
            Self::OnlyKeysChanged(_) => "only-keys-changed",
            Self::Noise(_) => "noise",
            Self::Audited(_) => "audited",
            Self::NotProtected(_) => "not-protected",
            Self::Warned(_) => "warned",
            Self::Coverage(_) => "coverage",
            Self::State(_) => "state",
            Self::Recorded(_) => "recorded",
        }
    }

    /// What is done, in an infinitive; what is expected, in a sentence.
    pub(super) fn told(&self) -> String {
        let places = |what: &Several<Place>| {
            let names: Vec<String> = what.iter().map(|place| place.value.0.to_string()).collect();
            names.join(", ")
        };
        let version = |of: &VersionOf| match &of.version {
            Some(version) => format!("version {} of {}", version.value, key(&of.key.value.0)),
            None => key(&of.key.value.0),
        };
        match self {
            Self::CreateKey(new) => format!("create the key {}", key(&new.key.value.0)),
            Self::Rotate(at) => format!("rotate {}", key(&at.value.0)),
            Self::Rewrap(what) => format!("rewrap {}", places(what)),
            Self::Disable(of) => format!("disable {}", version(of)),
            Self::Enable(of) => format!("enable {}", version(of)),
            Self::Delete(at) => format!("delete {}", key(&at.value.0)),
            Self::Recover(at) => format!("recover {}", key(&at.value.0)),
            Self::Purge(at) => format!("purge {}", key(&at.value.0)),
            Self::BackUpKey(backup) => format!("back up {}", key(&backup.key.value.0)),
            Self::RestoreKey(name) => format!("restore the key from {}", name.value.0),
            Self::ProtectFromPurge(vault) => {
                format!("protect the vault {} from purge", vault.value.0)
            }
            Self::Create(create) => format!("create {}", create.what.value.0),
            Self::Write(write) => format!("write into {}", write.to.value.0),
            Self::Protect(protect) => {
                format!(
                    "put {} under {}",
                    places(&protect.what),
                    key(&protect.key.value.0)
                )
            }
            Self::Unprotect(what) => format!("take {} from the customer's key", places(what)),
            Self::Rekey(place) => format!("rekey {}", place.value.0),
            Self::Steal(name) => format!("steal {}", name.value.0),
            Self::BackUp(name) => format!("back up {}", name.value.0),
            Self::Restore(restore) => {
                format!(
                    "restore {} into {}",
                    restore.copy.value.0, restore.into.value.0
                )
            }
            Self::Advance(by) => format!("advance the clock by {:#}", by.value.0),
            Self::Attack(attack) => format!("Attacks on {} come to nothing", attack.copy.value.0),
            Self::Load(load) => format!("{} under load", places(&load.on)),
            Self::Readable(readable) => format!(
                "What was written into {} can be read",
                places(&readable.what)
            ),
            Self::Unreadable(unreadable) => {
                format!("Nothing of {} can be read", places(&unreadable.what))
            }
            Self::Refused(refused) => {
                format!(
                    "to {} is refused with {}",
                    refused.act.told(),
                    refused.code.0
                )
            }
            Self::Query(query) => format!("A query of {} gives these rows", query.from.value.0),
            Self::OnlyKeysChanged(changed) => {
                format!(
                    "only keys of {} changed since {}",
                    places(&changed.what),
                    changed.since.value.0
                )
            }
            Self::Noise(noise) => {
                format!(
                    "To every detector {} is noise in {}",
                    places(&noise.what),
                    noise.copy.value.0
                )
            }
            Self::Audited(audited) => format!("The audit log records {}", audited.operation.0),
            Self::NotProtected(declared) => declared.claim.clone(),
            other => other.told_in_landscape(),
        }
    }
}

impl Stage {
    /// Does something. Facts go to `teller`, and warnings to the stage's.
    ///
    /// # Errors
    /// Why it was refused. What it had done before it was is undone, as far as what it stands on does so.
    ///
    /// # Panics
    /// For an expectation.
    pub(super) fn perform(
        &mut self,
        act: &Act,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        self.warnings.clear();
        match act {
            Act::CreateKey(new) => {
                let (vault, name) = self.key(&new.key.value)?;
                let made = vault.create_key(&name, &KeySpec::new(new.kind.0))?;
                let version = short(made.kid.version);
                teller.fact(
                    "Key made",
                    format!(
                        "{}, {}, version {version}",
                        key(&new.key.value.0),
                        new.kind.0
                    ),
                );
                self.names.keys.insert(key(&new.key.value.0));
            }
            Act::Rotate(at) => {
                let (vault, name) = self.key(&at.value)?;
                let old = vault.key(&name, None)?.kid.version;
                let new = vault.rotate_key(&name)?.kid.version;
                let told = format!(
                    "{}: version {} -> {}",
                    key(&at.value.0),
                    short(old),
                    short(new)
                );
                teller.fact("Key rotated", told);
            }
            Act::Rewrap(what) => self.rewrap(what, teller)?,
            Act::Disable(of) => self.enable(of, false, teller)?,
            Act::Enable(of) => self.enable(of, true, teller)?,
            Act::Delete(at) => {
                let (vault, name) = self.key(&at.value)?;
                let until = vault.delete_key(&name)?.scheduled_purge;
                let told = format!("{}; it can be recovered until {until:.0}", key(&at.value.0));
                teller.fact("Key deleted", told);
            }
            Act::Recover(at) => {
                let (vault, name) = self.key(&at.value)?;
                vault.recover_key(&name)?;
                teller.fact("Key recovered", key(&at.value.0));
            }
            Act::Purge(at) => {
                let (vault, name) = self.key(&at.value)?;
                vault.purge_key(&name)?;
                teller.fact("Key purged", key(&at.value.0));
            }
            Act::BackUpKey(backup) => {
                let (vault, name) = self.key(&backup.key.value)?;
                let bytes = vault.backup_key(&name)?;
                let told = format!(
                    "{}, {}, kept as {}",
                    key(&backup.key.value.0),
                    size(bytes.len() as u64),
                    backup.name.value.0
                );
                teller.fact("Key backed up", told);
                self.backups.insert(backup.name.value.0.clone(), bytes);
            }
            Act::RestoreKey(name) => {
                let bytes = self.backups.get(&name.value.0).ok_or_else(|| {
                    ScenarioError::input(name.value.0.as_str().as_ref(), "this backup was not made")
                })?;
                let restored = self.restore_key(bytes)?;
                teller.fact("Key restored", format!("{restored}, from {}", name.value.0));
            }
            Act::ProtectFromPurge(vault) => {
                self.vault(&vault.value.0)?.enable_purge_protection()?;
                teller.fact(
                    "Purge protection",
                    format!("on in the vault {}, for good", vault.value.0),
                );
            }
            Act::Create(create) => {
                let address = self.resolve(&create.what.value.0);
                let told = self.create(&address, &create.resource)?;
                teller.fact(&self.label(&address), told);
            }
            Act::Write(write) => self.write(write, teller)?,
            Act::Protect(protect) => self.protect(protect, teller)?,
            Act::Unprotect(what) => {
                for place in what.iter() {
                    let address = self.resolve(&place.value.0);
                    let workspace = self.workspace(&address);
                    let to = Protection::ServiceManaged {
                        key: workspace.service_key(),
                    };
                    workspace.set_protection(&address, &to, &mut |_, _| ())?;
                    teller.fact(&self.label(&address), "under the provider's key");
                }
            }
            Act::Rekey(place) => {
                let address = self.resolve(&place.value.0);
                let done = self
                    .workspace(&address)
                    .change_key_in_place(&address, &mut |_, _| ())?;
                let pages = count(done.pages);
                teller.fact(
                    &address.to_string(),
                    format!("a new data key; {pages} pages sealed anew"),
                );
                if self.has_landscape && self.names.site(&address).is_none() {
                    self.landscape()?.look_again(&address)?;
                }
            }
            Act::Steal(name) => {
                let manifest = self.copy(&name.value.0, teller)?;
                let told = format!(
                    "{}: every byte on disk except the vaults, as {}",
                    Self::copied(&manifest),
                    name.value.0
                );
                teller.fact("Stolen", told);
                teller.report().stolen(name.value.0.as_str(), manifest);
            }
            Act::BackUp(name) => {
                let manifest = self.copy(&name.value.0, teller)?;
                teller.fact(
                    "Backed up",
                    format!("{}, as {}", Self::copied(&manifest), name.value.0),
                );
            }
            Act::Restore(restore) => self.bring_back(restore, teller)?,
            Act::Advance(by) => {
                self.clock.advance(by.value.0);
                use crate::base::Clock;
                teller.fact(
                    "The clock",
                    format!("{:#} later: {:.0}", by.value.0, self.clock.now()),
                );
                self.advance_landscape(by.value.0, teller)?;
            }
            other => return self.govern(other, teller),
        }
        self.catch_up()
    }

    fn rewrap(
        &mut self,
        what: &Several<Place>,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        for place in what.iter() {
            let address = self.resolve(&place.value.0);
            let workspace = self.workspace(&address);
            workspace.refuse_in_landscape(&address)?;
            let protection = workspace.resource(&address)?.1.protection;
            let begun = Instant::now();
            let mut resource = workspace.open_resource(&address)?;
            let done = resource.rewrap(&protection)?;
            let told = format!(
                "rewrapped in {}: {} bytes written, {} of data left alone",
                millis(begun.elapsed()),
                count(done.bytes_rewritten),
                count(done.bytes_untouched)
            );
            teller.fact(&self.label(&address), told);
        }
        Ok(())
    }

    fn enable(
        &mut self,
        of: &VersionOf,
        enabled: bool,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (vault, name) = self.key(&of.key.value)?;
        let version = match &of.version {
            None => None,
            Some(number) => {
                let all = vault.key_versions(&name, Page::all())?;
                let found = all.get(number.value as usize - 1);
                let missing = || {
                    let what = format!(
                        "version {} of {name}, which has {}",
                        number.value,
                        all.len()
                    );
                    VaultError::KeyNotFound(what)
                };
                Some(found.ok_or_else(missing)?.kid.version)
            }
        };
        let update = KeyUpdate {
            enabled: Some(enabled),
            ..KeyUpdate::default()
        };
        let updated = vault.update_key(&name, version, &update)?;
        let did = if enabled {
            "Key enabled"
        } else {
            "Key disabled"
        };
        let told = format!(
            "{}, version {}",
            key(&of.key.value.0),
            short(updated.kid.version)
        );
        teller.fact(did, told);
        match enabled {
            true => Ok(()),
            false => self.warn_of_use(&updated.kid, teller),
        }
    }

    /// Whichever vault it is of takes it.
    fn restore_key(&self, bytes: &[u8]) -> Result<String, ScenarioError> {
        let mut refused = None;
        for (which, ..) in self.world.vaults()? {
            match self.vault(&which)?.restore_key(bytes) {
                Ok(restored) => return Ok(restored.kid.name.to_string()),
                // The vault that it is of has a reason of its own.
                Err(e @ VaultError::Conflict(_)) => return Err(e.into()),
                Err(e @ VaultError::DeletedButRecoverable { .. }) => return Err(e.into()),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(refused.expect("a world has vaults").into())
    }

    fn write(&mut self, write: &Write, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let address = self.resolve(&write.to.value.0);
        let mut places = vec![address.clone()];
        if self.has_twin(&address) {
            places.push(twin(&address));
        }
        for place in &places {
            let workspace = self.workspace(place);
            match &write.sql {
                Some(sql) => execute(&workspace.open_sql(place)?, sql)?,
                None => {
                    let account = workspace.open_storage(place)?;
                    for (name, text) in &write.blobs {
                        put(&account, name, text)?;
                    }
                }
            }
        }
        for place in &places {
            self.learn_again(place)?;
        }
        let held = self.known[&address.to_string()].held.size();
        teller.fact(&self.label(&address), format!("written to; {held} now"));
        Ok(())
    }

    fn protect(&mut self, protect: &Protect, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let key_of = self.world.customer_key(Some(&protect.key.value.0))?;
        let to = Protection::CustomerManaged { key: key_of };
        for place in protect.what.iter() {
            let address = self.resolve(&place.value.0);
            let done = self
                .workspace(&address)
                .set_protection(&address, &to, &mut |_, _| ())?;
            let told = format!(
                "under the key {}: {} bytes written, {} of data left alone",
                key(&protect.key.value.0),
                count(done.bytes_rewritten),
                count(done.bytes_untouched)
            );
            teller.fact(&self.label(&address), told);
        }
        Ok(())
    }

    fn bring_back(
        &mut self,
        restore: &Restore,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let site = restore.at.as_ref().map(|at| at.value.0.clone());
        let (copy, into) = (&restore.copy.value.0, &restore.into.value.0);
        let restored = self.restore(copy, into, &site)?;
        let at = match &site {
            Some(stranger) => format!(", at {stranger}'s"),
            None => String::new(),
        };
        teller.fact(
            "Restored",
            format!("{copy}, {restored} resources, into {into}{at}"),
        );
        Ok(())
    }

    /// An address as short as it is told: without the environment that is meant where none is named.
    pub(super) fn label(&self, address: &ResourceAddress) -> String {
        self.names.short(address)
    }

    /// The resources of a list.
    pub(super) fn all(&self, what: &Several<Place>) -> Vec<ResourceAddress> {
        what.iter()
            .map(|place: &At<Place>| self.resolve(&place.value.0))
            .collect()
    }
}

fn short(version: KeyVersion) -> String {
    version.to_string()[..8].to_owned()
}
