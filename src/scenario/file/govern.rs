//! What is done in a landscape: integrations, policies, environments, vaults, Customer Lockbox.
//! Over 400 lines because each word that does something there has its arm here.

use std::collections::BTreeMap;

use crate::resource::sql::content_hash;
use crate::scenario::ScenarioError;
use crate::scenario::figures::{count, things};
use crate::scenario::measure::blob_hashes;
use crate::scenario::teller::Teller;
use crate::world::landscape::{
    Decision, LockboxRequest, NewPolicy, NewRequest, Permission, PersonName, PowerEnvironment,
    PowerName, RequestName, power_place,
};
use crate::world::{Kind, Name, ResourceAddress, WorldError};

use super::at::At;
use super::format::Act;
use super::format_landscape::{
    Apply, BackUpEnvironment, CopyEnvironment, CreatePolicy, Decide, Granting, Install, LinkThem,
    OfPower, ReadAs, RequestAccess, RestoreEnvironment,
};
use super::landscape::quiet;
use super::names::{joined, key};
use super::stage::{Known, Stage};
use super::words::Label;

/// A backup of an environment: of which, and what its resources held.
pub(super) struct Kept {
    of: Name,
    known: BTreeMap<String, Known>,
}

impl Act {
    /// What is done, in an infinitive; what is expected, in a sentence: of the words for a landscape.
    pub(super) fn told_in_landscape(&self) -> String {
        match self {
            Self::Link(link) => format!("integrate {} with {}", link.finance.0, link.power.0),
            Self::Install(install) => {
                let all = install.offers.iter().chain(&install.add_ins);
                let all = joined(all.map(|product| product.value.0.to_string()));
                format!("install {all} in {}", install.environment.0)
            }
            Self::Migrate(name) => format!("migrate {}", name.0),
            Self::CreatePolicy(new) => format!("make the policy {}", new.policy.0),
            Self::Grant(to) => format!("grant the policy {} its key", to.policy.0),
            Self::Revoke(of) => format!("revoke the grants of the policy {}", of.policy.0),
            Self::SharePolicy(share) => {
                format!("share the policy {} with {}", share.policy.0, share.with.0)
            }
            Self::DeletePolicy(name) => format!("delete the policy {}", name.0),
            Self::RestorePolicy(name) => format!("restore the policy {}", name.0),
            Self::Apply(apply) => {
                let to = joined(apply.to.iter().map(|to| to.value.0.to_string()));
                format!("apply the policy {} to {to}", apply.policy.0)
            }
            Self::RemoveFromPolicy(of) => format!("take {} from its policy", of.environment.0),
            Self::EnableEnvironment(of) => {
                format!("enable the environment {}", of.environment.0)
            }
            Self::BackUpEnvironment(backup) => {
                format!("back up the environment {}", backup.environment.0)
            }
            Self::RestoreEnvironment(restore) => format!(
                "restore the backup {} into {}",
                restore.backup.0, restore.into.0
            ),
            Self::CopyEnvironment(copy) => format!("copy {} over {}", copy.from.0, copy.into.0),
            Self::ResetEnvironment(of) => format!("reset the environment {}", of.environment.0),
            Self::SetVault(set) => format!("change the vault {}", set.vault.value.0),
            Self::DeleteVault(vault) => format!("delete the vault {}", vault.value.0),
            Self::RecoverVault(vault) => format!("recover the vault {}", vault.value.0),
            Self::PurgeVault(vault) => format!("purge the vault {}", vault.value.0),
            Self::SwitchLockbox(switch) => format!(
                "switch Customer Lockbox {} in {}",
                if switch.on { "on" } else { "off" },
                switch.tenant.0
            ),
            Self::RequestAccess(request) => format!(
                "request access to {} for {}",
                request.environment.0, request.engineer.0
            ),
            Self::Approve(decide) => format!("approve {}", decide.request.0),
            Self::Deny(decide) => format!("deny {}", decide.request.0),
            Self::RevokeAccess(decide) => format!("revoke {}", decide.request.0),
            Self::ReadAs(read) => {
                format!("read {} as {}", read.what.value.0, read.engineer.0)
            }
            Self::Warned(warned) => {
                format!(
                    "to {} is warned of with {}",
                    warned.act.told(),
                    warned.code.0
                )
            }
            Self::Coverage(covered) => covered.told(),
            Self::State(state) => {
                format!("The environment {} is {:?}", state.environment.0, state.is)
            }
            Self::Recorded(recorded) => {
                format!("The landscape records {}", recorded.operation)
            }
            other => panic!("{} is told elsewhere", other.word()),
        }
    }
}

impl Stage {
    /// Does something in the landscape.
    ///
    /// # Errors
    /// Why it was refused.
    ///
    /// # Panics
    /// For an expectation.
    pub(super) fn govern(
        &mut self,
        act: &Act,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        match act {
            Act::Link(link) => self.link(link, teller),
            Act::Install(install) => self.install(install, teller),
            Act::Migrate(name) => {
                self.landscape()?.migrate(&name.0.clone().into())?;
                teller.fact("Migrated", name.0.as_str());
                Ok(())
            }
            Act::CreatePolicy(new) => self.create_policy(new, teller),
            Act::Grant(to) => self.grant(to, true, teller),
            Act::Revoke(of) => self.grant(of, false, teller),
            Act::SharePolicy(share) => {
                let (policy, with) = (share.policy.0.clone(), share.with.0.clone());
                let by = self.names.estate.vault_admin(&policy);
                self.landscape()?.share_policy(
                    &policy.clone().into(),
                    &with.clone().into(),
                    &by,
                )?;
                teller.fact("Shared", format!("{policy}, with {with}"));
                Ok(())
            }
            Act::DeletePolicy(name) => {
                let by = self.names.estate.vault_admin(&name.0);
                self.landscape()?
                    .delete_policy(&name.0.clone().into(), &by)?;
                teller.fact("Policy deleted", name.0.as_str());
                Ok(())
            }
            Act::RestorePolicy(name) => {
                let by = self.names.estate.vault_admin(&name.0);
                self.landscape()?
                    .restore_policy(&name.0.clone().into(), &by)?;
                teller.fact("Policy restored", name.0.as_str());
                Ok(())
            }
            Act::Apply(apply) => self.apply(apply, teller),
            Act::RemoveFromPolicy(of) => {
                let (power, by) = self.power(of);
                let done = self.landscape()?.remove(&power, &by, &quiet)?;
                let told = format!("{power}: {}", moved(done.resources, done.bytes_rewritten));
                teller.fact("Back under the provider's key", told);
                failed(&done.failed)
            }
            Act::EnableEnvironment(of) => {
                let (power, by) = self.power(of);
                self.landscape()?.enable(&power, &by)?;
                teller.fact("Enabled", power.as_str());
                Ok(())
            }
            Act::BackUpEnvironment(backup) => self.back_up_environment(backup, teller),
            Act::RestoreEnvironment(restore) => self.restore_environment(restore, teller),
            Act::CopyEnvironment(copy) => self.copy_environment(copy, teller),
            Act::ResetEnvironment(of) => {
                let (power, by) = self.power(of);
                self.landscape()?.reset(&power, &by)?;
                for address in self.resources_of(&power)? {
                    self.learn_again(&address)?;
                }
                teller.fact("Reset", format!("{power}, which is empty now"));
                Ok(())
            }
            Act::SetVault(set) => {
                let (vault, region) = (&set.vault.value.0, set.region.as_ref().map(|r| &r.0));
                let landscape = self.landscape()?;
                let facts =
                    landscape.set_vault(vault, region, set.network_closed, set.trusted_services)?;
                let network = match (facts.network_closed, facts.trusted_services) {
                    (false, _) => "its network is open",
                    (true, true) => "its network is closed but to trusted services",
                    (true, false) => "its network is closed",
                };
                teller.fact("Vault", format!("{vault}: {network}"));
                Ok(())
            }
            Act::DeleteVault(vault) => {
                self.landscape()?.delete_vault(&vault.value.0)?;
                teller.fact("Vault deleted", vault.value.0.to_string());
                Ok(())
            }
            Act::RecoverVault(vault) => {
                let told = self.landscape()?.recover_vault(&vault.value.0)?;
                teller.fact("Vault recovered", vault.value.0.to_string());
                self.warn(told.warnings, teller);
                Ok(())
            }
            Act::PurgeVault(vault) => {
                self.landscape()?.purge_vault(&vault.value.0)?;
                teller.fact("Vault purged", vault.value.0.to_string());
                Ok(())
            }
            Act::SwitchLockbox(switch) => {
                let tenant = &switch.tenant.0;
                self.landscape()?
                    .set_lockbox(&tenant.clone().into(), switch.on)?;
                let told = if switch.on { "on within a day" } else { "off" };
                teller.fact("Customer Lockbox", format!("{told}, in {tenant}"));
                Ok(())
            }
            Act::RequestAccess(asked) => self.request_access(asked, teller),
            Act::Approve(decide) => self.decide(decide, Decision::Approve, teller),
            Act::Deny(decide) => self.decide(decide, Decision::Deny, teller),
            Act::RevokeAccess(decide) => {
                let (request, by) = self.request(decide)?;
                Ok(self.landscape()?.revoke_access(&request, &by)?)
            }
            Act::ReadAs(read) => self.read_as(read, teller),
            expectation => panic!("{} is expected, not done", expectation.told()),
        }
    }

    fn admin(&self, environment: &Name, by: &Option<At<Label>>) -> PersonName {
        said(by, || self.names.estate.admin(environment))
    }

    fn power(&self, of: &OfPower) -> (PowerName, PersonName) {
        let name = &of.environment.0;
        (name.clone().into(), self.admin(name, &of.by))
    }

    fn link(&mut self, link: &LinkThem, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let (finance, power) = (&link.finance.0, &link.power.0);
        let by = self.admin(power, &link.by);
        self.landscape()?
            .link(&finance.clone().into(), &power.clone().into(), &by)?;
        (self.names.estate.links).insert(power.clone(), finance.clone());
        let told = format!("{finance} with {power}, begun; it takes an hour");
        teller.fact("Integration", told);
        Ok(())
    }

    fn install(&mut self, install: &Install, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let environment = install.environment.0.clone().into();
        let landscape = self.landscape()?;
        for offer in &install.offers {
            landscape.install_offer(&environment, &offer.value.0)?;
            teller.fact("Offer", format!("{} in {environment}", offer.value.0));
        }
        for add_in in &install.add_ins {
            landscape.install_add_in(&environment, &add_in.value.0)?;
            teller.fact("Add-in", format!("{} in {environment}", add_in.value.0));
        }
        self.meet()
    }

    fn create_policy(
        &mut self,
        new: &CreatePolicy,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (tenant, policy, of) = (&new.tenant.0, &new.policy.0, &new.key.value.0);
        let usual = || "europe".parse().expect("a geography");
        let made = NewPolicy {
            name: policy.clone().into(),
            tenant: tenant.clone().into(),
            location: (new.location.as_ref()).map_or_else(usual, |at| at.0.clone()),
            vault: of.vault.clone(),
            key: of.key.clone(),
        };
        let by = said(&new.by, || super::names::person(tenant, "vault-admin"));
        self.landscape()?.create_policy(&made, &by)?;
        (self.names.estate.policies).insert(policy.clone(), tenant.clone());
        teller.fact(
            "Policy",
            format!("{policy} of {tenant}, with the key {}", key(of)),
        );
        Ok(())
    }

    fn grant(
        &self,
        granting: &Granting,
        granted: bool,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let policy = &granting.policy.0;
        let by = said(&granting.by, || self.names.estate.vault_admin(policy));
        let permissions: Vec<Permission> = match granting.permissions.is_empty() {
            true => Permission::ALL.to_vec(),
            false => granting.permissions.iter().map(|p| p.0).collect(),
        };
        let told = joined(permissions.iter().map(|p| p.name().to_owned()));
        let (landscape, name) = (self.landscape()?, policy.clone().into());
        match granted {
            true => landscape.grant(&name, &permissions, &by)?,
            false => landscape.revoke(&name, &permissions, &by)?,
        };
        let did = if granted { "Granted" } else { "Revoked" };
        teller.fact(did, format!("the identity of {policy}: {told}"));
        Ok(())
    }

    fn apply(&mut self, apply: &Apply, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let to: Vec<PowerName> = apply.to.iter().map(|e| e.value.0.clone().into()).collect();
        let policy = &apply.policy.0;
        let by = self.admin(&apply.to[0].value.0, &apply.by);
        let done = self
            .landscape()?
            .apply(&policy.clone().into(), &to, &by, &quiet)?;
        let moved = moved(done.value.resources, done.value.bytes_rewritten);
        teller.fact("Policy applied", format!("{policy}: {moved}"));
        self.warn(done.warnings, teller);
        failed(&done.value.failed)
    }

    fn resources_of(&self, power: &PowerName) -> Result<Vec<ResourceAddress>, ScenarioError> {
        let landscape = self.landscape()?;
        let power: PowerEnvironment = landscape.get(power.as_str())?;
        Ok(landscape.resources_of(&power))
    }

    fn back_up_environment(
        &mut self,
        backup: &BackUpEnvironment,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (power, name) = (&backup.environment.0, &backup.name.0);
        let by = self.admin(power, &None);
        let made = self
            .landscape()?
            .back_up(&power.clone().into(), &name.clone().into(), &by)?;
        let known = made.parts.iter().map(|part| {
            let known = self.known[&part.address].clone();
            (part.address.clone(), known)
        });
        let kept = Kept {
            of: power.clone(),
            known: known.collect(),
        };
        let parts = things(made.parts.len() as u64, "resource");
        let told = format!("{power} as {name}: {parts}, kept until {:.0}", made.expires);
        teller.fact("Environment backed up", told);
        self.kept.insert(name.clone(), kept);
        Ok(())
    }

    fn restore_environment(
        &mut self,
        restore: &RestoreEnvironment,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (backup, into) = (&restore.backup.0, &restore.into.0);
        let by = self.admin(into, &restore.by);
        let done =
            self.landscape()?
                .restore_backup(&backup.clone().into(), &into.clone().into(), &by)?;
        let all = things(done.resources.len() as u64, "resource");
        teller.fact(
            "Environment restored",
            format!("{into} from {backup}: {all}"),
        );
        if let Some(kept) = self.kept.get(backup) {
            let (of, known) = (kept.of.clone(), kept.known.clone());
            self.now_hold(&of, &known, into, &done.resources);
        }
        Ok(())
    }

    fn copy_environment(
        &mut self,
        copy: &CopyEnvironment,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (from, into) = (&copy.from.0, &copy.into.0);
        let by = self.admin(into, &copy.by);
        let done = self
            .landscape()?
            .copy(&from.clone().into(), &into.clone().into(), &by)?;
        let all = things(done.resources.len() as u64, "resource");
        teller.fact("Environment copied", format!("{from} over {into}: {all}"));
        let known = self.known.clone();
        self.now_hold(from, &known, into, &done.resources);
        Ok(())
    }

    /// What lay in the environment `of` and in what was linked to it lies at `targets`, in `into` and in what is
    /// linked to that.
    fn now_hold(
        &mut self,
        of: &Name,
        known: &BTreeMap<String, Known>,
        into: &Name,
        targets: &[String],
    ) {
        let own = |power: &Name| power_place(&power.clone().into()).ok();
        let (from_own, to_own) = (own(of), own(into));
        for target in targets {
            let Some((place, inside)) = target.split_once('/') else {
                continue;
            };
            let is = |own: &Option<Name>, place: &str| {
                own.as_ref().is_some_and(|own| own.as_str() == place)
            };
            let is_own = is(&to_own, place);
            let source = known.iter().find(|(address, _)| {
                address.split_once('/').is_some_and(|(from, what)| {
                    what == inside
                        && match is_own {
                            true => is(&from_own, from),
                            false => self.names.estate.is_finance_of(from, of),
                        }
                })
            });
            if let Some((_, source)) = source {
                let seen_here = self.known.get(target).is_some_and(|known| known.seen_here);
                let known = Known {
                    seen_here,
                    ..source.clone()
                };
                self.known.insert(target.clone(), known);
            }
        }
    }

    fn request_access(
        &mut self,
        asked: &RequestAccess,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let environment = &asked.environment.0;
        let scope = asked.scope.as_ref().map(|scope| self.all(scope));
        let made = self.landscape()?.request_access(&NewRequest {
            environment: environment.clone().into(),
            engineer: asked.engineer.0.clone().into(),
            internal_approver: asked.internal_approver.0.clone().into(),
            support_request: asked.name.0.to_string(),
            reason: asked.reason.clone(),
            scope: scope.unwrap_or_default(),
            hours: asked.hours.as_ref().map_or(8, |hours| hours.value),
        })?;
        let told = format!(
            "{} to {environment}, as {}: {}; it expires {:.0}",
            made.engineer, made.name, made.reason, made.expires
        );
        teller.fact("Access requested", told);
        self.requests.insert(asked.name.0.clone(), made.name);
        Ok(())
    }

    fn request(&self, decide: &Decide) -> Result<(RequestName, PersonName), ScenarioError> {
        let request = self.requests.get(&decide.request.0).cloned();
        let request = request.unwrap_or_else(|| decide.request.0.clone().into());
        let found: LockboxRequest = self.landscape()?.get(request.as_str())?;
        let usual = || super::names::person(found.tenant.as_name(), "approver");
        let by = said(&decide.by, usual);
        Ok((request, by))
    }

    fn decide(
        &self,
        decide: &Decide,
        decision: Decision,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let (request, by) = self.request(decide)?;
        let decided = self.landscape()?.decide(&request, decision, &by)?;
        teller.fact(decided.state.word(), format!("{request}, by {by}"));
        Ok(())
    }

    fn read_as(&self, read: &ReadAs, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
        let engineer: PersonName = read.engineer.0.clone().into();
        let address = self.resolve(&read.what.value.0);
        let landscape = self.landscape()?;
        let told = match address.kind {
            Kind::Sql => {
                let database = landscape.open_sql_for(&engineer, &address)?;
                let content = content_hash(&database.connect()?);
                let content = content.map_err(|e| database.explain(e))?;
                things(content.rows(), "row")
            }
            Kind::Storage => {
                let account = landscape.open_storage_for(&engineer, &address)?;
                things(blob_hashes(&account)?.len() as u64, "blob")
            }
        };
        let what = self.label(&address);
        teller.fact("Read by an engineer", format!("{engineer}: {what}, {told}"));
        Ok(())
    }
}

/// Who does something: who is named, or else who usually does.
fn said(by: &Option<At<Label>>, usual: impl FnOnce() -> PersonName) -> PersonName {
    by.as_ref().map_or_else(usual, |by| by.0.clone().into())
}

fn moved(resources: u64, bytes: u64) -> String {
    format!(
        "{}, {} bytes of wrapped keys written",
        things(resources, "resource"),
        count(bytes)
    )
}

fn failed(failed: &[String]) -> Result<(), ScenarioError> {
    match failed.first() {
        None => Ok(()),
        Some(why) => Err(WorldError::Usage(why.clone()).into()),
    }
}
