//! Files of the directory that is measured, and the page cache.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::BenchError;

/// A directory of its own below `dir`, gone when it is dropped.
pub(super) fn scratch(dir: &Path) -> Result<tempfile::TempDir, BenchError> {
    let made = tempfile::Builder::new()
        .prefix("atrest-bench-")
        .tempdir_in(dir);
    made.map_err(|e| BenchError::io(dir, e))
}

pub(super) fn open(path: &Path) -> Result<File, BenchError> {
    File::open(path).map_err(|e| BenchError::io(path, e))
}

pub(super) fn create(path: &Path) -> Result<File, BenchError> {
    File::create(path).map_err(|e| BenchError::io(path, e))
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), BenchError> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|e| BenchError::io(to, e))
}

pub(super) fn sync(path: &Path) -> Result<(), BenchError> {
    open(path)?.sync_all().map_err(|e| BenchError::io(path, e))
}

/// Puts all files in and below `path` out of the page cache. What a process has mapped stays.
pub(super) fn cool(path: &Path) -> Result<(), BenchError> {
    for entry in walkdir::WalkDir::new(path) {
        let entry = entry.map_err(|e| BenchError::io(path, e.into()))?;
        if entry.file_type().is_file() {
            let file = open(entry.path())?;
            // What is not on the disk yet stays, whatever is advised.
            let cooled = file
                .sync_all()
                .and_then(|()| Ok(fadvise(&file, 0, None, Advice::DontNeed)?));
            cooled.map_err(|e| BenchError::io(entry.path(), e))?;
        }
    }
    Ok(())
}

/// Bytes that this process had from a disk (`read_bytes` of proc(5)); 0 where that is not told.
pub(super) fn read_from_disk() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
