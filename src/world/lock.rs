use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::base::FileLock;

use super::WorldError;

/// The right to change a working directory's configuration, held by one process at a time and
/// given back when dropped (or when the process ends, however it ends).
pub(super) struct ChangeLock(#[expect(dead_code, reason = "held, not read")] FileLock);

/// The lock's file. Empty, and never removed: removing it would let two processes hold it.
pub(super) const LOCK: &str = "atrest.lock";

impl ChangeLock {
    /// # Errors
    /// [`WorldError::Busy`] at once when another process, or another handle here, holds it.
    pub(super) fn take(dir: &Path) -> Result<Self, WorldError> {
        let path = dir.join(LOCK);
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
