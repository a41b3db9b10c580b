use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::{ALL_ROWS, Beside, Left, NoKey, Target};

/// An SQLCipher database: the `sqlcipher` shell opens it, or Python's module `sqlcipher3`.
pub struct SqlCipher {
    path: PathBuf,
    with: Program,
    version: String,
}

#[derive(Clone, Copy)]
enum Program {
    Shell,
    Python,
}

/// Raw keys: passphrases would be stretched at each opening.
const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfe";
const WRONG: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

/// Runs the statements of standard input, one a line, and prints the rows' first columns, as the shell does.
const SCRIPT: &str = "
import os, sys, sqlcipher3
db = sqlcipher3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    if line.startswith('.shell '):
        os.system(line[7:])
        continue
    for row in db.execute(line):
        print(row[0])
db.close()
";

/// What has either of them kill itself.
const DIE: &str = ".shell kill -9 $PPID";

impl SqlCipher {
    /// The database in `path`, which need not be there yet.
    ///
    /// # Errors
    /// Neither the shell nor the module is installed; says what to do.
    pub fn find(path: PathBuf) -> Result<Self, String> {
        for with in [Program::Python, Program::Shell] {
            let mut found = Self {
                path: PathBuf::from(":memory:"),
                with,
                version: String::new(),
            };
            if let Ok(version) = found.run(Some(KEY), &["PRAGMA cipher_version;"]) {
                found.path = path;
                let version = version.lines().rfind(|l| *l != "ok").unwrap_or_default();
                let program = match with {
                    Program::Shell => "sqlcipher",
                    Program::Python => "Python's sqlcipher3",
                };
                found.version = format!("SQLCipher {version}, by {program}");
                return Ok(found);
            }
        }
        Err("neither the command `sqlcipher` nor Python's module `sqlcipher3` is there: install one \
             (`apt-get install sqlcipher`, `pip install sqlcipher3`)"
            .to_owned())
    }

    /// What the statements print.
    fn run(&self, key: Option<&str>, statements: &[&str]) -> Result<String, String> {
        let output = self.ran(key, statements)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        match (output.status.success(), last) {
            (true, None) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            (_, Some(line)) => Err(line.trim().to_owned()),
            (false, None) => Err(format!("ended with {}", output.status)),
        }
    }

    /// Runs the statements to the end, whatever it is.
    fn ran(&self, key: Option<&str>, statements: &[&str]) -> Result<Output, String> {
        let mut command = match self.with {
            Program::Shell => {
                let mut command = Command::new("sqlcipher");
                command.args(["-batch", "-bail", "-init", "/dev/null"]);
                command
            }
            Program::Python => {
                let mut command = Command::new("python3");
                command.args(["-c", SCRIPT]);
                command
            }
        };
        let mut child = command
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut text = match key {
            Some(key) => format!("PRAGMA key = \"x'{key}'\";\nPRAGMA cipher_page_size = 4096;\n"),
            None => String::new(),
        };
        for statement in statements {
            text.push_str(&statement.replace('\n', " "));
            text.push('\n');
        }
        if let Some(mut input) = child.stdin.take() {
            // One that has failed reads no further, and says why.
            let _ = input.write_all(text.as_bytes());
        }
        child.wait_with_output().map_err(|e| e.to_string())
    }

    fn rows(&self, key: Option<&str>) -> Result<String, String> {
        let printed = self.run(key, &[&format!("{ALL_ROWS};")])?;
        let row = printed.lines().find(|line| line.contains('|'));
        row.map(str::to_owned)
            .ok_or_else(|| "no row came back".to_owned())
    }
}

impl Target for SqlCipher {
    fn name(&self) -> String {
        "SQLCipher".to_owned()
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn file(&self) -> PathBuf {
        self.path.clone()
    }

    fn exec(&self, sql: &str) -> Result<(), String> {
        let statements: Vec<String> = sql.split_inclusive(';').map(str::to_owned).collect();
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        self.run(Some(KEY), &statements).map(drop)
    }

    fn left(&self, changes: &[&str], what: Beside) -> Result<Left, String> {
        let all = [&what.statements(changes)[..], &[DIE]].concat();
        let output = self.ran(Some(KEY), &all)?;
        match output.status.signal() {
            Some(9) => Left::of(&self.path, what),
            _ => Err(format!(
                "was to be killed, and {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    fn read(&self) -> Result<String, String> {
        self.rows(Some(KEY))
    }

    fn read_without(&self, key: NoKey) -> Result<String, String> {
        self.rows(match key {
            NoKey::None => None,
            NoKey::Wrong => Some(WRONG),
        })
    }

    fn verify(&self) -> Result<(), String> {
        // The second is of SQLCipher 4; older ones do not know it, and say nothing.
        let checks = ["PRAGMA integrity_check;", "PRAGMA cipher_integrity_check;"];
        let said = self.run(Some(KEY), &checks)?;
        match said.lines().find(|line| *line != "ok") {
            None => Ok(()),
            Some(fault) => Err(fault.to_owned()),
        }
    }
}
