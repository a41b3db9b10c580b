//! The key comes from a vault server; on this side there is no vault.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::Served;
use crate::python::{LOAD_BY_CTYPES, python_with};
use crate::work::{LEASE_OVER, Said, shell_with, uri};

/// A served working directory with a database `ledger`, which lies here without its vault.
struct Elsewhere {
    served: Served,
    here: tempfile::TempDir,
}

impl Elsewhere {
    fn new() -> Self {
        let served = Served::new(&[]);
        let here = tempfile::tempdir().unwrap();
        let elsewhere = Self { served, here };
        elsewhere.atrest(&["sql", "create", "ledger"]);
        let sql = "CREATE TABLE t (a); INSERT INTO t VALUES ('readable')";
        elsewhere.atrest(&["sql", "exec", "ledger", sql]);
        let from = elsewhere.served.dir.path();
        for name in ["atrest.json", "environments", "provider"] {
            // The data moves: what the vault remembers of it is of this place in the directory.
            fs::rename(from.join(name), elsewhere.here.path().join(name)).unwrap();
        }
        elsewhere
    }

    fn database(&self) -> PathBuf {
        self.here
            .path()
            .join("environments/production/sql/ledger.db")
    }

    /// Where the vault lies.
    fn atrest(&self, args: &[&str]) {
        let ran = crate::client::atrest(self.served.dir.path(), args)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{args:?}: {ran:?}");
    }

    /// What `eval "$(atrest env)"` sets.
    fn variables(&self) -> Vec<(&str, &Path)> {
        let all = self.served.told["variables"].as_object().unwrap();
        all.iter()
            .map(|(name, value)| (name.as_str(), Path::new(value.as_str().unwrap())))
            .collect()
    }

    /// A line for the shell that changes a key as its owner does, through the server.
    fn key(&self, change: &str) -> String {
        let atrest = crate::client::ATREST;
        let dir = self.here.path().display();
        format!(
            ".shell {atrest} --quiet --dir {dir} key {change} customer-key >/dev/null || echo FAILED"
        )
    }

    fn shell(&self, lines: &[&str], more: &[(&str, &Path)]) -> Said {
        let open = format!(".open {}", uri(&self.database()));
        let variables = [&self.variables()[..], more].concat();
        shell_with(&[&[open.as_str()], lines].concat(), &variables)
    }
}

#[test]
fn the_stock_shell_reads_and_writes_with_the_servers_key() {
    let e = Elsewhere::new();
    let lines = [
        "SELECT a FROM t;",
        "INSERT INTO t VALUES ('written');",
        "SELECT count(*) FROM t;",
    ];
    let said = e.shell(&lines, &[]);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("readable\n2\n", "")
    );
    assert!(!e.here.path().join("customer").exists());
}

#[test]
fn a_key_disabled_at_the_server_stops_the_shells_next_statement() {
    let e = Elsewhere::new();
    let wait = format!(".shell {LEASE_OVER}");
    let said = e.shell(
        &[
            "SELECT a FROM t;",
            &e.key("disable"),
            &wait,
            ".print disabled",
            "SELECT a FROM t;",
            "INSERT INTO t VALUES ('not written');",
            "SELECT atrest_last_error() LIKE '%KeyDisabled%';",
            &e.key("enable"),
            &wait,
            ".print enabled",
            "SELECT count(*) FROM t;",
        ],
        &[],
    );
    assert_eq!(
        said.out, "readable\ndisabled\n1\nenabled\n1\n",
        "{}",
        said.err
    );
}

#[test]
fn python_reads_with_the_servers_key_and_is_told_when_the_server_is_gone() {
    let e = Elsewhere::new();
    let pid = e.served.id();
    let program = format!(
        "{LOAD_BY_CTYPES}
import os, signal, time
connection = sqlite3.connect(uri, uri=True, isolation_level=None)
print(connection.execute('SELECT a FROM t').fetchall())
os.kill({pid}, signal.SIGKILL)
end = time.monotonic() + 60
while True:
    try:
        connection.execute('SELECT a FROM t').fetchall()
    except sqlite3.OperationalError as error:
        print(error)
        break
    assert time.monotonic() < end, 'the key is used for ever'
    time.sleep(0.05)
print(connection.execute('SELECT atrest_last_error()').fetchone()[0])"
    );
    let said = python_with("python3", &program, &e.database(), &e.variables());
    let lines: Vec<_> = said.out.lines().collect();
    let [rows, error, reason] = lines[..] else {
        panic!("{} {}", said.out, said.err);
    };
    assert_eq!((rows, error), ("[('readable',)]", "disk I/O error"));
    assert!(reason.contains("cannot be reached"), "{reason}");
}

#[test]
fn a_wrong_or_absent_identity_opens_nothing_and_says_so() {
    let e = Elsewhere::new();
    let select = ["SELECT a FROM t;", "SELECT atrest_last_error();"];
    assert!(e.shell(&select[..1], &[]).out.starts_with("readable"));
    for (name, value, why) in [
        ("IDENTITY_HEADER", "wrong", "no access token was given"),
        ("IDENTITY_HEADER", "", "the vault at https://"),
        ("ATREST_VAULT_CA", "", "ATREST_VAULT_CA"),
        (
            "ATREST_VAULT_URL",
            "https://other.vault.azure.net",
            "There is no vault other here",
        ),
        ("https_proxy", "http://127.0.0.1:1", "cannot be reached"),
    ] {
        let said = e.shell(&select, &[(name, value.as_ref())]);
        assert!(!said.out.contains("readable"), "{name}");
        assert!(said.err.contains(why), "{name}: {}", said.err);
        assert!(
            said.out.contains(why) || said.out.is_empty(),
            "{name}: {}",
            said.out
        );
    }
}

/// Both would go on with one TLS connection: two texts under one key and number.
#[test]
fn a_process_that_is_forked_asks_the_server_by_a_connection_of_its_own() {
    let e = Elsewhere::new();
    let program = format!(
        "{LOAD_BY_CTYPES}
import os
connection = sqlite3.connect(uri, uri=True, isolation_level=None)
def read():
    os.system('{LEASE_OVER}')
    return connection.execute('SELECT a FROM t').fetchall()
def sockets():
    there = []
    for number in os.listdir('/proc/self/fd'):
        try: there.append(os.readlink('/proc/self/fd/' + number))
        except FileNotFoundError: pass
    return {{name for name in there if name.startswith('socket:')}}
read()
before = sockets()
if os.fork() == 0:
    assert sockets() == before
    assert read() == [('readable',)]
    print(len(sockets() - before) > 0, flush=True)
    os._exit(0)
assert os.wait()[1] == 0
print(read())"
    );
    let said = python_with("python3", &program, &e.database(), &e.variables());
    assert_eq!(said.out, "True\n[('readable',)]\n", "{}", said.err);
}
