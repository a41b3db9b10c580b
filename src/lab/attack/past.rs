//! Bytes of an earlier time put back: all of them are authentic, and only what is remembered elsewhere
//! tells that they are old.

use std::path::Path;

use crate::envelope::ResourceKind;
use crate::lab::detect::{FRAME_HEADER, JOURNAL_UNIT, LOG_HEADER};
use crate::lab::theft::{duplicate, read_at};
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::blob::CHUNK_LEN;
use crate::sqlite::PageSize;

use super::account::{Account, text};
use super::alter::{patched, read_all, with_tail};
use super::bout::{Bout, Reading, both_arms};
use super::database::{Database, Files};
use super::sql::page_size;
use super::vault::Arm;

/// Where the freshness records of a sealed database lie; each begins with its number (docs/format.md).
const RECORDS: [usize; 4] = [1024, 1536, 3072, 3584];
/// How a log or a journal is laid out: the length of its header, and of each unit behind it, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub(in crate::lab) header: usize,
    pub(in crate::lab) unit: usize,
}

/// The same, of units that hold a page each: what they are besides.
pub(in crate::lab) struct PagedLayout {
    pub(super) header: usize,
    pub(super) around_page: usize,
}

impl PagedLayout {
    pub(in crate::lab) const fn of_pages(&self, page: usize) -> Layout {
        Layout {
            header: self.header,
            unit: self.around_page + page,
        }
    }
}

/// A plain log (SQLite's file format, section 4.1).
pub(in crate::lab) const PLAIN_LOG: PagedLayout = PagedLayout {
    header: 32,
    around_page: 24,
};
/// A plain journal (section 3): a header's sector, and a page's number before it and its checksum behind it.
pub(in crate::lab) const PLAIN_JOURNAL: PagedLayout = PagedLayout {
    header: 512,
    around_page: 8,
};
/// Sealed ones (docs/format.md).
pub(in crate::lab) const SEALED_LOG: PagedLayout = PagedLayout {
    header: LOG_HEADER,
    around_page: FRAME_HEADER,
};
pub(in crate::lab) const SEALED_JOURNAL: Layout = Layout {
    header: JOURNAL_UNIT,
    unit: JOURNAL_UNIT,
};

/// The layout of a specimen's log.
pub(super) fn log_layout(arm: &Arm) -> &'static PagedLayout {
    match arm.is_protected() {
        true => &SEALED_LOG,
        false => &PLAIN_LOG,
    }
}

/// Attack 4.
pub(in crate::lab) fn parts(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(4);
    Ok(match exhibit.kind {
        ResourceKind::Sql => {
            let size = page_size(exhibit)?;
            let run = |read: fn(&Database) -> Reading| {
                both_arms(lab, exhibit, |arm, dir| old_pages(dir, arm, size, read))
            };
            let part = "each old page of a specimen, found by `atrest sql verify`";
            vec![
                attack.outcome(Some(part), exhibit, run(Database::verify)?),
                attack.declared(
                    "each old page of a specimen, read before a verification",
                    exhibit,
                    run(Database::read)?,
                    "an old page was authentic, and at its own place it still is. `atrest sql verify` finds it, \
                     since the pages do not sum up to what the vault remembers, and nothing does before. It takes \
                     write access to the disk.",
                ),
            ]
        }
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => {
            let chunks = both_arms(lab, exhibit, |arm, dir| old_chunks(dir, arm))?;
            let part = "each old chunk of a specimen's blob";
            vec![attack.outcome(Some(part), exhibit, chunks)]
        }
    })
}

/// All rows are changed, and then each page is put back as it was before.
fn old_pages(
    dir: &Path,
    arm: &Arm,
    size: PageSize,
    read: fn(&Database) -> Reading,
) -> Result<Evidence, LabError> {
    let mut database = Database::specimen(dir, "aged", arm, size, 7)?.remembered(arm)?;
    let old = Files::of(&database.path)?;
    change(&database, 1)?;
    database.measure()?;
    let mut bout = Bout::new(&database.path, &database.truth);
    let page_len = usize::try_from(database.page_size).expect("at most 64 KiB");
    for number in 1..=database.pages()? {
        let at = database.page_at(number);
        let page = old
            .get("")
            .get(usize::try_from(at).expect("a small file")..);
        let Some(page) = page.and_then(|rest| rest.get(..page_len)) else {
            break;
        };
        if page == read_at(&database.path, at, page_len)? {
            continue;
        }
        let reading = patched(&database.path, &[(at, page)], || read(&database))?;
        bout.record(reading, Some(at), || {
            format!("page {number} as it was before")
        });
    }
    Ok(bout.finish("old pages put back"))
}

fn old_chunks(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let account = Account::specimen(&dir.join("aged"), arm)?;
    let len = 3 * CHUNK_LEN + 1000;
    let old = account.put("report.txt", text(1, len))?.sealed()?;
    let blob = account.put("report.txt", text(2, len))?;
    let (header, chunk_len) = account.layout();
    let mut bout = Bout::new(&blob.extent, &blob.truth());
    for (index, chunk) in old[header..].chunks(chunk_len).enumerate() {
        let at = (header + index * chunk_len) as u64;
        let reading = patched(&blob.extent, &[(at, chunk)], || account.read(&blob))?;
        bout.record(reading, Some(at), || {
            format!("chunk {index} as it was before")
        });
    }
    Ok(bout.finish("old chunks put back"))
}

/// Attack 5.
pub(in crate::lab) fn whole(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(5);
    Ok(match exhibit.kind {
        ResourceKind::Sql => {
            let size = page_size(exhibit)?;
            let files = both_arms(lab, exhibit, |arm, dir| old_database(dir, arm, size))?;
            vec![attack.outcome(
                Some("a specimen's old file, and a fork of it"),
                exhibit,
                files,
            )]
        }
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => {
            let account = both_arms(lab, exhibit, |arm, dir| old_account(dir, arm))?;
            vec![attack.declared(
                "a whole old account",
                exhibit,
                account,
                "nobody remembers the newest state of a storage account: all of it as it was at one time \
                 is authentic. It takes write access to the disk.",
            )]
        }
    })
}

fn old_database(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let mut database = Database::specimen(dir, "aged", arm, size, 8)?.remembered(arm)?;
    let old = Files::of(&database.path)?;
    let elsewhere = tempfile::tempdir_in(dir).map_err(|e| LabError::io(dir, e))?;
    let fork = database.fork(elsewhere.path())?;
    change(&fork, 2)?;
    change(&database, 1)?;
    database.measure()?;
    let mut bout = Bout::new(&database.path, &database.truth);
    for (what, file) in [
        (
            "the file from before the last transaction",
            old.get("").to_vec(),
        ),
        (
            "a fork that made as many transactions",
            read_all(&fork.path)?,
        ),
    ] {
        let reading = with_tail(&database.path, 0, &file, || database.read())?;
        bout.record(reading, None, || what.to_owned());
    }
    Ok(bout.finish("whole files put back"))
}

fn old_account(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let place = dir.join("aged");
    let account = Account::specimen(&place, arm)?;
    account.put("report.txt", text(1, CHUNK_LEN))?;
    let old = tempfile::tempdir_in(dir).map_err(|e| LabError::io(dir, e))?;
    let old = duplicate(&place, old.path())?;
    let blob = account.put("report.txt", text(2, CHUNK_LEN))?;
    std::fs::remove_dir_all(&place)
        .and_then(|()| std::fs::rename(&old, &place))
        .map_err(|e| LabError::io(&place, e))?;
    let mut bout = Bout::new(&place, &blob.truth());
    bout.record(account.read(&blob), None, || {
        "the account from before the last put".to_owned()
    });
    Ok(bout.finish("a whole account put back"))
}

/// Attack 9.
pub(in crate::lab) fn logs(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let size = page_size(exhibit)?;
    let evidence = both_arms(lab, exhibit, |arm, dir| altered_logs(dir, arm, size))?;
    let part = "a specimen's log as a killed process leaves it, after the vault was told of it";
    Ok(vec![Attack::number(9).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn altered_logs(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let mut database = Database::specimen(dir, "logged", arm, size, 9)?;
    let (good, older) = {
        let live = database.open()?;
        let connection = live.connect()?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        let change = "UPDATE ledger SET amount = amount + 1000 WHERE id % 40 = ?1";
        connection.execute(change, [20])?;
        let older = Files::of(&database.path)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        for n in 0..4 {
            connection.execute(change, [n])?;
        }
        (Files::of(&database.path)?, older.get("-wal").to_vec())
    };
    database.measure()?;
    let mut bout = Bout::new(&database.path, &database.truth);
    let page = size.get() as usize;
    let mut all = alterations(good.get("-wal"), log_layout(arm).of_pages(page));
    all.push(("exchanged for an older one".to_owned(), Some(older)));
    for (what, log) in all {
        // Each time anew: who finds nothing wrong goes on, and has that remembered.
        database.place(&good)?;
        let trial = database.forgotten().remembered(arm)?;
        trial.open()?;
        let altered = match log {
            Some(log) => good.clone().and("-wal", log),
            None => Files(vec![("", good.get("").to_vec())]),
        };
        trial.place(&altered)?;
        bout.record(trial.verify(), None, || what);
    }
    Ok(bout.finish("logs cut, deleted, reordered, altered and exchanged"))
}

/// What is done to a log or a journal: what it is called, and what is left of it. The first four are on all of it.
pub(in crate::lab) fn alterations(
    log: &[u8],
    Layout {
        header,
        unit: frame,
    }: Layout,
) -> Vec<(String, Option<Vec<u8>>)> {
    let frames = log.len().saturating_sub(header) / frame;
    let at = |n: usize| header + n * frame;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut altered = log.to_vec();
        change(&mut altered);
        Some(altered)
    };
    let mut all = vec![
        ("deleted".to_owned(), None),
        ("emptied".to_owned(), Some(Vec::new())),
        ("zeroed".to_owned(), Some(vec![0; log.len()])),
        ("the header altered".to_owned(), with(&|log| log[12] ^= 1)),
    ];
    for n in 0..frames {
        all.push((format!("cut before frame {n}"), Some(log[..at(n)].to_vec())));
        let middle = at(n) + frame / 2;
        all.push((
            format!("cut within frame {n}"),
            Some(log[..middle].to_vec()),
        ));
        let flipped = with(&|log| log[middle] ^= 1);
        all.push((format!("a bit of frame {n} flipped"), flipped));
        if n + 1 < frames {
            let swapped = with(&|log| {
                let (first, second) = log[at(n)..at(n + 2)].split_at_mut(frame);
                first.swap_with_slice(second);
            });
            all.push((format!("frames {n} and {} swapped", n + 1), swapped));
            let repeated = with(&|log| log.copy_within(at(n)..at(n + 1), at(n + 1)));
            all.push((format!("frame {n} in the next one's place"), repeated));
        }
    }
    all
}

/// Attack 10.
pub(in crate::lab) fn journals(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let size = page_size(exhibit)?;
    let evidence = both_arms(lab, exhibit, |arm, dir| planted_journals(dir, arm, size))?;
    let part = "journals of a specimen that were copied while their transactions were under way";
    Ok(vec![Attack::number(10).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn planted_journals(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let mut database = Database::specimen(dir, "journaled", arm, size, 10)?;
    let mut journals = Vec::new();
    {
        let live = database.open()?;
        let connection = live.connect()?;
        // So few pages fit into memory that SQLite writes some before the transaction ends.
        connection.pragma_update(None, "cache_size", 2)?;
        for _ in 0..2 {
            connection.execute_batch("BEGIN; UPDATE ledger SET amount = amount + 1000")?;
            journals.push(Files::of(&database.path)?.get("-journal").to_vec());
            connection.execute_batch("COMMIT")?;
        }
    }
    database.measure()?;
    let now = Files::of(&database.path)?;
    let mut damaged = now.get("").to_vec();
    if arm.is_protected() {
        let number = |at: &usize| {
            damaged[*at..*at + 8]
                .iter()
                .rev()
                .copied()
                .collect::<Vec<u8>>()
        };
        let newest = RECORDS
            .into_iter()
            .max_by_key(number)
            .expect("there are four");
        damaged[newest + 100] ^= 1;
    }
    let mut bout = Bout::new(&database.path, &database.truth);
    for (what, main, journal) in [
        ("of an earlier transaction", now.get(""), &journals[0]),
        ("of the last transaction", now.get(""), &journals[1]),
        (
            "of the last one, and the record of its end damaged",
            &damaged,
            &journals[1],
        ),
    ] {
        database.place(&now)?;
        let trial = database.forgotten().remembered(arm)?;
        trial.place(&Files(vec![
            ("", main.to_vec()),
            ("-journal", journal.clone()),
        ]))?;
        bout.record(trial.verify(), None, || format!("a journal {what}"));
    }
    Ok(bout.finish("journals planted"))
}

/// Changes every row, on every page, in one transaction.
fn change(database: &Database, by: i64) -> Result<(), LabError> {
    let open = database.open()?;
    let connection = open.connect()?;
    let sql = "UPDATE ledger SET amount = amount + ?1, account = account || ?1";
    connection.execute(sql, [by])?;
    Ok(())
}
