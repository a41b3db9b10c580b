//! A key that may not be used any more: open connections stop at the next statement, with the
//! reason, and go on when it may be used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use atrest::crypto::Secret;
use atrest::sqlite::{Freshness, KeySource, KeyUnavailable, PageSize, SealedDatabase, SealedError};
use rusqlite::Connection;

use crate::fixture::{FILE, SLOT, get, run, scratch, set_journal};

struct Switch {
    key: Secret<32>,
    allowed: AtomicBool,
    generation: AtomicU64,
}

impl Switch {
    fn set(&self, allowed: bool) {
        self.allowed.store(allowed, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
    }
}

impl KeySource for Switch {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        match self.allowed.load(Ordering::Acquire) {
            true => Ok(self.generation.load(Ordering::Acquire)),
            false => Err(KeyUnavailable("disabled by its owner".to_owned())),
        }
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        self.check().map(|_| use_key(&self.key))
    }
}

fn refused<T: std::fmt::Debug>(db: &SealedDatabase, result: rusqlite::Result<T>) {
    match db.explain(result.unwrap_err()) {
        SealedError::KeyUnavailable { why, .. } => assert_eq!(why, "disabled by its owner"),
        other => panic!("{other}"),
    }
}

fn count(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("SELECT count(*) FROM t", (), |row| row.get(0))
}

#[test]
fn a_revoked_key_stops_open_connections_and_heals() {
    for mode in ["delete", "truncate", "persist", "memory", "wal"] {
        let dir = scratch();
        let key = Arc::new(Switch {
            key: Secret::random(),
            allowed: AtomicBool::new(true),
            generation: AtomicU64::new(0),
        });
        let path = dir.path().join("db");
        let page_size = PageSize::DEFAULT;
        let db =
            SealedDatabase::create(&path, FILE, page_size, Freshness::Kept, &SLOT, key.clone())
                .unwrap();
        let conn = db.connect().unwrap();
        set_journal(&conn, mode);
        run(&conn, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
        // The page is in SQLite's cache now: it must not answer from there.
        assert_eq!(count(&conn).unwrap(), 1);
        key.set(false);
        refused(&db, count(&conn));
        refused(&db, conn.execute("INSERT INTO t VALUES (2)", ()));
        assert!(matches!(
            db.connect().err(),
            Some(SealedError::KeyUnavailable { .. })
        ));
        assert!(matches!(
            db.verify(&mut |_, _| ()),
            Err(SealedError::KeyUnavailable { .. })
        ));
        let opened = SealedDatabase::open(&path, FILE, key.clone());
        assert!(matches!(
            opened.err(),
            Some(SealedError::KeyUnavailable { .. })
        ));
        key.set(true);
        assert_eq!(count(&conn).unwrap(), 1);
        run(&conn, "INSERT INTO t VALUES (2)");
        // In the middle of a transaction: nothing of it is kept.
        run(&conn, "BEGIN; INSERT INTO t VALUES (3)");
        key.set(false);
        refused(
            &db,
            conn.execute_batch("INSERT INTO t VALUES (zeroblob(100000)); COMMIT"),
        );
        key.set(true);
        let _ = conn.execute_batch("ROLLBACK");
        assert_eq!(count(&conn).unwrap(), 2, "{mode}");
        drop(conn);
        let db = SealedDatabase::open(&path, FILE, key).unwrap();
        let conn = db.connect().unwrap();
        assert_eq!(get::<i64>(&conn, "SELECT sum(a) FROM t"), 3);
        assert_eq!(get::<String>(&conn, "PRAGMA integrity_check"), "ok");
    }
}

/// A key that is refused once it was asked for so many times.
struct Countdown {
    key: Secret<32>,
    left: AtomicU64,
    generation: AtomicU64,
}

impl KeySource for Countdown {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        let took = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        match took {
            Ok(_) => Ok(self.generation.load(Ordering::Acquire)),
            Err(_) => Err(KeyUnavailable("disabled by its owner".to_owned())),
        }
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        use_key(&self.key);
        Ok(())
    }
}

/// At each moment of a transaction over two databases, the commit included.
#[test]
fn a_key_revoked_within_a_commit_leaves_all_of_it_or_nothing() {
    for mode in ["delete", "truncate", "persist"] {
        let mut committed = false;
        for n in 0.. {
            let dir = scratch();
            let key = Arc::new(Countdown {
                key: Secret::random(),
                left: AtomicU64::new(u64::MAX),
                generation: AtomicU64::new(0),
            });
            let make = |name: &str| {
                let (path, size) = (dir.path().join(name), PageSize::new(1024).unwrap());
                SealedDatabase::create(&path, FILE, size, Freshness::Kept, &SLOT, key.clone())
                    .unwrap()
            };
            let (a, b) = (make("a"), make("b"));
            let conn = a.connect().unwrap();
            conn.execute("ATTACH ?1 AS b", [b.uri()]).unwrap();
            for schema in ["main", "b"] {
                set_journal(&conn, mode);
                let _: String = get(&conn, &format!("PRAGMA {schema}.journal_mode = {mode}"));
                run(
                    &conn,
                    &format!(
                        "CREATE TABLE {schema}.t (a, b); INSERT INTO {schema}.t VALUES (0, 0)"
                    ),
                );
            }
            key.left.store(n, Ordering::Release);
            let done =
                conn.execute_batch("BEGIN; UPDATE main.t SET a = 1; UPDATE b.t SET a = 1; COMMIT");
            key.generation.fetch_add(1, Ordering::Release);
            key.left.store(u64::MAX, Ordering::Release);
            drop(conn);
            let [x, y] = [&a, &b].map(|db| {
                let conn = db.connect().unwrap();
                get::<i64>(&conn, "SELECT a FROM t")
            });
            assert_eq!(x, y, "{mode}, refused at the {n}th look: {done:?}");
            assert!(done.is_err() || x == 1, "{mode} {n}");
            for db in [&a, &b] {
                db.verify(&mut |_, _| ()).unwrap();
            }
            if done.is_ok() {
                committed = true;
                break;
            }
        }
        assert!(committed);
    }
}
