use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use crate::base::ResourceId;
use crate::crypto::Secret;
use crate::sqlite::{KeySource, KeyUnavailable};
use crate::vault::KeyWrapper;

use super::{Envelope, EnvelopeError, ResourceKind};

/// How long an unwrapped key is used before the vault is asked again, when nothing in this
/// process changed. A change made by another process takes effect within this time: no use of the key
/// begins later without a new answer. Who waits for that answer waits as long as the vault may take;
/// one behind a server, [`REQUEST_TIMEOUT`](crate::vault::REQUEST_TIMEOUT) at most.
pub const LEASE_INTERVAL: Duration = Duration::from_secs(1);

/// An unwrapped data encryption key, held for as long as the vault allows it.
///
/// [`Lease::check`] costs one atomic load and a look at the monotonic clock while nothing changed.
/// When the vault says that something changed in this process, or [`LEASE_INTERVAL`] has passed,
/// the key is unwrapped again; when that is refused the key is wiped, and each use fails until
/// the vault allows it again.
pub struct Lease {
    wrapper: Arc<dyn KeyWrapper>,
    envelope: Envelope,
    revision: Arc<AtomicU64>,
    monotonic: Monotonic,
    state: RwLock<State>,
}

/// Gives the time by a clock that never goes back.
type Monotonic = Box<dyn Fn() -> Instant + Send + Sync>;

struct State {
    held: Result<Secret<32>, Arc<EnvelopeError>>,
    /// Counts the times that the key was lost; keys derived from it are stale once it moves.
    generation: u64,
    /// The vault's revision and the time before it was asked last, so that a change during the
    /// answer makes the next check ask again.
    revision: u64,
    asked: Instant,
}

impl Lease {
    /// Unwraps the key of `envelope`, which must belong to the resource expected.
    pub fn acquire(
        envelope: Envelope,
        kind: ResourceKind,
        resource: ResourceId,
        wrapper: Arc<dyn KeyWrapper>,
    ) -> Result<Self, EnvelopeError> {
        Self::acquire_by(Box::new(Instant::now), envelope, kind, resource, wrapper)
    }

    fn acquire_by(
        monotonic: Monotonic,
        envelope: Envelope,
        kind: ResourceKind,
        resource: ResourceId,
        wrapper: Arc<dyn KeyWrapper>,
    ) -> Result<Self, EnvelopeError> {
        let revision = wrapper.revision();
        let (seen, asked) = (revision.load(Ordering::Acquire), monotonic());
        let key = envelope.open(&*wrapper, kind, resource)?;
        Ok(Self {
            wrapper,
            envelope,
            revision,
            monotonic,
            state: RwLock::new(State {
                held: Ok(key),
                generation: 0,
                revision: seen,
                asked,
            }),
        })
    }

    /// The envelope whose key this is.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether the key may be used now. Returns a number that changes whenever keys derived
    /// earlier must be dropped.
    ///
    /// # Errors
    /// Why the vault refused, when it was asked last.
    pub fn check(&self) -> Result<u64, Arc<EnvelopeError>> {
        {
            let state = self.read();
            if state.held.is_ok() && self.is_fresh(&state) {
                return Ok(state.generation);
            }
        }
        self.ask_again()
    }

    /// Uses the key, when the vault allows it. `use_key` must not call back into this lease.
    pub fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, Arc<EnvelopeError>> {
        self.check()?;
        match &self.read().held {
            Ok(key) => Ok(use_key(key)),
            Err(refused) => Err(refused.clone()),
        }
    }

    fn is_fresh(&self, state: &State) -> bool {
        state.revision == self.revision.load(Ordering::Acquire)
            && (self.monotonic)().saturating_duration_since(state.asked) < LEASE_INTERVAL
    }

    fn ask_again(&self) -> Result<u64, Arc<EnvelopeError>> {
        let came = (self.monotonic)();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have asked meanwhile: an answer to a question that was put after this thread
        // came is its answer too, however long it took.
        let revision = self.revision.load(Ordering::Acquire);
        let answered = state.revision == revision && came <= state.asked;
        if !answered && !self.is_fresh(&state) {
            let (revision, asked) = (self.revision.load(Ordering::Acquire), (self.monotonic)());
            let (kind, resource) = (self.envelope.kind, self.envelope.resource);
            let answer = self.envelope.open(&*self.wrapper, kind, resource);
            if state.held.is_ok() && answer.is_err() {
                state.generation += 1;
            }
            // A vault that is far away may take long to be given up: what is refused is refused for the
            // whole interval from then on, so that the threads that waited do not ask one after the other.
            state.asked = match &answer {
                Ok(_) => asked,
                Err(_) => (self.monotonic)(),
            };
            state.held = answer.map_err(Arc::new);
            state.revision = revision;
        }
        match &state.held {
            Ok(_) => Ok(state.generation),
            Err(refused) => Err(refused.clone()),
        }
    }

    /// A vault that panics while it is asked leaves the state as it was and not fresh, so that the
    /// poison means nothing.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeySource for Lease {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        Lease::check(self).map_err(|e| KeyUnavailable(e.to_string()))
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        Lease::with_key(self, use_key).map_err(|e| KeyUnavailable(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::base::{KeyRef, KeyVersion, KeyVersionRef, VaultId};
    use crate::crypto::{KeyEncryptionKey, KeyKind, WrapAlgorithm};
    use crate::vault::{VaultError, WrappedKey};

    /// A vault with one key. What another process does to it does not move its revision.
    struct OneKey {
        kek: KeyEncryptionKey,
        enabled: Mutex<bool>,
        /// How long it takes to answer, and the clock that tells.
        takes: Mutex<Duration>,
        elapsed: Arc<Mutex<Duration>>,
        revision: Arc<AtomicU64>,
        asked: AtomicUsize,
    }

    impl OneKey {
        fn set_enabled(&self, enabled: bool) {
            self.set_enabled_elsewhere(enabled);
            self.revision.fetch_add(1, Ordering::Release);
        }

        fn set_enabled_elsewhere(&self, enabled: bool) {
            *self.enabled.lock().unwrap() = enabled;
        }

        fn version() -> KeyVersionRef {
            KeyVersionRef {
                vault: VaultId::from_bytes([1; 16]),
                name: "k".parse().unwrap(),
                version: KeyVersion::from_bytes([2; 16]),
            }
        }
    }

    impl KeyWrapper for OneKey {
        fn wrap_key(&self, _: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
            Ok(WrappedKey {
                key: Self::version(),
                algorithm: WrapAlgorithm::A256Kw,
                bytes: self.kek.wrap(dek).unwrap(),
            })
        }

        fn unwrap_key(
            &self,
            key: &KeyVersionRef,
            algorithm: WrapAlgorithm,
            wrapped: &[u8],
        ) -> Result<Secret<32>, VaultError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            *self.elapsed.lock().unwrap() += *self.takes.lock().unwrap();
            if !*self.enabled.lock().unwrap() {
                return Err(VaultError::KeyDisabled(key.to_string()));
            }
            let opened = self.kek.unwrap(algorithm, wrapped);
            opened.map_err(|_| VaultError::UnwrapFailed)
        }

        fn revision(&self) -> Arc<AtomicU64> {
            self.revision.clone()
        }
    }

    struct Fixture {
        vault: Arc<OneKey>,
        lease: Lease,
    }

    impl Fixture {
        fn new() -> Self {
            let elapsed = Arc::new(Mutex::new(Duration::ZERO));
            let vault = Arc::new(OneKey {
                kek: KeyEncryptionKey::generate(KeyKind::Oct256),
                enabled: Mutex::new(true),
                takes: Mutex::default(),
                elapsed: elapsed.clone(),
                revision: Arc::default(),
                asked: AtomicUsize::new(0),
            });
            let (kind, id) = (ResourceKind::Sql, ResourceId::from_bytes([3; 16]));
            let key = OneKey::version().key();
            let envelope = Envelope::seal(&*vault, &key, kind, id, &Secret::random()).unwrap();
            let start = Instant::now();
            let monotonic = Box::new(move || start + *elapsed.lock().unwrap());
            let lease = Lease::acquire_by(monotonic, envelope, kind, id, vault.clone()).unwrap();
            Self { vault, lease }
        }

        fn wait(&self, by: Duration) {
            *self.vault.elapsed.lock().unwrap() += by;
        }

        fn asked(&self) -> usize {
            self.vault.asked.load(Ordering::Relaxed)
        }

        fn holds_a_key(&self) -> bool {
            self.lease.read().held.is_ok()
        }
    }

    #[test]
    fn a_key_disabled_in_this_process_stops_at_the_next_check() {
        let f = Fixture::new();
        assert_eq!(f.lease.check().unwrap(), 0);
        f.vault.set_enabled(false);
        let refused = f.lease.check().unwrap_err();
        assert!(refused.to_string().contains("KeyDisabled"), "{refused}");
        assert!(f.lease.with_key(|_| ()).is_err());
    }

    #[test]
    fn a_refusal_wipes_the_key_and_makes_derived_keys_stale() {
        let f = Fixture::new();
        assert!(f.holds_a_key());
        f.vault.set_enabled(false);
        assert!(f.lease.check().is_err());
        assert!(!f.holds_a_key());
        f.vault.set_enabled(true);
        assert_eq!(f.lease.check().unwrap(), 1);
        // Refused twice in a row, it was lost once.
        f.vault.set_enabled(false);
        assert!(f.lease.check().is_err());
        f.wait(LEASE_INTERVAL);
        assert!(f.lease.check().is_err());
        f.vault.set_enabled(true);
        assert_eq!(f.lease.check().unwrap(), 2);
    }

    #[test]
    fn a_key_enabled_again_works_again_with_the_same_key() {
        let f = Fixture::new();
        let fingerprint = |key: &Secret<32>| crate::crypto::hmac_sha256(key, &[]);
        let before = f.lease.with_key(fingerprint).unwrap();
        f.vault.set_enabled(false);
        assert!(f.lease.with_key(fingerprint).is_err());
        f.vault.set_enabled(true);
        assert_eq!(f.lease.with_key(fingerprint).unwrap(), before);
    }

    #[test]
    fn a_change_by_another_process_is_seen_within_the_interval() {
        let f = Fixture::new();
        f.vault.set_enabled_elsewhere(false);
        f.wait(LEASE_INTERVAL - Duration::from_nanos(1));
        assert!(
            f.lease.check().is_ok(),
            "not asked yet: the interval is what it costs"
        );
        f.wait(Duration::from_nanos(1));
        assert!(f.lease.check().is_err());

        f.vault.set_enabled_elsewhere(true);
        assert!(f.lease.check().is_err());
        f.wait(LEASE_INTERVAL);
        assert!(f.lease.check().is_ok());
    }

    #[test]
    fn the_vault_is_not_asked_for_every_page() {
        let f = Fixture::new();
        let asked = f.asked();
        (0..1000).for_each(|_| f.lease.with_key(|_| ()).unwrap());
        assert_eq!(f.asked(), asked);
        f.wait(LEASE_INTERVAL);
        (0..1000).for_each(|_| f.lease.with_key(|_| ()).unwrap());
        assert_eq!(f.asked(), asked + 1);
        // Nor by those who try again and again after a refusal.
        f.vault.set_enabled(false);
        (0..1000).for_each(|_| assert!(f.lease.check().is_err()));
        assert_eq!(f.asked(), asked + 2);
    }

    /// Each would wait for as long as the vault needs to be given up.
    #[test]
    fn a_refusal_that_came_late_is_not_asked_for_again_by_all_who_waited() {
        let f = Fixture::new();
        let asked = f.asked();
        *f.vault.takes.lock().unwrap() = 5 * LEASE_INTERVAL;
        f.vault.set_enabled_elsewhere(false);
        f.wait(LEASE_INTERVAL);
        (0..100).for_each(|_| assert!(f.lease.check().is_err()));
        assert_eq!(f.asked(), asked + 1);
        f.wait(LEASE_INTERVAL);
        f.vault.set_enabled_elsewhere(true);
        f.lease.check().unwrap();
        assert_eq!(f.asked(), asked + 2);
    }

    #[test]
    fn an_answer_that_came_late_is_not_taken_for_a_new_one() {
        let f = Fixture::new();
        f.wait(LEASE_INTERVAL);
        let asked = f.asked();
        *f.vault.takes.lock().unwrap() = 5 * LEASE_INTERVAL;
        f.lease.check().unwrap();
        // It was asked for five intervals ago.
        f.lease.check().unwrap();
        assert_eq!(f.asked(), asked + 2);
    }
}
