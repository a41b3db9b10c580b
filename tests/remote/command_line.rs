//! The command line on a working directory whose customer's vault is elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{ATREST, Served};

/// The disks of the data, where there are neither a customer's vault nor a server's files, and the
/// variables that lead to them.
pub struct Elsewhere {
    pub served: Served,
    here: TempDir,
}

impl Elsewhere {
    pub fn new() -> Self {
        let served = Served::new(&[]);
        let here = tempfile::tempdir().unwrap();
        let work = here.path().join("work");
        copy(served.dir.path(), &work);
        for gone in ["customer", "server", "log"] {
            let gone = work.join(gone);
            let _ = fs::remove_dir_all(&gone).or_else(|_| fs::remove_file(&gone));
        }
        Self { served, here }
    }

    pub fn work(&self) -> PathBuf {
        self.here.path().join("work")
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_on(&self.work(), args)
    }

    fn command_on(&self, work: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(ATREST);
        let variables = self.served.told["variables"].as_object().unwrap();
        for (name, value) in variables {
            command.env(name, value.as_str().unwrap());
        }
        command.arg("--dir").arg(work).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert!(ran.status.success(), "{args:?}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, args: &[&str], why: &str) {
        let ran = self.run(args);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let to = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(to).unwrap(),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn every_command_on_data_works_without_the_vaults_directory() {
    let e = Elsewhere::new();
    e.ok(&["sql", "create", "ledger"]);
    e.ok(&[
        "sql",
        "exec",
        "ledger",
        "CREATE TABLE t (a); INSERT INTO t VALUES ('kept')",
    ]);
    let read = || {
        e.ok(&[
            "sql",
            "query",
            "ledger",
            "SELECT a FROM t",
            "--format",
            "csv",
        ])
    };
    assert!(read().contains("kept"));
    let letter = e.here.path().join("letter");
    fs::write(&letter, "Dear Sir").unwrap();
    e.ok(&["blob", "create", "letters"]);
    e.ok(&["blob", "put", "letters", letter.to_str().unwrap()]);
    e.ok(&["key", "rotate", "customer-key"]);
    assert!(e.ok(&["rewrap"]).contains("rewrapped"));
    e.ok(&["unprotect", "sql/ledger"]);
    e.ok(&["protect", "sql/ledger"]);
    assert!(read().contains("kept"));
    e.ok(&["sql", "verify", "ledger"]);
    e.ok(&["blob", "verify", "letters"]);
    e.ok(&["key", "create", "payroll", "--kind", "oct-256"]);
    let versions: Value =
        serde_json::from_str(&e.ok(&["--json", "key", "show", "customer-key"])).unwrap();
    assert_eq!(versions.as_array().unwrap().len(), 2);
    e.ok(&["key", "disable", "customer-key"]);
    e.refused(
        &["sql", "query", "ledger", "SELECT a FROM t"],
        "KeyDisabled",
    );
    e.ok(&["key", "enable", "customer-key"]);
    assert!(read().contains("kept"));
    assert!(
        !e.work().join("customer").exists(),
        "something was made there"
    );
}

#[test]
fn the_lab_attacks_a_copy_whose_key_is_elsewhere() {
    let e = Elsewhere::new();
    e.ok(&["sql", "create", "ledger"]);
    e.ok(&[
        "sql",
        "exec",
        "ledger",
        "CREATE TABLE t (a); INSERT INTO t VALUES ('kept')",
    ]);
    let proved = e.run(&["prove", "--only", "1,3"]);
    assert_eq!(proved.status.code(), Some(0), "{proved:?}");
}

#[test]
fn status_says_where_the_keys_come_from_and_asks_nobody() {
    let mut e = Elsewhere::new();
    let url = e.served.told["vault_url"].as_str().unwrap().to_owned();
    e.served.kill();
    assert!(e.ok(&["status"]).contains(&format!("keys come from {url}")));
    let told: Value = serde_json::from_str(&e.ok(&["--json", "status"])).unwrap();
    assert_eq!(told["vaults"][0]["url"], url);
    // With the vault in its place and the variable out of the way, the keys come from there.
    let own = Command::new(ATREST)
        .env("ATREST_VAULT_URL", "https://elsewhere.vault.azure.net")
        .arg("--dir")
        .arg(e.served.dir.path())
        .args(["--vault-url=", "status"])
        .output()
        .unwrap();
    let said = String::from_utf8(own.stdout).unwrap();
    assert!(
        said.contains("unsealed") && !said.contains("come from"),
        "{said}"
    );
}

#[test]
fn what_is_done_where_the_vault_lies_says_so() {
    let e = Elsewhere::new();
    let why = "this is done where it lies";
    for args in [
        &["vault", "status"][..],
        &["vault", "seal"],
        &["vault", "unseal"],
        &["vault", "change-root", "--to-key-file"],
        &["vault", "protect-purge"],
        &["audit", "list"],
        &["audit", "verify"],
        &["audit", "reanchor"],
        &["serve", "--port", "0"],
        &["with", "--", "true"],
        &["init"],
    ] {
        e.refused(args, why);
    }
    // The provider's vault is here.
    e.ok(&["vault", "--vault", "provider", "status"]);
    e.ok(&["audit", "--vault", "provider", "verify"]);
    assert!(!e.work().join("customer").exists());
}

#[test]
fn a_variable_that_is_missing_or_wrong_is_named_and_nothing_is_made() {
    let e = Elsewhere::new();
    let create = ["sql", "create", "ledger"];
    let without = |name: &str, why: &str| {
        let ran = e.command(&create).env_remove(name).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
    };
    without("ATREST_VAULT_CA", "ATREST_VAULT_CA");
    without("IDENTITY_HEADER", "IDENTITY_HEADER");
    let with = |name: &str, value: &str, why: &str| {
        let ran = e.command(&create).env(name, value).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
    };
    with(
        "ATREST_VAULT_URL",
        "http://customer.vault.azure.net",
        "https://",
    );
    with("ATREST_VAULT_CA", "/nonexistent", "/nonexistent");
    with(
        "IDENTITY_HEADER",
        "wrong",
        "X-IDENTITY-HEADER is missing or wrong",
    );
    with("https_proxy", "http://127.0.0.1:1", "cannot be reached");
    with(
        "ATREST_VAULT_URL",
        "https://other.vault.azure.net",
        "There is no vault other here",
    );
    let sql = e.work().join("environments/production/sql/ledger.db");
    assert!(!sql.exists(), "half a database was made");
    e.ok(&create);
    assert!(sql.exists());
}

#[test]
fn another_vault_than_the_directorys_own_is_refused() {
    let (e, other) = (Elsewhere::new(), Elsewhere::new());
    e.ok(&["sql", "create", "ledger"]);
    let verify = ["sql", "verify", "ledger"];
    let ran = other.command_on(&e.work(), &verify).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success());
    assert!(said.contains("keeps another vault"), "{said}");
}

#[test]
fn the_role_that_encrypts_for_services_is_enough_for_data_and_for_no_more() {
    let e = Elsewhere::new();
    let role = "Key Vault Crypto Service Encryption User";
    let add = ["--json", "identity", "add", "app", "--role", role];
    let added = crate::client::atrest(e.served.dir.path(), &add)
        .output()
        .unwrap();
    let secrets: Value = serde_json::from_slice(&added.stdout).unwrap();
    let run = |args: &[&str]| {
        let mut command = e.command(args);
        command
            .env_remove("IDENTITY_ENDPOINT")
            .env_remove("IDENTITY_HEADER");
        for (name, value) in secrets.as_object().unwrap() {
            command.env(name, value.as_str().unwrap());
        }
        let ran = command.output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        (ran.status.code(), said)
    };
    for args in [
        &["sql", "create", "ledger"][..],
        &["sql", "exec", "ledger", "CREATE TABLE t (a)"],
        &["sql", "verify", "ledger"],
        &["rewrap"],
        &["blob", "create", "letters"],
        &["key", "list"],
    ] {
        let (code, said) = run(args);
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }
    for args in [
        &["key", "rotate", "customer-key"][..],
        &["key", "disable", "customer-key"],
    ] {
        let (code, said) = run(args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(
            said.contains("no role that permits Microsoft.KeyVault/"),
            "{said}"
        );
    }
}
