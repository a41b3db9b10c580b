//! A page that SQLite writes costs no allocation: between its buffer and the file lies one buffer, which is kept.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::{Secret, random_id};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSealer, PageSize, SealedDatabase};
use rusqlite::{Connection, params};

const ROWS: i64 = 4000;

/// Allocations of Rust's in 200 transactions, each of which changes this many rows, of as many pages. SQLite itself is C, and
/// allocates by other means.
fn allocations(connection: &Connection, rows_at_once: i64) -> u64 {
    let every = ROWS / rows_at_once;
    let mut update = connection
        .prepare("UPDATE t SET body = ?3 WHERE id % ?2 = ?1")
        .unwrap();
    let mut change = |n: i64| {
        let row = params![n % every, every, [n as u8; 500]];
        assert_eq!(update.execute(row).unwrap(), rows_at_once as usize);
    };
    (0..50).for_each(&mut change);
    allocation_counter::measure(|| (0..200).for_each(&mut change)).count_total
}

fn fill(connection: &Connection, settings: &str) {
    let create = "CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN";
    let create = format!("{settings}; {create}");
    connection.execute_batch(&create).unwrap();
    let mut insert = connection.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
    for id in 0..ROWS {
        insert.execute(params![id, [id as u8; 500]]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn sealed(path: &Path, freshness: Freshness) -> SealedDatabase {
    let (file, key) = (
        random_id(ResourceId::from_bytes),
        Arc::new(Secret::random()),
    );
    let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
    SealedDatabase::create(path, file, size, freshness, &slot, key).unwrap()
}

#[test]
fn a_page_that_is_sealed_or_opened_costs_no_allocation() {
    let key = Arc::new(Secret::<32>::random());
    let mut sealer = PageSealer::new(random_id(ResourceId::from_bytes), PageSize::DEFAULT, key);
    let (mut plain, mut sealed) = (vec![7; 4064], vec![0; 4096]);
    sealer.seal(1, &plain, &mut sealed).unwrap();
    let info = allocation_counter::measure(|| {
        for number in 1..1000 {
            sealer.seal(number, &plain, &mut sealed).unwrap();
            assert!(sealer.open(number, &sealed, &mut plain).unwrap());
        }
    });
    assert_eq!(info.count_total, 0);
    // A control: what allocates is counted.
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0; 4096])));
    assert_eq!(counted.count_total, 1);
}

/// What a transaction costs by itself, such as opening its journal, it costs for ten pages and for forty. Checkpoints come
/// four times as often with forty.
#[test]
fn a_transaction_of_a_sealed_database_costs_no_allocation_for_each_page() {
    let dir = tempfile::tempdir().unwrap();
    for (name, settings) in [
        ("journal", "PRAGMA synchronous = off"),
        ("log", "PRAGMA journal_mode = wal; PRAGMA synchronous = off"),
    ] {
        for freshness in [Freshness::NotKept, Freshness::Kept] {
            let path = dir.path().join(format!("{name}-{freshness:?}"));
            let connection = sealed(&path, freshness).connect().unwrap();
            fill(&connection, settings);
            let (few, many) = (allocations(&connection, 10), allocations(&connection, 40));
            println!("{name}, {freshness:?}: {few} for 10 pages each, {many} for 40");
            assert_eq!(few, many, "{name}, {freshness:?}");
        }
    }
}
