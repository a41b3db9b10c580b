//! What stands between an environment's resources and the vaults: the policy's identity and its grants,
//! the vault's network, and the environment's own state. Each use of the customer's key passes here.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;

use crate::base::{KeyRef, KeyVersionRef, VaultId};
use crate::crypto::{Secret, WrapAlgorithm};
use crate::vault::{KeyWrapper, VaultError, WrappedKey, revision};
use crate::world::{Name, VaultSet, WhichVault, WorldError};

use super::clock;
use super::entities::{
    Entity, FinanceEnvironment, POWER_SUFFIX, Permission, Policy, PowerEnvironment, VaultFacts,
};
use super::state::KeyState;
use super::store::{Store, Tx};

/// The vaults, as the resources of one environment reach them.
pub struct Gate {
    vaults: Arc<VaultSet>,
    store: Arc<Store>,
    place: Name,
    provider: VaultId,
}

impl Gate {
    pub(in crate::world) fn new(
        vaults: Arc<VaultSet>,
        store: Arc<Store>,
        place: Name,
        provider: VaultId,
    ) -> Self {
        Self {
            vaults,
            store,
            place,
            provider,
        }
    }

    /// Refuses what the environment's policy does not allow. The provider's key is no policy's.
    fn allow(&self, key: &KeyRef, version: Option<&KeyVersionRef>) -> Result<(), VaultError> {
        if key.vault == self.provider {
            return Ok(());
        }
        let refused = |why: String| VaultError::Forbidden {
            key: key.to_string(),
            why,
            advice: "see `atrest policy show` and `atrest env show`",
        };
        let unreadable = |e: WorldError| VaultError::Store {
            path: super::LANDSCAPE.into(),
            why: e.to_string(),
        };
        let governed = self.store.read(|tx| {
            let Some(power) = governing(tx, &self.place)? else {
                return Ok(None);
            };
            let Some(name) = power.key.policy() else {
                return Ok(None);
            };
            let policy: Policy = tx.get(name.as_str())?;
            let facts: Option<VaultFacts> = tx.find(policy.vault.0.name())?;
            Ok(Some((power, policy, facts, clock::now(tx)?)))
        });
        let Some((power, policy, facts, now)) = governed.map_err(unreadable)? else {
            return Ok(());
        };
        match &power.key {
            KeyState::Locked { trigger, .. } => {
                return Err(refused(format!(
                    "is not used: E_LOCKED (L2): the environment {} is locked ({trigger})",
                    power.name
                )));
            }
            KeyState::Deleted { .. } => {
                return Err(refused(format!(
                    "is not used: the environment {} was deleted",
                    power.name
                )));
            }
            _ => {}
        }
        // Another key of the customer's is not the policy's: only the environment's own state counts for it.
        if key.name != policy.key {
            return Ok(());
        }
        if let Some(trigger) = out_of_reach(&policy, facts.as_ref()) {
            return Err(refused(format!("is not used: {trigger}")));
        }
        let which = &policy.vault.0;
        if let Some(version) = version
            && has_expired(&self.vaults, which, version, now)?
        {
            return Err(refused(
                "has expired, which the services treat as access lost".into(),
            ));
        }
        Ok(())
    }
}

/// Whether a version has expired. The vault unwraps with it still; the services do not use it.
fn has_expired(
    vaults: &VaultSet,
    which: &WhichVault,
    version: &KeyVersionRef,
    now: Timestamp,
) -> Result<bool, VaultError> {
    let vault = vaults.keys(which, "power-platform")?;
    match vault.key(&version.name, Some(version.version)) {
        Ok(bundle) => Ok(bundle.attributes.expires.is_some_and(|at| at <= now)),
        // What else is wrong with it, the vault says when it is used.
        Err(_) => Ok(false),
    }
}

/// The Power Platform environment that decides over the working directory's environment `place`: it is its
/// own, or that of the finance-and-operations environment that is linked to it.
pub(super) fn governing(tx: &Tx<'_>, place: &Name) -> Result<Option<PowerEnvironment>, WorldError> {
    if let Some(finance) = tx.find::<FinanceEnvironment>(place.as_str())? {
        return match finance.link.completed() {
            Some(power) => Ok(Some(tx.get(power.as_str())?)),
            None => Ok(None),
        };
    }
    match place.as_str().strip_suffix(POWER_SUFFIX) {
        Some(power) => tx.find(power),
        None => Ok(None),
    }
}

/// Whether `place` belongs to the landscape, so that its rules decide over keys there: what it is.
pub(in crate::world) fn owner(tx: &Tx<'_>, place: &Name) -> Result<Option<String>, WorldError> {
    let text = place.as_str();
    if tx.find::<FinanceEnvironment>(text)?.is_some() {
        return Ok(Some(format!("{} {text}", FinanceEnvironment::WORD)));
    }
    if let Some(power) = text.strip_suffix(POWER_SUFFIX)
        && tx.find::<PowerEnvironment>(power)?.is_some()
    {
        return Ok(Some(format!("{} {power}", PowerEnvironment::WORD)));
    }
    super::services::owner(tx, text)
}

/// Why the policy's identity does not get through to the key, apart from the key itself.
pub(super) fn out_of_reach(policy: &Policy, facts: Option<&VaultFacts>) -> Option<String> {
    if policy.deleted.is_some() {
        return Some(format!("the policy {} was deleted", policy.name));
    }
    if let Some(facts) = facts {
        if facts.purged.is_some() {
            return Some(format!("the vault {} was purged", facts.name));
        }
        if facts.deleted.is_some() {
            return Some(format!("the vault {} was deleted", facts.name));
        }
        if facts.network_closed && !facts.trusted_services {
            return Some(format!(
                "the network of the vault {} is closed, and trusted services may not pass",
                facts.name
            ));
        }
    }
    let missing = missing_grants(policy);
    (!missing.is_empty()).then(|| format!("the policy's identity lacks {}", missing.join(", ")))
}

/// What the policy's identity lacks.
pub(super) fn missing_grants(policy: &Policy) -> Vec<&'static str> {
    let missing = Permission::ALL
        .into_iter()
        .filter(|p| !policy.grants.contains(p));
    missing.map(Permission::name).collect()
}

impl KeyWrapper for Gate {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.allow(key, None)?;
        self.vaults.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.allow(&key.key(), Some(key))?;
        self.vaults.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        revision()
    }
}
