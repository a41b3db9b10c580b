//! Every rule of docs/world.md, broken; and the same thing done right, which shows that the rule and nothing
//! else refused it.

use std::collections::BTreeSet;

use atrest::base::KeyName;
use atrest::crypto::KeyKind;
use atrest::vault::{KeySpec, KeyUpdate, KeyVault};
use atrest::world::landscape::{
    Decision, Duty, EventFilter, FinanceKind, KeyState, LockboxRequest, NewFinance, NewPolicy,
    NewRequest, Permission, PersonName, PowerEnvironment, PowerKind, Profile, RequestStatus, Rule,
    Severity, Start,
};
use atrest::world::{WhichVault, WorldError};

use crate::stage::*;

#[test]
fn every_rule_refuses_or_warns_as_its_row_says() {
    for rule in Rule::ALL {
        let broken = break_it(*rule);
        assert_eq!(broken, *rule, "{}", rule.code());
        assert_eq!(
            rule.severity() == Severity::Warns,
            rule.code().starts_with("W_")
        );
        println!("{} {}", rule.id(), rule.code());
    }
}

/// Breaks the rule, and gives the one that was told.
fn break_it(rule: Rule) -> Rule {
    match rule {
        Rule::LinkTargetHasCmk => link_target_has_cmk(),
        Rule::LinkValidation => link_validation(),
        Rule::LinkIrreversible => link_irreversible(),
        Rule::NotIntegrated => not_integrated(),
        Rule::EnvironmentName => environment_name(),
        Rule::CloudHostedExcluded => cloud_hosted(),
        Rule::VaultUnprotected => vault_unprotected(),
        Rule::KeyUnsupported => key_unsupported(),
        Rule::ProviderUnregistered => unregistered(),
        Rule::Location => location(),
        Rule::RegionMismatch => region_mismatch(),
        Rule::Forbidden => forbidden(),
        Rule::EnvironmentType => environment_type(),
        Rule::NotManaged => not_managed(),
        Rule::Licence => licence(),
        Rule::KeyAccess => key_access(),
        Rule::NoSeparation => no_separation(),
        Rule::VersionInUse => version_in_use(),
        Rule::VersionDelete => version_delete(),
        Rule::Locked => locked(),
        Rule::WrongKey => wrong_key(),
        Rule::Gone => gone(),
        Rule::CmkMismatch => cmk_mismatch(),
        Rule::ProtectorMissing => protector_missing(),
        Rule::NoKey => no_key(),
        Rule::PurgeProtected => purge_protected(),
        Rule::GrantsLost => grants_lost(),
        Rule::NotApprover => not_approver(),
        Rule::Expired => expired(),
        Rule::NotRevocable => not_revocable(),
        Rule::NoGrant => no_grant(),
        Rule::LockedDespiteApproval => locked_despite_approval(),
        Rule::NewProjects => new_projects(),
    }
}

fn seed() -> Stage {
    Stage::with(Profile::Seed2022)
}

/// What was refused changed nothing: everything is under the service-managed key.
fn all_service_managed(stage: &Stage) {
    for (address, _) in stage.workspace.resources() {
        let key = stage
            .workspace
            .key_version(&address)
            .unwrap()
            .unwrap()
            .key();
        assert_eq!(key, stage.workspace.service_key(), "{address}");
    }
}

fn link_target_has_cmk() -> Rule {
    let stage = seed();
    stage.apply("cmk", &["org-prod"]).unwrap();
    let broken = rule(stage.link("prod", "org-prod"));
    assert_eq!(
        stage
            .landscape()
            .get::<PowerEnvironment>("org-prod")
            .unwrap()
            .linked,
        None
    );
    // One that gets its policy while the integration is under way fails it.
    stage.power("org-late", |_| ());
    stage.link("prod", "org-late").unwrap();
    stage.apply("cmk", &["org-late"]).unwrap();
    let happened = stage.hours(1).happened;
    assert!(
        happened
            .iter()
            .any(|e| e.operation == "LinkFailed" && e.detail.contains("I1")),
        "{happened:?}"
    );
    // Without a policy, it can be resumed.
    stage
        .landscape()
        .remove(&power("org-late"), &admin(), &quiet)
        .unwrap();
    stage.link("prod", "org-late").unwrap();
    stage.hours(1);
    assert_eq!(
        stage
            .landscape()
            .get::<PowerEnvironment>("org-late")
            .unwrap()
            .linked,
        Some(finance("prod"))
    );
    broken
}

fn link_validation() -> Rule {
    let stage = seed();
    stage.power("org-far", |new| new.region = "eastus".parse().unwrap());
    stage.power("org-bare", |new| new.d365_apps = false);
    stage.power("org-full", |new| new.capacity_mib = 1023);
    let unlicensed = stage.person("una", Some("contoso"), &[Duty::PowerAdmin], false);
    let stranger = stage.person("stan", Some("contoso"), &[], true);
    let why = |power_name: &str, by: &PersonName| {
        let linked = stage
            .landscape()
            .link(&finance("prod"), &power(power_name), by);
        match linked {
            Err(WorldError::Refused(refusal)) => {
                assert_eq!(refusal.rule, Rule::LinkValidation);
                refusal.detail
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(why("org-far", &admin()).contains("geography"));
    assert!(why("org-bare", &admin()).contains("D365"));
    assert!(why("org-full", &admin()).contains("capacity"));
    assert!(why("org-prod", &unlicensed).contains("licence"));
    assert!(why("org-prod", &stranger).contains("administrator"));
    stage.link("prod", "org-prod").unwrap();
    Rule::LinkValidation
}

fn link_irreversible() -> Rule {
    let stage = seed();
    stage.power("org-two", |_| ());
    stage.finance("two", "westeurope".parse().unwrap());
    stage.link("prod", "org-prod").unwrap();
    assert_eq!(
        rule(stage.link("two", "org-prod")),
        Rule::LinkIrreversible,
        "while it is under way"
    );
    stage.hours(1);
    assert_eq!(rule(stage.link("prod", "org-two")), Rule::LinkIrreversible);
    assert_eq!(
        rule(stage.link("two", "org-prod")),
        Rule::LinkIrreversible,
        "one to one"
    );
    stage.link("two", "org-two").unwrap();
    rule(stage.landscape().unlink(&finance("prod"), &admin()))
}

fn not_integrated() -> Rule {
    let stage = seed();
    let broken = rule(stage.apply("cmk", &["prod"]));
    all_service_managed(&stage);
    let coverage = stage.landscape().coverage("prod").unwrap();
    assert!(
        coverage
            .rows
            .iter()
            .filter(|r| r.kind == "resource")
            .all(|r| r.reason == "NOT_INTEGRATED")
    );
    // While it is under way it is not integrated yet.
    stage.link("prod", "org-prod").unwrap();
    assert_eq!(rule(stage.apply("cmk", &["prod"])), Rule::NotIntegrated);
    stage.hours(1);
    stage.apply("cmk", &["org-prod"]).unwrap();
    broken
}

fn environment_name() -> Rule {
    let stage = Stage::linked();
    let refused = stage.apply("cmk", &["prod"]);
    assert!(
        refused
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("org-prod"),
        "the hint"
    );
    rule(refused)
}

fn cloud_hosted() -> Rule {
    let stage = seed();
    let mut new = NewFinance::usual(
        finance("dev"),
        "erp".parse().unwrap(),
        "westeurope".parse().unwrap(),
    );
    new.kind = FinanceKind::CloudHosted;
    stage.landscape().create_finance(&[new], &quiet).unwrap();
    assert_eq!(
        rule(stage.apply("cmk", &["dev"])),
        Rule::CloudHostedExcluded
    );
    rule(stage.link("dev", "org-prod"))
}

fn vault_unprotected() -> Rule {
    let stage = Stage::bare(KeyKind::Rsa2048, false);
    let landscape = atrest::world::landscape::Landscape::create(
        &stage.workspace,
        Profile::Seed2022,
        Start::At(began()),
    )
    .unwrap();
    landscape
        .create_tenant(&"contoso".parse().unwrap())
        .unwrap();
    let broken = rule(stage.policy("cmk", KEY));
    stage.vault().enable_purge_protection().unwrap();
    stage.policy("cmk", KEY).unwrap();
    broken
}

fn key_unsupported() -> Rule {
    let stage = seed();
    let make = |name: &str, kind| {
        let name: KeyName = name.parse().unwrap();
        stage
            .vault()
            .create_key(&name, &KeySpec::new(kind))
            .unwrap();
    };
    make("symmetric", KeyKind::Oct256);
    make("rsa-3072", KeyKind::Rsa3072);
    stage.policy("good", "rsa-3072").unwrap();
    let broken = rule(stage.policy("bad", "symmetric"));
    stage.landscape().allow_keys(&[KeyKind::Oct256]).unwrap();
    stage.policy("bad", "symmetric").unwrap();
    assert_eq!(
        rule(stage.apply("cmk", &["org-prod"])),
        Rule::KeyUnsupported,
        "and when it is applied"
    );
    broken
}

fn unregistered() -> Rule {
    let stage = seed();
    let tenant = "contoso".parse().unwrap();
    stage.landscape().register_provider(&tenant, false).unwrap();
    let broken = rule(stage.apply("cmk", &["org-prod"]));
    all_service_managed(&stage);
    stage.landscape().register_provider(&tenant, true).unwrap();
    stage.apply("cmk", &["org-prod"]).unwrap();
    broken
}

fn location() -> Rule {
    let stage = seed();
    let unknown = "atlantis".parse::<atrest::world::landscape::Region>();
    assert!(unknown.unwrap_err().contains("E_LOCATION"));
    let region = "northeurope".parse().unwrap();
    stage.landscape().set_region(&region, false).unwrap();
    let broken = rule(stage.apply("cmk", &["org-prod"]));
    stage.landscape().set_region(&region, true).unwrap();
    stage.apply("cmk", &["org-prod"]).unwrap();
    broken
}

fn region_mismatch() -> Rule {
    let stage = seed();
    stage.power("org-us", |new| new.region = "eastus".parse().unwrap());
    assert_eq!(rule(stage.apply("cmk", &["org-us"])), Rule::RegionMismatch);
    let us = "westus".parse().unwrap();
    stage
        .landscape()
        .set_vault(&WhichVault::Customer, Some(&us), None, None)
        .unwrap();
    let broken = rule(stage.apply("cmk", &["org-prod"]));
    let eu = "northeurope".parse().unwrap();
    stage
        .landscape()
        .set_vault(&WhichVault::Customer, Some(&eu), None, None)
        .unwrap();
    stage.apply("cmk", &["org-prod"]).unwrap();
    broken
}

fn forbidden() -> Rule {
    let stage = seed();
    let nobody = stage.person("nick", Some("contoso"), &[], true);
    let other = stage.person("ola", Some("contoso"), &[Duty::PowerAdmin], true);
    let by = |who| stage.apply_as("cmk", &["org-prod"], who);
    let said = by(&nobody).unwrap_err().to_string();
    assert!(said.contains("Power Platform administrator"), "{said}");
    let said = by(&other).unwrap_err().to_string();
    assert!(said.contains("Reader"), "{said}");
    assert_eq!(rule(by(&other)), Rule::Forbidden);
    let policy = "cmk".parse().unwrap();
    // Each duty is for one of the two.
    let landscape = stage.landscape();
    assert_eq!(
        rule(landscape.grant(&policy, &Permission::ALL, &admin())),
        Rule::Forbidden
    );
    let broken = rule(stage.apply_as("cmk", &["org-prod"], &vault_admin()));
    landscape
        .share_policy(&policy, &other, &vault_admin())
        .unwrap();
    by(&other).unwrap();
    broken
}

fn environment_type() -> Rule {
    let stage = seed();
    stage.power("trial", |new| new.kind = PowerKind::Trial);
    stage.power("teams", |new| new.kind = PowerKind::Teams);
    stage.power("sandbox", |new| new.kind = PowerKind::Sandbox);
    stage.apply("cmk", &["sandbox"]).unwrap();
    assert_eq!(rule(stage.apply("cmk", &["trial"])), Rule::EnvironmentType);
    // One that may not have it keeps the others from it, too: nothing is changed.
    let broken = rule(stage.apply("cmk", &["org-prod", "teams"]));
    assert_eq!(stage.state("org-prod"), KeyState::Mmk);
    broken
}

fn not_managed() -> Rule {
    let stage = seed();
    stage.power("wild", |new| new.managed = false);
    let broken = rule(stage.apply("cmk", &["wild"]));
    stage
        .landscape()
        .set_power(&power("wild"), Some(true), None, None)
        .unwrap();
    stage.apply("cmk", &["wild"]).unwrap();
    broken
}

fn warned(stage: &Stage, environment: &str, by: &PersonName) -> Vec<Rule> {
    let (applied, warnings) = stage.apply_as("cmk", &[environment], by).unwrap();
    assert!(applied.resources > 0, "a warning hinders nothing");
    warnings.into_iter().map(|warning| warning.rule).collect()
}

fn licence() -> Rule {
    let stage = seed();
    stage.power("unlicensed", |new| new.licensed = false);
    assert_eq!(warned(&stage, "org-prod", &admin()), []);
    warned(&stage, "unlicensed", &admin())[0]
}

fn key_access() -> Rule {
    let stage = seed();
    let policy = "cmk".parse().unwrap();
    for permission in Permission::ALL {
        let landscape = stage.landscape();
        landscape
            .revoke(&policy, &[permission], &vault_admin())
            .unwrap();
        let said = stage.apply("cmk", &["org-prod"]).unwrap_err().to_string();
        assert!(
            said.contains("E_KEY_ACCESS") && said.contains(permission.name()),
            "{said}"
        );
        assert_eq!(stage.state("org-prod"), KeyState::Mmk);
        all_service_managed(&stage);
        landscape
            .grant(&policy, &[permission], &vault_admin())
            .unwrap();
    }
    let network = |closed, trusted| {
        let vault = WhichVault::Customer;
        stage
            .landscape()
            .set_vault(&vault, None, Some(closed), Some(trusted))
            .unwrap();
    };
    network(true, false);
    let broken = rule(stage.apply("cmk", &["org-prod"]));
    network(true, true);
    stage.apply("cmk", &["org-prod"]).unwrap();
    broken
}

fn no_separation() -> Rule {
    let stage = seed();
    let both = stage.person(
        "bo",
        Some("contoso"),
        &[Duty::PowerAdmin, Duty::VaultAdmin],
        true,
    );
    stage
        .landscape()
        .share_policy(&"cmk".parse().unwrap(), &both, &vault_admin())
        .unwrap();
    warned(&stage, "org-prod", &both)[0]
}

fn version_in_use() -> Rule {
    let stage = Stage::protected();
    let old = stage.vault().key(&KEY.parse().unwrap(), None).unwrap().kid;
    let landscape = stage.landscape();
    landscape
        .back_up(&power("org-prod"), &"before".parse().unwrap(), &admin())
        .unwrap();
    stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap();
    stage.days(1);
    let warning = landscape.warn_of_use(&old).unwrap().unwrap();
    assert!(warning.detail.contains("in the backup before"), "{warning}");
    assert!(
        !warning.detail.contains("the data encryption key"),
        "{warning}"
    );
    // After 28 days nothing needs it.
    stage.days(28);
    assert_eq!(landscape.warn_of_use(&old).unwrap(), None);
    warning.rule
}

fn version_delete() -> Rule {
    let stage = Stage::protected();
    let version = stage
        .vault()
        .key(&KEY.parse().unwrap(), None)
        .unwrap()
        .kid
        .version;
    rule(
        stage
            .landscape()
            .delete_version(&KEY.parse().unwrap(), version),
    )
}

fn locked() -> Rule {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let (org, backup) = (power("org-prod"), "b".parse().unwrap());
    landscape.back_up(&org, &backup, &admin()).unwrap();
    stage.power("org-two", |_| ());
    stage.apply("cmk", &["org-two"]).unwrap();
    stage.set_enabled(None, false);
    // L1: all of them at once.
    for environment in ["org-prod", "org-two"] {
        assert!(
            matches!(stage.state(environment), KeyState::Locked { .. }),
            "{environment}"
        );
    }
    assert_eq!(
        rule(landscape.restore_backup(&backup, &org, &admin())),
        Rule::Locked
    );
    assert_eq!(
        rule(landscape.copy(&org, &power("org-two"), &admin())),
        Rule::Locked
    );
    assert_eq!(
        rule(landscape.back_up(&org, &"c".parse().unwrap(), &admin())),
        Rule::Locked
    );
    assert_eq!(rule(landscape.reset(&org, &admin())), Rule::Locked);
    assert_eq!(
        rule(landscape.enable(&org, &admin())),
        Rule::Locked,
        "the key is still disabled"
    );
    let broken = rule(landscape.remove(&org, &admin(), &quiet));
    stage.set_enabled(None, true);
    assert_eq!(
        rule(landscape.remove(&org, &admin(), &quiet)),
        Rule::Locked,
        "not enabled yet"
    );
    landscape.enable(&org, &admin()).unwrap();
    landscape.restore_backup(&backup, &org, &admin()).unwrap();
    landscape.remove(&org, &admin(), &quiet).unwrap();
    broken
}

fn wrong_key() -> Rule {
    let stage = Stage::protected_for_a_week();
    let key: KeyName = KEY.parse().unwrap();
    let expected = stage.vault().key(&key, None).unwrap().thumbprint;
    let backup = stage.vault().backup_key(&key).unwrap();
    let delete_and_wait = || {
        stage.vault().delete_key(&key).unwrap();
        stage.landscape().catch_up().unwrap();
        stage.days(7);
    };
    delete_and_wait();
    stage
        .vault()
        .create_key(&key, &KeySpec::new(KeyKind::Rsa2048))
        .unwrap();
    let refused = stage.landscape().enable(&power("org-prod"), &admin());
    assert!(
        refused
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains(&expected),
        "{refused:?}"
    );
    assert!(!stage.reads("prod/sql/axdb"));
    // The right one, from its backup.
    delete_and_wait();
    stage.vault().restore_key(&backup).unwrap();
    stage
        .landscape()
        .enable(&power("org-prod"), &admin())
        .unwrap();
    assert!(stage.reads("prod/sql/axdb"));
    rule(refused)
}

fn gone() -> Rule {
    let stage = seed();
    stage.power("sandbox", |new| new.kind = PowerKind::Sandbox);
    stage.apply("cmk", &["sandbox", "org-prod"]).unwrap();
    stage.set_enabled(None, false);
    stage.days(7);
    assert!(matches!(stage.state("sandbox"), KeyState::Deleted { .. }));
    assert!(
        matches!(stage.state("org-prod"), KeyState::Locked { .. }),
        "production has 30 days"
    );
    rule(stage.landscape().enable(&power("sandbox"), &admin()))
}

fn cmk_mismatch() -> Rule {
    let stage = Stage::protected();
    stage.power("org-mmk", |_| ());
    stage.finance("two", "westeurope".parse().unwrap());
    stage.power("org-two", |_| ());
    stage.link("two", "org-two").unwrap();
    stage.hours(1);
    let landscape = stage.landscape();
    let (backup, org, two) = ("b".parse().unwrap(), power("org-prod"), power("org-two"));
    landscape.back_up(&org, &backup, &admin()).unwrap();
    let refused = landscape.restore_backup(&backup, &two, &admin());
    let said = refused.as_ref().unwrap_err().to_string();
    assert!(
        said.contains(KEY) && said.contains("service-managed"),
        "both keys: {said}"
    );
    assert_eq!(
        rule(landscape.copy(&org, &two, &admin())),
        Rule::CmkMismatch
    );
    // Under the same key it goes.
    stage.apply("cmk", &["org-two"]).unwrap();
    landscape.restore_backup(&backup, &two, &admin()).unwrap();
    assert!(stage.reads("two/sql/axdb") && stage.reads("two/storage/documents"));
    landscape.copy(&org, &two, &admin()).unwrap();
    assert!(stage.reads("two/sql/axdb") && stage.reads("org-two-dataverse/sql/dataverse"));
    // Into the environment that it was made of it goes also when that has left the policy.
    landscape.remove(&org, &admin(), &quiet).unwrap();
    landscape.restore_backup(&backup, &org, &admin()).unwrap();
    let version = stage
        .workspace
        .key_version(&"prod/sql/axdb".parse().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(version.key(), stage.workspace.service_key());
    assert!(stage.reads("prod/sql/axdb"));
    rule(refused)
}

fn protector_missing() -> Rule {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let (backup, org) = ("b".parse().unwrap(), power("org-prod"));
    landscape.back_up(&org, &backup, &admin()).unwrap();
    let old = stage.vault().key(&KEY.parse().unwrap(), None).unwrap().kid;
    stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap();
    stage.days(1);
    stage.set_enabled(Some(old.version), false);
    let refused = landscape.restore_backup(&backup, &org, &admin());
    let said = refused.as_ref().unwrap_err().to_string();
    let words = "Target server `org-prod` doesn't have access to all AKV URIs created between <";
    assert!(said.contains(words), "{said}");
    assert!(
        said.contains("Retry operation after restoring all AKV URIs."),
        "{said}"
    );
    let uri = format!(
        "https://customer.vault.azure.net/keys/{KEY}/{}",
        old.version
    );
    assert!(said.contains(&uri), "{said}");
    assert!(stage.reads("prod/sql/axdb"), "what is there is not touched");
    stage.set_enabled(Some(old.version), true);
    landscape.restore_backup(&backup, &org, &admin()).unwrap();
    assert!(stage.reads("prod/sql/axdb"));
    rule(refused)
}

fn no_key() -> Rule {
    let stage = Stage::protected();
    let loot = tempfile::tempdir().unwrap();
    let robbed = stage.workspace.at_rest().unwrap();
    for path in robbed {
        copy_all(&path, &loot.path().join(path.file_name().unwrap()));
    }
    let foreign = seed();
    let place = "attached".parse().unwrap();
    let refused = foreign.landscape().attach(loot.path(), &place, &quiet);
    let said = refused.as_ref().unwrap_err().to_string();
    assert!(said.contains(KEY), "the key that it needs: {said}");
    assert!(
        !foreign.workspace.environments().contains(&place),
        "nothing of it is left"
    );
    // Where its keys are it opens.
    let attached = stage.landscape().attach(loot.path(), &place, &quiet);
    assert!(!attached.unwrap().is_empty());
    rule(refused)
}

fn purge_protected() -> Rule {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    // A key.
    stage.vault().delete_key(&KEY.parse().unwrap()).unwrap();
    let error = stage.vault().purge_key(&KEY.parse().unwrap()).unwrap_err();
    let refusal = atrest::world::landscape::as_rule(&stage.workspace, &error).unwrap();
    assert_eq!(refusal.rule, Rule::PurgeProtected);
    stage.vault().recover_key(&KEY.parse().unwrap()).unwrap();
    // A vault.
    let vault = WhichVault::Customer;
    landscape.delete_vault(&vault).unwrap();
    let broken = rule(landscape.purge_vault(&vault));
    stage.days(90);
    assert!(landscape.purge_vault(&vault).unwrap().purged.is_some());
    broken
}

fn grants_lost() -> Rule {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let vault = WhichVault::Customer;
    landscape.delete_vault(&vault).unwrap();
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
    let warnings = landscape.recover_vault(&vault).unwrap().warnings;
    assert_eq!(
        rule(landscape.enable(&power("org-prod"), &admin())),
        Rule::Locked,
        "still"
    );
    assert!(!stage.reads("prod/sql/axdb"));
    stage.grant("cmk");
    landscape.enable(&power("org-prod"), &admin()).unwrap();
    assert!(stage.reads("prod/sql/axdb"));
    warnings[0].rule
}

struct Case {
    stage: Stage,
    engineer: PersonName,
    request: LockboxRequest,
}

fn case() -> Case {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let engineer = stage.person("sam", None, &[Duty::ProviderEngineer], false);
    let internal = stage.person("kim", None, &[Duty::ProviderEngineer], false);
    let new = NewRequest {
        environment: power("org-prod"),
        engineer: engineer.clone(),
        internal_approver: internal,
        support_request: "2401-7".into(),
        reason: "a corrupt index".into(),
        scope: vec!["prod/sql/axdb".parse().unwrap()],
        hours: 8,
    };
    assert!(landscape.request_access(&new).is_err(), "Lockbox is off");
    landscape
        .set_lockbox(&"contoso".parse().unwrap(), true)
        .unwrap();
    stage.hours(24);
    let request = landscape.request_access(&new).unwrap();
    Case {
        engineer,
        request,
        stage,
    }
}

fn approver() -> PersonName {
    "contoso-approver".parse().unwrap()
}

impl Case {
    fn decide(&self, decision: Decision, by: &PersonName) -> Result<LockboxRequest, WorldError> {
        self.stage
            .landscape()
            .decide(&self.request.name, decision, by)
    }

    fn read(&self, address: &str) -> Result<String, WorldError> {
        let address = address.parse().unwrap();
        read_sql(
            &self
                .stage
                .landscape()
                .open_sql_for(&self.engineer, &address)?,
        )
    }

    fn events(&self) -> BTreeSet<(String, String)> {
        let filter = EventFilter {
            operation: Some("Lockbox".into()),
            ..EventFilter::default()
        };
        let events = self.stage.landscape().events(&filter).unwrap();
        events
            .into_iter()
            .map(|e| (e.operation, e.outcome))
            .collect()
    }
}

fn not_approver() -> Rule {
    let case = case();
    let broken = rule(case.decide(Decision::Approve, &admin()));
    assert_eq!(
        rule(case.read("prod/sql/axdb")),
        Rule::NoGrant,
        "nothing came of it"
    );
    assert_eq!(
        case.decide(Decision::Deny, &approver())
            .unwrap()
            .state
            .word(),
        "Denied"
    );
    assert!(
        case.decide(Decision::Approve, &approver()).is_err(),
        "it is decided"
    );
    assert_eq!(rule(case.read("prod/sql/axdb")), Rule::NoGrant);
    broken
}

fn expired() -> Rule {
    let case = case();
    case.stage.hours(4 * 24 - 1);
    assert_eq!(case.request.state, RequestStatus::ActionNeeded);
    case.stage.hours(1);
    rule(case.decide(Decision::Approve, &approver()))
}

fn not_revocable() -> Rule {
    let case = case();
    case.decide(Decision::Approve, &approver()).unwrap();
    let broken = rule(
        case.stage
            .landscape()
            .revoke_access(&case.request.name, &approver()),
    );
    assert_eq!(case.read("prod/sql/axdb").unwrap(), MARKER, "it goes on");
    broken
}

fn no_grant() -> Rule {
    let case = case();
    let broken = rule(case.read("prod/sql/axdb"));
    case.decide(Decision::Approve, &approver()).unwrap();
    assert_eq!(case.read("prod/sql/axdb").unwrap(), MARKER);
    assert_eq!(
        rule(case.read("org-prod-dataverse/sql/dataverse")),
        Rule::NoGrant,
        "outside its scope"
    );
    // What is open ends with the access.
    let address = "prod/sql/axdb".parse().unwrap();
    let open = case
        .stage
        .landscape()
        .open_sql_for(&case.engineer, &address)
        .unwrap();
    assert_eq!(read_sql(&open).unwrap(), MARKER);
    case.stage.hours(8);
    let ended = read_sql(&open).unwrap_err().to_string();
    assert!(ended.contains("E_EXPIRED"), "{ended}");
    assert_eq!(rule(case.read("prod/sql/axdb")), Rule::Expired);
    let ok = |operation: &str| (operation.to_owned(), "ok".to_owned());
    let events = case.events();
    for expected in [
        ok("LockboxPolicyChanged"),
        ok("LockboxRequestCreated"),
        ok("LockboxRequestUpdated"),
        ok("LockboxAccessUsed"),
        ok("LockboxAccessEnded"),
        ("LockboxAccessUsed".into(), "E_NO_GRANT".into()),
        ("LockboxAccessUsed".into(), "E_EXPIRED".into()),
    ] {
        assert!(events.contains(&expected), "{expected:?} in {events:?}");
    }
    case.stage.days(366);
    assert_eq!(case.events().len(), 0, "kept a year");
    broken
}

fn locked_despite_approval() -> Rule {
    let case = case();
    case.decide(Decision::Approve, &approver()).unwrap();
    assert_eq!(case.read("prod/sql/axdb").unwrap(), MARKER);
    case.stage.set_enabled(None, false);
    rule(case.read("prod/sql/axdb"))
}

fn new_projects() -> Rule {
    let make = |profile| {
        let stage = Stage::with(profile);
        let made = stage
            .landscape()
            .create_project(&"late".parse().unwrap(), &"contoso".parse().unwrap());
        made.unwrap().warnings
    };
    assert_eq!(make(Profile::Seed2022), []);
    make(Profile::Docs2026)[0].rule
}

#[test]
fn an_expired_key_unwraps_still_and_locks_all_the_same() {
    let stage = Stage::protected();
    let at = stage.landscape().now().unwrap() + jiff::SignedDuration::from_hours(1);
    let update = KeyUpdate {
        expires: Some(Some(at)),
        ..KeyUpdate::default()
    };
    stage
        .vault()
        .update_key(&KEY.parse().unwrap(), None, &update)
        .unwrap();
    assert!(stage.reads("prod/sql/axdb"));
    stage.hours(1);
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
    assert!(!stage.reads("prod/sql/axdb"));
    // The vault itself would: the gate is what refuses.
    let sealed = stage
        .workspace
        .key_version(&"prod/sql/axdb".parse().unwrap())
        .unwrap()
        .unwrap();
    assert!(
        stage
            .vault()
            .key(&sealed.name, Some(sealed.version))
            .unwrap()
            .attributes
            .enabled
    );
}

#[test]
fn every_trigger_locks_and_its_end_lets_the_environment_be_enabled() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let (policy, vault, key) = (
        "cmk".parse().unwrap(),
        WhichVault::Customer,
        KEY.parse().unwrap(),
    );
    type Act<'a> = Box<dyn Fn() + 'a>;
    let triggers: Vec<(&str, Act<'_>, Act<'_>)> = vec![
        (
            "is disabled",
            Box::new(|| stage.set_enabled(None, false)),
            Box::new(|| stage.set_enabled(None, true)),
        ),
        (
            "is deleted",
            Box::new(|| {
                stage.vault().delete_key(&key).unwrap();
                landscape.catch_up().unwrap();
            }),
            Box::new(|| drop(stage.vault().recover_key(&key).unwrap())),
        ),
        (
            "lacks get",
            Box::new(|| {
                drop(
                    landscape
                        .revoke(&policy, &[Permission::Get], &vault_admin())
                        .unwrap(),
                )
            }),
            Box::new(|| stage.grant("cmk")),
        ),
        (
            "the policy cmk was deleted",
            Box::new(|| drop(landscape.delete_policy(&policy, &vault_admin()).unwrap())),
            Box::new(|| drop(landscape.restore_policy(&policy, &vault_admin()).unwrap())),
        ),
        (
            "the network of the vault",
            Box::new(|| {
                drop(
                    landscape
                        .set_vault(&vault, None, Some(true), Some(false))
                        .unwrap(),
                )
            }),
            Box::new(|| {
                drop(
                    landscape
                        .set_vault(&vault, None, Some(true), Some(true))
                        .unwrap(),
                )
            }),
        ),
        (
            "the vault customer was deleted",
            Box::new(|| drop(landscape.delete_vault(&vault).unwrap())),
            Box::new(|| {
                landscape.recover_vault(&vault).unwrap();
                stage.grant("cmk");
            }),
        ),
    ];
    for (expected, pull, give_back) in triggers {
        pull();
        match stage.state("org-prod") {
            KeyState::Locked { trigger, .. } => assert!(trigger.contains(expected), "{trigger}"),
            other => panic!("{expected}: {other:?}"),
        }
        assert!(
            !stage.reads("prod/sql/axdb") && !stage.reads("prod/storage/documents"),
            "{expected}"
        );
        assert!(
            !stage.reads("org-prod-dataverse/sql/dataverse"),
            "{expected}"
        );
        give_back();
        assert!(
            !stage.reads("prod/sql/axdb"),
            "{expected}: it waits to be enabled"
        );
        landscape.enable(&power("org-prod"), &admin()).unwrap();
        assert!(
            stage.reads("prod/sql/axdb") && stage.reads("prod/storage/documents"),
            "{expected}"
        );
    }
}

#[test]
fn no_command_beside_the_policy_moves_a_resource_of_an_environment() {
    let stage = Stage::protected();
    let address = "prod/sql/axdb".parse().unwrap();
    let service = atrest::resource::Protection::ServiceManaged {
        key: stage.workspace.service_key(),
    };
    assert!(
        stage
            .workspace
            .set_protection(&address, &service, &mut |_, _| ())
            .is_err()
    );
    assert!(
        stage
            .workspace
            .decrypt_in_place(&address, &mut |_, _| ())
            .is_err()
    );
    let policy = NewPolicy {
        name: "own".parse().unwrap(),
        tenant: "contoso".parse().unwrap(),
        location: "europe".parse().unwrap(),
        vault: WhichVault::Provider,
        key: "service-managed".parse().unwrap(),
    };
    assert!(
        stage
            .landscape()
            .create_policy(&policy, &vault_admin())
            .is_err()
    );
}

#[test]
fn no_request_for_access_comes_about_that_the_rules_do_not_know() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let tenant = "contoso".parse().unwrap();
    let sam = stage.person("sam", None, &[Duty::ProviderEngineer], false);
    let kim = stage.person("kim", None, &[Duty::ProviderEngineer], false);
    stage.power("wild", |new| new.managed = false);
    let good = NewRequest {
        environment: power("org-prod"),
        engineer: sam.clone(),
        internal_approver: kim,
        support_request: "2401-7".into(),
        reason: "a corrupt index".into(),
        scope: Vec::new(),
        hours: 8,
    };
    landscape.set_lockbox(&tenant, true).unwrap();
    stage.hours(23);
    let early = landscape.request_access(&good).unwrap_err();
    assert!(
        early.to_string().contains("not on"),
        "within a day: {early}"
    );
    stage.hours(1);
    let made = landscape.request_access(&good).unwrap();
    assert_eq!(made.scope.len(), 4, "all of the environment");
    assert_eq!(
        made.expires,
        made.requested + jiff::SignedDuration::from_hours(96)
    );
    let with = |change: &dyn Fn(&mut NewRequest)| {
        let mut new = good.clone();
        change(&mut new);
        landscape.request_access(&new)
    };
    assert_eq!(
        rule(with(&|new| new.environment = power("wild"))),
        Rule::NotManaged
    );
    assert_eq!(
        rule(with(&|new| new.internal_approver = sam.clone())),
        Rule::Forbidden,
        "the own"
    );
    assert_eq!(
        rule(with(&|new| new.internal_approver = approver())),
        Rule::Forbidden,
        "no engineer"
    );
    assert_eq!(
        rule(with(&|new| new.engineer = admin())),
        Rule::Forbidden,
        "no engineer"
    );
    let outside = "lcs-erp/storage/assets"
        .parse::<atrest::world::ResourceAddress>()
        .unwrap();
    for refused in [
        with(&|new| new.hours = 0),
        with(&|new| new.hours = 9),
        with(&|new| new.reason = "  ".into()),
        with(&|new| new.scope = vec![outside.clone()]),
    ] {
        assert!(matches!(refused, Err(WorldError::Usage(_))), "{refused:?}");
    }
    let all = landscape.all::<LockboxRequest>().unwrap();
    assert_eq!(all.len(), 1, "what was refused left none");
    // Switched off, none is made; who was let in is still bound by what was approved.
    landscape.set_lockbox(&tenant, false).unwrap();
    assert!(landscape.request_access(&good).is_err());
}
