//! Whether a file is still the one that was read.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::file_identity;

/// By which a state of a file is told from each other one, once it has aged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// How old a state must be before its stamp is trusted: two changes within a tick of the clock
    /// look alike, and the second may get the inode of the file before the first.
    const AGE: Duration = Duration::from_secs(1);

    /// That of a file.
    pub fn of(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: file_identity(&file),
            len: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }

    /// Whether a later change would have another stamp.
    pub fn is_settled(&self) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        SystemTime::now()
            .duration_since(changed)
            .is_ok_and(|age| age >= Self::AGE)
    }
}
