//! `atrest sql`: what it prints, to the byte, and what it answers to mistakes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use rusqlite::Connection;
use tempfile::TempDir;

struct Work(TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        work.ok(&["init", "--key-kind", "oct-256"]);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("atrest").unwrap();
        command
            .env_remove("ATREST_DIR")
            .arg("--dir")
            .arg(self.path("work"))
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that must work.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must fail with exit code 2 and print nothing else.
    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        said.replace(&self.0.path().display().to_string(), "TEMP")
    }
}

const VALUES: &str = "CREATE TABLE t (a, b, c);
    INSERT INTO t VALUES (1, 'x,\"y', x'00ff'), (-9223372036854775808, NULL, 0.1),
        (9e999, '', -1e-320), (9007199254740993, 'two' || char(10) || 'lines', CAST(x'ff' AS TEXT)),
        (2.0, char(27) || '[31m', 1e300)";

#[test]
fn no_format_loses_the_type_or_a_digit_of_a_value() {
    let work = Work::new();
    assert_eq!(
        work.ok(&["sql", "create", "finance"]),
        "sql/finance: an empty database, under the key customer-key, customer-managed\n"
    );
    assert_eq!(
        work.ok(&["sql", "exec", "finance", VALUES]),
        "2 statements, 5 rows changed\n"
    );
    let query = |format| {
        work.ok(&[
            "sql",
            "query",
            "finance",
            "SELECT * FROM t",
            "--format",
            format,
        ])
    };
    let table = [
        "                   a  b           c",
        "                   1  x,\"y        x'00ff'",
        "-9223372036854775808  NULL        0.1",
        "               9e999              -1e-320",
        "    9007199254740993  two\\nlines  x'ff'",
        "                 2.0  \\u{1b}[31m  1e300\n",
    ]
    .join("\n");
    assert_eq!(query("table"), table);
    let csv = "\"a\",\"b\",\"c\"\r\n\
        1,\"x,\"\"y\",x'00ff'\r\n\
        -9223372036854775808,,0.1\r\n\
        9e999,\"\",-1e-320\r\n\
        9007199254740993,\"two\nlines\",x'ff'\r\n\
        2.0,\"\u{1b}[31m\",1e300\r\n";
    assert_eq!(query("csv"), csv);
    let json = r#"[
  {"a": 1, "b": "x,\"y", "c": {"base64": "AP8="}},
  {"a": -9223372036854775808, "b": null, "c": 0.1},
  {"a": 9e999, "b": "", "c": -1e-320},
  {"a": 9007199254740993, "b": "two\nlines", "c": {"base64": "/w=="}},
  {"a": 2.0, "b": "\u001b[31m", "c": 1e300}
]
"#;
    assert_eq!(query("json"), json);
    let none = |args: &[&str]| work.ok(&[args, &["SELECT a FROM t WHERE 0"]].concat());
    assert_eq!(none(&["--json", "sql", "query", "finance"]), "[]\n");
    assert_eq!(none(&["sql", "query", "finance"]), "a\n");
    assert_eq!(
        none(&["sql", "query", "finance", "--format", "csv"]),
        "\"a\"\r\n"
    );
}

#[test]
fn a_file_goes_in_and_comes_out_again_with_every_row() {
    let work = Work::new();
    let books = work.path("books.db");
    let plain = Connection::open(&books).unwrap();
    plain
        .execute_batch("CREATE TABLE invoice (id INTEGER PRIMARY KEY, total); INSERT INTO invoice VALUES (1, 5.5), (2, 7)")
        .unwrap();
    drop(plain);
    let before = fs::read(&books).unwrap();
    let (source, copy) = (books.to_str().unwrap(), work.path("copy.db"));
    let imported = work.ok(&["sql", "import", source, "finance"]);
    let (said, hash) = imported.rsplit_once(' ').unwrap();
    assert_eq!(
        said.replace(source, "FILE"),
        "sql/finance: imported, under the key customer-key, customer-managed
  1 tables with 2 rows, equal to those of FILE
  sha-256 of the content"
    );
    let twin = work.ok(&["sql", "import", source, "twin", "--plain"]);
    assert!(twin.starts_with("sql/twin: imported, not protected\n") && twin.ends_with(hash));
    let exported = work.ok(&["sql", "export", "finance", copy.to_str().unwrap()]);
    assert_eq!(
        exported.replace(copy.to_str().unwrap(), "FILE"),
        "FILE: 8192 bytes, not protected\n"
    );
    let again = work.ok(&[
        "sql",
        "import",
        copy.to_str().unwrap(),
        "again",
        "--service-managed",
    ]);
    assert!(again.ends_with(hash), "{again}");
    assert_eq!(fs::read(&books).unwrap(), before);
    assert_eq!(
        work.ok(&["sql", "verify", "finance"]),
        "sql/finance: 2 pages and frames, 12288 bytes, all authentic\n"
    );
    assert!(
        work.ok(&["sql", "verify", "twin"])
            .contains("nothing in a plain database")
    );
    let said = work.fails(&["sql", "export", "finance", source]);
    assert_eq!(
        said,
        "atrest: TEMP/books.db: exists already; choose another name, or remove it first\n"
    );
    assert_eq!(fs::read(&books).unwrap(), before);
}

#[test]
fn a_statement_that_fails_says_what_took_effect() {
    let work = Work::new();
    work.ok(&["sql", "create", "finance"]);
    work.ok(&["sql", "exec", "finance", "CREATE TABLE t (a)"]);
    let count = || {
        work.ok(&[
            "sql",
            "query",
            "finance",
            "SELECT count(*) n FROM t",
            "--format",
            "csv",
        ])
    };
    let db = "TEMP/work/environments/production/sql/finance.db";
    let cases = [
        (
            "nonsense",
            "statement 1",
            "near \"nonsense\": syntax error",
            "nothing was changed",
            0,
        ),
        (
            "INSERT INTO t VALUES (1); INSERT INTO nosuch VALUES (1)",
            "statement 2",
            "no such table: nosuch",
            "what the 1 before it did stays",
            1,
        ),
        (
            "INSERT INTO t VALUES (2); BEGIN; DELETE FROM t; INSERT INTO nosuch VALUES (1)",
            "statement 4",
            "no such table: nosuch",
            "its transaction was rolled back, what the first 1 did stays",
            2,
        ),
    ];
    for (sql, which, why, advice, rows) in cases {
        let said = work.fails(&["sql", "exec", "finance", sql]);
        assert!(
            said.starts_with(&format!("atrest: {which}: {db}: {why}")),
            "{said}"
        );
        assert!(said.ends_with(&format!("; {advice}\n")), "{said}");
        assert_eq!(count(), format!("\"n\"\r\n{rows}\r\n"));
    }
    let said = work.fails(&["sql", "exec", "finance", "BEGIN; DELETE FROM t"]);
    assert!(said.contains("rolled back; end it with COMMIT"), "{said}");
    assert_eq!(count(), "\"n\"\r\n2\r\n");
}

#[test]
fn a_query_changes_nothing() {
    let work = Work::new();
    work.ok(&["sql", "create", "finance"]);
    work.ok(&[
        "sql",
        "exec",
        "finance",
        "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
    ]);
    for sql in [
        "DELETE FROM t",
        "DELETE FROM t RETURNING a",
        "DROP TABLE t",
        "VACUUM",
    ] {
        let said = work.fails(&["sql", "query", "finance", sql]);
        assert_eq!(
            said,
            "atrest: not a statement that reads; run it with `atrest sql exec`\n"
        );
    }
    assert!(
        work.fails(&["sql", "query", "finance", "SELECT 1; DELETE FROM t"])
            .contains("ultiple")
    );
    assert_eq!(
        work.ok(&["--json", "sql", "query", "finance", "SELECT a FROM t"]),
        "[\n  {\"a\": 1}\n]\n"
    );
}

#[test]
fn a_dump_on_standard_input_is_executed() {
    let work = Work::new();
    work.ok(&["sql", "create", "finance"]);
    let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t (a);\n\
        INSERT INTO t VALUES('it''s; fine');\nCOMMIT;\n";
    work.command(&["sql", "exec", "finance", "-"])
        .write_stdin(dump)
        .assert()
        .success();
    assert_eq!(
        work.ok(&["sql", "query", "finance", "SELECT * FROM t"]),
        "a\nit's; fine\n"
    );
}

#[test]
fn mistakes_are_explained_and_leave_nothing_behind() {
    let work = Work::new();
    fs::write(work.path("noise"), [0x55; 5000]).unwrap();
    let noise = work.path("noise").display().to_string();
    for (args, expected) in [
        (
            vec!["sql", "import", "/nonexistent", "x"],
            "atrest: /nonexistent: not found\n",
        ),
        (
            vec!["sql", "import", &noise, "x"],
            "atrest: TEMP/noise: does not begin as a SQLite database does; when a program \
             encrypted it, let that program decrypt it first\n",
        ),
        (
            vec!["sql", "query", "x", "SELECT 1"],
            "atrest: no resource production/sql/x; `atrest status` lists them\n",
        ),
    ] {
        assert_eq!(work.fails(&args), expected);
    }
    assert!(
        work.fails(&["sql", "create", "x", "--page-size", "1000"])
            .contains("power of two")
    );
    assert!(
        work.fails(&["sql", "create", "x", "--plain", "--key", "k"])
            .contains("cannot be used")
    );
    assert!(!work.path("work/environments/production/sql/x.db").exists());
    work.ok(&["sql", "create", "x"]);
    assert!(
        work.fails(&["sql", "create", "x"])
            .contains("exists already")
    );
}
