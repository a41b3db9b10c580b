use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, RwLock};

use crate::base::{KeyRef, ResourceId};
use crate::crypto::{Label, Secret, derive};
use crate::envelope::{Envelope, EnvelopeError, Lease, ResourceKind};
use crate::resource::{ResourceError, Wrapper};
use crate::sqlite::{KeySource, KeyUnavailable};
use crate::vault::VaultError;

use super::AccountHeader;

/// Which of an account's two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chain {
    /// The account key, wrapped by the customer's key.
    Account,
    /// The catalog's key, wrapped by the service's key.
    Catalog,
}

impl Chain {
    /// What the envelope of this key says it is for.
    pub(super) fn kind(self) -> ResourceKind {
        match self {
            Self::Account => ResourceKind::Storage,
            Self::Catalog => ResourceKind::StorageCatalog,
        }
    }

    fn envelope(self, header: AccountHeader) -> Envelope {
        match self {
            Self::Account => header.account,
            Self::Catalog => header.catalog,
        }
    }
}

/// One of an account's keys, under a lease that is acquired at the first use. The account's header is read
/// again whenever the vault is asked, and at each use once it refused: the key may have been rewrapped
/// meanwhile, by this process or by another. It stays the same key: an envelope with another one, which whoever
/// has the public half of an RSA key can make, is refused.
pub(super) struct HeldKey {
    header: PathBuf,
    account: ResourceId,
    chain: Chain,
    wrapper: Wrapper,
    held: RwLock<Held>,
    commitment: OnceLock<[u8; 32]>,
}

struct Held {
    lease: Option<Arc<Lease>>,
    /// Added to the lease's own number, since a new lease counts from 0 again.
    base: u64,
}

impl HeldKey {
    /// The key of `chain` in the account header at `header`.
    pub(super) fn new(header: &Path, account: ResourceId, chain: Chain, wrapper: &Wrapper) -> Self {
        Self {
            header: header.to_owned(),
            account,
            chain,
            wrapper: wrapper.clone(),
            held: RwLock::new(Held {
                lease: None,
                base: 0,
            }),
            commitment: OnceLock::new(),
        }
    }

    /// From now on no other key than the one with this commitment is used; without this, no other
    /// than the first.
    pub(super) fn expect(&self, commitment: [u8; 32]) {
        let _ = self.commitment.set(commitment);
    }

    /// Whether the key may be used now. Returns a number that changes whenever keys derived
    /// earlier must be dropped. Costs next to nothing while the vault allows it.
    pub(super) fn check(&self) -> Result<u64, ResourceError> {
        self.lease().map(|(number, _)| number)
    }

    /// Uses the key, when the vault allows it.
    pub(super) fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, ResourceError> {
        let (_, lease) = self.lease()?;
        lease.with_key(use_key).map_err(|e| self.refused(&e))
    }

    /// Drops the lease, so that the next use reads the header again.
    pub(super) fn reload(&self) {
        let mut held = self.held.write().expect("no holder of this lock can panic");
        held.lease = None;
        held.base += 1 << 32;
    }

    fn lease(&self) -> Result<(u64, Arc<Lease>), ResourceError> {
        {
            let held = self.held.read().expect("no holder of this lock can panic");
            if let Some(lease) = &held.lease
                && let Ok(number) = lease.check()
            {
                return Ok((held.base + number, lease.clone()));
            }
        }
        let envelope = self.chain.envelope(AccountHeader::read(&self.header)?);
        let mut held = self.held.write().expect("no holder of this lock can panic");
        if let Some(lease) = &held.lease
            && lease.envelope() == envelope
        {
            let number = lease.check().map_err(|e| self.refused(&e))?;
            return Ok((held.base + number, lease.clone()));
        }
        let (kind, wrapper) = (self.chain.kind(), self.wrapper.clone());
        let lease =
            Lease::acquire(envelope, kind, self.account, wrapper).map_err(|e| self.refused(&e))?;
        let (chain, header) = (self.chain, self.header.clone());
        let newest = move || AccountHeader::read(&header).ok().map(|h| chain.envelope(h));
        let lease = lease.following(Box::new(newest));
        let offered = lease
            .with_key(|key| commitment(key, self.account))
            .map_err(|e| self.refused(&e))?;
        if *self.commitment.get_or_init(|| offered) != offered {
            return Err(self.refused(&EnvelopeError::Mismatch));
        }
        let lease = Arc::new(lease);
        held.lease = Some(lease.clone());
        held.base += 1 << 32;
        Ok((held.base, lease))
    }

    fn refused(&self, error: &EnvelopeError) -> ResourceError {
        let path = self.header.display().to_string();
        match error {
            EnvelopeError::Mismatch | EnvelopeError::Vault(VaultError::UnwrapFailed) => {
                ResourceError::Unauthentic { path }
            }
            EnvelopeError::Vault(e) => ResourceError::KeyUnavailable {
                path,
                why: e.to_string(),
            },
            EnvelopeError::Format(e) => ResourceError::Format {
                path,
                why: e.to_string(),
            },
        }
    }
}

/// A public name of an account's key, by which it is told from every other.
pub(super) fn commitment(key: &Secret<32>, account: ResourceId) -> [u8; 32] {
    *derive(key, Label::BlobAccount, &[account.as_bytes()]).expose()
}

/// The two keys of a protected account.
pub(super) struct AccountKeys {
    path: PathBuf,
    id: ResourceId,
    wrapper: Wrapper,
    account: HeldKey,
    catalog: Arc<HeldKey>,
}

impl AccountKeys {
    /// The keys of account `id`, whose header is at `path`. Asks for neither yet.
    pub(super) fn new(path: &Path, id: ResourceId, wrapper: &Wrapper) -> Self {
        Self {
            path: path.to_owned(),
            id,
            wrapper: wrapper.clone(),
            account: HeldKey::new(path, id, Chain::Account, wrapper),
            catalog: Arc::new(HeldKey::new(path, id, Chain::Catalog, wrapper)),
        }
    }

    /// The account key.
    pub(super) fn account(&self) -> &HeldKey {
        &self.account
    }

    /// The catalog's key.
    pub(super) fn catalog(&self) -> Arc<HeldKey> {
        self.catalog.clone()
    }

    /// Where the header is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The header as it is now.
    pub(super) fn header(&self) -> Result<AccountHeader, ResourceError> {
        AccountHeader::read(&self.path)
    }

    /// Writes a header with the same keys, wrapped anew: the account key by the newest version of
    /// `to`, the catalog's by the newest version of its own. From then on it is the one in use.
    pub(super) fn rewrap(
        &self,
        to: &KeyRef,
    ) -> Result<(AccountHeader, AccountHeader), ResourceError> {
        let old = self.header()?;
        let rewrap = |envelope: &Envelope, chain: Chain, to: &KeyRef| {
            let key = envelope.open(&*self.wrapper, chain.kind(), self.id)?;
            let (kind, wrapper) = (chain.kind(), &*self.wrapper);
            let new = Envelope::seal(wrapper, to, kind, self.id, &key)?;
            // The old envelope is given up for this one, which must open.
            new.open(wrapper, kind, self.id)?;
            Ok(new)
        };
        let refused = |e| ResourceError::envelope(&self.path, e);
        let new = AccountHeader {
            account: rewrap(&old.account, Chain::Account, to).map_err(refused)?,
            catalog: rewrap(&old.catalog, Chain::Catalog, &old.catalog.key.key())
                .map_err(refused)?,
        };
        new.write(&self.path)?;
        self.account.reload();
        self.catalog.reload();
        Ok((old, new))
    }
}

impl KeySource for HeldKey {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        HeldKey::check(self).map_err(reason)
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        HeldKey::with_key(self, use_key).map_err(reason)
    }
}

fn reason(error: ResourceError) -> KeyUnavailable {
    KeyUnavailable(match error {
        ResourceError::KeyUnavailable { why, .. } => why,
        other => other.to_string(),
    })
}
