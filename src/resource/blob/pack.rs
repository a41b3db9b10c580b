//! Short extents of writers who write at the same time lie in one file, a *pack* (docs/format.md, "Pack"): to make a
//! file costs more than to write 64 KiB, and one sync of the pack makes all of them durable.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom, fallocate, seek};

use crate::base::{FileLock, may_wait, mutex_lock};

use super::rounds::{Rounds, Since};
use super::slot::{PACK_LEN, PackId, Slot, UNIT, UNITS_MAX};
use super::store::ExtentBytes;

const PACK_UNITS: u64 = PACK_LEN / UNIT;

/// The pack that this process writes to.
#[derive(Default)]
pub(super) struct Packs(Mutex<Option<Filling>>);

struct Filling {
    pack: Arc<Pack>,
    /// The first free unit.
    next: u64,
}

struct Pack {
    id: PackId,
    file: File,
    /// One sync makes the slots durable of all who have written before it began.
    synced: Rounds,
    /// Of the rounds: before the first, so that nobody relies on a pack that was ever not synced.
    since: Since,
}

impl Packs {
    /// Called by who has just locked the directory at `path` for writing: while nobody had, another process may have
    /// removed the pack. By its name: a file that is linked elsewhere, too, is not there for that.
    pub(super) fn look(&self, path: &Path) {
        // A holder cannot panic with it half changed.
        let mut filling = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let is_there = |Filling { pack, .. }: &Filling| {
            let named = path.join(pack.id.to_string()).symlink_metadata();
            let same = |named: Metadata, open: Metadata| {
                (named.dev(), named.ino(), open.nlink()) == (open.dev(), open.ino(), 1)
            };
            named.is_ok_and(|named| pack.file.metadata().is_ok_and(|open| same(named, open)))
        };
        *filling = filling.take().filter(is_there);
    }

    /// Room for an extent of `len` bytes in a pack of the directory at `path`, which is open as `dir`, and whose syncs are
    /// rounds of `names`.
    pub(super) fn reserve(
        &self,
        path: &Path,
        (dir, names): (&File, &Rounds),
        len: u64,
    ) -> io::Result<NewSlot> {
        let units = (Slot::HEAD_LEN as u64 + len).div_ceil(UNIT);
        assert!(units <= UNITS_MAX, "the extent is short");
        let mut filling = mutex_lock(&self.0).ok_or(io::ErrorKind::WouldBlock)?;
        let full = |filling: &Filling| {
            filling.next + units > PACK_UNITS || filling.pack.synced.have_failed()
        };
        if filling.as_ref().is_none_or(full) {
            if !may_wait() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *filling = Some(Filling {
                pack: Arc::new(Pack::create(path, dir, names)?),
                next: 0,
            });
        }
        let filling = filling.as_mut().expect("there is one now");
        let slot = Slot::new(filling.pack.id, filling.next, units);
        filling.next += units;
        Ok(NewSlot {
            slot,
            len,
            pack: filling.pack.clone(),
            written: AtomicU64::new(0),
        })
    }
}

impl Pack {
    /// An empty one, whose name is durable.
    fn create(path: &Path, dir: &File, names: &Rounds) -> io::Result<Self> {
        let (id, synced) = (PackId::random(), Rounds::default());
        let (since, path) = (synced.since(), path.join(id.to_string()));
        let since_named = names.since();
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        let named = names.join(&since_named, || dir.sync_all());
        named.inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self {
            id,
            file,
            synced,
            since,
        })
    }
}

/// A slot that is being written.
pub(super) struct NewSlot {
    pub slot: Slot,
    /// Bytes of the extent.
    len: u64,
    pack: Arc<Pack>,
    /// Bytes that were written, the head's among them.
    written: AtomicU64,
}

impl NewSlot {
    /// What is written before the extent's bytes.
    pub(super) fn head(&self) -> [u8; Slot::HEAD_LEN] {
        self.slot.head(self.len)
    }

    /// Adds to its end.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as u64;
        let at = self.slot.range().start + self.written.fetch_add(len, Ordering::Relaxed);
        self.pack.file.write_all_at(bytes, at)
    }

    /// Makes what is written durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let pack = &self.pack;
        pack.synced.join(&pack.since, || pack.file.sync_data())
    }

    /// Has the disk fail for whoever has written to its pack by now.
    #[cfg(test)]
    pub(super) fn fail_sync(&self) {
        let full = || Err(io::ErrorKind::StorageFull.into());
        let told = self.pack.synced.join(&self.pack.since, full);
        assert!(told.is_err());
    }

    /// Gives its room back: nothing ever referred to it, in this account or in what was copied of it.
    pub(super) fn give_back(&self) {
        if self.written.load(Ordering::Relaxed) > 0 {
            punch(&self.pack.file, self.slot.range());
        }
    }
}

/// An extent in a pack, open for reading. While it is, nobody gives anything in the pack back.
pub(super) struct PackedExtent {
    lock: FileLock,
    bytes: Range<u64>,
}

impl PackedExtent {
    /// `None` when it is not there.
    pub(super) fn open(path: &Path, slot: Slot) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let lock = FileLock::shared(file)?;
        let mut head = [0; Slot::HEAD_LEN];
        match FileExt::read_exact_at(lock.file(), &mut head, slot.range().start) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let bytes = slot.parse(&head);
        Ok(bytes.map(|bytes| Self { lock, bytes }))
    }
}

impl ExtentBytes for PackedExtent {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.end - self.bytes.start)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let len = self.bytes.end - self.bytes.start;
        if at > len || buffer.len() as u64 > len - at {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        FileExt::read_exact_at(self.lock.file(), buffer, self.bytes.start + at)
    }

    /// The system reads ahead by itself.
    fn expect(&self, _: Range<u64>) {}
}

/// Gives the room of these slots of one pack back; `false` when somebody is reading in it.
pub(super) fn give_back(path: &Path, slots: &[Slot]) -> bool {
    with_pack(path, |file| {
        slots.iter().for_each(|slot| punch(file, slot.range()));
    })
}

/// Gives everything in a pack back but these slots, which ascend; `false` when somebody is reading in it. Nobody writes
/// in it.
pub(super) fn keep_only(path: &Path, slots: &[Slot]) -> bool {
    with_pack(path, |file| {
        let Ok(end) = file.metadata().map(|about| about.len()) else {
            return;
        };
        let mut at = 0;
        let ranges = slots.iter().map(|slot| slot.range());
        for kept in ranges.chain(std::iter::once(end..end)) {
            // Nothing is written where nothing has to be given back.
            if at < kept.start && seek(file, SeekFrom::Data(at)).is_ok_and(|data| data < kept.start)
            {
                punch(file, at..kept.start);
            }
            at = at.max(kept.end);
        }
    })
}

/// Runs `work` while nobody reads in the pack; `false` when somebody does. Nothing is done to one that is not this
/// account's alone, such as one that a copy of the account has a link to: whose it is, too, goes by another catalog.
fn with_pack(path: &Path, work: impl FnOnce(&File)) -> bool {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let Ok(file) = options.custom_flags(nofollow).open(path) else {
        return true;
    };
    let Ok(lock) = FileLock::try_exclusive(file) else {
        return false;
    };
    let own = |about: Metadata| about.is_file() && about.nlink() == 1;
    if lock.file().metadata().is_ok_and(own) {
        work(lock.file());
    }
    true
}

/// What cannot be given back, as on a file system that makes no holes, stays until the pack is removed.
fn punch(file: &File, range: Range<u64>) {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let _ = fallocate(file, how, range.start, range.end - range.start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_relies_on_a_pack_that_was_once_not_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (packs, names) = (Packs::default(), Rounds::default());
        let open = File::open(dir.path()).unwrap();
        let reserve = || packs.reserve(dir.path(), (&open, &names), 100).unwrap();
        let (first, second) = (reserve(), reserve());
        assert_eq!(first.slot.pack, second.slot.pack);
        first.sync().unwrap();
        // The disk tells one of them only, and is well afterwards.
        first.fail_sync();
        assert!(second.sync().is_err() && first.sync().is_err());
        let third = reserve();
        assert_ne!(third.slot.pack, first.slot.pack);
        third.sync().unwrap();
    }

    #[test]
    fn pack_ends_before_it_is_too_long_to_be_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (packs, names) = (Packs::default(), Rounds::default());
        let open = File::open(dir.path()).unwrap();
        let mut found: Vec<Slot> = Vec::new();
        while found.last().is_none_or(|last| last.pack == found[0].pack) {
            found.push(
                packs
                    .reserve(dir.path(), (&open, &names), 65_680)
                    .unwrap()
                    .slot,
            );
        }
        let next = found.pop().unwrap();
        assert_eq!(next.range().start, 0);
        assert_eq!(found.len() as u64, PACK_UNITS / 17);
        for (two, n) in found.windows(2).zip(1..) {
            assert_eq!(two[0].range().end, two[1].range().start);
            assert_eq!(Slot::of(two[1].extent()), Some(two[1]), "{n}");
        }
    }
}
