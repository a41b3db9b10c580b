//! What is done to a database: the same steps in each journal mode, with commits that are numbered.

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

/// Lives that never sync. A power cut may leave anything of them; a process that is killed leaves
/// all that it wrote, so that nothing may be lost.
pub const UNSYNCED: [Plan; 3] = [
    plan("delete", "OFF", 512),
    plan("truncate", "OFF", 1024),
    plan("persist", "OFF", 4096),
];

impl Plan {
    pub fn name(&self) -> String {
        let two = if self.two { "-two" } else { "" };
        let synchronous = self.synchronous.to_lowercase();
        format!("{}-{synchronous}-{}{two}", self.mode, self.page_size)
    }

    pub fn named(name: &str) -> Self {
        let mut all = PLANS.into_iter().chain(UNSYNCED);
        let found = all.find(|plan| plan.name() == name);
        found.unwrap_or_else(|| panic!("no plan is named {name}"))
    }

    pub fn acts(&self) -> Vec<Act> {
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
pub enum Act {
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
