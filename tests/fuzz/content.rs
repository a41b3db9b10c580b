//! What the database of the corpora holds in each state, and what is read of one.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

/// The statements of each state after the one before. Each row says which it is and in which version,
/// so that a row that nobody wrote is told from an old one.
pub const COMMITS: [&str; 6] = [
    "CREATE TABLE t (a INTEGER PRIMARY KEY, v INTEGER, b TEXT);
     CREATE INDEX i ON t (v, b);
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO t SELECT i, 0, printf('row %d in version %d', i, 0) FROM n;",
    "UPDATE t SET v = 1, b = printf('row %d in version %d', a, 1) WHERE a % 3 = 0;",
    "DELETE FROM t WHERE a % 2 = 1;",
    "WITH RECURSIVE n (i) AS (SELECT 50 UNION ALL SELECT i + 1 FROM n WHERE i < 70)
        INSERT INTO t SELECT i, 3, printf('row %d in version %d', i, 3) FROM n;",
    "UPDATE t SET v = 4, b = printf('row %d in version %d', a, 4);",
    "DELETE FROM t WHERE a > 60;",
];

/// Statements of a fork: what a copy that was taken after state 1 went on with.
pub const FORK: &str =
    "UPDATE t SET v = 9, b = printf('row %d in version %d', a, 9) WHERE a % 3 < 2;";
/// The number of the fork's state.
pub const FORKED: usize = COMMITS.len();

/// A further commit, to see that an altered file can be written again.
pub const MORE: &str = "INSERT INTO t VALUES (1000, 99, 'row 1000 in version 99')";

const SCAN: &str = "SELECT a, v, b FROM t NOT INDEXED ORDER BY a";
const SCAN_INDEX: &str = "SELECT a, v, b FROM t INDEXED BY i ORDER BY v, b, a";

/// Steps of SQLite's virtual machine, in thousands, within which all is read: some ten times of what the
/// largest state takes.
const MOST_STEPS: u32 = 100;

/// The rows, each as text, once by the table and once by its index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    pub rows: Vec<String>,
    indexed: Vec<String>,
}

impl Content {
    pub fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let scan = |sql| {
            let mut statement = conn.prepare(sql)?;
            statement
                .query_map((), text)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let (rows, mut indexed) = (scan(SCAN)?, scan(SCAN_INDEX)?);
        indexed.sort();
        Ok(Self { rows, indexed })
    }

    /// Whether table and index say the same.
    pub fn agrees(&self) -> bool {
        let mut rows = self.rows.clone();
        rows.sort();
        rows == self.indexed
    }

    /// The number of the state that this is.
    pub fn state(&self) -> Option<usize> {
        let whole = self.agrees();
        STATES.iter().position(|rows| whole && *rows == self.rows)
    }

    /// A row that was never written.
    pub fn foreign(&self) -> Option<&String> {
        let mut rows = self.rows.iter().chain(&self.indexed);
        rows.find(|row| !EVER.contains(*row))
    }
}

/// Bounds SQLite's work on this connection: a file that makes it work without end gives an error.
pub fn limit(conn: &mut Connection) -> rusqlite::Result<()> {
    let mut steps = 0;
    conn.progress_handler(
        1000,
        Some(move || {
            steps += 1;
            steps > MOST_STEPS
        }),
    )
}

fn text(row: &Row<'_>) -> rusqlite::Result<String> {
    let [a, v, b] = [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?].map(|v| match v {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    });
    Ok(format!("{a} {v} {b}"))
}

/// The rows of each state; the last one is the fork's.
pub static STATES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
    let states = |commits: &[&str]| {
        let conn = Connection::open_in_memory().unwrap();
        let after = commits.iter().map(|sql| {
            conn.execute_batch(sql).unwrap();
            Content::read(&conn).unwrap().rows
        });
        after.collect::<Vec<_>>()
    };
    let mut all = states(&COMMITS);
    all.extend(states(&[COMMITS[0], COMMITS[1], FORK]).pop());
    all
});

static EVER: LazyLock<BTreeSet<&String>> = LazyLock::new(|| STATES.iter().flatten().collect());
