use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::base::FileLock;

use super::WorldError;

/// The right to change something of a working directory, held by one process at a time and given back when
/// dropped (or when the process ends, however it ends). The lock's file is empty, and never removed: removing
/// it would let two processes hold it.
pub(super) struct ChangeLock(#[expect(dead_code, reason = "held, not read")] FileLock);

/// The file of the lock on the configuration.
pub(super) const LOCK: &str = "atrest.lock";

impl ChangeLock {
    /// That of the file `name` in the working directory `dir`.
    ///
    /// # Errors
    /// [`WorldError::Busy`] at once when another process, or another handle here, holds it.
    pub(super) fn take(dir: &Path, name: &str) -> Result<Self, WorldError> {
        let path = dir.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| WorldError::io(&path, e))?;
        match FileLock::try_exclusive(file) {
            Ok(lock) => Ok(Self(lock)),
            Err(TryLockError::WouldBlock) => Err(WorldError::Busy(dir.display().to_string())),
            Err(TryLockError::Error(e)) => Err(WorldError::io(&path, e)),
        }
    }
}
