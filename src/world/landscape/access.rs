//! What an engineer of the provider's reads by an approved request, and how it ends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;

use crate::base::{KeyRef, KeyVersionRef};
use crate::crypto::{Secret, WrapAlgorithm};
use crate::resource::Wrapper;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::vault::{KeyWrapper, VaultError, WrappedKey, revision};
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::clock;
use super::eligible::locked;
use super::entities::PowerEnvironment;
use super::events::by_provider;
use super::lockbox::{LockboxRequest, RequestStatus};
use super::names::{PersonName, RequestName};
use super::rules::{Refusal, Rule};
use super::state::KeyState;
use super::store::{Store, Tx};
use super::turn::refused;

impl Landscape<'_> {
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
