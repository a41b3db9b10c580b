//! The integration of a finance-and-operations environment with a Power Platform environment: one to one, and
//! for good.

use jiff::{SignedDuration, Timestamp};

use crate::world::WorldError;

use super::Landscape;
use super::clock;
use super::entities::{
    Duty, FinanceEnvironment, FinanceKind, Person, PowerEnvironment, Project, Tenant,
};
use super::events::by_provider;
use super::names::{FinanceName, PersonName, PowerName};
use super::rules::Rule;
use super::state::{KeyState, Link};
use super::store::Tx;
use super::turn::refused;

/// What Dataverse answers when an organisation that is not linked is asked for the environment that it is linked to.
pub const NOT_LINKED: &str = "0x80048d0b";
/// How long the integration takes.
pub(super) const LINK_TAKES: SignedDuration = SignedDuration::from_hours(1);
/// The database capacity that it takes, in MiB.
pub(super) const LINK_CAPACITY_MIB: u32 = 1024;

impl Landscape<'_> {
    /// Begins to integrate `finance` with `power`; or to try again after it failed. It takes an hour.
    ///
    /// # Errors
    /// [`Rule::CloudHostedExcluded`], [`Rule::LinkIrreversible`], [`Rule::LinkTargetHasCmk`],
    /// [`Rule::LinkValidation`]; nothing is changed then.
    pub fn link(
        &self,
        finance: &FinanceName,
        power: &PowerName,
        by: &PersonName,
    ) -> Result<FinanceEnvironment, WorldError> {
        let turn = self.begin()?;
        let linked = self.store().write(|tx| {
            let mut environment: FinanceEnvironment = tx.get(finance.as_str())?;
            let target: PowerEnvironment = tx.get(power.as_str())?;
            may_link(tx, &environment, &target, by)?;
            environment.link = Link::InProgress {
                power: power.clone(),
                started: turn.now,
            };
            tx.put(&environment)?;
            let mut event = by_provider(
                turn.now,
                "LinkStarted",
                finance,
                format_args!("with {power}"),
            );
            event.actor = by.to_string();
            tx.record(&event)?;
            Ok(environment)
        });
        linked.or_else(|e| self.refuse(&turn, by, "LinkStarted", finance, e))
    }

    /// Refused: there is no way back from a link.
    pub fn unlink(&self, finance: &FinanceName, by: &PersonName) -> Result<(), WorldError> {
        let turn = self.begin()?;
        let found: FinanceEnvironment = self.get(finance.as_str())?;
        let error = match found.link {
            Link::None => WorldError::Usage(format!("{finance} is not integrated")),
            _ => Rule::LinkIrreversible
                .broken(
                    format_args!("the integration of {finance} cannot be removed"),
                    "keep it: an integration is one to one, and for good",
                )
                .into(),
        };
        self.refuse(&turn, by, "LinkRemoved", finance, error)
    }

    /// Ends the integrations that are due at `now`.
    pub(super) fn settle_links(&self, now: Timestamp) -> Result<(), WorldError> {
        self.store().write(|tx| {
            let begun = now.checked_sub(LINK_TAKES).unwrap_or(Timestamp::MIN);
            for mut environment in tx.links_begun(begun)? {
                let Link::InProgress { power, started } = environment.link.clone() else {
                    continue;
                };
                let at = clock::after(started, LINK_TAKES);
                if at > now {
                    continue;
                }
                let mut target: PowerEnvironment = tx.get(power.as_str())?;
                let obstacle = obstacle(tx, &environment, &target)?;
                environment.link = match obstacle {
                    None => {
                        target.linked = Some(environment.name.clone());
                        target.capacity_mib -= LINK_CAPACITY_MIB;
                        tx.put(&target)?;
                        tx.record(&by_provider(
                            at,
                            "LinkCompleted",
                            &environment.name,
                            format_args!("with {power}"),
                        ))?;
                        Link::Completed { power, since: at }
                    }
                    Some(refusal) => {
                        let why = refusal.to_string();
                        tx.record(&by_provider(at, "LinkFailed", &environment.name, &why))?;
                        Link::Failed { power, at, why }
                    }
                };
                tx.put(&environment)?;
            }
            Ok(())
        })
    }
}

fn may_link(
    tx: &Tx<'_>,
    finance: &FinanceEnvironment,
    power: &PowerEnvironment,
    by: &PersonName,
) -> Result<(), WorldError> {
    let name = &finance.name;
    match &finance.link {
        Link::None => {}
        Link::Failed { power: begun, .. } if *begun == power.name => {}
        Link::Failed { power: begun, .. } => {
            return refused(
                Rule::LinkIrreversible,
                format_args!("the integration of {name} was begun with {begun}"),
                format_args!("resume it: `atrest env link {name} {begun}`"),
            );
        }
        Link::InProgress { power, .. } | Link::Completed { power, .. } => {
            return refused(
                Rule::LinkIrreversible,
                format_args!("{name} is integrated with {power}"),
                "keep it: an integration is one to one, and for good",
            );
        }
    }
    let project: Project = tx.get(finance.project.as_str())?;
    let mut missing = Vec::new();
    if project.tenant != power.tenant {
        missing.push(format!(
            "the tenant: {name} is in {}, {} in {}",
            project.tenant, power.name, power.tenant
        ));
    }
    let who = tx.find::<Person>(by.as_str())?;
    let is_admin = |person: &Person| {
        person.tenant.as_ref() == Some(&project.tenant) && person.duties.contains(&Duty::PowerAdmin)
    };
    match who {
        Some(person) if is_admin(&person) && person.licensed => {}
        Some(person) if is_admin(&person) => missing.push(format!("a licence for {by}")),
        _ => missing.push(format!(
            "an administrator: {by} is no Power Platform administrator"
        )),
    }
    let refusal = match obstacle(tx, finance, power)? {
        Some(refusal) if refusal.rule != Rule::LinkValidation => return Err(refusal.into()),
        other => other,
    };
    missing.extend(refusal.map(|refusal| refusal.detail));
    match missing.is_empty() {
        true => Ok(()),
        false => refused(
            Rule::LinkValidation,
            missing.join("; "),
            "put that right, and try again",
        ),
    }
}

/// What is in the way, now and when the integration ends.
fn obstacle(
    tx: &Tx<'_>,
    finance: &FinanceEnvironment,
    power: &PowerEnvironment,
) -> Result<Option<super::Refusal>, WorldError> {
    let (name, target) = (&finance.name, &power.name);
    if finance.kind == FinanceKind::CloudHosted {
        return Ok(Some(Rule::CloudHostedExcluded.broken(
            format_args!("{name} is cloud-hosted, in the customer's own subscription"),
            "encrypt it there; no policy reaches it",
        )));
    }
    if let Some(other) = &power.linked {
        return Ok(Some(Rule::LinkIrreversible.broken(
            format_args!("{target} is integrated with {other}"),
            "integrate with another one: it is one to one, and for good",
        )));
    }
    for other in tx.being_linked_with(target)? {
        if other.name != *name {
            return Ok(Some(Rule::LinkIrreversible.broken(
                format_args!("{target} is being integrated with {}", other.name),
                "integrate with another one: it is one to one, and for good",
            )));
        }
    }
    if power.key != KeyState::Mmk {
        return Ok(Some(Rule::LinkTargetHasCmk.broken(
            format_args!(
                "{target} has customer-managed encryption by the policy {}",
                power.key.policy().map_or("", |policy| policy.as_str())
            ),
            format_args!("integrate {name} with an environment without a policy first, and add that one to the policy then"),
        )));
    }
    let mut missing = Vec::new();
    if finance.kind == FinanceKind::HrStandalone {
        missing.push(format!("a finance and operations environment: {name} is Human Resources Standalone, to be migrated first (`atrest env migrate {name}`)"));
    }
    if finance.region.geography() != power.region.geography() {
        missing.push(format!(
            "the geography: {name} is in {}, {target} in {}",
            finance.region.geography(),
            power.region.geography()
        ));
    }
    if !power.d365_apps {
        missing.push(format!(
            "D365 apps: {target} was made without them, for good"
        ));
    }
    if power.capacity_mib < LINK_CAPACITY_MIB {
        missing.push(format!(
            "capacity: {target} has {} MiB of database capacity, and 1024 are needed",
            power.capacity_mib
        ));
    }
    Ok((!missing.is_empty())
        .then(|| Rule::LinkValidation.broken(missing.join("; "), "put that right, and try again")))
}

/// The tenant of a finance-and-operations environment.
pub(super) fn tenant_of(tx: &Tx<'_>, finance: &FinanceEnvironment) -> Result<Tenant, WorldError> {
    let project: Project = tx.get(finance.project.as_str())?;
    tx.get(project.tenant.as_str())
}
