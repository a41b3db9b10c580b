//! A working directory with one database, and what is expected of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use assert_cmd::cargo::cargo_bin;
use atrest::base::SystemClock;
use atrest::crypto::KeyKind;
use atrest::resource::sql::{Content, SqlDatabase, content_hash};
use atrest::resource::{ProtectedResource, Protection};
use atrest::sqlite::PageSize;
use atrest::vault::VaultSettings;
use atrest::world::{AskPassphrase, InitOptions, ResourceAddress, Workspace};
use rusqlite::Connection;

use crate::scratch::Scratch;

pub const ROWS: &str = "CREATE TABLE t (a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE c (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 9000)
    INSERT INTO t SELECT x, 'a secret of row ' || x || hex(zeroblob(50)) FROM c;
    CREATE INDEX i ON t (b);
    DELETE FROM t WHERE a % 100 < 20";

pub struct Work {
    dir: Scratch,
    pub workspace: Workspace,
}

impl Work {
    /// With the database `db`, which holds [`ROWS`].
    pub fn new(protected: bool) -> Self {
        let work = Self::with(PageSize::DEFAULT, protected);
        let conn = work.open().connect().unwrap();
        conn.execute_batch(ROWS).unwrap();
        drop(conn);
        work
    }

    /// With the database `db`, which is plain and empty.
    pub fn of_page_size(bytes: u32) -> Self {
        Self::with(PageSize::new(bytes).unwrap(), false)
    }

    fn with(page_size: PageSize, protected: bool) -> Self {
        let dir = Scratch::new();
        let options = InitOptions {
            environment: "production".parse().unwrap(),
            customer_key: Some(("customer-key".parse().unwrap(), KeyKind::Oct256)),
            passphrase: None,
            vault: VaultSettings::default(),
        };
        let workspace =
            Workspace::init(&dir.path().join("w"), options, Arc::new(SystemClock)).unwrap();
        let work = Self { dir, workspace };
        let how = match protected {
            true => work.protection(),
            false => Protection::Plain,
        };
        let made = work.workspace.create_sql(&address(), how, page_size);
        made.unwrap();
        work
    }

    /// Under the customer's key.
    pub fn protection(&self) -> Protection {
        let key = self.workspace.customer_key(None).unwrap();
        Protection::CustomerManaged { key }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("w")
    }

    /// As another process sees it.
    pub fn reopen(&self) -> Workspace {
        open(&self.root())
    }

    pub fn open(&self) -> SqlDatabase {
        self.reopen().open_sql(&address()).unwrap()
    }

    /// The main file.
    pub fn file(&self) -> PathBuf {
        self.root().join("environments/production/sql/db.db")
    }

    /// Files beside the database that are a conversion's.
    pub fn left_over(&self) -> Vec<String> {
        let listed = fs::read_dir(self.file().parent().unwrap()).unwrap();
        let names = listed.map(|file| file.unwrap().file_name().into_string().unwrap());
        let sqlite_s = ["db.db", "db.db-wal", "db.db-shm", "db.db-journal"];
        names.filter(|name| !sqlite_s.contains(&&**name)).collect()
    }

    /// A command of the program.
    pub fn start(&self, args: &[&str]) -> Child {
        Command::new(cargo_bin("atrest"))
            .env_remove("ATREST_DIR")
            .arg("--dir")
            .arg(self.root())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What a command prints that must work.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.start(args).wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whole, and with this content.
    pub fn holds(&self, expected: &Content) {
        let database = self.open();
        let conn = database.connect().unwrap();
        assert_eq!(&content_hash(&conn).unwrap(), expected);
        drop(conn);
        database.verify(&mut |_, _| ()).unwrap();
    }
}

pub fn open(root: &Path) -> Workspace {
    let ask: AskPassphrase = Arc::new(|_| Err("no passphrase".to_owned()));
    Workspace::open(root, ask, Arc::new(SystemClock)).unwrap()
}

pub fn address() -> ResourceAddress {
    "sql/db".parse().unwrap()
}

/// The same statements in memory: what must come out.
pub fn twin() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(ROWS).unwrap();
    conn
}
