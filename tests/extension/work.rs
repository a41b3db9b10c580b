//! A working directory, and the programs that are run on it.

use std::env;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// How long to wait until a change that another process made in the vault is seen for certain: more
/// than the lease's interval, `atrest::envelope::LEASE_INTERVAL`.
pub const LEASE_OVER: &str = "sleep 1.1";

/// What a program that ran to its end printed.
pub struct Said {
    pub out: String,
    pub err: String,
}

/// A working directory with one environment, `production`.
pub struct Work(TempDir);

impl Work {
    pub fn new() -> Self {
        Self::init(&[])
    }

    pub fn init(options: &[&str]) -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        let init = ["init", "--key-kind", "oct-256"];
        work.ok(&[&init[..], options].concat());
        work
    }

    /// One with an empty database `ledger` in it, and the database's path.
    pub fn with_ledger() -> (Self, PathBuf) {
        let work = Self::new();
        work.ok(&["sql", "create", "ledger"]);
        let path = work.sql("ledger");
        (work, path)
    }

    /// A path beside the working directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn dir(&self) -> PathBuf {
        self.beside("work")
    }

    /// The main file of a SQL database.
    pub fn sql(&self, name: &str) -> PathBuf {
        self.dir()
            .join(format!("environments/production/sql/{name}.db"))
    }

    /// `atrest` with these arguments.
    pub fn atrest(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_atrest"))
            .env_remove("ATREST_DIR")
            .env_remove("ATREST_VAULT_URL")
            .arg("--dir")
            .arg(self.dir())
            .args(args)
            .output()
            .unwrap()
    }

    /// Standard output of a command that must work.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.atrest(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs statements in the database `ledger`.
    pub fn exec(&self, sql: &str) {
        self.ok(&["sql", "exec", "ledger", sql]);
    }

    /// A line for the shell that runs `atrest` and says so when it fails.
    pub fn atrest_in_the_shell(&self, args: &str) -> String {
        let (atrest, dir) = (env!("CARGO_BIN_EXE_atrest"), self.dir());
        format!(
            ".shell {atrest} --quiet --dir {} {args} >/dev/null || echo FAILED: {args}",
            dir.display()
        )
    }

    /// What `atrest sql query` answers, as CSV without its heading.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let said = self.ok(&["sql", "query", database, sql, "--format", "csv"]);
        let (_, rows) = said.split_once("\r\n").unwrap();
        rows.replace("\r\n", "\n")
    }
}

/// The URI by which a program that loaded the extension opens the database at `path`.
pub fn uri(path: &Path) -> String {
    format!("file:{}?vfs=atrest", path.display())
}

/// The stock shell with the extension loaded, on these lines. It goes on after an error.
pub fn shell(lines: &[&str]) -> Said {
    shell_with(lines, &[])
}

pub fn shell_with(lines: &[&str], variables: &[(&str, &Path)]) -> Said {
    let mut shell = Command::new("sqlite3");
    shell.arg("-batch").env_remove("ATREST_PASSPHRASE_FILE");
    shell.env_remove("ATREST_VAULT_URL");
    shell.envs(variables.iter().copied());
    let load = format!(".load {}", library().display());
    let script = [&[load.as_str()], lines].concat().join("\n");
    run(
        shell,
        &script,
        "apt-get install sqlite3 (the stock SQLite shell, which the extension is for)",
    )
}

/// Runs `program` to its end with `input`; `advice` says how to get it when it is not there.
pub fn run(mut program: Command, input: &str, advice: &str) -> Said {
    let started = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!("this test needs {:?}: {advice}", program.get_program())
        }
        started => started.unwrap(),
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `libatrest.so` of the profile that is being tested. `cargo test --test extension` does not build
/// examples, and an old one would be tested then: cargo is asked, which does nothing when it is new.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Who has built it need not wait for another cargo's lock.
        if let Some(built) = env::var_os("ATREST_TEST_EXTENSION") {
            return fs::canonicalize(built).unwrap();
        }
        let test = env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--locked", "--example", "atrest"])
            .args([
                "--manifest-path",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
            ])
            .arg("--target-dir")
            .arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.output().unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the extension must build: {said}");
        let library = profile.join("examples/libatrest.so");
        assert!(fs::metadata(&library).is_ok(), "{}", library.display());
        library
    })
}

/// Every file below `dir`, as bytes.
pub fn bytes_below(dir: &Path) -> Vec<u8> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files: Vec<_> = files.filter(|f| f.file_type().is_file()).collect();
    assert!(!files.is_empty(), "{}", dir.display());
    files
        .iter()
        .flat_map(|f| fs::read(f.path()).unwrap())
        .collect()
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}
