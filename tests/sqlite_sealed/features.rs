//! What SQLite does besides tables: each feature gives on a sealed file what it gives on a plain one.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};

use atrest::resource::sql::content_hash;
use rusqlite::backup::Backup;
use rusqlite::{Connection, MAIN_DB};

use crate::fixture::{Fixture, assert_intact, create, get, open, run, set_journal};

#[test]
fn a_large_blob_written_in_pieces_reads_back_exactly() {
    for mode in ["delete", "wal"] {
        let f = Fixture::new(4096);
        let conn = f.connect();
        set_journal(&conn, mode);
        let len = 3_000_000;
        run(
            &conn,
            &format!("CREATE TABLE t (b); INSERT INTO t VALUES (zeroblob({len}))"),
        );
        let piece = |n: usize| -> Vec<u8> { (0..7919).map(|i| (i * 31 + n * 7) as u8).collect() };
        let mut expected = vec![0; len];
        let mut blob = conn.blob_open(MAIN_DB, "t", "b", 1, false).unwrap();
        for n in 0..200 {
            let at = n * 104_729 % (len - 7919);
            blob.seek(SeekFrom::Start(at as u64)).unwrap();
            blob.write_all(&piece(n)).unwrap();
            expected[at..at + 7919].copy_from_slice(&piece(n));
        }
        drop(blob);
        drop(conn);
        let conn = f.connect();
        let mut read = vec![];
        let mut blob = conn.blob_open(MAIN_DB, "t", "b", 1, true).unwrap();
        blob.read_to_end(&mut read).unwrap();
        assert!(read == expected, "{mode}");
    }
}

#[test]
fn full_text_search_finds_what_was_written() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = 'porter');
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
            INSERT INTO words SELECT 'invoice number ' || i || ' of customer ' || (i % 37) FROM n;
         DELETE FROM words WHERE rowid % 2 = 0;
         INSERT INTO words (words) VALUES ('optimize')",
    );
    drop(conn);
    let conn = f.connect();
    let found = "SELECT count(*) FROM words WHERE words MATCH 'customers AND 36'";
    let plain = Connection::open_in_memory().unwrap();
    run(
        &plain,
        "CREATE VIRTUAL TABLE words USING fts5 (body, tokenize = 'porter');
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n WHERE i < 2999)
            INSERT INTO words SELECT 'invoice number ' || i || ' of customer ' || (i % 37) FROM n",
    );
    let expected = get::<i64>(&plain, found);
    assert!(expected > 10);
    assert_eq!(get::<i64>(&conn, found), expected);
    run(
        &conn,
        "INSERT INTO words (words) VALUES ('integrity-check')",
    );
    assert_intact(&conn);
}

#[test]
fn r_tree_finds_what_was_written() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1, y0, y1);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
            INSERT INTO boxes SELECT i, i, i + 10, -i, -i + 10 FROM n;",
    );
    drop(conn);
    let conn = f.connect();
    assert_eq!(
        get::<i64>(
            &conn,
            "SELECT count(*) FROM boxes WHERE x0 <= 500 AND x1 >= 500"
        ),
        11
    );
    assert_eq!(get::<String>(&conn, "SELECT rtreecheck('boxes')"), "ok");
}

#[test]
fn sealed_and_plain_files_in_one_transaction_commit_or_roll_back_together() {
    for mode in ["delete", "truncate", "persist"] {
        let f = Fixture::new(4096);
        let other = create(&f.path("other"), 1024);
        let conn = f.connect();
        run(&conn, &format!("ATTACH '{}' AS other", other.uri()));
        fs::write(f.path("plain"), b"").unwrap();
        run(
            &conn,
            &format!(
                "ATTACH 'file:{}?vfs=unix' AS plain",
                f.path("plain").display()
            ),
        );
        for schema in ["main", "other", "plain"] {
            let set: String = get(&conn, &format!("PRAGMA {schema}.journal_mode = {mode}"));
            assert_eq!(set, mode);
            run(&conn, &format!("CREATE TABLE {schema}.t (a)"));
        }
        let all = ["main", "other", "plain"].map(|s| format!("INSERT INTO {s}.t VALUES (1);"));
        run(&conn, &format!("BEGIN; {} COMMIT", all.concat()));
        run(&conn, &format!("BEGIN; {} ROLLBACK", all.concat()));
        for schema in ["main", "other", "plain"] {
            assert_eq!(
                get::<i64>(&conn, &format!("SELECT count(*) FROM {schema}.t")),
                1
            );
        }
        drop(conn);
        let plain = fs::read(f.path("plain")).unwrap();
        assert!(plain.starts_with(b"SQLite format 3\0"));
        for sealed in ["db", "other"] {
            assert!(!fs::read(f.path(sealed)).unwrap().starts_with(b"SQLite"));
            let conn = open(&f.path(sealed)).unwrap().connect().unwrap();
            assert_eq!(get::<i64>(&conn, "SELECT count(*) FROM t"), 1);
        }
    }
}

#[test]
fn a_sort_larger_than_the_cache_comes_out_in_order() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "PRAGMA cache_size = 10; PRAGMA temp_store = FILE;
         CREATE TABLE t (a, b);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO t SELECT i * 7919 % 20011, printf('%200d', i) FROM n;",
    );
    let mut statement = conn.prepare("SELECT a, b FROM t ORDER BY a, b").unwrap();
    let rows = statement.query_map((), |r| r.get::<_, i64>(0)).unwrap();
    let sorted: Vec<i64> = rows.map(Result::unwrap).collect();
    assert!(sorted.is_sorted() && sorted.len() == 20000);
    run(
        &conn,
        "CREATE TEMP TABLE copy AS SELECT * FROM t ORDER BY b;
         CREATE INDEX temp.copy_a ON copy (a);
         CREATE INDEX t_ab ON t (a, b)",
    );
    let differing = "SELECT count(*) FROM (SELECT * FROM t EXCEPT SELECT * FROM temp.copy)";
    assert_eq!(get::<i64>(&conn, differing), 0);
    assert_eq!(
        get::<i64>(&conn, "SELECT count(DISTINCT b) FROM temp.copy"),
        20000
    );
    assert_intact(&conn);
}

#[test]
fn a_reader_keeps_its_snapshot_while_another_connection_writes() {
    let f = Fixture::new(4096);
    let (reader, writer) = (f.connect(), f.connect());
    set_journal(&writer, "wal");
    run(&writer, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    run(&reader, "BEGIN");
    assert_eq!(get::<i64>(&reader, "SELECT count(*) FROM t"), 1);
    run(
        &writer,
        "INSERT INTO t VALUES (2); INSERT INTO t SELECT randomblob(10000) FROM t",
    );
    assert_eq!(get::<i64>(&reader, "SELECT count(*) FROM t"), 1);
    run(&reader, "COMMIT");
    assert_eq!(get::<i64>(&reader, "SELECT count(*) FROM t"), 4);
    for kind in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        run(&writer, "INSERT INTO t VALUES (3)");
        assert_eq!(
            get::<i64>(&writer, &format!("PRAGMA wal_checkpoint({kind})")),
            0
        );
    }
    assert_eq!(fs::metadata(f.path("db-wal")).unwrap().len(), 0);
    assert_eq!(get::<i64>(&reader, "SELECT count(*) FROM t"), 8);
}

#[test]
fn a_writer_waits_for_no_one_and_is_told_so() {
    let f = Fixture::new(4096);
    let (first, second) = (f.connect(), f.connect());
    run(&first, "CREATE TABLE t (a)");
    second.busy_timeout(std::time::Duration::ZERO).unwrap();
    run(&first, "BEGIN IMMEDIATE");
    let e = second.execute("INSERT INTO t VALUES (1)", ()).unwrap_err();
    assert_eq!(
        e.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy)
    );
    run(&first, "COMMIT");
    run(&second, "INSERT INTO t VALUES (1)");
}

#[test]
fn exclusive_locking_and_memory_mapping_change_nothing() {
    for mode in ["delete", "wal"] {
        let f = Fixture::new(4096);
        let conn = f.connect();
        run(
            &conn,
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA mmap_size = 100000000",
        );
        set_journal(&conn, mode);
        run(
            &conn,
            "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000))",
        );
        let expected = content_hash(&conn).unwrap();
        run(&conn, "PRAGMA shrink_memory");
        assert_eq!(content_hash(&conn).unwrap(), expected);
        drop(conn);
        assert_eq!(content_hash(&f.connect()).unwrap(), expected);
    }
}

#[test]
fn a_backup_from_sealed_to_sealed_is_sealed_and_complete() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(300000)), ('row')",
    );
    let other = create(&f.path("other"), 4096);
    let mut target = other.connect().unwrap();
    Backup::new(&conn, &mut target)
        .unwrap()
        .run_to_completion(10, std::time::Duration::ZERO, None)
        .unwrap();
    drop(target);
    let copy = open(&f.path("other")).unwrap().connect().unwrap();
    assert_eq!(content_hash(&copy).unwrap(), content_hash(&conn).unwrap());
    other.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn vacuum_into_another_sealed_file_or_a_plain_one_copies_every_row() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(300000)), ('row')",
    );
    let expected = content_hash(&conn).unwrap();
    let other = create(&f.path("other"), 4096);
    conn.execute("VACUUM INTO ?1", [other.uri()]).unwrap();
    assert_eq!(content_hash(&other.connect().unwrap()).unwrap(), expected);
    let plain = format!("file:{}?vfs=unix&reserve=0", f.path("plain").display());
    conn.execute("VACUUM INTO ?1", [plain]).unwrap();
    let plain = Connection::open(f.path("plain")).unwrap();
    assert_eq!(content_hash(&plain).unwrap(), expected);
    assert_eq!(get::<i64>(&plain, "PRAGMA page_size"), 4096);
}

#[test]
fn a_page_size_that_is_not_the_files_is_never_written() {
    let f = Fixture::new(4096);
    let conn = f.connect();
    run(
        &conn,
        "PRAGMA page_size = 8192; CREATE TABLE t (a); INSERT INTO t VALUES ('row')",
    );
    assert_eq!(get::<i64>(&conn, "PRAGMA page_size"), 4096);
    let expected = content_hash(&conn).unwrap();
    run(&conn, "PRAGMA page_size = 1024");
    conn.execute_batch("VACUUM").unwrap_err();
    assert_eq!(content_hash(&conn).unwrap(), expected);
    drop(conn);
    let conn = open(&f.path("db")).unwrap().connect().unwrap();
    assert_eq!(content_hash(&conn).unwrap(), expected);
    assert_eq!(get::<i64>(&conn, "PRAGMA page_size"), 4096);
    // A plain copy of other pages and without room for trailers does not get in either.
    let plain = Connection::open_in_memory().unwrap();
    run(&plain, "PRAGMA page_size = 8192; CREATE TABLE other (a)");
    let mut target = create(&f.path("other"), 4096).connect().unwrap();
    let backup = Backup::new(&plain, &mut target).unwrap();
    assert!(
        backup
            .run_to_completion(10, std::time::Duration::ZERO, None)
            .is_err()
    );
}
