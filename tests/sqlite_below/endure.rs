//! A life with failures of the system.

use rusqlite::Connection;

use crate::database::content;
use crate::life::{Life, say};
use crate::plan::Act;

impl Life {
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
