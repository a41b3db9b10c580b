//! Offers and add-ins of an environment, and the migration of Human Resources Standalone.

use crate::world::WorldError;

use super::Landscape;
use super::entities::{FinanceEnvironment, FinanceKind, Project};
use super::events::by_provider;
use super::names::FinanceName;
use super::products::{HR_STANDALONE, ProductId, ProductKind, Profile};
use super::rules::Rule;
use super::turn::refused;

impl Landscape<'_> {
    /// Installs an offer in a finance-and-operations environment.
    pub fn install_offer(
        &self,
        environment: &FinanceName,
        offer: &ProductId,
    ) -> Result<FinanceEnvironment, WorldError> {
        let turn = self.begin()?;
        let profile = self.profile()?;
        match profile.product(offer.as_str()) {
            Some(row) if row.kind == ProductKind::Offer && row.id != HR_STANDALONE => {}
            _ => return Err(no_such(profile, ProductKind::Offer, offer)),
        }
        self.store().write(|tx| {
            let mut found: FinanceEnvironment = tx.get(environment.as_str())?;
            not_deleted(&found)?;
            if found.kind == FinanceKind::HrStandalone {
                return Err(WorldError::Usage(format!(
                    "{environment} is Human Resources Standalone, and runs nothing else; migrate it first \
                     (`atrest env migrate {environment}`)"
                )));
            }
            found.offers.insert(offer.clone());
            tx.put(&found)?;
            tx.record(&by_provider(turn.now, "OfferInstalled", environment, offer))?;
            Ok(found)
        })
    }

    /// Installs an add-in. Those that use RCS begin to.
    pub fn install_add_in(
        &self,
        environment: &FinanceName,
        add_in: &ProductId,
    ) -> Result<FinanceEnvironment, WorldError> {
        let turn = self.begin()?;
        let profile = self.profile()?;
        // What is said of add-ins that are not listed is not said of offers and services.
        if let Some(other) = profile
            .product(add_in.as_str())
            .filter(|row| row.kind != ProductKind::AddIn)
        {
            return Err(WorldError::Usage(format!(
                "{add_in} is the {} {}, and no add-in; {}",
                other.kind.word(),
                other.name,
                match other.kind {
                    ProductKind::Offer => "install it with `atrest offer install`",
                    _ => "the report has it by itself where it is used",
                }
            )));
        }
        let mut found: FinanceEnvironment = self.get(environment.as_str())?;
        not_deleted(&found)?;
        if profile.add_in(add_in.as_str()).support == super::Support::UsesRcs {
            let project: Project = self.get(found.project.as_str())?;
            self.begin_rcs(&project.tenant)?;
        }
        found.add_ins.insert(add_in.clone());
        self.store().write(|tx| {
            tx.put(&found)?;
            tx.record(&by_provider(
                turn.now,
                "AddInInstalled",
                environment,
                add_in,
            ))
        })?;
        Ok(found)
    }

    /// Migrates Human Resources Standalone to a finance-and-operations environment of the same name: its
    /// data stays where it is, under the service-managed key until a policy reaches it.
    pub fn migrate(&self, environment: &FinanceName) -> Result<FinanceEnvironment, WorldError> {
        let turn = self.begin()?;
        self.store().write(|tx| {
            let mut found: FinanceEnvironment = tx.get(environment.as_str())?;
            if found.kind != FinanceKind::HrStandalone {
                return Err(WorldError::Usage(format!(
                    "{environment} is a finance and operations environment already"
                )));
            }
            found.kind = FinanceKind::Production;
            found.offers = [super::products::HUMAN_RESOURCES.parse().expect("a name")].into();
            tx.put(&found)?;
            tx.record(&by_provider(
                turn.now,
                "EnvironmentMigrated",
                environment,
                "",
            ))?;
            Ok(found)
        })
    }
}

pub(super) fn no_such(profile: Profile, kind: ProductKind, id: &ProductId) -> WorldError {
    let known = profile.products().iter().filter(|p| match kind {
        ProductKind::Service => p.runs_in_an_environment(),
        _ => p.kind == kind && p.id != HR_STANDALONE,
    });
    let known: Vec<_> = known.map(|p| p.id).collect();
    if known.is_empty() {
        return WorldError::Usage(format!(
            "the profile {profile} has no {} of an environment's",
            kind.word()
        ));
    }
    WorldError::Usage(format!(
        "{id} is no {} of the profile {profile}: expected one of {}",
        kind.word(),
        known.join(", ")
    ))
}

/// Nothing is installed in what was deleted with its Power Platform environment.
fn not_deleted(environment: &FinanceEnvironment) -> Result<(), WorldError> {
    match environment.deleted {
        None => Ok(()),
        Some(at) => refused(
            Rule::Gone,
            format_args!(
                "{} was deleted on {at}, since it was locked for too long",
                environment.name
            ),
            "make another environment",
        ),
    }
}
