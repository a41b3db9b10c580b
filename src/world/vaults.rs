//! The vaults of a working directory: which there are, and one more.

use std::fs;

use crate::base::{Clock, KeyName, KeyRef, VaultId, VaultName, create_dir_private, sync_names};
use crate::crypto::SecretBytes;
use crate::vault::{KeyVault, LocalVault, RootKeySource, VaultError, VaultSettings};

use super::config::FurtherVault;
use super::{VaultKind, WhichVault, Workspace, WorldError};

/// A key of the customer's, as it is named on the command line: `KEY`, in the customer's vault, or
/// `VAULT/KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// The vault.
    pub vault: WhichVault,
    /// The key in it.
    pub key: KeyName,
}

impl std::str::FromStr for NamedKey {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (vault, key) = match s.split_once('/') {
            None => (WhichVault::Customer, s),
            Some((vault, key)) => (vault.parse().map_err(|e| format!("{e}"))?, key),
        };
        if vault == WhichVault::Provider {
            return Err("a key of the provider's is no customer-managed key".into());
        }
        let key = key.parse().map_err(|e| format!("{e}"))?;
        Ok(Self { vault, key })
    }
}

/// What a further vault shall be.
pub struct NewVault {
    /// What is fixed for it.
    pub settings: VaultSettings,
    /// The passphrase that it is sealed under; a key file beside it when `None`.
    pub passphrase: Option<SecretBytes>,
    /// What it is for those who reach it through a server.
    pub kind: VaultKind,
}

impl Workspace {
    /// Every vault, its identity and its kind: the customer's, the provider's, and the further ones in the order
    /// in which they were made.
    pub fn vaults(&self) -> Result<Vec<(WhichVault, VaultId, VaultKind)>, WorldError> {
        Ok(self.read_config()?.vaults().collect())
    }

    /// The identity of one.
    ///
    /// # Errors
    /// [`VaultError::VaultNotFound`].
    pub fn identity_of(&self, vault: &WhichVault) -> Result<VaultId, WorldError> {
        let named = |(which, ..): &(WhichVault, VaultId, VaultKind)| which == vault;
        // The identity of a vault that is known here never changes; another process may have made more.
        let found = match self.config().vaults().find(named) {
            None => self.vaults()?.into_iter().find(named),
            known => known,
        };
        let (_, id, _) = found.ok_or_else(|| VaultError::VaultNotFound(vault.to_string()))?;
        Ok(id)
    }

    /// Makes a further vault of the customer's.
    ///
    /// # Errors
    /// [`WorldError::Exists`]; those of [`LocalVault::create`]. No file of it is left then.
    pub fn create_vault(
        &self,
        name: &VaultName,
        new: NewVault,
        clock: std::sync::Arc<dyn Clock>,
    ) -> Result<LocalVault, WorldError> {
        let which: WhichVault = name
            .as_str()
            .parse()
            .map_err(|e| WorldError::Usage(format!("{e}")))?;
        let mut changing = self.begin()?;
        let dir = which.dir(self.dir());
        if changing.config.vaults().any(|(known, ..)| known == which) {
            return Err(WorldError::Exists(format!("the vault {name}")));
        }
        // Of a creation that ended before it was listed, or put there by somebody: not ours to remove.
        if dir.exists() {
            return Err(WorldError::Usage(format!(
                "{} is in the way: a vault that is not listed; move it elsewhere, or choose another name",
                dir.display()
            )));
        }
        // Half a vault never lies in its place: it is made beside it. No vault's name has a dot.
        let beside = dir.with_extension("new");
        let parent = dir.parent().expect("it lies in one");
        create_dir_private(parent).map_err(|e| WorldError::io(parent, e))?;
        match fs::remove_dir_all(&beside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(WorldError::io(&beside, e));
            }
            _ => {}
        }
        let root = match new.passphrase {
            Some(passphrase) => RootKeySource::Passphrase(passphrase),
            None => RootKeySource::KeyFile(beside.join("root.key")),
        };
        let made = LocalVault::create(&beside, &root, &new.settings, clock.clone());
        if made.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        let id = made?.id();
        let root = match root {
            RootKeySource::KeyFile(_) => RootKeySource::KeyFile(which.key_file(self.dir())),
            passphrase => passphrase,
        };
        fs::rename(&beside, &dir)
            .and_then(|()| sync_names(&dir))
            .map_err(|e| WorldError::io(&dir, e))?;
        let vault = LocalVault::open(&dir, &root, clock)?;
        changing.config.vaults.push(FurtherVault {
            name: name.clone(),
            id,
            kind: new.kind,
        });
        changing.save()?;
        self.vault_set().adopt(&which, vault.clone());
        Ok(vault)
    }

    /// The key that `named` means; the one that new resources are put under when nothing is named.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when none is named and there is none; [`VaultError::VaultNotFound`].
    pub fn customer_key(&self, named: Option<&NamedKey>) -> Result<KeyRef, WorldError> {
        if let Some(NamedKey { vault, key }) = named {
            return Ok(KeyRef {
                vault: self.identity_of(vault)?,
                name: key.clone(),
            });
        }
        let config = self.config();
        let name = config.customer_key.clone().ok_or_else(|| {
            WorldError::Usage(
                "there is no customer key yet; make one with `atrest key create NAME` \
                 and name it with --key"
                    .into(),
            )
        })?;
        Ok(KeyRef {
            vault: config.customer_vault,
            name,
        })
    }
}
