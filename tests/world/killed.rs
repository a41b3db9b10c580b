//! A process that applies a policy to one environment, removes one, or makes an environment is killed at each step;
//! one that applies a policy to many, at any moment. The next one ends what was begun. No restore, copy or reset is
//! killed here.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use atrest::world::Step;
use atrest::world::landscape::{KeyState, Landscape, NewFinance, PowerEnvironment, PowerName};

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
            let all: Vec<PowerName> = landscape
                .all::<PowerEnvironment>()
                .unwrap()
                .into_iter()
                .map(|p| p.name)
                .collect();
            landscape
                .apply(&"cmk".parse().unwrap(), &all, &admin(), &die)
                .unwrap();
        }
        other => panic!("{other}"),
    }
}

fn child(stage: &Stage, what: &str, step: u64) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed::one_that_is_killed", "--exact"])
        .env(DIR, stage.path())
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
