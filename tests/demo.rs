//! The demo, run whole on little data: verdicts, report files, the user's own data left alone, and
//! what it says to input that it cannot use.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use atrest::crypto::{KeyKind, sha256};
use atrest::lab::{ATTACKS, Claim, Outcome, Verdict};
use atrest::scenario::demo::{DemoOptions, run};
use atrest::scenario::{Audience, Ran, ScenarioError};
use rusqlite::Connection;

/// Keeps what it is told.
#[derive(Default)]
struct Listener {
    facts: Vec<(String, String)>,
    claims: BTreeMap<String, Verdict>,
}

impl Audience for Listener {
    fn step(&mut self, _title: &str) {}

    fn fact(&mut self, label: &str, text: &str) {
        self.facts.push((label.to_owned(), text.to_owned()));
    }

    fn claim(&mut self, claim: &Claim) {
        self.claims.insert(claim.id.clone(), claim.verdict);
    }

    fn attack(&mut self, outcomes: &[Outcome], verdict: Verdict) {
        self.claims
            .insert(format!("attack-{}", outcomes[0].attack), verdict);
    }

    fn progress(&mut self, _what: &'static str, _done: u64, _total: u64) {}
}

fn options(dir: &Path) -> DemoOptions {
    DemoOptions {
        everything: None,
        dir: dir.to_owned(),
        seed: 5,
        rows: 600,
        sql: None,
        files: None,
        key_kind: KeyKind::Oct256,
        command: "atrest demo".to_owned(),
    }
}

fn told(options: &DemoOptions) -> (Result<Ran, ScenarioError>, Listener) {
    let mut listener = Listener::default();
    (run(options, &mut listener), listener)
}

/// What must hold whatever the data is.
const HOLD: [&str; 12] = [
    "control-twins",
    "shut-elsewhere",
    "noise/finance",
    "noise/documents",
    "opens-with-key",
    "rotation-rewraps",
    "rotation-opens",
    "copy-needs-old-version",
    "disabled-stops",
    "enabled-heals",
    "deleted-stops",
    "purged-for-good",
];

fn assert_all_hold(demo: &Ran, listener: &Listener) {
    let bad = demo
        .report
        .claims()
        .iter()
        .filter(|c| !c.verdict.is_acceptable());
    let bad: Vec<_> = bad.collect();
    assert!(bad.is_empty(), "must hold: {bad:?}");
    for id in HOLD {
        assert_eq!(listener.claims.get(id), Some(&Verdict::Holds), "{id}");
    }
    for id in ["rotation-shuts-old-copies", "purge-beats-backups"] {
        assert_eq!(
            listener.claims.get(id),
            Some(&Verdict::NotProtected),
            "{id}"
        );
    }
    assert_eq!(demo.report.exit_code(), 0);
}

#[test]
fn a_full_demo_leaves_no_attack_of_the_list_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = DemoOptions {
        everything: Some(env!("CARGO_BIN_EXE_atrest").into()),
        ..options(&dir.path().join("full"))
    };
    let (ran, listener) = told(&options);
    assert_all_hold(&ran.unwrap(), &listener);
    for attack in ATTACKS {
        let verdict = listener.claims[&format!("attack-{}", attack.number)];
        assert_ne!(verdict, Verdict::NotTried, "attack {}", attack.number);
    }
}

/// Every file below `dir` with its hash and its time of change.
fn state(dir: &Path) -> BTreeMap<PathBuf, (String, std::time::SystemTime)> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = files.filter(|f| f.file_type().is_file());
    let state = |f: walkdir::DirEntry| {
        let hash = hex::encode(sha256(&[&fs::read(f.path()).unwrap()]));
        (
            f.path().to_owned(),
            (hash, f.metadata().unwrap().modified().unwrap()),
        )
    };
    files.map(state).collect()
}

#[test]
fn on_made_up_data_every_claim_holds_and_both_reports_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (demo, listener) = told(&options(&dir.path().join("demo")));
    let demo = demo.unwrap();
    assert_all_hold(&demo, &listener);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(&demo.written.json).unwrap()).unwrap();
    assert_eq!(json["steps"].as_array().unwrap().len(), 9);
    assert_eq!(
        json["claims"].as_array().unwrap().len(),
        demo.report.claims().len()
    );
    let html = fs::read_to_string(&demo.written.html).unwrap();
    assert!(html.contains("not one byte of data"));
    for outside in ["http://", "https://", "<script"] {
        let fetched = [format!("src=\"{outside}"), format!("href=\"{outside}")];
        assert!(!fetched.iter().any(|text| html.contains(text)), "{outside}");
    }
    assert!(!dir.path().join("demo/scratch").exists());
    let rows = listener
        .facts
        .iter()
        .find(|(label, _)| label == "finance")
        .unwrap();
    assert!(rows.1.starts_with("600 rows in 7 tables"), "{}", rows.1);
}

/// A database as a user may have it: another page size and encoding, a write-ahead log, odd names,
/// a table without row ids, a virtual table, a trigger.
fn users_database(path: &Path) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA page_size = 1024;
         PRAGMA encoding = 'UTF-16le';
         PRAGMA journal_mode = wal;
         CREATE TABLE \"odd \"\"name\" (k TEXT PRIMARY KEY, v REAL) WITHOUT ROWID;
         CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT, raw BLOB);
         CREATE VIRTUAL TABLE notes USING fts5(body);
         CREATE VIEW both AS SELECT k, what FROM \"odd \"\"name\", log;
         CREATE TRIGGER keep AFTER DELETE ON log BEGIN
           INSERT INTO log (what) VALUES ('deleted ' || old.id); END;
         CREATE INDEX by_what ON log (what);",
    )
    .unwrap();
    for n in 0..400_u32 {
        let code = n.wrapping_mul(0x9E37_79B1);
        let row = (format!("berth {n}, crate {code:08x}"), f64::from(n));
        conn.execute("INSERT INTO \"odd \"\"name\" VALUES (?1, ?2)", row)
            .unwrap();
        let row = (format!("crate {code:08x} passed the gate"), [0, 1, 2]);
        conn.execute("INSERT INTO log (what, raw) VALUES (?1, ?2)", row)
            .unwrap();
        let note = format!("the broker of crate {code:08x} wants it back");
        conn.execute("INSERT INTO notes VALUES (?1)", [note])
            .unwrap();
    }
}

fn users_files(dir: &Path) {
    fs::create_dir_all(dir.join("sub folder/Größe")).unwrap();
    let line = |n: u64| format!("Instalment {n} of {}.20 is due on Thursday.\n", n * 4711);
    let letter: String = (1..40).map(line).collect();
    fs::write(dir.join("sub folder/letter.txt"), letter).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    let noise: Vec<u8> = (0..70_000_u64)
        .map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect();
    fs::write(dir.join("sub folder/Größe/picture.raw"), noise).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.join("link")).unwrap();
}

#[test]
fn the_users_own_data_is_read_and_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    let database = own.join("shop.db");
    users_files(&own.join("files"));
    users_database(&database);
    let before = state(&own);
    let options = DemoOptions {
        sql: Some(database),
        files: Some(own.join("files")),
        ..options(&dir.path().join("demo"))
    };
    let (demo, listener) = told(&options);
    assert_all_hold(&demo.unwrap(), &listener);
    assert_eq!(state(&own), before);
    let fact = |label| &listener.facts.iter().find(|(l, _)| l == label).unwrap().1;
    assert!(
        fact("documents").starts_with("3 blobs"),
        "{}",
        fact("documents")
    );
    assert!(fact("Left out").starts_with('1'), "{}", fact("Left out"));
}

#[test]
fn a_database_that_somebody_writes_to_meanwhile_is_copied_as_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("busy.db");
    users_database(&database);
    let writer = Connection::open(&database).unwrap();
    // Open, with changes in its log that are not in the file.
    writer
        .execute("UPDATE log SET raw = zeroblob(900) WHERE id < 50", ())
        .unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM log WHERE id = 1")
        .unwrap();
    let options = DemoOptions {
        sql: Some(database),
        ..options(&dir.path().join("demo"))
    };
    let (demo, listener) = told(&options);
    assert_all_hold(&demo.unwrap(), &listener);
    writer.execute_batch("COMMIT").unwrap();
    let left: i64 = writer
        .query_row("SELECT count(*) FROM log", (), |r| r.get(0))
        .unwrap();
    assert_eq!(left, 400, "one deleted, one added by the trigger");
}

#[test]
fn input_that_cannot_be_used_is_named_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(
        at("notes.txt"),
        "no database, though it is long enough. ".repeat(30),
    )
    .unwrap();
    fs::write(at("half.db"), "SQLite format 3\0").unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("newline")).unwrap();
    fs::write(at("newline/a\nb"), "x").unwrap();
    let sql = |name: &str| DemoOptions {
        sql: Some(at(name)),
        ..options(&at("demo"))
    };
    let files = |name: &str| DemoOptions {
        files: Some(at(name)),
        ..options(&at("demo"))
    };
    let cases = [
        (sql("notes.txt"), "notes.txt"),
        (sql("half.db"), "half.db"),
        (sql("missing.db"), "missing.db"),
        (sql("empty"), "empty"),
        (files("missing"), "missing: no such folder"),
        (files("notes.txt"), "notes.txt: not a folder"),
        (files("empty"), "empty: holds no files"),
        (files("newline"), "control character"),
    ];
    for (options, expected) in cases {
        let text = told(&options).0.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!at("demo").exists(), "{text}");
    }
    // The same into a directory that is there and empty: it stays, empty.
    fs::create_dir(at("demo")).unwrap();
    assert!(told(&sql("notes.txt")).0.is_err());
    assert_eq!(fs::read_dir(at("demo")).unwrap().count(), 0);
    fs::write(at("demo/mine"), "mine").unwrap();
    let refused = told(&options(&at("demo"))).0.unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    assert_eq!(fs::read_to_string(at("demo/mine")).unwrap(), "mine");
}

#[test]
fn data_without_anything_distinctive_proves_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("numbers.db");
    let conn = Connection::open(&database).unwrap();
    conn.execute_batch("CREATE TABLE n (x INTEGER); INSERT INTO n VALUES (1), (2);")
        .unwrap();
    drop(conn);
    let options = DemoOptions {
        sql: Some(database),
        ..options(&dir.path().join("demo"))
    };
    let (demo, listener) = told(&options);
    assert_eq!(
        listener.claims.get("control-twins"),
        Some(&Verdict::Inconclusive)
    );
    assert_eq!(demo.unwrap().report.exit_code(), 1);
}
