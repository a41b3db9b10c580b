//! A working directory whose database is converted in its place and used in between: what a child does
//! under strace.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::SystemClock;
use atrest::crypto::KeyKind;
use atrest::resource::Protection;
use atrest::resource::sql::SqlDatabase;
use atrest::sqlite::{Conversion, PageSize};
use atrest::vault::VaultSettings;
use atrest::world::{AskPassphrase, ConvertedInPlace, InitOptions, Workspace, WorldError};
use rusqlite::Connection;

use crate::database::content;
use crate::fixture::set_journal;
use crate::life::say;

/// Variables that tell a child which life to live, or which to go on with.
pub const LIFE: &str = "ATREST_TEST_CONVERSIONS";
pub const GOING_ON: &str = "ATREST_TEST_CONVERSION_GOES_ON";

/// The database, in the working directory.
pub const LIVE: &str = "environments/production/sql/db.db";

/// In each row.
pub const SECRET: &[u8] = b"a secret of row";

#[derive(Clone, Copy, PartialEq)]
pub struct Plan {
    pub mode: &'static str,
    pub page_size: u32,
}

pub const PLANS: [Plan; 4] = [
    plan("delete", 512),
    plan("delete", 4096),
    plan("wal", 512),
    plan("wal", 4096),
];

const fn plan(mode: &'static str, page_size: u32) -> Plan {
    Plan { mode, page_size }
}

impl Plan {
    pub fn name(&self) -> String {
        format!("{}-{}", self.mode, self.page_size)
    }

    pub fn named(name: &str) -> Self {
        let found = PLANS.into_iter().find(|plan| plan.name() == name);
        found.unwrap_or_else(|| panic!("no plan is named {name}"))
    }
}

pub fn open(dir: &Path) -> Result<Workspace, String> {
    let ask: AskPassphrase = Arc::new(|_| Err("no passphrase".to_owned()));
    Workspace::open(dir, ask, Arc::new(SystemClock)).map_err(|e| format!("open: {e}"))
}

pub fn open_sql(workspace: &Workspace) -> Result<SqlDatabase, String> {
    let opened = workspace.open_sql(&"sql/db".parse().unwrap());
    opened.map_err(|e| format!("open the database: {e}"))
}

/// A working directory with a plain database that has a history.
pub fn prepare(plan: Plan, dir: &Path) {
    let options = InitOptions {
        environment: "production".parse().unwrap(),
        customer_key: Some(("customer-key".parse().unwrap(), KeyKind::Oct256)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let workspace = Workspace::init(dir, options, Arc::new(SystemClock)).unwrap();
    let page_size = PageSize::new(plan.page_size).unwrap();
    let address = "sql/db".parse().unwrap();
    let made = workspace.create_sql(&address, Protection::Plain, page_size);
    let conn = made.unwrap().connect().unwrap();
    set_journal(&conn, plan.mode);
    let len = plan.page_size * 2 / 5;
    let secret = String::from_utf8_lossy(SECRET);
    conn.execute_batch(&format!(
        "CREATE TABLE mark (n); INSERT INTO mark VALUES (0);
         CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, b TEXT); CREATE INDEX i ON t (n);
         WITH RECURSIVE g (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 36)
            INSERT INTO t SELECT i, 0, '{secret} ' || printf('%0{len}d', i) FROM g"
    ))
    .unwrap();
}

/// One of the three, from its beginning or from where it was left.
pub fn convert(
    workspace: &Workspace,
    which: Conversion,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ConvertedInPlace, WorldError> {
    let address = "sql/db".parse().unwrap();
    match which {
        Conversion::Encryption => {
            let key = workspace.customer_key(None).unwrap();
            let to = Protection::CustomerManaged { key };
            workspace.encrypt_in_place(&address, &to, progress)
        }
        Conversion::KeyChange => workspace.change_key_in_place(&address, progress),
        Conversion::Decryption => workspace.decrypt_in_place(&address, progress),
        none => panic!("{none:?} is no conversion"),
    }
}

/// A working directory whose database is used.
pub struct Life {
    plan: Plan,
    pub dir: PathBuf,
    committed: u32,
}

impl Life {
    pub fn live(mut self) {
        self.say_committed();
        for which in [
            Conversion::Encryption,
            Conversion::KeyChange,
            Conversion::KeyChange,
            Conversion::Decryption,
        ] {
            self.commit();
            // It begins, and is kept from going on as if another process did.
            let scan = fs::File::create(self.dir.join(LIVE).with_extension("db-scan")).unwrap();
            scan.lock().unwrap();
            let begun = convert(&open(&self.dir).unwrap(), which, &mut |_, _| ());
            assert!(begun.unwrap_err().to_string().contains("in use"));
            drop(scan);
            self.commit();
            self.undo();
            self.commit();
            self.end(which);
            self.commit();
        }
        say("closes");
    }

    pub fn end(&mut self, which: Conversion) {
        let workspace = open(&self.dir).unwrap();
        convert(&workspace, which, &mut |_, _| self.commit()).unwrap();
    }

    /// Uses the database as a process does that was just started.
    fn connect<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let workspace = open(&self.dir).unwrap();
        let database = open_sql(&workspace).unwrap();
        let conn = database.connect().unwrap();
        conn.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA cache_size = 5")
            .unwrap();
        let mode: String = conn
            .query_row("PRAGMA journal_mode", (), |row| row.get(0))
            .unwrap();
        assert_eq!(mode, self.plan.mode);
        work(&conn)
    }

    pub fn commit(&mut self) {
        self.committed += 1;
        let (n, len) = (self.committed, self.plan.page_size * 2 / 5);
        // Some grow the file, some cut it, some only write.
        let more = match n % 5 {
            1 => format!(
                "INSERT INTO t (n, b) SELECT {n}, b || printf('%0{len}d', {n}) FROM t LIMIT 5"
            ),
            3 => "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id DESC LIMIT 7)".to_owned(),
            _ => format!("UPDATE t SET n = n + {n} WHERE id % 5 = {n} % 5"),
        };
        let after = match n % 5 {
            4 => "VACUUM",
            2 => "PRAGMA wal_checkpoint(PASSIVE)",
            _ => "",
        };
        self.connect(|conn| {
            conn.execute_batch(&format!(
                "BEGIN; UPDATE mark SET n = {n}; {more}; COMMIT; {after}"
            ))
            .unwrap();
        });
        self.say_committed();
    }

    fn undo(&self) {
        self.connect(|conn| {
            conn.execute_batch(
                "BEGIN; UPDATE t SET b = b || id; DELETE FROM t WHERE id > 9; ROLLBACK",
            )
            .unwrap();
        });
    }

    pub fn say_committed(&self) {
        say(&format!("committed {}", self.committed));
        let found = self.connect(|conn| content(conn).unwrap());
        say(&format!("state {} {found}", self.committed));
    }
}

pub fn asked(variable: &str) -> Option<Life> {
    let asked = std::env::var(variable).ok()?;
    let (plan, dir) = asked.split_once(' ').unwrap();
    Some(Life {
        plan: Plan::named(plan),
        dir: dir.into(),
        committed: 0,
    })
}
