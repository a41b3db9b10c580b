use std::fs::{File, TryLockError};
use std::io;

use super::may_wait;

/// An advisory lock on a whole file, given back when dropped, or when the process ends.
///
/// Closing the file is not enough: a program that is just being started has a copy of each descriptor
/// of the process that starts it, until it runs.
#[derive(Debug)]
pub struct FileLock(File);

impl FileLock {
    /// Waits until nobody holds it exclusively.
    pub fn shared(file: File) -> io::Result<Self> {
        match file.try_lock_shared() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Self::wait(file, File::lock_shared),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Waits until nobody else holds it.
    pub fn exclusive(file: File) -> io::Result<Self> {
        Self::wait(file, File::lock)
    }

    fn wait(file: File, lock: fn(&File) -> io::Result<()>) -> io::Result<Self> {
        if !may_wait() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        lock(&file)?;
        Ok(Self(file))
    }

    /// Exclusively, or [`TryLockError::WouldBlock`] at once.
    pub fn try_exclusive(file: File) -> Result<Self, TryLockError> {
        file.try_lock()?;
        Ok(Self(file))
    }

    /// The file that is locked.
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_lock_given_back_is_free_although_another_has_the_descriptor_too() {
        let file = tempfile::tempfile().unwrap();
        let inherited = file.try_clone().unwrap();
        // Another description of the same file.
        let again = || File::open(format!("/proc/self/fd/{}", inherited.as_raw_fd())).unwrap();
        let lock = FileLock::try_exclusive(file).unwrap();
        assert!(again().try_lock().is_err());
        drop(lock);
        again().try_lock().unwrap();
    }
}
