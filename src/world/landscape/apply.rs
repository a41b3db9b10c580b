//! Putting environments under a policy's key, and back. Only wrapped keys change: not one byte of data.
//!
//! What is under way stands in the store before the first resource is touched, and what is under which key
//! stands in the resources' own files. So whoever takes a turn after a crash goes on where it stopped.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::KeyVersion;
use crate::vault::KeyBundle;
use crate::world::bulk::{Moved, Progress};
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::entities::{
    Duty, FinanceEnvironment, FinanceKind, KnownVersion, Person, Policy, PowerEnvironment,
    PowerKind, Tenant,
};
use super::events::by_provider;
use super::names::{PersonName, PolicyName, PowerName};
use super::people::with_duty;
use super::products::FLOWS;
use super::rules::{Refusal, Rule, Told};
use super::state::{KeyState, Link};
use super::store::Tx;
use super::turn::{Turn, refused};

/// What was put under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The policy.
    pub policy: String,
    /// The environments, by their Dataverse names.
    pub environments: Vec<String>,
    /// Resources whose key was wrapped anew.
    pub resources: u64,
    /// Bytes written: headers only.
    pub bytes_rewritten: u64,
    /// Bytes of data that were left alone.
    pub bytes_untouched: u64,
    /// Resources that are still under the key before, and why: their environments are in the state Failed.
    pub failed: Vec<String>,
}

impl Applied {
    fn count(&mut self, moved: &[Moved]) {
        for moved in moved {
            match &moved.result {
                Ok(done) => {
                    self.resources += 1;
                    self.bytes_rewritten += done.bytes_rewritten;
                    self.bytes_untouched += done.bytes_untouched;
                }
                Err(e) => self.failed.push(format!("{}: {e}", moved.address)),
            }
        }
    }
}

impl Landscape<'_> {
    /// Adds environments to a policy, by their Dataverse names: every environment-specific resource of each,
    /// and of what is linked to it, goes under the policy's key. The same command goes on after a failure.
    ///
    /// # Errors
    /// The rules I5 to I7, P1 to P6, L2; nothing is changed then. What fails half way leaves the environment
    /// in the state Failed, and is told in [`Applied::failed`].
    pub fn apply(
        &self,
        policy: &PolicyName,
        environments: &[PowerName],
        by: &PersonName,
        progress: Progress<'_>,
    ) -> Result<Told<Applied>, WorldError> {
        let turn = self.begin()?;
        let named: BTreeSet<_> = environments.iter().cloned().collect();
        let environments: Vec<_> = named.into_iter().collect();
        let environments = environments.as_slice();
        match self.begin_apply(&turn, policy, environments, by) {
            Ok(warnings) => {
                let value = self.finish_apply(turn.now, policy, environments, progress)?;
                Ok(Told { value, warnings })
            }
            Err(e) => {
                let subject = environments.first().map(ToString::to_string);
                self.refuse(
                    &turn,
                    by,
                    "CMK-Renewed environment",
                    &subject.unwrap_or_default(),
                    e,
                )
            }
        }
    }

    /// Takes an environment from its policy: back under the service-managed key. The key and its grants are
    /// needed while it runs, and for restores of older backups.
    ///
    /// # Errors
    /// [`Rule::Locked`] while it is locked; [`Rule::Forbidden`].
    pub fn remove(
        &self,
        environment: &PowerName,
        by: &PersonName,
        progress: Progress<'_>,
    ) -> Result<Applied, WorldError> {
        let turn = self.begin()?;
        let begun = self.store().write(|tx| {
            let mut power = find_power(tx, environment)?;
            with_duty(tx, by, &power.tenant, Duty::PowerAdmin)?;
            let policy = match &power.key {
                KeyState::Mmk => {
                    return Err(WorldError::Usage(format!("{environment} has no policy")));
                }
                KeyState::Locked { .. } | KeyState::Deleted { .. } => return Err(locked(&power)),
                under => under.policy().expect("all others have one").clone(),
            };
            power.key = KeyState::Reverting {
                policy: policy.clone(),
                started: turn.now,
            };
            tx.put(&power)?;
            Ok(policy)
        });
        match begun {
            Ok(policy) => self.finish_remove(
                turn.now,
                &policy,
                std::slice::from_ref(environment),
                progress,
            ),
            Err(e) => self.refuse(&turn, by, "CMK-Reverted environment", environment, e),
        }
    }

    /// Goes on with what was interrupted: the process that began it is dead, since this one has the turn.
    pub(super) fn go_on(&self) -> Result<(), WorldError> {
        let powers = self.all::<PowerEnvironment>()?;
        let mut begun: Vec<(PolicyName, bool, PowerName, Timestamp)> = Vec::new();
        for power in powers {
            match power.key {
                KeyState::Applying { policy, started } => {
                    begun.push((policy, true, power.name, started))
                }
                KeyState::Reverting { policy, started } => {
                    begun.push((policy, false, power.name, started))
                }
                _ => {}
            }
        }
        while let Some((policy, applying, _, started)) = begun.first().cloned() {
            let (these, rest) = begun
                .into_iter()
                .partition(|(of, applies, ..)| *of == policy && *applies == applying);
            let these: Vec<(PolicyName, bool, PowerName, Timestamp)> = these;
            begun = rest;
            let names: Vec<_> = these.into_iter().map(|(_, _, name, _)| name).collect();
            match applying {
                true => self.finish_apply(started, &policy, &names, &|_| ())?,
                false => self.finish_remove(started, &policy, &names, &|_| ())?,
            };
        }
        self.go_on_restores()
    }

    fn begin_apply(
        &self,
        turn: &Turn,
        name: &PolicyName,
        environments: &[PowerName],
        by: &PersonName,
    ) -> Result<Vec<Refusal>, WorldError> {
        let policy: Policy = self.get(name.as_str())?;
        if policy.deleted.is_some() {
            return Err(WorldError::Usage(format!("the policy {name} was deleted")));
        }
        let mut warnings = Vec::new();
        let (tenant, powers) = self.store().read(|tx| {
            let powers: Result<Vec<_>, _> =
                environments.iter().map(|e| find_power(tx, e)).collect();
            let powers: Vec<PowerEnvironment> = powers?;
            let who = with_duty(tx, by, &policy.tenant, Duty::PowerAdmin)?;
            if !policy.readers.contains(by) {
                return refused(
                    Rule::Forbidden,
                    format_args!("{by} lacks the role Reader on the policy {name}"),
                    format_args!("give it: `atrest policy share {name} {by}`"),
                );
            }
            warnings.extend(one_hand(&policy, &who));
            for power in &powers {
                warnings.extend(may_have_policy(&policy, power)?);
            }
            Ok((tx.get::<Tenant>(policy.tenant.as_str())?, powers))
        })?;
        self.check_vault_and_key(&tenant, &policy, turn.now)?;
        self.check_grants(&policy)?;
        self.use_version(&policy.name, &self.newest(&policy)?)?;
        self.store().write(|tx| {
            for mut power in powers {
                power.key = KeyState::Applying {
                    policy: name.clone(),
                    started: turn.now,
                };
                tx.put(&power)?;
            }
            Ok(())
        })?;
        Ok(warnings)
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
        self.store().write(|tx| {
            let mut policy: Policy = tx.get(policy.name.as_str())?;
            for (version, known) in &mut policy.versions {
                known.in_use = found.iter().any(|v| v.to_string() == *version);
            }
            tx.put(&policy)
        })?;
        Ok(found)
    }

    fn finish_apply(
        &self,
        now: Timestamp,
        name: &PolicyName,
        environments: &[PowerName],
        progress: Progress<'_>,
    ) -> Result<Applied, WorldError> {
        let policy: Policy = self.get(name.as_str())?;
        let to = self.protection_by(&policy)?;
        let powers: Result<Vec<PowerEnvironment>, _> =
            environments.iter().map(|e| self.get(e.as_str())).collect();
        let powers = powers?;
        let all: Vec<_> = powers
            .iter()
            .flat_map(|power| self.resources_of(power))
            .collect();
        let left = self.not_under(&all, |at| Some(&at.key()) == to.key())?;
        let moved = self.workspace.move_all(&left, &to, progress)?;
        let mut applied = Applied {
            policy: name.to_string(),
            environments: environments.iter().map(ToString::to_string).collect(),
            ..Applied::default()
        };
        applied.count(&moved);
        let failed = Failures::of(&moved);
        self.store().write(|tx| {
            for mut power in powers {
                power.key = match failed.among(&self.resources_of(&power)) {
                    Some(why) => KeyState::Partial {
                        policy: name.clone(),
                        at: now,
                        why,
                    },
                    None => under(&power, name, now),
                };
                let word = power.key.word();
                tx.put(&power)?;
                tx.record(&by_provider(
                    now,
                    "CMK-Renewed environment",
                    &power.name,
                    word,
                ))?;
            }
            Ok(())
        })?;
        Ok(applied)
    }

    fn finish_remove(
        &self,
        now: Timestamp,
        policy: &PolicyName,
        environments: &[PowerName],
        progress: Progress<'_>,
    ) -> Result<Applied, WorldError> {
        let powers: Result<Vec<PowerEnvironment>, _> =
            environments.iter().map(|e| self.get(e.as_str())).collect();
        let powers = powers?;
        let to = self.service_managed();
        let all: Vec<_> = powers
            .iter()
            .flat_map(|power| self.resources_of(power))
            .collect();
        let left = self.not_under(&all, |at| Some(&at.key()) == to.key())?;
        let moved = self.workspace.move_all(&left, &to, progress)?;
        let mut applied = Applied {
            policy: policy.to_string(),
            environments: environments.iter().map(ToString::to_string).collect(),
            ..Applied::default()
        };
        applied.count(&moved);
        let failed = Failures::of(&moved);
        self.store().write(|tx| {
            for mut power in powers {
                power.key = match failed.among(&self.resources_of(&power)) {
                    Some(why) => KeyState::Partial {
                        policy: policy.clone(),
                        at: now,
                        why,
                    },
                    None => KeyState::Mmk,
                };
                let word = power.key.word();
                tx.put(&power)?;
                tx.record(&by_provider(
                    now,
                    "CMK-Reverted environment",
                    &power.name,
                    word,
                ))?;
            }
            Ok(())
        })?;
        self.look_at_versions(policy)?;
        Ok(applied)
    }

    /// Those of these resources that are not under a version that `is_right`.
    pub(super) fn not_under(
        &self,
        addresses: &[ResourceAddress],
        is_right: impl Fn(&crate::base::KeyVersionRef) -> bool,
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
}

/// The state of an environment all of whose stores are under the policy's key.
pub(super) fn under(power: &PowerEnvironment, policy: &PolicyName, since: Timestamp) -> KeyState {
    let policy = policy.clone();
    match power
        .services
        .iter()
        .any(|service| service.as_str() == FLOWS)
    {
        true => KeyState::Warning {
            policy,
            since,
            what: FLOWS.into(),
        },
        false => KeyState::Cmk { policy, since },
    }
}

struct Failures(std::collections::BTreeMap<String, String>);

impl Failures {
    fn of(moved: &[Moved]) -> Self {
        let failed = moved.iter().filter_map(|moved| {
            let error = moved.result.as_ref().err()?;
            Some((moved.address.to_string(), error.to_string()))
        });
        Self(failed.collect())
    }

    fn among(&self, addresses: &[ResourceAddress]) -> Option<String> {
        let mut of = addresses.iter().filter_map(|address| {
            let address = address.to_string();
            let why = self.0.get(&address)?;
            Some(format!("{address}: {why}"))
        });
        of.next()
    }
}

/// The environment of that Dataverse name, or why what was named is none.
pub(super) fn find_power(tx: &Tx<'_>, name: &PowerName) -> Result<PowerEnvironment, WorldError> {
    if let Some(found) = tx.find(name.as_str())? {
        return Ok(found);
    }
    let finance: FinanceEnvironment = match tx.find(name.as_str())? {
        Some(finance) => finance,
        None => return tx.get(name.as_str()),
    };
    if finance.kind == FinanceKind::CloudHosted {
        return refused(
            Rule::CloudHostedExcluded,
            format_args!("{name} is cloud-hosted, in the customer's own subscription"),
            "encrypt it there; no policy reaches it",
        );
    }
    match &finance.link {
        Link::Completed { power, .. } => refused(
            Rule::EnvironmentName,
            format_args!(
                "{name} is the finance and operations name; a policy takes the name of the Dataverse organisation"
            ),
            format_args!("use {power}"),
        ),
        link => refused(
            Rule::NotIntegrated,
            format_args!(
                "{name} is {} with the Power Platform, and stays on the Microsoft-managed key",
                match link {
                    Link::None => "not integrated",
                    _ => "not integrated yet",
                }
            ),
            match (finance.kind, link) {
                (FinanceKind::HrStandalone, _) => {
                    format!("migrate it: `atrest env migrate {name}`")
                }
                (_, Link::None) => {
                    format!("integrate it first: `atrest env link {name} ENVIRONMENT`")
                }
                (_, Link::Failed { power, .. }) => {
                    format!("resume the integration: `atrest env link {name} {power}`")
                }
                _ => "wait until the integration is completed".to_owned(),
            },
        ),
    }
}

fn one_hand(policy: &Policy, who: &Person) -> Option<Refusal> {
    let both = who.name == policy.created_by || who.duties.contains(&Duty::VaultAdmin);
    both.then(|| {
        Rule::NoSeparation.broken(
            format_args!(
                "{} administers both the vault and the environments",
                who.name
            ),
            "let the vault's administrator make the policy, and another one add environments",
        )
    })
}

/// Whether the policy may reach the environment: P3, P5, L2; and what to warn of.
fn may_have_policy(
    policy: &Policy,
    power: &PowerEnvironment,
) -> Result<Option<Refusal>, WorldError> {
    let name = &power.name;
    if power.tenant != policy.tenant {
        return refused(
            Rule::Forbidden,
            format_args!(
                "{name} is in the tenant {}, the policy in {}",
                power.tenant, policy.tenant
            ),
            "use a policy of the environment's tenant",
        );
    }
    match &power.key {
        KeyState::Locked { .. } | KeyState::Deleted { .. } => return Err(locked(power)),
        KeyState::Mmk => {}
        KeyState::Partial { policy: same, .. } if *same == policy.name => {}
        other => {
            return Err(WorldError::Usage(format!(
                "{name} is {} by the policy {}; remove it from that one first",
                other.word(),
                other.policy().map_or("", |policy| policy.as_str())
            )));
        }
    }
    if matches!(power.kind, PowerKind::Trial | PowerKind::Teams) {
        return refused(
            Rule::EnvironmentType,
            format_args!(
                "{name} is {}",
                match power.kind {
                    PowerKind::Trial => "a trial",
                    _ => "an environment of Teams",
                }
            ),
            "use a production environment or a sandbox",
        );
    }
    if !power.managed {
        return refused(
            Rule::NotManaged,
            format_args!("{name} is no Managed Environment"),
            format_args!("make it one: `atrest env set {name} --managed true`"),
        );
    }
    if power.region.geography() != policy.location.geography() {
        return refused(
            Rule::RegionMismatch,
            format_args!(
                "{name} is in {}, the policy in {}",
                power.region, policy.location
            ),
            "use a policy of the environment's geography",
        );
    }
    Ok((!power.licensed).then(|| {
        Rule::Licence.broken(
            format_args!("the users of {name} lack the licence that a policy needs"),
            "assign it",
        )
    }))
}

/// The refusal for an environment that is locked, or gone.
pub(super) fn locked(power: &PowerEnvironment) -> WorldError {
    let name = &power.name;
    match &power.key {
        KeyState::Deleted { at, .. } => Rule::Gone
            .broken(
                format_args!("{name} was deleted on {at}, since it was locked for too long"),
                "restore nothing: its data is gone",
            )
            .into(),
        KeyState::Locked {
            trigger,
            restored,
            since,
            ..
        } => Rule::Locked
            .broken(
                format_args!("{name} is locked since {since} ({trigger})"),
                match restored {
                    Some(_) => format!("the key can be used again: `atrest env enable {name}`"),
                    None => {
                        "give the access to the key back, then enable the environment".to_owned()
                    }
                },
            )
            .into(),
        other => WorldError::Usage(format!("{name} is {}", other.word())),
    }
}
