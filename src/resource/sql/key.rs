use std::sync::{Arc, RwLock};

use crate::base::ResourceId;
use crate::crypto::Secret;
use crate::envelope::{Envelope, EnvelopeError, Lease, ResourceKind};
use crate::resource::Wrapper;
use crate::sqlite::{KeySource, KeyUnavailable};

/// The data encryption key of an open database. The lease behind it is exchanged when the key is
/// rewrapped, so that open connections go on under the new key version.
pub(super) struct LiveKey(RwLock<State>);

struct State {
    lease: Arc<Lease>,
    /// Added to the lease's own number: a new lease counts from 0 again.
    base: u64,
}

impl LiveKey {
    /// Unwraps the key of `envelope`, which must be of the database `id`.
    pub(super) fn acquire(
        envelope: Envelope,
        id: ResourceId,
        wrapper: &Wrapper,
    ) -> Result<Self, EnvelopeError> {
        let lease = Lease::acquire(envelope, ResourceKind::Sql, id, wrapper.clone())?;
        Ok(Self(RwLock::new(State {
            lease: Arc::new(lease),
            base: 0,
        })))
    }

    /// The envelope in use.
    pub(super) fn envelope(&self) -> Envelope {
        self.lease().envelope().clone()
    }

    /// From now on the key comes from `envelope`, which holds the same key wrapped anew.
    pub(super) fn exchange(
        &self,
        envelope: Envelope,
        id: ResourceId,
        wrapper: &Wrapper,
    ) -> Result<(), EnvelopeError> {
        let lease = Lease::acquire(envelope, ResourceKind::Sql, id, wrapper.clone())?;
        let mut state = self.0.write().expect("no holder of this lock can panic");
        state.base += 1 << 32;
        state.lease = Arc::new(lease);
        Ok(())
    }

    fn lease(&self) -> Arc<Lease> {
        let state = self.0.read().expect("no holder of this lock can panic");
        state.lease.clone()
    }
}

impl KeySource for LiveKey {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        let state = self.0.read().expect("no holder of this lock can panic");
        let number = KeySource::check(&*state.lease)?;
        Ok(state.base + number)
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        KeySource::with_key(&*self.lease(), use_key)
    }
}
