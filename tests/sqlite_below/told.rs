//! What a keeper of positions is told of is on the disk by then, also what others wrote and did not sync: a
//! power cut would else take back what is remembered, and read as a theft.

use std::path::Path;

use crate::fixture::{Files, Fixture, open, run, set_journal};
use crate::strace;

const DATABASE: &str = "ATREST_TEST_TOLD";

#[test]
fn part_tells() {
    let Ok(path) = std::env::var(DATABASE) else {
        return;
    };
    let db = open(Path::new(&path)).unwrap();
    let position = db.check_freshness(None).unwrap();
    db.anchor(&position);
}

#[test]
fn a_log_that_its_writer_did_not_sync_is_synced_before_it_is_told_of() {
    let f = Fixture::new(1024);
    let conn = f.connect();
    set_journal(&conn, "wal");
    run(
        &conn,
        "PRAGMA synchronous = NORMAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)",
    );
    let (_dir, path) = Files::copy(&f.path("db")).place();
    let path = path.to_str().unwrap();
    let options = ["-e", "trace=fsync,fdatasync"].map(str::to_owned);
    let traced = strace::run("told::part_tells", &options, &[(DATABASE, path)]);
    assert!(traced.status.success(), "{}", traced.stderr);
    let synced: Vec<_> = traced.calls.iter().filter_map(|c| c.fd_path(0)).collect();
    for file in [path.to_owned(), format!("{path}-wal")] {
        assert!(synced.contains(&file.clone().into()), "{file}: {synced:?}");
    }
}
