//! A process that converts is killed at any moment.

use std::time::Duration;

use atrest::resource::sql::content_hash;

use crate::work::{Work, twin};

/// Kills `atrest sql COMMAND` after so many microseconds each, and writes to the database in between;
/// then has it end. The outcome is the same wherever the kills fall.
fn interrupted(work: &Work, twin: &rusqlite::Connection, command: &str, journal_mode: &str) {
    for n in 0..25u64 {
        let mut child = work.start(&["sql", command, "db"]);
        std::thread::sleep(Duration::from_micros(1500 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        work.holds(&content_hash(twin).unwrap());
        let database = work.open();
        let conn = database.connect().unwrap();
        let set: String = conn
            .query_row(
                &format!("PRAGMA journal_mode = {journal_mode}"),
                (),
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(set, journal_mode);
        let sql = format!(
            "INSERT INTO t (b) VALUES ('{command} {n}'); DELETE FROM t WHERE a % 997 = {n}"
        );
        for conn in [&conn, twin] {
            conn.execute_batch(&sql).unwrap();
        }
        drop(conn);
        work.holds(&content_hash(twin).unwrap());
    }
    // It says so when it came to its end before it could be killed.
    let ended = work
        .start(&["sql", command, "db"])
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        ended.status.success() || said.contains("protected"),
        "{said}"
    );
    work.holds(&content_hash(twin).unwrap());
}

#[test]
fn a_conversion_that_is_killed_at_any_moment_loses_nothing_and_goes_on() {
    for journal_mode in ["delete", "wal"] {
        let (work, twin) = (Work::new(false), twin());
        interrupted(&work, &twin, "protect", journal_mode);
        let listed = |what: &str| work.run(&["status", "--json"]).contains(what);
        assert!(listed("customer-managed"));
        assert_eq!(work.left_over(), [""; 0]);
        interrupted(&work, &twin, "rekey", journal_mode);
        interrupted(&work, &twin, "unprotect", journal_mode);
        assert!(listed("plain"));
        assert_eq!(work.left_over(), [""; 0]);
        let plain = rusqlite::Connection::open(work.file()).unwrap();
        assert_eq!(content_hash(&plain).unwrap(), content_hash(&twin).unwrap());
    }
}
