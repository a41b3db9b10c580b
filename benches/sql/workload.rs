//! The work that SQL is measured by, on whatever a connection is opened to. The bench `sql` compiles
//! it with this program's SQLite; benches/peers/ with the SQLite of other programs that encrypt.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

/// The kinds of work, in the order in which they are done.
pub const WORK: [&str; 6] = [
    "bulk insert",
    "five full scans",
    "index build",
    "VACUUM",
    "random point reads",
    "small WAL transactions",
];

/// Rows, unless told otherwise; a row is of 100 bytes.
pub const ROWS: i64 = 1_000_000;

/// What one round gave.
pub struct Taken {
    /// Seconds of each kind of work that was asked for.
    pub seconds: [Option<f64>; WORK.len()],
    /// Length of the main file after the bulk insert, in bytes.
    pub bytes: u64,
}

/// All kinds of work, or the one `only`, on the new database at `path`. Of `rows` rows a fifth is read
/// at random, from twice as many (200 MB for a million), and a fiftieth changed, each in a
/// transaction of its own.
pub fn run(connect: &dyn Fn() -> Connection, path: &Path, rows: i64, only: Option<&str>) -> Taken {
    let mut seconds = [None; WORK.len()];
    let wanted = |work: usize| only.is_none_or(|only| WORK[work] == only);
    let conn = connect();
    conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB)")
        .unwrap();
    // Every other kind of work needs the rows.
    let taken = timed(|| insert(&conn, 0, rows));
    seconds[0] = wanted(0).then_some(taken);
    drop(conn);
    let bytes = std::fs::metadata(path).unwrap().len();
    let conn = connect();
    seconds[1] = wanted(1).then(|| {
        timed(|| {
            for _ in 0..5 {
                let sum: i64 = conn
                    .query_row("SELECT sum(length(body)) FROM t", (), |row| row.get(0))
                    .unwrap();
                assert_eq!(sum, rows * 100);
            }
        })
    });
    seconds[2] = wanted(2).then(|| {
        let taken = timed(|| conn.execute_batch("CREATE INDEX i ON t (body)").unwrap());
        conn.execute_batch("DROP INDEX i").unwrap();
        taken
    });
    seconds[3] = wanted(3).then(|| timed(|| conn.execute_batch("VACUUM").unwrap()));
    if wanted(4) {
        insert(&conn, rows, 2 * rows);
    }
    drop(conn);
    let conn = connect();
    conn.pragma_update(None, "cache_size", -2048).unwrap();
    seconds[4] = wanted(4).then(|| timed(|| read(&conn, rows / 5, 2 * rows)));
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    conn.pragma_update(None, "synchronous", "normal").unwrap();
    seconds[5] = wanted(5).then(|| {
        timed(|| {
            let mut update = conn
                .prepare("UPDATE t SET body = ?2 WHERE id = ?1")
                .unwrap();
            for n in 0..rows / 50 {
                let id = n * 48_611 % rows;
                update.execute(params![id, [n as u8; 100]]).unwrap();
            }
        })
    });
    Taken { seconds, bytes }
}

/// In one transaction.
fn insert(conn: &Connection, from: i64, to: i64) {
    conn.execute_batch("BEGIN").unwrap();
    let mut insert = conn.prepare("INSERT INTO t VALUES (?1, ?2)").unwrap();
    let mut body = [0u8; 100];
    for id in from..to {
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64);
        body[..8].copy_from_slice(&mixed.to_le_bytes());
        insert.execute(params![id, &body[..]]).unwrap();
    }
    conn.execute_batch("COMMIT").unwrap();
}

fn read(conn: &Connection, reads: i64, rows: i64) {
    let mut read = conn.prepare("SELECT body FROM t WHERE id = ?1").unwrap();
    let mut id = 1i64;
    for _ in 0..reads {
        // A full-period generator (Knuth, MMIX): the same places for all.
        id = id
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let row: Vec<u8> = read
            .query_row([(id >> 1).rem_euclid(rows)], |row| row.get(0))
            .unwrap();
        assert_eq!(row.len(), 100);
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// One round in lines of a name, a tab and a number, for a program that puts the rounds of several
/// processes together.
pub fn print(taken: &Taken) {
    for (name, seconds) in WORK.iter().zip(taken.seconds) {
        if let Some(seconds) = seconds {
            println!("{name}\t{seconds}");
        }
    }
    println!("file size\t{}", taken.bytes);
}
