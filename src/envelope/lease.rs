use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::base::sabotage::{Sabotage, broken};
use crate::base::{ResourceId, may_wait, read_lock};
use crate::crypto::Secret;
use crate::sqlite::{KeySource, KeyUnavailable};
use crate::vault::{KeyWrapper, VaultError};

use super::{Envelope, EnvelopeError, ResourceKind};
use standing::Standing;

/// How long an unwrapped key is used before the vault is asked again, when nothing in this
/// process changed. A change made by another process takes effect within this time: no use of the key
/// begins later without a new answer, unless the system's ticks are more than 100 ms late. Who waits for
/// that answer waits as long as the vault may take; one behind a server, [`REQUEST_TIMEOUT`](crate::vault::REQUEST_TIMEOUT) at most.
pub const LEASE_INTERVAL: Duration = Duration::from_secs(1);
/// How far the clock of leases may be behind: a tick, of 1 to 10 ms, which comes late where others have the processor (7.7
/// ms were seen of ticks of 4).
const BEHIND: Duration = Duration::from_millis(100);
/// How long an answer stands by that clock.
const STANDS: Duration = LEASE_INTERVAL
    .checked_sub(BEHIND)
    .expect("a lease is longer");

/// An unwrapped data encryption key, held for as long as the vault allows it.
///
/// [`Lease::check`] costs a few atomic loads and a look at the coarse monotonic clock while nothing changed; it takes no lock,
/// so that threads do not slow each other.
/// When the vault says that something changed in this process, or [`LEASE_INTERVAL`] has passed,
/// the key is unwrapped again, by the envelope that its file has then; when that is refused the key is
/// wiped, and each use fails until the vault allows it again.
pub struct Lease {
    wrapper: Arc<dyn KeyWrapper>,
    newest: Newest,
    kind: ResourceKind,
    resource: ResourceId,
    revision: Arc<AtomicU64>,
    monotonic: Monotonic,
    state: RwLock<State>,
    /// What of `state` says whether the key may be used, for who does not want to lock it.
    standing: Standing,
}

/// Gives the time by a clock that never goes back, in nanoseconds since some moment.
type Monotonic = Box<dyn Fn() -> u64 + Send + Sync>;

/// The time of the system's last tick: to read it costs a fifth of what the exact time does, which is most of what
/// [`Lease::check`] costs.
fn last_tick() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    // Neither is negative, and 584 years do not overflow.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Reads the envelope that the key's file has now; `None` when that cannot be told.
pub type Newest = Box<dyn Fn() -> Option<Envelope> + Send + Sync>;

struct State {
    /// The newest one that the key came from.
    envelope: Envelope,
    held: Result<Secret<32>, Arc<EnvelopeError>>,
    /// Counts the times that the key was lost; keys derived from it are stale once it moves.
    generation: u64,
    /// The vault's revision and the time before it was asked last, so that a change during the
    /// answer makes the next check ask again.
    revision: u64,
    asked: u64,
}

impl Lease {
    /// Unwraps the key of `envelope`, which must belong to the resource expected.
    pub fn acquire(
        envelope: Envelope,
        kind: ResourceKind,
        resource: ResourceId,
        wrapper: Arc<dyn KeyWrapper>,
    ) -> Result<Self, EnvelopeError> {
        Self::acquire_by(Box::new(last_tick), envelope, kind, resource, wrapper)
    }

    fn acquire_by(
        monotonic: Monotonic,
        envelope: Envelope,
        kind: ResourceKind,
        resource: ResourceId,
        wrapper: Arc<dyn KeyWrapper>,
    ) -> Result<Self, EnvelopeError> {
        if !may_wait() {
            return Err(would_wait());
        }
        let revision = wrapper.revision();
        let (seen, asked) = (revision.load(Ordering::Acquire), monotonic());
        let key = envelope.open(&*wrapper, kind, resource)?;
        let standing = Standing::default();
        standing.set(Some((0, seen, asked)));
        Ok(Self {
            wrapper,
            newest: Box::new(|| None),
            kind,
            resource,
            revision,
            monotonic,
            state: RwLock::new(State {
                envelope,
                held: Ok(key),
                generation: 0,
                revision: seen,
                asked,
            }),
            standing,
        })
    }

    /// Has each question to the vault be about the envelope that `newest` reads then, so that who puts the key
    /// under another one decides about this lease from then on.
    #[must_use]
    pub fn following(self, newest: Newest) -> Self {
        Self { newest, ..self }
    }

    /// The newest envelope that the key came from.
    pub fn envelope(&self) -> Envelope {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.envelope.clone()
    }

    /// Whether the key may be used now. Returns a number that changes whenever keys derived
    /// earlier must be dropped.
    ///
    /// # Errors
    /// Why the vault refused, when it was asked last.
    pub fn check(&self) -> Result<u64, Arc<EnvelopeError>> {
        match self.standing.get() {
            Some((generation, revision, asked)) if self.is_fresh(revision, asked) => Ok(generation),
            _ => self.ask_again(),
        }
    }

    /// Uses the key, when the vault allows it. `use_key` must not call back into this lease.
    pub fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, Arc<EnvelopeError>> {
        self.check()?;
        match &self.read()?.held {
            Ok(key) => Ok(use_key(key)),
            Err(refused) => Err(refused.clone()),
        }
    }

    /// Whether an answer still stands that was asked for at `asked`, when the vault was at `revision`.
    #[inline]
    fn is_fresh(&self, revision: u64, asked: u64) -> bool {
        const FOR: u64 = STANDS.as_nanos() as u64;
        broken(Sabotage::RevocationIgnored)
            || revision == self.revision.load(Ordering::Acquire)
                && (self.monotonic)().saturating_sub(asked) < FOR
    }

    fn ask_again(&self) -> Result<u64, Arc<EnvelopeError>> {
        if !may_wait() {
            return Err(Arc::new(would_wait()));
        }
        let came = (self.monotonic)();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have asked meanwhile: an answer to a question that was put after this thread
        // came is its answer too, however long it took.
        let revision = self.revision.load(Ordering::Acquire);
        let answered = state.revision == revision && came <= state.asked;
        if !answered && !self.is_fresh(state.revision, state.asked) {
            let (revision, asked) = (self.revision.load(Ordering::Acquire), (self.monotonic)());
            let answer = self.unwrap_newest(&mut state.envelope);
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
            let stands = state.held.is_ok();
            let answer = (state.generation, revision, state.asked);
            self.standing.set(stands.then_some(answer));
        }
        match &state.held {
            Ok(_) => Ok(state.generation),
            Err(refused) => Err(refused.clone()),
        }
    }

    /// An envelope that is not of the key in use says nothing: anybody can make one who writes to the file. The
    /// one before stands then; but not when the vault refuses, since that can be the owner's will.
    fn unwrap_newest(&self, used: &mut Envelope) -> Result<Secret<32>, EnvelopeError> {
        let open = |envelope: &Envelope| envelope.open(&*self.wrapper, self.kind, self.resource);
        if let Some(newest) = (self.newest)().filter(|newest| newest != used) {
            match open(&newest) {
                Ok(key) if used.commits_to(&key) => {
                    *used = newest;
                    return Ok(key);
                }
                Ok(_)
                | Err(
                    EnvelopeError::Mismatch
                    | EnvelopeError::Format(_)
                    | EnvelopeError::Vault(VaultError::UnwrapFailed),
                ) => {}
                refused => return refused,
            }
        }
        open(used)
    }

    /// A vault that panics while it is asked leaves the state as it was and not fresh, so that the
    /// poison means nothing.
    fn read(&self) -> Result<RwLockReadGuard<'_, State>, Arc<EnvelopeError>> {
        read_lock(&self.state).ok_or_else(|| Arc::new(would_wait()))
    }
}

/// What nobody will see ([`may_wait`]).
fn would_wait() -> EnvelopeError {
    VaultError::Conflict("the vault cannot be asked at once".into()).into()
}

impl KeySource for Lease {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        Lease::check(self).map_err(|e| KeyUnavailable(e.to_string()))
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        Lease::with_key(self, use_key).map_err(|e| KeyUnavailable(e.to_string()))
    }
}

mod standing;
#[cfg(test)]
mod tests;
