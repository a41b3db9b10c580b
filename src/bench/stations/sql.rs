use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, ffi};

use crate::base::ResourceId;
use crate::bench::session::{About, Session, Taken};
use crate::bench::workload::{self, WORK};
use crate::bench::{BenchError, files};
use crate::crypto::{Secret, random_id};
use crate::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase};

/// Bytes of a row.
const ROW: u64 = 100;
const SUBJECTS: [(&str, Option<Freshness>); 3] = [
    ("plain", None),
    ("sealed", Some(Freshness::NotKept)),
    ("sealed, fresh", Some(Freshness::Kept)),
];

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    let rows = match plan.size {
        Some(size) => (size / ROW).max(100),
        None => plan.scale.of(20_000, 100_000, 500_000),
    };
    let rounds = plan.scale.of(10, 12, 10);
    session.note(format!(
        "{rows} rows of {ROW} bytes, {rounds} rounds; sealed: pages under a key in memory; fresh: with the record that tells an \
         old file. {} seals; --backend chooses, one in a run. Random reads are over twice the rows with a page cache \
         of 2 MiB; all other settings are SQLite's defaults.",
        crate::crypto::backend()
    ));
    let mut taken = vec![vec![Taken::default(); SUBJECTS.len()]; WORK.len()];
    let mut sizes = [0; SUBJECTS.len()];
    let disk = files::read_from_disk();
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..SUBJECTS.len() {
            let at = (round + turn) % SUBJECTS.len();
            let took = once(&plan.dir, SUBJECTS[at].1, rows as i64, plan.cold)?;
            sizes[at] = took.bytes;
            for (work, seconds) in took.seconds.into_iter().enumerate() {
                let here = &mut taken[work][at];
                here.operations = 1;
                let samples = seconds.filter(|_| round > 0).map(|s| s * 1e9);
                here.samples.extend(samples);
            }
        }
        session.progress(round as f64 / rounds as f64);
    }
    for (work, taken) in taken.iter().enumerate() {
        let cases = SUBJECTS.each_ref().map(|(subject, freshness)| {
            let about = About::new(WORK[work], subject).times(operations(work, rows));
            match freshness {
                None => about,
                Some(_) => about.against(0),
            }
        });
        session.conclude(&cases, taken);
    }
    session.note(format!(
        "File size after the bulk insert: {:.3} times plain, {:.3} with freshness.",
        sizes[1] as f64 / sizes[0] as f64,
        sizes[2] as f64 / sizes[0] as f64
    ));
    if plan.cold {
        let read = files::read_from_disk() - disk;
        session.note(format!(
            "{:.1} MiB came from the disk.",
            read as f64 / f64::from(1 << 20)
        ));
    }
    Ok(())
}

/// Rows inserted, scanned, indexed, packed or read; transactions.
fn operations(work: usize, rows: u64) -> f64 {
    let rows = rows as f64;
    [rows, 5.0 * rows, rows, rows, rows / 5.0, rows / 50.0][work]
}

fn once(
    dir: &Path,
    freshness: Option<Freshness>,
    rows: i64,
    cold: bool,
) -> Result<workload::Taken, BenchError> {
    let dir = files::scratch(dir)?;
    let path = dir.path().join("db");
    let connect = connector(freshness, &path)?;
    let cooled = RefCell::new(Ok(()));
    let cool = || {
        if cold {
            *cooled.borrow_mut() = files::cool(dir.path());
        }
    };
    let taken = workload::run(&*connect, &path, rows, None, &cool)?;
    cooled.into_inner()?;
    Ok(taken)
}

type Connector = Box<dyn Fn() -> rusqlite::Result<Connection>>;

fn connector(freshness: Option<Freshness>, path: &Path) -> Result<Connector, BenchError> {
    let Some(freshness) = freshness else {
        let path = path.to_owned();
        return Ok(Box::new(move || Connection::open(&path)));
    };
    let file = random_id(ResourceId::from_bytes);
    let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
    let key = Arc::new(Secret::<32>::random());
    let db = SealedDatabase::create(path, file, size, freshness, &slot, key)?;
    Ok(Box::new(move || {
        db.connect().map_err(|e| {
            let code = ffi::Error {
                code: ErrorCode::CannotOpen,
                extended_code: ffi::SQLITE_CANTOPEN,
            };
            rusqlite::Error::SqliteFailure(code, Some(e.to_string()))
        })
    }))
}
