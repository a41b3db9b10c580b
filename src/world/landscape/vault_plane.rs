//! What is done to a whole vault: where it is, who reaches it, and its deletion. A vault that is deleted
//! keeps its name and its keys; who recovers it does not get the grants back.

use jiff::{SignedDuration, Timestamp};

use crate::world::{WhichVault, WorldError};

use super::Landscape;
use super::clock;
use super::entities::{Policy, VaultFacts};
use super::events::by_provider;
use super::health::SERVICES;
use super::region::Region;
use super::rules::{Rule, Told};
use super::turn::refused;

impl Landscape<'_> {
    /// What the management plane knows of a vault.
    pub fn vault_facts(&self, vault: &WhichVault) -> Result<VaultFacts, WorldError> {
        self.workspace.identity_of(vault)?;
        let found = self.store().read(|tx| tx.find(vault.name()))?;
        Ok(found.unwrap_or_else(|| VaultFacts {
            name: vault.name().to_owned(),
            region: None,
            network_closed: false,
            trusted_services: true,
            deleted: None,
            purged: None,
        }))
    }

    /// Says where a vault is, and who reaches it; what is `None` stays. A closed network that trusted services
    /// may not pass locks every environment of its policies.
    pub fn set_vault(
        &self,
        vault: &WhichVault,
        region: Option<&Region>,
        network_closed: Option<bool>,
        trusted_services: Option<bool>,
    ) -> Result<VaultFacts, WorldError> {
        self.change_vault(vault, "VaultUpdated", |facts, _| {
            if let Some(region) = region {
                facts.region = Some(region.clone());
            }
            facts.network_closed = network_closed.unwrap_or(facts.network_closed);
            facts.trusted_services = trusted_services.unwrap_or(facts.trusted_services);
            Ok(())
        })
    }

    /// Deletes a vault softly: every environment of its policies is locked at once.
    pub fn delete_vault(&self, vault: &WhichVault) -> Result<VaultFacts, WorldError> {
        self.change_vault(vault, "VaultDeleted", |facts, now| match facts.deleted {
            Some(_) => Err(WorldError::Usage(format!(
                "the vault {} is deleted",
                facts.name
            ))),
            None => {
                facts.deleted = Some(now);
                Ok(())
            }
        })
    }

    /// Recovers a deleted vault. The grants on its keys are gone, and its environments stay locked.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when it is not deleted, or was for longer than its retention.
    pub fn recover_vault(&self, vault: &WhichVault) -> Result<Told<VaultFacts>, WorldError> {
        let settings = self.workspace.keys(vault, SERVICES)?.settings()?;
        let value = self.change_vault(vault, "VaultRecovered", |facts, now| {
            let ended = facts
                .deleted
                .map(|at| purged_at(at, settings.retention_days));
            if let Some(ended) = ended.filter(|at| *at <= now) {
                return Err(WorldError::Usage(format!(
                    "the vault {} cannot be recovered: its retention ended on {ended}",
                    facts.name
                )));
            }
            if facts.purged.is_some() || facts.deleted.take().is_none() {
                return Err(WorldError::Usage(format!(
                    "the vault {} cannot be recovered: it is not deleted, or purged",
                    facts.name
                )));
            }
            Ok(())
        })?;
        let policies = self.all::<Policy>()?;
        let of = policies.iter().filter(|policy| policy.vault.0 == *vault);
        let policies: Vec<_> = of.map(|policy| policy.name.to_string()).collect();
        let warning = Rule::GrantsLost.broken(
            format_args!(
                "recovering the vault {vault} does not bring back the grants of {}",
                match policies.is_empty() {
                    true => "any policy".to_owned(),
                    false => policies.join(", "),
                }
            ),
            "grant each policy's identity again (`atrest policy grant`), and enable each environment",
        );
        Ok(Told {
            value,
            warnings: vec![warning],
        })
    }

    /// Purges a deleted vault.
    ///
    /// # Errors
    /// [`Rule::PurgeProtected`] with the time until which it is protected.
    pub fn purge_vault(&self, vault: &WhichVault) -> Result<VaultFacts, WorldError> {
        let settings = self.workspace.keys(vault, SERVICES)?.settings()?;
        self.change_vault(vault, "VaultPurged", |facts, now| {
            let Some(deleted) = facts.deleted else {
                return Err(WorldError::Usage(format!(
                    "the vault {} is not deleted",
                    facts.name
                )));
            };
            let until = purged_at(deleted, settings.retention_days);
            if settings.purge_protection && now < until {
                return refused(
                    Rule::PurgeProtected,
                    format_args!(
                        "the vault {} is under purge protection until {until}",
                        facts.name
                    ),
                    "wait, or recover it",
                );
            }
            if let Some(at) = facts.purged.replace(now) {
                return Err(WorldError::Usage(format!(
                    "the vault {} was purged on {at}",
                    facts.name
                )));
            }
            Ok(())
        })
    }

    fn change_vault(
        &self,
        vault: &WhichVault,
        operation: &str,
        change: impl FnOnce(&mut VaultFacts, Timestamp) -> Result<(), WorldError>,
    ) -> Result<VaultFacts, WorldError> {
        if *vault == WhichVault::Provider {
            return Err(WorldError::Usage(
                "the provider's vault is not the customer's to change; name one of the customer's"
                    .into(),
            ));
        }
        let turn = self.begin()?;
        let mut facts = self.vault_facts(vault)?;
        if let Err(e) = change(&mut facts, turn.now) {
            return self.refuse(&turn, &"vault", operation, vault, e);
        }
        self.store().write(|tx| {
            tx.put(&facts)?;
            // With the vault its role assignments went, and they do not come back.
            if facts.deleted.is_some() {
                for mut policy in tx.all::<Policy>()? {
                    if policy.vault.0 == *vault {
                        policy.grants.clear();
                        tx.put(&policy)?;
                    }
                }
            }
            let mut event = by_provider(turn.now, operation, vault, "");
            event.actor = "vault".into();
            tx.record(&event)
        })?;
        self.settle_time(turn.now)?;
        Ok(facts)
    }
}

fn purged_at(deleted: Timestamp, days: u8) -> Timestamp {
    clock::after(deleted, SignedDuration::from_hours(i64::from(days) * 24))
}
