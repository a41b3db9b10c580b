//! Many who use a vault at once: their operations share a transaction and a sync, and nobody notices.

#![allow(clippy::unwrap_used)]

#[path = "common/vault.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use atrest::base::{KeyVersion, SystemClock};
use atrest::crypto::{EncryptionAlgorithm, KeyKind, SecretBytes};
use atrest::vault::{
    AuditFilter, AuditRecord, Cryptography, KeyBundle, KeySpec, KeyUpdate, KeyVault, LocalVault,
    SecretSpec, SecretVault, VaultError, VaultSettings,
};
use common::{name, new_vault, root};

const A256KW: EncryptionAlgorithm = EncryptionAlgorithm::A256Kw;

fn new(dir: &Path) -> LocalVault {
    new_vault(dir, &VaultSettings::default()).0
}

fn open(dir: &Path) -> LocalVault {
    LocalVault::open(
        &dir.join("vault"),
        &root(dir),
        std::sync::Arc::new(SystemClock),
    )
    .unwrap()
}

fn key(vault: &LocalVault, key: &str) -> KeyBundle {
    vault
        .create_key(&name(key), &KeySpec::new(KeyKind::Oct256))
        .unwrap()
}

fn enable(vault: &LocalVault, key: &str, enabled: bool) {
    let update = KeyUpdate {
        enabled: Some(enabled),
        ..KeyUpdate::default()
    };
    vault.update_key(&name(key), None, &update).unwrap();
}

/// The records of one caller, in order.
fn of(vault: &LocalVault, caller: &str) -> Vec<AuditRecord> {
    let filter = AuditFilter {
        identity: Some(caller.to_owned()),
        ..AuditFilter::default()
    };
    vault.audit(&filter).unwrap()
}

/// What a caller was told, as its record tells it: the version that did it, or the refusal.
fn told(result: &Result<KeyVersion, VaultError>) -> String {
    match result {
        Ok(version) => format!("OK {version}"),
        Err(e) => e.code().to_owned(),
    }
}

fn recorded(record: &AuditRecord) -> String {
    match record.result_signature.as_str() {
        "OK" => {
            let kid = record.kid.as_deref().unwrap();
            format!("OK {}", kid.rsplit('/').next().unwrap())
        }
        code => code.to_owned(),
    }
}

#[test]
fn every_answer_among_many_has_its_record_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let vault = new(dir.path());
    for k in ["steady", "moody", "turning"] {
        key(&vault, k);
    }
    let other = open(dir.path());
    let done = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            // One administrator in this handle, and one as if in another process.
            while !done.load(Ordering::Acquire) {
                enable(&vault, "moody", false);
                other.rotate_key(&name("turning")).unwrap();
                enable(&other, "moody", true);
            }
        });
        let workers: Vec<_> = (0..12)
            .map(|n| {
                let vault = vault.acting_as(&format!("worker {n}"));
                scope.spawn(move || {
                    let use_one = |i: usize| {
                        let k = ["steady", "moody", "turning", "absent"][(n + i) % 4];
                        let used = vault.wrap_bytes(&name(k), None, A256KW, &[7; 32])?;
                        Ok(used.kid.version)
                    };
                    (0..40).map(|i| told(&use_one(i))).collect::<Vec<_>>()
                })
            })
            .collect();
        let answers: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
        done.store(true, Ordering::Release);
        answers
    });
    for (n, answers) in answers.iter().enumerate() {
        let records: Vec<_> = of(&vault, &format!("worker {n}"))
            .iter()
            .map(recorded)
            .collect();
        assert_eq!(*answers, records, "worker {n}");
    }
    let all: Vec<_> = answers.concat();
    assert!(all.iter().any(|a| a == "KeyNotFound"));
    assert!(all.iter().any(|a| a.starts_with("OK")));
    let summary = vault.verify_audit().unwrap();
    assert_eq!(summary.records, summary.anchored);
}

#[test]
fn who_is_refused_takes_nobody_along_and_results_are_those_of_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let vault = new(dir.path());
    let kids: BTreeMap<_, _> = ["a", "b", "off"].map(|k| (k, key(&vault, k).kid)).into();
    let value = SecretBytes::from_vec(b"a secret's value".to_vec());
    vault
        .set_secret(&name("s"), &value, &SecretSpec::default())
        .unwrap();
    let wrap = |k: &str, bytes: &[u8]| vault.wrap_bytes(&name(k), None, A256KW, bytes);
    let wrapped: BTreeMap<_, _> = ["a", "b", "off"]
        .map(|k| (k, wrap(k, &[k.len() as u8; 32]).unwrap().value))
        .into();
    enable(&vault, "off", false);
    // (key, whose bytes): the right ones, another key's, a key that is off, no key.
    let asked = [
        ("a", "a"),
        ("b", "b"),
        ("a", "b"),
        ("off", "off"),
        ("none", "a"),
    ];
    let unwrap = |(k, bytes): (&str, &str)| {
        let version = kids.get(k).map(|kid| kid.version);
        let opened = vault.unwrap_bytes(&name(k), version, A256KW, &wrapped[bytes]);
        opened
            .map(|used| used.value.expose().to_vec())
            .map_err(|e| e.to_string())
    };
    let alone = asked.map(unwrap);
    assert_eq!(alone.iter().filter(|r| r.is_ok()).count(), 2);
    thread::scope(|scope| {
        for n in 0..16 {
            let (alone, asked, unwrap, vault) = (&alone, &asked, &unwrap, &vault);
            scope.spawn(move || {
                for i in 0..20 {
                    let at = (n + i) % asked.len();
                    assert_eq!(unwrap(asked[at]), alone[at], "{:?}", asked[at]);
                    let got = vault.secret(&name("s"), None).unwrap();
                    assert_eq!(got.value.expose(), b"a secret's value");
                    assert_eq!(vault.random_bytes(16).unwrap().expose().len(), 16);
                    assert_eq!(vault.random_bytes(0).unwrap_err().code(), "BadParameter");
                }
            });
        }
    });
    vault.verify_audit().unwrap();
}

#[test]
fn a_change_by_another_process_holds_for_the_very_next_use() {
    let dir = tempfile::tempdir().unwrap();
    let here = new(dir.path());
    key(&here, "k");
    let elsewhere = open(dir.path());
    let wrap = || here.wrap_bytes(&name("k"), None, A256KW, &[7; 32]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Others keep the key in memory all the time.
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let _ = wrap();
                }
            });
        }
        for _ in 0..20 {
            let rotated = elsewhere.rotate_key(&name("k")).unwrap().kid;
            assert_eq!(wrap().unwrap().kid, rotated);
            enable(&elsewhere, "k", false);
            assert_eq!(wrap().unwrap_err().code(), "KeyDisabled");
            enable(&elsewhere, "k", true);
            wrap().unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

/// Not a test: the process that is killed, when it is told so.
#[test]
fn child_that_uses_a_key_until_it_is_killed() {
    let Some(dir) = std::env::var_os("ATREST_TEST_VAULT") else {
        return;
    };
    let vault = open(Path::new(&dir));
    thread::scope(|scope| {
        for n in 0..8 {
            let vault = vault.acting_as(&format!("worker {n}"));
            scope.spawn(move || {
                for i in 0..1_000_000 {
                    let used = vault.wrap_bytes(&name("k"), None, A256KW, &[7; 32]);
                    used.unwrap();
                    // One write, so that a line is whole or not there.
                    let line = format!("answered {n} {i}\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_no_record_of_what_it_answered() {
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        key(&new(dir.path()), "k");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_uses_a_key_until_it_is_killed",
                "--nocapture",
            ])
            .env("ATREST_TEST_VAULT", dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answered = [0; 8];
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut count = |line: String| {
            let words: Vec<_> = line.split(' ').collect();
            if let ["answered", n, i] = words[..] {
                answered[n.parse::<usize>().unwrap()] = i.parse::<usize>().unwrap() + 1;
            }
        };
        for _ in 0..100 + 37 * round {
            count(lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(count);
        let vault = open(dir.path());
        for (n, &answered) in answered.iter().enumerate() {
            let records = of(&vault, &format!("worker {n}")).len();
            // One more may have been recorded, and not answered any more.
            assert!(
                (answered..=answered + 1).contains(&records),
                "{answered} {records}"
            );
        }
        let summary = vault.verify_audit().unwrap();
        assert!(summary.records - summary.anchored <= 8);
        vault
            .wrap_bytes(&name("k"), None, A256KW, &[7; 32])
            .unwrap();
        vault.verify_audit().unwrap();
        drop(vault);
        thread::sleep(Duration::from_millis(round * 3));
    }
}
