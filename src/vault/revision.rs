//! The revision of each vault: one counter for all handles on its directory in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, Weak};

static ALL: Mutex<BTreeMap<PathBuf, Weak<AtomicU64>>> = Mutex::new(BTreeMap::new());

/// The counter of the vault in `dir`, a canonical path.
pub(super) fn of(dir: &Path) -> Arc<AtomicU64> {
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|_, counter| counter.strong_count() > 0);
    if let Some(counter) = all.get(dir).and_then(Weak::upgrade) {
        return counter;
    }
    let counter = Arc::new(AtomicU64::new(0));
    all.insert(dir.to_owned(), Arc::downgrade(&counter));
    counter
}
