//! Power cuts: files copied at a bad moment, and logs and journals torn at every length, open with
//! a state that was committed.

use std::fs;

use atrest::resource::sql::{Content, content_hash};

use crate::fixture::{Files, Fixture, assert_intact, get, open, run, set_journal};

const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, b BLOB);
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        INSERT INTO t SELECT i, 0, zeroblob(300) FROM n";

/// Changes every page, so that a small cache spills pages into the file before the commit.
const CHANGE: &str = "UPDATE t SET v = v + 1, b = randomblob(300)";

#[test]
fn a_crash_within_a_transaction_leaves_the_last_commit() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        for synchronous in ["NORMAL", "FULL"] {
            let f = Fixture::new(1024);
            let conn = f.connect();
            set_journal(&conn, mode);
            run(
                &conn,
                &format!("PRAGMA synchronous = {synchronous}; PRAGMA cache_size = 5"),
            );
            run(&conn, TABLE);
            for round in 0..5 {
                let committed = content_hash(&conn).unwrap();
                run(&conn, "BEGIN");
                assert!(Files::copy(&f.path("db")).read().unwrap() == committed);
                run(&conn, CHANGE);
                let before_spill = Files::copy(&f.path("db"));
                assert!(before_spill.read().unwrap() == committed, "{mode} {round}");
                conn.cache_flush().unwrap();
                let files = Files::copy(&f.path("db"));
                let (_dir, path) = files.place();
                let copy = open(&path).unwrap().connect().unwrap();
                assert!(content_hash(&copy).unwrap() == committed, "{mode} {round}");
                assert_intact(&copy);
                // The copy goes on by itself.
                run(&copy, CHANGE);
                assert_intact(&copy);
                run(&conn, if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" });
            }
            let committed = content_hash(&conn).unwrap();
            assert!(
                Files::copy(&f.path("db")).read().unwrap() == committed,
                "{mode}"
            );
            assert_eq!(get::<i64>(&conn, "SELECT min(v) FROM t"), 3);
        }
    }
}

#[test]
fn a_log_torn_at_any_byte_opens_with_a_state_that_was_committed() {
    let f = Fixture::new(512);
    let conn = f.connect();
    run(&conn, "CREATE TABLE t (a); INSERT INTO t VALUES ('zero')");
    set_journal(&conn, "wal");
    run(&conn, "PRAGMA wal_autocheckpoint = 0");
    let mut states: Vec<(usize, Content)> = vec![(0, content_hash(&conn).unwrap())];
    for text in ["one", "two", "three"] {
        run(&conn, &format!("INSERT INTO t VALUES ('{text}'); "));
        let len = fs::metadata(f.path("db-wal")).unwrap().len();
        states.push((len as usize, content_hash(&conn).unwrap()));
    }
    run(
        &conn,
        "BEGIN; UPDATE t SET a = zeroblob(1000) WHERE a = 'two'",
    );
    conn.cache_flush().unwrap();
    let files = Files::copy(&f.path("db"));
    let wal = files.wal.clone().unwrap();
    assert!(wal.len() > states[3].0);
    for len in 0..=wal.len() {
        let torn = Files {
            wal: Some(wal[..len].to_vec()),
            ..files.clone()
        };
        let committed = states.iter().rfind(|(end, _)| *end <= len).unwrap();
        assert!(torn.read().unwrap() == committed.1, "{len}");
    }
    // What the disk may hold behind the tear is no better: zeros, or an older log.
    for len in (0..wal.len()).step_by(7) {
        for filler in [0, 0xa5] {
            let mut bytes = wal.clone();
            bytes[len..].fill(filler);
            let torn = Files {
                wal: Some(bytes),
                ..files.clone()
            };
            let committed = states.iter().rfind(|(end, _)| *end <= len).unwrap();
            assert!(torn.read().unwrap() == committed.1, "{len} {filler}");
        }
    }
}

#[test]
fn a_journal_torn_at_any_byte_opens_with_the_state_before_the_transaction() {
    for page_size in [512] {
        let f = Fixture::new(page_size);
        let conn = f.connect();
        run(
            &conn,
            "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(1500)), ('row')",
        );
        let (committed, main) = (content_hash(&conn).unwrap(), f.bytes());
        run(
            &conn,
            "BEGIN; UPDATE t SET a = randomblob(1500); INSERT INTO t VALUES ('more')",
        );
        conn.cache_flush().unwrap();
        let after = Files::copy(&f.path("db"));
        let journal = after.journal.clone().unwrap();
        assert!(after.main != main && journal.len() > 2000);
        // All of the journal, and the main file with new pages: they are rolled back.
        assert!(after.read().unwrap() == committed);
        // A part of the journal: then no page of the main file had been written yet.
        for len in 0..=journal.len() {
            let journal = Some(journal[..len].to_vec());
            let torn = Files {
                main: main.clone(),
                journal,
                wal: None,
            };
            assert!(torn.read().unwrap() == committed, "{len}");
        }
    }
}

/// A page that was half written when the power went is mended from the journal.
#[test]
fn a_torn_page_is_mended_by_the_journal_and_refused_without_it() {
    let f = Fixture::new(1024);
    let conn = f.connect();
    run(&conn, TABLE);
    let committed = content_hash(&conn).unwrap();
    let old = f.bytes();
    run(&conn, &format!("BEGIN; {CHANGE}; CREATE TABLE new (a)"));
    conn.cache_flush().unwrap();
    let after = Files::copy(&f.path("db"));
    let changed = |start: &usize| after.main[*start..start + 1024] != old[*start..start + 1024];
    let pages: Vec<usize> = (4096..old.len()).step_by(1024).filter(changed).collect();
    assert!(pages.len() > 20);
    // SQLite writes page 1 last; a tear there is a flipped bit.
    for start in [4096].into_iter().chain(pages.into_iter().step_by(7)) {
        let mut torn = after.clone();
        torn.main[start..start + 512].copy_from_slice(&old[start..start + 512]);
        assert!(torn.read().unwrap() == committed, "{start}");
        torn.main[start + 100] ^= 1;
        assert!(torn.read().unwrap() == committed, "{start}");
        torn.journal = None;
        assert!(torn.read().is_err(), "{start}");
    }
}

#[test]
fn two_copies_of_one_crash_that_both_go_on_never_repeat_a_nonce() {
    let f = Fixture::new(1024);
    let conn = f.connect();
    set_journal(&conn, "wal");
    run(&conn, TABLE);
    let files = Files::copy(&f.path("db"));
    // Nonce and session salt of each page, with the page: the same page may be met in two copies.
    let mut pages = std::collections::BTreeMap::new();
    for _ in 0..3 {
        let (_dir, path) = files.place();
        let db = open(&path).unwrap();
        let copy = db.connect().unwrap();
        run(&copy, CHANGE);
        run(&copy, "PRAGMA wal_checkpoint(TRUNCATE)");
        let main = fs::read(&path).unwrap();
        for page in main[4096..].chunks(1024) {
            let nonce = page[1024 - 32..1024 - 16].to_vec();
            let known = pages.entry(nonce).or_insert(page.to_vec());
            assert!(known == page);
        }
    }
    assert!(pages.len() > 90, "{}", pages.len());
}
