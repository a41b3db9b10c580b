//! The program and another one on the same database at the same time.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use atrest::base::SystemClock;
use atrest::world::{AskPassphrase, Workspace};

use crate::python::{LOAD_BY_CTYPES, python};
use crate::work::{LEASE_OVER, Work, shell, uri};

const ROUNDS: usize = 200;

#[test]
fn two_sqlites_that_write_at_once_lose_no_commit_of_the_other() {
    for mode in ["delete", "wal"] {
        let (work, path) = Work::with_ledger();
        let setup = format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE n (n); INSERT INTO n VALUES (0);
             CREATE TABLE log (n, b)"
        );
        work.exec(&setup);
        let program = format!(
            "{LOAD_BY_CTYPES}
connection = sqlite3.connect(uri, uri=True, timeout=600, isolation_level=None)
for _ in range({ROUNDS}):
    connection.execute('BEGIN IMMEDIATE')
    connection.execute('UPDATE n SET n = n + 1')
    connection.execute('INSERT INTO log SELECT n, randomblob(600) FROM n')
    connection.execute('COMMIT')
print(sqlite3.sqlite_version)"
        );
        let ask: AskPassphrase = Arc::new(|_| Err("no passphrase".to_owned()));
        let workspace = Workspace::open(&work.dir(), ask, Arc::new(SystemClock)).unwrap();
        let database = workspace.open_sql(&"sql/ledger".parse().unwrap()).unwrap();
        let conn = database.connect().unwrap();
        conn.busy_timeout(Duration::from_secs(600)).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| python("python3", &program, &path));
            for _ in 0..ROUNDS {
                conn.execute_batch(
                    "BEGIN IMMEDIATE; UPDATE n SET n = n + 1;
                     INSERT INTO log SELECT n, randomblob(600) FROM n; COMMIT",
                )
                .unwrap();
            }
            let said = other.join().unwrap();
            assert_eq!(said.err, "");
            assert_eq!(said.out.lines().count(), 1, "it came to its end");
        });
        drop(conn);
        let sql = "SELECT (SELECT n FROM n), (SELECT count(DISTINCT n) FROM log)";
        let both = 2 * ROUNDS;
        assert_eq!(
            work.query("ledger", sql),
            format!("{both},{both}\n"),
            "{mode}"
        );
        work.ok(&["sql", "verify", "ledger"]);
    }
}

#[test]
fn in_wal_mode_each_sees_what_the_other_committed_while_both_have_it_open() {
    let (work, path) = Work::with_ledger();
    let setup = "PRAGMA journal_mode = wal; CREATE TABLE t (a); INSERT INTO t VALUES (1)";
    work.exec(setup);
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        "SELECT count(*) FROM t;",
        &work.atrest_in_the_shell("sql exec ledger 'INSERT INTO t VALUES (2)'"),
        "SELECT count(*) FROM t;",
        "INSERT INTO t VALUES (3);",
        // With the shell's frame still in the log.
        &format!(".shell test -s {}-wal || echo no log", path.display()),
        &format!(
            ".shell {} --dir {} sql query ledger 'SELECT count(*) FROM t' --format csv > {}",
            env!("CARGO_BIN_EXE_atrest"),
            work.dir().display(),
            work.beside("answer").display()
        ),
        "BEGIN; SELECT count(*) FROM t;",
        &work.atrest_in_the_shell("sql exec ledger 'INSERT INTO t VALUES (4)'"),
        "SELECT count(*) FROM t;",
        "COMMIT; SELECT count(*) FROM t;",
    ]);
    assert_eq!(said.err, "");
    assert_eq!(said.out, "1\n2\n3\n3\n4\n");
    let answer = std::fs::read_to_string(work.beside("answer")).unwrap();
    assert!(answer.ends_with("\r\n3\r\n"), "{answer}");
}

/// A database is opened by the library's own SQLite first, and when its key is refused the library
/// looks at the file's header, in case the key was rewrapped. A descriptor that is closed drops all
/// of the process's locks on the file, unless the SQLite that holds them closes it.
#[test]
fn a_lock_is_not_dropped_when_another_connection_is_opened_or_refused() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let (atrest, dir) = (env!("CARGO_BIN_EXE_atrest"), work.dir());
    let program = format!(
        "{LOAD_BY_CTYPES}
import os, subprocess
def atrest(*args):
    said = subprocess.run([{atrest:?}, '--dir', {dir:?}, *args], capture_output=True, text=True)
    return said.returncode, said.stderr
writer = sqlite3.connect(uri, uri=True, isolation_level=None)
reader = sqlite3.connect(uri, uri=True, isolation_level=None)
print(reader.execute('SELECT count(*) FROM t').fetchone()[0])
writer.execute('BEGIN IMMEDIATE')
writer.execute('INSERT INTO t VALUES (2)')
late = sqlite3.connect(uri, uri=True)
print(late.execute('SELECT count(*) FROM t').fetchone()[0])
late.close()
def exec(a):
    code, said = atrest('sql', 'exec', 'ledger', f'INSERT INTO t VALUES ({{a}})')
    return code, 'in use by another process' in said
print(exec(3))
atrest('key', 'disable', 'customer-key')
os.system('{LEASE_OVER}')
try:
    reader.execute('SELECT count(*) FROM t').fetchone()
except sqlite3.OperationalError as error:
    print(error)
atrest('key', 'enable', 'customer-key')
os.system('{LEASE_OVER}')
print(exec(4))
writer.execute('COMMIT')
print(exec(5))
print(reader.execute('SELECT group_concat(a) FROM t').fetchone()[0])"
    );
    let said = python("python3", &program, &path);
    let expected = "1\n1\n(2, True)\ndisk I/O error\n(2, True)\n(0, False)\n1,2,5\n";
    assert_eq!(said.out, expected, "{}", said.err);
}

#[test]
fn connections_that_come_and_go_on_many_threads_lose_no_commit() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 30;
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE n (n); INSERT INTO n VALUES (0)");
    let program = format!(
        "{LOAD_BY_CTYPES}
import threading
def count_up():
    for _ in range({ROUNDS}):
        connection = sqlite3.connect(uri, uri=True, timeout=600, isolation_level=None)
        connection.execute('UPDATE n SET n = n + 1')
        connection.close()
threads = [threading.Thread(target=count_up) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()"
    );
    let said = thread::scope(|scope| {
        let one = scope.spawn(|| python("python3", &program, &path));
        let other = python("python3", &program, &path);
        one.join().unwrap().err + &other.err
    });
    assert_eq!(said, "");
    let all = 2 * THREADS * ROUNDS;
    assert_eq!(work.query("ledger", "SELECT n FROM n"), format!("{all}\n"));
    work.ok(&["sql", "verify", "ledger"]);
}

/// Two SQLites that have one file open in one process undo each other's locks.
#[test]
fn a_second_sqlite_in_the_same_process_does_not_get_at_an_open_database() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a)");
    let copy = work.beside("another-libsqlite3.so");
    let program = format!(
        "{LOAD_BY_CTYPES}
import shutil
maps = open('/proc/self/maps').read().split()
shutil.copy(next(word for word in maps if 'libsqlite3.so' in word), {copy:?})
other = ctypes.CDLL({copy:?})
other.sqlite3_open(b':memory:', ctypes.byref(db))
other.sqlite3_enable_load_extension(db, 1)
print(other.sqlite3_load_extension(db, library.encode(), None, None))
def open_by_the_other():
    code = other.sqlite3_open_v2(uri.encode(), ctypes.byref(db), 0x46, None)
    if code == 0:
        code = other.sqlite3_exec(db, b'INSERT INTO t VALUES (1)', None, None, None)
    other.sqlite3_close(db)
    return code
first = sqlite3.connect(uri, uri=True)
print(first.execute('SELECT count(*) FROM t').fetchone()[0])
print(open_by_the_other())
first.close()
print(open_by_the_other())"
    );
    let said = python("python3", &program, &path);
    assert_eq!(said.out, "0\n0\n14\n0\n", "{}", said.err);
    assert!(
        said.err.contains("through another SQLite library"),
        "{}",
        said.err
    );
    assert_eq!(work.query("ledger", "SELECT count(*) FROM t"), "1\n");
}
