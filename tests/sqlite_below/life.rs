//! Databases, sealed or plain, that are used after a plan. A child lives such a life under strace, and
//! says when a commit has returned.

use std::io::Write;
use std::path::Path;

use rusqlite::Connection;

use crate::database::{Database, Kind, content};
use crate::fixture::SLOT;
use crate::plan::{Act, Plan};

/// A database (or two) that is being used after a plan.
pub struct Life {
    pub plan: Plan,
    pub main: Database,
    other: Option<Database>,
    pub conn: Option<Connection>,
    pub reader: Option<Connection>,
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

    pub fn connect(&self) -> Result<Connection, String> {
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

    pub fn act(&mut self, act: &Act) -> Result<(), String> {
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

/// A line that the trace records in its place: one call of `write`.
pub fn say(line: &str) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
