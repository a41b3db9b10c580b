//! Where the time of one operation goes: parts that add up to the whole, or a word that they do not.

use std::fs;
use std::time::{Duration, Instant};

use rusqlite::params;
use serde::Serialize;

use crate::base::{Part, Recorded, record, within};
use crate::crypto::{KeyKind, Secret};
use crate::resource::blob::{BlobName, BlobPath};
use crate::sqlite::PageSize;
use crate::vault::{KeyVault, KeyWrapper};
use crate::world::WhichVault;

use super::load::{Served, request_to};
use super::plan::Plan;
use super::{BenchError, files, places};

/// How far the parts may be from the whole.
const ADDS_UP: f64 = 0.10;

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

/// One part of it.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// What is done.
    pub part: String,
    /// How long, in nanoseconds, for one operation.
    pub ns: f64,
    /// How often in one operation.
    pub times: f64,
}

/// A whole and its parts.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// What was done.
    pub operation: String,
    /// The time of one (mean of the middle half of the rounds), measured without a look inside, in nanoseconds.
    pub whole_ns: f64,
    /// Its parts, the largest first.
    pub parts: Vec<Share>,
    /// Their sum.
    pub sum_ns: f64,
    /// Whether that is within a tenth of the whole.
    pub adds_up: bool,
    /// What has to be known to read it.
    pub notes: Vec<String>,
}

/// Measures one operation as a whole and in parts, in turn.
pub fn explain(operation: Operation, plan: &Plan) -> Result<Explained, BenchError> {
    match operation {
        Operation::Sql => sql(plan),
        Operation::Blob => blob(plan),
        Operation::Vault => vault(plan),
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Rest => "everything else in this program",
        Part::Sqlite => "SQLite's own work",
        Part::SealedFile => "sealed files: pages, journals, logs, freshness",
        Part::Aead => "AES-256-GCM",
        Part::Derive => "key derivation and expansion",
        Part::Wrap => "the vault's key: wrap and unwrap",
        Part::Audit => "the audit record: made, authenticated, inserted",
        Part::System => "system calls and copies out of the mapping",
        Part::Sync => "waiting for the disk (sync)",
        Part::Wait => "waiting for the other thread",
    }
}

/// Rounds of a whole without, and one with a look inside, in turn.
struct Rounds {
    whole: Vec<f64>,
    recorded: Vec<Recorded>,
    /// Operations in each round.
    operations: f64,
}

impl Rounds {
    fn take(
        rounds: usize,
        operations: u32,
        mut round: impl FnMut() -> Result<(), BenchError>,
    ) -> Result<Self, BenchError> {
        let mut taken = Self {
            whole: vec![],
            recorded: vec![],
            operations: f64::from(operations),
        };
        round()?;
        // Each goes first as often as the other: what comes with every second round, such as a checkpoint, would be in
        // one of them only.
        for turn in (0..rounds).flat_map(|n| [n % 2 == 0, n % 2 == 1]) {
            if turn {
                let begun = Instant::now();
                round()?;
                taken.whole.push(begun.elapsed().as_nanos() as f64);
            } else {
                let (done, recorded) = record(&mut round);
                done?;
                taken.recorded.push(recorded);
            }
        }
        Ok(taken)
    }

    fn whole(&self) -> f64 {
        middle(&self.whole) / self.operations
    }

    /// The mean of each part over the middle half of the rounds: medians of parts would not add up. What
    /// looking costs is taken off each part.
    fn parts(&self) -> Vec<Share> {
        let sum = |r: &Recorded| r.times.iter().sum::<Duration>();
        let mut rounds: Vec<&Recorded> = self.recorded.iter().collect();
        rounds.sort_by_key(|r| sum(r));
        let quarter = rounds.len() / 4;
        let middle = &rounds[quarter..rounds.len() - quarter];
        let look = cost_of_a_look();
        let count = middle.len() as f64 * self.operations;
        let parts = Part::ALL.into_iter().map(|part| {
            let of = |r: &&Recorded| r.times[part as usize].as_nanos() as f64;
            let often = |r: &&Recorded| r.counts[part as usize] as f64;
            let times = middle.iter().map(often).sum::<f64>() / count;
            Share {
                part: name(part).to_owned(),
                ns: (middle.iter().map(of).sum::<f64>() / count - times * look).max(0.0),
                times,
            }
        });
        let mut parts: Vec<Share> = parts.filter(|share| share.ns > 0.0).collect();
        parts.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        parts
    }
}

/// The mean of the middle half.
fn middle(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    let middle = &sorted[quarter..sorted.len() - quarter];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// What one part that is recorded and does nothing takes, in nanoseconds.
fn cost_of_a_look() -> f64 {
    const LOOKS: u32 = 10_000;
    let begun = Instant::now();
    record(|| (0..LOOKS).for_each(|_| within(Part::Aead, || ())));
    begun.elapsed().as_nanos() as f64 / f64::from(LOOKS)
}

fn explained(operation: String, whole: f64, parts: Vec<Share>, notes: Vec<String>) -> Explained {
    let sum: f64 = parts.iter().map(|share| share.ns).sum();
    Explained {
        operation,
        whole_ns: whole,
        parts,
        sum_ns: sum,
        adds_up: (sum / whole - 1.0).abs() <= ADDS_UP,
        notes,
    }
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
    let rounds = Rounds::take(plan.samples(), changes, || {
        for _ in 0..changes {
            n += 1;
            let row = params![n * 48_611 % ROWS, [n as u8; 100]];
            within(Part::Sqlite, || update.execute(row))?;
        }
        Ok(())
    })?;
    Ok(explained(
        "a transaction that changes one row of a sealed database (write-ahead log, synchronous = NORMAL), with its \
         share of a checkpoint"
            .to_owned(),
        rounds.whole(),
        rounds.parts(),
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
    let rounds = Rounds::take(plan.samples(), 1, || {
        let mut source = files::open(&from)?;
        account.put(&name, &mut source, &mut |_| ())?;
        Ok(())
    })?;
    Ok(explained(
        format!("a blob of {} KiB that is put", size >> 10),
        rounds.whole(),
        rounds.parts(),
        vec![
            "Parts of the thread that reads and seals, from the call to its return. Another thread writes meanwhile; what this one waits \
             for it is a part, what it does is not."
                .to_owned(),
            "The catalog is a sealed database: its pages are in AES-256-GCM, its sync in waiting for the disk.".to_owned(),
        ],
    ))
}

/// The server is another process, into which nobody looks. So its parts are measured beside it: a request that it
/// refuses before it asks a vault, and the vault in this process.
fn vault(plan: &Plan) -> Result<Explained, BenchError> {
    let often: u32 = plan.scale.of(50, 200, 500);
    let dir = files::scratch(&plan.dir)?;
    let work = dir.path().join("work");
    let workspace = places::make(&work, KeyKind::Rsa2048)?;
    let vault = workspace.vault(&WhichVault::Customer)?;
    let kid = vault.key(&places::key(), None)?.kid;
    let wrapped = vault.wrap_key(&kid.key(), &Secret::random())?;
    let served = Served::start(&plan.program, &work)?;
    let token = served.token()?;
    let request = served.unwrap_request(&token)?;
    let body = String::from_utf8_lossy(&request);
    let body = body.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let path = "/keys/customer-key//unwrapkey";
    let nobody = request_to(NOBODY, &token, "POST", path, body);
    let (mut connection, mut refused) = (served.connect()?, served.connect_to(NOBODY)?);
    let (mut whole, mut round_trip) = (vec![], vec![]);
    let mut here = Rounds::take(0, often, || Ok(()))?;
    for round in 0..=plan.samples() {
        let each = |times: &mut Vec<f64>, begun: Instant| {
            if round > 0 {
                times.push(begun.elapsed().as_nanos() as f64 / f64::from(often));
            }
        };
        let begun = Instant::now();
        for _ in 0..often {
            connection.ask(&request)?;
        }
        each(&mut whole, begun);
        let begun = Instant::now();
        for _ in 0..often {
            refused.ask_for(404, &nobody)?;
        }
        each(&mut round_trip, begun);
        let uses = || -> Result<(), BenchError> {
            for _ in 0..often {
                vault.unwrap_key(&kid, wrapped.algorithm, &wrapped.bytes)?;
            }
            Ok(())
        };
        let (done, recorded) = record(uses);
        done?;
        if round > 0 {
            here.recorded.push(recorded);
        }
    }
    let mut parts = here.parts();
    parts.push(Share {
        part: "TLS, HTTP, two processes that wake each other".to_owned(),
        ns: middle(&round_trip),
        times: 1.0,
    });
    parts.sort_by(|a, b| b.ns.total_cmp(&a.ns));
    Ok(explained(
        "a key unwrapped by RSA-OAEP-256 (RSA-2048) through the server, one client on one connection".to_owned(),
        middle(&whole),
        parts,
        vec![
            "TLS and HTTP: a request as long, for a vault that is not there, which the server refuses before it asks one. All other parts: the same \
             use of the same vault's directory, in this process. What SQLite, sealed files and the sync do beside the audit record, they do to commit it."
                .to_owned(),
            "Checking the token's right to the key is in neither, nor is the way between the server's threads.".to_owned(),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control on both sides: a sum that is a tenth off is said to add up, and one that is off by more is not.
    #[test]
    fn parts_that_miss_more_than_a_tenth_are_not_said_to_add_up() {
        let of = |parts: [f64; 2]| {
            let parts = parts.map(|ns| Share {
                part: String::new(),
                ns,
                times: 1.0,
            });
            explained(String::new(), 1000.0, parts.into(), vec![])
        };
        assert_eq!(of([400.0, 505.0]).sum_ns, 905.0);
        for (parts, adds_up) in [
            ([400.0, 600.0], true),
            ([400.0, 505.0], true),
            ([400.0, 695.0], true),
            ([400.0, 495.0], false),
            ([400.0, 705.0], false),
        ] {
            assert_eq!(of(parts).adds_up, adds_up, "{parts:?}");
        }
    }
}
