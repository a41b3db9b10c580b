//! The lab must be able to fail. The program, in a build whose engine can be broken on purpose, makes a
//! working directory, and proves; each way of breaking must turn the attacks red that are there to see it,
//! and whole they must be green. `docs/sabotage.md` prints the matrix that this test computes.
//!
//! `cargo test --release --features sabotage --test sabotage --target-dir target/sabotage`

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use atrest::base::sabotage::{Sabotage, VARIABLE};
use serde_json::Value;

const CANARY: &str = "Kim Akers, IBAN NL91ABNA0417164300";

/// The attacks that must see it.
fn seen_by(way: Sabotage) -> &'static [u64] {
    match way {
        Sabotage::IdentityCipher => &[2],
        Sabotage::FixedNonce | Sabotage::CounterRestarts => &[25],
        Sabotage::TagIgnored | Sabotage::IndexNotBound => &[7, 13],
        Sabotage::ResourceNotBound => &[15],
        Sabotage::PlainTemporary => &[12],
        Sabotage::PlainLogHeaders => &[11],
        Sabotage::KeyNotWiped | Sabotage::RevocationIgnored => &[21],
        Sabotage::ChainUnchecked => &[29],
        Sabotage::LengthsTrusted => &[27],
    }
}

fn atrest(dir: &Path, way: Option<Sabotage>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
    command
        .arg("--dir")
        .arg(dir)
        .args(args)
        .env_remove(VARIABLE);
    command.envs(way.map(|way| (VARIABLE, way.name())));
    command.output().unwrap()
}

/// A working directory with a database and a blob, made by an engine that is broken in this way.
fn made(dir: &Path, way: Option<Sabotage>) -> PathBuf {
    let work = dir.join("work");
    let run = |args: &[&str]| {
        let done = atrest(&work, way, args);
        assert!(done.status.success(), "{way:?} {args:?}: {done:?}");
    };
    let plain = dir.join("plain.db");
    let mut connection = rusqlite::Connection::open(&plain).unwrap();
    let rows = connection.transaction().unwrap();
    rows.execute_batch("CREATE TABLE person (name TEXT)")
        .unwrap();
    for i in 0..400 {
        rows.execute("INSERT INTO person VALUES (?1)", [format!("{CANARY} {i}")])
            .unwrap();
    }
    rows.commit().unwrap();
    drop(connection);
    let text = dir.join("a.txt");
    std::fs::write(&text, format!("invoice of {CANARY}\n").repeat(3000)).unwrap();
    run(&["init", "--key-kind", "oct-256"]);
    run(&["sql", "import", plain.to_str().unwrap(), "ledger"]);
    run(&["blob", "create", "papers"]);
    run(&["blob", "put", "papers", text.to_str().unwrap()]);
    work
}

/// What each of these attacks came to: the worst verdict of its parts.
fn proved(way: Option<Sabotage>, attacks: &BTreeSet<u64>) -> Vec<(u64, String)> {
    let dir = tempfile::tempdir().unwrap();
    let work = made(dir.path(), way);
    let only: Vec<_> = attacks.iter().map(u64::to_string).collect();
    let done = atrest(&work, way, &["--json", "prove", "--only", &only.join(",")]);
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(told.contains("SABOTAGED BUILD"), "{told}");
    let report: Value =
        serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{way:?}: {told}"));
    let engine = report["meta"]["parameters"]["engine"].as_str().unwrap();
    assert!(
        engine.contains(way.map_or("nothing now", Sabotage::name)),
        "{engine}"
    );
    let claims = report["claims"].as_array().unwrap();
    let worst = |number: u64| {
        let prefix = format!("attack-{number}/");
        let of = claims
            .iter()
            .filter(|claim| claim["id"].as_str().unwrap().starts_with(&prefix));
        let verdicts: BTreeSet<_> = of.map(|claim| claim["verdict"].as_str().unwrap()).collect();
        let order = ["fails", "inconclusive", "not-protected", "holds"];
        let worst = order.into_iter().find(|word| verdicts.contains(word));
        (number, worst.unwrap_or("not tried").to_owned())
    };
    let worst: Vec<_> = attacks.iter().copied().map(worst).collect();
    let red = worst
        .iter()
        .any(|(_, v)| ["fails", "inconclusive"].contains(&v.as_str()));
    assert_eq!(done.status.code(), Some(i32::from(red)), "{way:?}: {told}");
    worst
}

#[test]
fn a_broken_engine_turns_red_the_attack_that_is_there_to_see_it_and_a_whole_one_none() {
    let all = Sabotage::ALL.iter().flat_map(|way| seen_by(*way)).copied();
    let whole = proved(None, &all.collect());
    let mut table = "| broken | what the engine does then | attack | whole | broken |\n\
                     |---|---|---|---|---|\n"
        .to_owned();
    let mut wrong = Vec::new();
    for &way in Sabotage::ALL {
        let attacks: BTreeSet<u64> = seen_by(way).iter().copied().collect();
        for (number, verdict) in proved(Some(way), &attacks) {
            let (_, sound) = whole.iter().find(|(n, _)| *n == number).unwrap();
            if verdict != "fails" || sound != "holds" {
                wrong.push(format!("{} {number}: {sound}, {verdict}", way.name()));
            }
            let (name, what) = (way.name(), way.what());
            table += &format!("| `{name}` | {what} | {number} | {sound} | **{verdict}** |\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{table}");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sabotage.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.contains(&table),
        "docs/sabotage.md should hold:\n{table}"
    );
}

#[test]
fn nobody_takes_such_a_build_for_an_ordinary_one() {
    let dir = tempfile::tempdir().unwrap();
    let version = atrest(dir.path(), None, &["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).contains("SABOTAGED"));
    let quiet = atrest(dir.path(), None, &["--quiet", "prove", "--list"]);
    assert!(String::from_utf8_lossy(&quiet.stderr).contains("SABOTAGED BUILD"));
    // The control of the test that finds none of this in an ordinary build (tests/cli.rs).
    let program = std::fs::read(env!("CARGO_BIN_EXE_atrest")).unwrap();
    for name in Sabotage::ALL.iter().map(|way| way.name()) {
        let there = program.windows(name.len()).any(|at| at == name.as_bytes());
        assert!(there, "{name}");
    }
}
