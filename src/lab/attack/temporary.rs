//! What SQLite writes while it works, and deletes at once: sorters' spills, statement journals, temporary
//! tables, the new file of a VACUUM. A thief who takes an image of the disk gets them too.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use rusqlite::Connection;

use crate::base::ResourceId;
use crate::crypto::random_id;
use crate::lab::tools::Tool;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::Protection;
use crate::sqlite::PageSize;
use crate::world::{Kind, ResourceAddress};

use super::bout::{Bout, Reading, both_arms, control};
use super::database::Database;
use super::served::{led_nowhere, workspace};
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
    let attack = Attack::number(12);
    let mut evidence = both_arms(lab, exhibit, |arm, dir| watched(dir, arm))?;
    let part = "a specimen's, read through the descriptors of this process while it works";
    let traced = match (&lab.program, Tool::Strace.barred()) {
        (None, _) => Err("the program's file is not known".to_owned()),
        _ if !Tool::Strace.is_here() => Err("strace is not installed".to_owned()),
        (_, Some(why)) => Err(format!("strace: {why}")),
        (Some(program), None) => Ok(match traced(lab, exhibit, program) {
            // It was there, and is no evidence: not the same as its absence.
            Err(e @ LabError::Tool { .. }) => Evidence::of(e.to_string()),
            traced => traced?,
        }),
    };
    if let Err(why) = &traced {
        let told = format!(" No trace of system calls beside it: {why}.");
        evidence.summary.push_str(&told);
    }
    let mut outcomes = vec![attack.outcome(Some(part), exhibit, evidence)];
    outcomes.extend(traced.ok().map(|evidence| {
        let part = "what write, pwrite, writev and pwritev take to files, by strace, while the program does the same work";
        attack.outcome(Some(part), exhibit, evidence)
    }));
    Ok(outcomes)
}

/// The same work by the program, in a working directory of its own, under strace.
fn traced(lab: &Lab, exhibit: &Exhibit, program: &Path) -> Result<Evidence, LabError> {
    let scratch = lab.scratch()?;
    let work = scratch.path().join("work");
    let made = workspace(&work)?;
    let like = match exhibit.protected.protection {
        Protection::Plain => Protection::Plain,
        _ => made.default_protection(),
    };
    let run = |name: &str, protection: Protection| -> Result<Evidence, LabError> {
        let address = ResourceAddress {
            environment: None,
            kind: Kind::Sql,
            name: name.parse().expect("a name"),
        };
        made.create_sql(&address, protection, PageSize::DEFAULT)?;
        let marker = format!("confidential {}", random_id(ResourceId::from_bytes));
        let mut sql = prepared(TRACED_ROWS, &marker);
        for (_, work) in WORK {
            sql.push_str(work);
            sql.push(';');
        }
        let log = scratch.path().join(name);
        let mut command = led_nowhere(Command::new(Tool::Strace.program()));
        // Strings whole, descriptors with their files' names.
        command.args([
            "-f",
            "-y",
            "-s",
            "1000000",
            "-e",
            "trace=write,pwrite64,writev,pwritev",
            "-o",
        ]);
        command.arg(&log).arg(program).arg("--dir").arg(&work);
        command
            .args(["sql", "exec", name, &sql])
            .stdin(Stdio::null());
        let failed = |e| LabError::io(&log, e);
        // It ends as the program does, which must have done all of its work.
        Tool::Strace.said(&command.output().map_err(failed)?)?;
        let evidence = told_by(File::open(&log).map_err(failed)?, &marker).map_err(failed)?;
        fs::remove_file(&log).map_err(failed)?;
        Ok(evidence)
    };
    let mut evidence = run("traced", like)?;
    evidence.control = Some(control(run("twin", Protection::Plain)?));
    Ok(evidence)
}

/// Rows enough to spill, and few enough to be written down.
const TRACED_ROWS: u32 = 600;

/// Counts the writes to each file that a trace tells of, and those that hold the text.
fn told_by(trace: File, marker: &str) -> std::io::Result<Evidence> {
    let search = AhoCorasick::new([marker]).map_err(std::io::Error::other)?;
    let mut bout = Bout::new(Path::new("trace"), "");
    let mut files: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in BufReader::new(trace).split(b'\n') {
        let line = line?;
        // A line is the process, the call, the descriptor and its file: `41 pwrite64(7</tmp/a>, "...`.
        let head = String::from_utf8_lossy(&line[..line.len().min(4096)]).into_owned();
        let name = head
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'));
        let Some((name, _)) = name.filter(|(name, _)| name.starts_with('/')) else {
            continue;
        };
        let (writes, marked) = files.entry(kind_of(name)).or_default();
        *writes += 1;
        *marked += u64::from(search.is_match(&line));
    }
    let writes: u64 = files.values().map(|(writes, _)| writes).sum();
    for (name, (writes, marked)) in files {
        let reading = match marked {
            0 => Reading::Refused(format!("nothing to read in what was written to {name}")),
            n => Reading::Data(format!("{n} writes")),
        };
        bout.record(reading, None, || {
            format!("known text in {marked} of {writes} writes to {name}")
        });
    }
    Ok(bout.finish(&format!("kinds of files written, by {writes} system calls")))
}

/// What a file is, without the part of its name that differs each time.
fn kind_of(path: &str) -> String {
    let name = Path::new(path)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    match PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        true => "a temporary file".to_owned(),
        false => name.into_owned(),
    }
}

fn watched(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let database = Database::specimen(dir, "sorted", arm, PageSize::DEFAULT, 11)?;
    let open = database.open()?;
    let mut connection = open.connect()?;
    let explain = |e| LabError::from(open.explain(e));
    // Drawn each time: other attacks run beside this one, in the same process.
    let marker = format!("confidential {}", random_id(ResourceId::from_bytes));
    connection
        .execute_batch(&prepared(ROWS, &marker))
        .map_err(explain)?;
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
const ROWS: u32 = 6000;

/// Makes a table of rows that each hold `marker`, with little room in memory to work on it.
fn prepared(rows: u32, marker: &str) -> String {
    format!(
        "PRAGMA cache_size = 10; PRAGMA temp_store = FILE; PRAGMA temp.cache_size = 10;
         CREATE TABLE big (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO big SELECT i, printf('%010d ', i * 2654435761 % 4294967296) || '{marker}' || hex(zeroblob(200))
         FROM n;"
    )
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
