//! Several processes on one sealed database. The test binary starts itself again; the child runs
//! the one test that is named after its part, which does nothing without the variable below.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixture::{Files, Fixture, assert_intact, get, open, run, set_journal};

const DATABASE: &str = "ATREST_TEST_DATABASE";

/// This process's part, when it is a child.
pub fn database() -> Option<PathBuf> {
    std::env::var_os(DATABASE).map(PathBuf::from)
}

/// Starts the test `part` of this binary on a database.
pub fn start(part: &str, database: &Path, variables: &[(&str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", part, "--nocapture"])
        .env(DATABASE, database)
        .envs(variables.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

const ROUNDS: i64 = 100;

fn count_up(path: &Path) {
    let conn = open(path).unwrap().connect().unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(600))
        .unwrap();
    for _ in 0..ROUNDS {
        run(&conn, "BEGIN IMMEDIATE; UPDATE t SET n = n + 1");
        run(
            &conn,
            "INSERT INTO log SELECT n, randomblob(600) FROM t; COMMIT",
        );
    }
}

#[test]
fn part_counts_up() {
    if let Some(path) = database() {
        count_up(&path);
    }
}

#[test]
fn two_processes_that_write_lose_no_commit_of_the_other() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        let f = Fixture::new(1024);
        let conn = f.connect();
        set_journal(&conn, mode);
        run(
            &conn,
            "CREATE TABLE t (n); INSERT INTO t VALUES (0); CREATE TABLE log (n, b)",
        );
        let mut other = start("processes::part_counts_up", &f.path("db"), &[]);
        count_up(&f.path("db"));
        assert!(other.wait().unwrap().success());
        assert_eq!(get::<i64>(&conn, "SELECT n FROM t"), 2 * ROUNDS, "{mode}");
        assert_eq!(
            get::<i64>(&conn, "SELECT count(DISTINCT n) FROM log"),
            2 * ROUNDS
        );
        assert_intact(&conn);
        f.db.verify(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn part_commits_until_killed() {
    if let Some(path) = database() {
        let conn = open(&path).unwrap().connect().unwrap();
        run(&conn, "PRAGMA synchronous = FULL; PRAGMA cache_size = 5");
        let mut out = std::io::stdout();
        for n in 1.. {
            // Both rows move together, and every page of `t` is written each time.
            run(&conn, "BEGIN; UPDATE t SET n = n + 1, b = randomblob(500)");
            run(&conn, "COMMIT");
            writeln!(out, "committed {n}").unwrap();
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_committed() {
    for mode in ["delete", "truncate", "persist", "wal"] {
        let f = Fixture::new(1024);
        let conn = f.connect();
        set_journal(&conn, mode);
        run(
            &conn,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, b BLOB);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
                INSERT INTO t SELECT i, 0, zeroblob(500) FROM n",
        );
        drop(conn);
        let mut child = start("processes::part_commits_until_killed", &f.path("db"), &[]);
        let out = BufReader::new(child.stdout.take().unwrap());
        let committed = out
            .lines()
            .map(Result::unwrap)
            .filter_map(|line| {
                line.strip_prefix("committed ")
                    .and_then(|n| n.parse::<i64>().ok())
            })
            .find(|&n| n == 20)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let files = Files::copy(&f.path("db"));
        let (_dir, path) = files.place();
        let conn = open(&path).unwrap().connect().unwrap();
        let n = get::<i64>(&conn, "SELECT max(n) FROM t");
        assert!(n >= committed, "{mode}: {n} < {committed}");
        assert_eq!(get::<i64>(&conn, "SELECT min(n) FROM t"), n, "{mode}");
        assert_intact(&conn);
    }
}
