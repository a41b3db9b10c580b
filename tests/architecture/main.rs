//! The house rules that a machine can keep. `rules.rs` has the rules, `samples.rs` shows that each
//! of them can fail.

#![allow(clippy::unwrap_used)]

mod rules;
mod samples;
mod scan;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rules::*;
use scan::Source;

fn package(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = vec![];
    let walks = ["src", "examples"].map(|dir| walkdir::WalkDir::new(root.join(dir)));
    for entry in walks.into_iter().flatten() {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap();
        if path.ends_with(".rs") {
            sources.push(Source::new(path, &package(path)));
        }
    }
    assert!(sources.len() > 20, "the walk found next to nothing");
    let scans = sources.iter().map(Source::scan);
    let test_modules: Vec<_> = scans.flat_map(|scan| scan.test_modules).collect();
    for source in &mut sources {
        let module = source.module();
        source.is_test = test_modules.iter().any(|test| module.starts_with(test));
    }
    sources
}

fn hold(rule: fn(&Source) -> Vec<String>) {
    let complaints: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn no_layer_imports_from_above() {
    hold(imports_point_down);
}

#[test]
fn sql_and_blob_never_name_each_other() {
    hold(sql_and_blob_are_strangers);
}

#[test]
fn unsafe_stays_at_the_border_to_sqlite() {
    hold(unsafe_is_at_the_border);
}

#[test]
fn async_stays_in_the_server() {
    hold(the_core_is_synchronous);
}

#[test]
fn no_code_but_tests_unwraps() {
    hold(nothing_unwraps);
}

#[test]
fn files_over_400_lines_say_why() {
    hold(a_long_file_says_why);
}

#[test]
fn every_use_of_key_bytes_is_listed_with_its_reason() {
    let complaints = expose_is_listed(&sources(), &package("docs/design.md"));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// By its whole name, or, where a table's heading names what all of its vectors begin with
/// (`root_record_`), by the rest.
#[test]
fn every_vector_is_named_in_the_format() {
    let format = package("docs/format.md");
    let quoted: BTreeSet<&str> = format.split('`').skip(1).step_by(2).collect();
    let beginnings = quoted.iter().filter(|q| q.ends_with('_'));
    let beginnings: Vec<&str> = beginnings.copied().chain([""]).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let (mut seen, mut unnamed) = (0, vec![]);
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let name = entry
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let rest = beginnings.iter().filter_map(|b| name.strip_prefix(b));
            if !rest.into_iter().any(|rest| quoted.contains(rest)) {
                unnamed.push(name);
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "the walk found next to nothing");
    assert!(unnamed.is_empty(), "not in docs/format.md: {unnamed:#?}");
}

#[test]
fn no_build_is_broken_on_purpose_by_accident() {
    hold(features_are_asked_for_in_two_files);
    let complaints = sabotage_is_chosen_by_name_only(&package("Cargo.toml"));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn no_second_tls_stack_or_async_runtime_came_in() {
    let complaints = one_tls_stack_and_one_async_runtime(&package("Cargo.lock"));
    assert!(complaints.is_empty(), "{complaints:#?}");
}
