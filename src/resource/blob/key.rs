use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::base::{KeyRef, ResourceId, may_wait, read_lock};
use crate::crypto::{Label, Secret, derive};
use crate::envelope::{Envelope, EnvelopeError, Lease, ResourceKind};
use crate::resource::{ResourceError, Wrapper};
use crate::sqlite::{KeySource, KeyUnavailable};

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
    fn kind(self) -> ResourceKind {
        match self {
            Self::Account => ResourceKind::Storage,
            Self::Catalog => ResourceKind::StorageCatalog,
        }
    }

    /// Where its envelope is.
    fn envelope(self, header: &Path) -> Envelopes {
        let header = header.to_owned();
        Arc::new(move || {
            let header = AccountHeader::read(&header)?;
            Ok(match self {
                Self::Account => header.account,
                Self::Catalog => header.catalog,
            })
        })
    }
}

/// Reads the envelope of a key as it is now.
pub(super) type Envelopes = Arc<dyn Fn() -> Result<Envelope, ResourceError> + Send + Sync>;

/// The key of an account, its catalog or a scope, under a lease that is acquired at the first use. Its envelope is read
/// again whenever the vault is asked, and at each use once it refused: the key may have been rewrapped
/// meanwhile, by this process or by another. It stays the same key: an envelope with another one, which whoever
/// has the public half of an RSA key can make, is refused.
pub(super) struct HeldKey {
    path: PathBuf,
    of: ResourceId,
    kind: ResourceKind,
    envelope: Envelopes,
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
    /// The key of the account or scope `of` in its envelope, which is in the file at `path`.
    pub(super) fn new(
        path: &Path,
        of: ResourceId,
        kind: ResourceKind,
        envelope: Envelopes,
        wrapper: &Wrapper,
    ) -> Self {
        Self {
            path: path.to_owned(),
            of,
            kind,
            envelope,
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

    /// Whether this is the key: no other was expected, or used before.
    fn is(&self, key: &Secret<32>) -> bool {
        let expected = self.commitment.get();
        expected.is_none_or(|expected| *expected == commitment(key, self.of))
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

    /// Drops the lease, so that the next use reads the envelope again.
    pub(super) fn reload(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.lease = None;
        held.base += 1 << 32;
    }

    fn lease(&self) -> Result<(u64, Arc<Lease>), ResourceError> {
        if let Some(held) = read_lock(&self.held)
            && let Some(lease) = &held.lease
            && let Ok(number) = lease.check()
        {
            return Ok((held.base + number, lease.clone()));
        }
        if !may_wait() {
            let why = "the vault cannot be asked at once";
            return Err(ResourceError::Usage(why.into()));
        }
        let envelope = (self.envelope)()?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = &held.lease
            && lease.envelope() == envelope
        {
            let number = lease.check().map_err(|e| self.refused(&e))?;
            return Ok((held.base + number, lease.clone()));
        }
        let (kind, wrapper) = (self.kind, self.wrapper.clone());
        let lease =
            Lease::acquire(envelope, kind, self.of, wrapper).map_err(|e| self.refused(&e))?;
        let newest = self.envelope.clone();
        let lease = lease.following(Box::new(move || newest().ok()));
        let offered = lease
            .with_key(|key| commitment(key, self.of))
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
        ResourceError::envelope(&self.path, error)
    }
}

/// A public name of the key of an account or scope, by which it is told from every other.
pub(super) fn commitment(key: &Secret<32>, of: ResourceId) -> [u8; 32] {
    *derive(key, Label::BlobAccount, &[of.as_bytes()]).expose()
}

/// The two keys of a protected account.
pub(super) struct AccountKeys {
    path: PathBuf,
    id: ResourceId,
    wrapper: Wrapper,
    account: Arc<HeldKey>,
    catalog: Arc<HeldKey>,
}

impl AccountKeys {
    /// The keys of account `id`, whose header is at `path`. Asks for neither yet.
    pub(super) fn new(path: &Path, id: ResourceId, wrapper: &Wrapper) -> Self {
        let key = |chain: Chain| {
            let key = HeldKey::new(path, id, chain.kind(), chain.envelope(path), wrapper);
            Arc::new(key)
        };
        Self {
            path: path.to_owned(),
            id,
            wrapper: wrapper.clone(),
            account: key(Chain::Account),
            catalog: key(Chain::Catalog),
        }
    }

    /// The account key.
    pub(super) fn account(&self) -> &Arc<HeldKey> {
        &self.account
    }

    /// The catalog's key.
    pub(super) fn catalog(&self) -> Arc<HeldKey> {
        self.catalog.clone()
    }

    /// How the vaults are reached.
    pub(super) fn wrapper(&self) -> &Wrapper {
        &self.wrapper
    }

    /// Where the header is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The header as it is now.
    pub(super) fn header(&self) -> Result<AccountHeader, ResourceError> {
        AccountHeader::read(&self.path)
    }

    /// The header as it is now, and one with the same keys, wrapped anew: the account key by the newest version of
    /// `to`, or of the key that wraps it already; the catalog's by the newest version of its own.
    pub(super) fn wrapped_anew(
        &self,
        to: Option<&KeyRef>,
    ) -> Result<(AccountHeader, AccountHeader), ResourceError> {
        let old = self.header()?;
        let anew = |envelope: &Envelope, held: &HeldKey, to: Option<&KeyRef>| {
            let key = envelope.open(&*self.wrapper, held.kind, self.id)?;
            if !held.is(&key) {
                return Err(EnvelopeError::Mismatch);
            }
            envelope.anew(&*self.wrapper, to.unwrap_or(&envelope.key.key()), &key)
        };
        let refused = |e| ResourceError::envelope(&self.path, &e);
        let new = AccountHeader {
            account: anew(&old.account, &self.account, to).map_err(refused)?,
            catalog: anew(&old.catalog, &self.catalog, None).map_err(refused)?,
        };
        Ok((old, new))
    }

    /// Writes the header `new` in the place of `old`; whether `old`, or `new` itself, was there. For who keeps others
    /// from doing the same meanwhile.
    pub(super) fn replace(
        &self,
        old: &AccountHeader,
        new: &AccountHeader,
    ) -> Result<bool, ResourceError> {
        let now = self.header()?;
        if now == *old {
            new.write(&self.path)?;
        }
        Ok(now == *old || now == *new)
    }

    /// Goes by the header as it is now from the next use on.
    pub(super) fn reload(&self) {
        self.account.reload();
        self.catalog.reload();
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
