use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::base::{BadVaultName, Clock, EpochId, KeyRef, KeyVersionRef, VaultId, VaultName};
use crate::crypto::{Secret, SecretBytes, WrapAlgorithm};
use crate::sqlite::Position;
use crate::vault::{
    Cryptography, Epoch, EpochKeeper, KeyVault, KeyWrapper, LocalVault, RemoteOptions, RemoteVault,
    RootKeyKind, RootKeySource, VaultError, WrappedKey, revision,
};

use super::config::Config;

/// Asks for the passphrase of a vault; the error says why there is none.
pub type AskPassphrase = Arc<dyn Fn(&WhichVault) -> Result<SecretBytes, String> + Send + Sync>;

/// A vault of a working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichVault {
    /// The customer's: customer-managed keys.
    Customer,
    /// The provider's: the service-managed key.
    Provider,
    /// Another one of the customer's.
    Further(VaultName),
}

impl WhichVault {
    /// Its directory, inside the working directory.
    pub fn dir(&self, workspace: &Path) -> PathBuf {
        match self {
            Self::Customer => workspace.join(CUSTOMER),
            Self::Provider => workspace.join(PROVIDER),
            Self::Further(name) => workspace.join("vaults").join(name.as_str()),
        }
    }

    /// Its name in the working directory.
    pub fn name(&self) -> &str {
        match self {
            Self::Customer => CUSTOMER,
            Self::Provider => PROVIDER,
            Self::Further(name) => name.as_str(),
        }
    }

    /// Its key file, when its root key is in one.
    pub fn key_file(&self, workspace: &Path) -> PathBuf {
        self.dir(workspace).join("root.key")
    }
}

const CUSTOMER: &str = "customer";
const PROVIDER: &str = "provider";

impl FromStr for WhichVault {
    type Err = BadVaultName;
    fn from_str(s: &str) -> Result<Self, BadVaultName> {
        let name: VaultName = s.parse()?;
        Ok(match name.as_str() {
            CUSTOMER => Self::Customer,
            PROVIDER => Self::Provider,
            _ => Self::Further(name),
        })
    }
}

impl fmt::Display for WhichVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a vault is for those who reach it through a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VaultKind {
    /// A key vault: keys and secrets, at NAME.vault.azure.net.
    Vault,
    /// A managed HSM: keys, at NAME.managedhsm.azure.net. What it promises of its hardware is simulated.
    ManagedHsm,
}

/// A vault, wherever it is.
pub trait AnyVault: KeyVault + EpochKeeper + Cryptography {}

impl<T: KeyVault + EpochKeeper + Cryptography> AnyVault for T {}

/// All vaults as one [`KeyWrapper`]: a key's vault identifier says which of them is asked. Each is
/// opened when it is first needed, so that what needs no key asks for no passphrase.
pub struct VaultSet {
    dir: PathBuf,
    slots: RwLock<Vec<Arc<Slot>>>,
    /// Where the customer's vault is asked instead.
    server: OnceLock<Server>,
    ask: AskPassphrase,
    /// Whether nobody is asked any more.
    silent: AtomicBool,
    clock: Arc<dyn Clock>,
}

struct Server {
    options: RemoteOptions,
    opened: Mutex<Option<RemoteVault>>,
}

struct Slot {
    which: WhichVault,
    id: VaultId,
    kind: VaultKind,
    opened: Mutex<Option<LocalVault>>,
}

fn slots(config: &Config) -> Vec<Arc<Slot>> {
    let slot = |(which, id, kind)| {
        Arc::new(Slot {
            which,
            id,
            kind,
            opened: Mutex::new(None),
        })
    };
    config.vaults().map(slot).collect()
}

impl VaultSet {
    /// The vaults of the working directory `dir`, which must have the identities that `config` says.
    pub(super) fn new(
        dir: &Path,
        config: &Config,
        ask: AskPassphrase,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            dir: dir.to_owned(),
            slots: RwLock::new(slots(config)),
            server: OnceLock::new(),
            ask,
            silent: AtomicBool::new(false),
            clock,
        }
    }

    /// From now on the customer's vault is asked through a server: its directory is not touched.
    pub(super) fn through(&self, options: RemoteOptions) {
        let opened = Mutex::new(None);
        let _ = self.server.set(Server { options, opened });
    }

    /// The URL of the server through which the customer's vault is asked, when it is.
    pub fn server(&self) -> Option<&str> {
        let server = self.server.get();
        server.map(|server| server.options.url.as_str())
    }

    /// One of them, open here. One that was sealed and unsealed meanwhile is opened again when a key file
    /// leads to it; what it takes a passphrase to open stays sealed for this process.
    ///
    /// # Errors
    /// The vault's; [`VaultError::VaultNotFound`]; [`VaultError::BadParameter`] when there is no
    /// passphrase to be had; [`VaultError::Conflict`] when another vault lies in its place.
    pub fn vault(&self, which: &WhichVault) -> Result<LocalVault, VaultError> {
        if *which == WhichVault::Customer
            && let Some(url) = self.server()
        {
            return Err(VaultError::BadParameter(format!(
                "the customer's vault is asked through {url}, and this is done where it lies: do it there, \
                 or without --vault-url and ATREST_VAULT_URL (`--vault-url=` overrides the variable)"
            )));
        }
        match self.slot(|slot| slot.which == *which) {
            Some(slot) => self.open(&slot),
            None => Err(VaultError::VaultNotFound(which.to_string())),
        }
    }

    /// Opens the vaults that take a passphrase and are not sealed, and asks for none from then on: whoever
    /// answers others does not wait for somebody at a terminal. What could not be opened is given back, and
    /// counts as sealed.
    pub(super) fn ask_no_more(&self) -> Vec<(WhichVault, VaultError)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.clone();
        let asks = |slot: &&Arc<Slot>| {
            let record = LocalVault::root_record(&slot.which.dir(&self.dir));
            record.is_ok_and(|record| !record.sealed && record.kind() != RootKeyKind::KeyFile)
        };
        let failed = slots.iter().filter(asks).filter_map(|slot| {
            let cause = self.open(slot).err()?;
            Some((slot.which.clone(), cause))
        });
        let failed = failed.collect();
        self.silent.store(true, Ordering::Release);
        failed
    }

    /// Its kind, where there is such a one.
    pub(super) fn kind(&self, which: &WhichVault) -> Option<VaultKind> {
        Some(self.slot(|slot| slot.which == *which)?.kind)
    }

    /// Takes over a vault that is open already.
    pub(super) fn adopt(&self, which: &WhichVault, vault: LocalVault) {
        if let Some(slot) = self.slot(|slot| slot.which == *which) {
            *slot.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(vault);
        }
    }

    /// The one that `is` says. Another process may have made it since the configuration was read.
    fn slot(&self, is: impl Fn(&Slot) -> bool) -> Option<Arc<Slot>> {
        let known = |slots: &[Arc<Slot>]| slots.iter().find(|slot| is(slot)).cloned();
        let found = known(&self.slots.read().unwrap_or_else(PoisonError::into_inner));
        if found.is_some() {
            return found;
        }
        let now = slots(&Config::read(&self.dir).ok()?);
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        for slot in now {
            if !slots.iter().any(|known| known.which == slot.which) {
                slots.push(slot);
            }
        }
        known(&slots)
    }

    fn open(&self, slot: &Slot) -> Result<LocalVault, VaultError> {
        let mut opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed_meanwhile = match &*opened {
            Some(vault) if !vault.has_met_a_seal() => return Ok(vault.clone()),
            handle => handle.is_some(),
        };
        let dir = slot.which.dir(&self.dir);
        let record = LocalVault::root_record(&dir)?;
        if record.vault != slot.id {
            return Err(VaultError::Conflict(format!(
                "{} holds another vault ({}) than the working directory was made with ({}); \
                 put the right one back",
                dir.display(),
                record.vault,
                slot.id
            )));
        }
        let silent = sealed_meanwhile || self.silent.load(Ordering::Acquire);
        let root = match record.kind() {
            // Nobody is asked for a passphrase in the middle of work, and no use is answered at the
            // price of a stretched one.
            kind if silent && (record.sealed || kind != RootKeyKind::KeyFile) => {
                return Err(VaultError::Sealed);
            }
            RootKeyKind::KeyFile => RootKeySource::KeyFile(slot.which.key_file(&self.dir)),
            RootKeyKind::Passphrase { .. } => RootKeySource::Passphrase(
                (self.ask)(&slot.which).map_err(VaultError::BadParameter)?,
            ),
        };
        let vault = LocalVault::open(&dir, &root, self.clock.clone())?;
        *opened = Some(vault.clone());
        Ok(vault)
    }

    /// One of them for the administration of its keys, which is recorded in the name of `caller`; that
    /// of a server, in the name that it knows the client by.
    ///
    /// # Errors
    /// Those of [`VaultSet::vault`], and of [`RemoteVault::open`].
    pub fn keys(&self, which: &WhichVault, caller: &str) -> Result<Box<dyn AnyVault>, VaultError> {
        match (which, self.server.get()) {
            (WhichVault::Customer, Some(server)) => Ok(Box::new(self.reach(server)?)),
            _ => Ok(Box::new(self.vault(which)?.acting_as(caller))),
        }
    }

    /// Nobody waits for another who does not reach it.
    fn reach(&self, server: &Server) -> Result<RemoteVault, VaultError> {
        let opened = || server.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = &*opened() {
            return Ok(vault.clone());
        }
        let vault = RemoteVault::open(&server.options)?;
        if !self.is_customers(vault.id()) {
            return Err(VaultError::Conflict(format!(
                "{} keeps another vault ({}) than the working directory was made with; \
                 name the right one",
                vault.url(),
                vault.id(),
            )));
        }
        Ok(opened().get_or_insert(vault).clone())
    }

    fn is_customers(&self, vault: VaultId) -> bool {
        let slot = self.slot(|slot| slot.id == vault);
        slot.is_some_and(|slot| slot.which == WhichVault::Customer)
    }

    fn of(&self, vault: VaultId, key: &dyn fmt::Display) -> Result<Box<dyn AnyVault>, VaultError> {
        if let Some(server) = self.server.get()
            && self.is_customers(vault)
        {
            return Ok(Box::new(self.reach(server)?));
        }
        match self.slot(|slot| slot.id == vault) {
            Some(slot) => Ok(Box::new(self.open(&slot)?)),
            None => Err(VaultError::KeyNotFound(key.to_string())),
        }
    }
}

impl KeyWrapper for VaultSet {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.of(key.vault, key)?.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.of(key.vault, key)?.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        revision()
    }
}

impl EpochKeeper for VaultSet {
    fn epoch(&self, vault: VaultId, id: EpochId) -> Result<Option<Epoch>, VaultError> {
        self.of(vault, &vault)?.epoch(vault, id)
    }

    fn set_epoch(&self, vault: VaultId, id: EpochId, epoch: &Epoch) -> Result<(), VaultError> {
        self.of(vault, &vault)?.set_epoch(vault, id, epoch)
    }

    fn advance_epoch(
        &self,
        vault: VaultId,
        id: EpochId,
        position: &Position,
    ) -> Result<(), VaultError> {
        self.of(vault, &vault)?.advance_epoch(vault, id, position)
    }
}
