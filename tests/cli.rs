//! The program as a user sees it: exact output, exit codes, and what it says when it cannot go on.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_atrest");

#[test]
fn output_is_what_the_files_say() {
    let cases = trycmd::TestCases::new();
    for name in ["help", "workspace", "landscape", "errors", "demo"] {
        cases.case(format!("tests/cmd/{name}.trycmd"));
    }
}

/// Runs it in `dir`, on the working directory `dir/w`.
fn atrest(dir: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .current_dir(dir)
        .env("ATREST_DIR", "w")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs it; it must end with `code` and print `expected` somewhere.
fn expect(dir: &Path, args: &[&str], code: i32, expected: &str) {
    let ran = atrest(dir, args);
    let printed = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert_eq!(ran.status.code(), Some(code), "{args:?}: {printed}");
    assert!(printed.contains(expected), "{args:?}: {printed}");
}

#[test]
fn an_ordinary_build_cannot_be_broken_on_purpose_and_holds_nothing_for_it() {
    use atrest::base::sabotage::{Sabotage, VARIABLE, told};
    assert_eq!(told(), None);
    let program = fs::read(PROGRAM).unwrap();
    let holds = |text: &str| program.windows(text.len()).any(|at| at == text.as_bytes());
    // The search finds what is there.
    assert!(holds(VARIABLE));
    assert!(!holds("SABOTAGED"));
    for way in Sabotage::ALL {
        assert!(!holds(way.name()), "{}", way.name());
    }
    let dir = tempfile::tempdir().unwrap();
    let mut told = Command::new(PROGRAM);
    told.args(["prove", "--list"]).current_dir(dir.path());
    assert!(told.output().unwrap().status.success());
    told.env(VARIABLE, Sabotage::ALL[0].name());
    let refused = told.output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot be broken on purpose"));
}

/// A working directory with a database and an account in it.
fn world(dir: &Path) {
    fs::write(dir.join("small"), "a letter that is not long").unwrap();
    expect(dir, &["init", "--key-kind", "oct-256"], 0, "customer-key");
    expect(dir, &["sql", "create", "finance"], 0, "finance");
    let schema = "CREATE TABLE t (x); INSERT INTO t VALUES ('kept')";
    expect(dir, &["sql", "exec", "finance", schema], 0, "");
    expect(dir, &["blob", "create", "documents"], 0, "documents");
    expect(dir, &["blob", "put", "documents", "small"], 0, "small");
}

/// What [`world`] made is all there.
fn is_whole(dir: &Path) {
    expect(
        dir,
        &["sql", "query", "finance", "SELECT x FROM t"],
        0,
        "kept",
    );
    expect(dir, &["sql", "verify", "finance"], 0, "");
    expect(
        dir,
        &["blob", "get", "documents", "small"],
        0,
        "a letter that is not long",
    );
    expect(dir, &["blob", "verify", "documents"], 0, "");
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_second_process_is_told_to_wait_and_changes_nothing() {
    let dir = temp();
    world(dir.path());
    let config = fs::read(dir.path().join("w/atrest.json")).unwrap();
    let other = File::open(dir.path().join("w/atrest.lock")).unwrap();
    other.lock().unwrap();
    let changes: [&[&str]; 4] = [
        &["sql", "create", "payroll"],
        &["blob", "create", "scans"],
        &["unprotect", "sql/finance"],
        &["restore", "w", "--environment", "recovery"],
    ];
    for change in changes {
        expect(
            dir.path(),
            change,
            2,
            "another process is changing this working directory",
        );
    }
    is_whole(dir.path());
    // A program that another test is just starting has a copy of the descriptor: closing is not enough.
    other.unlock().unwrap();
    assert_eq!(fs::read(dir.path().join("w/atrest.json")).unwrap(), config);
    expect(dir.path(), changes[0], 0, "payroll");
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_the_right_one_still_does() {
    let dir = temp();
    fs::write(dir.path().join("right"), "correct horse battery staple\n").unwrap();
    fs::write(dir.path().join("wrong"), "correct horse battery stable\n").unwrap();
    let with =
        |file: &'static str, rest: &[&'static str]| [&["--passphrase-file", file], rest].concat();
    let init = ["init", "--key-kind", "oct-256", "--passphrase"];
    expect(dir.path(), &with("right", &init), 0, "customer-key");
    expect(
        dir.path(),
        &with("right", &["sql", "create", "finance"]),
        0,
        "finance",
    );
    for _ in 0..2 {
        let read = ["sql", "query", "finance", "SELECT 'it opens'"];
        expect(
            dir.path(),
            &with("wrong", &read),
            2,
            "root key does not open this vault",
        );
        expect(dir.path(), &read, 2, "give --passphrase-file FILE");
        expect(dir.path(), &with("right", &read), 0, "it opens");
    }
}

/// Runs it where no file can grow past `blocks` of 512 bytes, as on a full disk: a write fails,
/// and the program goes on.
fn on_a_full_disk(dir: &Path, blocks: u32, args: &[&str]) -> (i32, String) {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let ran = Command::new("sh")
        .args(["-c", &script, "sh", PROGRAM])
        .args(args)
        .current_dir(dir)
        .env("ATREST_DIR", "w")
        .output()
        .unwrap();
    let printed = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    (ran.status.code().unwrap(), printed)
}

#[test]
fn a_full_disk_loses_nothing_that_was_there() {
    let dir = temp();
    world(dir.path());
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(i) >> 11) as u8)
        .collect();
    fs::write(dir.path().join("large"), noise).unwrap();
    let many = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 3000) \
                INSERT INTO t SELECT hex(randomblob(500)) FROM n";
    let writes: [&[&str]; 2] = [
        &["blob", "put", "documents", "large"],
        &["sql", "exec", "finance", many],
    ];
    for write in writes {
        let (code, printed) = on_a_full_disk(dir.path(), 1000, write);
        assert_eq!(code, 2, "{printed}");
        assert!(printed.starts_with("atrest: "), "{printed}");
        is_whole(dir.path());
        expect(dir.path(), write, 0, "");
    }
}

#[test]
fn a_demo_on_a_full_disk_says_so_and_leaves_nothing() {
    let dir = temp();
    let demo = [
        "--dir",
        "tour",
        "demo",
        "--rows",
        "20000",
        "--key-kind",
        "oct-256",
    ];
    let (code, printed) = on_a_full_disk(dir.path(), 1000, &demo);
    assert_eq!(code, 2, "{printed}");
    assert!(printed.contains("atrest: "), "{printed}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = Command::new(PROGRAM)
        .arg("--help")
        .stdout(full)
        .status()
        .unwrap();
    assert_eq!(
        ran.code(),
        Some(0),
        "clap prints help, and nobody is there to be told"
    );
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = Command::new(PROGRAM)
        .arg("man")
        .stdout(full)
        .output()
        .unwrap();
    let printed = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{printed}");
    assert!(printed.contains("standard output"), "{printed}");
}

#[test]
fn a_reader_who_goes_away_is_no_error_and_no_panic() {
    let mut child = Command::new(PROGRAM)
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut printed = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut printed)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(printed, "");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let dir = temp();
    expect(dir.path(), &["man", "."], 0, "");
    for page in [
        "atrest",
        "atrest-demo",
        "atrest-key",
        "atrest-sql",
        "atrest-blob",
    ] {
        let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    expect(dir.path(), &["man"], 0, ".TH atrest 1");
}
