//! Putting environments under a policy's key, and back. Only wrapped keys change: not one byte of data.
//!
//! What is under way stands in the store before the first resource is touched, and what is under which key
//! stands in the resources' own files. So whoever takes a turn after a crash goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::resource::Protection;
use crate::world::bulk::{Moved, Progress};
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::eligible::{find_power, locked, may_have_policy, one_hand};
use super::entities::{Duty, Policy, PowerEnvironment, Tenant};
use super::events::by_provider;
use super::names::{PersonName, PolicyName, PowerName};
use super::people::with_duty;
use super::products::FLOWS;
use super::rules::{Refusal, Rule, Told};
use super::state::KeyState;
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
    /// and of what is linked to it, goes under the policy's key. The same command goes on after a failure; what
    /// is under the policy by then is left as it is.
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
            Ok((left, warnings)) => {
                let value = self.finish_apply(turn.now, policy, &left, progress)?;
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
        let under_way = ["applying", "reverting"];
        let powers = self.store().read(|tx| tx.powers_in(under_way))?;
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
    ) -> Result<(Vec<PowerName>, Vec<Refusal>), WorldError> {
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
        let left = powers.into_iter().filter(|power| !is_under(power));
        let left = self.store().write(|tx| {
            let mut names = Vec::new();
            for mut power in left {
                power.key = KeyState::Applying {
                    policy: name.clone(),
                    started: turn.now,
                };
                tx.put(&power)?;
                names.push(power.name);
            }
            Ok(names)
        })?;
        Ok((left, warnings))
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
        let done = Done {
            event: "CMK-Renewed environment",
            state: &|power| under(power, name, now),
        };
        self.finish_move(now, name, environments, &to, &done, progress)
    }

    fn finish_remove(
        &self,
        now: Timestamp,
        policy: &PolicyName,
        environments: &[PowerName],
        progress: Progress<'_>,
    ) -> Result<Applied, WorldError> {
        let to = self.service_managed();
        let done = Done {
            event: "CMK-Reverted environment",
            state: &|_| KeyState::Mmk,
        };
        let applied = self.finish_move(now, policy, environments, &to, &done, progress)?;
        self.look_at_versions(policy)?;
        Ok(applied)
    }

    /// Moves what is not yet there under the key of `to`, and says of each environment what came of it.
    fn finish_move(
        &self,
        now: Timestamp,
        policy: &PolicyName,
        environments: &[PowerName],
        to: &Protection,
        done: &Done<'_>,
        progress: Progress<'_>,
    ) -> Result<Applied, WorldError> {
        let powers: Result<Vec<PowerEnvironment>, _> =
            environments.iter().map(|e| self.get(e.as_str())).collect();
        let powers = powers?;
        let all: Vec<_> = powers
            .iter()
            .flat_map(|power| self.resources_of(power))
            .collect();
        let left = self.not_under(&all, |at| Some(&at.key()) == to.key())?;
        let moved = self.workspace.move_all(&left, to, progress)?;
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
                    None => (done.state)(&power),
                };
                let word = power.key.word();
                tx.put(&power)?;
                tx.record(&by_provider(now, done.event, &power.name, word))?;
            }
            Ok(())
        })?;
        Ok(applied)
    }
}

/// What is said of an environment all of whose stores were moved.
struct Done<'a> {
    event: &'static str,
    state: &'a dyn Fn(&PowerEnvironment) -> KeyState,
}

/// Whether all stores of an environment are under its policy's key, and it is in use.
pub(super) fn is_under(power: &PowerEnvironment) -> bool {
    matches!(power.key, KeyState::Cmk { .. } | KeyState::Warning { .. })
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

struct Failures(BTreeMap<String, String>);

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
