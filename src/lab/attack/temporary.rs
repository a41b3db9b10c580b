//! What SQLite writes while it works, and deletes at once: sorters' spills, statement journals, temporary
//! tables, the new file of a VACUUM. A thief who takes an image of the disk gets them too.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use rusqlite::Connection;

use crate::base::ResourceId;
use crate::crypto::random_id;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::sqlite::PageSize;

use super::bout::{Bout, Reading, both_arms};
use super::database::Database;
use super::vault::Arm;

/// How the names of SQLite's temporary files begin, and of those that never had one (`O_TMPFILE`).
const PREFIXES: [&str; 2] = ["etilqs_", "#"];
/// How the system shows the name of a file that is deleted.
const DELETED: &str = " (deleted)";
/// So many steps of SQLite's virtual machine lie between two looks.
const STEPS: c_int = 3000;

/// What makes SQLite write temporary files, and what they are.
const WORK: [(&str, &str); 5] = [
    (
        "a sorter's spill",
        "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY substr(body, 3)) AS n, body FROM big) \
         WHERE body > '0'",
    ),
    (
        "the sorter of an index",
        "CREATE INDEX big_body ON big (body); DROP INDEX big_body",
    ),
    (
        "a temporary table",
        "CREATE TEMP TABLE copied AS SELECT * FROM big; DROP TABLE copied",
    ),
    (
        "a statement journal",
        "BEGIN; UPDATE big SET body = body || '.'; ROLLBACK",
    ),
    ("the new file of a VACUUM", "VACUUM"),
];

/// Attack 12.
pub(in crate::lab) fn files(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let evidence = both_arms(lab, exhibit, |arm, dir| watched(dir, arm))?;
    let part = "a specimen's, read through the descriptors of this process while it works";
    Ok(vec![Attack::number(12).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

fn watched(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let database = Database::specimen(dir, "sorted", arm, PageSize::DEFAULT, 11)?;
    let open = database.open()?;
    let mut connection = open.connect()?;
    let explain = |e| LabError::from(open.explain(e));
    // Drawn each time: other attacks run beside this one, in the same process.
    let marker = format!("confidential {}", random_id(ResourceId::from_bytes));
    prepare(&connection, &marker).map_err(explain)?;
    let search = AhoCorasick::new([&marker]).map_err(|e| LabError::Report(e.to_string()))?;
    let mut bout = Bout::new(&database.path, "");
    for (what, sql) in WORK {
        let seen = look_while(&mut connection, sql, &search).map_err(explain)?;
        let marked = seen.values().filter(|file| file.marked).count();
        let bytes: u64 = seen.values().map(|file| file.bytes).sum();
        match (seen.len(), marked) {
            (0, _) => {}
            (_, 0) => bout.record(
                Reading::Refused(format!("nothing to read in {what}")),
                None,
                String::new,
            ),
            _ => bout.record(Reading::Data(format!("{bytes} bytes")), None, || {
                format!("{what}: known text in {marked} temporary files, of {bytes} bytes")
            }),
        }
    }
    Ok(bout.finish("kinds of temporary files read"))
}

/// Enough rows that nothing of them fits into memory.
fn prepare(connection: &Connection, marker: &str) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA cache_size = 10; PRAGMA temp_store = FILE; PRAGMA temp.cache_size = 10;
         CREATE TABLE big (id INTEGER PRIMARY KEY, body TEXT NOT NULL);",
    )?;
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
        INSERT INTO big SELECT i, printf('%010d ', i * 2654435761 % 4294967296) || ?1 || hex(zeroblob(200))
        FROM n";
    connection.execute(sql, [marker])?;
    Ok(())
}

/// A temporary file that was seen.
#[derive(Default)]
struct Seen {
    bytes: u64,
    marked: bool,
}

/// Runs `sql` and reads the temporary files of this process meanwhile, by name.
fn look_while(
    connection: &mut Connection,
    sql: &str,
    search: &AhoCorasick,
) -> rusqlite::Result<BTreeMap<String, Seen>> {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let (looking, search) = (seen.clone(), search.clone());
    connection.progress_handler(
        STEPS,
        Some(move || {
            let mut seen = looking.lock().unwrap_or_else(PoisonError::into_inner);
            look(&mut seen, &search);
            false
        }),
    )?;
    let done = connection.execute_batch(sql);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    done?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *seen))
}

fn look(seen: &mut BTreeMap<String, Seen>, search: &AhoCorasick) {
    let descriptors = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    for descriptor in descriptors {
        let path = descriptor.path();
        let Ok(target) = fs::read_link(&path) else {
            continue;
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if !temporary || !name.ends_with(DELETED) {
            continue;
        }
        let Ok(bytes) = fs::read(&path) else {
            continue;
        };
        let file = seen.entry(name.into_owned()).or_default();
        file.bytes = file.bytes.max(bytes.len() as u64);
        file.marked = file.marked || search.is_match(&bytes);
    }
}
