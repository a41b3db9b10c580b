//! Others read and write while a database is converted.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use atrest::resource::ProtectedResource;
use atrest::resource::sql::{SqlDatabase, content_hash};
use atrest::world::WorldError;
use rusqlite::{Connection, ErrorCode};

use crate::work::{Work, address, open, twin};

/// For the child: the working directory.
const ROOT: &str = "ATREST_TEST_ROOT";

/// Not a test of its own: the other process. It inserts until its input ends, each row in a transaction of
/// its own, and says at the end how many were acknowledged. When it is told to, it opens the database anew,
/// and says so.
#[test]
fn writer() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        stop.store(true, Ordering::Relaxed);
    });
    let (mut acknowledged, mut anew, mut refused) = (0, 0, false);
    let mut held: Option<(SqlDatabase, Connection)> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some((database, conn)) = &held else {
            let opened = open(Path::new(&root)).open_sql(&address());
            held = opened.ok().and_then(|database| {
                let conn = database.connect().ok()?;
                Some((database, conn))
            });
            continue;
        };
        let pid = std::process::id();
        let sql = format!("INSERT INTO t (b) VALUES ('writer {pid} row {acknowledged}')");
        match conn.execute_batch(&sql) {
            Ok(()) => {
                // Others, too, are to get their turn.
                std::thread::sleep(std::time::Duration::from_millis(2));
                acknowledged += 1;
                if std::mem::take(&mut refused) {
                    println!("again");
                }
                if acknowledged == 3 {
                    println!("writing");
                }
            }
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => (),
            Err(e) => {
                eprintln!("{}", database.explain(e));
                anew += 1;
                refused = true;
                held = None;
            }
        }
    }
    println!("acknowledged {acknowledged} anew {anew}");
}

struct Writer {
    child: Child,
    input: Option<ChildStdin>,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    /// One that has written something.
    fn start(work: &Work) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "others::writer", "--nocapture"])
            .env(ROOT, work.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let input = child.stdin.take();
        let mut writer = Self { child, input, said };
        writer.hear("writing");
        writer
    }

    fn hear(&mut self, word: &str) -> String {
        let mut lines = self.said.by_ref().map(Result::unwrap);
        let heard = lines.find(|line| line.contains(word));
        heard.unwrap_or_else(|| panic!("the writer ended before it said {word:?}"))
    }

    /// Has it end. Returns how many rows were acknowledged, and how often it opened the database anew.
    fn end(&mut self) -> (u64, u64) {
        drop(self.input.take().map(|mut input| input.flush()));
        let said = self.hear("acknowledged");
        let numbers: Vec<u64> = said
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert!(self.child.wait().unwrap().success());
        match numbers[..] {
            [acknowledged, anew] => (acknowledged, anew),
            _ => panic!("{said}"),
        }
    }
}

/// Whole, with all that the writers wrote, which is removed. Returns how often they opened it anew.
fn ends_well(work: &Work, mut writers: Vec<Writer>) -> u64 {
    let ended: Vec<_> = writers.iter_mut().map(Writer::end).collect();
    let database = work.open();
    let conn = database.connect().unwrap();
    for (writer, (acknowledged, _)) in writers.iter().zip(&ended) {
        let pid = writer.child.id();
        let sql = format!("DELETE FROM t WHERE b LIKE 'writer {pid} row %'");
        assert_eq!(conn.execute(&sql, ()).unwrap() as u64, *acknowledged);
    }
    assert_eq!(content_hash(&conn).unwrap(), content_hash(&twin()).unwrap());
    let whole: String = conn
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    drop(conn);
    database.verify(&mut |_, _| ()).unwrap();
    ended.iter().map(|(_, anew)| anew).sum()
}

fn set_mode(work: &Work, mode: &str) {
    let conn = work.open().connect().unwrap();
    let sql = format!("PRAGMA journal_mode = {mode}");
    let set: String = conn.query_row(&sql, (), |row| row.get(0)).unwrap();
    assert_eq!(set, mode);
}

#[test]
fn who_writes_while_the_data_encryption_key_is_changed_goes_on_and_loses_nothing() {
    for mode in ["delete", "truncate", "wal"] {
        let work = Work::new(true);
        set_mode(&work, mode);
        let writers = vec![Writer::start(&work), Writer::start(&work)];
        work.reopen()
            .change_key_in_place(&address(), &mut |_, _| ())
            .unwrap();
        assert_eq!(ends_well(&work, writers), 0, "{mode}");
    }
}

#[test]
fn an_encryption_begins_only_when_nobody_has_the_plain_file_open() {
    let work = Work::new(false);
    let writer = Writer::start(&work);
    let refused = work
        .reopen()
        .encrypt_in_place(&address(), &work.protection(), &mut |_, _| ())
        .unwrap_err();
    let by = format!("{} (", writer.child.id());
    assert!(
        matches!(&refused, WorldError::OpenElsewhere { by: all, .. } if all[0].starts_with(&by)),
        "{refused}"
    );
    assert_eq!(ends_well(&work, vec![writer]), 0);
    work.workspace
        .encrypt_in_place(&address(), &work.protection(), &mut |_, _| ())
        .unwrap();
    work.holds(&content_hash(&twin()).unwrap());
}

#[test]
fn who_writes_while_it_is_encrypted_and_decrypted_loses_nothing() {
    for mode in ["delete", "wal"] {
        let work = Work::new(false);
        set_mode(&work, mode);
        // Begun, and interrupted at once: from there on others may come.
        let mut writers = Vec::new();
        let protection = work.protection();
        let mut begun = |_, _| {
            if writers.len() < 2 {
                writers.push(Writer::start(&work));
            }
        };
        work.reopen()
            .encrypt_in_place(&address(), &protection, &mut begun)
            .unwrap();
        assert_eq!(ends_well(&work, writers), 0, "{mode}");

        let mut writers = vec![Writer::start(&work), Writer::start(&work)];
        let decrypted = work.reopen().decrypt_in_place(&address(), &mut |_, _| ());
        match mode {
            // Nobody leaves the log while others have it open; once they are gone it ends.
            "wal" => {
                let refused = decrypted.unwrap_err().to_string();
                assert!(refused.contains("in use by another process"), "{refused}");
                assert_eq!(ends_well(&work, writers), 0);
                work.reopen()
                    .decrypt_in_place(&address(), &mut |_, _| ())
                    .unwrap();
            }
            _ => {
                decrypted.unwrap();
                for writer in &mut writers {
                    writer.hear("again");
                }
                assert_eq!(ends_well(&work, writers), 2, "each once, as a plain one");
            }
        }
        let plain = Connection::open(work.file()).unwrap();
        assert_eq!(
            content_hash(&plain).unwrap(),
            content_hash(&twin()).unwrap()
        );
    }
}
