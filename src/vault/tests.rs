//! Tests that need a hand inside the vault's database.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::base::{KeyName, ManualClock};
use crate::crypto::KeyKind;

use super::{
    AuditFilter, Cryptography, KeySpec, KeyVault, KeyWrapper, LocalVault, RootKeySource,
    SecretVault, VaultError, VaultSettings,
};

struct Opened {
    vault: LocalVault,
    clock: Arc<ManualClock>,
    temp: TempDir,
}

#[cfg(test)]
impl Opened {
    /// A vault whose log has six records.
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let root = RootKeySource::KeyFile(temp.path().join("root.key"));
        let settings = VaultSettings::default();
        let vault = LocalVault::create(&temp.path().join("vault"), &root, &settings, clock.clone());
        let vault = vault.unwrap();
        for n in 0..5 {
            let name: KeyName = format!("key-{n}").parse().unwrap();
            vault
                .create_key(&name, &KeySpec::new(KeyKind::Oct256))
                .unwrap();
        }
        Self { vault, clock, temp }
    }

    fn open_again(&self) -> Result<LocalVault, VaultError> {
        let root = RootKeySource::KeyFile(self.temp.path().join("root.key"));
        LocalVault::open(&self.temp.path().join("vault"), &root, self.clock.clone())
    }

    /// Changes the database behind the vault's back.
    fn tamper(&self, sql: &str) {
        let tampered = self.vault.with_store(|store| {
            let run = store.connection.execute_batch(sql);
            run.map_err(|e| store.explain(e.into()))
        });
        tampered.unwrap();
    }
}

#[test]
fn an_audit_record_that_was_edited_deleted_moved_or_cut_is_found_and_named() {
    let harms = [
        (
            "UPDATE audit SET identity = 'nobody' WHERE number = 3",
            "record 3 was altered",
        ),
        (
            "UPDATE audit SET kid = NULL WHERE number = 3",
            "record 3 was altered",
        ),
        (
            "UPDATE audit SET http_status = 200 WHERE number = 3",
            "record 3 was altered",
        ),
        (
            "UPDATE audit SET caller_ip_address = '192.0.2.1' WHERE number = 3",
            "record 3 was altered",
        ),
        (
            "UPDATE audit SET time = time + 1 WHERE number = 1",
            "record 1 was altered",
        ),
        (
            "UPDATE audit SET time = 9223372036854775807 WHERE number = 1",
            "record 1 was altered",
        ),
        (
            "UPDATE audit SET mac = zeroblob(32) WHERE number = 6",
            "record 6 was altered",
        ),
        ("DELETE FROM audit WHERE number = 3", "record 3 is missing"),
        ("DELETE FROM audit WHERE number = 1", "record 1 is missing"),
        (
            "DELETE FROM audit WHERE number = 3;
             UPDATE audit SET number = 3 WHERE number = 4;
             UPDATE audit SET number = 4 WHERE number = 5;
             UPDATE audit SET number = 5 WHERE number = 6;",
            "record 3 was altered, or was not written at this place",
        ),
        (
            "UPDATE audit SET number = 99 WHERE number = 2;
             UPDATE audit SET number = 2 WHERE number = 3;
             UPDATE audit SET number = 3 WHERE number = 99;",
            "record 2 was altered, or was not written at this place",
        ),
        (
            "CREATE TEMP TABLE one AS SELECT * FROM audit WHERE number = 6;
             UPDATE one SET number = 7; INSERT INTO audit SELECT * FROM one",
            "record 7 was altered",
        ),
        ("DELETE FROM audit WHERE number = 6", "tail was cut"),
        ("DELETE FROM audit", "tail was cut"),
    ];
    for (harm, found) in harms {
        let opened = Opened::new();
        assert_eq!(opened.vault.verify_audit().unwrap().records, 6);
        opened.tamper(harm);
        let error = opened.vault.verify_audit().unwrap_err().to_string();
        assert!(error.contains(found), "{harm}: {error}");
    }
}

#[test]
fn a_cut_log_is_refused_at_the_next_open() {
    let opened = Opened::new();
    opened.open_again().unwrap();
    opened.tamper("DELETE FROM audit WHERE number = 6");
    let error = opened.open_again().err().unwrap();
    assert_eq!(error.code(), "Audit", "{error}");
}

#[test]
fn a_vault_that_another_process_writes_to_says_so_and_loses_nothing() {
    let opened = Opened::new();
    let other = opened.open_again().unwrap();
    let patience = other.with_store(|s| {
        let set = s.connection.busy_timeout(Duration::ZERO);
        set.map_err(|e| s.explain(e.into()))
    });
    patience.unwrap();
    let name: KeyName = "key-0".parse().unwrap();
    let key = other.key(&name, None).unwrap().kid.key();
    let dek = crate::crypto::Secret::random();
    opened.tamper("BEGIN IMMEDIATE");
    for refused in [
        other.wrap_key(&key, &dek).map(drop),
        other.rotate_key(&name).map(drop),
        other.delete_key(&name).map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, VaultError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
    }
    opened.tamper("ROLLBACK");
    other.wrap_key(&key, &dek).unwrap();
    assert_eq!(other.audit(&AuditFilter::default()).unwrap().len(), 7);
    other.verify_audit().unwrap();
}

#[test]
fn a_group_whose_transaction_fails_is_not_answered_as_done() {
    let opened = Opened::new();
    let other = opened.open_again().unwrap();
    let patience = other.with_store(|s| {
        let set = s.connection.busy_timeout(Duration::ZERO);
        set.map_err(|e| s.explain(e.into()))
    });
    patience.unwrap();
    let use_it = || other.random_bytes(8).map(drop);
    let many = |use_it: &(dyn Fn() -> Result<(), VaultError> + Sync)| {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(use_it)).collect();
            let results = all.into_iter().map(|t| t.join().unwrap());
            results.collect::<Vec<_>>()
        })
    };
    opened.tamper("BEGIN IMMEDIATE");
    for result in many(&use_it) {
        assert!(matches!(result, Err(VaultError::Busy { .. })), "{result:?}");
    }
    opened.tamper("ROLLBACK");
    assert_eq!(other.verify_audit().unwrap().records, 6);
    assert!(many(&use_it).iter().all(Result::is_ok));
    assert_eq!(other.verify_audit().unwrap().records, 14);
    // After a panic, which ends the thread that commits for all, nobody waits for ever.
    let panics = || {
        let event = super::audit::Event::new(super::AuditOperation::RandomBytesGet);
        let decided = other.decide(event, |_, _| -> Result<Option<()>, _> {
            panic!("injected")
        });
        decided.map(drop)
    };
    std::thread::scope(|scope| {
        let bad = (0..2).map(|_| scope.spawn(panics)).collect::<Vec<_>>();
        let good = (0..8).map(|_| scope.spawn(use_it)).collect::<Vec<_>>();
        let ends: Vec<_> = bad.into_iter().chain(good).map(|t| t.join()).collect();
        assert!(ends.iter().any(Result::is_err));
        for error in ends.into_iter().flatten().filter_map(Result::err) {
            assert_eq!(error.code(), "Conflict", "{error}");
        }
    });
    use_it().unwrap();
    other.verify_audit().unwrap();
}

#[test]
fn a_use_that_nobody_waits_for_is_decided_whatever_becomes_of_the_thread_that_was_to() {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    let opened = Opened::new();
    let name: KeyName = "key-0".parse().unwrap();
    let wrap = super::KeyUse::Wrap(crate::crypto::EncryptionAlgorithm::A256Kw, &[7; 32]);
    let use_with = |run: &super::Runner| {
        let pending = opened.vault.begin_use(&wrap, &name, None, 1).unwrap();
        let (tell, told) = channel();
        let then = move |done: Option<Result<_, VaultError>>| {
            tell.send(done.map(|used| used.map(drop))).unwrap();
        };
        opened.vault.finish_then(pending, run, then);
        told
    };
    let soon = Duration::from_secs(30);
    // A thread for each.
    let threads: super::Runner = Arc::new(|job| drop(std::thread::spawn(job)));
    let all: Vec<_> = (0..20).map(|_| use_with(&threads)).collect();
    for told in all {
        assert!(matches!(told.recv_timeout(soon), Ok(Some(Ok(())))));
    }
    assert_eq!(opened.vault.verify_audit().unwrap().records, 26);
    // None: its runner has ended.
    let ended: super::Runner = Arc::new(drop);
    let told = use_with(&ended).recv_timeout(soon).unwrap();
    assert!(matches!(told, Some(Err(VaultError::Conflict(_)))));
    assert_eq!(opened.vault.verify_audit().unwrap().records, 26);
    // One that comes late: who waits in a thread of his own goes before it.
    let late = Arc::new(Mutex::new(vec![]));
    let keep = late.clone();
    let slow: super::Runner = Arc::new(move |job| keep.lock().unwrap().push(job));
    let told = use_with(&slow);
    opened.vault.random_bytes(8).unwrap();
    assert!(matches!(told.recv_timeout(soon), Ok(Some(Ok(())))));
    assert_eq!(late.lock().unwrap().len(), 1);
    for job in std::mem::take(&mut *late.lock().unwrap()) {
        job();
    }
    let told = use_with(&threads).recv_timeout(soon);
    assert!(matches!(told, Ok(Some(Ok(())))));
    assert_eq!(opened.vault.verify_audit().unwrap().records, 29);
    // A rule that changed after the computation holds.
    let pending = opened.vault.begin_use(&wrap, &name, None, 1).unwrap();
    opened.vault.delete_key(&name).unwrap();
    assert_eq!(
        opened.vault.finish(pending).map(drop).unwrap_err().code(),
        "KeyNotFound"
    );
}

#[test]
fn a_schema_that_is_newer_or_unfinished_is_refused() {
    for (version, says) in [
        (5, "newer"),
        (3, "first release"),
        (2, "first release"),
        (1, "first release"),
        (0, "cut short"),
    ] {
        let opened = Opened::new();
        opened.open_again().unwrap();
        opened.tamper(&format!("PRAGMA user_version = {version}"));
        let error = opened.open_again().err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_purge_leaves_no_bytes_of_keys_and_secrets_in_the_database() {
    let opened = Opened::new();
    let count = |what: &str| {
        let sql = format!("SELECT count(*) FROM {what}");
        opened
            .vault
            .with_store(|s| Ok(s.connection.query_row(&sql, [], |row| row.get::<_, i64>(0))))
            .unwrap()
            .unwrap()
    };
    let name: KeyName = "key-0".parse().unwrap();
    assert_eq!((count("versions"), count("keys")), (5, 5));
    opened.vault.delete_key(&name).unwrap();
    assert_eq!((count("versions"), count("keys")), (5, 5));
    opened.vault.purge_key(&name).unwrap();
    assert_eq!((count("versions"), count("keys")), (4, 4));
    let secret = crate::crypto::SecretBytes::from_vec(b"value".to_vec());
    let spec = super::SecretSpec::default();
    opened.vault.set_secret(&name, &secret, &spec).unwrap();
    opened.vault.delete_secret(&name).unwrap();
    assert_eq!((count("secret_versions"), count("secrets")), (1, 1));
    opened.vault.purge_secret(&name).unwrap();
    assert_eq!((count("secret_versions"), count("secrets")), (0, 0));
    assert_eq!(count("pragma_secure_delete WHERE secure_delete = 1"), 1);
}

#[test]
fn rows_in_memory_hold_no_private_key_and_no_secret() {
    let opened = Opened::new();
    let known = [0x5a; 32];
    let name: KeyName = "known".parse().unwrap();
    let material = crate::crypto::KeyEncryptionKey::from_oct(&known).unwrap();
    let spec = KeySpec::new(KeyKind::Oct256);
    opened.vault.import_key(&name, material, &spec).unwrap();
    let value = crate::crypto::SecretBytes::from_vec(known.to_vec());
    let spec = super::SecretSpec::default();
    opened.vault.set_secret(&name, &value, &spec).unwrap();
    let given = opened.vault.secret(&name, None).unwrap();
    assert_eq!(given.value.expose(), known);
    // The key's material and the secret's value are found in no column of any row.
    let rows = |table: &str| -> Vec<Vec<u8>> {
        let blobs = opened.vault.with_store(|store| {
            let mut all = Vec::new();
            let sql = format!("SELECT * FROM {table}");
            let mut statement = store.connection.prepare(&sql).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let bytes = (0..columns).filter_map(|at| row.get_ref(at).unwrap().as_bytes().ok());
                all.extend(bytes.map(<[u8]>::to_vec));
            }
            Ok(all)
        });
        blobs.unwrap()
    };
    let holds = |table: &str, what: &[u8]| {
        let within = |column: &Vec<u8>| column.windows(what.len()).any(|part| part == what);
        rows(table).iter().any(within)
    };
    for table in ["versions", "secret_versions"] {
        assert!(!holds(table, &known), "{table}");
    }
    // The search finds what is there.
    assert!(holds("keys", b"known") && holds("secrets", b"known"));
}

#[test]
fn a_private_key_exchanged_within_the_vault_is_refused() {
    let opened = Opened::new();
    let dek = crate::crypto::Secret::random();
    let wrap = |n: u32| {
        let name: KeyName = format!("key-{n}").parse().unwrap();
        let key = opened.vault.key(&name, None).unwrap().kid.key();
        let wrapped = opened.vault.wrap_key(&key, &dek);
        wrapped.map(drop).map_err(|e| e.to_string())
    };
    opened.tamper(
        "UPDATE versions SET material = (SELECT material FROM versions WHERE place = 2)
         WHERE place = 1",
    );
    let error = wrap(0).unwrap_err();
    assert!(error.contains("authentication failed"), "{error}");
    wrap(1).unwrap();
}

#[test]
fn a_key_that_may_not_be_used_leaves_the_memory() {
    let opened = Opened::new();
    let (vault, other) = (&opened.vault, opened.open_again().unwrap());
    let held = || vault.with_store(|_| Ok(vault.keys_held().len())).unwrap();
    let name: KeyName = "key-0".parse().unwrap();
    let key = vault.key(&name, None).unwrap().kid.key();
    let dek = crate::crypto::Secret::random();
    let disable = super::KeyUpdate {
        enabled: Some(false),
        ..Default::default()
    };
    let enable = super::KeyUpdate {
        enabled: Some(true),
        ..Default::default()
    };
    for changer in [vault, &other] {
        vault.wrap_key(&key, &dek).unwrap();
        assert_eq!(held(), 1);
        changer.update_key(&name, None, &disable).unwrap();
        assert_eq!(held(), 0);
        changer.update_key(&name, None, &enable).unwrap();
    }
}
