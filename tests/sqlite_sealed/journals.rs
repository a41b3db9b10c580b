//! Every journal mode, synchronous level and page size, with rollback, savepoints and VACUUM.

use atrest::resource::sql::content_hash;

use crate::fixture::{
    Fixture, assert_intact, connect_empty, expected, get, open, run, set_journal,
};

const MODES: [&str; 6] = ["delete", "truncate", "persist", "memory", "off", "wal"];

/// Grows over many pages, shrinks, changes rows in place; with indexes and overflow pages.
const LOAD: &str = "
    CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, body BLOB);
    CREATE INDEX t_name ON t (name);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO t SELECT i, 'name ' || i, CAST(printf('%*d', i * 17 % 3000, i) AS BLOB) FROM n;
    DELETE FROM t WHERE id % 3 = 0;
    UPDATE t SET name = name || ' changed' WHERE id % 5 = 0;
    BEGIN;
    INSERT INTO t (name) VALUES ('within a transaction');
    DELETE FROM t WHERE id < 20;
    COMMIT;
";

/// Must leave nothing behind.
const UNDONE: &str = "
    BEGIN;
    UPDATE t SET body = zeroblob(5000);
    DELETE FROM t WHERE id > 100;
    CREATE TABLE gone (a);
    ROLLBACK;
";

/// The inner savepoint is undone, the outer one stays.
const SAVEPOINTS: &str = "
    SAVEPOINT outer;
    INSERT INTO t (name) VALUES ('kept');
    SAVEPOINT inner;
    DELETE FROM t;
    CREATE TABLE gone (a);
    ROLLBACK TO inner;
    INSERT INTO t (name) VALUES ('kept too');
    RELEASE outer;
";

#[test]
fn no_journal_mode_or_page_size_loses_or_changes_a_row() {
    let rolled_back = expected(&format!("{LOAD}{SAVEPOINTS}"));
    let without = expected(LOAD);
    for page_size in [512, 1024, 4096, 16384, 65536] {
        for mode in MODES {
            let f = Fixture::new(page_size);
            let conn = f.connect();
            set_journal(&conn, mode);
            // A small cache makes SQLite spill pages into the file before the commit.
            run(&conn, "PRAGMA cache_size = 5; PRAGMA synchronous = OFF");
            assert_eq!(get::<u32>(&conn, "PRAGMA page_size"), page_size);
            run(&conn, LOAD);
            let expected = match mode {
                "off" => &without,
                _ => {
                    run(&conn, UNDONE);
                    run(&conn, SAVEPOINTS);
                    &rolled_back
                }
            };
            assert_eq!(
                content_hash(&conn).unwrap(),
                *expected,
                "{mode} {page_size}"
            );
            assert_intact(&conn);
            drop(conn);
            let conn = f.connect();
            assert_eq!(
                content_hash(&conn).unwrap(),
                *expected,
                "{mode} {page_size}"
            );
            f.db.verify(&mut |_, _| ()).unwrap();
        }
    }
}

#[test]
fn every_synchronous_level_keeps_every_row() {
    let expected = expected(&format!("{LOAD}{SAVEPOINTS}"));
    for mode in ["delete", "truncate", "persist", "wal"] {
        for synchronous in ["OFF", "NORMAL", "FULL", "EXTRA"] {
            let f = Fixture::new(1024);
            let conn = f.connect();
            set_journal(&conn, mode);
            run(&conn, &format!("PRAGMA synchronous = {synchronous}"));
            run(&conn, LOAD);
            run(&conn, UNDONE);
            run(&conn, SAVEPOINTS);
            drop(conn);
            let conn = open(&f.path("db")).unwrap().connect().unwrap();
            assert_eq!(
                content_hash(&conn).unwrap(),
                expected,
                "{mode} {synchronous}"
            );
        }
    }
}

#[test]
fn a_change_of_journal_mode_on_a_full_database_keeps_every_row() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(&conn, LOAD);
    let expected = content_hash(&conn).unwrap();
    for mode in MODES
        .iter()
        .chain(MODES.iter().rev())
        .chain(&["wal", "truncate", "wal", "off"])
    {
        set_journal(&conn, mode);
        run(
            &conn,
            "UPDATE t SET name = name; CREATE TABLE x (a); DROP TABLE x",
        );
        assert_eq!(content_hash(&conn).unwrap(), expected, "{mode}");
        f.db.verify(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn a_statement_that_fails_halfway_undoes_only_itself() {
    for mode in ["delete", "wal", "memory"] {
        let f = Fixture::new(512);
        let conn = f.connect();
        set_journal(&conn, mode);
        run(&conn, "PRAGMA cache_size = 5");
        run(&conn, LOAD);
        run(
            &conn,
            "CREATE UNIQUE INDEX u ON t (id % 1000); BEGIN; INSERT INTO t (name) VALUES ('mine')",
        );
        let before = content_hash(&conn).unwrap();
        // Row by row until two collide: undone through a statement journal.
        conn.execute_batch(
            "UPDATE t SET id = id + 1000 * (id % 2), body = zeroblob(900), id = id % 190 + 1",
        )
        .unwrap_err();
        assert_eq!(content_hash(&conn).unwrap(), before, "{mode}");
        run(&conn, "COMMIT");
        assert_eq!(content_hash(&conn).unwrap(), before, "{mode}");
        assert_intact(&conn);
    }
}

#[test]
fn vacuum_gives_back_space_and_loses_nothing() {
    for mode in ["delete", "truncate", "persist", "memory", "wal"] {
        let f = Fixture::new(4096);
        let conn = f.connect();
        set_journal(&conn, mode);
        run(&conn, LOAD);
        run(
            &conn,
            "CREATE TABLE filler (a); INSERT INTO filler VALUES (zeroblob(1000000)); DROP TABLE filler",
        );
        let expected = content_hash(&conn).unwrap();
        let before = get::<i64>(&conn, "PRAGMA page_count");
        run(&conn, "VACUUM");
        assert!(get::<i64>(&conn, "PRAGMA page_count") + 200 < before);
        assert_eq!(content_hash(&conn).unwrap(), expected, "{mode}");
        assert_intact(&conn);
        f.db.verify(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn auto_vacuum_moves_pages_and_loses_nothing() {
    for (number, statement) in [(1, "SELECT 1"), (2, "PRAGMA incremental_vacuum")] {
        for mode in ["delete", "wal"] {
            let f = Fixture::new(1024);
            let conn = connect_empty(&f.db, number);
            set_journal(&conn, mode);
            run(&conn, LOAD);
            run(
                &conn,
                "CREATE TABLE filler (a); INSERT INTO filler VALUES (zeroblob(300000))",
            );
            run(
                &conn,
                "INSERT INTO t (name, body) VALUES ('last', zeroblob(20000))",
            );
            let before = get::<i64>(&conn, "PRAGMA page_count");
            run(&conn, "DROP TABLE filler");
            // Frees one page with each step.
            let mut freed = conn.prepare(statement).unwrap();
            let mut rows = freed.query(()).unwrap();
            while rows.next().unwrap().is_some() {}
            drop(rows);
            drop(freed);
            let expected = content_hash(&conn).unwrap();
            assert_eq!(get::<u32>(&conn, "PRAGMA auto_vacuum"), number);
            assert!(get::<i64>(&conn, "PRAGMA page_count") + 200 < before);
            assert_intact(&conn);
            f.db.verify(&mut |_, _| ()).unwrap();
            drop(conn);
            let conn = f.connect();
            assert_eq!(content_hash(&conn).unwrap(), expected);
        }
    }
}
