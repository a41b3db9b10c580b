//! The SQL resource: protected databases and their plain twins, import, export, rewrap, revocation.

#![allow(clippy::unwrap_used)]

#[path = "common/keys.rs"]
mod keys;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use atrest::base::ResourceId;
use atrest::crypto::random_id;
use atrest::resource::sql::{SqlDatabase, content_hash};
use atrest::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use atrest::sqlite::PageSize;
use keys::TestVault;
use rusqlite::{Connection, params};
use tempfile::TempDir;

static_assertions::assert_impl_all!(SqlDatabase: Send, Sync);

/// A schema with one of everything that a copy may lose.
const EVERYTHING: &str = r#"
    CREATE TABLE customer (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE, "odd ""name" BLOB);
    CREATE TABLE implicit (a, b REAL, c INT);
    CREATE TABLE hidden (rowid TEXT, oid TEXT, _rowid_ TEXT);
    CREATE TABLE pair (x TEXT, y INT, z, PRIMARY KEY (y DESC, x)) WITHOUT ROWID;
    CREATE TABLE computed (n INT, twice INT AS (n * 2), thrice INT AS (n * 3) STORED) STRICT;
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT REFERENCES customer ON DELETE CASCADE, CHECK (id > 0));
    CREATE INDEX customer_name ON customer (name, "odd ""name");
    CREATE INDEX partial ON implicit (a) WHERE b > 1;
    CREATE INDEX expression ON implicit (lower(c));
    CREATE VIEW named AS SELECT id, name FROM customer;
    CREATE TRIGGER log AFTER INSERT ON orders BEGIN INSERT INTO implicit (a) VALUES (new.id); END;
    CREATE VIRTUAL TABLE text USING fts5 (body);
    CREATE VIRTUAL TABLE boxes USING rtree (id, x0, x1);
    INSERT INTO customer (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT 'customer ' || i FROM n;
    DELETE FROM customer WHERE id % 7 = 0;
    INSERT INTO implicit (a, b, c) SELECT name, id / 3.0, -id FROM customer;
    DELETE FROM implicit WHERE rowid % 3 = 0;
    INSERT INTO implicit VALUES (NULL, 9e999, -9223372036854775808), (x'00ff', -0.0, 9223372036854775807), ('', 1e-320, '12');
    INSERT INTO hidden VALUES ('r', 'o', 'u'), ('a', 'b', 'c');
    INSERT INTO pair SELECT name, id, randomblob(100) FROM customer;
    INSERT INTO computed (n) SELECT id FROM customer;
    INSERT INTO orders SELECT id, id FROM customer;
    INSERT INTO text SELECT name FROM customer;
    INSERT INTO boxes SELECT id, id, id + 1 FROM customer;
    INSERT INTO implicit (a) VALUES (randomblob(100000));
    ANALYZE;
    PRAGMA user_version = 77;
    PRAGMA application_id = 1234567;
"#;

struct Fixture {
    dir: TempDir,
    vault: std::sync::Arc<TestVault>,
    wrapper: Wrapper,
    id: ResourceId,
}

impl Fixture {
    fn new() -> Self {
        let vault = TestVault::new();
        Self {
            dir: tempfile::tempdir().unwrap(),
            wrapper: vault.clone(),
            vault,
            id: random_id(ResourceId::from_bytes),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn protections(&self) -> [Protection; 2] {
        [Protection::Plain, self.vault.protection()]
    }

    fn create(&self, name: &str, protection: &Protection) -> SqlDatabase {
        let page_size = PageSize::DEFAULT;
        SqlDatabase::create(
            &self.path(name),
            self.id,
            page_size,
            protection.clone(),
            &self.wrapper,
        )
        .unwrap()
    }

    fn open(&self, name: &str, protection: &Protection) -> Result<SqlDatabase, ResourceError> {
        SqlDatabase::open(&self.path(name), self.id, protection.clone(), &self.wrapper)
    }

    fn import(
        &self,
        name: &str,
        protection: &Protection,
        source: &Path,
    ) -> Result<SqlDatabase, ResourceError> {
        let protection = protection.clone();
        let (path, progress) = (self.path(name), &mut |_, _| ());
        SqlDatabase::create_from(&path, self.id, protection, &self.wrapper, source, progress)
    }
}

/// Name, bytes and time of change of every file in `dir`.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let state = |p: PathBuf| {
        let modified = p.metadata().unwrap().modified().unwrap();
        (p.clone(), (fs::read(p).unwrap(), modified))
    };
    files.map(state).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn rows_written_before_a_restart_are_there_after_it() {
    let f = Fixture::new();
    for protection in f.protections() {
        let name = format!("{}.db", protection.key().is_some());
        let db = f.create(&name, &protection);
        let conn = db.connect().unwrap();
        conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES ('kept')")
            .unwrap();
        drop((conn, db));
        let db = f.open(&name, &protection).unwrap();
        let kept: String = db
            .connect()
            .unwrap()
            .query_row("SELECT a FROM t", (), |r| r.get(0))
            .unwrap();
        assert_eq!(kept, "kept");
        assert_eq!(db.envelope().is_some(), protection.key().is_some());
        assert_eq!(db.page_size(), PageSize::DEFAULT);
        assert!(db.files().unwrap().contains(&f.path(&name)));
    }
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let f = Fixture::new();
    fs::write(f.path("a.db"), b"precious").unwrap();
    for protection in f.protections() {
        let created = SqlDatabase::create(
            &f.path("a.db"),
            f.id,
            PageSize::DEFAULT,
            protection,
            &f.wrapper,
        );
        assert!(matches!(created, Err(ResourceError::Exists(_))));
    }
    let db = f.create("b.db", &Protection::Plain);
    let exported = db.export(&f.path("a.db"), &mut |_, _| ());
    assert!(matches!(exported, Err(ResourceError::Exists(_))));
    assert_eq!(fs::read(f.path("a.db")).unwrap(), b"precious");
}

#[test]
fn a_database_that_does_not_exist_is_not_made_by_opening_it() {
    let f = Fixture::new();
    for protection in f.protections() {
        let opened = f.open("none.db", &protection);
        assert!(matches!(opened, Err(ResourceError::NotFound(_))));
    }
    assert!(names(f.dir.path()).is_empty());
}

#[test]
fn import_and_export_lose_nothing_of_any_schema() {
    for (page_size, settings) in [
        (512, "PRAGMA encoding = 'UTF-8'"),
        (4096, "PRAGMA auto_vacuum = FULL"),
        (
            8192,
            "PRAGMA encoding = 'UTF-16le'; PRAGMA auto_vacuum = INCREMENTAL",
        ),
        (65536, "PRAGMA encoding = 'UTF-16be'"),
    ] {
        let f = Fixture::new();
        let source = f.path("source.db");
        let conn = Connection::open(&source).unwrap();
        conn.pragma_update(None, "page_size", page_size).unwrap();
        conn.execute_batch(settings).unwrap();
        conn.execute_batch(EVERYTHING).unwrap();
        let original = content_hash(&conn).unwrap();
        assert!(original.rows() > 3000 && original.tables.len() > 15);
        drop(conn);
        for protection in f.protections() {
            let name = format!("{}.db", protection.key().is_some());
            let db = f.import(&name, &protection, &source).unwrap();
            assert_eq!(db.page_size().get(), page_size);
            let conn = db.connect().unwrap();
            assert_eq!(content_hash(&conn).unwrap(), original);
            let ok: String = conn
                .query_row("PRAGMA integrity_check", (), |r| r.get(0))
                .unwrap();
            assert_eq!(ok, "ok");
            let found: i64 = conn
                .query_row(
                    "SELECT count(*) FROM text WHERE text MATCH 'customer'",
                    (),
                    |r| r.get(0),
                )
                .unwrap();
            assert_eq!(found, 429);
            let exported = f.path(&format!("{name}.plain"));
            db.export(&exported, &mut |_, _| ()).unwrap();
            let copy = Connection::open(&exported).unwrap();
            assert_eq!(content_hash(&copy).unwrap(), original);
        }
    }
}

#[test]
fn a_copy_that_lost_one_value_has_another_hash() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(EVERYTHING).unwrap();
    let original = content_hash(&conn).unwrap();
    assert_eq!(content_hash(&conn).unwrap(), original);
    for change in [
        "UPDATE customer SET name = 'Customer 1' WHERE id = 1",
        "UPDATE implicit SET rowid = 100000 WHERE rowid = 1",
        "UPDATE implicit SET b = 5 WHERE rowid = 1",
        "UPDATE hidden SET oid = 'p' WHERE oid = 'o'",
        "DELETE FROM pair WHERE y = 1",
        "DROP VIEW named",
        "PRAGMA user_version = 78",
        "CREATE TABLE added (a)",
        "DELETE FROM text WHERE rowid = 5",
    ] {
        conn.execute_batch(&format!("SAVEPOINT s; {change}"))
            .unwrap();
        assert_ne!(
            content_hash(&conn).unwrap().sha256(),
            original.sha256(),
            "{change}"
        );
        conn.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        assert_eq!(content_hash(&conn).unwrap(), original, "{change}");
    }
}

#[test]
fn the_users_file_is_not_touched_by_an_import() {
    let f = Fixture::new();
    let users = f.path("users");
    fs::create_dir(&users).unwrap();
    let source = users.join("data.db");
    for journal in ["delete", "wal"] {
        let conn = Connection::open(&source).unwrap();
        conn.pragma_update(None, "journal_mode", journal).unwrap();
        conn.execute_batch(
            "CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (randomblob(9000))",
        )
        .unwrap();
        drop(conn);
        let before = snapshot(&users);
        assert_eq!(before.len(), 1);
        let name = format!("{journal}.db");
        let db = f.import(&name, &f.vault.protection(), &source).unwrap();
        assert_eq!(snapshot(&users), before, "{journal}");
        let mode: String = db
            .connect()
            .unwrap()
            .query_row("PRAGMA journal_mode", (), |r| r.get(0))
            .unwrap();
        assert_eq!(mode, journal);
        let exported = f.path(&format!("{journal}.plain"));
        db.export(&exported, &mut |_, _| ()).unwrap();
        let mode: String = Connection::open(&exported)
            .unwrap()
            .query_row("PRAGMA journal_mode", (), |r| r.get(0))
            .unwrap();
        assert_eq!(mode, journal);
    }
}

#[test]
fn commits_that_are_still_in_the_users_log_are_imported() {
    let f = Fixture::new();
    let users = f.path("users");
    fs::create_dir(&users).unwrap();
    let live = Connection::open(users.join("live.db")).unwrap();
    live.pragma_update(None, "journal_mode", "wal").unwrap();
    live.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES ('in the log')")
        .unwrap();
    // A copy without the shared memory, as a backup tool takes it, and one with it.
    for with_shared_memory in [false, true] {
        let copy = users.join(format!("copy-{with_shared_memory}.db"));
        for suffix in ["", "-wal", "-shm"] {
            if suffix != "-shm" || with_shared_memory {
                let (from, to) = (users.join("live.db"), copy.display());
                fs::copy(
                    format!("{}{suffix}", from.display()),
                    format!("{to}{suffix}"),
                )
                .unwrap();
            }
        }
        let (before, listed) = (fs::read(&copy).unwrap(), names(&users));
        let name = format!("{with_shared_memory}.db");
        let db = f.import(&name, &f.vault.protection(), &copy).unwrap();
        let row: String = db
            .connect()
            .unwrap()
            .query_row("SELECT a FROM t", (), |r| r.get(0))
            .unwrap();
        assert_eq!(row, "in the log");
        assert_eq!(fs::read(&copy).unwrap(), before);
        assert_eq!(names(&users), listed);
    }
}

#[test]
fn a_source_that_cannot_be_imported_leaves_nothing_behind() {
    let f = Fixture::new();
    let source = f.path("source");
    let cases: [(&[u8], &str); 3] = [
        (b"", "too short"),
        (&[0x5a; 4096], "does not begin as a SQLite database does"),
        (b"SQLite format 3\0 but then something else, of more than a hundred bytes, so that the header is there.....", "not a SQLite database"),
    ];
    for (bytes, expected) in cases {
        fs::write(&source, bytes).unwrap();
        for protection in f.protections() {
            let e = f
                .import("target.db", &protection, &source)
                .err()
                .unwrap()
                .to_string();
            assert!(e.contains(expected) && e.contains("source"), "{e}");
            assert_eq!(names(f.dir.path()), ["source"]);
        }
    }
    for (path, expected) in [
        (f.path("none"), "not found"),
        (f.dir.path().into(), "not a file"),
    ] {
        let e = f
            .import("target.db", &Protection::Plain, &path)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains(expected), "{e}");
        assert_eq!(names(f.dir.path()), ["source"]);
    }
    fs::remove_file(&source).unwrap();
    Connection::open(&source)
        .unwrap()
        .execute_batch(EVERYTHING)
        .unwrap();
    f.import("target.db", &f.vault.protection(), &source)
        .unwrap();
}

#[test]
fn a_damaged_source_is_reported_and_nothing_is_left_behind() {
    let f = Fixture::new();
    let source = f.path("source");
    let conn = Connection::open(&source).unwrap();
    conn.execute_batch("CREATE TABLE t (a, b)").unwrap();
    for i in 0..200 {
        conn.execute("INSERT INTO t VALUES (?1, zeroblob(300))", params![i])
            .unwrap();
    }
    drop(conn);
    let good = fs::read(&source).unwrap();
    let mut bad = good.clone();
    bad[4096 * 5..4096 * 6].fill(0xff);
    fs::write(&source, &bad).unwrap();
    for protection in f.protections() {
        let e = f
            .import("target.db", &protection, &source)
            .err()
            .unwrap()
            .to_string();
        assert!(e.contains("source: damaged"), "{e}");
        assert_eq!(names(f.dir.path()), ["source"]);
    }
    fs::write(&source, &good).unwrap();
    f.import("target.db", &f.vault.protection(), &source)
        .unwrap();
}

#[test]
fn a_hot_journal_of_the_user_is_neither_ignored_nor_played_back() {
    let f = Fixture::new();
    let (live, source) = (f.path("live"), f.path("source"));
    let conn = Connection::open(&live).unwrap();
    conn.execute_batch(
        "PRAGMA cache_size = 2; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(40000))",
    )
    .unwrap();
    conn.execute_batch("BEGIN; UPDATE t SET a = randomblob(40000)")
        .unwrap();
    conn.cache_flush().unwrap();
    for suffix in ["", "-journal"] {
        let from = format!("{}{suffix}", live.display());
        fs::copy(from, format!("{}{suffix}", source.display())).unwrap();
    }
    let before = (names(f.dir.path()), fs::read(&source).unwrap());
    let e = f
        .import("target.db", &f.vault.protection(), &source)
        .err()
        .unwrap()
        .to_string();
    assert!(e.contains("did not end cleanly"), "{e}");
    assert_eq!((names(f.dir.path()), fs::read(&source).unwrap()), before);
    // Its own program repairs it.
    Connection::open(&source)
        .unwrap()
        .query_row("SELECT count(*) FROM t", (), |_| Ok(()))
        .unwrap();
    f.import("target.db", &f.vault.protection(), &source)
        .unwrap();
}

const OTHERS_DATABASE: &str = "ATREST_TEST_OTHERS_DATABASE";

/// The part of another process, which has its own database open and says so.
#[test]
fn part_holds_its_database_until_told() {
    let Some(path) = std::env::var_os(OTHERS_DATABASE) else {
        return;
    };
    let conn = Connection::open(path).unwrap();
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(sql)) = lines.next() {
        conn.execute_batch(&sql).unwrap();
        println!("done");
    }
}

struct Other(
    std::process::Child,
    std::io::BufReader<std::process::ChildStdout>,
);

impl Other {
    fn start(path: &Path) -> Self {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "part_holds_its_database_until_told",
                "--nocapture",
            ])
            .env(OTHERS_DATABASE, path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let out = std::io::BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn run(&mut self, sql: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{sql}").unwrap();
        let mut line = String::new();
        while line.trim() != "done" {
            line.clear();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0);
        }
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn a_database_that_another_process_has_open_is_imported_or_said_to_be_in_use() {
    let f = Fixture::new();
    let users = f.path("users");
    fs::create_dir(&users).unwrap();
    let source = users.join("data.db");
    let protection = f.vault.protection();
    let mut other = Other::start(&source);
    other.run("CREATE TABLE t (a); INSERT INTO t VALUES ('committed')");
    f.import("idle.db", &protection, &source).unwrap();
    // In the middle of a commit.
    other.run("BEGIN EXCLUSIVE; INSERT INTO t VALUES ('uncommitted')");
    let refused = f
        .import("exclusive.db", &protection, &source)
        .err()
        .unwrap();
    assert!(matches!(refused, ResourceError::Busy { .. }), "{refused}");
    assert!(!f.path("exclusive.db").exists());
    other.run("ROLLBACK; PRAGMA journal_mode = wal; INSERT INTO t VALUES ('in the log')");
    other.run("BEGIN IMMEDIATE; INSERT INTO t VALUES ('uncommitted')");
    let listed = names(&users);
    let db = f.import("live.db", &protection, &source).unwrap();
    let rows: String = db
        .connect()
        .unwrap()
        .query_row("SELECT group_concat(a, '+') FROM t", (), |r| r.get(0))
        .unwrap();
    assert_eq!(rows, "committed+in the log");
    assert_eq!(names(&users), listed);
    // The other one goes on as if nothing had been.
    other.run("COMMIT; INSERT INTO t VALUES ('later')");
    other.end();
    let conn = Connection::open(&source).unwrap();
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM t", (), |r| r.get(0))
        .unwrap();
    assert_eq!(rows, 4);
}

#[test]
fn import_into_a_database_with_data_changes_nothing() {
    let f = Fixture::new();
    let source = f.path("source");
    Connection::open(&source)
        .unwrap()
        .execute_batch(EVERYTHING)
        .unwrap();
    let db = f.create("db", &f.vault.protection());
    db.connect()
        .unwrap()
        .execute_batch("CREATE TABLE mine (a)")
        .unwrap();
    let refused = db.import(&source, &mut |_, _| ());
    assert!(matches!(refused, Err(ResourceError::Usage(_))));
    let content = content_hash(&db.connect().unwrap()).unwrap();
    assert_eq!(content.tables.len(), 1);
    let (id, protection) = (f.id, f.vault.protection());
    let create = |name: &str, page_size| {
        let page_size = PageSize::new(page_size).unwrap();
        SqlDatabase::create(&f.path(name), id, page_size, protection.clone(), &f.wrapper).unwrap()
    };
    let refused = create("other pages", 1024).import(&source, &mut |_, _| ());
    assert!(matches!(refused, Err(ResourceError::Usage(_))));
    let mut last = (0, 0);
    create("fresh", 4096)
        .import(&source, &mut |done, total| last = (done, total))
        .unwrap();
    assert!(last.0 == last.1 && last.1 > 0);
}

#[test]
fn a_database_under_another_identity_is_refused() {
    let f = Fixture::new();
    drop(f.create("db", &f.vault.protection()));
    assert!(f.open("db", &f.vault.protection()).is_ok());
    let other = random_id(ResourceId::from_bytes);
    let opened = SqlDatabase::open(&f.path("db"), other, f.vault.protection(), &f.wrapper);
    assert!(matches!(opened, Err(ResourceError::Unauthentic { .. })));
}

#[test]
fn a_disabled_key_closes_the_database_until_it_is_enabled_again() {
    let f = Fixture::new();
    drop(f.create("db", &f.vault.protection()));
    f.vault.enable(0, false);
    match f.open("db", &f.vault.protection()).err().unwrap() {
        ResourceError::KeyUnavailable { why, .. } => assert!(why.contains("KeyDisabled")),
        other => panic!("{other}"),
    }
    f.vault.enable(0, true);
    assert!(f.open("db", &f.vault.protection()).is_ok());
}

#[test]
fn rewrap_moves_the_key_and_leaves_the_data_alone() {
    let f = Fixture::new();
    let mut db = f.create("db", &f.vault.protection());
    db.connect()
        .unwrap()
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000))")
        .unwrap();
    let before = content_hash(&db.connect().unwrap()).unwrap();
    f.vault.rotate();
    let done = db.rewrap(&f.vault.protection()).unwrap();
    assert_ne!(done.from, done.to);
    assert_eq!(db.envelope().unwrap().key.to_string(), done.to);
    assert!(done.bytes_rewritten < 10_000);
    let len = fs::metadata(f.path("db")).unwrap().len();
    assert_eq!(done.bytes_untouched + done.bytes_rewritten, len);
    // The old version is needed no more, neither by the open database nor by the file.
    f.vault.enable(0, false);
    assert_eq!(content_hash(&db.connect().unwrap()).unwrap(), before);
    drop(db);
    let db = f.open("db", &f.vault.protection()).unwrap();
    assert_eq!(content_hash(&db.connect().unwrap()).unwrap(), before);
    f.vault.enable(1, false);
    assert!(f.open("db", &f.vault.protection()).is_err());
}

#[test]
fn an_open_database_follows_a_rewrap_made_elsewhere() {
    let f = Fixture::new();
    let db = f.create("db", &f.vault.protection());
    let conn = db.connect().unwrap();
    conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    f.vault.rotate();
    let rewrapped = f
        .open("db", &f.vault.protection())
        .unwrap()
        .rewrap(&f.vault.protection());
    let rewrapped = rewrapped.unwrap();
    assert_ne!(db.envelope().unwrap().key.to_string(), rewrapped.to);
    f.vault.enable(0, false);
    conn.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(db.envelope().unwrap().key.to_string(), rewrapped.to);
    f.vault.enable(1, false);
    let refused = db.explain(conn.execute_batch("INSERT INTO t VALUES (3)").unwrap_err());
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
}

/// Also when it did not look at the file between the rewrap and the revocation, and within a transaction
/// that began before both.
#[test]
fn disabling_the_new_key_stops_a_database_that_was_open_before_the_rewrap() {
    for within_a_transaction in [false, true] {
        let f = Fixture::new();
        let db = f.create("db", &f.vault.protection());
        let conn = db.connect().unwrap();
        // Not all of it fits into the page cache.
        conn.execute_batch(
            "PRAGMA cache_size = 10; CREATE TABLE t (a);
             INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             SELECT randomblob(3000) FROM n",
        )
        .unwrap();
        let read = || conn.query_row("SELECT sum(length(a)) FROM t", [], |r| r.get::<_, i64>(0));
        if within_a_transaction {
            conn.execute_batch("BEGIN").unwrap();
        }
        assert_eq!(read().unwrap(), 600_000);
        f.vault.rotate();
        let mut other = f.open("db", &f.vault.protection()).unwrap();
        other.rewrap(&f.vault.protection()).unwrap();
        f.vault.enable(1, false);
        let refused = db.explain(read().unwrap_err());
        assert!(
            matches!(refused, ResourceError::KeyUnavailable { .. }),
            "{within_a_transaction} {refused}"
        );
        f.vault.enable(1, true);
        if within_a_transaction && !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK").unwrap();
        }
        assert_eq!(read().unwrap(), 600_000);
        // The version before counts for nothing any more.
        f.vault.enable(0, false);
        assert_eq!(read().unwrap(), 600_000);
    }
}

/// Who knows the public half of the customer's key can wrap a key of his own with it.
#[test]
fn an_open_database_does_not_take_over_a_key_that_a_forger_wrapped() {
    let f = Fixture::new();
    let db = f.create("db", &f.vault.protection());
    let conn = db.connect().unwrap();
    conn.execute_batch("CREATE TABLE t (a)").unwrap();
    let original = fs::read(f.path("db")).unwrap();
    f.vault.rotate();
    f.create("forged", &f.vault.protection());
    let forged = fs::read(f.path("forged")).unwrap();
    let mut bytes = original.clone();
    bytes[..4096].copy_from_slice(&forged[..4096]);
    fs::write(f.path("db"), &bytes).unwrap();
    f.vault.enable(0, false);
    let refused = db.explain(conn.execute_batch("INSERT INTO t VALUES (1)").unwrap_err());
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
    fs::write(f.path("db"), &original).unwrap();
    f.vault.enable(0, true);
    conn.execute_batch("INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn rewrap_that_the_vault_refuses_changes_nothing() {
    let f = Fixture::new();
    let mut db = f.create("db", &f.vault.protection());
    let before = snapshot(f.dir.path());
    f.vault.rotate();
    f.vault.enable(1, false);
    let refused = db.rewrap(&f.vault.protection());
    assert!(matches!(refused, Err(ResourceError::KeyUnavailable { .. })));
    assert_eq!(snapshot(f.dir.path()), before);
    assert!(matches!(
        db.rewrap(&Protection::Plain),
        Err(ResourceError::Usage(_))
    ));
    let mut plain = f.create("plain", &Protection::Plain);
    assert!(matches!(
        plain.rewrap(&f.vault.protection()),
        Err(ResourceError::Usage(_))
    ));
    f.vault.enable(1, true);
    db.rewrap(&f.vault.protection()).unwrap();
}

#[test]
fn damage_in_a_plain_database_is_found_by_verify() {
    let f = Fixture::new();
    let db = f.create("db", &Protection::Plain);
    db.connect()
        .unwrap()
        .execute_batch("CREATE TABLE t (a PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)")
        .unwrap();
    let verified = db.verify(&mut |_, _| ()).unwrap();
    assert_eq!((verified.units, verified.bytes), (0, 3 * 4096));
    let mut bytes = fs::read(f.path("db")).unwrap();
    bytes[2 * 4096 + 4000..].fill(0x11);
    fs::write(f.path("db"), bytes).unwrap();
    let e = db.verify(&mut |_, _| ()).unwrap_err().to_string();
    assert!(e.contains("damaged"), "{e}");
}
