//! What an unlucky or hostile user does to a landscape: none of it destroys data or says what is not so.

use std::path::Path;

use atrest::crypto::KeyKind;
use atrest::resource::Protection;
use atrest::sqlite::PageSize;
use atrest::vault::{KeyOperation, KeySpec, KeyUpdate, KeyVault};
use atrest::world::landscape::{
    CoveredBy, Duty, EventFilter, KeyState, LANDSCAPE, Permission, PowerKind, Rule,
};
use atrest::world::{ResourceAddress, WhichVault, WorldError};
use rusqlite::Connection;

use crate::stage::*;

fn at(address: &str) -> ResourceAddress {
    address.parse().unwrap()
}

fn version(stage: &Stage, address: &str) -> atrest::base::KeyVersionRef {
    stage.workspace.key_version(&at(address)).unwrap().unwrap()
}

fn count(stage: &Stage, operation: &str) -> usize {
    let filter = EventFilter {
        operation: Some(operation.into()),
        ..EventFilter::default()
    };
    stage.landscape().events(&filter).unwrap().len()
}

#[test]
fn a_copy_attached_over_a_live_environment_does_not_take_it_away() {
    let stage = Stage::protected();
    let attached = stage
        .landscape()
        .attach(Path::new("nowhere"), &"prod".parse().unwrap(), &quiet);
    // What is there is looked at last: a name that is free is refused for the copy.
    let taken = stage
        .landscape()
        .attach(stage.path(), &"prod".parse().unwrap(), &quiet);
    for refused in [attached, taken] {
        assert!(matches!(refused, Err(WorldError::Exists(_))), "{refused:?}");
    }
    assert!(stage.reads("prod/sql/axdb"));
    assert!(stage.reads("prod/storage/documents"));
}

#[test]
fn a_damaged_backup_does_not_destroy_the_database_that_it_was_made_of() {
    let stage = Stage::protected();
    let (backup, org) = ("b".parse().unwrap(), power("org-prod"));
    let landscape = stage.landscape();
    landscape.back_up(&org, &backup, &admin()).unwrap();
    let file = walkdir::WalkDir::new(stage.path().join("backups/b"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .find(|path| path.ends_with("axdb.db"))
        .unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[..8192].fill(0);
    for bytes in [Some(&damaged[..]), Some(&[]), None] {
        match bytes {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let refused = landscape.restore_backup(&backup, &org, &admin());
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("backups/b"), "{said}");
        assert!(stage.reads("prod/sql/axdb"));
        assert!(stage.reads("prod/storage/documents"));
        landscape.catch_up().unwrap();
    }
    std::fs::write(&file, whole).unwrap();
    landscape.restore_backup(&backup, &org, &admin()).unwrap();
    assert!(stage.reads("prod/sql/axdb"));
}

#[test]
fn a_backup_whose_wrapped_key_is_damaged_does_not_take_the_place_of_what_opens() {
    let stage = Stage::protected();
    let (backup, org) = ("b".parse().unwrap(), power("org-prod"));
    let landscape = stage.landscape();
    landscape.back_up(&org, &backup, &admin()).unwrap();
    let find = |name: &str| {
        let mut all = walkdir::WalkDir::new(stage.path().join("backups/b")).into_iter();
        let found = all.find(|entry| entry.as_ref().unwrap().path().ends_with(name));
        found.unwrap().unwrap().into_path()
    };
    // Both slots of a database's header hold the key; the account's header holds it once.
    for (name, at) in [
        ("axdb.db", &[400, 2448][..]),
        ("documents/account.atrest", &[200]),
    ] {
        let file = find(name);
        let whole = std::fs::read(&file).unwrap();
        let mut damaged = whole.clone();
        at.iter().for_each(|at| damaged[*at] ^= 1);
        std::fs::write(&file, damaged).unwrap();
        let refused = landscape.restore_backup(&backup, &org, &admin());
        let said = refused.unwrap_err().to_string();
        for part in ["backups/b", "restore another backup"] {
            assert!(said.contains(part), "{name}: {said}");
        }
        landscape.catch_up().unwrap();
        assert!(stage.reads("prod/sql/axdb") && stage.reads("prod/storage/documents"));
        std::fs::write(&file, whole).unwrap();
        landscape.restore_backup(&backup, &org, &admin()).unwrap();
        assert!(stage.reads("prod/sql/axdb") && stage.reads("prod/storage/documents"));
    }
}

#[test]
fn a_restore_that_cannot_end_does_not_stop_every_other_command() {
    let stage = Stage::protected();
    let (_, entry) = stage.workspace.resource(&at("prod/sql/axdb")).unwrap();
    let under_way = serde_json::json!({
        "into": "org-prod",
        "parts": [{
            "from": "backups/gone/axdb.db",
            "to": "prod/sql/axdb",
            "id": entry.id,
            "service_managed": false,
            "key": entry.protection.key().unwrap(),
        }],
    });
    let conn = Connection::open(stage.path().join(LANDSCAPE)).unwrap();
    conn.execute(
        "INSERT INTO setting(name, value) VALUES ('restoring:org-prod', ?1)",
        [under_way.to_string()],
    )
    .unwrap();
    drop(conn);
    stage.landscape().catch_up().unwrap();
    stage.hours(1);
    assert_eq!(count(&stage, "EnvironmentRestoreFailed"), 1, "told, once");
    assert!(stage.reads("prod/sql/axdb"));
    // Another restore takes its place.
    let (backup, org) = ("b".parse().unwrap(), power("org-prod"));
    let landscape = stage.landscape();
    landscape.back_up(&org, &backup, &admin()).unwrap();
    landscape.restore_backup(&backup, &org, &admin()).unwrap();
    assert!(stage.reads("prod/sql/axdb"));
}

#[test]
fn a_version_that_a_new_data_encryption_key_brought_is_missed_when_it_is_pulled() {
    let stage = Stage::protected();
    stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap();
    let address = at("prod/sql/axdb");
    stage
        .workspace
        .change_key_in_place(&address, &mut |_, _| ())
        .unwrap();
    stage.landscape().look_again(&address).unwrap();
    assert!(matches!(stage.state("org-prod"), KeyState::Cmk { .. }));
    stage.set_enabled(None, false);
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
}

#[test]
fn a_version_that_came_while_the_environment_was_locked_is_picked_up_after_it() {
    let stage = Stage::protected();
    let old = version(&stage, "prod/sql/axdb");
    stage.set_enabled(Some(old.version), false);
    let new = stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap().kid;
    stage.days(2);
    stage.set_enabled(Some(old.version), true);
    stage.hours(1);
    assert_eq!(version(&stage, "prod/sql/axdb"), old);
    let landscape = stage.landscape();
    landscape.enable(&power("org-prod"), &admin()).unwrap();
    landscape.catch_up().unwrap();
    for address in stage.environment() {
        assert_eq!(version(&stage, &address.to_string()), new);
    }
}

#[test]
fn what_failed_before_a_lock_is_not_encrypted_by_its_end() {
    let stage = Stage::linked();
    let header = stage
        .path()
        .join("environments/prod/storage/documents/account.atrest");
    let aside = header.with_extension("aside");
    std::fs::rename(&header, &aside).unwrap();
    assert_eq!(stage.apply("cmk", &["org-prod"]).unwrap().failed.len(), 1);
    std::fs::rename(&aside, &header).unwrap();
    assert!(matches!(stage.state("org-prod"), KeyState::Partial { .. }));
    stage.set_enabled(None, false);
    stage.set_enabled(None, true);
    let enable = || stage.landscape().enable(&power("org-prod"), &admin());
    let enabled = enable().unwrap();
    assert!(
        matches!(&enabled.key, KeyState::Partial { why, .. } if why.contains("documents")),
        "{:?}",
        enabled.key
    );
    // With all of it under the key it is.
    stage.apply("cmk", &["org-prod"]).unwrap();
    stage.set_enabled(None, false);
    stage.set_enabled(None, true);
    assert!(matches!(enable().unwrap().key, KeyState::Cmk { .. }));
}

#[test]
fn no_time_and_no_setting_leads_out_of_the_calendar() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    assert!(landscape.set_sql_pick_up(10_081).is_err());
    landscape.set_sql_pick_up(10_080).unwrap();
    let far = jiff::SignedDuration::from_hours(24 * 366 * 7000);
    assert!(landscape.advance(far).is_err());
    assert_eq!(
        landscape.now().unwrap(),
        began() + jiff::SignedDuration::from_hours(1)
    );
    stage.hours(1);
}

#[test]
fn a_version_of_a_kind_that_is_not_allowed_is_not_picked_up() {
    let stage = Stage::protected();
    let old = version(&stage, "prod/sql/axdb");
    let spec = KeySpec::new(KeyKind::Oct256);
    let new = stage.vault().create_key(&KEY.parse().unwrap(), &spec);
    stage.days(2);
    for address in stage.environment() {
        assert_eq!(version(&stage, &address.to_string()), old);
    }
    assert_eq!(count(&stage, "KeyPickUpFailed"), 1);
    let allowed = [KeyKind::Rsa2048, KeyKind::Oct256];
    stage.landscape().allow_keys(&allowed).unwrap();
    stage.landscape().catch_up().unwrap();
    assert_eq!(version(&stage, "prod/sql/axdb"), new.unwrap().kid);
}

#[test]
fn a_key_that_may_not_wrap_or_is_not_valid_yet_is_no_policys() {
    let update = |stage: &Stage, update: KeyUpdate| {
        let vault = stage.vault();
        vault
            .update_key(&KEY.parse().unwrap(), None, &update)
            .unwrap();
        stage.landscape().catch_up().unwrap();
    };
    let operations = |list: &[KeyOperation]| KeyUpdate {
        operations: Some(list.to_vec()),
        ..KeyUpdate::default()
    };
    let stage = Stage::linked();
    update(&stage, operations(&[KeyOperation::UnwrapKey]));
    assert_eq!(rule(stage.apply("cmk", &["org-prod"])), Rule::KeyAccess);
    let both = [KeyOperation::WrapKey, KeyOperation::UnwrapKey];
    update(&stage, operations(&both));
    let from = |not_before| KeyUpdate {
        not_before: Some(not_before),
        ..KeyUpdate::default()
    };
    let tomorrow = began() + jiff::SignedDuration::from_hours(24);
    update(&stage, from(Some(tomorrow)));
    assert_eq!(rule(stage.apply("cmk", &["org-prod"])), Rule::KeyAccess);
    update(&stage, from(None));
    stage.apply("cmk", &["org-prod"]).unwrap();
    update(&stage, operations(&[KeyOperation::WrapKey]));
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
}

#[test]
fn the_providers_services_do_not_keep_their_data_in_an_environment_of_the_customers() {
    let stage = Stage::protected();
    stage.finance("rcs-contoso", "westeurope".parse().unwrap());
    stage.finance("lcs-new", "westeurope".parse().unwrap());
    let (contoso, other) = ("contoso".parse().unwrap(), "other".parse().unwrap());
    let landscape = stage.landscape();
    assert!(matches!(
        landscape.use_rcs(&contoso),
        Err(WorldError::Exists(_))
    ));
    let project = landscape.create_project(&"new".parse().unwrap(), &contoso);
    assert!(matches!(project, Err(WorldError::Exists(_))));
    landscape.create_tenant(&other).unwrap();
    landscape.use_rcs(&other).unwrap();
}

#[test]
fn a_resource_under_a_foreign_key_or_none_is_not_told_as_covered_and_is_locked_too() {
    let stage = Stage::protected();
    let foreign = "foreign-key".parse().unwrap();
    let spec = KeySpec::new(KeyKind::Oct256);
    let foreign = stage.vault().create_key(&foreign, &spec).unwrap().kid;
    let key = foreign.key();
    let protection = Protection::CustomerManaged { key };
    let (stray, plain) = (at("prod/sql/stray"), at("prod/sql/plain"));
    stage
        .workspace
        .create_sql(&stray, protection, PageSize::DEFAULT)
        .unwrap();
    stage
        .workspace
        .create_sql(&plain, Protection::Plain, PageSize::DEFAULT)
        .unwrap();
    for address in [&stray, &plain] {
        stage.fill(address);
    }
    let rows = stage.landscape().coverage("prod").unwrap().rows;
    let row = |subject: &str| rows.iter().find(|row| row.subject == subject).unwrap();
    assert_eq!(row("prod/sql/stray").reason, "OTHER_KEY");
    assert_eq!(row("prod/sql/plain").reason, "NOT_ENCRYPTED");
    assert_eq!(row("prod/sql/plain").protected, CoveredBy::Nobody);
    assert_eq!(row("prod/sql/axdb").reason, "CUSTOMER_KEY");
    assert!(stage.reads("prod/sql/stray"));
    stage.set_enabled(None, false);
    let refused = stage.read(&stray).unwrap_err().to_string();
    assert!(refused.contains("E_LOCKED"), "{refused}");
}

#[test]
fn a_deleted_vault_takes_no_grants_and_is_not_recovered_after_its_time() {
    let stage = Stage::protected_for_a_week();
    let (vault, policy) = (WhichVault::Customer, "cmk".parse().unwrap());
    let landscape = stage.landscape();
    let grant = || landscape.grant(&policy, &Permission::ALL, &vault_admin());
    landscape.delete_vault(&vault).unwrap();
    let refused = grant().unwrap_err().to_string();
    assert!(refused.contains("recover"), "{refused}");
    stage.days(6);
    landscape.recover_vault(&vault).unwrap();
    grant().unwrap();
    landscape.delete_vault(&vault).unwrap();
    stage.days(7);
    let refused = landscape.recover_vault(&vault).unwrap_err().to_string();
    assert!(refused.contains("retention"), "{refused}");
}

#[test]
fn an_offer_or_a_service_is_not_told_as_an_add_in_that_supports_the_policy() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    for no_add_in in ["rcs", "lcs", "finance", "cloud-hosted"] {
        let told = landscape.install_add_in(&finance("prod"), &no_add_in.parse().unwrap());
        let told = told.unwrap_err().to_string();
        assert!(told.contains("no add-in"), "{told}");
    }
    // The control: what no row names is an add-in.
    let other = "inventory-visibility".parse().unwrap();
    let found = landscape.install_add_in(&finance("prod"), &other).unwrap();
    assert_eq!(found.add_ins, [other].into());
}

#[test]
fn the_same_command_given_again_after_a_crash_is_no_error_and_changes_nothing() {
    let stage = Stage::protected();
    let before = stage.state("org-prod");
    stage.hours(2);
    let again = stage.apply("cmk", &["org-prod"]).unwrap();
    assert_eq!((again.resources, again.environments.len()), (0, 0));
    assert_eq!(stage.state("org-prod"), before);
    // Another policy's it is not.
    stage.policy("other", KEY).unwrap();
    stage.grant("other");
    let other = stage.apply("other", &["org-prod"]).unwrap_err();
    assert!(
        other.to_string().contains("remove it from that one first"),
        "{other}"
    );
}

#[test]
fn an_environment_in_which_something_does_not_open_is_not_told_as_enabled() {
    let stage = Stage::protected();
    stage.set_enabled(None, false);
    stage.set_enabled(None, true);
    let file = stage.path().join("environments/prod/sql/axdb.db");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let enable = || stage.landscape().enable(&power("org-prod"), &admin());
    enable().unwrap_err();
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
    assert_eq!(count(&stage, "EnvironmentEnabled"), 0);
    std::fs::write(&file, &whole).unwrap();
    enable().unwrap();
    assert!(matches!(stage.state("org-prod"), KeyState::Cmk { .. }));
    assert_eq!(count(&stage, "EnvironmentEnabled"), 1);
}

#[test]
fn nothing_is_installed_in_an_environment_that_is_gone_nor_is_it_changed() {
    let stage = Stage::with(atrest::world::landscape::Profile::Seed2022);
    stage.finance("second", "westeurope".parse().unwrap());
    stage.power("org-second", |new| new.kind = PowerKind::Sandbox);
    stage.link("second", "org-second").unwrap();
    stage.hours(1);
    let offer = "finance".parse().unwrap();
    let add_in = "tax-calculation".parse().unwrap();
    let landscape = stage.landscape();
    landscape.install_offer(&finance("second"), &offer).unwrap();
    stage.apply("cmk", &["org-second"]).unwrap();
    stage.set_enabled(None, false);
    stage.days(8);
    let (name, org) = (finance("second"), power("org-second"));
    assert_eq!(rule(landscape.install_offer(&name, &offer)), Rule::Gone);
    assert_eq!(rule(landscape.install_add_in(&name, &add_in)), Rule::Gone);
    assert_eq!(
        rule(landscape.set_power(&org, Some(false), None, None)),
        Rule::Gone
    );
}

#[test]
fn what_is_done_to_policies_and_vaults_is_not_done_twice_nor_to_the_providers() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let policy = "cmk".parse().unwrap();
    let usage = |told: Result<(), WorldError>, words: &str| {
        let told = told.unwrap_err();
        assert!(matches!(told, WorldError::Usage(_)), "{told}");
        assert!(told.to_string().contains(words), "{told}");
    };
    usage(
        landscape.restore_policy(&policy, &vault_admin()).map(drop),
        "not deleted",
    );
    landscape.delete_policy(&policy, &vault_admin()).unwrap();
    let deleted = landscape
        .get::<atrest::world::landscape::Policy>("cmk")
        .unwrap();
    stage.days(1);
    usage(
        landscape.delete_policy(&policy, &vault_admin()).map(drop),
        "undelete",
    );
    let still = landscape
        .get::<atrest::world::landscape::Policy>("cmk")
        .unwrap();
    assert_eq!(still.deleted, deleted.deleted);
    landscape.restore_policy(&policy, &vault_admin()).unwrap();
    usage(
        landscape.delete_vault(&WhichVault::Provider).map(drop),
        "the provider's vault",
    );
    landscape.delete_vault(&WhichVault::Customer).unwrap();
    stage.days(91);
    landscape.purge_vault(&WhichVault::Customer).unwrap();
    usage(
        landscape.purge_vault(&WhichVault::Customer).map(drop),
        "was purged on",
    );
}

#[test]
fn who_was_made_an_approver_when_is_in_the_audit_records() {
    let stage = Stage::protected();
    stage.person("mallory", Some("contoso"), &[Duty::LockboxApprover], false);
    let filter = EventFilter {
        subject: Some("mallory".into()),
        ..EventFilter::default()
    };
    let events = stage.landscape().events(&filter).unwrap();
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(event.operation, "DutiesChanged");
    assert!(event.detail.contains("approver"), "{event:?}");
}
