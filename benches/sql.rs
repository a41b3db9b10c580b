//! SQL on sealed files beside plain SQLite, interleaved in one process: seconds, and ratios.
//!
//! `cargo bench --bench sql` measures both AEAD backends, each in a process of its own, since a
//! process has one. `cargo bench --bench sql -- aws-lc-rs 200000 3` measures one, with so many rows
//! and rounds, and `-- aws-lc-rs 200000 3 VACUUM` one kind of work. The files are in the system's
//! directory for temporary files (`TMPDIR`).
//!
//! `-- once SUBJECT ROWS [WORK]` prints the seconds of one round, for benches/peers/, which compares
//! with other programs. SUBJECT is `plain`, or a backend and `kept` or `not-kept`: `aes-gcm/kept`.
#![allow(clippy::unwrap_used)]

#[path = "sql/workload.rs"]
mod workload;

use std::env;
use std::path::Path;
use std::process::{Command, exit};
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::{Backend, Secret, random_id, select_backend};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase};
use rusqlite::Connection;

use workload::{ROWS, Taken, WORK};

const ROUNDS: usize = 5;

/// The most that each ratio of [`WORK`] may be, without freshness.
const BARS: [f64; WORK.len()] = [1.10, 1.05, 1.10, 1.10, 1.05, 1.10];
/// The most that freshness may add to a ratio.
const FRESHNESS_BAR: f64 = 0.05;
const SIZE_BAR: f64 = 1.02;

/// Plain SQLite, and the two kinds of sealed files.
const SUBJECTS: [Option<Freshness>; 3] = [None, Some(Freshness::NotKept), Some(Freshness::Kept)];

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [] => {
            for backend in Backend::ALL {
                let mut this = Command::new(env::current_exe().unwrap());
                let status = this.arg(backend.to_string()).status().unwrap();
                assert!(status.success());
            }
            Some(())
        }
        ["once", subject, rows, ref work @ ..] => once(subject, rows, work),
        [backend, ref sizes @ ..] => compare(backend, sizes),
    };
    if done.is_none() {
        eprintln!("expected: [BACKEND [ROWS [ROUNDS [WORK]]]], or once SUBJECT ROWS [WORK]");
        eprintln!("WORK is one of: {}", WORK.join(", "));
        exit(2);
    }
}

fn once(subject: &str, rows: &str, work: &[&str]) -> Option<()> {
    let freshness = match subject.split_once('/') {
        None if subject == "plain" => None,
        None => return None,
        Some((backend, freshness)) => {
            select_backend(backend.parse().ok()?);
            match freshness {
                "kept" => Some(Freshness::Kept),
                "not-kept" => Some(Freshness::NotKept),
                _ => return None,
            }
        }
    };
    println!("version\tSQLite {}", rusqlite::version());
    workload::print(&run(freshness, rows.parse().ok()?, one_of(work)?));
    Some(())
}

fn compare(backend: &str, sizes: &[&str]) -> Option<()> {
    let backend: Backend = backend.parse().ok()?;
    let rows = sizes.first().map_or(Some(ROWS), |n| n.parse().ok())?;
    let rounds = sizes.get(1).map_or(Some(ROUNDS), |n| n.parse().ok())?;
    let only = one_of(sizes.get(2..).unwrap_or_default())?;
    select_backend(backend);
    println!("{backend}, {rows} rows of 100 bytes, {rounds} rounds: medians");
    println!("                            plain      sealed, ratio    fresh, ratio    freshness");
    let mut taken = [const { Vec::new() }; SUBJECTS.len()];
    for round in 0..rounds {
        for turn in 0..SUBJECTS.len() {
            // Each goes first as often as the others.
            let subject = (round + turn) % SUBJECTS.len();
            taken[subject].push(run(SUBJECTS[subject], rows, only));
        }
    }
    for (work, (name, bar)) in WORK.iter().zip(BARS).enumerate() {
        let row = taken.each_ref().map(|taken| median(taken, work));
        if let [Some(plain), Some(sealed), Some(fresh)] = row {
            line(name, plain, sealed, fresh, bar);
        }
    }
    let mib = |taken: &Vec<Taken>| taken[0].bytes as f64 / f64::from(1 << 20);
    let [plain, sealed, fresh] = taken.each_ref().map(mib);
    line("file size (MiB)", plain, sealed, fresh, SIZE_BAR);
    println!();
    Some(())
}

fn line(name: &str, plain: f64, sealed: f64, fresh: f64, bar: f64) {
    let (ratio, with_freshness) = (sealed / plain, fresh / plain);
    let more = with_freshness - ratio;
    let missed = match ratio > bar || more > FRESHNESS_BAR {
        true => ": missed",
        false => "",
    };
    println!(
        "{name:22} {plain:10.3} {sealed:10.3} {ratio:6.3} {fresh:8.3} {with_freshness:6.3}      \
         {more:+.3}   at most {bar:.2}, and {FRESHNESS_BAR} for freshness{missed}"
    );
}

/// Of the seconds that a kind of work took, if it was done.
fn median(taken: &[Taken], work: usize) -> Option<f64> {
    let mut seconds: Vec<f64> = taken.iter().filter_map(|t| t.seconds[work]).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// The kind of work that is asked for, if one is.
fn one_of(asked: &[&str]) -> Option<Option<&'static str>> {
    match asked {
        [] => Some(None),
        [name] => Some(Some(WORK.into_iter().find(|work| work == name)?)),
        _ => None,
    }
}

/// One round, on a database of its own; plain where no freshness is given.
fn run(freshness: Option<Freshness>, rows: i64, only: Option<&str>) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    workload::run(&connector(freshness, &path), &path, rows, only)
}

fn connector(freshness: Option<Freshness>, path: &Path) -> Box<dyn Fn() -> Connection> {
    let Some(freshness) = freshness else {
        let path = path.to_owned();
        return Box::new(move || Connection::open(&path).unwrap());
    };
    let file = random_id(ResourceId::from_bytes);
    let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
    let key = Arc::new(Secret::<32>::random());
    let db = SealedDatabase::create(path, file, size, freshness, &slot, key).unwrap();
    Box::new(move || db.connect().unwrap())
}
