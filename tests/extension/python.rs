//! Python's `sqlite3` module.

use std::path::Path;
use std::process::Command;

use crate::work::{Said, Work, library, run, uri};

const ADVICE: &str = "apt-get install python3";

/// As in README.md: the module's own way to load an extension, which a Python may be built without.
pub const LOAD: &str = "
import sqlite3, sys
library, uri = sys.argv[1:3]
loader = sqlite3.connect(':memory:')
loader.enable_load_extension(True)
loader.load_extension(library)
loader.close()
";

/// As in README.md, for a Python without it: the same by the C interface of the module's SQLite.
pub const LOAD_BY_CTYPES: &str = "
import _sqlite3, ctypes, sqlite3, sys
library, uri = sys.argv[1:3]
c = ctypes.CDLL(_sqlite3.__file__)
db, why = ctypes.c_void_p(), ctypes.c_char_p()
c.sqlite3_open(b':memory:', ctypes.byref(db))
c.sqlite3_enable_load_extension(db, 1)
if c.sqlite3_load_extension(db, library.encode(), None, ctypes.byref(why)) != 0:
    sys.exit(why.value.decode())
c.sqlite3_close(db)
";

pub fn python(interpreter: &str, program: &str, path: &Path) -> Said {
    python_with(interpreter, program, path, &[])
}

pub fn python_with(
    interpreter: &str,
    program: &str,
    path: &Path,
    variables: &[(&str, &Path)],
) -> Said {
    let mut python = Command::new(interpreter);
    python.env_remove("ATREST_PASSPHRASE_FILE");
    python.env_remove("ATREST_VAULT_URL");
    python.envs(variables.iter().copied());
    python.args(["-c", program]).arg(library()).arg(uri(path));
    run(python, "", ADVICE)
}

/// A Python whose module loads extensions by itself.
fn that_loads_extensions() -> &'static str {
    const TRY: &str = "import sqlite3; sqlite3.connect(':memory:').enable_load_extension(True)";
    let candidates = ["python3", "/usr/bin/python3"];
    let found = candidates.into_iter().find(|python| {
        let mut python = Command::new(python);
        python.args(["-c", TRY]);
        python.output().is_ok_and(|output| output.status.success())
    });
    found.unwrap_or_else(|| panic!("this test needs a Python that loads extensions: {ADVICE}"))
}

fn reads_and_writes(interpreter: &str, load: &str) {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a, b)");
    let program = format!(
        "{load}
connection = sqlite3.connect(uri, uri=True)
with connection:
    connection.execute('INSERT INTO t VALUES (1, ?)', ('from Python',))
print(connection.execute('SELECT * FROM t').fetchall())
try:
    sqlite3.connect('file:/nonexistent/x.db?vfs=atrest', uri=True).execute('SELECT 1')
except sqlite3.OperationalError as error:
    print(error)
print(connection.execute('SELECT atrest_last_error()').fetchone()[0])"
    );
    let said = python(interpreter, &program, &path);
    let lines: Vec<_> = said.out.lines().collect();
    let [rows, error, reason] = lines[..] else {
        panic!("{} {}", said.out, said.err);
    };
    assert_eq!(rows, "[(1, 'from Python')]");
    assert_eq!(error, "unable to open database file");
    assert!(
        reason.contains("/nonexistent/x.db: in no working directory"),
        "{reason}"
    );
    assert_eq!(
        work.query("ledger", "SELECT * FROM t"),
        "1,\"from Python\"\n"
    );
}

#[test]
fn pythons_module_loads_it_and_reads_and_writes() {
    reads_and_writes(that_loads_extensions(), LOAD);
}

#[test]
fn a_python_that_was_built_without_loading_extensions_loads_it_by_ctypes() {
    reads_and_writes("python3", LOAD_BY_CTYPES);
}

/// Both would go on with the same nonces, under the same key.
#[test]
fn a_process_that_is_forked_draws_a_salt_of_its_own() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a)");
    let program = format!(
        "{LOAD}
import os
connection = sqlite3.connect(uri, uri=True)
main = sys.argv[2].split(':', 1)[1].split('?')[0]
def change(value):
    with connection:
        connection.execute('DELETE FROM t')
        connection.execute('INSERT INTO t VALUES (?)', (value,))
    with open(main, 'rb') as file:
        # Of page 2: behind the header block and page 1; its trailer begins with 12 bytes of nonce.
        return file.read()[3 * 4096 - 32 + 12:3 * 4096 - 32 + 16].hex()
mine = change(1)
assert mine == change(2)
if os.fork() == 0:
    its = change(3)
    assert its != mine and its == change(4), (mine, its)
    os._exit(0)
assert os.wait()[1] == 0
print(connection.execute('SELECT a FROM t').fetchall())"
    );
    let said = python(that_loads_extensions(), &program, &path);
    assert_eq!(said.out, "[(4,)]\n", "{}", said.err);
}
