//! Extents that are being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Advice, fadvise};

use crate::base::{ExtentId, FileLock, Part, may_wait, within};
use crate::resource::ResourceError;

use super::objects::Upload;
use super::pack::NewSlot;
use super::rounds::{Rounds, Since};
use super::slot::{PackId, Slot, extent_in_a_file};
use super::store::ExtentStore;

/// Somebody who is about to write an extent, or has, and has not committed it.
pub(super) struct Writing(Arc<AtomicUsize>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ExtentStore {
    /// Whether somebody is about to write an extent among files, so that the next short one has a place in a pack.
    pub(super) fn has_writers(&self) -> bool {
        self.objects.is_none() && self.writers.load(Ordering::Relaxed) > 0
    }

    /// Says that an extent will be written, as soon as enough is known of it.
    pub(super) fn writing(&self) -> Writing {
        self.writers.fetch_add(1, Ordering::Relaxed);
        Writing(self.writers.clone())
    }

    /// Starts an extent; `len` is how long it will be if it is short. While it lives, no process collects garbage.
    ///
    /// A short one has a place in a pack when others write, too, and else a file of its own. Only a place in a pack that is
    /// there is had without waiting.
    pub(super) fn begin(
        &self,
        writing: Writing,
        len: Option<u64>,
    ) -> Result<NewExtent, ResourceError> {
        let since = self.names.since();
        let failed = |path: &Path, e| ResourceError::io(path, e);
        let packed = len.filter(|_| self.writers.load(Ordering::Relaxed) > 1);
        if (self.objects.is_some() || packed.is_none()) && !may_wait() {
            return Err(failed(&self.dir, ErrorKind::WouldBlock.into()));
        }
        let dir = self.no_collection()?;
        let (id, bytes) = match (&self.objects, packed) {
            (Some(objects), _) => {
                let id = extent_in_a_file();
                (id, NewBytes::Object(Mutex::new(objects.begin(id))))
            }
            (None, Some(len)) => {
                let slot = (self.packs).reserve(&self.dir, (dir.file(), &self.names), len);
                let slot = slot.map_err(|e| failed(&self.dir, e))?;
                (slot.slot.extent(), NewBytes::Slot(slot))
            }
            (None, None) => {
                let id = extent_in_a_file();
                let path = self.path(id);
                let mut options = OpenOptions::new();
                let options = options.write(true).create_new(true).mode(0o600);
                let file = options.open(&path).map_err(|e| failed(&path, e))?;
                (id, NewBytes::File(file))
            }
        };
        Ok(NewExtent {
            id,
            dir,
            path: self.path(id),
            bytes,
            names: self.names.clone(),
            since,
            is_durable: false,
            is_kept: false,
            _writing: writing,
        })
    }
}

/// An extent that is being written, and that nothing refers to; removed when it is dropped before it is kept, but for an
/// object that is finished.
pub(super) struct NewExtent {
    id: ExtentId,
    dir: Arc<FileLock>,
    path: PathBuf,
    bytes: NewBytes,
    names: Arc<Rounds>,
    since: Since,
    is_durable: bool,
    is_kept: bool,
    _writing: Writing,
}

enum NewBytes {
    File(File),
    Slot(NewSlot),
    Object(Mutex<Upload>),
}

impl NewExtent {
    /// Which it is.
    pub(super) fn id(&self) -> ExtentId {
        self.id
    }

    /// Whether it has a place in a pack.
    pub(super) fn is_in_a_pack(&self) -> bool {
        matches!(self.bytes, NewBytes::Slot(_))
    }

    /// What must be written before its bytes.
    pub(super) fn head(&self) -> Option<[u8; Slot::HEAD_LEN]> {
        match &self.bytes {
            NewBytes::Slot(slot) => Some(slot.head()),
            NewBytes::File(_) | NewBytes::Object(_) => None,
        }
    }

    /// Where it is, or will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds to its end.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.bytes {
            NewBytes::File(file) => (&*file).write_all(bytes),
            NewBytes::Slot(slot) => slot.write_all(bytes),
            NewBytes::Object(upload) => upload
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .write(bytes),
        }
    }

    /// Has the disk start with these bytes of it, which are written.
    pub(super) fn write_back(&self, written: Range<u64>) {
        if let NewBytes::File(file) = &self.bytes {
            let len = NonZeroU64::new(written.end - written.start);
            // On Linux this advice starts the write-back of dirty pages, and drops clean ones, of
            // which a fresh file has none. Being advice, it may fail.
            let _ = fadvise(file, written.start, len, Advice::DontNeed);
        }
    }

    /// From now on something may refer to it: whether that does, the catalog knows.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Makes what is written, which must be whole, durable under its name.
    pub(super) fn publish(&mut self) -> Result<(), ResourceError> {
        let mut done = Self::publish_all([self]);
        done.pop().expect("one is told of one")
    }

    /// The same of several: one sync for those in the same pack.
    pub(super) fn publish_all<'a>(
        all: impl IntoIterator<Item = &'a mut Self>,
    ) -> Vec<Result<(), ResourceError>> {
        let mut packs: Vec<(PackId, Result<(), io::ErrorKind>)> = Vec::new();
        let publish = |new: &mut Self| {
            if new.is_durable {
                return Ok(());
            }
            let durable = match &mut new.bytes {
                NewBytes::File(file) => within(Part::Sync, || {
                    file.sync_all()?;
                    new.names.join(&new.since, || new.dir.file().sync_all())
                }),
                // Its pack's name is durable.
                NewBytes::Slot(slot) => {
                    let pack = slot.slot.pack;
                    match packs.iter().find(|(synced, _)| *synced == pack) {
                        Some((_, done)) => done.map_err(io::Error::from),
                        None => {
                            let done = within(Part::Sync, || slot.sync());
                            packs.push((pack, done.as_ref().copied().map_err(io::Error::kind)));
                            done
                        }
                    }
                }
                NewBytes::Object(upload) => within(Part::System, || {
                    upload.get_mut().unwrap_or_else(|e| e.into_inner()).finish()
                }),
            };
            durable.map_err(|e| ResourceError::io(&new.path, e))?;
            new.is_durable = true;
            Ok(())
        };
        all.into_iter().map(publish).collect()
    }
}

impl Drop for NewExtent {
    fn drop(&mut self) {
        match &self.bytes {
            _ if self.is_kept => (),
            NewBytes::File(_) => drop(fs::remove_file(&self.path)),
            NewBytes::Slot(slot) => slot.give_back(),
            NewBytes::Object(_) => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(store: &ExtentStore, len: Option<u64>) -> NewExtent {
        let new = store.begin(store.writing(), len).unwrap();
        new.write_all(&new.head().unwrap_or_default()).unwrap();
        new.write_all(b"data").unwrap();
        new
    }

    #[test]
    fn what_is_not_durable_is_told_to_everybody_in_its_pack_and_to_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = ExtentStore::new(dir.path().join("extents"), None);
        store.create().unwrap();
        let alone = written(&store, Some(4));
        let (first, second) = (written(&store, Some(4)), written(&store, Some(4)));
        let NewBytes::Slot(slot) = &first.bytes else {
            panic!("among others");
        };
        slot.fail_sync();
        let of_another_pack = written(&store, Some(4));
        let ids = [first.id, second.id, of_another_pack.id].map(|id| Slot::of(id).unwrap().pack);
        assert!(ids[0] == ids[1] && ids[1] != ids[2]);

        let mut all = [first, alone, of_another_pack, second];
        let told = NewExtent::publish_all(&mut all).into_iter();
        let durable: Vec<bool> = told.map(|told| told.is_ok()).collect();
        assert_eq!(durable, [false, true, true, false]);
        // One that is asked for once more does not become durable by that.
        let told = NewExtent::publish_all(&mut all).into_iter();
        assert_eq!(told.map(|told| told.is_ok()).collect::<Vec<_>>(), durable);
        let files = || store.files().unwrap().len();
        assert_eq!(files(), 3);
        all[1].keep();
        drop(all);
        assert_eq!(files(), 3, "what is kept, and packs");
    }

    #[test]
    fn file_that_nobody_keeps_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = ExtentStore::new(dir.path().join("extents"), None);
        store.create().unwrap();
        let (mut kept, mut other) = (written(&store, None), written(&store, None));
        kept.publish().unwrap();
        kept.keep();
        other.publish().unwrap();
        let path = kept.path().to_owned();
        drop((kept, other));
        assert_eq!(store.files().unwrap(), [path]);
    }
}
