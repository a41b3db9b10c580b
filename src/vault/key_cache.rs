//! Parsed keys in memory: reading one from the database and parsing it takes longer than its use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{KeyName, KeyVersion, KeyVersionRef};
use crate::crypto::KeyEncryptionKey;

use super::rows::Pick;

/// How many keys are held at most.
const KEYS_MAX: usize = 1024;

/// A key that is ready for use.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) kid: KeyVersionRef,
    pub(super) key: Arc<KeyEncryptionKey>,
}

/// What is held is only a guess at what is asked for: whether it may be used, and whether it is still
/// the newest version, is asked of the database at each use. What may not be used is dropped.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<Held>);

#[derive(Default)]
struct Held {
    keys: HashMap<KeyVersion, Ready>,
    /// By name, in lower case.
    newest: HashMap<String, KeyVersion>,
}

impl KeyCache {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that was last put for this.
    pub(super) fn get(&self, name: &KeyName, pick: Pick) -> Option<Ready> {
        let held = self.lock();
        let version = match pick {
            Pick::Exactly(version) => version,
            Pick::Newest => *held.newest.get(&name.as_str().to_ascii_lowercase())?,
        };
        let ready = held.keys.get(&version)?;
        (ready.kid.name == *name).then(|| ready.clone())
    }

    /// Holds a key. To be called by who has the store, so that no change to the key's rights comes
    /// in between.
    pub(super) fn put(&self, ready: Ready, pick: Pick) {
        let mut held = self.lock();
        if held.keys.len() >= KEYS_MAX {
            *held = Held::default();
        }
        if let Pick::Newest = pick {
            let name = ready.kid.name.as_str().to_ascii_lowercase();
            held.newest.insert(name, ready.kid.version);
        }
        held.keys.insert(ready.kid.version, ready);
    }

    /// Drops the versions for which `usable` does not hold, or all when it fails.
    pub(super) fn retain<E>(
        &self,
        mut usable: impl FnMut(KeyVersion) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut held = self.lock();
        let Held { keys, mut newest } = std::mem::take(&mut *held);
        let mut kept = HashMap::with_capacity(keys.len());
        for (version, ready) in keys {
            if usable(version)? {
                kept.insert(version, ready);
            }
        }
        newest.retain(|_, version| kept.contains_key(version));
        *held = Held { keys: kept, newest };
        Ok(())
    }

    /// Drops all.
    pub(super) fn clear(&self) {
        *self.lock() = Held::default();
    }

    /// How many are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().keys.len()
    }
}
