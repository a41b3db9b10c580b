//! What must be right of a script's landscape, and of the steps in it.

use std::collections::BTreeMap;

use crate::world::Name;
use crate::world::landscape::{
    FinanceKind, ProductKind, Profile, lcs_place, power_place, rcs_resources,
};

use super::at::{At, Position};
use super::check::Check;
use super::format::{Act, Environment, Managed, Script};
use super::format_landscape::{Estate, Finance, Tenant};
use super::landscape::uses_rcs;
use super::problem::Problem;
use super::words::{Label, Product};

impl Check {
    pub(super) fn estate(&mut self, script: &Script, estate: &At<Estate>) {
        let profile = profile(estate);
        if estate.tenants.is_empty() {
            self.say(estate.position, "the landscape has no tenant; give it one");
        }
        let mut places = BTreeMap::new();
        for stranger in script.strangers.values() {
            let theirs = stranger.environments.iter();
            places.extend(theirs.map(|(name, at)| (name.0.clone(), at.position)));
        }
        for (name, tenant) in &estate.tenants {
            if format!("{}-vault-admin", name.0).parse::<Name>().is_err() {
                let what = "too long for a tenant: its people are called NAME-vault-admin, ...";
                self.say(tenant.position, what);
            }
            self.tenant(script, tenant, profile, &mut places);
        }
        let tenants: Vec<String> = names(estate.tenants.keys());
        for person in estate.people.values() {
            self.known("tenant", &person.tenant, &tenants);
        }
    }

    fn tenant(
        &mut self,
        script: &Script,
        tenant: &At<Tenant>,
        profile: Profile,
        places: &mut BTreeMap<Name, Position>,
    ) {
        let mut takes = |check: &mut Self, place: Option<Name>, at: Position| match place {
            None => check.say(at, "too long: its data lies in NAME-dataverse, or lcs-NAME"),
            Some(place) => {
                if places.insert(place.clone(), at).is_some() {
                    let what = format!("the environment {place} is there already: rename one");
                    check.say(at, what);
                }
            }
        };
        let project = lcs_place(&tenant.project.0.clone().into()).ok();
        takes(self, project, tenant.project.position);
        for (name, power) in &tenant.power {
            takes(
                self,
                power_place(&name.0.clone().into()).ok(),
                power.position,
            );
            for service in &power.services {
                self.product(service, ProductKind::Service, profile);
            }
        }
        for (name, finance) in &tenant.finance {
            takes(self, Some(name.0.clone()), finance.position);
            if let Some(world) = script.world.environments.get(name) {
                self.taken_over(world);
            }
            self.finance(finance, profile);
        }
    }

    fn finance(&mut self, finance: &At<Finance>, profile: Profile) {
        for offer in &finance.offers {
            self.product(offer, ProductKind::Offer, profile);
        }
        for add_in in &finance.add_ins {
            self.add_in(add_in, profile);
        }
        let kind = finance.kind.as_ref().map(|kind| kind.0);
        if kind == Some(FinanceKind::HrStandalone) && !finance.offers.is_empty() {
            let what = "Human Resources Standalone runs nothing else: leave `offers` out";
            self.say(finance.position, what);
        }
    }

    /// What an environment of the landscape takes over is under the provider's key.
    fn taken_over(&mut self, environment: &At<Environment>) {
        let all = environment.sql.values().chain(environment.storage.values());
        for resource in all {
            if resource.protection != Managed::Service {
                let what = "in a landscape everything begins under the provider's key: say `protection: service`";
                self.say(resource.position, what);
            }
            if resource.twin {
                let what = "in a landscape nothing has a twin: leave `twin` out";
                self.say(resource.position, what);
            }
        }
    }

    fn product(&mut self, id: &At<Product>, kind: ProductKind, profile: Profile) {
        let is = |p: &&crate::world::landscape::Product| match kind {
            ProductKind::Service => p.runs_in_an_environment(),
            _ => p.kind == kind,
        };
        let of_kind = || profile.products().iter().filter(is);
        if !of_kind().any(|product| product.id == id.value.0.as_str()) {
            let known = of_kind().map(|product| product.id);
            let unknown = Problem::unknown(id.position, kind.word(), id.value.0.as_str(), known);
            self.problems.push(unknown);
        }
    }

    /// Any name is that of an add-in, but for those of other things.
    fn add_in(&mut self, id: &At<Product>, profile: Profile) {
        let row = profile.product(id.value.0.as_str());
        if let Some(row) = row.filter(|row| row.kind != ProductKind::AddIn) {
            let what = format!(
                "{} is the {} {}, and no add-in",
                row.id,
                row.kind.word(),
                row.name
            );
            self.say(id.position, what);
        }
    }

    /// An act, or an expectation, of a landscape.
    pub(super) fn in_landscape(&mut self, act: &At<Act>) {
        let Some(profile) = self.profile else {
            let what = format!(
                "`{}` is for a landscape: give the file one",
                act.value.word()
            );
            self.say(act.position, what);
            return;
        };
        match &act.value {
            Act::Link(link) => {
                self.finance_name(&link.finance);
                self.power_name(&link.power);
                self.people(&link.by);
            }
            Act::Install(install) => {
                self.finance_name(&install.environment);
                for offer in &install.offers {
                    self.product(offer, ProductKind::Offer, profile);
                }
                for add_in in &install.add_ins {
                    self.add_in(add_in, profile);
                }
                if install
                    .add_ins
                    .iter()
                    .any(|id| uses_rcs(profile, &id.value))
                    && let Some(tenant) = self.names.estate.finance.get(&install.environment.0)
                    && let Ok(addresses) = rcs_resources(&tenant.clone().into())
                {
                    addresses
                        .iter()
                        .for_each(|address| self.names.make(address));
                }
            }
            Act::Migrate(name) => self.finance_name(name),
            Act::CreatePolicy(new) => {
                let tenants: Vec<String> = texts(self.names.estate.tenants.iter());
                self.known("tenant", &new.tenant, &tenants);
                self.key(&new.key);
                self.people(&new.by);
                let (policy, tenant) = (new.policy.0.clone(), new.tenant.0.clone());
                if self.names.estate.policies.insert(policy, tenant).is_some() {
                    self.say(
                        new.policy.position,
                        "a policy of this name is there already",
                    );
                }
            }
            Act::Grant(granting) | Act::Revoke(granting) => {
                self.policy(&granting.policy);
                self.people(&granting.by);
            }
            Act::SharePolicy(share) => {
                self.policy(&share.policy);
                self.people(&Some(share.with.clone()));
            }
            Act::DeletePolicy(name) | Act::RestorePolicy(name) => self.policy(name),
            Act::Apply(apply) => {
                self.policy(&apply.policy);
                // That it takes the other name is a rule, which a story may want to break.
                for name in apply.to.iter() {
                    self.either_name(name);
                }
                self.people(&apply.by);
            }
            Act::RemoveFromPolicy(of) | Act::EnableEnvironment(of) | Act::ResetEnvironment(of) => {
                self.power_name(&of.environment);
                self.people(&of.by);
            }
            Act::BackUpEnvironment(backup) => {
                self.power_name(&backup.environment);
                if !self.names.estate.backups.insert(backup.name.0.clone()) {
                    let what = "a backup of this name is there already";
                    self.say(backup.name.position, what);
                }
            }
            Act::RestoreEnvironment(restore) => {
                let known = texts(self.names.estate.backups.iter());
                self.known("backup of an environment", &restore.backup, &known);
                self.power_name(&restore.into);
                self.people(&restore.by);
            }
            Act::CopyEnvironment(copy) => {
                self.power_name(&copy.from);
                self.power_name(&copy.into);
                self.people(&copy.by);
            }
            Act::SetVault(set) => self.known_vault(&set.vault),
            Act::DeleteVault(vault) | Act::RecoverVault(vault) | Act::PurgeVault(vault) => {
                self.known_vault(vault);
            }
            Act::SwitchLockbox(switch) => {
                let tenants: Vec<String> = texts(self.names.estate.tenants.iter());
                self.known("tenant", &switch.tenant, &tenants);
            }
            Act::RequestAccess(asked) => {
                self.power_name(&asked.environment);
                self.people(&Some(asked.engineer.clone()));
                self.people(&Some(asked.internal_approver.clone()));
                asked.scope.iter().for_each(|scope| self.places(scope));
                if let Some(hours) = &asked.hours
                    && !(1..=8).contains(&hours.value)
                {
                    self.say(hours.position, "access is for 1 to 8 hours");
                }
                if !self.names.estate.requests.insert(asked.name.0.clone()) {
                    self.say(
                        asked.name.position,
                        "a request of this name is there already",
                    );
                }
            }
            Act::Approve(decide) | Act::Deny(decide) | Act::RevokeAccess(decide) => {
                let known = texts(self.names.estate.requests.iter());
                self.known("request", &decide.request, &known);
                self.people(&decide.by);
            }
            Act::ReadAs(read) => {
                self.people(&Some(read.engineer.clone()));
                self.place(&read.what);
            }
            Act::Warned(warned) => {
                if warned.act.value.is_expectation() {
                    let what =
                        "what is warned of must be done, not expected: an act, not an expectation";
                    self.say(warned.act.position, what);
                }
                if !warned.code.0.starts_with("W_") {
                    let what = format!("{} is no warning: those begin with W_", warned.code.0);
                    self.say(act.position, what);
                }
                self.act(&warned.act);
            }
            Act::Coverage(covered) => self.either_name(&covered.environment),
            Act::State(state) => self.power_name(&state.environment),
            Act::Recorded(recorded) => {
                if recorded.at_least == 0 {
                    let what = "at-least: 0 is met by no record: say 1 or more";
                    self.say(act.position, what);
                }
            }
            other => panic!("{} is checked elsewhere", other.word()),
        }
    }

    fn finance_name(&mut self, name: &At<Label>) {
        let known = texts(self.names.estate.finance.keys());
        self.known("finance-and-operations environment", name, &known);
    }

    fn power_name(&mut self, name: &At<Label>) {
        let known = texts(self.names.estate.power.keys());
        self.known("Power Platform environment", name, &known);
    }

    fn either_name(&mut self, name: &At<Label>) {
        let estate = &self.names.estate;
        let known = texts(estate.power.keys().chain(estate.finance.keys()));
        self.known("environment of the landscape", name, &known);
    }

    fn policy(&mut self, name: &At<Label>) {
        let known = texts(self.names.estate.policies.keys());
        self.known("policy", name, &known);
    }

    fn people(&mut self, person: &Option<At<Label>>) {
        if let Some(person) = person {
            let known = texts(self.names.estate.people.iter());
            self.known("person", person, &known);
        }
    }
}

/// The profile of a landscape.
pub(super) fn profile(estate: &Estate) -> Profile {
    let said = estate.profile.as_ref().map(|profile| profile.0);
    said.unwrap_or_default()
}

fn names<'a>(all: impl Iterator<Item = &'a Label>) -> Vec<String> {
    all.map(|label| label.0.to_string()).collect()
}

fn texts<'a>(all: impl Iterator<Item = &'a Name>) -> Vec<String> {
    all.map(Name::to_string).collect()
}
