//! `tests/reader.py` reads sealed files by docs/format.md alone, in another language and with another
//! library: what it gets out of the golden vectors, and of a log that was partly copied, is what was
//! written, so the document suffices to get at one's data without this program.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::sqlite::{Freshness, PageSize, SealedDatabase};
use rusqlite::Connection;

const FILE: ResourceId = ResourceId::from_bytes([0xf1; 16]);
const DEK: [u8; 32] = [0xd1; 32];
const ROWS: &str = "SELECT count(*) || ' ' || coalesce(sum(length(b) * a), 0) FROM t";

/// A Python that has the one package that the reader needs.
fn python() -> &'static str {
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let import = Command::new(python)
            .args(["-c", "import cryptography"])
            .output();
        import.is_ok_and(|tried| tried.status.success())
    });
    found.expect(
        "no Python 3 has the package `cryptography`: install it with `python3 -m pip install cryptography`",
    )
}

/// What the reader says of `v.db` in `dir`; it writes `plain.db` there.
fn reader(python: &str, dir: &Path, file: &str, dek: &[u8]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader.py");
    let mut reader = Command::new(python);
    // No byte code is left in the source tree.
    reader
        .arg("-B")
        .arg(script)
        .arg(dir.join("v.db"))
        .arg(hex::encode(dek));
    reader.arg(dir.join("plain.db")).arg(file).output().unwrap()
}

fn plain_rows(dir: &Path) -> String {
    let plain = Connection::open(dir.join("plain.db")).unwrap();
    let sound: String = plain
        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    plain.query_row(ROWS, [], |r| r.get(0)).unwrap()
}

#[test]
fn a_stranger_with_the_document_and_the_key_reads_what_was_written_and_nothing_that_was_altered() {
    let python = python();
    let vectors = common::vectors("sqlite");
    let mains: HashMap<_, _> = vectors.iter().map(|v| (v.name.clone(), &v.body)).collect();
    // The reader reads no journals, and no plain files beside.
    let (mut read, mut refused) = (0, 0);
    let sealed = |v: &&common::Vector| v.get("file") != "journal" && v.find("side").is_none();
    for v in vectors.iter().filter(sealed) {
        let dir = tempfile::tempdir().unwrap();
        if v.get("file") == "wal" {
            fs::write(dir.path().join("v.db"), mains[v.get("beside")]).unwrap();
            fs::write(dir.path().join("v.db-wal"), &v.body).unwrap();
        } else {
            fs::write(dir.path().join("v.db"), &v.body).unwrap();
        }
        let said = reader(python, dir.path(), v.get("file-id"), &v.hex("dek"));
        let why = String::from_utf8_lossy(&said.stderr);
        if v.get("verify") == "success" {
            assert_eq!(said.status.code(), Some(0), "{}: {why}", v.name);
            assert_eq!(plain_rows(dir.path()), v.get("rows"), "{}", v.name);
            read += 1;
        } else {
            assert_eq!(said.status.code(), Some(1), "{}", v.name);
            // A fault of the script exits with 1, too, but takes more than a line to say so.
            assert_eq!(why.lines().count(), 1, "{}: {why}", v.name);
            assert!(!dir.path().join("plain.db").exists(), "{}", v.name);
            refused += 1;
        }
    }
    assert!(read > 0 && refused > 0);
}

#[test]
fn a_log_of_which_a_part_was_copied_does_not_look_like_pages_put_back() {
    let python = python();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.db");
    let keys = Arc::new(Secret::<32>::copy_from(&DEK).unwrap());
    let page = PageSize::new(1024).unwrap();
    let db =
        SealedDatabase::create(&path, FILE, page, Freshness::Kept, &[0xee; 768], keys).unwrap();
    let writing = db.connect().unwrap();
    writing
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
             CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                 INSERT INTO t SELECT i, printf('row %d of the sealed file', i) FROM n;",
        )
        .unwrap();
    // Copied whole and taken in; then a few frames more, of pages that the log has held before.
    let checkpoint = |connection: &Connection| {
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        connection.query_row(sql, [], |_| Ok(())).unwrap();
    };
    let change = "UPDATE t SET b = b || 'changed' WHERE a % 70 = 1";
    let mut seen = vec![];
    let mut look = |step: &str| {
        let copy = tempfile::tempdir().unwrap();
        for name in ["v.db", "v.db-wal"] {
            fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        let said = reader(python, copy.path(), &FILE.to_string(), &DEK);
        let why = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(0), "{step}: {why}");
        let rows: String = writing.query_row(ROWS, [], |r| r.get(0)).unwrap();
        assert_eq!(plain_rows(copy.path()), rows, "{step}");
        seen.push(rows);
    };
    look("nothing is copied");
    checkpoint(&writing);
    look("all is copied and taken in");
    // Somebody who reads keeps the log from being begun anew, and what is newer from being copied.
    let reading = db.connect().unwrap();
    reading.execute_batch("BEGIN").unwrap();
    let _: String = reading.query_row(ROWS, [], |r| r.get(0)).unwrap();
    writing.execute_batch(change).unwrap();
    look("the log, or a new one, goes on");
    checkpoint(&writing);
    look("some is copied again");
    reading.execute_batch("COMMIT").unwrap();
    writing.execute_batch(change).unwrap();
    look("the log goes on after a reader");
    checkpoint(&writing);
    look("all is copied again");
    writing.execute_batch(change).unwrap();
    look("the log is begun anew");
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
