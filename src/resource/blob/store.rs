use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::base::{ExtentId, FileLock, Part, create_dir_private, within};
use crate::resource::ResourceError;

use super::rounds::{Rounds, Since};

/// The directory of an account's extents. A file there has the extent's identifier as its name.
///
/// Who reads a blob opens its files first, so that they stay whatever is removed meanwhile. A blob of more
/// extents than may be open at once is read under a lock instead, which removals wait for.
pub(super) struct ExtentStore {
    dir: PathBuf,
    /// Nothing refers to them; they could not be removed yet.
    unwanted: Mutex<Vec<ExtentId>>,
    /// One sync of the directory makes the names of all that are written at once durable.
    names: Arc<Rounds>,
}

impl ExtentStore {
    /// The extents in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
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
        self.dir.join(extent.to_string())
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
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| ResourceError::io(&path, e))?;
        Ok(NewExtent {
            dir,
            file,
            path,
            names: self.names.clone(),
            since,
            is_whole: false,
        })
    }

    /// Opens an extent; `None` when there is no such file.
    pub(super) fn open(&self, extent: ExtentId) -> Result<Option<File>, ResourceError> {
        let path = self.path(extent);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
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
    file: File,
    path: PathBuf,
    names: Arc<Rounds>,
    since: Since,
    is_whole: bool,
}

impl NewExtent {
    /// The file to write.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the name of the file, which must be whole and synced, durable.
    pub(super) fn publish(&mut self) -> Result<(), ResourceError> {
        let synced = within(Part::Sync, || {
            self.names.join(&self.since, || self.dir.file().sync_all())
        });
        synced.map_err(|e| ResourceError::io(&self.path, e))?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for NewExtent {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.path);
        }
    }
}
