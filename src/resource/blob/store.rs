use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, Weak};

use crate::base::{ExtentId, FileLock, create_dir_private, may_wait, mutex_lock};
use crate::resource::ResourceError;

use super::catalog::Catalog;
use super::manifest::Extent;
use super::objects::{Object, Objects};
use super::pack::{self, PackedExtent, Packs};
use super::rounds::Rounds;
use super::slot::{PackId, Slot};
use super::unwanted::Unwanted;

/// Extents whose files a read opens before it begins.
const OPEN_MAX: usize = 64;

/// The bytes of an extent, which may be read from several threads at once.
pub trait ExtentBytes: Sync {
    /// How many there are.
    fn length(&self) -> io::Result<u64>;

    /// Fills `buffer` with those from `at` on.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Says that those in `range` will be read next, in order.
    fn expect(&self, range: Range<u64>);
}

impl ExtentBytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, at)
    }

    /// The system reads ahead by itself.
    fn expect(&self, _: Range<u64>) {}
}

/// An extent that is open for reading.
pub(super) type OpenExtent = Box<dyn ExtentBytes + Send>;

/// The directory of an account's extents. A file there has the extent's identifier as its name, or is a pack of short
/// ones: where an extent lies, its identifier says.
///
/// Who reads a blob opens its files first, so that they stay whatever is removed meanwhile. A blob of more
/// extents than may be open at once is read under a lock instead, which removals wait for.
///
/// The bytes may be objects in an object store instead. Then the directory holds nothing: it and the account's are
/// what is locked, and reads are always under the lock, since an object that is removed is gone.
pub(super) struct ExtentStore {
    pub(super) dir: PathBuf,
    /// `None` when the extents are files of the directory.
    pub(super) objects: Option<Objects>,
    pub(super) unwanted: Mutex<Unwanted>,
    /// One sync of the directory makes the names of all that are written at once durable.
    pub(super) names: Arc<Rounds>,
    pub(super) packs: Packs,
    /// The lock of all who write now.
    lock: Mutex<Weak<FileLock>>,
    /// How many do.
    pub(super) writers: Arc<AtomicUsize>,
}

impl ExtentStore {
    /// The extents in `dir`, or those objects.
    pub(super) fn new(dir: PathBuf, objects: Option<Objects>) -> Self {
        Self {
            dir,
            objects,
            unwanted: Mutex::default(),
            names: Arc::default(),
            packs: Packs::default(),
            lock: Mutex::default(),
            writers: Arc::default(),
        }
    }

    /// Makes the directory.
    pub(super) fn create(&self) -> Result<(), ResourceError> {
        create_dir_private(&self.dir).map_err(|e| ResourceError::io(&self.dir, e))
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the extent is.
    pub(super) fn path(&self, extent: ExtentId) -> PathBuf {
        match (&self.objects, Slot::of(extent)) {
            (Some(objects), _) => objects.path(extent),
            (None, Some(slot)) => self.pack(slot.pack),
            (None, None) => self.dir.join(extent.to_string()),
        }
    }

    pub(super) fn pack(&self, pack: PackId) -> PathBuf {
        self.dir.join(pack.to_string())
    }

    /// The objects; `None` when the extents are files.
    pub(super) fn objects(&self) -> Option<&Objects> {
        self.objects.as_ref()
    }

    /// Whether who reads so many extents keeps all from being removed, instead of opening each first.
    pub(super) fn must_keep_all(&self, extents: usize) -> bool {
        extents > OPEN_MAX || !self.stay_while_open()
    }

    /// Whether an extent that is open can be read to its end, whoever removes it meanwhile.
    pub(super) fn stay_while_open(&self) -> bool {
        self.objects.is_none()
    }

    /// While what is returned lives, no process collects garbage.
    pub(super) fn no_collection(&self) -> Result<Arc<FileLock>, ResourceError> {
        let would_wait = || ResourceError::io(&self.dir, ErrorKind::WouldBlock.into());
        let mut held = mutex_lock(&self.lock).ok_or_else(would_wait)?;
        if let Some(lock) = held.upgrade() {
            return Ok(lock);
        }
        if !may_wait() {
            return Err(would_wait());
        }
        let locked = File::open(&self.dir).and_then(FileLock::shared);
        let lock = Arc::new(locked.map_err(|e| ResourceError::io(&self.dir, e))?);
        self.packs.look(&self.dir);
        *held = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Opens an extent; `None` when there is none.
    pub(super) fn open(&self, extent: &Extent) -> Result<Option<OpenExtent>, ResourceError> {
        if let Some(objects) = &self.objects {
            let object: Option<Object> = objects.open(extent.id, extent.len)?;
            return Ok(object.map(|object| Box::new(object) as OpenExtent));
        }
        let path = self.path(extent.id);
        if let Some(slot) = Slot::of(extent.id) {
            let found = PackedExtent::open(&path, slot).map_err(|e| ResourceError::io(&path, e))?;
            return Ok(found.map(|found| Box::new(found) as OpenExtent));
        }
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(ResourceError::io(&path, e)),
        }
    }

    /// While what is returned lives, no process removes an extent that somebody refers to now.
    pub(super) fn keep_all(&self) -> Result<FileLock, ResourceError> {
        let locked = File::open(self.account()).and_then(FileLock::shared);
        locked.map_err(|e| ResourceError::io(self.account(), e))
    }

    /// The account's directory, whose lock is the one of long reads.
    pub(super) fn account(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// Every file of the directory, by name.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, ResourceError> {
        let list = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&self.dir)?.map(|e| Ok(e?.path())).collect()
        };
        let mut files = list().map_err(|e| ResourceError::io(&self.dir, e))?;
        files.sort();
        Ok(files)
    }

    /// Removes what interrupted puts left behind: extents that nothing refers to. Does nothing while any
    /// process puts a blob, or reads a long one. Files with other names are let be.
    pub(super) fn collect_garbage(&self, catalog: &Catalog) -> Result<(), ResourceError> {
        let alone_in = |dir: &Path| {
            let file = File::open(dir).map_err(|e| ResourceError::io(dir, e))?;
            match FileLock::try_exclusive(file) {
                Ok(lock) => Ok(Some(lock)),
                Err(fs::TryLockError::WouldBlock) => Ok(None),
                Err(fs::TryLockError::Error(e)) => Err(ResourceError::io(dir, e)),
            }
        };
        let (Some(_no_writer), Some(_no_reader)) =
            (alone_in(&self.dir)?, alone_in(self.account())?)
        else {
            return Ok(());
        };
        if let Some(objects) = &self.objects {
            let mut garbage = Vec::new();
            for extent in objects.extents()? {
                if !catalog.refers_to(extent)? {
                    garbage.push(extent);
                }
            }
            return objects.remove(&garbage);
        }
        for path in self.files()? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let done = if let Ok(pack) = name.parse::<PackId>() {
                let slots = catalog.referred_to_between(pack.bounds())?.into_iter();
                match &*slots.filter_map(Slot::of).collect::<Vec<_>>() {
                    [] => fs::remove_file(&path),
                    kept => {
                        // Where somebody reads, it is left to the next opening.
                        pack::keep_only(&path, kept);
                        Ok(())
                    }
                }
            } else if let Ok(extent) = name.parse::<ExtentId>()
                && !catalog.refers_to(extent)?
            {
                fs::remove_file(&path)
            } else {
                Ok(())
            };
            done.map_err(|e| ResourceError::io(&path, e))?;
        }
        Ok(())
    }
}
