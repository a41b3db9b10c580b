//! Which environments a policy may reach, and why not the others: I5 to I7, P3 to P5, P7, L2.

use crate::world::WorldError;

use super::entities::{
    Duty, FinanceEnvironment, FinanceKind, Person, Policy, PowerEnvironment, PowerKind,
};
use super::names::PowerName;
use super::rules::{Refusal, Rule};
use super::state::{KeyState, Link};
use super::store::Tx;
use super::turn::refused;

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

pub(super) fn one_hand(policy: &Policy, who: &Person) -> Option<Refusal> {
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
pub(super) fn may_have_policy(
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
        // Who gives a command again after an interruption, which the next command ended, is told no other thing.
        KeyState::Cmk { policy: same, .. } | KeyState::Warning { policy: same, .. }
            if *same == policy.name => {}
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
        other => WorldError::Usage(format!(
            "{name} is {}, and not locked: there is nothing to enable",
            other.word()
        )),
    }
}
