//! The work that SQL is measured by, on whatever a connection is opened to. benches/peers/ compiles this
//! file, too, with the SQLite of other programs that encrypt.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, Result, params};

/// The kinds of work, in the order in which they are done.
pub const WORK: [&str; 6] = [
    "bulk insert",
    "five full scans",
    "index build",
    "VACUUM",
    "random point reads",
    "small WAL transactions",
];

/// What one round gave.
pub struct Taken {
    /// Seconds of each kind of work that was asked for.
    pub seconds: [Option<f64>; WORK.len()],
    /// Length of the main file after the bulk insert, in bytes.
    pub bytes: u64,
}

/// All kinds of work, or the one `only`, on the new database at `path`. Of `rows` rows a fifth is read
/// at random, from twice as many (200 MB for a million), and a fiftieth changed, each in a
/// transaction of its own. `cool` is called before scans and before random reads, while no connection is open.
pub fn run(
    connect: &dyn Fn() -> Result<Connection>,
    path: &Path,
    rows: i64,
    only: Option<&str>,
    cool: &dyn Fn(),
) -> Result<Taken> {
    let mut seconds = [None; WORK.len()];
    let wanted = |work: usize| only.is_none_or(|only| WORK[work] == only);
    let conn = connect()?;
    conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")?;
    // Every other kind of work needs the rows.
    let taken = timed(|| insert(&conn, 0, rows))?;
    seconds[0] = wanted(0).then_some(taken);
    drop(conn);
    let bytes = std::fs::metadata(path).map_or(0, |about| about.len());
    cool();
    let conn = connect()?;
    if wanted(1) {
        seconds[1] = Some(timed(|| {
            for _ in 0..5 {
                let sum: i64 =
                    conn.query_row("SELECT sum(length(body)) FROM t", (), |r| r.get(0))?;
                assert_eq!(sum, rows * 100, "the rows are those that were inserted");
            }
            Ok(())
        })?);
    }
    if wanted(2) {
        seconds[2] = Some(timed(|| conn.execute_batch("CREATE INDEX i ON t (body)"))?);
        conn.execute_batch("DROP INDEX i")?;
    }
    if wanted(3) {
        seconds[3] = Some(timed(|| conn.execute_batch("VACUUM"))?);
    }
    if wanted(4) {
        insert(&conn, rows, 2 * rows)?;
    }
    drop(conn);
    cool();
    let conn = connect()?;
    conn.pragma_update(None, "cache_size", -2048)?;
    if wanted(4) {
        seconds[4] = Some(timed(|| read(&conn, rows / 5, 2 * rows))?);
    }
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "normal")?;
    if wanted(5) {
        seconds[5] = Some(timed(|| {
            let mut update = conn.prepare("UPDATE t SET body = ?2 WHERE id = ?1")?;
            for n in 0..rows / 50 {
                let id = n * 48_611 % rows;
                update.execute(params![id, [n as u8; 100]])?;
            }
            Ok(())
        })?);
    }
    Ok(Taken { seconds, bytes })
}

/// In one transaction.
fn insert(conn: &Connection, from: i64, to: i64) -> Result<()> {
    conn.execute_batch("BEGIN")?;
    let mut insert = conn.prepare("INSERT INTO t VALUES (?1, ?2)")?;
    let mut body = [0u8; 100];
    for id in from..to {
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64);
        body[..8].copy_from_slice(&mixed.to_le_bytes());
        insert.execute(params![id, &body[..]])?;
    }
    conn.execute_batch("COMMIT")
}

fn read(conn: &Connection, reads: i64, rows: i64) -> Result<()> {
    let mut read = conn.prepare("SELECT body FROM t WHERE id = ?1")?;
    let mut id = 1i64;
    for _ in 0..reads {
        // A full-period generator (Knuth, MMIX): the same places for all.
        id = id
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let row: Vec<u8> = read.query_row([(id >> 1).rem_euclid(rows)], |row| row.get(0))?;
        assert_eq!(row.len(), 100, "a row has its length");
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

impl Taken {
    /// Lines of a name, a tab and a number, for a program that puts the rounds of several processes together.
    pub fn lines(&self) -> Vec<String> {
        let named = WORK.iter().zip(self.seconds);
        let seconds = named.filter_map(|(name, s)| s.map(|s| format!("{name}\t{s}")));
        seconds
            .chain([format!("file size\t{}", self.bytes)])
            .collect()
    }
}
