//! Whether a policy's key can be used, and what its vault and key must be.

use jiff::Timestamp;

use crate::base::{KeyName, KeyRef, KeyVersion};
use crate::crypto::KeyKind;
use crate::resource::Protection;
use crate::vault::{KeyBundle, KeyOperation, VaultError};
use crate::world::{AnyVault, WorldError};

use super::Landscape;
use super::entities::{Policy, Tenant, VaultFacts};
use super::gate::{missing_grants, out_of_reach};
use super::rules::{Refusal, Rule};
use super::turn::refused;

/// How the audit log of a vault names the services.
pub(super) const SERVICES: &str = "power-platform";
/// The setting that lists the kinds of key that a policy takes.
const ALLOWED_KEYS: &str = "allowed-keys";
const USUALLY_ALLOWED: &str = "rsa-2048 rsa-3072";

impl Landscape<'_> {
    pub(super) fn vault_of(&self, policy: &Policy) -> Result<Box<dyn AnyVault>, VaultError> {
        self.workspace.keys(&policy.vault.0, SERVICES)
    }

    /// The key of a policy, as resources are protected by it.
    pub(super) fn protection_by(&self, policy: &Policy) -> Result<Protection, WorldError> {
        Ok(Protection::CustomerManaged {
            key: KeyRef {
                vault: self.workspace.identity_of(&policy.vault.0)?,
                name: policy.key.clone(),
            },
        })
    }

    pub(super) fn facts(&self, policy: &Policy) -> Result<Option<VaultFacts>, WorldError> {
        self.store().read(|tx| tx.find(policy.vault.0.name()))
    }

    /// Why the key of a policy cannot be used at `now`; `None` when it can.
    pub fn trigger(&self, policy: &Policy, now: Timestamp) -> Result<Option<String>, WorldError> {
        if let Some(trigger) = out_of_reach(policy, self.facts(policy)?.as_ref()) {
            return Ok(Some(trigger));
        }
        let vault = match self.vault_of(policy) {
            Err(
                e @ (VaultError::Sealed
                | VaultError::Unreachable { .. }
                | VaultError::VaultNotFound(_)),
            ) => {
                return Ok(Some(e.to_string()));
            }
            vault => vault?,
        };
        let used = policy.versions.iter().filter(|(_, known)| known.in_use);
        for (version, _) in used {
            if let Some(trigger) = version_trigger(&*vault, &policy.key, version, now)? {
                return Ok(Some(trigger));
            }
        }
        Ok(None)
    }

    /// The newest version of a policy's key.
    pub(super) fn newest(&self, policy: &Policy) -> Result<KeyBundle, WorldError> {
        Ok(self.vault_of(policy)?.key(&policy.key, None)?)
    }

    /// Which kinds of key a policy takes.
    pub fn allowed_keys(&self) -> Result<Vec<String>, WorldError> {
        let text = self.store().read(|tx| tx.setting(ALLOWED_KEYS))?;
        let text = text.unwrap_or_else(|| USUALLY_ALLOWED.to_owned());
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Sets which kinds of key a policy takes: pages disagree on it.
    pub fn allow_keys(&self, kinds: &[KeyKind]) -> Result<(), WorldError> {
        let _turn = self.begin()?;
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        self.store()
            .write(|tx| tx.set(ALLOWED_KEYS, &names.join(" ")))
    }

    /// What a policy's vault and key must be: P1, P2, P3.
    pub(super) fn check_vault_and_key(
        &self,
        tenant: &Tenant,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), WorldError> {
        if !tenant.provider_registered {
            return refused(
                Rule::ProviderUnregistered,
                format_args!(
                    "the subscription of {} has not registered Microsoft.PowerPlatform",
                    tenant.name
                ),
                format_args!("register it: `atrest tenant register {}`", tenant.name),
            );
        }
        let geography = policy.location.geography();
        if self.regions_off()?.iter().any(|off| off == geography) {
            return refused(
                Rule::Location,
                format_args!("the feature is not rolled out in {geography}"),
                "wait until it is, or use another geography",
            );
        }
        let facts = self.facts(policy)?;
        let region = facts.as_ref().and_then(|facts| facts.region.clone());
        if let Some(region) = region.filter(|region| region.geography() != geography) {
            return refused(
                Rule::RegionMismatch,
                format_args!(
                    "the vault {} is in {region}, the policy in {}",
                    policy.vault.0, policy.location
                ),
                "take a vault in the policy's geography",
            );
        }
        if let Some(trigger) = facts.as_ref().and_then(|facts| {
            let granted = Policy {
                grants: super::Permission::ALL.into(),
                deleted: None,
                ..policy.clone()
            };
            out_of_reach(&granted, Some(facts))
        }) {
            return refused(
                Rule::KeyAccess,
                trigger,
                "let the vault answer trusted services",
            );
        }
        let vault = self.vault_of(policy)?;
        if !vault.settings()?.purge_protection {
            return refused(
                Rule::VaultUnprotected,
                format_args!(
                    "the vault {} has soft-delete, and no purge protection",
                    policy.vault.0
                ),
                format_args!(
                    "protect it: `atrest vault --vault {} protect-purge`",
                    policy.vault.0
                ),
            );
        }
        let newest = vault.key(&policy.key, None)?;
        let allowed = self.allowed_keys()?;
        if !allowed.iter().any(|kind| kind == newest.kind.name()) {
            return refused(
                Rule::KeyUnsupported,
                format_args!(
                    "the key {} is {}; allowed are {}",
                    policy.key,
                    newest.kind.name(),
                    allowed.join(", ")
                ),
                "make another key",
            );
        }
        let version = newest.kid.version.to_string();
        let early = newest.attributes.not_before.filter(|at| *at > now);
        let early = early.map(|at| format!("the key {} is not valid before {at}", policy.key));
        let trigger = version_trigger(&*vault, &policy.key, &version, now)?;
        match trigger.or(early) {
            Some(trigger) => refused(
                Rule::KeyAccess,
                trigger,
                "make the key usable, or a new version",
            ),
            None => Ok(()),
        }
    }

    /// What the policy's identity must have: P6.
    pub(super) fn check_grants(&self, policy: &Policy) -> Result<(), WorldError> {
        let missing = missing_grants(policy);
        if missing.is_empty() {
            return Ok(());
        }
        refused(
            Rule::KeyAccess,
            format_args!(
                "the identity of the policy {} lacks {}; nothing was changed",
                policy.name,
                missing.join(", ")
            ),
            format_args!(
                "grant it Key Vault Crypto Service Encryption User: `atrest policy grant {}`",
                policy.name
            ),
        )
    }
}

/// Why a version cannot be used, when it cannot. An expired one unwraps, and is used by no service.
pub(super) fn version_trigger(
    vault: &dyn AnyVault,
    key: &KeyName,
    version: &str,
    now: Timestamp,
) -> Result<Option<String>, WorldError> {
    let parsed: KeyVersion = version.parse().map_err(|_| WorldError::Malformed {
        path: super::LANDSCAPE.into(),
        why: format!("{version:?} is no version"),
    })?;
    let short = version.get(..8).unwrap_or(version);
    Ok(match vault.key(key, Some(parsed)) {
        Ok(bundle) if !bundle.attributes.enabled => {
            Some(format!("version {short} of the key {key} is disabled"))
        }
        Ok(bundle) if bundle.attributes.expires.is_some_and(|at| at <= now) => {
            Some(format!("version {short} of the key {key} has expired"))
        }
        Ok(bundle) => {
            let needed = [KeyOperation::WrapKey, KeyOperation::UnwrapKey];
            let missing = needed.iter().find(|op| !bundle.operations.contains(op));
            missing.map(|op| format!("version {short} of the key {key} does not permit {op}"))
        }
        Err(VaultError::KeyDeleted { .. }) => Some(format!("the key {key} is deleted")),
        Err(VaultError::KeyNotFound(_)) => Some(match vault.deleted_key(key) {
            Ok(_) => format!("the key {key} is deleted"),
            Err(_) => format!("version {short} of the key {key} is gone"),
        }),
        Err(e) => return Err(e.into()),
    })
}

/// The versions of a policy's key that something is under, and that the key of that name does not have: it is
/// another key.
pub(super) fn other_material(
    landscape: &Landscape<'_>,
    policy: &Policy,
) -> Result<Option<Refusal>, WorldError> {
    let Ok(vault) = landscape.vault_of(policy) else {
        return Ok(None);
    };
    let Ok(newest) = vault.key(&policy.key, None) else {
        return Ok(None);
    };
    for (version, known) in policy.versions.iter().filter(|(_, known)| known.in_use) {
        let parsed: Option<KeyVersion> = version.parse().ok();
        let found = parsed.and_then(|version| vault.key(&policy.key, Some(version)).ok());
        if found.is_none_or(|found| found.thumbprint != known.thumbprint) {
            return Ok(Some(Rule::WrongKey.broken(
                format_args!(
                    "the key {} is another one: its thumbprint is {}, and {} is expected (version {})",
                    policy.key,
                    newest.thumbprint,
                    known.thumbprint,
                    version.get(..8).unwrap_or(version)
                ),
                "recover the key that the environments are under, or restore its backup",
            )));
        }
    }
    Ok(None)
}
