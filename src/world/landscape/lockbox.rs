//! Customer Lockbox: the provider's engineers read nothing of an environment unless the customer approved
//! it, for eight hours, and the access really ends.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::clock;
use super::eligible::find_power;
use super::entities::{Duty, Entity, Person, Tenant};
use super::events::by_provider;
use super::names::{PersonName, PowerName, RequestName, TenantName};
use super::people::with_duty;
use super::rules::Rule;
use super::state::LockboxSwitch;
use super::store::Tx;
use super::turn::refused;

/// How long a request waits for a decision.
const WAITS: SignedDuration = SignedDuration::from_hours(4 * 24);
/// How long an approved engineer has access.
const ACCESS: SignedDuration = SignedDuration::from_hours(8);
/// How long until the switch takes effect.
pub(super) const SWITCHING: SignedDuration = SignedDuration::from_hours(24);

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RequestStatus {
    /// It waits for the customer.
    ActionNeeded,
    /// Approved: there is access until then.
    Approved {
        /// By whom.
        by: PersonName,
        /// When.
        at: Timestamp,
        /// The access ends.
        until: Timestamp,
    },
    /// Denied.
    Denied {
        /// By whom.
        by: PersonName,
        /// When.
        at: Timestamp,
    },
    /// Nobody decided in time.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// It was approved, and the access has ended.
    Ended {
        /// Who had approved it.
        by: PersonName,
        /// When it ended.
        at: Timestamp,
    },
}

impl RequestStatus {
    /// Every [`word`](Self::word).
    pub const WORDS: [&'static str; 5] = [
        "Action needed",
        "Approved",
        "Denied",
        "Expired",
        "Access ended",
    ];

    /// As the admin centre calls it.
    pub fn word(&self) -> &'static str {
        Self::WORDS[match self {
            Self::ActionNeeded => 0,
            Self::Approved { .. } => 1,
            Self::Denied { .. } => 2,
            Self::Expired { .. } => 3,
            Self::Ended { .. } => 4,
        }]
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockboxRequest {
    /// Its identifier.
    pub name: RequestName,
    /// The support request that it is for.
    pub support_request: String,
    /// The tenant.
    pub tenant: TenantName,
    /// The environment.
    pub environment: PowerName,
    /// The engineer.
    pub engineer: PersonName,
    /// Who approved it on the provider's side, before the customer saw it.
    pub internal_approver: PersonName,
    /// Why.
    pub reason: String,
    /// What the engineer may read: addresses of resources.
    pub scope: Vec<String>,
    /// When it was made.
    pub requested: Timestamp,
    /// When it expires without a decision.
    pub expires: Timestamp,
    /// How long the access is to be, in hours: at most 8.
    pub hours: u8,
    /// Where it stands.
    pub state: RequestStatus,
}

impl Entity for LockboxRequest {
    const KIND: &'static str = "lockbox";
    const WORD: &'static str = "request of Customer Lockbox";
    const LISTED_BY: &'static str = "lockbox list";
    fn key(&self) -> &str {
        self.name.as_str()
    }
}

/// A request to be made.
#[derive(Clone, Debug)]
pub struct NewRequest {
    /// The environment.
    pub environment: PowerName,
    /// The engineer.
    pub engineer: PersonName,
    /// Who approved it on the provider's side.
    pub internal_approver: PersonName,
    /// The support request.
    pub support_request: String,
    /// Why.
    pub reason: String,
    /// What; nothing means every resource of the environment.
    pub scope: Vec<ResourceAddress>,
    /// For how many hours, 1 to 8.
    pub hours: u8,
}

/// What an approver decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Access, for as long as was asked for.
    Approve,
    /// None.
    Deny,
}

impl Landscape<'_> {
    /// Switches Customer Lockbox on, which takes effect within a day, or off.
    pub fn set_lockbox(&self, tenant: &TenantName, on: bool) -> Result<Tenant, WorldError> {
        let turn = self.begin()?;
        self.store().write(|tx| {
            let mut found: Tenant = tx.get(tenant.as_str())?;
            found.lockbox = match (on, found.lockbox) {
                (false, _) => LockboxSwitch::Off,
                (true, LockboxSwitch::Off) => LockboxSwitch::Enabling { since: turn.now },
                (true, same) => same,
            };
            tx.put(&found)?;
            let detail = if on {
                "takes effect within a day"
            } else {
                "off"
            };
            tx.record(&by_provider(
                turn.now,
                "LockboxPolicyChanged",
                tenant,
                detail,
            ))?;
            Ok(found)
        })
    }

    /// Requests access for an engineer of the provider's. It waits for the customer, and gives none.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when the tenant's Lockbox is not on; [`Rule::NotManaged`];
    /// [`Rule::Forbidden`] for who is no engineer of the provider's.
    pub fn request_access(&self, new: &NewRequest) -> Result<LockboxRequest, WorldError> {
        let turn = self.begin()?;
        let made = self.store().write(|tx| {
            let power = find_power(tx, &new.environment)?;
            let tenant: Tenant = tx.get(power.tenant.as_str())?;
            if tenant.lockbox != LockboxSwitch::On {
                return Err(WorldError::Usage(format!(
                    "Customer Lockbox is not on in the tenant {}: `atrest lockbox enable {}` (it takes up to a day)",
                    tenant.name, tenant.name
                )));
            }
            if !power.managed {
                return refused(
                    Rule::NotManaged,
                    format_args!("{} is no Managed Environment", power.name),
                    "Customer Lockbox is for managed environments",
                );
            }
            for who in [&new.engineer, &new.internal_approver] {
                engineer(tx, who)?;
            }
            if new.engineer == new.internal_approver {
                return refused(
                    Rule::Forbidden,
                    format_args!("{} cannot approve the own request on the provider's side", new.engineer),
                    "have somebody else approve it",
                );
            }
            if !(1..=8).contains(&new.hours) || new.reason.trim().is_empty() {
                return Err(WorldError::Usage("a request needs a reason, and 1 to 8 hours".into()));
            }
            let all = self.resources_of(&power);
            let scope = match new.scope.is_empty() {
                true => all,
                false => {
                    if let Some(other) = new.scope.iter().find(|address| !all.contains(address)) {
                        return Err(WorldError::Usage(format!("{other} is no resource of {}", power.name)));
                    }
                    new.scope.clone()
                }
            };
            let number = tx.count::<LockboxRequest>()? + 1;
            let request = LockboxRequest {
                name: format!("lb-{number:05}").parse()?,
                support_request: new.support_request.clone(),
                tenant: tenant.name,
                environment: power.name,
                engineer: new.engineer.clone(),
                internal_approver: new.internal_approver.clone(),
                reason: new.reason.clone(),
                scope: scope.iter().map(ToString::to_string).collect(),
                requested: turn.now,
                expires: clock::after(turn.now, WAITS),
                hours: new.hours,
                state: RequestStatus::ActionNeeded,
            };
            tx.add(&request)?;
            let mut event = by_provider(turn.now, "LockboxRequestCreated", &request.name, &request.reason);
            event.actor = new.engineer.to_string();
            tx.record(&event)?;
            Ok(request)
        });
        made.or_else(|e| {
            self.refuse(
                &turn,
                &new.engineer,
                "LockboxRequestCreated",
                &new.environment,
                e,
            )
        })
    }

    /// Decides a request, as an approver of its tenant.
    ///
    /// # Errors
    /// [`Rule::NotApprover`], [`Rule::Expired`].
    pub fn decide(
        &self,
        request: &RequestName,
        decision: Decision,
        by: &PersonName,
    ) -> Result<LockboxRequest, WorldError> {
        let turn = self.begin()?;
        let decided = self.store().write(|tx| {
            let mut found: LockboxRequest = tx.get(request.as_str())?;
            if with_duty(tx, by, &found.tenant, Duty::LockboxApprover).is_err() {
                return refused(
                    Rule::NotApprover,
                    format_args!("{by} is no approver of the tenant {}", found.tenant),
                    "have somebody decide who is",
                );
            }
            match &found.state {
                RequestStatus::ActionNeeded => {}
                RequestStatus::Expired { at } => {
                    return refused(
                        Rule::Expired,
                        format_args!("{request} expired on {at}"),
                        "have it requested again",
                    );
                }
                other => {
                    return Err(WorldError::Usage(format!(
                        "{request} is decided: {}",
                        other.word()
                    )));
                }
            }
            let (by, at) = (by.clone(), turn.now);
            found.state = match decision {
                Decision::Deny => RequestStatus::Denied { by: by.clone(), at },
                Decision::Approve => RequestStatus::Approved {
                    by: by.clone(),
                    at,
                    until: clock::after(
                        at,
                        SignedDuration::from_hours(found.hours.into()).min(ACCESS),
                    ),
                },
            };
            tx.put(&found)?;
            let word = found.state.word();
            let mut event = by_provider(turn.now, "LockboxRequestUpdated", request, word);
            event.actor = by.to_string();
            tx.record(&event)?;
            Ok(found)
        });
        decided.or_else(|e| self.refuse(&turn, by, "LockboxRequestUpdated", request, e))
    }

    /// Refused: an approval ends by itself.
    pub fn revoke_access(&self, request: &RequestName, by: &PersonName) -> Result<(), WorldError> {
        let turn = self.begin()?;
        let found: LockboxRequest = self.get(request.as_str())?;
        let error = match &found.state {
            RequestStatus::Approved { until, .. } => Rule::NotRevocable
                .broken(
                    format_args!("{request} is approved, and cannot be revoked"),
                    format_args!("the access ends by itself on {until}"),
                )
                .into(),
            other => WorldError::Usage(format!("{request} is {}", other.word())),
        };
        self.refuse(&turn, by, "LockboxRequestUpdated", request, error)
    }
}

fn engineer(tx: &Tx<'_>, who: &PersonName) -> Result<(), WorldError> {
    let person = tx.find::<Person>(who.as_str())?;
    match person.is_some_and(|person| person.duties.contains(&Duty::ProviderEngineer)) {
        true => Ok(()),
        false => refused(
            Rule::Forbidden,
            format_args!("{who} is no engineer of the provider's"),
            format_args!("add one: `atrest tenant person {who} --duty provider-engineer`"),
        ),
    }
}
