//! The provider's services that keep data of the customer's outside of any environment: RCS for a tenant,
//! LCS for a project. Their bytes are resources of the working directory, always under the
//! service-managed key.

use crate::resource::Protection;
use crate::world::bulk::{NewPlace, Progress};
use crate::world::{Kind, Name, ResourceAddress, WorldError};

use super::Landscape;
use super::create::unowned;
use super::entities::{Project, Tenant};
use super::names::{ProjectName, TenantName};
use super::store::Tx;

const RCS_PREFIX: &str = "rcs-";
const LCS_PREFIX: &str = "lcs-";

fn named(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Where RCS keeps a tenant's configurations.
fn rcs_place(tenant: &TenantName) -> Result<Name, WorldError> {
    Ok(format!("{RCS_PREFIX}{tenant}").parse()?)
}

/// Where LCS keeps a project's assets and metadata.
pub fn lcs_place(project: &ProjectName) -> Result<Name, WorldError> {
    Ok(format!("{LCS_PREFIX}{project}").parse()?)
}

/// Which service `place` belongs to.
pub(super) fn owner(tx: &Tx<'_>, place: &str) -> Result<Option<String>, WorldError> {
    if let Some(tenant) = place.strip_prefix(RCS_PREFIX)
        && tx.find::<Tenant>(tenant)?.is_some_and(|tenant| tenant.rcs)
    {
        return Ok(Some(format!("RCS of the tenant {tenant}")));
    }
    if let Some(project) = place.strip_prefix(LCS_PREFIX)
        && tx.find::<Project>(project)?.is_some()
    {
        return Ok(Some(format!("LCS of the project {project}")));
    }
    Ok(None)
}

fn at(place: &Name, kind: Kind, name: &str) -> ResourceAddress {
    ResourceAddress {
        environment: Some(place.clone()),
        kind,
        name: named(name),
    }
}

/// The resources of RCS in a tenant.
///
/// # Errors
/// The name is too long.
pub fn rcs_resources(tenant: &TenantName) -> Result<Vec<ResourceAddress>, WorldError> {
    Ok(vec![at(&rcs_place(tenant)?, Kind::Sql, "configurations")])
}

/// The resources of LCS in a project.
///
/// # Errors
/// The name is too long.
pub fn lcs_resources(project: &ProjectName) -> Result<Vec<ResourceAddress>, WorldError> {
    let place = lcs_place(project)?;
    Ok(vec![
        at(&place, Kind::Sql, "metadata"),
        at(&place, Kind::Storage, "assets"),
    ])
}

impl Landscape<'_> {
    /// Begins to use RCS in a tenant.
    pub fn use_rcs(&self, tenant: &TenantName) -> Result<(), WorldError> {
        let _turn = self.begin()?;
        self.begin_rcs(tenant)
    }

    pub(super) fn begin_rcs(&self, tenant: &TenantName) -> Result<(), WorldError> {
        let mut found: Tenant = self.get(tenant.as_str())?;
        if found.rcs {
            return Ok(());
        }
        let place = NewPlace {
            name: rcs_place(tenant)?,
            databases: vec![named("configurations")],
            accounts: vec![],
        };
        self.store().read(|tx| unowned(tx, &place.name))?;
        self.workspace.make_places(&[place], &|_| ())?;
        found.rcs = true;
        self.store().write(|tx| tx.put(&found))
    }

    pub(super) fn begin_lcs(&self, project: &ProjectName) -> Result<(), WorldError> {
        let place = NewPlace {
            name: lcs_place(project)?,
            databases: vec![named("metadata")],
            accounts: vec![named("assets")],
        };
        self.store().read(|tx| unowned(tx, &place.name))?;
        let quiet: Progress<'_> = &|_| ();
        self.workspace.make_places(&[place], quiet)
    }

    pub(super) fn service_managed(&self) -> Protection {
        Protection::ServiceManaged {
            key: self.workspace.service_key(),
        }
    }
}
