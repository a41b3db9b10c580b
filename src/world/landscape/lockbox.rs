//! Customer Lockbox: the provider's engineers read nothing of an environment unless the customer approved
//! it, for eight hours, and the access really ends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::base::{KeyRef, KeyVersionRef};
use crate::crypto::{Secret, WrapAlgorithm};
use crate::resource::Wrapper;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::vault::{KeyWrapper, VaultError, WrappedKey, revision};
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::apply::{find_power, locked};
use super::clock;
use super::entities::{Duty, Entity, Person, PowerEnvironment, Tenant};
use super::events::by_provider;
use super::names::{PersonName, PowerName, RequestName, TenantName};
use super::people::with_duty;
use super::rules::{Refusal, Rule};
use super::state::{KeyState, LockboxSwitch};
use super::store::{Store, Tx};
use super::turn::refused;

/// How long a request waits for a decision.
const WAITS: SignedDuration = SignedDuration::from_hours(4 * 24);
/// How long an approved engineer has access.
const ACCESS: SignedDuration = SignedDuration::from_hours(8);
/// How long until the switch takes effect.
const SWITCHING: SignedDuration = SignedDuration::from_hours(24);

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
    /// As the admin centre calls it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ActionNeeded => "Action needed",
            Self::Approved { .. } => "Approved",
            Self::Denied { .. } => "Denied",
            Self::Expired { .. } => "Expired",
            Self::Ended { .. } => "Access ended",
        }
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
            let number = tx.all::<LockboxRequest>()?.len() + 1;
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
                expires: turn.now + WAITS,
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
                    until: at + SignedDuration::from_hours(found.hours.into()).min(ACCESS),
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

    /// Opens a SQL database for an engineer, as far as a request covers it. The access really ends: what is
    /// open then is refused like what is opened.
    ///
    /// # Errors
    /// [`Rule::NoGrant`], [`Rule::Expired`], [`Rule::LockedDespiteApproval`]. Recorded.
    pub fn open_sql_for(
        &self,
        engineer: &PersonName,
        address: &ResourceAddress,
    ) -> Result<SqlDatabase, WorldError> {
        let (address, wrapper) = self.enter(engineer, address)?;
        let (address, entry) = self.workspace.resource(&address)?;
        let path = self.workspace.resolved_path(&address);
        Ok(SqlDatabase::open(
            &path,
            entry.id,
            entry.protection,
            &wrapper,
        )?)
    }

    /// The same with a storage account.
    pub fn open_storage_for(
        &self,
        engineer: &PersonName,
        address: &ResourceAddress,
    ) -> Result<StorageAccount, WorldError> {
        let (address, wrapper) = self.enter(engineer, address)?;
        let (address, entry) = self.workspace.resource(&address)?;
        let path = self.workspace.resolved_path(&address);
        Ok(StorageAccount::open(
            &path,
            entry.id,
            entry.protection,
            &wrapper,
        )?)
    }

    fn enter(
        &self,
        engineer: &PersonName,
        address: &ResourceAddress,
    ) -> Result<(ResourceAddress, Wrapper), WorldError> {
        let turn = self.begin()?;
        let (address, _) = self.workspace.resource(address)?;
        let place = address.environment.clone().expect("a resolved address");
        let text = address.to_string();
        let entered = self.store().write(|tx| {
            let request = live_request(tx, engineer, &text, turn.now)?;
            let power: PowerEnvironment = tx.get(request.environment.as_str())?;
            if matches!(
                power.key,
                KeyState::Locked { .. } | KeyState::Deleted { .. }
            ) {
                return Err(despite_approval(&power).into());
            }
            let mut event = by_provider(turn.now, "LockboxAccessUsed", &request.name, &text);
            event.actor = engineer.to_string();
            tx.record(&event)?;
            Ok(request)
        });
        match entered {
            Ok(request) => {
                let wrapper = EngineersGate {
                    through: self.workspace.wrapper_in(&place)?,
                    store: self.workspace.landscape()?.expect("this landscape's"),
                    request: request.name,
                };
                Ok((address, Arc::new(wrapper)))
            }
            Err(e) => self.refuse(&turn, engineer, "LockboxAccessUsed", &text, e),
        }
    }

    pub(super) fn settle_lockbox(&self, now: Timestamp) -> Result<(), WorldError> {
        self.store().write(|tx| {
            for mut tenant in tx.all::<Tenant>()? {
                if let LockboxSwitch::Enabling { since } = tenant.lockbox
                    && since + SWITCHING <= now
                {
                    tenant.lockbox = LockboxSwitch::On;
                    tx.put(&tenant)?;
                    tx.record(&by_provider(
                        since + SWITCHING,
                        "LockboxPolicyChanged",
                        &tenant.name,
                        "on",
                    ))?;
                }
            }
            for mut request in tx.all::<LockboxRequest>()? {
                let (state, operation, at) = match &request.state {
                    RequestStatus::ActionNeeded if request.expires <= now => {
                        let at = request.expires;
                        (RequestStatus::Expired { at }, "LockboxRequestUpdated", at)
                    }
                    RequestStatus::Approved { by, until, .. } if *until <= now => {
                        let (by, at) = (by.clone(), *until);
                        (RequestStatus::Ended { by, at }, "LockboxAccessEnded", at)
                    }
                    _ => continue,
                };
                tx.record(&by_provider(at, operation, &request.name, state.word()))?;
                request.state = state;
                tx.put(&request)?;
            }
            Ok(())
        })
    }

    pub(super) fn lockbox_due(&self) -> Result<Vec<Timestamp>, WorldError> {
        let mut due = Vec::new();
        for tenant in self.all::<Tenant>()? {
            if let LockboxSwitch::Enabling { since } = tenant.lockbox {
                due.push(since + SWITCHING);
            }
        }
        for request in self.all::<LockboxRequest>()? {
            match request.state {
                RequestStatus::ActionNeeded => due.push(request.expires),
                RequestStatus::Approved { until, .. } => due.push(until),
                _ => {}
            }
        }
        Ok(due)
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

/// The request under which the engineer may read this now.
fn live_request(
    tx: &Tx<'_>,
    engineer: &PersonName,
    address: &str,
    now: Timestamp,
) -> Result<LockboxRequest, WorldError> {
    let all = tx.all::<LockboxRequest>()?.into_iter();
    let of = all.filter(|r| r.engineer == *engineer && r.scope.iter().any(|s| s == address));
    let mut ended = None;
    for request in of {
        match &request.state {
            RequestStatus::Approved { until, .. } if now < *until => return Ok(request),
            RequestStatus::Approved { until: at, .. } | RequestStatus::Ended { at, .. } => {
                ended = Some((request.name.clone(), *at));
            }
            _ => {}
        }
    }
    match ended {
        Some((name, at)) => refused(
            Rule::Expired,
            format_args!("the access of {engineer} by {name} ended on {at}"),
            "request it again",
        ),
        None => refused(
            Rule::NoGrant,
            format_args!("{engineer} has no approved request for {address}"),
            "request access, and wait for the customer's approval",
        ),
    }
}

fn despite_approval(power: &PowerEnvironment) -> Refusal {
    let why = locked(power).to_string();
    Rule::LockedDespiteApproval.broken(
        format_args!("the approval stands, and opens nothing: {why}"),
        "an approval is no key",
    )
}

/// The way of one engineer to the keys, by one request.
struct EngineersGate {
    through: Wrapper,
    store: Arc<Store>,
    request: RequestName,
}

impl EngineersGate {
    fn allow(&self, key: &dyn std::fmt::Display) -> Result<(), VaultError> {
        let open = self.store.read(|tx| {
            let request: LockboxRequest = tx.get(self.request.as_str())?;
            let now = clock::now(tx)?;
            Ok(matches!(request.state, RequestStatus::Approved { until, .. } if now < until))
        });
        match open {
            Ok(true) => Ok(()),
            Ok(false) => Err(VaultError::Forbidden {
                key: key.to_string(),
                why: format!(
                    "is not used: E_EXPIRED (K1): the access by {} has ended",
                    self.request
                ),
                advice: "request it again",
            }),
            Err(e) => Err(VaultError::Store {
                path: super::LANDSCAPE.into(),
                why: e.to_string(),
            }),
        }
    }
}

impl KeyWrapper for EngineersGate {
    fn wrap_key(&self, key: &KeyRef, _: &Secret<32>) -> Result<WrappedKey, VaultError> {
        Err(VaultError::Forbidden {
            key: key.to_string(),
            why: "wraps nothing for an engineer of the provider's".into(),
            advice: "read only",
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.allow(key)?;
        self.through.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        revision()
    }
}
