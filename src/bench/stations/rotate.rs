use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use rusqlite::params;

use crate::base::ResourceId;
use crate::bench::session::{About, Session, each, timed};
use crate::bench::{BenchError, files, places};
use crate::crypto::{KeyKind, random_id};
use crate::resource::sql::SqlDatabase;
use crate::resource::{ProtectedResource, Protection, Wrapper};
use crate::sqlite::PageSize;
use crate::vault::{KeySpec, KeyVault};
use crate::world::WhichVault;

pub(super) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    let scale = session.plan.scale;
    rewrap(session, KeyKind::Oct256, scale.of(20, 400, 10_000))?;
    rewrap(session, KeyKind::Rsa3072, scale.of(20, 400, 1000))?;
    re_encrypt(session)
}

/// As `atrest rewrap` does it: opens each resource (one unwrap), wraps its key by another, unwraps that
/// before the file is touched, and writes a header that is on the disk when it returns.
fn rewrap(session: &mut Session<'_>, kind: KeyKind, count: usize) -> Result<(), BenchError> {
    let plan = session.plan;
    let samples = plan.samples();
    let dir = files::scratch(&plan.dir)?;
    let workspace = places::make(&dir.path().join("work"), kind)?;
    let other = "other-key".parse().expect("a valid name");
    let other = workspace
        .vault(&WhichVault::Customer)?
        .create_key(&other, &KeySpec::new(kind))?;
    let keys = [
        workspace.default_protection(),
        Protection::CustomerManaged {
            key: other.kid.key(),
        },
    ];
    let wrapper: Wrapper = workspace.wrapper();
    let resources = (0..count)
        .map(|n| {
            let (path, id) = (
                dir.path().join(format!("{n}.db")),
                random_id(ResourceId::from_bytes),
            );
            let protection = keys[0].clone();
            SqlDatabase::create(&path, id, PageSize::DEFAULT, protection, &wrapper)?;
            Ok((path, id, 0_usize))
        })
        .collect::<Result<Vec<_>, BenchError>>();
    let mut resources = resources?;
    let path = dir.path().join("4096");
    let mut next = 0;
    session.note(format!(
        "{count} SQL databases under {kind}, each rewrapped from one key to another: two unwraps and a wrap in the vault, \
         each with a synced audit record, and a header of 4 KiB, synced. The ratio is to writing 4 KiB into a file and \
         syncing it. No data is touched, whatever the size."
    ));
    session.measure_so_often(
        samples,
        vec![
            About::new(&format!("rewrap, {kind}"), "write 4 KiB and sync")
                .by(each(|| write_and_sync(&path)))
                .at_most((count / samples) as u64),
            About::new(&format!("rewrap, {kind}"), "rewrap")
                .against(0)
                .by(each(|| {
                    let (path, id, under) = &mut resources[next % count];
                    next += 1;
                    let mut database =
                        SqlDatabase::open(path, *id, keys[*under].clone(), &wrapper)?;
                    *under = 1 - *under;
                    database.rewrap(&keys[*under])?;
                    Ok(())
                }))
                .exactly((count / samples) as u64),
        ],
    )
}

fn write_and_sync(path: &Path) -> Result<(), BenchError> {
    let failed = |e| BenchError::io(path, e);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(failed)?;
    file.write_all_at(&[7; 4096], 0).map_err(failed)?;
    file.sync_all().map_err(failed)
}

/// A new data encryption key: every page is sealed anew, in ordinary transactions.
fn re_encrypt(session: &mut Session<'_>) -> Result<(), BenchError> {
    let plan = session.plan;
    let size = plan
        .size
        .unwrap_or(plan.scale.of(1 << 20, 16 << 20, 64 << 20));
    let dir = files::scratch(&plan.dir)?;
    let workspace = places::make(&dir.path().join("work"), KeyKind::Oct256)?;
    let address = "sql/ledger".parse().expect("a valid address");
    let protection = workspace.default_protection();
    let database = workspace.create_sql(&address, protection, PageSize::DEFAULT)?;
    let connection = database.connect()?;
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB); BEGIN")?;
    for id in 0..size / 1000 {
        connection.execute(
            "INSERT INTO t VALUES (?1, ?2)",
            params![id as i64, [id as u8; 1000]],
        )?;
    }
    connection.execute_batch("COMMIT")?;
    drop(connection);
    let (file, copy) = (database.path().to_owned(), dir.path().join("copy"));
    let size = file.metadata().map_err(|e| BenchError::io(&file, e))?.len();
    session.note(
        "re-encrypt: a new data encryption key for a whole database, online: transactions of a megabyte, each with its journal. \
         The ratio is to a copy of the file that is synced.",
    );
    session.measure(vec![
        About::new("re-encrypt", "copy and sync")
            .bytes(size)
            .by(timed(|| {
                let begun = Instant::now();
                files::copy(&file, &copy)?;
                files::sync(&copy)?;
                Ok(begun.elapsed())
            }))
            .once(),
        About::new("re-encrypt", "sealed")
            .bytes(size)
            .against(0)
            .by(timed(|| {
                let begun = Instant::now();
                database.begin_key_change()?;
                database.convert(&mut |_, _| ())?;
                database.finish_conversion()?;
                Ok(begun.elapsed())
            }))
            .once(),
    ])
}
