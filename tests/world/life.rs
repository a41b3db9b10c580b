//! An environment's life: under the policy, locked, unlocked, taken from it, deleted.

use atrest::vault::{KeyUpdate, KeyVault};
use atrest::world::landscape::{
    Backup, FinanceEnvironment, KeyState, Permission, PowerEnvironment, PowerKind, Rule, SqlState,
    StorageState, VersionState, lcs_resources, rcs_resources,
};

use crate::stage::*;

#[test]
fn a_policy_reaches_every_resource_and_touches_no_byte_of_data() {
    let stage = Stage::linked();
    let all = stage.environment();
    assert_eq!(all.len(), 4);
    let before = data_of(&stage, &all);
    let applied = stage.apply("cmk", &["org-prod"]).unwrap();
    assert_eq!((applied.resources, applied.failed.len()), (4, 0));
    assert!(applied.bytes_untouched > applied.bytes_rewritten);
    assert_eq!(data_of(&stage, &all), before);
    assert!(matches!(stage.state("org-prod"), KeyState::Cmk { .. }));
    for address in &all {
        let key = stage.workspace.key_version(address).unwrap().unwrap();
        assert_eq!(key.name.as_str(), KEY, "{address}");
        assert_eq!(stage.read(address).unwrap(), MARKER);
    }
    // And back.
    stage
        .landscape()
        .remove(&power("org-prod"), &admin(), &quiet)
        .unwrap();
    assert_eq!(stage.state("org-prod"), KeyState::Mmk);
    for address in &all {
        let key = stage.workspace.key_version(address).unwrap().unwrap();
        assert_eq!(key.key(), stage.workspace.service_key(), "{address}");
    }
    stage.set_enabled(None, false);
    for address in &all {
        assert_eq!(stage.read(address).unwrap(), MARKER, "{address}");
    }
}

#[test]
fn a_key_that_is_pulled_takes_what_is_covered_and_nothing_else() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    landscape.use_rcs(&"contoso".parse().unwrap()).unwrap();
    let mut outside = rcs_resources(&"contoso".parse().unwrap()).unwrap();
    outside.extend(lcs_resources(&"erp".parse().unwrap()).unwrap());
    for address in &outside {
        stage.fill(address);
    }
    stage.set_enabled(None, false);
    for address in stage.environment() {
        assert!(stage.read(&address).is_err(), "{address}");
    }
    for address in &outside {
        assert_eq!(stage.read(address).unwrap(), MARKER, "{address}");
    }
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
}

#[test]
fn what_is_open_stops_when_the_identity_loses_its_grant() {
    let stage = Stage::protected();
    let database = stage
        .workspace
        .open_sql(&"prod/sql/axdb".parse().unwrap())
        .unwrap();
    assert_eq!(read_sql(&database).unwrap(), MARKER);
    let policy = "cmk".parse().unwrap();
    stage
        .landscape()
        .revoke(&policy, &[Permission::UnwrapKey], &vault_admin())
        .unwrap();
    let refused = read_sql(&database).unwrap_err().to_string();
    assert!(refused.contains("E_LOCKED"), "{refused}");
    // The key itself is as it was.
    stage
        .landscape()
        .grant(&policy, &Permission::ALL, &vault_admin())
        .unwrap();
    assert!(read_sql(&database).is_err(), "it waits to be enabled");
    stage
        .landscape()
        .enable(&power("org-prod"), &admin())
        .unwrap();
    assert_eq!(read_sql(&database).unwrap(), MARKER);
}

#[test]
fn a_lock_that_lasts_ends_in_deletion() {
    let stage = Stage::protected();
    stage.set_enabled(None, false);
    stage.days(29);
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
    let advanced = stage.days(2);
    let last = advanced.happened.last().unwrap();
    assert_eq!(last.operation, "EnvironmentDeleted");
    assert_eq!(
        last.time,
        advanced.from + jiff::SignedDuration::from_hours(24)
    );
    assert!(matches!(stage.state("org-prod"), KeyState::Deleted { .. }));
    assert!(stage.environment().is_empty());
    assert!(!stage.path().join("environments/prod").exists());
    stage.set_enabled(None, true);
    assert_eq!(
        rule(stage.landscape().enable(&power("org-prod"), &admin())),
        Rule::Gone
    );
}

#[test]
fn a_new_version_is_picked_up_within_its_time_and_the_old_one_is_missed_no_sooner() {
    let stage = Stage::protected();
    let old = stage.vault().key(&KEY.parse().unwrap(), None).unwrap().kid;
    let new = stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap().kid;
    let version = |address: &str| {
        let address = address.parse().unwrap();
        stage.workspace.key_version(&address).unwrap().unwrap()
    };
    stage
        .landscape()
        .advance(jiff::SignedDuration::from_mins(59))
        .unwrap();
    assert_eq!(version("prod/sql/axdb"), old);
    stage
        .landscape()
        .advance(jiff::SignedDuration::from_mins(1))
        .unwrap();
    assert_eq!(version("prod/sql/axdb"), new);
    assert_eq!(version("prod/storage/documents"), old);
    // Needed still: storage is under it.
    let warning = stage.landscape().warn_of_use(&old).unwrap().unwrap();
    assert_eq!(warning.rule, Rule::VersionInUse);
    assert!(
        warning.detail.contains("prod/storage/documents"),
        "{warning}"
    );
    stage.hours(23);
    for address in stage.environment() {
        assert_eq!(stage.workspace.key_version(&address).unwrap().unwrap(), new);
    }
    let states = || {
        let landscape = stage.landscape();
        let states = landscape
            .version_states(&landscape.get("cmk").unwrap())
            .unwrap();
        states
            .into_iter()
            .map(|(_, state)| state)
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), [VersionState::Deactivated, VersionState::Active]);
    stage.set_enabled(Some(old.version), false);
    assert_eq!(states(), [VersionState::Suspended, VersionState::Active]);
    assert!(matches!(stage.state("org-prod"), KeyState::Cmk { .. }));
    stage.set_enabled(Some(new.version), false);
    assert!(matches!(stage.state("org-prod"), KeyState::Locked { .. }));
}

#[test]
fn databases_heal_by_themselves_only_when_the_key_was_back_in_time() {
    for (minutes, expected) in [(30, SqlState::AutoHeal), (31, SqlState::NeedsRevalidation)] {
        let stage = Stage::protected();
        let sql = || {
            let landscape = stage.landscape();
            let power: PowerEnvironment = landscape.get("org-prod").unwrap();
            power.key.sql(landscape.now().unwrap())
        };
        assert_eq!(sql(), SqlState::Online);
        stage.set_enabled(None, false);
        assert_eq!(sql(), SqlState::Losing);
        let advance = |m| {
            stage
                .landscape()
                .advance(jiff::SignedDuration::from_mins(m))
                .unwrap()
        };
        advance(10);
        assert_eq!(sql(), SqlState::Inaccessible);
        advance(minutes - 10);
        stage.set_enabled(None, true);
        assert_eq!(sql(), expected);
        stage
            .landscape()
            .enable(&power("org-prod"), &admin())
            .unwrap();
        assert_eq!(sql(), SqlState::Online);
        assert!(stage.reads("prod/sql/axdb"));
    }
}

#[test]
fn a_clock_runs_only_when_it_is_told_to_and_goes_on_from_where_it_stood() {
    let stage = Stage::linked();
    let landscape = stage.landscape();
    let tick = || std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(!landscape.is_real_time().unwrap(), "off by default");
    let stood = landscape.now().unwrap();
    tick();
    assert_eq!(landscape.now().unwrap(), stood);
    landscape.set_real_time(true).unwrap();
    assert!(landscape.is_real_time().unwrap());
    tick();
    let ran = landscape.now().unwrap();
    assert!(ran > stood, "{ran} after {stood}");
    // Hours still pass at once, and what is due takes effect.
    stage.finance("late", "westeurope".parse().unwrap());
    stage.power("org-late", |_| ());
    stage.link("late", "org-late").unwrap();
    let moved = stage.hours(2);
    assert!(moved.to.duration_since(moved.from).as_hours() == 2);
    assert!(landscape.now().unwrap() >= moved.to);
    let link: FinanceEnvironment = landscape.get("late").unwrap();
    assert!(link.link.completed().is_some());
    landscape.set_real_time(false).unwrap();
    let stopped = landscape.now().unwrap();
    assert!(stopped >= moved.to);
    tick();
    assert_eq!(landscape.now().unwrap(), stopped);
    // Whatever part of a second it is: it never goes back.
    let mut before = stopped;
    for round in 0..20 {
        landscape.set_real_time(round % 2 == 0).unwrap();
        let now = landscape.now().unwrap();
        assert!(now >= before, "{now} after {before}");
        before = now;
    }
}

#[test]
fn storage_is_forbidden_for_as_long_as_the_environment_is_locked() {
    let stage = Stage::protected();
    let storage = |expected| {
        assert_eq!(stage.state("org-prod").storage(), expected);
        let opens = stage.reads("prod/storage/documents");
        assert_eq!(opens, expected == StorageState::Ok, "{expected:?}");
    };
    storage(StorageState::Ok);
    stage.set_enabled(None, false);
    storage(StorageState::Forbidden);
    stage.set_enabled(None, true);
    storage(StorageState::Forbidden);
    let landscape = stage.landscape();
    landscape.enable(&power("org-prod"), &admin()).unwrap();
    storage(StorageState::Ok);
}

#[test]
fn a_backup_is_kept_for_its_days_and_its_bytes_go_with_it() {
    let stage = Stage::protected();
    stage.power("sandbox", |new| new.kind = PowerKind::Sandbox);
    // Production, and without D365 apps.
    stage.power("bare", |new| new.d365_apps = false);
    let landscape = stage.landscape();
    for name in ["org-prod", "sandbox", "bare"] {
        let backup = format!("of-{name}").parse().unwrap();
        // A sandbox has D365 apps, too; it is no production environment.
        landscape.back_up(&power(name), &backup, &admin()).unwrap();
    }
    let left = || -> Vec<String> {
        let all = stage.landscape().all::<Backup>().unwrap();
        let names: Vec<_> = all.iter().map(|backup| backup.name.to_string()).collect();
        for name in ["of-org-prod", "of-sandbox", "of-bare"] {
            let is_there = stage.path().join("backups").join(name).exists();
            assert_eq!(is_there, names.iter().any(|known| known == name), "{name}");
        }
        names
    };
    stage.hours(7 * 24 - 1);
    assert_eq!(left(), ["of-bare", "of-org-prod", "of-sandbox"]);
    stage.hours(1);
    assert_eq!(left(), ["of-org-prod"]);
    stage.hours(21 * 24 - 1);
    assert_eq!(left(), ["of-org-prod"]);
    stage.hours(1);
    assert_eq!(left(), [""; 0]);
}

#[test]
fn how_long_databases_take_to_pick_a_version_up_is_what_was_set() {
    let stage = Stage::protected();
    stage.landscape().set_sql_pick_up(5).unwrap();
    let new = stage.vault().rotate_key(&KEY.parse().unwrap()).unwrap().kid;
    let is_new = || {
        let address = "prod/sql/axdb".parse().unwrap();
        stage.workspace.key_version(&address).unwrap().unwrap() == new
    };
    let minutes = |n| {
        let by = jiff::SignedDuration::from_mins(n);
        stage.landscape().advance(by).unwrap();
    };
    minutes(4);
    assert!(!is_new());
    minutes(1);
    assert!(is_new());
}

#[test]
fn a_reset_takes_data_and_backups_and_the_policy_with_it() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    let org = power("org-prod");
    landscape
        .back_up(&org, &"b".parse().unwrap(), &admin())
        .unwrap();
    assert!(stage.reads("prod/sql/axdb") && stage.reads("prod/storage/documents"));
    landscape.reset(&org, &admin()).unwrap();
    assert_eq!(stage.state("org-prod"), KeyState::Mmk);
    assert_eq!(landscape.all::<Backup>().unwrap(), []);
    assert!(!stage.path().join("backups/b").exists());
    let all = stage.environment();
    assert_eq!(all.len(), 4);
    for address in all {
        let version = stage.workspace.key_version(&address).unwrap().unwrap();
        assert_eq!(version.key(), stage.workspace.service_key());
        assert!(stage.read(&address).is_err(), "{address} is not empty");
    }
    // The key is missed by nobody any more.
    let used = stage.vault().key(&KEY.parse().unwrap(), None).unwrap().kid;
    assert_eq!(landscape.needs(&used).unwrap(), [""; 0]);
}

/// SP 800-57 part 1, 7: pre-activation, active, suspended, deactivated, destroyed.
#[test]
fn the_state_of_each_version_is_what_the_vault_does_with_it() {
    let stage = Stage::protected_for_a_week();
    let key = KEY.parse().unwrap();
    let states = || {
        let landscape = stage.landscape();
        let policy = landscape.get("cmk").unwrap();
        let states = landscape.version_states(&policy).unwrap().into_iter();
        states.map(|(_, state)| state).collect::<Vec<_>>()
    };
    let at = |hours| {
        let now = stage.landscape().now().unwrap();
        Some(now + jiff::SignedDuration::from_hours(hours))
    };
    let set = |update: &KeyUpdate| drop(stage.vault().update_key(&key, None, update).unwrap());
    assert_eq!(states(), [VersionState::Active]);
    set(&KeyUpdate {
        not_before: Some(at(1)),
        ..KeyUpdate::default()
    });
    assert_eq!(states(), [VersionState::PreActivation]);
    stage.hours(1);
    assert_eq!(states(), [VersionState::Active]);
    set(&KeyUpdate {
        enabled: Some(false),
        ..KeyUpdate::default()
    });
    assert_eq!(states(), [VersionState::Suspended]);
    set(&KeyUpdate {
        enabled: Some(true),
        expires: Some(at(1)),
        ..KeyUpdate::default()
    });
    assert_eq!(states(), [VersionState::Active]);
    stage.hours(1);
    assert_eq!(states(), [VersionState::Deactivated]);
    stage.vault().delete_key(&key).unwrap();
    assert_eq!(states(), [VersionState::Suspended], "it can be recovered");
    stage.days(8);
    assert_eq!(states(), [VersionState::Destroyed]);
}
