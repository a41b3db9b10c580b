//! Enterprise policies: what names a key, and whose identity may use it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::base::KeyName;
use crate::crypto::random_bytes;
use crate::world::{WhichVault, WorldError};

use super::Landscape;
use super::entities::{Duty, Permission, Person, Policy, Tenant, VaultFacts, WhichVaultText};
use super::events::by_provider;
use super::names::{PersonName, PolicyName, TenantName};
use super::people::with_duty;
use super::region::Region;
use super::store::Tx;

/// A policy to be made.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its name.
    pub name: PolicyName,
    /// Whose.
    pub tenant: TenantName,
    /// Its location: a geography.
    pub location: Region,
    /// The vault of its key.
    pub vault: WhichVault,
    /// Its key; the newest version is used, and followed.
    pub key: KeyName,
}

impl Landscape<'_> {
    /// Makes an enterprise policy of kind Encryption with an identity of its own, which may do nothing yet.
    /// `by` must administer vaults and policies.
    ///
    /// # Errors
    /// [`super::Rule::Forbidden`], and what its vault and key must be: P1, P2, P3.
    pub fn create_policy(&self, new: &NewPolicy, by: &PersonName) -> Result<Policy, WorldError> {
        let turn = self.begin()?;
        let policy = Policy {
            name: new.name.clone(),
            tenant: new.tenant.clone(),
            location: new.location.clone(),
            vault: WhichVaultText(new.vault.clone()),
            key: new.key.clone(),
            identity: uuid::Builder::from_random_bytes(random_bytes()).into_uuid(),
            grants: BTreeSet::new(),
            readers: BTreeSet::new(),
            created_by: by.clone(),
            versions: BTreeMap::new(),
            current: None,
            unhealthy_since: None,
            deleted: None,
        };
        let checked = || {
            let tenant = self.store().read(|tx| {
                let tenant: Tenant = tx.get(new.tenant.as_str())?;
                with_duty(tx, by, &new.tenant, Duty::VaultAdmin)?;
                Ok(tenant)
            })?;
            if new.vault == WhichVault::Provider {
                return Err(WorldError::Usage(
                    "the provider's vault holds no customer-managed key".into(),
                ));
            }
            self.check_vault_and_key(&tenant, &policy, turn.now)?;
            self.store().write(|tx| {
                tx.add(&policy)?;
                let mut event = by_provider(turn.now, "PolicyCreated", &policy.name, "");
                event.actor = by.to_string();
                tx.record(&event)
            })
        };
        match checked() {
            Ok(()) => Ok(policy),
            Err(e) => self.refuse(&turn, by, "PolicyCreated", &new.name, e),
        }
    }

    /// Grants the policy's identity Key Vault Crypto Service Encryption User on the key, or only some of what
    /// that gives.
    ///
    /// # Errors
    /// [`super::Rule::Forbidden`]; [`WorldError::Usage`] while the vault is deleted.
    pub fn grant(
        &self,
        policy: &PolicyName,
        permissions: &[Permission],
        by: &PersonName,
    ) -> Result<Policy, WorldError> {
        self.change_policy(policy, by, "PolicyIdentityGranted", |tx, policy, _| {
            let vault = &policy.vault.0;
            let facts: Option<VaultFacts> = tx.find(vault.name())?;
            if facts.is_some_and(|facts| facts.deleted.is_some()) {
                return Err(WorldError::Usage(format!(
                    "the vault {vault} is deleted, and its grants with it: recover it first (`atrest policy vault {vault} --recover`)"
                )));
            }
            policy.grants.extend(permissions);
            Ok(())
        })
    }

    /// Takes it away again: every environment of the policy is locked at once.
    pub fn revoke(
        &self,
        policy: &PolicyName,
        permissions: &[Permission],
        by: &PersonName,
    ) -> Result<Policy, WorldError> {
        self.change_policy(policy, by, "PolicyIdentityRevoked", |_, policy, _| {
            policy.grants.retain(|grant| !permissions.contains(grant));
            Ok(())
        })
    }

    /// Gives somebody the role Reader on the policy, without which nobody adds an environment to it.
    pub fn share_policy(
        &self,
        policy: &PolicyName,
        reader: &PersonName,
        by: &PersonName,
    ) -> Result<Policy, WorldError> {
        self.change_policy(policy, by, "PolicyReaderAdded", |tx, policy, _| {
            let _: Person = tx.get(reader.as_str())?;
            policy.readers.insert(reader.clone());
            Ok(())
        })
    }

    /// Deletes the policy: every environment of it is locked at once.
    pub fn delete_policy(
        &self,
        policy: &PolicyName,
        by: &PersonName,
    ) -> Result<Policy, WorldError> {
        self.change_policy(policy, by, "PolicyDeleted", |_, policy, now| {
            if let Some(at) = policy.deleted {
                let name = &policy.name;
                return Err(WorldError::Usage(format!(
                    "the policy {name} was deleted on {at}; `atrest policy undelete {name}` makes it again"
                )));
            }
            policy.deleted = Some(now);
            Ok(())
        })
    }

    /// Brings a deleted policy back, by making it again over the same key.
    pub fn restore_policy(
        &self,
        policy: &PolicyName,
        by: &PersonName,
    ) -> Result<Policy, WorldError> {
        self.change_policy(policy, by, "PolicyRestored", |_, policy, _| {
            match policy.deleted.take() {
                Some(_) => Ok(()),
                None => Err(WorldError::Usage(format!(
                    "the policy {} is not deleted",
                    policy.name
                ))),
            }
        })
    }

    fn change_policy(
        &self,
        name: &PolicyName,
        by: &PersonName,
        operation: &str,
        change: impl FnOnce(&Tx<'_>, &mut Policy, Timestamp) -> Result<(), WorldError>,
    ) -> Result<Policy, WorldError> {
        let turn = self.begin()?;
        let changed = self.store().write(|tx| {
            let mut policy: Policy = tx.get(name.as_str())?;
            with_duty(tx, by, &policy.tenant, Duty::VaultAdmin)?;
            change(tx, &mut policy, turn.now)?;
            tx.put(&policy)?;
            let mut event = by_provider(turn.now, operation, name, "");
            event.actor = by.to_string();
            tx.record(&event)
        });
        if let Err(e) = changed {
            return self.refuse(&turn, by, operation, name, e);
        }
        // What follows from it follows at once.
        self.settle_time(turn.now)?;
        self.get(name.as_str())
    }
}
