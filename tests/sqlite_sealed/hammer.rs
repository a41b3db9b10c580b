//! Processes that write, read and checkpoint one log at random, while some are killed and others
//! take their place. Nothing here waits for time: a process is killed after so many commits.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;

use crate::fixture::{Fixture, assert_intact, get, open, run, set_journal};
use crate::processes::{database, start};

const WRITER: &str = "ATREST_TEST_WRITER";
const COMMITS: &str = "ATREST_TEST_COMMITS";

/// Commits of each process that lives to its end.
const LONG: i64 = 1000;
/// Processes that are killed, one after the other.
const KILLED: u64 = 20;

#[test]
fn part_hammers() {
    let Some(path) = database() else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<i64>().unwrap();
    hammer(&path, number(WRITER), number(COMMITS));
}

fn hammer(path: &Path, writer: i64, commits: i64) {
    let mut rng = ChaCha8Rng::seed_from_u64(writer.unsigned_abs());
    let db = open(path).unwrap();
    let mut conn = connect(&db);
    let mut done = 0;
    while done < commits {
        match rng.random_range(0..20) {
            0..10 => {
                done += 1;
                write(&conn, &mut rng, writer, done);
                run(&conn, "COMMIT");
                // One call of `write`, or a kill in between would leave half a line.
                let said = format!("committed {done}\n");
                std::io::stdout().write_all(said.as_bytes()).unwrap();
            }
            10 => {
                write(&conn, &mut rng, writer, done + 1);
                run(&conn, "ROLLBACK");
            }
            11 => conn = connect(&db),
            12..16 => look(&conn),
            _ => {
                let kinds = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
                let kind = kinds[rng.random_range(0..kinds.len())];
                run(&conn, &format!("PRAGMA wal_checkpoint({kind})"));
            }
        }
    }
}

fn connect(db: &atrest::sqlite::SealedDatabase) -> Connection {
    let conn = db.connect().unwrap();
    conn.busy_timeout(Duration::from_secs(3600)).unwrap();
    run(&conn, "PRAGMA cache_size = 5; PRAGMA synchronous = NORMAL");
    conn
}

/// A transaction of one writer's `n`th row and its count, which also rewrites rows of others.
fn write(conn: &Connection, rng: &mut ChaCha8Rng, writer: i64, n: i64) {
    let len = rng.random_range(0..2000);
    let some = rng.random_range(2..30);
    run(
        conn,
        &format!(
            "BEGIN IMMEDIATE;
             INSERT INTO log VALUES ({writer}, {n}, zeroblob({len}));
             INSERT INTO counts VALUES ({writer}, {n})
                ON CONFLICT (writer) DO UPDATE SET n = excluded.n;
             UPDATE log SET body = randomblob(length(body)) WHERE rowid % {some} = 0"
        ),
    );
}

/// One state, whole: each writer's rows are as many as its count says.
fn look(conn: &Connection) {
    let wrong: i64 = get(
        conn,
        "SELECT count(*) FROM counts c
         WHERE n <> (SELECT count(*) FROM log l WHERE l.writer = c.writer)
            OR n <> (SELECT max(n) FROM log l WHERE l.writer = c.writer)",
    );
    assert_eq!(wrong, 0);
}

#[test]
fn processes_that_are_killed_and_replaced_lose_no_commit_of_any() {
    let f = Fixture::new(1024);
    let conn = f.connect();
    set_journal(&conn, "wal");
    run(
        &conn,
        "CREATE TABLE log (writer INT, n INT, body BLOB); CREATE INDEX i ON log (writer, n);
         CREATE TABLE counts (writer INTEGER PRIMARY KEY, n INT)",
    );
    drop(conn);
    let part = |writer: u64, commits: i64| {
        let variables = [(WRITER, writer.to_string()), (COMMITS, commits.to_string())];
        start("hammer::part_hammers", &f.path("db"), &variables)
    };
    let survivors = [1, 2].map(|writer| {
        let child = part(writer, LONG);
        std::thread::spawn(move || child.wait_with_output().unwrap())
    });
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for writer in 3..3 + KILLED {
        let mut child = part(writer, i64::MAX);
        let kill_after = rng.random_range(1..25);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.map(Result::unwrap).filter_map(|line| {
            let (_, n) = line.split_once("committed ")?;
            n.parse::<i64>().ok()
        });
        // The pipe stays open: the child is to die by the kill and nothing else.
        let committed = said.by_ref().take(kill_after).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let conn = connect(&f.db);
        let there: i64 = get(
            &conn,
            &format!("SELECT n FROM counts WHERE writer = {writer}"),
        );
        assert!(there >= committed, "{writer}: {there} < {committed}");
        look(&conn);
    }
    for survivor in survivors {
        let output = survivor.join().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    }
    let conn = connect(&f.db);
    look(&conn);
    for writer in [1, 2] {
        let n: i64 = get(
            &conn,
            &format!("SELECT n FROM counts WHERE writer = {writer}"),
        );
        assert_eq!(n, LONG);
    }
    assert_intact(&conn);
    f.db.verify(&mut |_, _| ()).unwrap();
}
