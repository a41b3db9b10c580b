//! `atrest bench`: a figure that nobody can trust is worse than none.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

fn bench(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("atrest").unwrap();
    command.env_remove("OPENSSL_ia32cap");
    command.arg("--dir").arg(dir).arg("bench").args(arguments);
    command
}

/// One run of the stations that need no server, at their smallest.
fn run(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(name);
    let arguments = [
        "memory",
        "--quick",
        "--size",
        "4096",
        "--threads",
        "1",
        "--output",
    ];
    bench(dir, &arguments).arg(&file).assert().success();
    file
}

#[test]
fn results_are_those_that_the_published_schema_describes() {
    let dir = tempfile::tempdir().unwrap();
    let printed = bench(dir.path(), &["schema"]).assert().success();
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench.schema.json");
    let published = fs::read_to_string(published).unwrap();
    let printed = String::from_utf8(printed.get_output().stdout.clone()).unwrap();
    assert!(
        printed == published,
        "write docs/bench.schema.json anew: `atrest bench schema`"
    );
    let schema: Value = serde_json::from_str(&published).unwrap();
    let results: Value = serde_json::from_slice(&fs::read(run(dir.path(), "a")).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&results));
    // A control: what the schema does not allow is not taken.
    let mut altered = results;
    altered["conditions"]["steal"] = "none".into();
    assert!(!schema.is_valid(&altered));
}

#[test]
fn every_figure_has_its_baseline_its_interval_and_ten_samples() {
    let dir = tempfile::tempdir().unwrap();
    let stations = [
        "aead",
        "blob",
        "--quick",
        "--size",
        "65536",
        "--threads",
        "2",
    ];
    let (json, csv, html) = ("all.json", "all.csv", "all.html");
    let at = |name: &str| dir.path().join(name);
    let mut command = bench(dir.path(), &stations);
    command
        .arg("--output")
        .arg(at(json))
        .arg("--csv")
        .arg(at(csv));
    command.arg("--html").arg(at(html)).assert().success();
    let results: Value = serde_json::from_slice(&fs::read(at(json)).unwrap()).unwrap();
    let (mut ids, mut count) = (vec![], 0);
    for station in results["stations"].as_array().unwrap() {
        for m in station["measurements"].as_array().unwrap() {
            let id = m["id"].as_str().unwrap();
            assert!(!ids.contains(&id), "{id} twice");
            ids.push(id);
            assert!(m["samples"].as_array().unwrap().len() >= 10, "{id}");
            let interval = |of: &Value| {
                let [low, median, high] =
                    ["low", "median", "high"].map(|end| of[end].as_f64().unwrap());
                assert!(0.0 < low && low <= median && median <= high, "{id}");
            };
            interval(&m["time"]);
            for ratio in m["ratios"].as_array().unwrap() {
                interval(&ratio["time"]);
                assert!(
                    ids.contains(&ratio["to"].as_str().unwrap()),
                    "{id}: no baseline"
                );
                count += 1;
            }
        }
    }
    assert!(ids.contains(&"blob/put/sealed/65536B") && count > 10);
    let rows = fs::read_to_string(at(csv)).unwrap();
    assert_eq!(rows.lines().count(), ids.len() + 1);
    let page = fs::read_to_string(at(html)).unwrap();
    assert!(page.contains("<svg"));
    assert!(
        !page.contains("<script") && !page.contains("src="),
        "the page stands alone"
    );
    // What was measured is gone.
    let left = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let left: Vec<_> = left
        .filter(|name| !name.to_str().unwrap().starts_with("all."))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Two files that say the same, and one of them with every sealed time a fifth longer: a control on both sides.
#[test]
fn a_path_that_grew_by_a_fifth_is_told_from_one_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let before = run(dir.path(), "before");
    let mut results: Value = serde_json::from_slice(&fs::read(&before).unwrap()).unwrap();
    // What a quiet machine gives: samples within a hundredth.
    let steady = |results: &mut Value, factor: f64| {
        for m in results["stations"][0]["measurements"]
            .as_array_mut()
            .unwrap()
        {
            let slower = if m["ratios"].as_array().unwrap().is_empty() {
                1.0
            } else {
                factor
            };
            let samples = (0..20).map(|n| 100.0 * slower * (1.0 + f64::from(n * 7 % 20) / 2000.0));
            m["samples"] = samples.collect();
        }
    };
    steady(&mut results, 1.0);
    fs::write(&before, results.to_string()).unwrap();
    let same = dir.path().join("same");
    fs::write(&same, results.to_string()).unwrap();
    let slower = dir.path().join("slower");
    steady(&mut results, 1.2);
    fs::write(&slower, results.to_string()).unwrap();
    let compare = |a: &Path, b: &Path| {
        let mut command = bench(dir.path(), &["compare"]);
        command.arg(a).arg(b).assert()
    };
    compare(&before, &same)
        .code(0)
        .stdout(predicates::str::contains("0 slower, 0 faster"));
    compare(&before, &slower)
        .code(1)
        .stdout(predicates::str::contains("2 slower, 0 faster"));
    compare(&slower, &before)
        .code(0)
        .stdout(predicates::str::contains("0 slower, 2 faster"));
    // A file that was cut: what the ratios are to is gone, and nothing else.
    let measured = |results: &mut Value| results["stations"][0]["measurements"].take();
    let Value::Array(all) = measured(&mut results) else {
        panic!("a list of measurements");
    };
    let is_base = |m: &Value| m["ratios"].as_array().unwrap().is_empty();
    let cut: Vec<Value> = all.into_iter().filter(|m| !is_base(m)).collect();
    assert!(!cut.is_empty());
    results["stations"][0]["measurements"] = cut.into();
    fs::write(&same, results.to_string()).unwrap();
    for (a, b) in [(&before, &same), (&same, &before)] {
        compare(a, b).stdout(predicates::str::contains("slower"));
    }
    fs::write(&same, "{}").unwrap();
    compare(&before, &same)
        .code(2)
        .stderr(predicates::str::contains("give a file that"));
}

/// Whether they add up is the machine's matter, and what is said of it ours.
#[test]
fn a_breakdown_says_itself_whether_its_parts_add_up() {
    let dir = tempfile::tempdir().unwrap();
    for (operation, expected) in [
        ("sql", &["AES-256-GCM", "SQLite", "system calls"][..]),
        (
            "blob",
            &["AES-256-GCM", "key derivation", "sync", "other thread"],
        ),
        (
            "vault",
            &[
                "TLS",
                "token",
                "the vault's key",
                "audit record",
                "sync",
                "other thread",
            ],
        ),
    ] {
        let explain = ["--explain", operation, "--quick"];
        let mut command = bench(dir.path(), &explain);
        let printed = command.arg("--json").assert().success();
        let told: Value = serde_json::from_slice(&printed.get_output().stdout).unwrap();
        let number = |of: &Value, name: &str| of[name].as_f64().unwrap();
        let parts = told["parts"].as_array().unwrap();
        let sum: f64 = parts.iter().map(|part| number(part, "ns")).sum();
        let (whole, said) = (number(&told, "whole_ns"), number(&told, "sum_ns"));
        assert!(
            (sum / said - 1.0).abs() < 1e-9,
            "{operation}: {sum}, {said}"
        );
        let of = |end: &str| number(&told["of_whole"], end);
        assert!(
            (sum / whole - of("median")).abs() < 0.01,
            "{operation}: {told}"
        );
        let near = |of: f64| (of - 1.0).abs() <= 0.10;
        let expected_verdict = match (near(of("low")), near(of("high"))) {
            (true, true) => "yes",
            (false, false) if of("high") < 1.0 || of("low") > 1.0 => "no",
            _ => "not-known",
        };
        assert_eq!(told["adds_up"], expected_verdict, "{operation}: {told}");
        assert!(number(&told, "rounds") >= 10.0);
        for name in expected {
            let found = |part: &Value| part["part"].as_str().unwrap().contains(name);
            assert!(
                parts.iter().any(found),
                "{operation} without {name}: {told}"
            );
        }
    }
}

#[test]
fn as_many_resources_are_rewrapped_as_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rotate.json");
    let arguments = ["rotate", "--quick", "--size", "100000", "--output"];
    let mut command = bench(dir.path(), &arguments);
    command.arg(&file).assert().success();
    let results: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let station = &results["stations"][0];
    let said = |note: &Value| note.as_str().unwrap().starts_with("20 SQL databases");
    assert!(station["notes"].as_array().unwrap().iter().any(said));
    let measured = station["measurements"].as_array().unwrap();
    let rewraps = measured.iter().filter(|m| m["subject"] == "rewrap");
    let rewraps: Vec<u64> = rewraps
        .map(|m| m["operations"].as_u64().unwrap() * m["samples"].as_array().unwrap().len() as u64)
        .collect();
    assert_eq!(rewraps, [20, 20]);
}

/// Figures that nothing is compared with are no baselines.
#[test]
fn a_baseline_is_what_something_is_compared_with() {
    let dir = tempfile::tempdir().unwrap();
    let printed = |station: &str| {
        let mut command = bench(dir.path(), &[station, "--quick", "--size", "64"]);
        let output = command.assert().success().get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        let rows = text.lines().skip_while(|l| !l.starts_with("operation"));
        rows.skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |rows: &[String], word: &str| rows.iter().any(|row| row.contains(word));
    let derive = printed("derive");
    assert!(
        has(&derive, " none") && !has(&derive, " baseline"),
        "{derive:?}"
    );
    // A control: where something is compared, what it is compared with is one.
    let memory = printed("memory");
    assert!(
        has(&memory, " baseline") && !has(&memory, " none"),
        "{memory:?}"
    );
}

#[test]
fn what_makes_the_library_slow_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = bench(dir.path(), &["memory", "--quick", "--size", "64"]);
    let command = command.env("OPENSSL_ia32cap", "");
    let said = predicates::str::contains("OPENSSL_ia32cap is set and empty");
    command.assert().success().stdout(said);
}

#[test]
fn an_unknown_station_or_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], dir: &Path, why: &str| {
        let why = predicates::str::contains(why.to_owned());
        bench(dir, arguments).assert().code(2).stderr(why);
    };
    refused(&["sqlite"], dir.path(), "is no station");
    refused(&["--explain", "tls"], dir.path(), "is not explained");
    refused(
        &["memory"],
        &dir.path().join("nowhere"),
        "name a directory that exists",
    );
    refused(&["--quick", "--full"], dir.path(), "cannot be used with");
}
