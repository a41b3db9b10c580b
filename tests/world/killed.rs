//! A process that applies a policy to one environment, removes one, or makes an environment is killed at each step;
//! one that applies a policy to many, backs up, restores, copies, resets, integrates or migrates, at any moment. The
//! next one ends what was begun; it may be killed, too.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atrest::world::landscape::{
    FinanceEnvironment, FinanceKind, KeyState, Landscape, Link, NewFinance, PowerEnvironment,
    PowerName, Profile,
};
use atrest::world::{ResourceAddress, Step, Workspace};

use crate::stage::*;

const DIR: &str = "ATREST_TEST_DIR";
const WHAT: &str = "ATREST_TEST_WHAT";
const STEP: &str = "ATREST_TEST_STEP";

/// Not a test of its own: the process that is killed.
#[test]
fn one_that_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let step: u64 = std::env::var(STEP).unwrap().parse().unwrap();
    let steps = AtomicU64::new(0);
    let die = |_: Step| {
        if steps.fetch_add(1, Ordering::SeqCst) + 1 == step {
            let pid = rustix::process::getpid();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    };
    let workspace = open(Path::new(&dir));
    let landscape = Landscape::open(&workspace).unwrap();
    match std::env::var(WHAT).unwrap().as_str() {
        "apply" => drop(
            landscape
                .apply(
                    &"cmk".parse().unwrap(),
                    &[power("org-prod")],
                    &admin(),
                    &die,
                )
                .unwrap(),
        ),
        "remove" => drop(
            landscape
                .remove(&power("org-prod"), &admin(), &die)
                .unwrap(),
        ),
        "create" => {
            let region = "westeurope".parse().unwrap();
            let mut new = NewFinance::usual(finance("new"), "erp".parse().unwrap(), region);
            new.databases = ["a", "b", "c"].map(|name| name.parse().unwrap()).into();
            landscape.create_finance(&[new], &die).unwrap();
        }
        "apply-all" => {
            let all = landscape.all::<PowerEnvironment>().unwrap().into_iter();
            // Of the larger world those that are integrated, with five resources each.
            let all: Vec<PowerName> = all
                .filter(|power| power.name.as_str() != "org-prod" || power.linked.is_some())
                .map(|power| power.name)
                .collect();
            landscape
                .apply(&"cmk".parse().unwrap(), &all, &admin(), &die)
                .unwrap();
        }
        "restore" => drop(
            landscape
                .restore_backup(&"first".parse().unwrap(), &power("org-prod"), &admin())
                .unwrap(),
        ),
        "copy" => drop(
            landscape
                .copy(&power("org-prod"), &power("org-twin"), &admin())
                .unwrap(),
        ),
        "reset" => drop(landscape.reset(&power("org-prod"), &admin()).unwrap()),
        "link" => drop(
            landscape
                .link(&finance("prod"), &power("org-prod"), &admin())
                .unwrap(),
        ),
        "migrate" => drop(landscape.migrate(&finance("hr")).unwrap()),
        "resume" => landscape.catch_up().unwrap(),
        "backup" => drop(
            landscape
                .back_up(&power("org-prod"), &"late".parse().unwrap(), &admin())
                .unwrap(),
        ),
        other => panic!("{other}"),
    }
}

fn child(stage: &Stage, what: &str, step: u64) -> std::process::Child {
    child_in(stage.path(), what, step)
}

fn child_in(dir: &Path, what: &str, step: u64) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed::one_that_is_killed", "--exact"])
        .env(DIR, dir)
        .env(WHAT, what)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn killed_at(stage: &Stage, what: &str, step: u64) -> bool {
    let status = child(stage, what, step).wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{status}");
    status.signal() == Some(9)
}

#[test]
fn a_policy_that_was_applied_by_halves_is_applied_by_the_next_run() {
    for step in 1..=5 {
        let stage = Stage::linked();
        assert_eq!(killed_at(&stage, "apply", step), step <= 4, "step {step}");
        // Another process, that found everything as the dead one left it.
        let workspace = open(stage.path());
        let landscape = Landscape::open(&workspace).unwrap();
        let state = landscape.get::<PowerEnvironment>("org-prod").unwrap().key;
        assert_eq!(
            matches!(state, KeyState::Applying { .. }),
            step <= 4,
            "{state:?}"
        );
        landscape.catch_up().unwrap();
        let found = landscape.get::<PowerEnvironment>("org-prod").unwrap();
        assert!(matches!(found.key, KeyState::Cmk { .. }), "{:?}", found.key);
        for address in landscape.resources_of(&found) {
            let key = workspace.key_version(&address).unwrap().unwrap();
            assert_eq!(key.name.as_str(), KEY, "step {step}: {address}");
            assert_eq!(read(&workspace, &address).unwrap(), MARKER);
        }
    }
}

#[test]
fn a_removal_by_halves_is_ended_by_the_next_run() {
    for step in 1..=4 {
        let stage = Stage::protected();
        assert!(killed_at(&stage, "remove", step));
        let workspace = open(stage.path());
        let landscape = Landscape::open(&workspace).unwrap();
        landscape.catch_up().unwrap();
        let found = landscape.get::<PowerEnvironment>("org-prod").unwrap();
        assert_eq!(found.key, KeyState::Mmk);
        for address in landscape.resources_of(&found) {
            let key = workspace.key_version(&address).unwrap().unwrap().key();
            assert_eq!(key, workspace.service_key(), "step {step}: {address}");
            assert_eq!(read(&workspace, &address).unwrap(), MARKER);
        }
    }
}

#[test]
fn an_environment_that_was_made_by_halves_does_not_take_its_own_name() {
    for step in 1..=4 {
        let stage = Stage::linked();
        assert!(killed_at(&stage, "create", step));
        assert!(!killed_at(&stage, "create", 100));
        let workspace = open(stage.path());
        let landscape = Landscape::open(&workspace).unwrap();
        let resources = landscape.resources_of_finance(&finance("new"));
        assert_eq!(resources.len(), 4);
        for address in resources {
            fill(&workspace, &address);
            assert_eq!(read(&workspace, &address).unwrap(), MARKER);
        }
    }
}

/// Has processes that do `what` killed at moments from before it begins until after it ends, each after `before`;
/// `after` looks at what the next process makes of it.
fn killed_all_along(
    stage: &Stage,
    what: &str,
    before: impl Fn(&Workspace),
    after: impl Fn(&Workspace, &Landscape<'_>),
) {
    let mut took = Duration::from_millis(300);
    for round in 0..=12 {
        before(&open(stage.path()));
        let began = Instant::now();
        let mut child = child(stage, what, u64::MAX);
        match round {
            // How long it takes here.
            0 => assert!(child.wait().unwrap().success(), "{what}"),
            _ => {
                std::thread::sleep(took * round / 12);
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        if round == 0 {
            took = began.elapsed();
        }
        let workspace = open(stage.path());
        let landscape = Landscape::open(&workspace).unwrap();
        landscape.catch_up().unwrap();
        after(&workspace, &landscape);
    }
}

fn of(landscape: &Landscape<'_>, name: &str) -> Vec<ResourceAddress> {
    landscape.resources_of(&landscape.get(name).unwrap())
}

/// What is in the resources of an environment, each text once.
fn texts(workspace: &Workspace, landscape: &Landscape<'_>, name: &str) -> BTreeSet<String> {
    let all = of(landscape, name);
    assert!(!all.is_empty(), "{name} is gone");
    all.iter().map(|at| read(workspace, at).unwrap()).collect()
}

#[test]
fn a_restore_that_was_killed_leaves_all_of_the_backup_or_nothing_of_it() {
    let stage = Stage::protected();
    let landscape = stage.landscape();
    landscape
        .back_up(&power("org-prod"), &"first".parse().unwrap(), &admin())
        .unwrap();
    let later = |workspace: &Workspace| {
        let landscape = Landscape::open(workspace).unwrap();
        for address in of(&landscape, "org-prod") {
            rewrite(workspace, &address, "written after the backup");
        }
    };
    killed_all_along(&stage, "restore", later, |workspace, landscape| {
        let found = texts(workspace, landscape, "org-prod");
        assert_eq!(found.len(), 1, "by halves: {found:?}");
        let state = landscape.get::<PowerEnvironment>("org-prod").unwrap().key;
        assert!(matches!(state, KeyState::Cmk { .. }), "{state:?}");
        for address in of(landscape, "org-prod") {
            let key = workspace.key_version(&address).unwrap().unwrap();
            assert_eq!(key.name.as_str(), KEY, "{address}");
        }
    });
}

#[test]
fn a_copy_that_was_killed_leaves_all_of_the_source_or_nothing_of_it() {
    let stage = Stage::with(Profile::Seed2022);
    stage.power("org-twin", |_| ());
    let before = |workspace: &Workspace| {
        let landscape = Landscape::open(workspace).unwrap();
        for (name, text) in [("org-prod", MARKER), ("org-twin", "of the twin")] {
            for address in of(&landscape, name) {
                rewrite(workspace, &address, text);
            }
        }
    };
    killed_all_along(&stage, "copy", before, |workspace, landscape| {
        let source = texts(workspace, landscape, "org-prod");
        assert_eq!(source, [MARKER.to_owned()].into(), "the source changed");
        let found = texts(workspace, landscape, "org-twin");
        assert_eq!(found.len(), 1, "by halves: {found:?}");
    });
}

#[test]
fn a_reset_that_was_killed_leaves_all_of_the_data_or_none() {
    let stage = Stage::linked();
    let before = |workspace: &Workspace| {
        let landscape = Landscape::open(workspace).unwrap();
        for address in of(&landscape, "org-prod") {
            rewrite(workspace, &address, MARKER);
        }
    };
    killed_all_along(&stage, "reset", before, |workspace, landscape| {
        let all = of(landscape, "org-prod");
        assert_eq!(all.len(), 4, "{all:?}");
        let left = all.iter().filter(|at| read(workspace, at).is_ok()).count();
        assert!(left == 0 || left == all.len(), "by halves: {left} are left");
        for address in &all {
            workspace.check_access(address).unwrap();
        }
    });
}

#[test]
fn an_integration_that_was_killed_is_begun_or_not_and_is_never_broken() {
    for round in 0..6 {
        let stage = Stage::with(Profile::Seed2022);
        let mut child = child(&stage, "link", u64::MAX);
        std::thread::sleep(Duration::from_millis(40) * round);
        child.kill().unwrap();
        child.wait().unwrap();
        let link = stage.landscape().get::<FinanceEnvironment>("prod").unwrap();
        if link.link == Link::None {
            stage.link("prod", "org-prod").unwrap();
        }
        stage.hours(1);
        let link = stage.landscape().get::<FinanceEnvironment>("prod").unwrap();
        assert!(link.link.completed().is_some(), "{:?}", link.link);
        let found: PowerEnvironment = stage.landscape().get("org-prod").unwrap();
        assert_eq!(found.linked, Some(finance("prod")));
    }
}

#[test]
fn a_migration_that_was_killed_is_done_or_not_and_loses_nothing() {
    for round in 0..6 {
        let stage = Stage::with(Profile::Seed2022);
        let mut new = NewFinance::usual(
            finance("hr"),
            "erp".parse().unwrap(),
            "westeurope".parse().unwrap(),
        );
        new.kind = FinanceKind::HrStandalone;
        stage.landscape().create_finance(&[new], &quiet).unwrap();
        let all = stage.landscape().resources_of_finance(&finance("hr"));
        all.iter().for_each(|address| stage.fill(address));
        let mut child = child(&stage, "migrate", u64::MAX);
        std::thread::sleep(Duration::from_millis(40) * round);
        child.kill().unwrap();
        child.wait().unwrap();
        let kind = |stage: &Stage| {
            stage
                .landscape()
                .get::<FinanceEnvironment>("hr")
                .unwrap()
                .kind
        };
        if kind(&stage) == FinanceKind::HrStandalone {
            stage.landscape().migrate(&finance("hr")).unwrap();
        }
        assert_eq!(kind(&stage), FinanceKind::Production);
        for address in &all {
            assert_eq!(stage.read(address).unwrap(), MARKER);
        }
    }
}

#[test]
fn killed_at_any_moment_no_resource_is_lost_and_the_next_run_ends_it() {
    let stage = Stage::linked();
    let region: atrest::world::landscape::Region = "westeurope".parse().unwrap();
    let new: Vec<_> = (0..12)
        .map(|n| {
            PowerEnvironment::usual(
                format!("org-{n}").parse().unwrap(),
                "contoso".parse().unwrap(),
                region.clone(),
            )
        })
        .collect();
    stage.landscape().create_power(&new, &quiet).unwrap();
    let all = |landscape: &Landscape<'_>| landscape.all::<PowerEnvironment>().unwrap();
    let mut took = Duration::from_millis(300);
    for round in 0..12 {
        let began = Instant::now();
        let mut child = child(&stage, "apply-all", u64::MAX);
        // From before it begins until after it ends.
        std::thread::sleep(took * round / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        if round == 0 {
            took = took.max(began.elapsed());
        }
        let workspace = open(stage.path());
        let landscape = Landscape::open(&workspace).unwrap();
        landscape.catch_up().unwrap();
        let states: Vec<_> = all(&landscape).into_iter().map(|power| power.key).collect();
        let applied = states
            .iter()
            .filter(|state| matches!(state, KeyState::Cmk { .. }))
            .count();
        assert!(
            applied == 0 || applied == states.len(),
            "by halves: {states:?}"
        );
        for power in all(&landscape) {
            for address in landscape.resources_of(&power) {
                workspace.check_access(&address).unwrap();
            }
            if applied > 0 {
                landscape.remove(&power.name, &admin(), &quiet).unwrap();
            }
        }
    }
}

/// Environments of the larger world, and resources in each.
const MANY: u64 = 60;
const EACH: u64 = 5;

/// A world of so many environments with so many resources each, not under a policy. Some hold something.
fn many() -> (Stage, Vec<ResourceAddress>) {
    let stage = Stage::with(Profile::Seed2022);
    let region: atrest::world::landscape::Region = "westeurope".parse().unwrap();
    let landscape = stage.landscape();
    let (finances, powers): (Vec<_>, Vec<_>) = (0..MANY)
        .map(|n| {
            let name = finance(&format!("env-{n}"));
            let mut new = NewFinance::usual(name, "erp".parse().unwrap(), region.clone());
            new.databases.push("retail".parse().unwrap());
            let tenant = "contoso".parse().unwrap();
            let power = PowerEnvironment::usual(power(&format!("org-{n}")), tenant, region.clone());
            (new, power)
        })
        .unzip();
    landscape.create_finance(&finances, &quiet).unwrap();
    landscape.create_power(&powers, &quiet).unwrap();
    for (finance, power) in finances.iter().zip(&powers) {
        landscape
            .link(&finance.name, &power.name, &admin())
            .unwrap();
    }
    stage.hours(1);
    let mut filled = Vec::new();
    for n in (0..MANY).step_by(9) {
        filled.extend(of(&landscape, &format!("org-{n}")));
    }
    filled.iter().for_each(|address| stage.fill(address));
    drop(landscape);
    (stage, filled)
}

/// What a process finds that comes after all that were killed: everything done, and nothing lost; or, when the
/// first was killed before it had written what it is to do, nothing done.
fn all_or_nothing(dir: &Path, filled: &[ResourceAddress]) -> bool {
    let workspace = open(dir);
    let landscape = Landscape::open(&workspace).unwrap();
    landscape.catch_up().unwrap();
    let mut powers = landscape.all::<PowerEnvironment>().unwrap();
    powers.retain(|power| power.linked.is_some());
    assert_eq!(powers.len() as u64, MANY);
    let is_done = powers[0].key != KeyState::Mmk;
    for power in powers {
        let is_right = match &power.key {
            KeyState::Cmk { .. } => is_done,
            state => !is_done && *state == KeyState::Mmk,
        };
        assert!(is_right, "{}: {:?}", power.name, power.key);
        let resources = landscape.resources_of(&power);
        assert_eq!(resources.len() as u64, EACH);
        for address in resources {
            let key = workspace.key_version(&address).unwrap().unwrap();
            assert_eq!(key.name.as_str() == KEY, is_done, "{address}: {key}");
            workspace.check_access(&address).unwrap();
        }
    }
    for address in filled {
        assert_eq!(read(&workspace, address).unwrap(), MARKER, "{address}");
    }
    is_done
}

#[test]
fn a_policy_on_many_environments_is_applied_in_the_end_however_often_it_is_killed() {
    let (stage, filled) = many();
    let all = MANY * EACH;
    let copy = || {
        let world = crate::scratch::Scratch::new();
        copy_all(stage.path(), world.path());
        world
    };
    // At the first steps, in the midst, and at the last.
    for step in [1, all / 2, all] {
        let world = copy();
        let status = child_in(world.path(), "apply-all", step).wait().unwrap();
        assert_eq!(status.signal(), Some(9), "step {step}");
        assert!(all_or_nothing(world.path(), &filled), "step {step}");
    }
    // At any moment; and whoever goes on with it is killed at any moment, too.
    let world = copy();
    let began = Instant::now();
    assert!(
        child_in(world.path(), "apply-all", u64::MAX)
            .wait()
            .unwrap()
            .success()
    );
    let took = began.elapsed();
    for chain in 1..=3 {
        let world = copy();
        let mut child = child_in(world.path(), "apply-all", u64::MAX);
        std::thread::sleep(took * chain / 4);
        child.kill().unwrap();
        child.wait().unwrap();
        for round in 1..=6 {
            let mut child = child_in(world.path(), "resume", u64::MAX);
            std::thread::sleep(took * (round + chain) / 24);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        all_or_nothing(world.path(), &filled);
    }
}

#[test]
fn a_backup_that_was_killed_leaves_no_copy_that_nobody_knows_of() {
    let stage = Stage::protected();
    for round in 0..12 {
        let mut child = child(&stage, "backup", u64::MAX);
        std::thread::sleep(Duration::from_millis(25) * round);
        child.kill().unwrap();
        child.wait().unwrap();
        let landscape = stage.landscape();
        landscape.catch_up().unwrap();
        let known: BTreeSet<_> = landscape
            .all::<atrest::world::landscape::Backup>()
            .unwrap()
            .into_iter()
            .map(|backup| backup.name.to_string())
            .collect();
        let found: BTreeSet<_> = std::fs::read_dir(stage.path().join("backups"))
            .map(|all| all.map(|one| one.unwrap().file_name().into_string().unwrap()))
            .map_or_else(|_| BTreeSet::new(), Iterator::collect);
        assert_eq!(known, found, "round {round}");
        if !known.is_empty() {
            landscape.reset(&power("org-prod"), &admin()).unwrap();
            stage.apply("cmk", &["org-prod"]).unwrap();
        }
    }
    // The control, whatever the machine's speed: left alone, it makes one.
    assert!(child(&stage, "backup", u64::MAX).wait().unwrap().success());
    assert!(stage.path().join("backups/late").is_dir());
}
