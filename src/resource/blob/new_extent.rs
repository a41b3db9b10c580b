//! Extents that are being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Advice, fadvise};

use crate::base::{ExtentId, FileLock, Part, within};
use crate::resource::ResourceError;

use super::objects::Upload;
use super::pack::NewSlot;
use super::rounds::{Rounds, Since};
use super::slot::{Slot, extent_in_a_file};
use super::store::ExtentStore;

/// Somebody who is about to write an extent, or has, and has not committed it.
pub(super) struct Writing(Arc<AtomicUsize>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ExtentStore {
    /// Says that an extent will be written, as soon as enough is known of it.
    pub(super) fn writing(&self) -> Writing {
        self.writers.fetch_add(1, Ordering::Relaxed);
        Writing(self.writers.clone())
    }

    /// Starts an extent; `len` is how long it will be if it is short. While it lives, no process collects garbage.
    ///
    /// A short one has a place in a pack when others write, too, and else a file of its own.
    pub(super) fn begin(
        &self,
        writing: Writing,
        len: Option<u64>,
    ) -> Result<NewExtent, ResourceError> {
        let since = self.names.since();
        let dir = self.no_collection()?;
        let among_others = self.writers.load(Ordering::Relaxed) > 1;
        let failed = |path: &Path, e| ResourceError::io(path, e);
        let (id, bytes) = match (&self.objects, len.filter(|_| among_others)) {
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
            is_whole: false,
            _writing: writing,
        })
    }
}

/// An extent that is being written, and that nothing refers to; removed when dropped before it is whole.
pub(super) struct NewExtent {
    id: ExtentId,
    dir: Arc<FileLock>,
    path: PathBuf,
    bytes: NewBytes,
    names: Arc<Rounds>,
    since: Since,
    is_whole: bool,
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

    /// Has what is written reach the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.bytes {
            NewBytes::File(file) => file.sync_all(),
            NewBytes::Slot(slot) => slot.sync(),
            // It is durable when it is finished.
            NewBytes::Object(_) => Ok(()),
        }
    }

    /// Makes what is written, which must be whole and synced, durable under its name.
    pub(super) fn publish(&mut self) -> Result<(), ResourceError> {
        let published = match &mut self.bytes {
            NewBytes::File(_) => within(Part::Sync, || {
                self.names.join(&self.since, || self.dir.file().sync_all())
            }),
            // Its pack's name is durable.
            NewBytes::Slot(_) => Ok(()),
            NewBytes::Object(upload) => {
                upload.get_mut().unwrap_or_else(|e| e.into_inner()).finish()
            }
        };
        published.map_err(|e| ResourceError::io(&self.path, e))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for NewExtent {
    fn drop(&mut self) {
        match &self.bytes {
            _ if self.is_whole => (),
            NewBytes::File(_) => drop(fs::remove_file(&self.path)),
            NewBytes::Slot(slot) => slot.give_back(),
            NewBytes::Object(_) => (),
        }
    }
}
