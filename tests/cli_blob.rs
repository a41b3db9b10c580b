//! `atrest blob`: what it prints, to the byte, and what it answers to mistakes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use assert_cmd::Command;
use atrest::base::SystemClock;
use atrest::vault::{KeyUpdate, KeyVault};
use atrest::world::{AskPassphrase, WhichVault, Workspace};
use tempfile::TempDir;

struct Work(TempDir);

impl Work {
    /// A working directory with the storage account `invoices`.
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        work.ok(&["init", "--key-kind", "oct-256"]);
        assert_eq!(
            work.ok(&["blob", "create", "invoices"]),
            "storage/invoices: an empty storage account, under the key customer-key, customer-managed\n"
        );
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Enables or disables the customer's key.
    fn enable_key(&self, enabled: bool) {
        let nobody: AskPassphrase = Arc::new(|_| Err("there is nobody to ask".into()));
        let clock = Arc::new(SystemClock);
        let workspace = Workspace::open(&self.path("work"), nobody, clock).unwrap();
        let update = KeyUpdate {
            enabled: Some(enabled),
            ..KeyUpdate::default()
        };
        let vault = workspace.vault(&WhichVault::Customer).unwrap();
        let key = "customer-key".parse().unwrap();
        vault.update_key(&key, None, &update).unwrap();
    }

    /// A file in the directory, and its path as an argument.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atrest"));
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
    fn bytes(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {said}");
        output.stdout
    }

    fn ok(&self, args: &[&str]) -> String {
        String::from_utf8(self.bytes(args)).unwrap()
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

#[test]
fn what_is_put_is_got_listed_verified_and_deleted() {
    let work = Work::new();
    let data: Vec<u8> = (0..200_000_u32).map(|n| (n >> 4) as u8).collect();
    let july = work.file("july.pdf", &data);
    assert_eq!(
        work.ok(&["blob", "put", "invoices", &july]),
        "july.pdf: stored, 200000 bytes\n"
    );
    let stored = work
        .command(&["blob", "put", "invoices", "-", "2026/note.txt"])
        .write_stdin("a note")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(stored.stdout).unwrap(),
        "2026/note.txt: stored, 6 bytes\n"
    );
    assert!(work.bytes(&["blob", "get", "invoices", "july.pdf"]) == data);
    assert_eq!(
        work.ok(&["blob", "get", "invoices", "2026/note.txt"]),
        "a note"
    );
    let copy = work.path("copy.pdf").display().to_string();
    assert_eq!(
        work.ok(&["blob", "get", "storage/invoices", "july.pdf", &copy]),
        format!("{copy}: 200000 of 200000 bytes, not protected\n")
    );
    assert!(fs::read(&copy).unwrap() == data);

    let list = work.ok(&["blob", "list", "invoices"]);
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["Bytes", "Created", "Name"]);
    assert_eq!((lines[1][0], lines[1][3]), ("6", "2026/note.txt"));
    assert_eq!((lines[2][0], lines[2][3]), ("200000", "july.pdf"));
    let json = work.ok(&["blob", "list", "invoices", "july", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["name"], "july.pdf");
    assert_eq!(json[0]["size"], 200_000);

    let verified = work.ok(&["blob", "verify", "invoices"]);
    assert!(verified.ends_with(" bytes, all authentic\n"), "{verified}");
    assert_eq!(
        work.ok(&["blob", "delete", "invoices", "2026/note.txt"]),
        "2026/note.txt: deleted\n"
    );
    assert_eq!(
        work.ok(&["blob", "list", "invoices", "2026/"]),
        "No blobs.\n"
    );
}

#[test]
fn range_counts_from_zero_and_includes_both_ends() {
    let work = Work::new();
    let digits = work.file("digits", b"0123456789");
    work.ok(&["blob", "put", "invoices", &digits]);
    let range = |range| work.ok(&["blob", "get", "invoices", "digits", "--range", range]);
    assert_eq!(range("0-0"), "0");
    assert_eq!(range("3-5"), "345");
    assert_eq!(range("8-"), "89");
    assert_eq!(range("8-999"), "89");
    let wrong = |range| work.fails(&["blob", "get", "invoices", "digits", "--range", range]);
    assert_eq!(
        wrong("10-"),
        "atrest: the blob has 10 bytes and none at 10; choose a range within it\n"
    );
    for range in ["5-3", "5", "-5", "a-b", "0-18446744073709551616"] {
        wrong(range);
    }
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let work = Work::new();
    let kept = work.file("kept", b"kept");
    work.ok(&["blob", "put", "invoices", &kept]);
    assert_eq!(
        work.fails(&["blob", "get", "invoices", "nothing"]),
        "atrest: default/nothing: not found\n"
    );
    assert_eq!(
        work.fails(&["blob", "get", "invoices", "kept", &kept]),
        "atrest: TEMP/kept: entity already exists; give a file that does not exist yet and can be written\n"
    );
    assert_eq!(
        work.fails(&["blob", "put", "invoices", "-"]),
        "atrest: -: no name to take over; give a name for the blob after the file\n"
    );
    assert_eq!(
        work.fails(&[
            "blob",
            "put",
            "invoices",
            &work.path("none").display().to_string()
        ]),
        "atrest: TEMP/none: No such file or directory (os error 2); give a file that can be read\n"
    );
    assert!(
        work.fails(&["blob", "put", "invoices", &kept, "../kept"])
            .contains("\"../kept\" is not a blob name: a segment of it is . or ..")
    );
    assert!(
        work.fails(&["blob", "create", "invoices"])
            .contains("exists already")
    );
    assert_eq!(work.ok(&["blob", "get", "invoices", "kept"]), "kept");
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
    // No temporary file is left.
    assert_eq!(fs::read_dir(work.0.path()).unwrap().count(), 2);
}

#[test]
fn disabled_key_stops_get_and_put_but_not_list_and_delete() {
    let work = Work::new();
    let kept = work.file("kept", b"kept");
    work.ok(&["blob", "put", "invoices", &kept]);
    work.enable_key(false);
    for refused in [
        &["blob", "get", "invoices", "kept"][..],
        &["blob", "put", "invoices", &kept],
        &["blob", "verify", "invoices"],
    ] {
        assert!(work.fails(refused).contains("KeyDisabled"), "{refused:?}");
    }
    assert!(work.ok(&["blob", "list", "invoices"]).contains("kept"));
    work.enable_key(true);
    assert_eq!(work.ok(&["blob", "get", "invoices", "kept"]), "kept");
    work.enable_key(false);
    work.ok(&["blob", "delete", "invoices", "kept"]);
    assert_eq!(work.ok(&["blob", "list", "invoices"]), "No blobs.\n");
}

#[test]
fn plain_twin_says_so() {
    let work = Work::new();
    assert_eq!(
        work.ok(&["blob", "create", "twin", "--plain"]),
        "storage/twin: an empty storage account, not protected\n"
    );
    let kept = work.file("kept", b"kept");
    work.ok(&["blob", "put", "twin", &kept]);
    assert_eq!(
        work.ok(&["blob", "verify", "twin"]),
        "storage/twin: 4 bytes read; nothing in a plain account can be authenticated\n"
    );
}

/// The scope's customer key, and whether it is enabled, decide about its blobs and no others.
#[test]
fn scope_shuts_its_own_blobs_and_follows_its_key() {
    let work = Work::new();
    let file = work.file("a", b"twelve bytes");
    work.ok(&["key", "create", "payroll-key", "--kind", "oct-256"]);
    let made = work.ok(&[
        "blob",
        "scope",
        "create",
        "invoices",
        "payroll",
        "--key",
        "payroll-key",
    ]);
    assert!(
        made.starts_with("payroll: enabled, under the key payroll-key, customer-managed, version "),
        "{made}"
    );
    work.ok(&[
        "blob", "put", "invoices", &file, "scoped", "--scope", "payroll",
    ]);
    work.ok(&["blob", "put", "invoices", &file, "other"]);
    let readable = |scoped: bool| {
        for (blob, readable) in [("scoped", scoped), ("other", true)] {
            let got = work.run(&["blob", "get", "invoices", blob]);
            assert_eq!(got.status.success(), readable, "{blob} {got:?}");
        }
    };
    readable(true);
    work.ok(&["blob", "scope", "disable", "invoices", "payroll"]);
    readable(false);
    // What is left is verified, and what is not is told.
    let verified = work.ok(&["blob", "verify", "invoices"]);
    assert!(verified.contains("all authentic"), "{verified}");
    let left = "  not read: 1 blob under the encryption scope payroll, which is disabled\n";
    assert!(verified.contains(left), "{verified}");
    let listed = work.ok(&["blob", "scope", "list", "invoices"]);
    assert!(
        listed.contains("payroll") && listed.contains("disabled"),
        "{listed}"
    );
    work.ok(&["blob", "scope", "enable", "invoices", "payroll"]);
    work.ok(&["key", "disable", "payroll-key"]);
    readable(false);
    // That is no success of a verification, though the rest is authentic.
    let verified = work.run(&["blob", "verify", "invoices"]);
    assert_eq!(verified.status.code(), Some(2), "{verified:?}");
    for told in [&verified.stdout, &verified.stderr] {
        let told = String::from_utf8_lossy(told);
        let left = "1 blob under the encryption scope payroll, whose key is not available";
        assert!(told.contains(left), "{told}");
    }
    work.ok(&["key", "enable", "payroll-key"]);
    readable(true);
    let verified = work.ok(&["blob", "verify", "invoices"]);
    assert!(!verified.contains("not read"), "{verified}");
    // Rewrapped by the key that it is under, whichever the account is under.
    work.ok(&["key", "rotate", "payroll-key"]);
    let before = work.ok(&["blob", "scope", "show", "invoices", "payroll"]);
    let done = work.ok(&["rewrap", "--key", "payroll-key"]);
    assert!(
        done.starts_with("production/storage/invoices, scope payroll: rewrapped\n"),
        "{done}"
    );
    let after = work.ok(&["blob", "scope", "show", "invoices", "payroll"]);
    assert_ne!(before, after);
    readable(true);
    // An account's rewrap takes its scopes along, and says which it could not.
    work.ok(&["key", "disable", "payroll-key"]);
    let done = work.ok(&["rewrap", "storage/invoices"]);
    let left = "  scope payroll left as it was: its key is not available\n";
    assert!(done.contains(left), "{done}");
    let refused = work.run(&["unprotect", "storage/invoices", "--plain"]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        told.contains("has encryption scopes") && told.contains("atrest blob create"),
        "{told}"
    );
}

/// One account that does not open must not leave the others under the old key version unnoticed.
#[test]
fn rewrap_and_status_go_on_past_an_account_that_does_not_open() {
    let work = Work::new();
    work.ok(&["blob", "create", "broken", "--service-managed"]);
    work.ok(&["key", "create", "payroll-key", "--kind", "oct-256"]);
    let scope = ["blob", "scope", "create", "invoices", "payroll"];
    work.ok(&[&scope[..], &["--key", "payroll-key"]].concat());
    let status = work.ok(&["status"]);
    let row = status.lines().find(|line| line.contains("scope payroll"));
    let row: Vec<&str> = row.unwrap().split_whitespace().collect();
    assert_eq!(
        row[..5],
        [
            "scope",
            "payroll",
            "customer-managed,",
            "enabled",
            "payroll-key"
        ]
    );
    assert!(!status.contains("not known"), "{status}");
    work.ok(&["blob", "scope", "disable", "invoices", "payroll"]);
    assert!(work.ok(&["status"]).contains("customer-managed, disabled"));
    work.ok(&["blob", "scope", "enable", "invoices", "payroll"]);
    let rewrap = ["rewrap", "--key", "payroll-key"];
    work.ok(&rewrap);
    let header = walkdir::WalkDir::new(work.path("work"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .find(|path| path.ends_with("broken/account.atrest"));
    fs::write(header.unwrap(), b"cut").unwrap();
    let done = work.run(&rewrap);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    let told = String::from_utf8_lossy(&done.stdout);
    for line in [
        "production/storage/invoices, scope payroll: rewrapped",
        "production/storage/broken: left as it was: ",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let json = work.run(&[&rewrap[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json[0]["scope"], "payroll");
    assert!(
        json[0]["to"].is_string() && json[1]["error"].is_string(),
        "{json}"
    );
    let status = work.ok(&["status"]);
    assert!(status.contains("scope payroll"), "{status}");
    let unknown = "production/storage/broken: its encryption scopes are not known: ";
    assert!(status.contains(unknown), "{status}");
}

#[test]
fn infrastructure_encryption_is_on_disk_and_reads_back() {
    let work = Work::new();
    let file = work.file("a", b"twelve bytes");
    assert_eq!(
        work.ok(&["blob", "create", "wages", "--infrastructure-encryption"]),
        "storage/wages: an empty storage account, under the key customer-key, customer-managed, \
         with infrastructure encryption\n"
    );
    for account in ["wages", "invoices"] {
        work.ok(&["blob", "put", account, &file, "a"]);
        assert_eq!(work.bytes(&["blob", "get", account, "a"]), b"twelve bytes");
        work.ok(&["blob", "verify", account]);
    }
    let mut layers = Vec::new();
    let mut dirs = vec![work.path("work")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false if dir.ends_with("extents") => layers.push(fs::read(path).unwrap()[10]),
                false => {}
            }
        }
    }
    layers.sort_unstable();
    assert_eq!(layers, [1, 2]);
    let both = [
        "blob",
        "create",
        "x",
        "--plain",
        "--infrastructure-encryption",
    ];
    assert!(!work.run(&both).status.success());
}
