use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{Clock, EpochId, KeyRef, KeyVersionRef, VaultId};
use crate::crypto::{Secret, SecretBytes, WrapAlgorithm};
use crate::sqlite::Position;
use crate::vault::{
    Epoch, EpochKeeper, KeyWrapper, LocalVault, RootKeyKind, RootKeySource, VaultError, WrappedKey,
    revision,
};

/// Asks for the passphrase of the customer's vault; the error says why there is none.
pub type AskPassphrase = Arc<dyn Fn() -> Result<SecretBytes, String> + Send + Sync>;

/// One of the two vaults of a working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichVault {
    /// The customer's: customer-managed keys.
    Customer,
    /// The provider's: the service-managed key.
    Provider,
}

impl WhichVault {
    /// Its directory, inside the working directory.
    pub fn dir(self, workspace: &Path) -> PathBuf {
        workspace.join(match self {
            Self::Customer => "customer",
            Self::Provider => "provider",
        })
    }

    /// Its key file, when its root key is in one.
    pub fn key_file(self, workspace: &Path) -> PathBuf {
        self.dir(workspace).join("root.key")
    }
}

/// Both vaults as one [`KeyWrapper`]: a key's vault identifier says which of them is asked. Each is
/// opened when it is first needed, so that what needs no key asks for no passphrase.
pub struct VaultSet {
    customer: Slot,
    provider: Slot,
    ask: AskPassphrase,
    clock: Arc<dyn Clock>,
}

struct Slot {
    id: VaultId,
    dir: PathBuf,
    key_file: PathBuf,
    opened: Mutex<Option<LocalVault>>,
}

impl VaultSet {
    /// The vaults of the working directory `dir`, which must have these identities.
    pub(super) fn new(
        dir: &Path,
        customer: VaultId,
        provider: VaultId,
        ask: AskPassphrase,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let slot = |which: WhichVault, id| Slot {
            id,
            dir: which.dir(dir),
            key_file: which.key_file(dir),
            opened: Mutex::new(None),
        };
        Self {
            customer: slot(WhichVault::Customer, customer),
            provider: slot(WhichVault::Provider, provider),
            ask,
            clock,
        }
    }

    /// One of them, open. One that was sealed and unsealed meanwhile is opened again when a key file
    /// leads to it; what it takes a passphrase to open stays sealed for this process.
    ///
    /// # Errors
    /// The vault's; [`VaultError::BadParameter`] when there is no passphrase to be had;
    /// [`VaultError::Conflict`] when another vault lies in its place.
    pub fn vault(&self, which: WhichVault) -> Result<LocalVault, VaultError> {
        match which {
            WhichVault::Customer => self.open(&self.customer),
            WhichVault::Provider => self.open(&self.provider),
        }
    }

    /// Takes over a vault that is open already.
    pub(super) fn adopt(&self, which: WhichVault, vault: LocalVault) {
        let slot = match which {
            WhichVault::Customer => &self.customer,
            WhichVault::Provider => &self.provider,
        };
        *slot.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(vault);
    }

    fn open(&self, slot: &Slot) -> Result<LocalVault, VaultError> {
        let mut opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed_meanwhile = match &*opened {
            Some(vault) if !vault.has_met_a_seal() => return Ok(vault.clone()),
            handle => handle.is_some(),
        };
        let record = LocalVault::root_record(&slot.dir)?;
        if record.vault != slot.id {
            return Err(VaultError::Conflict(format!(
                "{} holds another vault ({}) than the working directory was made with ({}); \
                 put the right one back",
                slot.dir.display(),
                record.vault,
                slot.id
            )));
        }
        let root = match record.kind() {
            // Nobody is asked for a passphrase in the middle of work, and no use is answered at the
            // price of a stretched one.
            kind if sealed_meanwhile && (record.sealed || kind != RootKeyKind::KeyFile) => {
                return Err(VaultError::Sealed);
            }
            RootKeyKind::KeyFile => RootKeySource::KeyFile(slot.key_file.clone()),
            RootKeyKind::Passphrase { .. } => {
                RootKeySource::Passphrase((self.ask)().map_err(VaultError::BadParameter)?)
            }
        };
        let vault = LocalVault::open(&slot.dir, &root, self.clock.clone())?;
        *opened = Some(vault.clone());
        Ok(vault)
    }

    fn of(&self, vault: VaultId, key: &dyn std::fmt::Display) -> Result<LocalVault, VaultError> {
        let slot = [&self.customer, &self.provider]
            .into_iter()
            .find(|slot| slot.id == vault);
        match slot {
            Some(slot) => self.open(slot),
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
