//! The key is pulled while another program has the database open, or it is another one, or it takes
//! a passphrase to get at it.

use std::fs;

use crate::work::{LEASE_OVER, Work, shell, shell_with, uri};

#[test]
fn a_disabled_key_stops_the_shell_at_its_next_statement_and_an_enabled_one_lets_it_go_on() {
    for mode in ["delete", "wal"] {
        let (work, path) = Work::with_ledger();
        let wait = format!(".shell {LEASE_OVER}");
        let said = shell(&[
            &format!(".open {}", uri(&path)),
            &format!("PRAGMA journal_mode = {mode};"),
            "CREATE TABLE t (a); INSERT INTO t VALUES ('readable');",
            "SELECT a FROM t;",
            &work.atrest_in_the_shell("key disable customer-key"),
            &wait,
            ".print disabled",
            "SELECT a FROM t;",
            "INSERT INTO t VALUES ('not written');",
            "SELECT atrest_last_error() LIKE '%KeyDisabled%enable it with `atrest key enable`';",
            &work.atrest_in_the_shell("key enable customer-key"),
            &wait,
            ".print enabled",
            "SELECT a FROM t;",
            "INSERT INTO t VALUES ('written');",
            "SELECT count(*) FROM t;",
        ]);
        let expected = format!("{mode}\nreadable\ndisabled\n1\nenabled\nreadable\n2\n");
        assert_eq!(said.out, expected, "{}", said.err);
        let reasons = said.err.lines().filter(|l| l.contains("KeyDisabled"));
        assert!(reasons.count() >= 2, "{}", said.err);
        assert_eq!(work.query("ledger", "SELECT count(*) FROM t"), "2\n");
    }
}

#[test]
fn a_database_whose_key_is_disabled_does_not_open_in_the_shell() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let open = || shell(&[&format!(".open {}", uri(&path)), "SELECT a FROM t;"]);
    work.ok(&["key", "disable", "customer-key"]);
    let said = open();
    assert_eq!(said.out, "");
    assert!(said.err.contains("KeyDisabled"), "{}", said.err);
    assert!(said.err.contains("authorization denied"), "{}", said.err);
    work.ok(&["key", "enable", "customer-key"]);
    assert_eq!(open().out, "1\n");
}

#[test]
fn another_vault_in_the_right_ones_place_opens_nothing() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let open = || shell(&[&format!(".open {}", uri(&path)), "SELECT a FROM t;"]);
    assert_eq!(open().out, "1\n");
    let other = Work::new();
    let vault = work.dir().join("customer");
    fs::rename(&vault, work.beside("the-right-one")).unwrap();
    fs::rename(other.dir().join("customer"), &vault).unwrap();
    let said = open();
    assert_eq!(said.out, "");
    assert!(said.err.contains("holds another vault"), "{}", said.err);
}

#[test]
fn a_passphrase_comes_from_the_file_and_is_never_asked_for_in_another_program() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("passphrase");
    fs::write(&file, "correct horse battery\n").unwrap();
    let work = Work::init(&["--passphrase", "--passphrase-file", file.to_str().unwrap()]);
    let given = ["--passphrase-file", file.to_str().unwrap()];
    let ok = |args: &[&str]| work.ok(&[&given[..], args].concat());
    ok(&["sql", "create", "ledger"]);
    ok(&[
        "sql",
        "exec",
        "ledger",
        "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
    ]);
    let lines = [
        &format!(".open {}", uri(&work.sql("ledger"))),
        "SELECT a FROM t;",
    ];
    let with = |file| shell_with(&lines, &[("ATREST_PASSPHRASE_FILE", file)]);
    assert_eq!(with(&file).out, "1\n");
    let said = shell(&lines);
    assert_eq!(said.out, "");
    assert!(
        said.err.contains("set ATREST_PASSPHRASE_FILE"),
        "{}",
        said.err
    );
    let wrong = temp.path().join("wrong");
    fs::write(&wrong, "wrong horse battery\n").unwrap();
    let said = with(&wrong);
    assert_eq!(said.out, "");
    assert!(said.err.contains("assphrase"), "{}", said.err);
}
