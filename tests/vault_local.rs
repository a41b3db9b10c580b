//! A vault in a directory: what happens to its files, its root key and its audit log when somebody
//! errs, attacks, or pulls the plug.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use atrest::base::{KeyName, ManualClock};
use atrest::crypto::{KeyEncryptionKey, KeyKind, Secret, SecretBytes};
use atrest::vault::{
    AuditFilter, AuditOperation, KeySpec, KeyUpdate, KeyVault, KeyWrapper, LocalVault, Page,
    RootKeyKind, RootKeySource, VaultError, VaultSettings, WrappedKey,
};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

const SETTINGS: VaultSettings = VaultSettings {
    retention_days: 7,
    purge_protection: false,
};
/// Length of a sealed file's header block, which holds the key slot.
const HEADER_LEN: usize = 4096;

struct Place {
    temp: TempDir,
    clock: Arc<ManualClock>,
}

impl Place {
    fn new() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            temp: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(start)),
        }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("vault")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn key_file(&self) -> RootKeySource {
        RootKeySource::KeyFile(self.temp.path().join("root.key"))
    }

    fn create(&self) -> LocalVault {
        self.create_with(&SETTINGS)
    }

    fn create_with(&self, settings: &VaultSettings) -> LocalVault {
        LocalVault::create(&self.dir(), &self.key_file(), settings, self.clock.clone()).unwrap()
    }

    fn open(&self) -> Result<LocalVault, VaultError> {
        self.open_with(&self.key_file())
    }

    fn open_with(&self, root: &RootKeySource) -> Result<LocalVault, VaultError> {
        LocalVault::open(&self.dir(), root, self.clock.clone())
    }

    /// A closed vault with one key, something wrapped by it, and some records.
    fn with_a_key(&self) -> WrappedKey {
        let vault = self.create();
        vault.create_key(&name("k"), &oct()).unwrap();
        wrap(&vault, "k").unwrap()
    }

    /// Every file of the vault's directory.
    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.dir()).unwrap().map(|e| e.unwrap().path());
        entries
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn oct() -> KeySpec {
    KeySpec::new(KeyKind::Oct256)
}

fn passphrase(words: &str) -> RootKeySource {
    RootKeySource::Passphrase(SecretBytes::from_vec(words.as_bytes().to_vec()))
}

fn dek() -> Secret<32> {
    Secret::copy_from(&[0x5a; 32]).unwrap()
}

fn wrap(vault: &LocalVault, key: &str) -> Result<WrappedKey, VaultError> {
    vault.wrap_key(&vault.key(&name(key), None)?.kid.key(), &dek())
}

fn unwrap(vault: &LocalVault, wrapped: &WrappedKey) -> Result<(), VaultError> {
    let opened = vault.unwrap_key(&wrapped.key, wrapped.algorithm, &wrapped.bytes)?;
    assert!(opened.ct_eq(&dek()));
    Ok(())
}

fn set_enabled(vault: &LocalVault, enabled: bool) {
    let update = KeyUpdate {
        enabled: Some(enabled),
        ..Default::default()
    };
    vault.update_key(&name("k"), None, &update).unwrap();
}

fn everything() -> AuditFilter {
    AuditFilter::default()
}

/// That `result` is the refusal with this code; gives its text.
#[track_caller]
fn refused<T>(result: Result<T, VaultError>, code: &str) -> String {
    match result {
        Ok(_) => panic!("allowed, where {code} was expected"),
        Err(e) => {
            assert_eq!(e.code(), code, "{e}");
            e.to_string()
        }
    }
}

#[test]
fn a_vault_that_is_closed_and_opened_again_holds_its_keys() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    unwrap(&place.open().unwrap(), &wrapped).unwrap();
    assert!(
        !place.file("vault.db-wal").exists(),
        "a clean close leaves no log"
    );
}

#[test]
fn a_wrong_root_key_is_refused_and_changes_nothing() {
    let place = Place::new();
    place.with_a_key();
    let before = place.snapshot();
    let wrong = place.temp.path().join("wrong.key");
    LocalVault::create(
        &place.temp.path().join("other"),
        &RootKeySource::KeyFile(wrong.clone()),
        &SETTINGS,
        place.clock.clone(),
    )
    .unwrap();
    refused(place.open_with(&RootKeySource::KeyFile(wrong)), "RootKey");
    refused(place.open_with(&passphrase("a passphrase")), "BadParameter");
    let missing = RootKeySource::KeyFile(place.temp.path().join("missing.key"));
    refused(place.open_with(&missing), "Store");
    assert!(!place.temp.path().join("missing.key").exists());
    assert!(place.snapshot() == before);
    place.open().unwrap();
}

#[test]
fn a_wrong_passphrase_is_refused_and_changes_nothing() {
    let place = Place::new();
    let right = passphrase("correct horse battery");
    let short = passphrase("seven77");
    let clock = place.clock.clone();
    refused(
        LocalVault::create(&place.dir(), &short, &SETTINGS, clock.clone()),
        "BadParameter",
    );
    drop(LocalVault::create(&place.dir(), &right, &SETTINGS, clock).unwrap());
    let before = place.snapshot();
    refused(
        place.open_with(&passphrase("correct horse batterY")),
        "RootKey",
    );
    refused(place.open_with(&passphrase("")), "RootKey");
    assert!(place.snapshot() == before);
    let status = place.open_with(&right).unwrap().status().unwrap();
    let RootKeyKind::Passphrase { argon2id } = status.root else {
        panic!("not under a passphrase");
    };
    assert!(argon2id.in_bounds());
}

#[test]
fn a_file_altered_anywhere_is_refused_or_reads_as_before_and_stays_as_it_is() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let good = fs::read(place.file("vault.db")).unwrap();
    let read_all = || -> Result<_, VaultError> {
        let vault = place.open()?;
        let kept = (
            vault.key_versions(&name("k"), Page::all())?,
            vault.deleted_keys(Page::all())?,
            vault.status()?,
        );
        Ok((kept, vault.audit(&everything())?, vault.verify_audit()?))
    };
    let original = read_all().unwrap();
    let mut refusals = 0;
    for at in (0..good.len()).step_by(101) {
        let mut altered = good.clone();
        altered[at] ^= 0x10;
        fs::write(place.file("vault.db"), &altered).unwrap();
        match read_all() {
            Ok(read) => assert!(read == original, "byte {at}"),
            Err(_) => refusals += 1,
        }
        assert!(
            fs::read(place.file("vault.db")).unwrap() == altered,
            "byte {at}"
        );
    }
    // One half of the header, and a page that is free, may be altered without harm.
    assert!(refusals > good.len() / 101 / 2, "{refusals} refusals");
    fs::write(place.file("vault.db"), &good).unwrap();
    unwrap(&place.open().unwrap(), &wrapped).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused_and_stays_as_it_is() {
    let place = Place::new();
    place.with_a_key();
    let good = fs::read(place.file("vault.db")).unwrap();
    for len in [
        0,
        1,
        767,
        HEADER_LEN - 1,
        HEADER_LEN,
        HEADER_LEN + 4096,
        good.len() - 4096,
    ] {
        fs::write(place.file("vault.db"), &good[..len]).unwrap();
        let before = place.snapshot();
        let result = place.open().and_then(|v| v.verify_audit());
        assert!(result.is_err(), "{len} bytes");
        assert!(place.snapshot() == before, "{len} bytes");
    }
    fs::write(place.file("vault.db"), &good).unwrap();
    place.open().unwrap().verify_audit().unwrap();
}

#[test]
fn no_key_and_no_name_lies_in_the_files_in_the_clear() {
    let place = Place::new();
    let canary = *b"the canary is a key of 32 bytes.";
    let find = |bytes: &[u8]| bytes.windows(canary.len()).any(|w| w == canary);
    assert!(find(&[b"positive control: ".as_slice(), &canary].concat()));
    let vault = place.create();
    let material = KeyEncryptionKey::from_oct(&canary).unwrap();
    vault
        .import_key(&name("payroll"), material, &oct())
        .unwrap();
    // The write-ahead log is still there.
    assert!(place.file("vault.db-wal").exists());
    let backup = vault.backup_key(&name("payroll")).unwrap();
    let files = place.snapshot().into_values().chain([backup]);
    drop(vault);
    for bytes in files.chain(place.snapshot().into_values()) {
        assert!(!find(&bytes));
        assert!(!bytes.windows(7).any(|w| w == b"payroll"));
    }
}

#[test]
fn a_second_vault_in_the_same_directory_is_refused() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let before = place.snapshot();
    let again = LocalVault::create(
        &place.dir(),
        &place.key_file(),
        &SETTINGS,
        place.clock.clone(),
    );
    refused(again, "Conflict");
    assert!(place.snapshot() == before);
    unwrap(&place.open().unwrap(), &wrapped).unwrap();
}

#[test]
fn a_vault_that_cannot_be_made_leaves_nothing() {
    let place = Place::new();
    let clock = || place.clock.clone();
    for retention_days in [0, 6, 91] {
        let settings = VaultSettings {
            retention_days,
            ..SETTINGS
        };
        let made = LocalVault::create(&place.dir(), &place.key_file(), &settings, clock());
        refused(made, "BadParameter");
    }
    assert!(!place.dir().exists());
    let nowhere = RootKeySource::KeyFile(place.temp.path().join("no/such/dir/root.key"));
    refused(
        LocalVault::create(&place.dir(), &nowhere, &SETTINGS, clock()),
        "Store",
    );
    assert!(place.snapshot().is_empty());
    // SQLite cannot make its log where a directory is in the way.
    fs::create_dir(place.file("vault.db-wal")).unwrap();
    LocalVault::create(&place.dir(), &place.key_file(), &SETTINGS, clock())
        .err()
        .unwrap();
    assert!(!place.temp.path().join("root.key").exists());
    assert!(!place.file("vault.db").exists() && !place.file("audit.anchor").exists());
    fs::remove_dir(place.file("vault.db-wal")).unwrap();
    place.create();
}

#[test]
fn a_key_file_that_others_can_use_is_refused() {
    let place = Place::new();
    place.with_a_key();
    let path = place.temp.path().join("root.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604, 0o620, 0o602, 0o660, 0o666, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let text = refused(place.open(), "Store");
        assert!(text.contains("chmod 600"), "{text}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        place.open().unwrap();
    }
}

#[test]
fn changing_the_root_key_rewrites_the_header_only_and_shuts_out_the_old_one() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let pages = |bytes: &[u8]| bytes[HEADER_LEN..].to_vec();
    let file = place.file("vault.db");
    let new_file = || RootKeySource::KeyFile(place.temp.path().join("new.key"));
    let roots: [&dyn Fn() -> RootKeySource; 4] = [
        &|| place.key_file(),
        &|| passphrase("correct horse battery"),
        &|| passphrase("another passphrase"),
        &new_file,
    ];
    for pair in roots.windows(2) {
        let (old, new) = (pair[0], pair[1]);
        let vault = place.open_with(&old()).unwrap();
        let before = fs::read(&file).unwrap();
        let written = vault.change_root(&new()).unwrap();
        assert!(written <= HEADER_LEN as u64);
        let after = fs::read(&file).unwrap();
        assert!(pages(&before) == pages(&after), "data pages were rewritten");
        assert!(before != after);
        unwrap(&vault, &wrapped).unwrap();
        drop(vault);
        place.open_with(&old()).err().unwrap();
        unwrap(&place.open_with(&new()).unwrap(), &wrapped).unwrap();
    }
    let short = place.open_with(&new_file());
    refused(
        short.unwrap().change_root(&passphrase("short")),
        "BadParameter",
    );
}

#[test]
fn a_root_key_change_that_a_crash_cut_short_leaves_a_vault_that_opens() {
    let half = HEADER_LEN / 2;
    let new = || passphrase("correct horse battery");
    for written in [0..half, half..HEADER_LEN] {
        let place = Place::new();
        let wrapped = place.with_a_key();
        let file = place.file("vault.db");
        let before = fs::read(&file).unwrap();
        place.open().unwrap().change_root(&new()).unwrap();
        let after = fs::read(&file).unwrap();
        let mut cut_short = after.clone();
        cut_short[..HEADER_LEN].copy_from_slice(&before[..HEADER_LEN]);
        cut_short[written.clone()].copy_from_slice(&after[written]);
        fs::write(&file, &cut_short).unwrap();
        for root in [place.key_file(), new()] {
            unwrap(&place.open_with(&root).unwrap(), &wrapped).unwrap();
        }
        // Made again, it is complete.
        place.open().unwrap().change_root(&new()).unwrap();
        refused(place.open(), "BadParameter");
        unwrap(&place.open_with(&new()).unwrap(), &wrapped).unwrap();
    }
}

#[test]
fn a_sealed_vault_refuses_every_use_until_it_is_unsealed() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let (vault, other) = (place.open().unwrap(), place.open().unwrap());
    unwrap(&other, &wrapped).unwrap();
    let clone = vault.acting_as("someone");
    let words = || SecretBytes::from_vec(b"correct horse battery".to_vec());
    let root = || RootKeySource::Passphrase(words());
    let before = vault.revision().load(std::sync::atomic::Ordering::Acquire);
    vault.acting_as("admin").seal(words()).unwrap();
    assert_ne!(
        vault.revision().load(std::sync::atomic::Ordering::Acquire),
        before
    );
    for handle in [&vault, &clone, &other] {
        refused(unwrap(handle, &wrapped), "Sealed");
        refused(handle.keys(Page::all()), "Sealed");
        refused(handle.create_key(&name("new"), &oct()), "Sealed");
        refused(handle.status(), "Sealed");
    }
    assert!(LocalVault::root_record(&place.dir()).unwrap().sealed);
    refused(place.open(), "BadParameter");
    refused(place.open_with(&root()), "Sealed");
    let clock = || place.clock.clone();
    let wrong = passphrase("correct horse batterY");
    refused(
        LocalVault::unseal(&place.dir(), &wrong, &place.key_file(), "admin", clock()),
        "RootKey",
    );
    let unsealed =
        LocalVault::unseal(&place.dir(), &root(), &place.key_file(), "admin", clock()).unwrap();
    unwrap(&unsealed, &wrapped).unwrap();
    unwrap(&place.open().unwrap(), &wrapped).unwrap();
    let again = LocalVault::unseal(&place.dir(), &place.key_file(), &root(), "admin", clock());
    refused(again, "Conflict");

    let log = unsealed.audit(&everything()).unwrap();
    let tail: Vec<_> = log
        .iter()
        .filter(|r| r.operation_name.starts_with("Vault"))
        .map(|r| {
            (
                r.operation_name.as_str(),
                r.result_signature.as_str(),
                r.identity.as_str(),
            )
        })
        .collect();
    assert_eq!(
        tail,
        [
            ("VaultCreate", "OK", "local"),
            ("VaultSeal", "Accepted", "admin"),
            ("VaultSeal", "OK", "admin"),
            ("VaultOpen", "Sealed", "local"),
            ("VaultUnseal", "Accepted", "admin"),
            ("VaultUnseal", "OK", "admin"),
        ]
    );
}

#[test]
fn purge_protection_holds_until_the_scheduled_date_and_has_no_way_back() {
    let place = Place::new();
    let vault = place.create();
    for key in ["free", "held"] {
        vault.create_key(&name(key), &oct()).unwrap();
        vault.delete_key(&name(key)).unwrap();
    }
    vault.purge_key(&name("free")).unwrap();
    vault.enable_purge_protection().unwrap();
    let text = refused(vault.purge_key(&name("held")), "Forbidden");
    assert!(text.contains("2026-01-08T00:00:00Z"), "{text}");
    drop(vault);
    let vault = place.open().unwrap();
    assert!(vault.status().unwrap().settings.purge_protection);
    place
        .clock
        .advance(SignedDuration::from_hours(7 * 24) - SignedDuration::from_micros(1));
    refused(vault.purge_key(&name("held")), "Forbidden");
    place.clock.advance(SignedDuration::from_micros(1));
    refused(vault.recover_key(&name("held")), "KeyNotFound");
    let purged = vault.audit(&AuditFilter {
        operation: Some(AuditOperation::KeyPurge),
        key: Some(name("HELD")),
        identity: Some("vault".into()),
        ..everything()
    });
    assert_eq!(purged.unwrap().len(), 1, "the vault itself purged it");
}

#[test]
fn a_key_disabled_elsewhere_is_refused_at_the_very_next_use() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    // Two connections, as two processes have them.
    let (here, elsewhere) = (place.open().unwrap(), place.open().unwrap());
    for _ in 0..3 {
        unwrap(&here, &wrapped).unwrap();
        set_enabled(&elsewhere, false);
        refused(unwrap(&here, &wrapped), "KeyDisabled");
        set_enabled(&elsewhere, true);
    }
    unwrap(&here, &wrapped).unwrap();
    elsewhere.delete_key(&name("k")).unwrap();
    elsewhere.purge_key(&name("k")).unwrap();
    refused(unwrap(&here, &wrapped), "KeyNotFound");
    assert!(Arc::ptr_eq(&here.revision(), &elsewhere.revision()));
}

#[test]
fn threads_that_share_a_vault_lose_no_record() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let (first, second) = (place.open().unwrap(), place.open().unwrap());
    std::thread::scope(|scope| {
        for vault in [&first, &first, &second, &second] {
            scope.spawn(|| (0..25).for_each(|_| unwrap(vault, &wrapped).unwrap()));
        }
    });
    let filter = AuditFilter {
        operation: Some(AuditOperation::KeyUnwrap),
        ..everything()
    };
    assert_eq!(first.audit(&filter).unwrap().len(), 100);
    let summary = second.verify_audit().unwrap();
    assert_eq!(summary.records, summary.anchored);
}

#[test]
fn a_backup_in_a_foreign_vault_is_refused() {
    let (place, foreign) = (Place::new(), Place::new());
    let vault = place.create();
    vault.create_key(&name("k"), &oct()).unwrap();
    let backup = vault.backup_key(&name("k")).unwrap();
    let text = refused(foreign.create().restore_key(&backup), "BadParameter");
    assert!(text.contains(&vault.id().to_string()), "{text}");
    vault.delete_key(&name("k")).unwrap();
    vault.purge_key(&name("k")).unwrap();
    vault.restore_key(&backup).unwrap();
}

#[test]
fn everything_asked_of_a_vault_is_recorded_allowed_or_refused() {
    let place = Place::new();
    let vault = place.create().acting_as("alice\n<admin>");
    let kid = vault.create_key(&name("k"), &oct()).unwrap().kid;
    let wrapped = wrap(&vault, "k").unwrap();
    unwrap(&vault, &wrapped).unwrap();
    set_enabled(&vault, false);
    refused(unwrap(&vault, &wrapped), "KeyDisabled");
    set_enabled(&vault, true);
    let rotated = vault.rotate_key(&name("k")).unwrap().kid;
    let backup = vault.backup_key(&name("k")).unwrap();
    vault.delete_key(&name("k")).unwrap();
    vault.recover_key(&name("k")).unwrap();
    vault.delete_key(&name("k")).unwrap();
    vault.purge_key(&name("k")).unwrap();
    refused(vault.purge_key(&name("k")), "KeyNotFound");
    vault.restore_key(&backup).unwrap();
    refused(vault.restore_key(&backup), "Conflict");
    refused(vault.restore_key(b"no backup"), "BadParameter");
    let material = KeyEncryptionKey::generate(KeyKind::Oct256);
    vault.import_key(&name("i"), material, &oct()).unwrap();

    let (key, v1, v2) = (kid.key().to_string(), kid.to_string(), rotated.to_string());
    let log = vault.audit(&everything()).unwrap();
    let told: Vec<_> = log[1..]
        .iter()
        .map(|r| {
            (
                r.operation_name.as_str(),
                r.kid.as_deref(),
                r.result_signature.as_str(),
            )
        })
        .collect();
    let imported = vault.key(&name("i"), None).unwrap().kid.to_string();
    assert_eq!(
        told,
        [
            ("KeyCreate", Some(v1.as_str()), "OK"),
            ("KeyWrap", Some(v1.as_str()), "OK"),
            ("KeyUnwrap", Some(v1.as_str()), "OK"),
            ("KeyUpdate", Some(v1.as_str()), "OK"),
            ("KeyUnwrap", Some(v1.as_str()), "KeyDisabled"),
            ("KeyUpdate", Some(v1.as_str()), "OK"),
            ("KeyRotate", Some(v2.as_str()), "OK"),
            ("KeyBackup", Some(key.as_str()), "OK"),
            ("KeyDelete", Some(key.as_str()), "OK"),
            ("KeyRecover", Some(key.as_str()), "OK"),
            ("KeyDelete", Some(key.as_str()), "OK"),
            ("KeyPurge", Some(key.as_str()), "OK"),
            ("KeyPurge", Some(key.as_str()), "KeyNotFound"),
            ("KeyRestore", Some(key.as_str()), "OK"),
            ("KeyRestore", Some(key.as_str()), "Conflict"),
            ("KeyRestore", None, "BadParameter"),
            ("KeyImport", Some(imported.as_str()), "OK"),
        ]
    );
    for record in &log[1..] {
        assert_eq!(record.identity, "alice\u{fffd}<admin>");
        assert_eq!(
            record.result_type == "Success",
            record.result_description.is_empty()
        );
        assert_eq!(record.correlation_id.len(), 32);
    }
    let failed = vault
        .audit(&AuditFilter {
            failed: true,
            ..everything()
        })
        .unwrap();
    assert_eq!(failed.len(), 4);
    let newest = vault
        .audit(&AuditFilter {
            limit: Some(2),
            ..everything()
        })
        .unwrap();
    assert_eq!(newest, log[log.len() - 2..]);
    let of_i = vault
        .audit(&AuditFilter {
            key: Some(name("I")),
            ..everything()
        })
        .unwrap();
    assert_eq!(of_i.len(), 1);
    let none = AuditFilter {
        until: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        ..everything()
    };
    assert_eq!(vault.audit(&none).unwrap(), []);
    assert_eq!(vault.verify_audit().unwrap().records, log.len() as u64);
}

#[test]
fn no_record_carries_key_bytes_or_data_bytes() {
    let place = Place::new();
    let vault = place.create();
    let material = [0xc3; 32];
    let key = KeyEncryptionKey::from_oct(&material).unwrap();
    vault.import_key(&name("k"), key, &oct()).unwrap();
    let wrapped = wrap(&vault, "k").unwrap();
    unwrap(&vault, &wrapped).unwrap();
    let mut flipped = wrapped.clone();
    flipped.bytes[0] ^= 1;
    refused(unwrap(&vault, &flipped), "UnwrapFailed");
    vault.restore_key(&material).err().unwrap();
    let log = serde_json::to_string(&vault.audit(&everything()).unwrap()).unwrap();
    assert!(log.contains(&wrapped.key.to_string()), "positive control");
    for secret in [
        &material[..],
        dek().expose(),
        &wrapped.bytes,
        &flipped.bytes,
    ] {
        assert!(!log.to_lowercase().contains(&hex::encode(&secret[..8])));
    }
}

#[test]
fn an_old_vault_file_put_back_is_refused() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let old = fs::read(place.file("vault.db")).unwrap();
    let vault = place.open().unwrap();
    vault.delete_key(&name("k")).unwrap();
    vault.purge_key(&name("k")).unwrap();
    drop(vault);
    let new = fs::read(place.file("vault.db")).unwrap();
    fs::write(place.file("vault.db"), &old).unwrap();
    let before = place.snapshot();
    let text = refused(place.open(), "Audit");
    assert!(text.contains("old vault.db was put back"), "{text}");
    assert!(place.snapshot() == before);
    fs::write(place.file("vault.db"), &new).unwrap();
    refused(unwrap(&place.open().unwrap(), &wrapped), "KeyNotFound");
}

#[test]
fn an_anchor_that_a_crash_left_behind_is_no_false_alarm() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let old = fs::read(place.file("audit.anchor")).unwrap();
    let vault = place.open().unwrap();
    for _ in 0..3 {
        unwrap(&vault, &wrapped).unwrap();
    }
    drop(vault);
    fs::write(place.file("audit.anchor"), &old).unwrap();
    let vault = place.open().unwrap();
    let summary = vault.verify_audit().unwrap();
    assert_eq!((summary.records, summary.anchored), (6, 3));
    unwrap(&vault, &wrapped).unwrap();
    assert_eq!(vault.verify_audit().unwrap().anchored, 7);
}

#[test]
fn a_lost_or_altered_anchor_is_refused_until_the_loss_is_accepted() {
    let place = Place::new();
    place.with_a_key();
    let anchor = place.file("audit.anchor");
    let good = fs::read(&anchor).unwrap();
    let harms: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&anchor).unwrap(),
        &|| fs::write(&anchor, vec![0; good.len()]).unwrap(),
        &|| fs::write(&anchor, &good[..good.len() - 1]).unwrap(),
    ];
    for harm in harms {
        harm();
        let before = place.snapshot();
        refused(place.open(), "Audit");
        assert!(place.snapshot() == before);
        fs::write(&anchor, &good).unwrap();
        place.open().unwrap();
    }
    harms[0]();
    let clock = place.clock.clone();
    LocalVault::reanchor(&place.dir(), &place.key_file(), "admin", clock).unwrap();
    let vault = place.open().unwrap();
    let last = vault
        .audit(&AuditFilter {
            limit: Some(1),
            ..everything()
        })
        .unwrap();
    assert_eq!(last[0].operation_name, "AuditReanchor");
    vault.verify_audit().unwrap();
}

#[test]
fn the_anchor_of_another_vault_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    place.with_a_key();
    other.with_a_key();
    let good = fs::read(place.file("audit.anchor")).unwrap();
    fs::copy(other.file("audit.anchor"), place.file("audit.anchor")).unwrap();
    refused(place.open(), "Audit");
    fs::write(place.file("audit.anchor"), good).unwrap();
    place.open().unwrap();
}

#[test]
fn a_directory_without_a_vault_says_so() {
    let place = Place::new();
    let text = refused(place.open(), "Store");
    assert!(text.contains("no vault here"), "{text}");
    fs::create_dir(place.dir()).unwrap();
    fs::write(place.file("vault.db"), b"SQLite format 3\0").unwrap();
    refused(place.open(), "Store");
    fs::remove_file(place.file("vault.db")).unwrap();
    place.create();
}

#[test]
fn a_vault_handle_goes_anywhere() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let place = Place::new();
    let vault = place.create();
    shared(&vault);
    let _: Arc<dyn KeyVault> = Arc::new(vault);
}

#[test]
fn a_seal_that_could_not_be_looked_at_is_not_overlooked() {
    let place = Place::new();
    let wrapped = place.with_a_key();
    let (vault, other) = (place.open().unwrap(), place.open().unwrap());
    unwrap(&other, &wrapped).unwrap();
    vault
        .seal(SecretBytes::from_vec(b"correct horse battery".to_vec()))
        .unwrap();
    // The file is out of reach for a moment: no descriptor left, say.
    let (file, away) = (place.file("vault.db"), place.file("away"));
    fs::rename(&file, &away).unwrap();
    assert!(unwrap(&other, &wrapped).is_err());
    fs::rename(&away, &file).unwrap();
    refused(unwrap(&other, &wrapped), "Sealed");
}
