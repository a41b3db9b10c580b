//! Lives of a database, sealed or plain: the same steps in each journal mode, with commits that are
//! numbered. A child lives one under strace and says when a commit has returned.

use std::io::Write;
use std::path::{Path, PathBuf};

use atrest::resource::sql::content_hash;
use atrest::sqlite::{Freshness, PageSize, SealedDatabase};
use rusqlite::Connection;

use crate::fixture::{FILE, SLOT, key, open};

/// Which of the two twins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Sealed,
    Plain,
}

pub const KINDS: [Kind; 2] = [Kind::Sealed, Kind::Plain];

/// A database of either kind.
pub struct Database {
    path: PathBuf,
    pub sealed: Option<SealedDatabase>,
}

impl Database {
    pub fn create(kind: Kind, path: &Path, page_size: u32) -> Result<Self, String> {
        let sealed = match kind {
            Kind::Sealed => {
                let page_size = PageSize::new(page_size).unwrap();
                let made =
                    SealedDatabase::create(path, FILE, page_size, Freshness::Kept, &SLOT, key());
                Some(made.map_err(|e| format!("create: {e}"))?)
            }
            Kind::Plain => None,
        };
        let path = path.to_owned();
        let database = Self { path, sealed };
        if kind == Kind::Plain {
            // The page size is part of the file from the first write on.
            let sql = format!("PRAGMA page_size = {page_size}; VACUUM");
            let made = database.connect()?.execute_batch(&sql);
            made.map_err(|e| database.explain(e))?;
        }
        Ok(database)
    }

    /// An error of a connection, in the words that a user sees.
    fn explain(&self, error: rusqlite::Error) -> String {
        match &self.sealed {
            Some(sealed) => sealed.explain(error).to_string(),
            None => error.to_string(),
        }
    }

    pub fn open(kind: Kind, path: &Path) -> Result<Self, String> {
        let sealed = match kind {
            Kind::Sealed => Some(open(path).map_err(|e| format!("open: {e}"))?),
            Kind::Plain => None,
        };
        let path = path.to_owned();
        Ok(Self { path, sealed })
    }

    pub fn connect(&self) -> Result<Connection, String> {
        match &self.sealed {
            Some(sealed) => sealed.connect().map_err(|e| format!("connect: {e}")),
            None => {
                let conn = Connection::open(&self.path);
                conn.map_err(|e| format!("connect: {e}"))
            }
        }
    }

    /// The name for ATTACH.
    pub fn uri(&self) -> String {
        match &self.sealed {
            Some(sealed) => sealed.uri(),
            None => format!("file:{}", self.path.display()),
        }
    }

    /// Passes on a plain one.
    pub fn verify(&self) -> Result<(), String> {
        match &self.sealed {
            Some(sealed) => sealed
                .verify(&mut |_, _| ())
                .map(|_| ())
                .map_err(|e| format!("verify: {e}")),
            None => Ok(()),
        }
    }
}

/// How a database is used.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub mode: &'static str,
    pub synchronous: &'static str,
    pub page_size: u32,
    /// A second database takes part in each transaction, through a super-journal.
    pub two: bool,
}

const fn plan(mode: &'static str, synchronous: &'static str, page_size: u32) -> Plan {
    Plan {
        mode,
        synchronous,
        page_size,
        two: false,
    }
}

const fn two(mode: &'static str, synchronous: &'static str, page_size: u32) -> Plan {
    Plan {
        two: true,
        ..plan(mode, synchronous, page_size)
    }
}

pub const PLANS: [Plan; 16] = [
    plan("delete", "FULL", 512),
    plan("delete", "EXTRA", 4096),
    plan("delete", "NORMAL", 1024),
    plan("truncate", "FULL", 512),
    plan("truncate", "NORMAL", 4096),
    plan("persist", "FULL", 4096),
    plan("persist", "NORMAL", 512),
    plan("wal", "FULL", 512),
    plan("wal", "FULL", 4096),
    plan("wal", "NORMAL", 512),
    plan("wal", "NORMAL", 4096),
    // From one mode to the next, all along.
    plan("changing", "FULL", 512),
    two("delete", "FULL", 512),
    two("delete", "EXTRA", 4096),
    two("truncate", "FULL", 1024),
    two("persist", "FULL", 512),
];

impl Plan {
    pub fn name(&self) -> String {
        let two = if self.two { "-two" } else { "" };
        let synchronous = self.synchronous.to_lowercase();
        format!("{}-{synchronous}-{}{two}", self.mode, self.page_size)
    }

    pub fn named(name: &str) -> Self {
        let found = PLANS.into_iter().find(|plan| plan.name() == name);
        found.unwrap_or_else(|| panic!("no plan is named {name}"))
    }

    fn acts(&self) -> Vec<Act> {
        let len = self.page_size * 2 / 5;
        let both = |sql: &str| match self.two {
            false => sql.to_owned(),
            true => format!(
                "{sql}; {}",
                sql.replace(" main.", " other.").replace("'m", "'o")
            ),
        };
        let made = both(&format!(
            "CREATE TABLE main.mark (n); INSERT INTO main.mark VALUES (0);
             CREATE TABLE main.t (id INTEGER PRIMARY KEY, n INT, b TEXT);
             CREATE INDEX main.i ON t (n);
             WITH RECURSIVE g (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 36)
                INSERT INTO main.t SELECT i, 0, printf('m%0{len}d', i) FROM g"
        ));
        let count = both("UPDATE main.mark SET n = n + 1");
        let small = Act::Commit(format!("BEGIN; {count}; COMMIT"));
        // Changes many pages, so that the small cache spills; grows; undoes a part.
        let round = |r: u32| {
            let change = both(&format!(
                "UPDATE main.t SET n = n + id % 5, b = printf('m%0{len}d', id * 7919 + {r})
                    WHERE id % 3 = {r} % 3;
                 SAVEPOINT s; DELETE FROM main.t WHERE id % 2; ROLLBACK TO s; RELEASE s;
                 INSERT INTO main.t (n, b) SELECT {r}, printf('m%0{len}d', id * {r}) FROM t LIMIT 4"
            ));
            Act::Commit(format!("BEGIN; {count}; {change}; COMMIT"))
        };
        let undone = both(&format!(
            "UPDATE main.t SET b = printf('m%0{len}d', id * 31337);
             DELETE FROM main.t WHERE id > 10; CREATE TABLE main.gone (a)"
        ));
        let undone = Act::Run(format!("BEGIN; {undone}; ROLLBACK"));
        let shrink = both("DELETE FROM main.t WHERE id % 4 = 1");
        let shrink = Act::Commit(format!("BEGIN; {count}; {shrink}; COMMIT"));
        let checkpoint = |kind: &str| Act::Run(format!("PRAGMA wal_checkpoint({kind})"));
        let change = |mode: &str| match self.mode {
            "changing" => Act::Run(format!("PRAGMA journal_mode = {mode}")),
            _ => Act::Run(String::new()),
        };
        vec![
            Act::Commit(format!("BEGIN; {made}; COMMIT")),
            round(1),
            change("wal"),
            small.clone(),
            small.clone(),
            checkpoint("PASSIVE"),
            round(2),
            undone.clone(),
            round(3),
            Act::ReaderBegins,
            round(4),
            checkpoint("PASSIVE"),
            small.clone(),
            Act::ReaderEnds,
            change("truncate"),
            checkpoint("RESTART"),
            small.clone(),
            small.clone(),
            Act::Reopen,
            change("persist"),
            round(5),
            checkpoint("FULL"),
            shrink,
            undone,
            Act::Rewrap,
            change("wal"),
            Act::Run("VACUUM".to_owned()),
            small.clone(),
            checkpoint("TRUNCATE"),
            round(6),
            change("delete"),
            Act::Rewrap,
            small.clone(),
            Act::Reopen,
            small,
        ]
    }
}

/// One step of a life.
#[derive(Clone, Debug)]
enum Act {
    /// Ends with the commit of a state that was never there.
    Commit(String),
    /// Leaves the content as it is.
    Run(String),
    /// Closes and opens.
    Reopen,
    /// Replaces the key slot.
    Rewrap,
    ReaderBegins,
    ReaderEnds,
}

/// A database (or two) that is being used after a plan.
pub struct Life {
    plan: Plan,
    main: Database,
    other: Option<Database>,
    conn: Option<Connection>,
    reader: Option<Connection>,
    committed: usize,
}

impl Life {
    /// New databases `db` and `other` in `dir`.
    pub fn begin(kind: Kind, plan: Plan, dir: &Path) -> Result<Self, String> {
        let main = Database::create(kind, &dir.join("db"), plan.page_size)?;
        let other = match plan.two {
            true => Some(Database::create(kind, &dir.join("other"), plan.page_size)?),
            false => None,
        };
        Ok(Self {
            plan,
            main,
            other,
            conn: None,
            reader: None,
            committed: 0,
        })
    }

    /// Lives all of it, and says what was committed.
    pub fn live(mut self) {
        self.conn = Some(self.connect().unwrap());
        self.say_committed();
        for act in self.plan.acts() {
            self.act(&act).unwrap_or_else(|e| panic!("{act:?}: {e}"));
            if matches!(act, Act::Commit(_)) {
                self.committed += 1;
                self.say_committed();
            }
        }
        say("closes");
    }

    /// Lives on through failures of the system, beside a twin in memory that has none: what failed
    /// has no effect, or all of it where it was a commit; what did not fail has its effect. Says
    /// what is there, and what may be there since.
    pub fn endure(mut self) {
        let mut twin = Connection::open_in_memory().unwrap();
        say(&format!("is {}", content(&twin).unwrap()));
        // Commits that failed: as long as no other follows, a recovery may find them whole.
        let mut doubts = Vec::new();
        for act in self.plan.acts() {
            self.reconnect();
            let mut commits = false;
            if let Act::Commit(sql) = &act {
                let after = copy(&twin);
                // Fails here as there, when what it builds on has failed.
                if after.execute_batch(sql).is_err() {
                    continue;
                }
                say(&format!("may be {}", content(&after).unwrap()));
                doubts.push(after);
                commits = true;
            }
            if self.conn.is_none() {
                continue;
            }
            let done = self.act(&act);
            if let Err(why) = &done {
                self.is_clean(why);
                self.undo();
            }
            let found = self.look();
            let is = |twin: &Connection| found == content(twin).ok();
            if commits && done.is_ok() {
                twin = doubts.pop().unwrap();
                assert!(
                    found.is_none() || is(&twin),
                    "{act:?}: was done, and is not there"
                );
            } else if found.is_some() && !is(&twin) {
                let came_true = doubts.iter().position(is);
                let came_true = came_true.unwrap_or_else(|| panic!("{act:?}: another content"));
                twin = doubts.swap_remove(came_true);
            } else {
                continue;
            }
            doubts.clear();
            say(&format!("is {}", content(&twin).unwrap()));
        }
        say("ends");
    }

    /// Ends what a failed act left open.
    fn undo(&mut self) {
        let open = self.conn.as_ref().filter(|conn| !conn.is_autocommit());
        if open.is_some_and(|conn| conn.execute_batch("ROLLBACK").is_err()) {
            self.conn = None;
        }
    }

    /// Connects where there is no connection.
    fn reconnect(&mut self) {
        if self.conn.is_none() {
            self.reader = None;
            self.conn = self.connect().map_err(|why| self.is_clean(&why)).ok();
        }
    }

    /// What can be read now, on this connection or a new one.
    fn look(&mut self) -> Option<String> {
        for _ in 0..2 {
            self.reconnect();
            match content(self.conn.as_ref()?) {
                Ok(content) => return Some(content),
                Err(why) => self.is_clean(&why),
            }
            self.conn = None;
        }
        None
    }

    /// A failure of the system is told as what it is: not as altered bytes, a wrong key, a bug.
    fn is_clean(&self, why: &str) {
        say(&format!("fails: {why}"));
        // SQLite itself calls a page that cannot be read malformed.
        let malformed = match &self.main.sealed {
            Some(_) => "malformed",
            None => "misuse",
        };
        let wrong = [malformed, "authenti", "not a database", "locked", "misuse"];
        assert!(!wrong.iter().any(|word| why.contains(word)), "{why}");
    }

    fn connect(&self) -> Result<Connection, String> {
        let Plan {
            mode, synchronous, ..
        } = self.plan;
        let conn = self.main.connect()?;
        let setup = |name: &str| -> Result<(), String> {
            let mode = if mode == "changing" { "delete" } else { mode };
            conn.pragma_update(Some(name), "cache_size", 5)
                .map_err(|e| self.main.explain(e))?;
            conn.pragma_update(Some(name), "synchronous", synchronous)
                .map_err(|e| self.main.explain(e))?;
            let sql = format!("PRAGMA {name}.journal_mode = {mode}");
            let set = conn.query_row(&sql, (), |row| row.get::<_, String>(0));
            match set.map_err(|e| self.main.explain(e))? == mode {
                true => Ok(()),
                false => Err("the journal mode was not taken".to_owned()),
            }
        };
        setup("main")?;
        if let Some(other) = &self.other {
            conn.execute("ATTACH ? AS other", [other.uri()])
                .map_err(|e| self.main.explain(e))?;
            setup("other")?;
        }
        conn.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 60")
            .map_err(|e| self.main.explain(e))?;
        Ok(conn)
    }

    fn act(&mut self, act: &Act) -> Result<(), String> {
        let explain = |e| self.main.explain(e);
        match act {
            Act::Commit(sql) | Act::Run(sql) => {
                let conn = self.conn.as_ref().unwrap();
                return conn.execute_batch(sql).map_err(explain);
            }
            Act::Reopen => {
                self.conn = None;
                self.conn = Some(self.connect()?);
            }
            Act::Rewrap => {
                if let Some(sealed) = &self.main.sealed {
                    let slot = SLOT.map(|b| b ^ 0xff);
                    sealed.replace_key_slot(&slot).map_err(|e| e.to_string())?;
                }
            }
            // Keeps a checkpoint from coming to its end; with a rollback journal, nobody could write.
            Act::ReaderBegins => {
                let conn = self.conn.as_ref().unwrap();
                let mode = conn.query_row("PRAGMA journal_mode", (), |row| row.get(0));
                let mode: String = mode.map_err(explain)?;
                if mode == "wal" {
                    let reader = self.main.connect()?;
                    let begun = reader.execute_batch("BEGIN; SELECT count(*) FROM t");
                    begun.map_err(explain)?;
                    self.reader = Some(reader);
                }
            }
            Act::ReaderEnds => self.reader = None,
        }
        Ok(())
    }

    fn say_committed(&self) {
        say(&format!("committed {}", self.committed));
        let mut all = content(self.conn.as_ref().unwrap()).unwrap();
        if let Some(other) = &self.other {
            all += &content(&other.connect().unwrap()).unwrap();
        }
        say(&format!("state {} {all}", self.committed));
    }
}

fn copy(from: &Connection) -> Connection {
    let mut to = Connection::open_in_memory().unwrap();
    let copying = rusqlite::backup::Backup::new(from, &mut to).unwrap();
    copying
        .run_to_completion(1000, std::time::Duration::ZERO, None)
        .unwrap();
    drop(copying);
    to
}

/// A line that the trace records in its place: one call of `write`.
pub fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// What `main` of a connection holds, as one word.
pub fn content(conn: &Connection) -> Result<String, String> {
    let content = content_hash(conn).map_err(|e| format!("content: {e}"))?;
    Ok(content.sha256())
}
