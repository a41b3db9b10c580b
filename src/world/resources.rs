//! Making and opening the resources of a working directory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{EpochId, ResourceId, VaultId, beside, create_dir_private};
use crate::crypto::{random_id, sha256};
use crate::envelope::ResourceKind;
use crate::resource::blob::{Layers, Objects, ObjectsUrl, StorageAccount};
use crate::resource::sql::{Keeper, SqlDatabase};
use crate::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use crate::sqlite::{PageSize, discard_shared_memory};
use crate::vault::{Epoch, FreshnessCheck};

use super::config::{CONFIG, Config};
use super::{Kind, ResourceAddress, ResourceEntry, Workspace, WorldError};

/// What the names of epochs are hashed with, so that they are names of nothing else.
const EPOCH_NAME: &[u8] = b"atrest/v1/epoch\0";

impl Workspace {
    /// Makes an empty SQL database.
    ///
    /// # Errors
    /// [`WorldError::Exists`]; [`WorldError::Usage`] when the address is not one of a database.
    pub fn create_sql(
        &self,
        address: &ResourceAddress,
        protection: Protection,
        page_size: PageSize,
    ) -> Result<SqlDatabase, WorldError> {
        let wrapper = self.wrapper_at(address)?;
        let made = self.add(address, Kind::Sql, protection.clone(), |path, id| {
            SqlDatabase::create(path, id, page_size, protection, &wrapper)
        })?;
        self.begin_epoch(address, &made)?;
        Ok(made)
    }

    /// Makes a SQL database that holds what the plain SQLite file `source` holds; `source` stays as
    /// it is. `progress` is told bytes done and in all.
    pub fn import_sql(
        &self,
        address: &ResourceAddress,
        protection: Protection,
        source: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<SqlDatabase, WorldError> {
        let wrapper = self.wrapper_at(address)?;
        let made = self.add(address, Kind::Sql, protection.clone(), |path, id| {
            SqlDatabase::create_from(path, id, protection, &wrapper, source, progress)
        })?;
        self.begin_epoch(address, &made)?;
        Ok(made)
    }

    /// Makes an empty storage account. Its catalog is under the service-managed key.
    pub fn create_storage(
        &self,
        address: &ResourceAddress,
        protection: Protection,
    ) -> Result<StorageAccount, WorldError> {
        self.create_storage_with(address, protection, Layers::One, None)
    }

    /// The same; with [`Layers::Two`] it has infrastructure encryption; and with `objects` its bytes are there.
    pub fn create_storage_with(
        &self,
        address: &ResourceAddress,
        protection: Protection,
        layers: Layers,
        objects: Option<&ObjectsUrl>,
    ) -> Result<StorageAccount, WorldError> {
        let (wrapper, service_key) = (self.wrapper_at(address)?, self.service_key());
        let kept = (protection.clone(), objects);
        self.add_at(address, Kind::Storage, kept, |path, id| {
            let service_key = protection.key().is_some().then_some(&service_key);
            let protection = protection.clone();
            let objects = objects.map(|url| Objects::connect(url, id)).transpose()?;
            StorageAccount::create_with(
                path,
                id,
                protection,
                service_key,
                &wrapper,
                layers,
                objects,
            )
        })
    }

    /// Opens a SQL database, which must be the newest state of it that the vault of its key knows.
    pub fn open_sql(&self, address: &ResourceAddress) -> Result<SqlDatabase, WorldError> {
        self.open_sql_through(address, &self.wrapper_at(address)?)
    }

    fn open_sql_through(
        &self,
        address: &ResourceAddress,
        wrapper: &Wrapper,
    ) -> Result<SqlDatabase, WorldError> {
        let (path, ResourceEntry { id, protection, .. }) = self.find(address, Kind::Sql)?;
        let keeper = self.keeper(address)?;
        Ok(SqlDatabase::open_fresh(
            &path, id, protection, wrapper, &keeper,
        )?)
    }

    /// Opens a SQL database, whichever state of it lies there.
    fn open_sql_as_it_is(&self, address: &ResourceAddress) -> Result<SqlDatabase, WorldError> {
        let (path, entry) = self.find(address, Kind::Sql)?;
        let wrapper = self.wrapper_at(address)?;
        Ok(SqlDatabase::open(
            &path,
            entry.id,
            entry.protection,
            &wrapper,
        )?)
    }

    /// Takes a SQL database as it is for the newest state of it, whatever the vault remembers.
    pub fn accept_sql(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        let database = self.open_sql_as_it_is(address)?;
        Ok(database.accept(&self.keeper(address)?)?)
    }

    /// Has the vault remember a SQL database as it is now, even if it is older than what was remembered. For the
    /// lab: states in between would pass for fresh afterwards, which [`Workspace::accept_sql`] sees to.
    pub(crate) fn remember_sql(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        let database = self.open_sql_as_it_is(address)?;
        database.begin_epoch(&self.keeper(address)?, FreshnessCheck::Open)?;
        drop(database);
        // That was the main file alone. Who opens it reads its log, and tells the vault of that.
        self.open_sql(address).map(drop)
    }

    /// What is compared with what the vault remembers of a SQL database; `None` for nothing.
    pub fn sql_freshness(
        &self,
        address: &ResourceAddress,
    ) -> Result<Option<FreshnessCheck>, WorldError> {
        let database = self.open_sql_as_it_is(address)?;
        Ok(database.freshness(&self.keeper(address)?)?)
    }

    /// Sets when a SQL database is compared with what the vault remembers of it. It must be the
    /// newest state, as far as it was compared until now.
    pub fn set_sql_freshness(
        &self,
        address: &ResourceAddress,
        check: FreshnessCheck,
    ) -> Result<(), WorldError> {
        let database = self.open_sql(address)?;
        Ok(database.begin_epoch(&self.keeper(address)?, check)?)
    }

    /// Who remembers the states of the SQL database at `address`: what the vaults keep is under the
    /// resource's identity and its place, since a copy elsewhere goes its own way.
    fn keeper(&self, address: &ResourceAddress) -> Result<Keeper, WorldError> {
        let (address, entry) = self.resource(address)?;
        Ok(self.keeper_of(entry.id, &address))
    }

    /// The same, of the resource `id` at a resolved address.
    pub(super) fn keeper_of(&self, id: ResourceId, address: &ResourceAddress) -> Keeper {
        let place = address.to_string();
        let hash = sha256(&[EPOCH_NAME, id.as_bytes(), place.as_bytes()]);
        Keeper {
            epochs: self.vault_set(),
            id: EpochId::from_bytes(hash[..16].try_into().expect("16 of 32 bytes")),
        }
    }

    /// What the resource at `address` reaches the vaults through.
    fn wrapper_at(&self, address: &ResourceAddress) -> Result<Wrapper, WorldError> {
        let resolved = self.config().resolve(address)?;
        let environment = resolved.environment.expect("a resolved address");
        self.wrapper_in(&environment)
    }

    fn begin_epoch(
        &self,
        address: &ResourceAddress,
        database: &SqlDatabase,
    ) -> Result<(), WorldError> {
        Ok(database.begin_epoch(&self.keeper(address)?, FreshnessCheck::Open)?)
    }

    /// Has the vault take the state that is found next for the newest: what lies in this place is
    /// about to be replaced by this program itself. A vault that cannot be asked, or is another one, is no
    /// hindrance: then opening it says what to do.
    pub(super) fn expect_sql(&self, address: &ResourceAddress, vault: VaultId) {
        if let Ok(keeper) = self.keeper(address) {
            let (epochs, id) = (keeper.epochs, keeper.id);
            let check = match epochs.epoch(vault, id) {
                Ok(Some(epoch)) => epoch.check,
                _ => FreshnessCheck::Open,
            };
            let position = None;
            let _ = epochs.set_epoch(vault, id, &Epoch { check, position });
        }
    }

    /// Opens a storage account.
    pub fn open_storage(&self, address: &ResourceAddress) -> Result<StorageAccount, WorldError> {
        self.open_storage_through(address, &self.wrapper_at(address)?)
    }

    fn open_storage_through(
        &self,
        address: &ResourceAddress,
        wrapper: &Wrapper,
    ) -> Result<StorageAccount, WorldError> {
        let (path, entry) = self.find(address, Kind::Storage)?;
        let account = StorageAccount::open(&path, entry.id, entry.protection, wrapper)?;
        // Or commands that have no key would go by what is not so.
        match account.objects() == entry.objects.as_ref() {
            true => Ok(account),
            false => Err(WorldError::Malformed {
                path: self.dir().join(CONFIG).display().to_string(),
                why: format!("says otherwise than {address} does where its bytes are"),
            }),
        }
    }

    /// Takes over the objects of a storage account that was moved here, and says where they are.
    pub fn claim_storage(&self, address: &ResourceAddress) -> Result<ObjectsUrl, WorldError> {
        let (path, entry) = self.find(address, Kind::Storage)?;
        Ok(StorageAccount::claim(
            &path,
            entry.id,
            entry.protection,
            &self.wrapper_at(address)?,
            &mut Objects::connect,
        )?)
    }

    /// Opens a resource of either kind.
    pub fn open_resource(
        &self,
        address: &ResourceAddress,
    ) -> Result<Box<dyn ProtectedResource>, WorldError> {
        Ok(match address.kind {
            Kind::Sql => Box::new(self.open_sql(address)?),
            Kind::Storage => Box::new(self.open_storage(address)?),
        })
    }

    /// Whether the resource's data can be read now: it opens, and the vault gives its key.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_access(&self, address: &ResourceAddress) -> Result<(), WorldError> {
        self.check_access_through(address, &self.wrapper_at(address)?)
    }

    /// The same, through `wrapper`.
    pub(super) fn check_access_through(
        &self,
        address: &ResourceAddress,
        wrapper: &Wrapper,
    ) -> Result<(), WorldError> {
        match address.kind {
            Kind::Sql => self.open_sql_through(address, wrapper).map(drop),
            // A storage account opens, and lists, without its customer's key.
            Kind::Storage => {
                let account = self.open_storage_through(address, wrapper)?;
                key_is_given(&account, wrapper)
            }
        }
    }

    fn find(
        &self,
        address: &ResourceAddress,
        kind: Kind,
    ) -> Result<(PathBuf, ResourceEntry), WorldError> {
        of_kind(address, kind)?;
        let (address, entry) = self.resource(address)?;
        Ok((self.resolved_path(&address), entry))
    }

    /// Makes a resource with `make` and lists it. When either fails, nothing of it is left.
    fn add<T>(
        &self,
        address: &ResourceAddress,
        kind: Kind,
        protection: Protection,
        make: impl FnOnce(&Path, ResourceId) -> Result<T, ResourceError>,
    ) -> Result<T, WorldError> {
        self.add_at(address, kind, (protection, None), make)
    }

    /// The same, and notes how it is protected, and where its bytes are when they are objects.
    fn add_at<T>(
        &self,
        address: &ResourceAddress,
        kind: Kind,
        (protection, objects): (Protection, Option<&ObjectsUrl>),
        make: impl FnOnce(&Path, ResourceId) -> Result<T, ResourceError>,
    ) -> Result<T, WorldError> {
        of_kind(address, kind)?;
        let mut changing = self.begin()?;
        let address = self.vacant(&changing.config, address)?;
        let path = self.resolved_path(&address);
        let id = random_id(ResourceId::from_bytes);
        let made = make(&path, id).map_err(WorldError::from).and_then(|made| {
            list(
                &mut changing.config,
                &address,
                ResourceEntry {
                    kind,
                    name: address.name.clone(),
                    id,
                    protection,
                    pending: None,
                    objects: objects.cloned(),
                },
            )?;
            changing.save()?;
            Ok(made)
        });
        if made.is_err() {
            remove(kind, &path);
        }
        made
    }

    /// The resolved address, of which neither the configuration nor the disk knows anything yet;
    /// the directory around it exists after this.
    pub(super) fn vacant(
        &self,
        config: &Config,
        address: &ResourceAddress,
    ) -> Result<ResourceAddress, WorldError> {
        let address = config.resolve(address)?;
        let path = self.resolved_path(&address);
        if config.entry(&address).is_some() {
            return Err(WorldError::Exists(address.to_string()));
        }
        if path.symlink_metadata().is_ok() {
            return Err(WorldError::Exists(path.display().to_string()));
        }
        let parent = path.parent().expect("inside the working directory");
        create_dir_private(parent).map_err(|e| WorldError::io(parent, e))?;
        Ok(address)
    }
}

fn of_kind(address: &ResourceAddress, kind: Kind) -> Result<(), WorldError> {
    if address.kind == kind {
        return Ok(());
    }
    let wanted = match kind {
        Kind::Sql => "SQL database",
        Kind::Storage => "storage account",
    };
    Err(WorldError::Usage(format!("{address} is no {wanted}")))
}

/// Adds a resource to the environment of its resolved address.
pub(super) fn list(
    config: &mut Config,
    address: &ResourceAddress,
    entry: ResourceEntry,
) -> Result<(), WorldError> {
    let environment = address.environment.as_ref().expect("a resolved address");
    config.environment_mut(environment)?.resources.push(entry);
    Ok(())
}

/// Removes the files of a resource, as far as there are any.
pub(super) fn remove(kind: Kind, path: &Path) {
    match kind {
        Kind::Storage => {
            let _ = fs::remove_dir_all(path);
        }
        Kind::Sql => {
            discard_shared_memory(path);
            for file in sql_files(path) {
                let _ = fs::remove_file(file);
            }
        }
    }
}

/// Every file that SQLite may have made for the database at `path`.
pub(super) fn sql_files(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-journal", "-shm"].map(|ending| beside(path, ending))
}

/// Whether the vault gives the key of a storage account, which opens, and lists, without it.
pub(super) fn key_is_given(account: &StorageAccount, through: &Wrapper) -> Result<(), WorldError> {
    if let Some(envelope) = account.envelope() {
        let opened = envelope.open(&**through, ResourceKind::Storage, account.id());
        opened.map_err(|e| ResourceError::envelope(account.dir(), &e))?;
    }
    Ok(())
}
