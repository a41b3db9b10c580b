//! No bytes of a file make a reader panic, take memory by a length that they only claim, or give
//! other data than was written: random bytes, and good files of which a part was overwritten.

#![allow(clippy::unwrap_used)]

#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use atrest::base::{KeyName, ResourceId, SystemClock, VaultId};
use atrest::crypto::{KeyKind, Secret, SecretBytes};
use atrest::envelope::{Envelope, ResourceKind};
use atrest::resource::blob::{
    AccountHeader, BlobName, BlobPath, ExtentHeader, Manifest, StorageAccount, Subject,
};
use atrest::resource::sql::SqlDatabase;
use atrest::resource::{Protection, ResourceError, Wrapper};
use atrest::sqlite::PageSize;
use atrest::vault::{
    AuditAnchor, AuditFilter, KeyBackup, KeySpec, KeyVault, LocalVault, Page, RootKeySource,
    RootRecord, SecretBackup, SecretSpec, SecretVault, VaultError, VaultSettings,
};
use key_wrapper::MemoryVault;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

/// Bytes of `good`, a part of which is overwritten, cut off or doubled.
fn damaged(good: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let good = good.to_vec();
    let change = (any::<Index>(), vec(any::<u8>(), 1..8), 0..4_u8);
    vec(change, 1..4).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (at, new, how) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, new)),
                _ => bytes.iter_mut().skip(at).zip(new).for_each(|(b, n)| *b = n),
            }
        }
        bytes
    })
}

/// Random bytes behind a good beginning, so that they get past the first check.
fn behind(good: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let good = good.to_vec();
    (0..=good.len(), vec(any::<u8>(), 0..1600))
        .prop_map(move |(len, rest)| [&good[..len], &rest[..]].concat())
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut fixed = [0; N];
    let len = bytes.len().min(N);
    fixed[..len].copy_from_slice(&bytes[..len]);
    fixed
}

fn envelope() -> Envelope {
    let vault = MemoryVault::new();
    let (key, id) = (vault.add("k"), ResourceId::from_bytes([3; 16]));
    Envelope::seal(&*vault, &key, ResourceKind::Storage, id, &Secret::random()).unwrap()
}

fn manifest() -> Manifest {
    // Two entries of metadata, one generation, one extent.
    let mut body = [7_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    body.extend(2_u32.to_le_bytes());
    for text in ["a", "x", "b", "y"] {
        body.extend(1_u32.to_le_bytes());
        body.extend(text.as_bytes());
    }
    body.push(16);
    body.extend([4; 16]);
    body.extend(1_u32.to_le_bytes());
    body.extend([5; 16 + 40]);
    body.extend(1_u32.to_le_bytes());
    body.extend([6; 16]);
    body.extend(0_u32.to_le_bytes());
    body.extend(7_u64.to_le_bytes());
    body.push(3);
    body.extend(b"id1");
    Manifest::parse(&body).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_parses_is_the_only_form_of_what_it_says(
        envelope in damaged(&envelope().to_bytes()),
        account in damaged(&AccountHeader { account: envelope(), catalog: envelope() }.to_bytes()),
        manifest in damaged(&manifest().to_bytes()),
        any in behind(&manifest().to_bytes()),
    ) {
        for bytes in [envelope, any.clone()] {
            let bytes = fixed::<{ Envelope::LEN }>(&bytes);
            if let Ok(read) = Envelope::parse(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }
        for bytes in [account, any.clone()] {
            if let Ok(read) = AccountHeader::parse(&bytes) {
                prop_assert_eq!(&read.to_bytes()[..], &bytes[..]);
            }
        }
        for bytes in [manifest, any.clone()] {
            if let Some(read) = Manifest::parse(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }
        let header = fixed::<{ ExtentHeader::LEN }>(&any);
        prop_assert!(ExtentHeader::parse(&header).is_err());
    }

    #[test]
    fn no_bytes_pass_for_what_a_key_sealed(bytes in vec(any::<u8>(), 0..1600)) {
        let (key, id) = (Secret::random(), ResourceId::from_bytes([3; 16]));
        let vault = VaultId::from_bytes([1; 16]);
        let path = BlobPath::in_default(BlobName::parse("n").unwrap());
        let generation = atrest::base::GenerationId::from_bytes([2; 16]);
        for magic in [&b"atrestBM\x03\x00\x01\0\0\0\0\0"[..], b"atrestKB\x02\x00\0\0", b"atrestSB\x02\x00\0\0", b""] {
            let bytes = [magic, &bytes[..]].concat();
            prop_assert!(Manifest::open(&bytes, &key, id, generation, Subject::Blob(&path)).is_err());
            prop_assert!(KeyBackup::open(&bytes, &key, vault).is_err());
            prop_assert!(SecretBackup::open(&bytes, &key, vault).is_err());
            prop_assert!(AuditAnchor::parse(&fixed(&bytes), &key, vault).is_none());
        }
        if let Ok(record) = RootRecord::parse(&fixed(&[b"atrestVR\x01\0\x01\0", &bytes[..]].concat())) {
            prop_assert!(record.open(&key).is_none());
        }
    }
}

/// A directory whose files were written once, and are copied before each attack.
struct Original {
    dir: TempDir,
    files: Vec<PathBuf>,
}

impl Original {
    fn new(dir: TempDir) -> Self {
        let walk = walkdir::WalkDir::new(dir.path())
            .sort_by_file_name()
            .into_iter();
        let files = walk.filter_map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(dir.path()).unwrap().to_owned();
            (entry.file_type().is_file() && entry.metadata().unwrap().len() > 0).then_some(path)
        });
        let files = files.collect();
        Self { dir, files }
    }

    /// A copy, in one of whose files some bytes were altered.
    fn altered(&self, file: Index, at: Index, new: &[u8]) -> (TempDir, PathBuf) {
        let copy = tempfile::tempdir().unwrap();
        for path in &self.files {
            fs::create_dir_all(copy.path().join(path).parent().unwrap()).unwrap();
            fs::copy(self.dir.path().join(path), copy.path().join(path)).unwrap();
        }
        let file = &self.files[file.index(self.files.len())];
        let path = copy.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes
            .iter_mut()
            .skip(at)
            .zip(new)
            .for_each(|(b, n)| *b ^= n);
        fs::write(&path, bytes).unwrap();
        (copy, file.clone())
    }
}

static MEMORY_VAULT: LazyLock<(Arc<MemoryVault>, Protection)> = LazyLock::new(|| {
    let vault = MemoryVault::new();
    let key = vault.add("customer");
    (vault, Protection::CustomerManaged { key })
});

const ID: ResourceId = ResourceId::from_bytes([9; 16]);

fn wrapper() -> Wrapper {
    MEMORY_VAULT.0.clone()
}

static DATABASE: LazyLock<Original> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (path, protection) = (dir.path().join("db"), MEMORY_VAULT.1.clone());
    let db = SqlDatabase::create(
        &path,
        ID,
        PageSize::new(512).unwrap(),
        protection,
        &wrapper(),
    );
    let db = db.unwrap();
    let sql = "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT);
               CREATE INDEX i ON t (text);
               INSERT INTO t WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100)
               SELECT n, 'row ' || n FROM c;";
    db.connect().unwrap().execute_batch(sql).unwrap();
    drop(db);
    Original::new(dir)
});

fn read_database(dir: &Path) -> Result<String, ResourceError> {
    let db = SqlDatabase::open(&dir.join("db"), ID, MEMORY_VAULT.1.clone(), &wrapper())?;
    let sql = "SELECT group_concat(n || text) FROM (SELECT n, text FROM t ORDER BY text)";
    let read = db.connect()?.query_row(sql, (), |row| row.get(0));
    read.map_err(|e| db.explain(e))
}

static ACCOUNT: LazyLock<Original> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let service = MEMORY_VAULT.0.add("service");
    let path = dir.path().join("account");
    let protection = MEMORY_VAULT.1.clone();
    let account = StorageAccount::create(&path, ID, protection, Some(&service), &wrapper());
    let account = account.unwrap();
    for (name, len) in [("empty", 0), ("small", 100), ("large", 200_000)] {
        let data: Vec<u8> = (0..len).map(|n: u32| (n / 7) as u8).collect();
        account
            .put(
                &BlobPath::in_default(BlobName::parse(name).unwrap()),
                &mut &data[..],
                &mut |_| (),
            )
            .unwrap();
    }
    drop(account);
    Original::new(dir)
});

fn read_account(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, ResourceError> {
    let (dir, protection) = (dir.join("account"), MEMORY_VAULT.1.clone());
    let account = StorageAccount::open(&dir, ID, protection, &wrapper())?;
    let blobs = account.blobs()?.into_iter().map(|blob| {
        let mut data = Vec::new();
        account.get(&blob.path(), None, &mut data, &mut |_| ())?;
        Ok((blob.name.as_str().to_owned(), data))
    });
    blobs.collect()
}

static VAULT: LazyLock<Original> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let root = RootKeySource::KeyFile(dir.path().join("key"));
    let settings = VaultSettings::default();
    let clock = Arc::new(SystemClock);
    let vault = LocalVault::create(&dir.path().join("vault"), &root, &settings, clock).unwrap();
    let name: KeyName = "k".parse().unwrap();
    vault
        .create_key(&name, &KeySpec::new(KeyKind::Oct256))
        .unwrap();
    vault.rotate_key(&name).unwrap();
    let value = SecretBytes::from_vec(b"value".to_vec());
    vault
        .set_secret(&name, &value, &SecretSpec::default())
        .unwrap();
    drop(vault);
    Original::new(dir)
});

fn read_vault(dir: &Path) -> Result<String, VaultError> {
    let root = RootKeySource::KeyFile(dir.join("key"));
    let vault = LocalVault::open(&dir.join("vault"), &root, Arc::new(SystemClock))?;
    vault.verify_audit()?;
    let versions = vault.key_versions(&"k".parse().unwrap(), Page::all())?;
    let secrets = vault.secrets(Page::all())?;
    Ok(format!(
        "{versions:?} {secrets:?} {:?}",
        vault.audit(&AuditFilter::default())?
    ))
}

/// `read` gives what `original` holds, or an error, whatever the damage is; without damage it gives
/// what it holds. What cannot be read is not made worse by the try.
fn holds<T: PartialEq + std::fmt::Debug, E: std::fmt::Display>(
    original: &Original,
    read: fn(&Path) -> Result<T, E>,
    (file, at, new): (Index, Index, Vec<u8>),
) -> Result<(), TestCaseError> {
    let whole = |error: E| TestCaseError::fail(format!("the control is refused: {error}"));
    let (control, _) = original.altered(file, at, &[]);
    let expected = read(control.path()).map_err(whole)?;
    let (copy, altered) = original.altered(file, at, &new);
    if let Ok(got) = read(copy.path()) {
        prop_assert!(
            got == expected,
            "{altered:?} altered, and it reads as {got:?}"
        );
    }
    Ok(())
}

fn damage() -> impl Strategy<Value = (Index, Index, Vec<u8>)> {
    (any::<Index>(), any::<Index>(), vec(1..=255_u8, 1..40))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn an_altered_database_is_refused_or_reads_as_it_was(damage in damage()) {
        holds(&DATABASE, read_database, damage)?;
    }

    #[test]
    fn an_altered_storage_account_is_refused_or_reads_as_it_was(damage in damage()) {
        holds(&ACCOUNT, read_account, damage)?;
    }

    #[test]
    fn an_altered_vault_is_refused_or_reads_as_it_was(damage in damage()) {
        holds(&VAULT, read_vault, damage)?;
    }
}
