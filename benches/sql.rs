//! SQL on sealed files beside plain SQLite, interleaved in one process: seconds, and the ratio.
//!
//! `cargo bench --bench sql` measures both AEAD backends, each in a process of its own, since a
//! process has one. `cargo bench --bench sql -- aws-lc-rs 200000 3` measures one, with so many rows
//! and rounds. The files are in the system's directory for temporary files (`TMPDIR`).
#![allow(clippy::unwrap_used)]

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use atrest::base::ResourceId;
use atrest::crypto::{Backend, Secret, random_id, select_backend};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase};
use rusqlite::{Connection, params};

const ROWS: i64 = 1_000_000;
const ROUNDS: usize = 5;
const TRANSACTIONS: i64 = 20_000;
const READS: i64 = 200_000;

/// What is measured, and the most that its ratio may be.
const WORK: [(&str, Option<f64>); 4] = [
    ("bulk insert", Some(1.25)),
    ("five full scans", Some(1.25)),
    ("small transactions (WAL)", None),
    ("random point reads, 2 MiB cache", None),
];

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    match args.first().map(|name| name.parse::<Backend>()) {
        Some(Ok(backend)) => {
            let number = |n: usize| args.get(n).and_then(|a| a.parse::<i64>().ok());
            let rounds = number(2).and_then(|n| usize::try_from(n).ok());
            measure(backend, number(1).unwrap_or(ROWS), rounds.unwrap_or(ROUNDS));
        }
        Some(Err(_)) => {
            eprintln!("expected: [BACKEND [ROWS [ROUNDS]]]");
            std::process::exit(2);
        }
        None => {
            for backend in Backend::ALL {
                let this = env::current_exe().unwrap();
                let status = Command::new(this)
                    .arg(backend.to_string())
                    .status()
                    .unwrap();
                assert!(status.success());
            }
        }
    }
}

fn measure(backend: Backend, rows: i64, rounds: usize) {
    select_backend(backend);
    println!("{backend}, {rows} rows of 100 bytes, {rounds} rounds: medians");
    println!(
        "{:34} {:>9} {:>9} {:>6}",
        "", "plain s", "sealed s", "ratio"
    );
    let mut taken = vec![[const { Vec::new() }; 2]; WORK.len()];
    for round in 0..rounds {
        for turn in 0..2 {
            // Each goes first as often as the other.
            let sealed = (round + turn) % 2;
            for (work, seconds) in run(sealed == 1, rows).into_iter().enumerate() {
                taken[work][sealed].push(seconds);
            }
        }
    }
    for ((name, bar), taken) in WORK.iter().zip(taken) {
        let [plain, sealed] = taken.map(median);
        let bar = bar.map_or(String::new(), |bar| format!("   at most {bar}"));
        let ratio = sealed / plain;
        println!("{name:34} {plain:9.3} {sealed:9.3} {ratio:6.2}{bar}");
    }
    println!();
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds of each kind of work, on a database of its own.
fn run(sealed: bool, rows: i64) -> [f64; WORK.len()] {
    let dir = tempfile::tempdir().unwrap();
    let connect = connector(sealed, &dir.path().join("db"));
    let conn = connect();
    let bulk = timed(|| {
        conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN")
            .unwrap();
        let mut insert = conn.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
        let mut body = [0u8; 100];
        for id in 0..rows {
            body[..8].copy_from_slice(
                &id.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64)
                    .to_le_bytes(),
            );
            insert.execute(params![id, &body[..]]).unwrap();
        }
        conn.execute_batch("COMMIT").unwrap();
    });
    drop(conn);
    let conn = connect();
    let scan = timed(|| {
        for _ in 0..5 {
            let sum: i64 = conn
                .query_row("SELECT sum(length(body)) FROM t", (), |row| row.get(0))
                .unwrap();
            assert_eq!(sum, rows * 100);
        }
    });
    conn.pragma_update(None, "cache_size", -2048).unwrap();
    let reads = timed(|| {
        let mut read = conn.prepare("SELECT body FROM t WHERE id = ?1").unwrap();
        let mut id = 1i64;
        for _ in 0..READS {
            // A full-period generator (Knuth, MMIX): the same places for both.
            id = id
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let row: Vec<u8> = read
                .query_row([(id >> 1).rem_euclid(rows)], |row| row.get(0))
                .unwrap();
            assert_eq!(row.len(), 100);
        }
    });
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    conn.pragma_update(None, "synchronous", "normal").unwrap();
    let small = timed(|| {
        let mut update = conn
            .prepare("UPDATE t SET body = ?2 WHERE id = ?1")
            .unwrap();
        for n in 0..TRANSACTIONS {
            update
                .execute(params![n * 48_611 % rows, [n as u8; 100]])
                .unwrap();
        }
    });
    [bulk, scan, small, reads]
}

fn connector(sealed: bool, path: &Path) -> Box<dyn Fn() -> Connection> {
    if !sealed {
        let path = path.to_owned();
        return Box::new(move || Connection::open(&path).unwrap());
    }
    let file = random_id(ResourceId::from_bytes);
    let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
    let key = Arc::new(Secret::<32>::random());
    let db = SealedDatabase::create(path, file, size, Freshness::Kept, &slot, key).unwrap();
    Box::new(move || db.connect().unwrap())
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}
