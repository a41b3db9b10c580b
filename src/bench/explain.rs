//! Where the time of one operation goes: parts that add up to the whole, or a word that they do not.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::params;

use crate::base::{Part, Recorded, record, within};
use crate::crypto::KeyKind;
use crate::resource::blob::{BlobName, BlobPath};
use crate::sqlite::PageSize;

use super::load::{Served, asking, request_to};
use super::parts::{Explained, Round, Rounds};
use super::plan::Plan;
use super::{BenchError, files, places};

/// A vault that is not there.
const NOBODY: &str = "nobody.vault.azure.net";

/// What is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A transaction that changes one row of a sealed database.
    Sql,
    /// A blob that is put.
    Blob,
    /// A key that a client of the server's unwraps.
    Vault,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sql, Self::Blob, Self::Vault];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Blob => "blob",
            Self::Vault => "vault",
        }
    }
}

/// Measures one operation as a whole and in parts, in turn.
pub fn explain(operation: Operation, plan: &Plan) -> Result<Explained, BenchError> {
    match operation {
        Operation::Sql => sql(plan),
        Operation::Blob => blob(plan),
        Operation::Vault => vault(plan),
    }
}

/// How long rounds are taken at most.
fn most(plan: &Plan) -> Duration {
    Duration::from_secs(plan.scale.of(8, 30, 120))
}

/// Rounds of `operations`: `work` does them, once without and once with a look inside.
fn rounds(
    plan: &Plan,
    operations: u32,
    mut work: impl FnMut() -> Result<(), BenchError>,
) -> Result<Rounds, BenchError> {
    Rounds::take(operations, plan.samples(), most(plan), |number| {
        let mut whole = 0.0;
        let mut recorded = None;
        // Each goes first as often as the other: what comes with every second time, such as a checkpoint, would be
        // in one of them only.
        for looks in [number % 2 == 1, number % 2 == 0] {
            if looks {
                let (done, found) = record(&mut work);
                done?;
                recorded = Some(found);
            } else {
                let begun = Instant::now();
                work()?;
                whole = begun.elapsed().as_nanos() as f64;
            }
        }
        Ok(Round {
            whole,
            recorded: recorded.expect("one of the two looks"),
            beside: 0.0,
        })
    })
}

fn sql(plan: &Plan) -> Result<Explained, BenchError> {
    const ROWS: i64 = 20_000;
    // Each writes a page into the log, and a checkpoint comes with each 1000: as many in each round.
    let changes: u32 = plan.scale.of(1000, 2000, 4000);
    let dir = files::scratch(&plan.dir)?;
    let workspace = places::make(&dir.path().join("work"), KeyKind::Oct256)?;
    let address = "sql/ledger".parse().expect("a valid address");
    let protection = workspace.default_protection();
    let database = workspace.create_sql(&address, protection, PageSize::DEFAULT)?;
    let connection = database.connect()?;
    connection.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = normal;
         CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN",
    )?;
    for id in 0..ROWS {
        connection.execute(
            "INSERT INTO t VALUES (?1, ?2)",
            params![id, [id as u8; 100]],
        )?;
    }
    connection.execute_batch("COMMIT")?;
    let mut update = connection.prepare("UPDATE t SET body = ?2 WHERE id = ?1")?;
    let mut n = 0;
    let rounds = rounds(plan, changes, || {
        for _ in 0..changes {
            n += 1;
            let row = params![n * 48_611 % ROWS, [n as u8; 100]];
            within(Part::Sqlite, || update.execute(row))?;
        }
        Ok(())
    })?;
    Ok(rounds.explained(
        "a transaction that changes one row of a sealed database (write-ahead log, synchronous = NORMAL), with its \
         share of a checkpoint"
            .to_owned(),
        "",
        vec![
            "What SQLite does by itself with the index of the log is in SQLite's own work.".to_owned(),
            "Pages pass from SQLite's buffer through AES-256-GCM into the buffer that is written: there is no copy beside it. \
             A page that is read is copied out of the mapping first."
                .to_owned(),
        ],
    ))
}

fn blob(plan: &Plan) -> Result<Explained, BenchError> {
    let size = plan
        .size
        .unwrap_or(plan.scale.of(8 << 20, 16 << 20, 64 << 20));
    let dir = files::scratch(&plan.dir)?;
    let workspace = places::make(&dir.path().join("work"), KeyKind::Oct256)?;
    let address = "storage/documents".parse().expect("a valid address");
    let account = workspace.create_storage(&address, workspace.default_protection())?;
    let from = dir.path().join("from");
    fs::write(&from, vec![0x5a; size as usize]).map_err(|e| BenchError::io(&from, e))?;
    let name = BlobPath::in_default(BlobName::parse("object").expect("a valid name"));
    let rounds = rounds(plan, 1, || {
        let mut source = files::open(&from)?;
        account.put(&name, &mut source, &mut |_| ())?;
        Ok(())
    })?;
    Ok(rounds.explained(
        format!("a blob of {} KiB that is put", size >> 10),
        "",
        vec![
            "Parts of the thread that reads and seals, from the call to its return. Another thread writes meanwhile; what this one waits \
             for it is a part, what it does is not."
                .to_owned(),
            "The catalog is a sealed database: its pages are in AES-256-GCM, its sync in waiting for the disk.".to_owned(),
        ],
    ))
}

/// The server is another process. It records the parts of a request itself, in whatever thread works on it, and
/// tells them; what is around that is measured by a request that it refuses before it asks a vault.
fn vault(plan: &Plan) -> Result<Explained, BenchError> {
    let often: u32 = plan.scale.of(50, 200, 500);
    let dir = files::scratch(&plan.dir)?;
    let work = dir.path().join("work");
    drop(places::make(&work, KeyKind::Rsa2048)?);
    let served = Served::start_timing(&plan.program, &work)?;
    let token = served.token()?;
    let request = served.unwrap_request(&token)?;
    let body = String::from_utf8_lossy(&request);
    let body = body.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let path = "/keys/customer-key//unwrapkey";
    let nobody = request_to(NOBODY, &token, "POST", path, body);
    let (looked, nobody_looked) = (asking(&request), asking(&nobody));
    let (mut connection, mut refused) = (served.connect()?, served.connect_to(NOBODY)?);
    let repeat = |work: &mut dyn FnMut() -> Result<(), BenchError>| {
        let begun = Instant::now();
        (0..often).try_for_each(|_| work())?;
        Ok::<_, BenchError>(begun.elapsed().as_nanos() as f64)
    };
    let told = |work: &mut dyn FnMut() -> Result<Recorded, BenchError>| {
        let mut sum = work()?;
        (1..often).try_for_each(|_| {
            sum.add(&work()?);
            Ok::<_, BenchError>(())
        })?;
        Ok::<_, BenchError>(sum)
    };
    let rounds = Rounds::take(often, plan.samples(), most(plan), |number| {
        let (mut whole, mut beside, mut recorded) = (0.0, 0.0, None);
        // Each goes first as often as the others.
        for turn in 0..4 {
            match (number + turn) % 4 {
                0 => whole = repeat(&mut || connection.ask(&request))?,
                1 => recorded = Some(told(&mut || connection.timed(200, &looked))?),
                2 => beside += repeat(&mut || refused.ask_for(404, &nobody))?,
                // What the server does to refuse is in the other's parts.
                _ => {
                    let within = told(&mut || refused.timed(404, &nobody_looked))?;
                    beside -= within.times.iter().sum::<Duration>().as_nanos() as f64;
                }
            }
        }
        Ok(Round {
            whole,
            recorded: recorded.expect("one of the four looks"),
            beside,
        })
    })?;
    Ok(rounds.explained(
        "a key unwrapped by RSA-OAEP-256 (RSA-2048) through the server, one client on one connection".to_owned(),
        "TLS, HTTP, two processes that wake each other",
        vec![
            "TLS and HTTP: a request as long, for a vault that is not there, which the server refuses before it asks one, without what the server \
             does to refuse it. All other parts are those of the same requests, as the server recorded them, in whatever thread of its own: what \
             begins when it has read a request's head, and ends with an answer that is ready to be sent."
                .to_owned(),
            "What SQLite, sealed files and the sync do beside the audit record, they do to commit it. Waiting is on the way to the thread that \
             commits, and back."
                .to_owned(),
        ],
    ))
}
