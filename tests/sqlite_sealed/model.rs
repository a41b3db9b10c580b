//! Random work on a sealed database and on a plain one at the same time: every answer, every error
//! and every state after a crash must be the same.

use std::fs;
use std::path::{Path, PathBuf};

use atrest::resource::sql::content_hash;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::fixture::{Scratch, connect_empty, create, open, run, scratch};

#[derive(Clone, Debug)]
enum Step {
    Sql(String),
    Checkpoint(&'static str),
    Journal(&'static str),
    Reopen,
    /// The files as they are now, without shared memory, opened elsewhere.
    Crash,
    /// A second connection reads.
    Look,
}

fn sql() -> impl Strategy<Value = String> {
    let id = 0..400u32;
    let len = prop_oneof![0..60u32, 400..3000u32];
    prop_oneof![
        6 => (id.clone(), 1..40u32, len.clone()).prop_map(|(id, n, len)| format!(
            "INSERT OR REPLACE INTO t SELECT value, value % 7, printf('%{len}d', value * {len})
             FROM generate WHERE value >= {id} LIMIT {n}"
        )),
        4 => (id.clone(), 1..60u32, len).prop_map(|(id, n, len)| format!(
            "UPDATE t SET v = v + 1, b = printf('%{len}d', id) WHERE id BETWEEN {id} AND {id} + {n}"
        )),
        3 => (id.clone(), 1..100u32)
            .prop_map(|(id, n)| format!("DELETE FROM t WHERE id BETWEEN {id} AND {id} + {n}")),
        1 => id.prop_map(|id| format!("INSERT INTO t VALUES ({id}, 0, 'may be there already')")),
        1 => Just("UPDATE t SET id = id % 300".to_owned()),
        1 => Just("INSERT INTO u SELECT b FROM t".to_owned()),
        1 => Just("DELETE FROM u".to_owned()),
        1 => Just("CREATE INDEX IF NOT EXISTS i ON t (v, b)".to_owned()),
        1 => Just("DROP INDEX IF EXISTS i".to_owned()),
        1 => Just("CREATE TABLE IF NOT EXISTS extra (a); INSERT INTO extra VALUES (1)".to_owned()),
        1 => Just("DROP TABLE IF EXISTS extra".to_owned()),
        2 => Just("BEGIN".to_owned()),
        2 => Just("COMMIT".to_owned()),
        1 => Just("ROLLBACK".to_owned()),
        2 => Just("SAVEPOINT s".to_owned()),
        1 => Just("ROLLBACK TO s".to_owned()),
        1 => Just("RELEASE s".to_owned()),
        1 => Just("VACUUM".to_owned()),
        1 => Just("PRAGMA incremental_vacuum(5)".to_owned()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let checkpoints = prop::sample::select(vec!["PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
    let modes = prop::sample::select(vec!["delete", "truncate", "persist", "wal", "wal", "wal"]);
    prop_oneof![
        12 => sql().prop_map(Step::Sql),
        1 => checkpoints.prop_map(Step::Checkpoint),
        1 => modes.prop_map(Step::Journal),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
        1 => Just(Step::Look),
    ]
}

struct Pair {
    dir: Scratch,
    sealed: Option<Connection>,
    plain: Option<Connection>,
}

impl Pair {
    fn new(page_size: u32, auto_vacuum: u32) -> Self {
        let dir = scratch();
        let db = create(&dir.path().join("sealed"), page_size);
        let plain = connect_plain(&dir.path().join("plain"));
        run(
            &plain,
            &format!("PRAGMA page_size = {page_size}; PRAGMA auto_vacuum = {auto_vacuum}"),
        );
        let pair = Self {
            dir,
            sealed: Some(configured(connect_empty(&db, auto_vacuum))),
            plain: Some(plain),
        };
        pair.both(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, b TEXT); CREATE TABLE u (b);
             CREATE TABLE generate (value INTEGER PRIMARY KEY);
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                INSERT INTO generate SELECT i FROM n",
        );
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn connect(&mut self) {
        (self.sealed, self.plain) = (None, None);
        self.sealed = Some(connect_sealed(&self.path("sealed")));
        self.plain = Some(connect_plain(&self.path("plain")));
    }

    /// Runs on both; the results must be alike.
    fn both(&self, sql: &str) {
        let [sealed, plain] = [&self.sealed, &self.plain].map(|conn| {
            let conn = conn.as_ref().unwrap();
            conn.execute_batch(sql).map_err(|e| e.to_string())
        });
        assert_eq!(sealed, plain, "{sql}");
    }

    fn compare(&self) {
        let [sealed, plain] =
            [&self.sealed, &self.plain].map(|conn| content_hash(conn.as_ref().unwrap()).unwrap());
        assert!(sealed == plain, "{sealed:?}\n{plain:?}");
    }

    fn crash(&self) {
        let copy = scratch();
        for name in ["sealed", "plain"] {
            for suffix in ["", "-journal", "-wal"] {
                let name = format!("{name}{suffix}");
                if self.path(&name).exists() {
                    fs::copy(self.path(&name), copy.path().join(&name)).unwrap();
                }
            }
        }
        let sealed = open(&copy.path().join("sealed")).unwrap();
        let conn = configured(sealed.connect().unwrap());
        // Before anything is read, and after a recovery: no alarm is false.
        sealed.verify(&mut |_, _| ()).unwrap();
        let content = content_hash(&conn).unwrap();
        run(
            &conn,
            "PRAGMA wal_checkpoint; CREATE TABLE after_the_crash (a)",
        );
        sealed.verify(&mut |_, _| ()).unwrap();
        let sealed = content;
        let plain = content_hash(&connect_plain(&copy.path().join("plain"))).unwrap();
        assert!(sealed == plain, "{sealed:?}\n{plain:?}");
    }

    fn look(&self) {
        let db = open(&self.path("sealed")).unwrap();
        let sealed = db.connect().unwrap();
        let plain = Connection::open(self.path("plain")).unwrap();
        let [sealed, plain] = [sealed, plain].map(|conn| {
            conn.busy_timeout(std::time::Duration::ZERO).unwrap();
            content_hash(&conn).map_err(|e| e.to_string())
        });
        assert!(sealed == plain, "{sealed:?}\n{plain:?}");
        if sealed.is_ok() {
            db.verify(&mut |_, _| ()).unwrap();
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Sql(sql) => self.both(sql),
            Step::Checkpoint(kind) => self.both(&format!("PRAGMA wal_checkpoint({kind})")),
            Step::Journal(mode) => self.both(&format!("PRAGMA journal_mode = {mode}")),
            Step::Reopen => self.connect(),
            Step::Crash => self.crash(),
            Step::Look => self.look(),
        }
    }
}

fn connect_sealed(path: &Path) -> Connection {
    configured(open(path).unwrap().connect().unwrap())
}

fn connect_plain(path: &Path) -> Connection {
    configured(Connection::open(path).unwrap())
}

/// A cache so small that pages spill into the files all the time.
fn configured(conn: Connection) -> Connection {
    run(
        &conn,
        "PRAGMA cache_size = 4; PRAGMA wal_autocheckpoint = 20; PRAGMA temp_store = FILE",
    );
    conn
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn random_work_comes_out_as_on_plain_sqlite(
        page_size in prop::sample::select(vec![512, 1024, 4096, 32768]),
        auto_vacuum in 0..3u32,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(page_size, auto_vacuum);
        for step in &steps {
            pair.take(step);
            pair.compare();
        }
        pair.connect();
        pair.compare();
        pair.both("PRAGMA integrity_check");
        let db = open(&pair.path("sealed")).unwrap();
        db.verify(&mut |_, _| ()).unwrap();
        let ok: String = db.connect().unwrap()
            .query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
        prop_assert_eq!(ok, "ok");
    }
}
