use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;

use crate::base::{Clock, KeyRef, ResourceId, create_dir_private};
use crate::crypto::SecretBytes;
use crate::envelope::Envelope;
use crate::resource::{Protection, ResourceError, Wrapper};

use super::attributes::Pairs;
use super::catalog::Catalog;
use super::commits::Commits;
use super::key::AccountKeys;
use super::scope::ScopeKeys;
use super::store::ExtentStore;
use super::{AccountHeader, ContainerName, Layers, Objects, ObjectsUrl};

/// How long blocks that are not committed are kept after the last one of their blob, as in Azure.
const BLOCKS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A storage account: a directory of blobs, plain or protected.
///
/// Its methods may be called from several threads at once, and several processes may have it open.
/// Reads and writes of blobs fail once the vault refuses the account's key, also in the middle of
/// a transfer; lists, deletions and whatever is said of containers go on, as they do in Azure, because they
/// need the catalog's key only.
pub struct StorageAccount {
    pub(super) dir: PathBuf,
    pub(super) id: ResourceId,
    pub(super) protection: Protection,
    /// `None` in a plain account.
    pub(super) keys: Option<AccountKeys>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) scope_keys: ScopeKeys,
    /// Whether every extent is sealed a second time, under a key of the service's.
    pub(super) infrastructure: bool,
    pub(super) extents: ExtentStore,
    /// Held while a block is appended.
    pub(super) appends: Mutex<()>,
    pub(super) commits: Commits,
}

impl StorageAccount {
    /// Makes an account with an empty default container in `dir`, which must not exist or be empty. A protected one gets two
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
        Self::create_with(dir, id, protection, service_key, wrapper, Layers::One, None)
    }

    /// The same. With [`Layers::Two`] it has infrastructure encryption, for good: every extent is sealed a second
    /// time, with another algorithm and under a key of the service's. With `objects` its extents are kept there, for
    /// good, while its header and its catalog stay in `dir`.
    pub fn create_with(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        service_key: Option<&KeyRef>,
        wrapper: &Wrapper,
        layers: Layers,
        objects: Option<Objects>,
    ) -> Result<Self, ResourceError> {
        if protection == Protection::Plain && layers == Layers::Two {
            return Err(ResourceError::Usage(
                "a plain storage account encrypts nothing, and so nothing twice".into(),
            ));
        }
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
            .map_err(|e| ResourceError::vault(dir, &e))?;
        create_dir_private(dir).map_err(failed)?;
        let made = Self::make(dir, id, protection, wrapped, wrapper, layers, objects);
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
        layers: Layers,
        objects: Option<Objects>,
    ) -> Result<Self, ResourceError> {
        let url = objects.as_ref().map(Objects::url);
        let infrastructure = layers == Layers::Two;
        let (mut keys, mut commitment) = (None, None);
        if let Some((header, account_key)) = wrapped {
            let path = dir.join(HEADER);
            header.write(&path)?;
            let made = AccountKeys::new(&path, id, wrapper);
            made.account().expect(account_key);
            (keys, commitment) = (Some(made), Some(account_key));
        }
        let catalog_key = keys.as_ref().map(AccountKeys::catalog);
        let catalog = dir.join(CATALOG);
        let catalog = Catalog::create(&catalog, id, catalog_key, commitment, infrastructure, url)?;
        catalog.create_container(&ContainerName::default(), &Pairs::new(), None)?;
        if let Some(objects) = &objects {
            objects.claim(dir)?;
        }
        let extents = ExtentStore::new(dir.join(EXTENTS), objects);
        extents.create()?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog: Arc::new(catalog),
            scope_keys: ScopeKeys::default(),
            infrastructure,
            extents,
            appends: Mutex::default(),
            commits: Commits::default(),
        })
    }

    /// Opens the account in `dir`, which must be the resource `id`, and removes what an interrupted
    /// put left behind, and blocks that nobody committed for a week. This needs the catalog's key only: an account whose customer key is refused
    /// opens, lists and deletes, and nothing else.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`]; [`ResourceError::Format`]; [`ResourceError::Unauthentic`] when
    /// it is another resource's, or was altered; [`ResourceError::KeyUnavailable`] when the catalog's
    /// key is refused; [`ResourceError::Usage`] when a protected account is opened as a plain one.
    pub fn open(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        Self::open_over(dir, id, protection, wrapper, &mut Objects::connect)
    }

    /// The same. When its extents are objects, `connect` reaches them; they must be this account's and not those of
    /// one that it is a copy of.
    pub fn open_over(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
        connect: &mut dyn FnMut(&ObjectsUrl, ResourceId) -> Result<Objects, ResourceError>,
    ) -> Result<Self, ResourceError> {
        let account = Self::open_alone(dir, id, protection, wrapper, connect)?;
        if let Some(objects) = account.extents.objects() {
            objects.check_writer(dir)?;
        }
        account.forget_old_blocks()?;
        let catalog = &account.catalog;
        account.extents.collect_garbage(catalog)?;
        Ok(account)
    }

    /// Takes over the objects of the account in `dir`, which was moved there: from now on it is the one that writes
    /// them, and no other opens.
    ///
    /// # Errors
    /// As of [`StorageAccount::open`]; [`ResourceError::Usage`] when its extents are no objects.
    pub fn claim(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        wrapper: &Wrapper,
        connect: &mut dyn FnMut(&ObjectsUrl, ResourceId) -> Result<Objects, ResourceError>,
    ) -> Result<ObjectsUrl, ResourceError> {
        let account = Self::open_alone(dir, id, protection, wrapper, connect)?;
        let objects = account.extents.objects().ok_or_else(|| {
            ResourceError::Usage(format!("{}: keeps its bytes here", dir.display()))
        })?;
        objects.claim(dir)?;
        Ok(objects.url().clone())
    }

    fn open_alone(
        dir: &Path,
        id: ResourceId,
        mut protection: Protection,
        wrapper: &Wrapper,
        connect: &mut dyn FnMut(&ObjectsUrl, ResourceId) -> Result<Objects, ResourceError>,
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
        let infrastructure = catalog.infrastructure()?;
        let objects = catalog.objects()?.map(|url| connect(&url, id));
        let extents = ExtentStore::new(dir.join(EXTENTS), objects.transpose()?);
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog: Arc::new(catalog),
            scope_keys: ScopeKeys::default(),
            infrastructure,
            extents,
            appends: Mutex::default(),
            commits: Commits::default(),
        })
    }

    /// Where its extents are; `None` when they are files of its directory.
    pub fn objects(&self) -> Option<&ObjectsUrl> {
        self.extents.objects().map(Objects::url)
    }

    pub(super) fn forget_old_blocks(&self) -> Result<(), ResourceError> {
        self.forget_blocks(self.now() - BLOCKS_KEPT)
    }

    /// The same account, which goes by `clock`: leases run by it, and changes are dated by it.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.catalog.set_clock(clock);
        self
    }

    /// Whether every extent is sealed a second time, under a key of the service's.
    pub fn has_infrastructure_encryption(&self) -> bool {
        self.infrastructure
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

    /// The first of the account's two access keys, by which clients sign requests, and the second. They
    /// lie in the catalog, under the service's key: who steals the account's files has neither; of a plain
    /// account he has both.
    pub fn access_keys(&self) -> Result<[SecretBytes; 2], ResourceError> {
        self.catalog.access_keys()
    }

    /// Draws access key `number` (1 or 2) anew; signatures by the old one are refused from then on.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] for another number.
    pub fn renew_access_key(&self, number: u8) -> Result<(), ResourceError> {
        match number {
            1 | 2 => self.catalog.renew_access_key(number),
            _ => Err(ResourceError::Usage(
                "an account has access keys 1 and 2".into(),
            )),
        }
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
