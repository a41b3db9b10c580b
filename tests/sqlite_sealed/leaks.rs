//! No plaintext in any file at any time: main file, journals, log, and the temporary files that are
//! deleted while they are open. The same work on a plain file shows that the search finds it.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags};

use crate::fixture::{create, run, scratch};

const PLACE: &str = "ATREST_TEST_LEAKS";
const CANARY: &[u8] = b"canary-7f3a9c51e0d2";

/// Kinds of files in which the canary was seen, and kinds that were looked at.
#[derive(Default)]
struct Seen {
    canary: BTreeSet<String>,
    looked: BTreeSet<String>,
}

/// Looks at every file that this process has open (deleted ones too) and at those beside `dir`.
fn look(dir: &Path, seen: &Mutex<Seen>) {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let fd: RawFd = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
        Some((fs::read_link(&path).ok()?, path))
    });
    let beside = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let beside = beside.map(|path| (path.clone(), path));
    let search = aho_corasick::AhoCorasick::new([CANARY]).unwrap();
    let mut seen = seen.lock().unwrap();
    for (name, path) in open.chain(beside) {
        if !name.starts_with(dir) || !path.metadata().is_ok_and(|m| m.is_file()) {
            continue;
        }
        let Ok(bytes) = fs::read(&path) else { continue };
        let kind = kind(&name);
        if search.is_match(&bytes) {
            seen.canary.insert(kind.clone());
        }
        if !bytes.is_empty() {
            seen.looked.insert(kind);
        }
    }
}

fn kind(name: &Path) -> String {
    let name = name.file_name().unwrap().to_str().unwrap();
    let name = name.trim_end_matches(" (deleted)");
    match name.split_once('-') {
        // As SQLite names them, or files without a name.
        _ if name.starts_with("etilqs_") || name.starts_with('#') => "temporary".to_owned(),
        Some((_, suffix)) if suffix.starts_with("mj") => "super-journal".to_owned(),
        Some((_, suffix)) => suffix.to_owned(),
        None => "main".to_owned(),
    }
}

/// A whole life with the canary in every row; looks at the files all along.
fn live(dir: &Path, conn: &mut Connection, attached: &str) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (watched, place) = (seen.clone(), dir.to_owned());
    let watch = move || {
        look(&place, &watched);
        false
    };
    let canary = str::from_utf8(CANARY).unwrap();
    run(
        conn,
        "PRAGMA temp_store = FILE; PRAGMA cache_size = 10; PRAGMA temp.cache_size = 10",
    );
    for mode in ["delete", "persist", "wal"] {
        run(conn, &format!("PRAGMA journal_mode = {mode}"));
        run(
            conn,
            &format!(
                "CREATE TABLE t (a, b);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                    INSERT INTO t SELECT i * 7919 % 3001, '{canary} ' || printf('%400d', i) FROM n;"
            ),
        );
        // While statements run, each few thousand steps.
        conn.progress_handler(5000, Some(watch.clone())).unwrap();
        run(conn, "BEGIN; UPDATE t SET b = b || ' changed'");
        look(dir, &seen);
        run(
            conn,
            "COMMIT; SELECT count(*) FROM (SELECT b FROM t ORDER BY b || a, a)",
        );
        run(
            conn,
            "CREATE TEMP TABLE copy AS SELECT * FROM t; CREATE INDEX i ON t (b, a)",
        );
        look(dir, &seen);
        // Fails at the last row: a statement journal undoes the others.
        conn.execute_batch(
            "CREATE UNIQUE INDEX u ON t (a); BEGIN; UPDATE t SET a = min(a + 1, 3000)",
        )
        .unwrap_err();
        look(dir, &seen);
        run(conn, "COMMIT; DROP TABLE temp.copy; VACUUM");
        look(dir, &seen);
        run(
            conn,
            &format!("ATTACH '{attached}' AS other; CREATE TABLE IF NOT EXISTS other.t (b)"),
        );
        run(
            conn,
            "BEGIN; INSERT INTO other.t SELECT b FROM t; DELETE FROM t WHERE a % 2",
        );
        look(dir, &seen);
        run(conn, "COMMIT; DETACH other");
        conn.progress_handler(0, None::<fn() -> bool>).unwrap();
        run(conn, "DROP TABLE t");
        look(dir, &seen);
    }
    drop(watch);
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}

#[test]
fn part_lives_a_whole_life() {
    let Some(dir) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let plain = dir.join("plain");
    fs::create_dir(&plain).unwrap();
    let flags = OpenFlags::default();
    let mut conn = Connection::open_with_flags(plain.join("db"), flags).unwrap();
    let control = live(&dir, &mut conn, plain.join("other").to_str().unwrap());
    drop(conn);
    fs::remove_dir_all(&plain).unwrap();
    let expected = ["journal", "main", "temporary", "wal"].map(str::to_owned);
    assert!(
        control.canary.is_superset(&expected.into()),
        "{:?}",
        control.canary
    );

    let sealed = dir.join("sealed");
    fs::create_dir(&sealed).unwrap();
    let db = create(&sealed.join("db"), 4096);
    let other = create(&sealed.join("other"), 4096);
    let seen = live(&dir, &mut db.connect().unwrap(), &other.uri());
    assert!(seen.canary.is_empty(), "{:?}", seen.canary);
    assert!(
        seen.looked.is_superset(&control.canary),
        "{:?}",
        seen.looked
    );
}

#[test]
fn no_plaintext_reaches_any_file_at_any_time() {
    let dir = scratch();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leaks::part_lives_a_whole_life", "--nocapture"])
        .env(PLACE, dir.path())
        .env("SQLITE_TMPDIR", dir.path())
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
}
