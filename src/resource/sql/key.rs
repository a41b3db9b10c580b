use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crate::base::{EpochId, ResourceId};
use crate::crypto::Secret;
use crate::envelope::{Envelope, EnvelopeError, Lease, ResourceKind};
use crate::resource::{Protection, Wrapper};
use crate::sqlite::{
    Encryptor, KEY_SLOT_LEN, KeySource, KeyUnavailable, Position, SealedDatabase, Succession,
};
use crate::vault::{EpochKeeper, FreshnessCheck};

/// The data encryption key of an open database. The lease behind it is exchanged when the key is
/// rewrapped, by this process or by another one, so that open connections go on under the new key
/// version.
pub(super) struct LiveKey {
    path: PathBuf,
    id: ResourceId,
    service_managed: bool,
    wrapper: Wrapper,
    state: RwLock<State>,
    keeper: OnceLock<Keeper>,
    /// Whether the keeper is told of commits.
    tells: AtomicBool,
}

/// Who remembers which state of a database is the newest, and under which name.
#[derive(Clone)]
pub struct Keeper {
    /// The vaults.
    pub epochs: Arc<dyn EpochKeeper>,
    /// The database in its place.
    pub id: EpochId,
}

struct State {
    lease: Arc<Lease>,
    /// Added to the lease's own number: a new lease counts from 0 again.
    base: u64,
}

impl LiveKey {
    /// Unwraps the key of `envelope`, which must be of the database `id` at `path`.
    pub(super) fn acquire(
        path: &Path,
        envelope: Envelope,
        id: ResourceId,
        protection: &Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, EnvelopeError> {
        let lease = lease(path, envelope, id, wrapper)?;
        Ok(Self {
            path: path.to_owned(),
            id,
            service_managed: matches!(protection, Protection::ServiceManaged { .. }),
            wrapper: wrapper.clone(),
            state: RwLock::new(State {
                lease: Arc::new(lease),
                base: 0,
            }),
            keeper: OnceLock::new(),
            tells: AtomicBool::new(false),
        })
    }

    /// Asks there what is remembered. The first keeper stands.
    pub(super) fn ask(&self, keeper: &Keeper) {
        let _ = self.keeper.set(keeper.clone());
    }

    /// From now on commits are remembered there, too.
    pub(super) fn keep(&self, keeper: &Keeper) {
        self.ask(keeper);
        self.tells.store(true, Ordering::Relaxed);
    }

    /// Who remembers commits.
    pub(super) fn keeper(&self) -> Option<&Keeper> {
        let tells = self.tells.load(Ordering::Relaxed);
        self.keeper.get().filter(|_| tells)
    }

    /// The envelope in use.
    pub(super) fn envelope(&self) -> Envelope {
        self.read().lease.envelope()
    }

    /// From now on the key comes from `envelope`, which must hold the same key wrapped anew.
    pub(super) fn exchange(&self, envelope: Envelope) -> Result<(), EnvelopeError> {
        let old = self.envelope();
        self.exchange_if(envelope, |new| old.commits_to(new))
    }

    /// The same, for whatever key `is_ours` knows. Any other would be a forger's, who can wrap but not
    /// unwrap: new data would be his.
    fn exchange_if(
        &self,
        envelope: Envelope,
        is_ours: impl FnOnce(&Secret<32>) -> bool,
    ) -> Result<(), EnvelopeError> {
        let lease = lease(&self.path, envelope, self.id, &self.wrapper)?;
        match lease.with_key(is_ours) {
            Ok(true) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.base += 1 << 32;
                state.lease = Arc::new(lease);
                Ok(())
            }
            _ => Err(EnvelopeError::Mismatch),
        }
    }

    /// After a refusal: when the file's header names another envelope by now, goes over to it.
    fn follow_rewrap(&self) -> bool {
        newest(&self.path)
            .is_some_and(|newest| newest != self.envelope() && self.exchange(newest).is_ok())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_once(&self) -> Result<u64, KeyUnavailable> {
        let state = self.read();
        Ok(state.base + KeySource::check(&*state.lease)?)
    }
}

/// A lease that follows what the header of the file at `path` names.
fn lease(
    path: &Path,
    envelope: Envelope,
    id: ResourceId,
    wrapper: &Wrapper,
) -> Result<Lease, EnvelopeError> {
    let lease = Lease::acquire(envelope, ResourceKind::Sql, id, wrapper.clone())?;
    let path = path.to_owned();
    Ok(lease.following(Box::new(move || newest(&path))))
}

/// The envelope that the header of the file at `path` names: not authenticated.
fn newest(path: &Path) -> Option<Envelope> {
    let slots = SealedDatabase::key_slots(path).ok()?;
    Envelope::parse(slots.first()?).ok()
}

impl KeySource for LiveKey {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        self.check_once()
            .or_else(|refused| match self.follow_rewrap() {
                true => self.check_once(),
                false => Err(refused),
            })
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        self.check()?;
        let lease = self.read().lease.clone();
        KeySource::with_key(&*lease, use_key)
    }

    fn follow(&self, slot: &[u8; KEY_SLOT_LEN], succession: &dyn Succession) -> bool {
        let Ok(envelope) = Envelope::parse(slot) else {
            return false;
        };
        let lease = self.read().lease.clone();
        let is_ours = |new: &Secret<32>| match succession.before(new) {
            // Told by what the old envelope commits to, also when its key version is disabled by now.
            Some(old) => lease.envelope().commits_to(&old),
            None => lease
                .with_key(|old| succession.links(old, new))
                .unwrap_or(false),
        };
        self.exchange_if(envelope, is_ours).is_ok()
    }

    /// From then on the key is asked for there, and commits are told of there. When the new key version is
    /// refused, the lease finds that, too, when it asks next.
    fn rewrapped(&self, slot: &[u8; KEY_SLOT_LEN]) {
        let newest = Envelope::parse(slot).ok();
        if let Some(newest) = newest.filter(|newest| *newest != self.envelope()) {
            let _ = self.exchange(newest);
        }
    }

    fn encryptor(&self) -> Option<Encryptor> {
        Some(Encryptor {
            kind: match self.service_managed {
                true => "CERTIFICATE",
                false => "ASYMMETRIC KEY",
            },
            thumbprint: *self.envelope().key.version.as_bytes(),
        })
    }

    fn anchor(&self, position: &Position) -> bool {
        let vault = self.envelope().key.vault;
        let told = |keeper: &Keeper| keeper.epochs.advance_epoch(vault, keeper.id, position);
        self.keeper().is_some_and(|keeper| told(keeper).is_ok())
    }

    fn remembered(&self) -> Result<Option<u64>, KeyUnavailable> {
        let Some(keeper) = self.keeper.get() else {
            return Ok(None);
        };
        let epoch = keeper.epochs.epoch(self.envelope().key.vault, keeper.id);
        let epoch = epoch.map_err(|e| KeyUnavailable(e.to_string()))?;
        // Where an opening is not compared, an older file may have come to stay: what is remembered is then of
        // another one's transactions.
        let compared = epoch.filter(|epoch| epoch.check == FreshnessCheck::Open);
        Ok(compared.and_then(|epoch| Some(epoch.position?.version())))
    }
}
