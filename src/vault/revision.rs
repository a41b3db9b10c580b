use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};

static REVISION: LazyLock<Arc<AtomicU64>> = LazyLock::new(Arc::default);

/// The counter that moves each time a right to use a key of any vault may have changed in this
/// process. One for all vaults, so that several can be used as one [`super::KeyWrapper`]; a change
/// in one vault makes leases on keys of the others ask once more, and does no other harm.
pub fn revision() -> Arc<AtomicU64> {
    REVISION.clone()
}
