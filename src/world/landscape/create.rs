//! What a landscape begins with: tenants, projects, environments.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::world::bulk::{NewPlace, Progress};
use crate::world::{Kind, Name, ResourceAddress, WorldError};

use super::Landscape;
use super::eligible::{find_power, locked};
use super::entities::{
    Duty, Entity, FinanceEnvironment, FinanceKind, Person, PowerEnvironment, PowerKind, Project,
    Tenant, power_place,
};
use super::events::by_provider;
use super::install::no_such;
use super::names::{FinanceName, PowerName, ProjectName, TenantName};
use super::products::{HR_STANDALONE, Product, ProductKind, Profile};
use super::region::Region;
use super::rules::{Rule, Told};
use super::state::{KeyState, Link, LockboxSwitch};
use super::store::Tx;
use super::turn::Turn;

/// A finance-and-operations environment to be made.
#[derive(Clone, Debug)]
pub struct NewFinance {
    /// Its name in LCS.
    pub name: FinanceName,
    /// Its project.
    pub project: ProjectName,
    /// What kind.
    pub kind: FinanceKind,
    /// Where.
    pub region: Region,
    /// Its SQL databases.
    pub databases: Vec<Name>,
    /// Its storage account.
    pub storage: Name,
}

impl NewFinance {
    /// A production environment with the database `axdb` and the storage account `documents`.
    pub fn usual(name: FinanceName, project: ProjectName, region: Region) -> Self {
        Self {
            name,
            project,
            kind: FinanceKind::Production,
            region,
            databases: vec!["axdb".parse().expect("a name")],
            storage: "documents".parse().expect("a name"),
        }
    }
}

impl PowerEnvironment {
    /// One to be made: a managed production environment with D365 apps, licences and 4 GiB of capacity.
    pub fn usual(name: PowerName, tenant: TenantName, region: Region) -> Self {
        Self {
            name,
            tenant,
            kind: PowerKind::Production,
            region,
            d365_apps: true,
            managed: true,
            licensed: true,
            capacity_mib: 4096,
            services: BTreeSet::new(),
            key: KeyState::Mmk,
            linked: None,
        }
    }
}

/// The time from which on LCS takes no new projects.
const LAST_PROJECT: &str = "2026-02-01T00:00:00Z";

impl Landscape<'_> {
    /// Makes a tenant, and three people in it: `NAME-admin` (Power Platform administrator, licensed),
    /// `NAME-vault-admin` (vaults and policies) and `NAME-approver` (Customer Lockbox).
    pub fn create_tenant(&self, name: &TenantName) -> Result<Tenant, WorldError> {
        let _turn = self.begin()?;
        let tenant = Tenant {
            name: name.clone(),
            provider_registered: true,
            rcs: false,
            lockbox: LockboxSwitch::Off,
        };
        let people = [
            ("admin", Duty::PowerAdmin, true),
            ("vault-admin", Duty::VaultAdmin, false),
            ("approver", Duty::LockboxApprover, false),
        ];
        let people = people.map(|(ending, duty, licensed)| {
            let person: Result<_, WorldError> = Ok(Person {
                name: format!("{name}-{ending}").parse()?,
                tenant: Some(name.clone()),
                duties: [duty].into(),
                licensed,
            });
            person
        });
        self.store().write(|tx| {
            tx.add(&tenant)?;
            for person in people {
                tx.add(&person?)?;
            }
            Ok(())
        })?;
        Ok(tenant)
    }

    /// Registers the Power Platform resource provider with the tenant's subscription, or takes it back.
    pub fn register_provider(&self, tenant: &TenantName, on: bool) -> Result<Tenant, WorldError> {
        let turn = self.begin()?;
        self.store().write(|tx| {
            let mut found: Tenant = tx.get(tenant.as_str())?;
            found.provider_registered = on;
            tx.put(&found)?;
            let detail = if on { "registered" } else { "unregistered" };
            tx.record(&by_provider(
                turn.now,
                "ResourceProviderChanged",
                tenant,
                detail,
            ))?;
            Ok(found)
        })
    }

    /// Makes a project of LCS. Its assets and metadata are real resources under the service-managed key.
    pub fn create_project(
        &self,
        name: &ProjectName,
        tenant: &TenantName,
    ) -> Result<Told<Project>, WorldError> {
        let turn = self.begin()?;
        let _: Tenant = self.get(tenant.as_str())?;
        if self
            .store()
            .read(|tx| tx.find::<Project>(name.as_str()))?
            .is_some()
        {
            return Err(WorldError::Exists(format!("the project {name}")));
        }
        let last: Timestamp = LAST_PROJECT.parse().expect("a time");
        let mut warnings = Vec::new();
        if self.profile()? == Profile::Docs2026 && turn.now >= last {
            warnings.push(Rule::NewProjects.broken(
                format_args!("{name} is made in a simulation only: LCS takes no new projects since February 2026"),
                "use the Power Platform admin centre for new environments",
            ));
        }
        self.begin_lcs(name)?;
        let project = Project {
            name: name.clone(),
            tenant: tenant.clone(),
            created: turn.now,
        };
        self.store().write(|tx| tx.add(&project))?;
        Ok(Told {
            value: project,
            warnings,
        })
    }

    /// Makes finance-and-operations environments, each in the working directory's environment of its name,
    /// which is made, or taken over with what is in it. All of it is under the service-managed key.
    pub fn create_finance(
        &self,
        new: &[NewFinance],
        progress: Progress<'_>,
    ) -> Result<Vec<FinanceEnvironment>, WorldError> {
        let turn = self.begin()?;
        let (mut made, mut places) = (Vec::new(), Vec::new());
        self.store().read(|tx| {
            for new in new {
                tx.get::<Project>(new.project.as_str())?;
                if tx.find::<FinanceEnvironment>(new.name.as_str())?.is_some() {
                    return Err(WorldError::Exists(format!("the environment {}", new.name)));
                }
                unowned(tx, new.name.as_name())?;
            }
            Ok(())
        })?;
        for new in new {
            let mut offers = BTreeSet::new();
            if new.kind == FinanceKind::HrStandalone {
                offers.insert(HR_STANDALONE.parse().expect("a name"));
            }
            places.push(NewPlace {
                name: new.name.as_name().clone(),
                databases: new.databases.clone(),
                accounts: vec![new.storage.clone()],
            });
            made.push(FinanceEnvironment {
                name: new.name.clone(),
                project: new.project.clone(),
                kind: new.kind,
                region: new.region.clone(),
                link: Link::None,
                offers,
                add_ins: BTreeSet::new(),
                deleted: None,
            });
        }
        self.make_and_add(&turn, &places, &made, progress)?;
        Ok(made)
    }

    /// Makes Power Platform environments, each with a Dataverse database and a storage account. They begin under
    /// the service-managed key and not integrated, whatever is said of that.
    pub fn create_power(
        &self,
        new: &[PowerEnvironment],
        progress: Progress<'_>,
    ) -> Result<Vec<PowerEnvironment>, WorldError> {
        let turn = self.begin()?;
        let profile = self.profile()?;
        let (mut made, mut places) = (Vec::new(), Vec::new());
        for new in new {
            for service in &new.services {
                let row = profile.product(service.as_str());
                if !row.is_some_and(Product::runs_in_an_environment) {
                    return Err(no_such(profile, ProductKind::Service, service));
                }
            }
            // Refuses a name that is too long.
            let place = power_place(&new.name)?;
            places.push(NewPlace {
                name: place,
                databases: vec!["dataverse".parse().expect("a name")],
                accounts: vec!["files".parse().expect("a name")],
            });
            made.push(PowerEnvironment {
                key: KeyState::Mmk,
                linked: None,
                ..new.clone()
            });
        }
        self.store().read(|tx| {
            for environment in &made {
                tx.get::<Tenant>(environment.tenant.as_str())?;
                if tx
                    .find::<PowerEnvironment>(environment.name.as_str())?
                    .is_some()
                {
                    return Err(WorldError::Exists(format!(
                        "the environment {}",
                        environment.name
                    )));
                }
                unowned(tx, &environment.place())?;
            }
            Ok(())
        })?;
        self.make_and_add(&turn, &places, &made, progress)?;
        Ok(made)
    }

    /// Changes whether a Power Platform environment is managed, whether its users are licensed, and its free
    /// capacity in MiB; what is `None` stays.
    pub fn set_power(
        &self,
        name: &PowerName,
        managed: Option<bool>,
        licensed: Option<bool>,
        capacity_mib: Option<u32>,
    ) -> Result<PowerEnvironment, WorldError> {
        let turn = self.begin()?;
        self.store().write(|tx| {
            let mut found = find_power(tx, name)?;
            if matches!(found.key, KeyState::Deleted { .. }) {
                return Err(locked(&found));
            }
            found.managed = managed.unwrap_or(found.managed);
            found.licensed = licensed.unwrap_or(found.licensed);
            found.capacity_mib = capacity_mib.unwrap_or(found.capacity_mib);
            tx.put(&found)?;
            tx.record(&by_provider(turn.now, "EnvironmentChanged", name, ""))?;
            Ok(found)
        })
    }

    /// The resources in an environment of the working directory.
    pub(super) fn resources_at(&self, place: &Name) -> Vec<ResourceAddress> {
        let config = self.workspace.config();
        let Ok(environment) = config.environment(place) else {
            return Vec::new();
        };
        let address = |(kind, name): (Kind, Name)| ResourceAddress {
            environment: Some(place.clone()),
            kind,
            name,
        };
        let entries = environment
            .resources
            .iter()
            .map(|r| (r.kind, r.name.clone()));
        entries.map(address).collect()
    }

    /// All environment-specific resources that the policy of a Power Platform environment reaches: its own,
    /// and those of the finance-and-operations environment that is linked to it.
    pub fn resources_of(&self, power: &PowerEnvironment) -> Vec<ResourceAddress> {
        let mut found = self.resources_at(&power.place());
        if let Some(finance) = &power.linked {
            found.extend(self.resources_at(finance.as_name()));
        }
        found
    }

    /// The resources of a finance-and-operations environment.
    pub fn resources_of_finance(&self, finance: &FinanceName) -> Vec<ResourceAddress> {
        self.resources_at(finance.as_name())
    }

    /// Makes the places that are not there yet, under the service-managed key, and enters what is in them.
    fn make_and_add<E: Entity>(
        &self,
        turn: &Turn,
        places: &[NewPlace],
        made: &[E],
        progress: Progress<'_>,
    ) -> Result<(), WorldError> {
        self.refuse_customers_own(places.iter().map(|place| &place.name))?;
        self.workspace.make_places(places, progress)?;
        self.store().write(|tx| {
            made.iter().try_for_each(|environment| {
                tx.add(environment)?;
                let subject = environment.key();
                tx.record(&by_provider(turn.now, "EnvironmentCreated", subject, ""))
            })
        })
    }

    fn refuse_customers_own<'n>(
        &self,
        places: impl Iterator<Item = &'n Name>,
    ) -> Result<(), WorldError> {
        let service = self.service_managed();
        let config = self.workspace.config();
        for place in places {
            let entries = config.environment(place).map(|e| e.resources.as_slice());
            if let Some(other) = entries
                .unwrap_or_default()
                .iter()
                .find(|e| e.protection != service)
            {
                return Err(WorldError::Usage(format!(
                    "{place}/{}/{} is there and not under the service-managed key: `atrest unprotect` it with \
                     --service-managed, or choose another name",
                    other.kind, other.name
                )));
            }
        }
        Ok(())
    }
}

/// A name that another part of the landscape has is not given twice.
pub(super) fn unowned(tx: &Tx<'_>, place: &Name) -> Result<(), WorldError> {
    match super::gate::owner(tx, place)? {
        Some(owner) => Err(WorldError::Exists(format!(
            "the environment {place} ({owner})"
        ))),
        None => Ok(()),
    }
}
