//! Who may do what.

use std::collections::BTreeSet;

use crate::world::WorldError;

use super::Landscape;
use super::entities::{Duty, Person, Tenant};
use super::events::by_provider;
use super::names::{PersonName, TenantName};
use super::rules::Rule;
use super::store::Tx;
use super::turn::refused;

impl Duty {
    fn word(self) -> &'static str {
        match self {
            Self::PowerAdmin => "Power Platform administrator",
            Self::VaultAdmin => "administrator of vaults and policies",
            Self::LockboxApprover => "approver of Customer Lockbox",
            Self::ProviderEngineer => "engineer of the provider's",
        }
    }
}

impl Landscape<'_> {
    /// Adds somebody, or changes what somebody may do.
    pub fn set_person(
        &self,
        name: &PersonName,
        tenant: Option<&TenantName>,
        duties: &BTreeSet<Duty>,
        licensed: bool,
    ) -> Result<Person, WorldError> {
        let turn = self.begin()?;
        if tenant.is_none() && duties.iter().any(|duty| *duty != Duty::ProviderEngineer) {
            return Err(WorldError::Usage(format!(
                "{name}: who administers or approves something belongs to a tenant; name it"
            )));
        }
        if tenant.is_some() && duties.contains(&Duty::ProviderEngineer) {
            return Err(WorldError::Usage(format!(
                "{name}: an engineer of the provider's belongs to no tenant"
            )));
        }
        let person = Person {
            name: name.clone(),
            tenant: tenant.cloned(),
            duties: duties.clone(),
            licensed,
        };
        self.store().write(|tx| {
            if let Some(tenant) = tenant {
                tx.get::<Tenant>(tenant.as_str())?;
            }
            tx.put(&person)?;
            // Who may approve, and since when, is of interest to whoever reviews approvals.
            let duties: Vec<_> = duties.iter().map(|duty| duty.word()).collect();
            let detail = match duties.is_empty() {
                true => "nothing".to_owned(),
                false => duties.join(", "),
            };
            tx.record(&by_provider(turn.now, "DutiesChanged", name, detail))
        })?;
        Ok(person)
    }
}

/// Somebody with this duty in the tenant.
///
/// # Errors
/// [`Rule::Forbidden`] naming what is missing.
pub(super) fn with_duty(
    tx: &Tx<'_>,
    who: &PersonName,
    tenant: &TenantName,
    duty: Duty,
) -> Result<Person, WorldError> {
    let next = || {
        format!(
            "have somebody do it who is (`atrest tenant show {tenant}`), or give {who} the duty"
        )
    };
    let Some(person) = tx.find::<Person>(who.as_str())? else {
        return refused(
            Rule::Forbidden,
            format_args!(
                "{who} is nobody in the tenant {tenant}, and no {}",
                duty.word()
            ),
            next(),
        );
    };
    if person.tenant.as_ref() != Some(tenant) || !person.duties.contains(&duty) {
        return refused(
            Rule::Forbidden,
            format_args!("{who} is no {} of the tenant {tenant}", duty.word()),
            next(),
        );
    }
    Ok(person)
}
