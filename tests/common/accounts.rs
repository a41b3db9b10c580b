//! Storage accounts to test with.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::thread;

use atrest::base::{ExtentId, ResourceId};
use atrest::crypto::{Secret, random_id};
use atrest::envelope::ResourceKind;
use atrest::resource::blob::{
    AccountHeader, Attributes, BlobName, BlobPath, Conditions, Encryption, Layers, Matching,
    Objects, ObjectsUrl, StorageAccount, extents_in,
};
use atrest::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use atrest::sqlite::{KeySource, KeyUnavailable, SealedDatabase};
use object_store::ObjectStore;
use tempfile::TempDir;

use crate::key_wrapper::MemoryVault;

/// An account in a directory of its own, and the vault behind it, which has the keys `customer`
/// and `service`.
pub struct Fixture {
    pub vault: Arc<MemoryVault>,
    pub account: StorageAccount,
    pub temp: TempDir,
    /// Where the extents are when they are objects.
    pub store: Option<Arc<dyn ObjectStore>>,
}

impl Fixture {
    /// Under the customer's key.
    pub fn protected() -> Self {
        let vault = MemoryVault::new();
        let key = vault.add("customer");
        Self::make(vault, Protection::CustomerManaged { key })
    }

    /// The plain twin.
    pub fn plain() -> Self {
        Self::make(MemoryVault::new(), Protection::Plain)
    }

    /// Under the customer's key, and once more under the service's.
    pub fn double() -> Self {
        let vault = MemoryVault::new();
        let key = vault.add("customer");
        Self::make_with(vault, Protection::CustomerManaged { key }, Layers::Two)
    }

    /// Under the customer's key, with its extents in an object store; or its plain twin.
    pub fn over(store: Arc<dyn ObjectStore>, protected: bool) -> Result<Self, ResourceError> {
        let vault = MemoryVault::new();
        let key = vault.add("customer");
        let protection = match protected {
            true => Protection::CustomerManaged { key },
            false => Protection::Plain,
        };
        Self::make_over(vault, protection, Layers::One, Some(store))
    }

    fn make(vault: Arc<MemoryVault>, protection: Protection) -> Self {
        Self::make_with(vault, protection, Layers::One)
    }

    fn make_with(vault: Arc<MemoryVault>, protection: Protection, layers: Layers) -> Self {
        Self::make_over(vault, protection, layers, None).unwrap()
    }

    fn make_over(
        vault: Arc<MemoryVault>,
        protection: Protection,
        layers: Layers,
        store: Option<Arc<dyn ObjectStore>>,
    ) -> Result<Self, ResourceError> {
        let temp = tempfile::tempdir().unwrap();
        let service = vault.add("service");
        let wrapper: Wrapper = vault.clone();
        let id = random_id(ResourceId::from_bytes);
        let dir = temp.path().join("account");
        let service = Some(&service);
        let objects = store
            .clone()
            .map(|store| Objects::over(store, &place(), id));
        let account =
            StorageAccount::create_with(&dir, id, protection, service, &wrapper, layers, objects)?;
        Ok(Self {
            account,
            vault,
            temp,
            store,
        })
    }

    pub fn wrapper(&self) -> Wrapper {
        self.vault.clone()
    }

    /// Opens the account once more.
    pub fn open(&self) -> Result<StorageAccount, ResourceError> {
        self.open_at(self.account.dir())
    }

    /// The same, from where it was copied or moved to.
    pub fn open_at(&self, dir: &Path) -> Result<StorageAccount, ResourceError> {
        let (id, protection) = (self.account.id(), self.account.protection().clone());
        StorageAccount::open_over(dir, id, protection, &self.wrapper(), &mut self.connect())
    }

    /// Reaches the object store.
    pub fn connect(&self) -> impl FnMut(&ObjectsUrl, ResourceId) -> Result<Objects, ResourceError> {
        let store = self.store.clone();
        move |url, id| Ok(Objects::over(store.clone().expect("a store"), url, id))
    }

    /// Closes the account and opens it again.
    pub fn reopen(self) -> Result<Self, ResourceError> {
        let account = self.open()?;
        Ok(Self { account, ..self })
    }

    pub fn get(&self, blob: &str) -> Result<Vec<u8>, ResourceError> {
        let mut got = Vec::new();
        self.account.get(&name(blob), None, &mut got, &mut |_| ())?;
        Ok(got)
    }

    /// Runs `sql` in the catalog, as one can who has the service's key.
    pub fn tamper(&self, sql: &str) {
        let (id, path) = (self.account.id(), self.account.dir());
        let header = fs::read(path.join("account.atrest")).unwrap();
        let envelope = AccountHeader::parse(&header).unwrap().catalog;
        let key = envelope.open(&*self.vault, ResourceKind::StorageCatalog, id);
        let key = Arc::new(CatalogKey(key.unwrap()));
        let database = SealedDatabase::open(&path.join("catalog.db"), id, key).unwrap();
        let connection = database.connect().unwrap();
        connection
            .execute_batch("PRAGMA foreign_keys = off")
            .unwrap();
        connection.execute_batch(sql).unwrap();
    }

    /// The extents that lie in those files, packs among them, and which bytes of them.
    pub fn places(&self) -> Vec<(ExtentId, PathBuf, Range<u64>)> {
        let in_file = |file: PathBuf| {
            let found = extents_in(&file).unwrap().into_iter();
            found.map(move |(id, bytes)| (id, file.clone(), bytes))
        };
        self.extents().into_iter().flat_map(in_file).collect()
    }

    /// The files of the extents.
    pub fn extents(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.account.dir().join("extents")).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    }

    /// Every file that a thief would take.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.account.files().unwrap();
        files
            .into_iter()
            .map(|f| (f.clone(), fs::read(&f).unwrap()))
            .collect()
    }
}

/// What a test's object store goes by.
fn place() -> ObjectsUrl {
    "s3://bucket/some/place".parse().unwrap()
}

struct CatalogKey(Secret<32>);

impl KeySource for CatalogKey {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        Ok(1)
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        use_key(&self.0);
        Ok(())
    }
}

/// In the default container.
pub fn name(name: &str) -> BlobPath {
    BlobPath::in_default(BlobName::parse(name).unwrap())
}

pub fn put_bytes(account: &StorageAccount, blob: &str, data: &[u8]) {
    account
        .put(&name(blob), &mut &data[..], &mut |_| ())
        .unwrap();
}

/// Puts these blobs at once, so that short ones share a pack: none is written before all are about to be, and none ends
/// before all are written. Those whose names begin with `refused` are refused when they are committed: somebody was quicker.
pub fn put_at_once(account: &StorageAccount, blobs: &[(&str, &[u8])]) {
    struct Together<'a>(&'a [u8], Option<&'a Barrier>);
    impl Read for Together<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1.take().map(Barrier::wait);
            self.0.read(buffer)
        }
    }
    let (begun, written) = &(Barrier::new(blobs.len()), Barrier::new(blobs.len()));
    thread::scope(|scope| {
        for (blob, data) in blobs {
            scope.spawn(move || {
                let mut source = Together(data, Some(begun));
                let under = Encryption::default();
                let refused = blob.starts_with("refused");
                let conditions = Conditions {
                    if_none_match: refused.then_some(Matching::Any),
                    ..Conditions::default()
                };
                let mut said = || Ok(Attributes::default());
                let mut waited = false;
                let mut wait = |_| {
                    if !std::mem::replace(&mut waited, true) {
                        if refused {
                            put_bytes(account, blob, b"quicker");
                        }
                        written.wait();
                    }
                };
                let path = name(blob);
                let put =
                    account.put_with(&path, &mut source, under, &conditions, &mut said, &mut wait);
                // The others wait for one that failed early.
                source.1.take().map(Barrier::wait);
                if !waited {
                    written.wait();
                }
                assert_eq!(put.is_err(), refused, "{blob}: {:?}", put.err());
            });
        }
    });
}

/// Bytes that differ from place to place.
pub fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}
