//! A page that SQLite writes costs no allocation: between its buffer and the file lies one buffer, which is kept.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::{Secret, random_id};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSealer, PageSize, SealedDatabase};
use rusqlite::{Connection, params};

const ROWS: i64 = 4000;

/// Allocations of Rust's in 200 transactions that each change rows of several pages. SQLite itself is C, and allocates
/// by other means.
fn allocations(connection: &Connection, settings: &str) -> u64 {
    let create = "CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN";
    connection
        .execute_batch(&format!("{settings}; {create}"))
        .unwrap();
    let mut insert = connection.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
    for id in 0..ROWS {
        insert.execute(params![id, [id as u8; 500]]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    let mut update = connection
        .prepare("UPDATE t SET body = ?2 WHERE id % 400 = ?1")
        .unwrap();
    let mut change = |n: i64| {
        update.execute(params![n % 400, [n as u8; 500]]).unwrap();
    };
    (0..50).for_each(&mut change);
    allocation_counter::measure(|| (0..200).for_each(&mut change)).count_total
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

/// In place, over a rollback journal: pages go straight to the main file, their old versions to the journal.
#[test]
fn a_transaction_of_a_sealed_database_costs_no_allocation_for_each_page() {
    let dir = tempfile::tempdir().unwrap();
    for (name, settings) in [
        ("journal", "PRAGMA synchronous = off"),
        ("log", "PRAGMA journal_mode = wal; PRAGMA synchronous = off"),
    ] {
        let plain = Connection::open(dir.path().join(format!("{name}-plain"))).unwrap();
        let plain = allocations(&plain, settings);
        for freshness in [Freshness::NotKept, Freshness::Kept] {
            let path = dir.path().join(format!("{name}-{freshness:?}"));
            let database = sealed(&path, freshness);
            let more = allocations(&database.connect().unwrap(), settings) - plain;
            // 2,000 pages and more are written; what opening a journal takes is a handful a transaction.
            println!("{name}, {freshness:?}: {more} in 200 transactions");
            assert!(more < 200 * 8, "{name}, {freshness:?}: {more}");
        }
    }
}
