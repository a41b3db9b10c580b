//! System calls that fail: a full disk, a disk that errs, a file that cannot be opened. strace makes
//! the Nth call of a kind fail, once or from then on, while a child works. The child must go on or
//! end with an error that says so, and never be told that a commit is there when it is not.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::database::{Database, KINDS, Kind, content, goes_on, label, whole};
use crate::fixture::scratch;
use crate::life::{Life, say};
use crate::lived::asked;
use crate::strace::{self, Line, Traced};

const LIFE: &str = "ATREST_TEST_ENDURE";

const FAULTS: [(&str, &str); 10] = [
    ("pwrite64", "ENOSPC"),
    ("pwrite64", "EIO"),
    ("pread64", "EIO"),
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("ftruncate", "EIO"),
    ("unlink", "EACCES"),
    ("openat", "EMFILE"),
    ("mmap", "ENOMEM"),
    ("fstat,newfstatat", "EIO"),
];

const LIVES: [&str; 5] = [
    "delete-full-512",
    "persist-full-4096",
    "wal-full-512",
    "wal-normal-4096",
    "changing-full-512",
];

#[test]
fn part_endures() {
    let Some((kind, plan, dir)) = asked(LIFE) else {
        return;
    };
    match Life::begin(kind, plan, &dir) {
        Ok(life) => life.endure(),
        Err(why) => say(&format!("not made: {why}")),
    }
}

fn run(kind: Kind, plan: &str, dir: &Path, options: &[String]) -> Traced {
    let life = format!("{} {plan} {}", label(kind), dir.display());
    // Only calls on these files: not the loader's, nor the test harness's.
    let paths = ["", "/db", "/db-journal", "/db-wal", "/db-shm"]
        .iter()
        .flat_map(|name| ["-P".to_owned(), format!("{}{name}", dir.display())]);
    let options: Vec<_> = paths.chain(options.iter().cloned()).collect();
    strace::run("faults::part_endures", &options, &[(LIFE, &life)])
}

/// How often each kind of call is made by a life without faults.
fn count(kind: Kind, plan: &str) -> BTreeMap<&'static str, usize> {
    let dir = scratch();
    let calls = FAULTS.map(|(calls, _)| calls).join(",");
    let options = ["-e".to_owned(), format!("trace={calls}")];
    let traced = run(kind, plan, dir.path(), &options);
    assert!(traced.status.success(), "{}", traced.stderr);
    assert!(!traced.stderr.contains("fails"), "{}", traced.stderr);
    let of = |names: &str| {
        let called = |name: &str| traced.calls.iter().filter(|c| c.name == name).count();
        names.split(',').map(called).max().unwrap()
    };
    FAULTS.map(|(calls, _)| (calls, of(calls))).into()
}

/// Lets the calls fail, and judges what is there afterwards.
fn try_fault(kind: Kind, plan: &str, fault: &str) -> Result<(), String> {
    let dir = scratch();
    let calls = fault.split(':').next().unwrap();
    let options = [
        "-e",
        &format!("trace={calls}"),
        "-e",
        &format!("inject={fault}"),
    ];
    let options = options.map(str::to_owned);
    let traced = run(kind, plan, dir.path(), &options);
    let said = &traced.stderr;
    judge(kind, dir.path(), &traced)
        .map_err(|why| format!("{} {plan} {fault}: {why}\n{said}", label(kind)))
}

fn judge(kind: Kind, dir: &Path, traced: &Traced) -> Result<(), String> {
    if !traced.calls.iter().any(Line::is_injected) {
        return Err("no call was made to fail".to_owned());
    }
    if !traced.status.success() {
        return Err(format!("ends with {}", traced.status));
    }
    let path = dir.join("db");
    if traced.stderr.contains("not made: ") {
        return Ok(());
    }
    let database = Database::open(kind, &path)?;
    let conn = database.connect()?;
    whole(&conn)?;
    let found = content(&conn)?;
    drop(conn);
    database.verify()?;
    let mut allowed = Vec::new();
    for line in traced.stderr.lines() {
        if let Some(content) = line.strip_prefix("is ") {
            allowed = vec![content];
        } else if let Some(content) = line.strip_prefix("may be ") {
            allowed.push(content);
        }
    }
    if !allowed.contains(&found.as_str()) {
        return Err("a content that was not committed, or a commit is lost".to_owned());
    }
    goes_on(&database)
}

#[test]
fn no_fault_of_the_system_loses_a_commit_or_reads_as_other_data() {
    let places = std::env::var("ATREST_TEST_FAULTS").map_or(3, |n| n.parse().unwrap());
    let mut faults = Vec::new();
    for kind in KINDS {
        for plan in LIVES {
            let counted = count(kind, plan);
            for (calls, error) in FAULTS {
                let all = counted[calls];
                for place in 0..places.min(all) {
                    // Spread over the life, and not at the same place in each.
                    let nth = 1 + (place * all + faults.len() % all) / places;
                    for when in [format!("{nth}"), format!("{nth}+")] {
                        let fault = format!("{calls}:error={error}:when={when}");
                        faults.push((kind, plan, fault));
                    }
                }
            }
        }
    }
    let tried = faults
        .par_iter()
        .map(|(kind, plan, fault)| try_fault(*kind, plan, fault));
    let failures: Vec<_> = tried.filter_map(Result::err).collect();
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} fail", failures.len());
    assert!(faults.len() > 200, "{}", faults.len());
    println!("{} faults", faults.len());
}
