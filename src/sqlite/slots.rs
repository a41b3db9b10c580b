//! The header block in the file: reading the slots, and writing new ones.

use std::path::Path;
use std::sync::Arc;

use crate::base::ResourceId;
use crate::crypto::Secret;

use super::database::{SealedDatabase, format, io, lower, unauthentic, unavailable};
use super::header::{self, BLOCK_LEN, Facts, Slot, SlotError};
use super::medium::Medium;
use super::record::{Pages, Record};
use super::shared::Shared;
use super::unit::{UnitKind, Units};
use super::vfs::LowerFile;
use super::{Conversion, KEY_SLOT_LEN, KeySource, SealedError};

impl SealedDatabase {
    /// The key slots of a sealed file, newest first: not yet authenticated, since the key is what
    /// they lead to.
    pub fn key_slots(path: &Path) -> Result<Vec<[u8; KEY_SLOT_LEN]>, SealedError> {
        let slots = read(path)?;
        Ok(slots.iter().map(|(_, slot)| slot.key_slot).collect())
    }

    /// What is under way in the sealed file at `path`, as its header says: not authenticated. A crash may
    /// leave two slots that say different things, and the newer one half written. What the files beside
    /// the database are needed for counts, then: an encryption that is over may be ended once more, but
    /// one that is not needs the plain file; and a file is decrypted as soon as one slot says so, since
    /// nothing was left to do before that was written.
    pub fn conversion_at(path: &Path) -> Result<Conversion, SealedError> {
        let said: Vec<_> = read(path)?
            .iter()
            .map(|(_, slot)| slot.facts.conversion)
            .collect();
        let first = [
            Conversion::Decrypted,
            Conversion::Encryption,
            Conversion::Decryption,
        ];
        let found = first.into_iter().find(|one| said.contains(one));
        Ok(found.unwrap_or(said[0]))
    }

    /// Replaces the key slot; returns the bytes written. No page is touched.
    pub fn replace_key_slot(&self, slot: &[u8; KEY_SLOT_LEN]) -> Result<u64, SealedError> {
        self.write_slots(Some(slot), None, Facts::clone)
    }

    /// Writes both slots anew, with other facts, another key slot, or under another data encryption
    /// key; returns the bytes written. One half of the header block is written and synced after the
    /// other, so at each moment one is whole; at the end both say the same, and what was said before is
    /// gone from the file.
    pub(super) fn write_slots(
        &self,
        key_slot: Option<&[u8; KEY_SLOT_LEN]>,
        new_key: Option<&Secret<32>>,
        change: impl FnOnce(&Facts) -> Facts,
    ) -> Result<u64, SealedError> {
        let path = self.shared.path();
        let file = self.shared.file();
        let slots = authentic(path, file, &*self.keys)?;
        let (newest_at, newest) = &slots[0];
        let facts = change(&newest.facts);
        let key_slot = key_slot.unwrap_or(&newest.key_slot);
        let make = |sequence| {
            let new = |key: &Secret<32>| Slot::new(file, &facts, sequence, key_slot, key);
            match new_key {
                Some(key) => Ok(new(key)),
                None => with(path, &*self.keys, new),
            }
        };
        let first = make(newest.sequence + 1)?;
        let second = make(newest.sequence + 2)?;
        let mut medium = LowerFile::open_main(&self.shared).map_err(|c| lower(path, c))?;
        let mut written = 0;
        for (slot, position) in [(&first, 1 - newest_at), (&second, *newest_at)] {
            for (bytes, offset) in header::placed(slot, position) {
                medium.write_at(bytes, offset).map_err(|c| lower(path, c))?;
                written += bytes.len() as u64;
            }
            medium.sync().map_err(|c| lower(path, c))?;
        }
        match new_key {
            Some(_) => self.shared.look(&mut medium).map_err(|c| lower(path, c))?,
            None => self.shared.saw_header(&second),
        }
        Ok(written)
    }
}

/// The header block of a new file with `pages` pages, and its newest slot.
pub(super) fn first_block(
    path: &Path,
    file: ResourceId,
    facts: &Facts,
    pages: u64,
    key_slot: &[u8; KEY_SLOT_LEN],
    keys: &Arc<dyn KeySource>,
) -> Result<([u8; BLOCK_LEN], Slot), SealedError> {
    let [first, newest] = with(path, &**keys, |key| {
        [1, 2].map(|sequence| Slot::new(file, facts, sequence, key_slot, key))
    })?;
    let mut block = header::block(&first, &newest);
    if facts.fresh {
        let shared = Shared::detached(path, file, facts.clone(), keys.clone());
        let mut units = Units::new(Arc::new(shared), UnitKind::Page);
        let none = Pages {
            count: pages,
            sum: 0,
        };
        let sealed = units
            .check()
            .and_then(|()| Record::first(none).seal(&mut units));
        let (record, at) = sealed.map_err(|c| lower(path, c))?;
        let at = usize::try_from(at).expect("within the header block");
        block[at..at + record.len()].copy_from_slice(&record);
    }
    Ok((block, newest))
}

fn with<T>(
    path: &Path,
    keys: &dyn KeySource,
    make: impl Fn(&Secret<32>) -> T,
) -> Result<T, SealedError> {
    let mut made = None;
    keys.with_key(&mut |key| made = Some(make(key)))
        .map_err(|e| unavailable(path, e))?;
    Ok(made.expect("a key source that succeeds shows its key"))
}

/// The slots of the header block, newest first.
pub(super) fn read(path: &Path) -> Result<Vec<(usize, Slot)>, SealedError> {
    // SQLite's VFS would create a directory's journal; a plain look says what is wrong.
    let about = std::fs::metadata(path).map_err(|e| io(path, e))?;
    if !about.is_file() {
        return Err(format(path, "not a file"));
    }
    let mut medium = LowerFile::open_path(path).map_err(|c| lower(path, c))?;
    let mut block = [0; BLOCK_LEN];
    let there = medium.read_at(&mut block, 0).map_err(|c| lower(path, c))?;
    let parsed = match there == BLOCK_LEN {
        true => header::parse_block(&block),
        false => Err(SlotError::NotSealed),
    };
    parsed.map_err(|e| match e {
        SlotError::NotSealed => format(path, "not a sealed SQLite file"),
        SlotError::Newer(v) => format(
            path,
            &format!("sealed by a newer version (format {v}); this program reads format 1"),
        ),
        SlotError::Malformed(field) => format(path, &format!("malformed header: {field}")),
    })
}

/// The slots that are authentic under the key, newest first; at least one.
pub(super) fn authentic(
    path: &Path,
    file: ResourceId,
    keys: &dyn KeySource,
) -> Result<Vec<(usize, Slot)>, SealedError> {
    let mut slots = read(path)?;
    keys.with_key(&mut |key| slots.retain(|(_, slot)| slot.is_authentic(file, key)))
        .map_err(|e| unavailable(path, e))?;
    match slots.is_empty() {
        true => Err(unauthentic(path)),
        false => Ok(slots),
    }
}
