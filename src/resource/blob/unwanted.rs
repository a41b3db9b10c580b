//! What nothing refers to any more, and how it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Bound::{Excluded, Unbounded};

use crate::base::{ExtentId, FileLock};

use super::StorageAccount;
use super::catalog::Catalog;
use super::pack;
use super::slot::{PackId, Slot};
use super::store::ExtentStore;

/// Packs in which somebody was reading that are tried again with each removal.
const TRIED_AGAIN: usize = 4;

/// Extents that nothing refers to, and that could not be removed yet.
#[derive(Default)]
pub(super) struct Unwanted {
    whole: Vec<ExtentId>,
    /// In packs in which somebody was reading.
    slots: BTreeMap<PackId, Vec<Slot>>,
    /// The one of them that was tried again last.
    tried: Option<PackId>,
    /// Nothing refers to anything in these, but somebody was writing.
    packs: BTreeSet<PackId>,
}

impl Unwanted {
    /// Takes out what is to be tried now: all that is whole, and the slots of the packs of `new`, and of a few others.
    fn take(&mut self, new: &[ExtentId]) -> Self {
        let mut now = Self {
            whole: std::mem::take(&mut self.whole),
            packs: std::mem::take(&mut self.packs),
            ..Self::default()
        };
        for extent in new {
            match Slot::of(*extent) {
                None => now.whole.push(*extent),
                Some(slot) => now.slots.entry(slot.pack).or_default().push(slot),
            }
        }
        // From the one after the last that was tried, and round.
        let (after, until) = match self.tried {
            None => (Unbounded, None),
            Some(tried) => (Excluded(tried), Some(tried)),
        };
        let first = until.into_iter();
        let first = first.flat_map(|until| self.slots.range(..=until));
        let others = self.slots.range((after, Unbounded)).chain(first);
        let others: Vec<PackId> = others.map(|(pack, _)| *pack).take(TRIED_AGAIN).collect();
        self.tried = others.last().copied();
        let due: Vec<PackId> = now.slots.keys().copied().chain(others).collect();
        for pack in due {
            let waiting = self.slots.remove(&pack).unwrap_or_default();
            now.slots.entry(pack).or_default().extend(waiting);
        }
        now
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.slots.is_empty() && self.packs.is_empty()
    }

    fn put_back(&mut self, mut left: Self) {
        self.whole.append(&mut left.whole);
        self.packs.append(&mut left.packs);
        for (pack, slots) in left.slots {
            self.slots.entry(pack).or_default().extend(slots);
        }
    }
}

impl StorageAccount {
    /// Removes extents that nothing refers to; with a later removal, when somebody reads a long blob, or in the
    /// same pack, or removes something at this moment. One that resists is left to the next collection.
    pub(super) fn discard(&self, extents: &[ExtentId]) {
        let store = &self.extents;
        // A holder cannot panic. One at a time: the lock of the account's directory would keep one out for another.
        let mut unwanted = store.unwanted.lock().unwrap_or_else(|e| e.into_inner());
        let mut now = unwanted.take(extents);
        if !now.is_empty() {
            store.remove(&mut now, &self.catalog);
            unwanted.put_back(now);
        }
    }
}

impl ExtentStore {
    /// Whether something may wait for being removed; also when that cannot be told without waiting.
    pub(super) fn may_have_unwanted(&self) -> bool {
        let unwanted = self.unwanted.try_lock();
        unwanted.map_or(true, |unwanted| !unwanted.is_empty())
    }

    /// Leaves in `unwanted` what could not be removed.
    fn remove(&self, unwanted: &mut Unwanted, catalog: &Catalog) {
        let is_used = |pack: PackId| catalog.refers_between(pack.bounds());
        let Ok(Ok(_alone)) = File::open(self.account()).map(FileLock::try_exclusive) else {
            return;
        };
        if let Some(objects) = self.objects() {
            let _ = objects.remove(&std::mem::take(&mut unwanted.whole));
            return;
        }
        for extent in unwanted.whole.drain(..) {
            let _ = fs::remove_file(self.path(extent));
        }
        let slots = std::mem::take(&mut unwanted.slots);
        for (pack, slots) in slots {
            if !pack::give_back(&self.pack(pack), &slots) {
                unwanted.slots.insert(pack, slots);
            } else if let Ok(false) = is_used(pack) {
                unwanted.packs.insert(pack);
            }
        }
        // Who is about to refer to something in a pack holds this lock from before he writes it.
        if !unwanted.packs.is_empty()
            && let Ok(Ok(_no_writer)) = File::open(self.dir()).map(FileLock::try_exclusive)
        {
            for pack in std::mem::take(&mut unwanted.packs) {
                if let Ok(false) = is_used(pack) {
                    let _ = fs::remove_file(self.pack(pack));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(pack: u8) -> ExtentId {
        let mut id = [0; 16];
        (id[0], id[1]) = (0x80, pack);
        ExtentId::from_bytes(id)
    }

    #[test]
    fn no_pack_in_which_somebody_read_is_forgotten_by_the_removals_after() {
        for packs in [1, 4, 5, 9] {
            let mut unwanted = Unwanted::default();
            let all: Vec<_> = (0..packs).map(slot).collect();
            let waiting = unwanted.take(&all);
            unwanted.put_back(waiting);
            let mut seen = BTreeSet::new();
            for _ in 0..usize::from(packs).div_ceil(TRIED_AGAIN) {
                let now = unwanted.take(&[]);
                assert!(now.slots.len() <= TRIED_AGAIN);
                seen.extend(now.slots.keys().copied());
                unwanted.put_back(now);
            }
            assert_eq!(seen.len(), usize::from(packs));
        }
        // What comes new is tried with what waits in the same pack, and once.
        let mut unwanted = Unwanted::default();
        let waiting = unwanted.take(&[slot(1)]);
        unwanted.put_back(waiting);
        let now = unwanted.take(&[slot(1)]);
        assert_eq!(now.slots.values().map(Vec::len).sum::<usize>(), 2);
        assert!(unwanted.is_empty());
    }
}
