use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::base::{KeyRef, ResourceId, create_dir_private};
use crate::envelope::Envelope;
use crate::resource::{Protection, ResourceError, Wrapper};

use super::catalog::{Catalog, Entry};
use super::key::AccountKeys;
use super::store::ExtentStore;
use super::{AccountHeader, BlobName};

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobInfo {
    /// Its name.
    pub name: BlobName,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was put.
    pub created: Timestamp,
    /// How many extents hold its bytes.
    pub extents: u64,
}

/// A storage account: a directory of blobs, plain or protected.
///
/// Its methods may be called from several threads at once, and several processes may have it open.
/// Reads and writes of blobs fail once the vault refuses the account's key, also in the middle of
/// a transfer; [`StorageAccount::list`] and [`StorageAccount::delete`] go on, as they do in Azure,
/// because they need the catalog's key only.
pub struct StorageAccount {
    pub(super) dir: PathBuf,
    pub(super) id: ResourceId,
    pub(super) protection: Protection,
    /// `None` in a plain account.
    pub(super) keys: Option<AccountKeys>,
    pub(super) catalog: Catalog,
    pub(super) extents: ExtentStore,
}

impl StorageAccount {
    /// Makes an empty account in `dir`, which must not exist or be empty. A protected one gets two
    /// new random keys: the account key, wrapped by the protection's key, and the catalog's, wrapped
    /// by `service_key`. Without a service key a service-managed account uses its own for both.
    ///
    /// # Errors
    /// [`ResourceError::Exists`] when `dir` holds anything; [`ResourceError::KeyUnavailable`] when
    /// the vault does not wrap; [`ResourceError::Usage`] when a customer-managed account is given no
    /// service key.
    pub fn create(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        service_key: Option<&KeyRef>,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        let failed = |e| ResourceError::io(dir, e);
        if dir.exists() && fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(ResourceError::Exists(dir.display().to_string()));
        }
        let service_key = match (&protection, service_key) {
            (Protection::CustomerManaged { .. }, None) => {
                return Err(ResourceError::Usage(
                    "a customer-managed storage account needs a service key for its catalog".into(),
                ));
            }
            (_, Some(given)) => Some(given),
            (_, None) => protection.key(),
        };
        let wrapped_by = protection.key().zip(service_key);
        let wrapped = wrapped_by
            .map(|(account, catalog)| AccountHeader::generate(id, account, catalog, wrapper))
            .transpose()
            .map_err(|e| ResourceError::vault(&dir.display().to_string(), e))?;
        create_dir_private(dir).map_err(failed)?;
        let made = Self::make(dir, id, protection, wrapped, wrapper);
        if made.is_err() {
            // All that is in there is what was just made.
            let _ = fs::remove_dir_all(dir);
        }
        made
    }

    fn make(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        wrapped: Option<(AccountHeader, [u8; 32])>,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        let extents = ExtentStore::new(dir.join(EXTENTS));
        extents.create()?;
        let (mut keys, mut commitment) = (None, None);
        if let Some((header, account_key)) = wrapped {
            let path = dir.join(HEADER);
            header.write(&path)?;
            let made = AccountKeys::new(&path, id, wrapper);
            made.account().expect(account_key);
            (keys, commitment) = (Some(made), Some(account_key));
        }
        let catalog_key = keys.as_ref().map(AccountKeys::catalog);
        let catalog = Catalog::create(&dir.join(CATALOG), id, catalog_key, commitment)?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog,
            extents,
        })
    }

    /// Opens the account in `dir`, which must be the resource `id`, and removes what an interrupted
    /// put left behind. This needs the catalog's key only: an account whose customer key is refused
    /// opens, lists and deletes, and nothing else.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`]; [`ResourceError::Format`]; [`ResourceError::Unauthentic`] when
    /// it is another resource's, or was altered; [`ResourceError::KeyUnavailable`] when the catalog's
    /// key is refused; [`ResourceError::Usage`] when a protected account is opened as a plain one.
    pub fn open(
        dir: &Path,
        id: ResourceId,
        mut protection: Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        let header = dir.join(HEADER);
        let keys = match &mut protection {
            Protection::Plain if header.exists() => {
                return Err(ResourceError::Usage(format!(
                    "{}: the storage account is protected; open it with its key",
                    dir.display()
                )));
            }
            Protection::Plain => None,
            Protection::ServiceManaged { key } | Protection::CustomerManaged { key } => {
                // The header is the truth: a rewrap may have ended before its caller noted it.
                *key = AccountHeader::read(&header)?.account.key.key();
                Some(AccountKeys::new(&header, id, wrapper))
            }
        };
        let catalog_key = keys.as_ref().map(AccountKeys::catalog);
        let catalog = Catalog::open(&dir.join(CATALOG), id, catalog_key)?;
        if let Some(keys) = &keys {
            let commitment = catalog.account_key()?;
            let commitment = commitment.ok_or_else(|| unauthentic(&dir.join(CATALOG)))?;
            keys.account().expect(commitment);
        }
        let extents = ExtentStore::new(dir.join(EXTENTS));
        extents.collect_garbage(|extent| catalog.refers_to(extent))?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog,
            extents,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The wrapped account key as it is now; `None` in a plain account, and when its file does not
    /// read.
    pub fn envelope(&self) -> Option<Envelope> {
        let keys = self.keys.as_ref()?;
        Some(keys.header().ok()?.account)
    }

    /// The blobs whose names start with `prefix`, in the order of their names' bytes. Needs the
    /// catalog's key only.
    pub fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, ResourceError> {
        let entries = self.catalog.list(prefix)?;
        entries.into_iter().map(|e| self.blob_info(e)).collect()
    }

    /// What is known of the blob `name`. Needs the account key: the manifest is authenticated.
    pub fn info(&self, name: &BlobName) -> Result<BlobInfo, ResourceError> {
        let (entry, _) = self.find(name)?;
        self.blob_info(entry)
    }

    /// Removes the blob `name` for good: its key goes with its manifest. Needs the catalog's key
    /// only.
    pub fn delete(&self, name: &BlobName) -> Result<(), ResourceError> {
        let removed = self.catalog.remove(name)?;
        let extents = removed.ok_or_else(|| ResourceError::NotFound(name.to_string()))?;
        self.extents.remove(&extents);
        Ok(())
    }

    pub(super) fn blob_info(&self, entry: Entry) -> Result<BlobInfo, ResourceError> {
        let created = Timestamp::from_microsecond(entry.created_micros);
        Ok(BlobInfo {
            name: entry.name,
            size: entry.size,
            created: created.map_err(|_| unauthentic(self.catalog.path()))?,
            extents: entry.extents,
        })
    }
}

pub(super) fn unauthentic(path: &Path) -> ResourceError {
    ResourceError::Unauthentic {
        path: path.display().to_string(),
    }
}

const HEADER: &str = "account.atrest";
const CATALOG: &str = "catalog.db";
const EXTENTS: &str = "extents";
