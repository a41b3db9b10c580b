use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::base::ResourceId;
use crate::crypto::Secret;
use crate::sqlite::{KeySource, KeyUnavailable};
use crate::vault::KeyWrapper;

use super::{Envelope, EnvelopeError, ResourceKind};

/// How long an unwrapped key is used before the vault is asked again, when nothing in this
/// process changed. A change made by another process takes effect within this time.
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
    state: RwLock<State>,
}

struct State {
    key: Option<Secret<32>>,
    /// Counts the times that the key was lost; keys derived from it are stale once it moves.
    generation: u64,
    revision: u64,
    asked: Instant,
    refused: Option<Arc<EnvelopeError>>,
}

impl Lease {
    /// Unwraps the key of `envelope`, which must belong to the resource expected.
    pub fn acquire(
        envelope: Envelope,
        kind: ResourceKind,
        resource: ResourceId,
        wrapper: Arc<dyn KeyWrapper>,
    ) -> Result<Self, EnvelopeError> {
        let revision = wrapper.revision();
        // Read before the unwrap: a change between the two makes the next check ask again.
        let seen = revision.load(Ordering::Acquire);
        let key = envelope.open(&*wrapper, kind, resource)?;
        Ok(Self {
            wrapper,
            envelope,
            revision,
            state: RwLock::new(State {
                key: Some(key),
                generation: 0,
                revision: seen,
                asked: Instant::now(),
                refused: None,
            }),
        })
    }

    /// The envelope whose key this is.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Whether the key may be used now. Returns a number that changes whenever keys derived
    /// earlier must be dropped.
    pub fn check(&self) -> Result<u64, Arc<EnvelopeError>> {
        {
            let state = self.state.read().expect("no holder of this lock can panic");
            if state.key.is_some() && self.is_fresh(&state) {
                return Ok(state.generation);
            }
        }
        self.ask_again()
    }

    /// Uses the key, when the vault allows it.
    pub fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, Arc<EnvelopeError>> {
        self.check()?;
        let state = self.state.read().expect("no holder of this lock can panic");
        match (&state.key, &state.refused) {
            (Some(key), _) => Ok(use_key(key)),
            (None, Some(refused)) => Err(refused.clone()),
            (None, None) => unreachable!("a lease without a key was refused one"),
        }
    }

    fn is_fresh(&self, state: &State) -> bool {
        state.revision == self.revision.load(Ordering::Acquire)
            && state.asked.elapsed() < LEASE_INTERVAL
    }

    fn ask_again(&self) -> Result<u64, Arc<EnvelopeError>> {
        let mut state = self
            .state
            .write()
            .expect("no holder of this lock can panic");
        if self.is_fresh(&state) {
            // Another thread asked meanwhile.
            return match &state.refused {
                None => Ok(state.generation),
                Some(refused) => Err(refused.clone()),
            };
        }
        state.revision = self.revision.load(Ordering::Acquire);
        state.asked = Instant::now();
        let (kind, resource) = (self.envelope.kind, self.envelope.resource);
        match self.envelope.open(&*self.wrapper, kind, resource) {
            Ok(key) => {
                state.key = Some(key);
                state.refused = None;
                Ok(state.generation)
            }
            Err(refused) => {
                let refused = Arc::new(refused);
                if state.key.take().is_some() {
                    state.generation += 1;
                }
                state.refused = Some(refused.clone());
                Err(refused)
            }
        }
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
