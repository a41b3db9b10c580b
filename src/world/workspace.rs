use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crate::base::{Clock, KeyName, KeyRef, Stamp, VaultId, create_dir_private};
use crate::crypto::{KeyKind, SecretBytes};
use crate::resource::{Protection, Wrapper};
use crate::vault::{
    KeySpec, KeyVault, LocalVault, RemoteOptions, RootKeySource, VaultError, VaultSettings,
};

use super::config::{CONFIG, Config, Current, Environment};
use super::landscape::Store;
use super::lock::{ChangeLock, LOCK};
use super::{
    AnyVault, AskPassphrase, Kind, Name, ResourceAddress, ResourceEntry, VaultKind, VaultSet,
    WhichVault, WorldError,
};

/// The name of the service-managed key in the provider's vault.
const SERVICE_MANAGED: &str = "service-managed";
/// Where environments are, in the working directory.
pub(super) const ENVIRONMENTS: &str = "environments";

/// Where backups of environments are, in the working directory.
pub const BACKUPS: &str = "backups";

/// What a new working directory shall have.
pub struct InitOptions {
    /// Its first environment.
    pub environment: Name,
    /// The customer's key to make, and its kind; `None` to leave everything service-managed.
    pub customer_key: Option<(KeyName, KeyKind)>,
    /// The passphrase that the customer's vault is sealed under; a key file when `None`.
    pub passphrase: Option<SecretBytes>,
    /// What is fixed for the customer's vault.
    pub vault: VaultSettings,
}

/// A working directory, open.
pub struct Workspace {
    dir: PathBuf,
    pub(super) vaults: Arc<VaultSet>,
    config: RwLock<Current>,
    pub(super) landscape: OnceLock<Arc<Store>>,
}

impl Workspace {
    /// Makes a working directory in `dir`, which must be missing or empty. When it fails, what it
    /// made is removed again.
    pub fn init(
        dir: &Path,
        options: InitOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WorldError> {
        let existed = dir.exists();
        if !is_vacant(dir)? {
            return Err(WorldError::NotEmpty(dir.display().to_string()));
        }
        create_dir_private(dir).map_err(|e| WorldError::io(dir, e))?;
        // Looked at again under the lock, and only under it is anything removed: another process
        // may be making a working directory here, or have just made one.
        let _lock = ChangeLock::take(dir, LOCK)?;
        if !is_vacant(dir)? {
            return Err(WorldError::NotEmpty(dir.display().to_string()));
        }
        let made = Self::fill(dir, options, clock);
        if made.is_err() {
            let _ = match existed {
                false => fs::remove_dir_all(dir),
                true => empty(dir),
            };
        }
        made
    }

    fn fill(dir: &Path, options: InitOptions, clock: Arc<dyn Clock>) -> Result<Self, WorldError> {
        let root = match options.passphrase {
            Some(passphrase) => RootKeySource::Passphrase(passphrase),
            None => RootKeySource::KeyFile(WhichVault::Customer.key_file(dir)),
        };
        let vault_dir = WhichVault::Customer.dir(dir);
        let customer = LocalVault::create(&vault_dir, &root, &options.vault, clock.clone())?;
        let root = RootKeySource::KeyFile(WhichVault::Provider.key_file(dir));
        let settings = VaultSettings {
            retention_days: 90,
            purge_protection: true,
        };
        let vault_dir = WhichVault::Provider.dir(dir);
        let provider = LocalVault::create(&vault_dir, &root, &settings, clock.clone())?;
        provider.create_key(&service_managed(), &KeySpec::new(KeyKind::Oct256))?;

        let mut config = Config::new(customer.id(), provider.id());
        if let Some((name, kind)) = options.customer_key {
            customer.create_key(&name, &KeySpec::new(kind))?;
            config.customer_key = Some(name);
        }
        let environment = dir.join(ENVIRONMENTS).join(options.environment.as_str());
        create_dir_private(&environment).map_err(|e| WorldError::io(&environment, e))?;
        config.environments.push(Environment {
            name: options.environment,
            resources: Vec::new(),
        });
        config.write(dir)?;
        let ask: AskPassphrase = Arc::new(|_| Err("the vault is open already".into()));
        let workspace = Self::with(dir, config, ask, clock);
        workspace.vaults.adopt(&WhichVault::Customer, customer);
        workspace.vaults.adopt(&WhichVault::Provider, provider);
        Ok(workspace)
    }

    /// Opens the working directory `dir`. No vault is opened before it is needed; `ask` is called
    /// when the customer's is then sealed under a passphrase.
    pub fn open(dir: &Path, ask: AskPassphrase, clock: Arc<dyn Clock>) -> Result<Self, WorldError> {
        let config = Config::read(dir)?;
        let workspace = Self::with(dir, config, ask, clock);
        workspace.settle()?;
        Ok(workspace)
    }

    fn with(dir: &Path, config: Config, ask: AskPassphrase, clock: Arc<dyn Clock>) -> Self {
        Self {
            dir: dir.to_owned(),
            vaults: Arc::new(VaultSet::new(dir, &config, ask, clock)),
            config: RwLock::new(Current::new(config, None)),
            landscape: OnceLock::new(),
        }
    }

    /// The innermost working directory that the file at `path` lies in.
    pub fn around(path: &Path) -> Option<&Path> {
        path.ancestors()
            .skip(1)
            .find(|dir| dir.join(CONFIG).is_file())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// From now on the customer's vault is asked through a server: its directory is not touched, and may
    /// be absent.
    pub fn through(self, server: RemoteOptions) -> Self {
        self.vaults.through(server);
        self
    }

    /// The URL of the server through which the customer's vault is asked, when it is.
    pub fn server(&self) -> Option<&str> {
        self.vaults.server()
    }

    /// One of the vaults for the administration of its keys, recorded in the name of `caller`
    /// ([`VaultSet::keys`]).
    pub fn keys(&self, which: &WhichVault, caller: &str) -> Result<Box<dyn AnyVault>, VaultError> {
        self.vaults.keys(which, caller)
    }

    /// The identity of the customer's vault.
    pub fn customer_vault(&self) -> VaultId {
        self.config().customer_vault
    }

    /// One of the vaults, open here.
    pub fn vault(&self, which: &WhichVault) -> Result<LocalVault, VaultError> {
        self.vaults.vault(which)
    }

    /// Opens the vaults that take a passphrase, and asks for none from then on. Gives those that could not
    /// be opened: they count as sealed.
    pub fn ask_no_more(&self) -> Vec<(WhichVault, VaultError)> {
        self.vaults.ask_no_more()
    }

    /// A vault's kind, where there is such a one by now, made by whichever process.
    pub fn vault_kind(&self, which: &WhichVault) -> Option<VaultKind> {
        self.vaults.kind(which)
    }

    /// What resources reach the vaults through.
    pub fn wrapper(&self) -> Wrapper {
        self.vaults.clone()
    }

    pub(super) fn vault_set(&self) -> Arc<VaultSet> {
        self.vaults.clone()
    }

    /// The provider's key.
    pub fn service_key(&self) -> KeyRef {
        KeyRef {
            vault: self.config().provider_vault,
            name: service_managed(),
        }
    }

    /// How a resource is protected when nothing is said: by the customer's key where there is one,
    /// else by the provider's.
    pub fn default_protection(&self) -> Protection {
        match self.customer_key(None) {
            Ok(key) => Protection::CustomerManaged { key },
            Err(_) => Protection::ServiceManaged {
                key: self.service_key(),
            },
        }
    }

    /// Reads the configuration anew where another process has changed it: a look at the file, else.
    pub fn reload(&self) -> Result<(), WorldError> {
        if self.current().is_newest(&self.dir) {
            return Ok(());
        }
        let (config, seen) = Config::read_seen(&self.dir)?;
        self.adopt(config, seen);
        Ok(())
    }

    /// The environments.
    pub fn environments(&self) -> Vec<Name> {
        let config = self.config();
        config.environments.iter().map(|e| e.name.clone()).collect()
    }

    /// Every resource, in the order in which they were made, by environment.
    pub fn resources(&self) -> Vec<(ResourceAddress, ResourceEntry)> {
        let config = self.config();
        let of = |environment: &Environment| {
            let name = environment.name.clone();
            let address = move |entry: &ResourceEntry| ResourceAddress {
                environment: Some(name.clone()),
                kind: entry.kind,
                name: entry.name.clone(),
            };
            let resources = environment.resources.clone();
            resources.into_iter().map(move |r| (address(&r), r))
        };
        config.environments.iter().flat_map(of).collect()
    }

    /// The resources of this kind and name, one in an environment.
    pub fn named(&self, kind: Kind, name: &str) -> Vec<(ResourceAddress, ResourceEntry)> {
        let config = self.config();
        let of = |environment: &Environment| {
            let mut found = environment.resources.iter();
            let entry = found.find(|entry| entry.kind == kind && entry.name.as_str() == name)?;
            let address = ResourceAddress {
                environment: Some(environment.name.clone()),
                kind,
                name: entry.name.clone(),
            };
            Some((address, entry.clone()))
        };
        config.environments.iter().filter_map(of).collect()
    }

    /// The resource at `address`, and the address with its environment filled in.
    pub fn resource(
        &self,
        address: &ResourceAddress,
    ) -> Result<(ResourceAddress, ResourceEntry), WorldError> {
        let config = self.config();
        let address = config.resolve(address)?;
        let entry = config.entry(&address).cloned();
        let entry = entry.ok_or_else(|| WorldError::NoResource(address.to_string()))?;
        Ok((address, entry))
    }

    /// Where the file of a SQL database or the directory of a storage account is.
    pub fn path(&self, address: &ResourceAddress) -> Result<PathBuf, WorldError> {
        Ok(self.resolved_path(&self.config().resolve(address)?))
    }

    /// The SQL database whose main file is the one at `file`.
    pub fn sql_at(&self, file: &Path) -> Option<ResourceAddress> {
        let file = file.canonicalize().ok()?;
        let addresses = self.resources().into_iter().map(|(address, _)| address);
        addresses
            .filter(|address| address.kind == Kind::Sql)
            .find(|address| {
                let path = self.resolved_path(address).canonicalize();
                path.is_ok_and(|path| path == file)
            })
    }

    /// What somebody who takes the data's disks gets: files and directories, everything in the
    /// latter. Never the vaults.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when a storage account keeps its bytes elsewhere.
    pub fn at_rest(&self) -> Result<Vec<PathBuf>, WorldError> {
        for (_, entry) in self.resources() {
            entry.insist_on_files("a theft")?;
        }
        let mut all = vec![self.dir.join(CONFIG), self.dir.join(ENVIRONMENTS)];
        let backups = self.dir.join(BACKUPS);
        if backups.is_dir() {
            all.push(backups);
        }
        Ok(all)
    }

    pub(super) fn resolved_path(&self, address: &ResourceAddress) -> PathBuf {
        let environment = address.environment.as_ref().expect("a resolved address");
        resource_path(&self.dir, environment, address.kind, &address.name)
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.current().config.clone()
    }

    fn current(&self) -> RwLockReadGuard<'_, Current> {
        self.config.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, config: Config, seen: Option<Stamp>) {
        let current = Current::new(config, seen);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// As it is on the disk now.
    pub(super) fn read_config(&self) -> Result<Config, WorldError> {
        Config::read(&self.dir)
    }

    /// Begins a change of the configuration: it is read afresh, and no other process can change it
    /// until this is dropped.
    pub(super) fn begin(&self) -> Result<Changing<'_>, WorldError> {
        let lock = ChangeLock::take(&self.dir, LOCK)?;
        Ok(Changing {
            workspace: self,
            config: Config::read(&self.dir)?,
            _lock: lock,
        })
    }
}

/// The configuration while it is being changed.
pub(super) struct Changing<'a> {
    workspace: &'a Workspace,
    pub(super) config: Config,
    _lock: ChangeLock,
}

impl Changing<'_> {
    /// Writes it as it is now.
    pub(super) fn save(&self) -> Result<(), WorldError> {
        self.config.write(&self.workspace.dir)?;
        self.workspace.adopt(self.config.clone(), None);
        Ok(())
    }
}

/// Where a resource is below `root`, a working directory or a copy of one.
pub(super) fn resource_path(root: &Path, environment: &Name, kind: Kind, name: &Name) -> PathBuf {
    let kind_dir = root
        .join(ENVIRONMENTS)
        .join(environment.as_str())
        .join(kind.to_string());
    match kind {
        Kind::Sql => kind_dir.join(format!("{name}.db")),
        Kind::Storage => kind_dir.join(name.as_str()),
    }
}

fn service_managed() -> KeyName {
    SERVICE_MANAGED.parse().expect("a key name")
}

/// Whether `dir` is missing or holds nothing but the lock.
fn is_vacant(dir: &Path) -> Result<bool, WorldError> {
    let failed = |e| WorldError::io(dir, e);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        if entry.map_err(failed)?.file_name() != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes what is in `dir`, and leaves `dir`.
fn empty(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}
