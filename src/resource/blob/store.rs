use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{Advice, fadvise};

use crate::base::{ExtentId, FileLock, Part, create_dir_private, within};
use crate::resource::ResourceError;

use super::manifest::Extent;
use super::objects::{Object, Objects, Upload};
use super::rounds::{Rounds, Since};

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

/// The directory of an account's extents. A file there has the extent's identifier as its name.
///
/// Who reads a blob opens its files first, so that they stay whatever is removed meanwhile. A blob of more
/// extents than may be open at once is read under a lock instead, which removals wait for.
///
/// The bytes may be objects in an object store instead. Then the directory holds nothing: it and the account's are
/// what is locked, and reads are always under the lock, since an object that is removed is gone.
pub(super) struct ExtentStore {
    dir: PathBuf,
    /// `None` when the extents are files of the directory.
    objects: Option<Objects>,
    /// Nothing refers to them; they could not be removed yet.
    unwanted: Mutex<Vec<ExtentId>>,
    /// One sync of the directory makes the names of all that are written at once durable.
    names: Arc<Rounds>,
}

impl ExtentStore {
    /// The extents in `dir`, or those objects.
    pub(super) fn new(dir: PathBuf, objects: Option<Objects>) -> Self {
        Self {
            dir,
            objects,
            unwanted: Mutex::default(),
            names: Arc::default(),
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
        match &self.objects {
            None => self.dir.join(extent.to_string()),
            Some(objects) => objects.path(extent),
        }
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
    pub(super) fn writing(&self) -> Result<FileLock, ResourceError> {
        let locked = File::open(&self.dir).and_then(FileLock::shared);
        locked.map_err(|e| ResourceError::io(&self.dir, e))
    }

    /// Starts an extent. While it lives, no process collects garbage.
    pub(super) fn begin(&self, extent: ExtentId) -> Result<NewExtent, ResourceError> {
        let since = self.names.since();
        let dir = self.writing()?;
        let path = self.path(extent);
        let bytes = match &self.objects {
            Some(objects) => NewBytes::Object(Mutex::new(objects.begin(extent))),
            None => NewBytes::File(
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .map_err(|e| ResourceError::io(&path, e))?,
            ),
        };
        Ok(NewExtent {
            dir,
            path,
            bytes,
            names: self.names.clone(),
            since,
            is_whole: false,
        })
    }

    /// Opens an extent; `None` when there is none.
    pub(super) fn open(&self, extent: &Extent) -> Result<Option<OpenExtent>, ResourceError> {
        if let Some(objects) = &self.objects {
            let object: Option<Object> = objects.open(extent.id, extent.len)?;
            return Ok(object.map(|object| Box::new(object) as OpenExtent));
        }
        let path = self.path(extent.id);
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

    /// Removes extents that nothing refers to; with the next removal, when somebody reads a long blob or
    /// removes something at this moment. One that resists is left to the next collection.
    pub(super) fn remove(&self, extents: &[ExtentId]) {
        // A holder cannot panic.
        let mut unwanted = self.unwanted.lock().unwrap_or_else(|e| e.into_inner());
        unwanted.extend(extents);
        let Ok(Ok(_alone)) = File::open(self.account()).map(FileLock::try_exclusive) else {
            return;
        };
        if let Some(objects) = &self.objects {
            let _ = objects.remove(&std::mem::take(&mut *unwanted));
            return;
        }
        for extent in unwanted.drain(..) {
            let _ = fs::remove_file(self.path(extent));
        }
    }

    /// The account's directory, whose lock is the one of long reads.
    fn account(&self) -> &Path {
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
    pub(super) fn collect_garbage(
        &self,
        is_referred_to: impl Fn(ExtentId) -> Result<bool, ResourceError>,
    ) -> Result<(), ResourceError> {
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
                if !is_referred_to(extent)? {
                    garbage.push(extent);
                }
            }
            return objects.remove(&garbage);
        }
        for path in self.files()? {
            let name = path.file_name().and_then(|name| name.to_str());
            let extent = name.and_then(|name| name.parse::<ExtentId>().ok());
            if let Some(extent) = extent
                && !is_referred_to(extent)?
            {
                fs::remove_file(&path).map_err(|e| ResourceError::io(&path, e))?;
            }
        }
        Ok(())
    }
}

/// An extent that is being written, and that nothing refers to; removed when dropped before it is whole.
pub(super) struct NewExtent {
    dir: FileLock,
    path: PathBuf,
    bytes: NewBytes,
    names: Arc<Rounds>,
    since: Since,
    is_whole: bool,
}

enum NewBytes {
    File(File),
    Object(Mutex<Upload>),
}

impl NewExtent {
    /// Where it is, or will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds to its end.
    pub(super) fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match &self.bytes {
            NewBytes::File(file) => (&*file).write_all(bytes),
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
        if let (NewBytes::File(_), false) = (&self.bytes, self.is_whole) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
