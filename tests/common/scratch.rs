//! Directories for databases, in memory where the system has such a place: many tests sync thousands of times.

use std::fs;
use std::ops::Deref;
use std::path::Path;

use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

/// A directory that goes with the test, and what its databases have in shared memory with it: processes
/// that were killed leave that.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(match Path::new(MEMORY).is_dir() {
            true => tempfile::tempdir_in(MEMORY).unwrap(),
            false => tempfile::tempdir().unwrap(),
        })
    }
}

impl Deref for Scratch {
    type Target = TempDir;

    fn deref(&self) -> &TempDir {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_shared_memory(self.path());
    }
}

/// Removes the shared memory that names in `dir` and below it lead to (docs/format.md, "Shared memory").
pub fn remove_shared_memory(dir: &Path) {
    for entry in walkdir::WalkDir::new(dir).into_iter().flatten() {
        let is_name = entry.file_name().to_string_lossy().ends_with("-shm");
        let place = fs::read_to_string(entry.path()).unwrap_or_default();
        if is_name && place.starts_with("atrest-") && !place.contains('/') {
            let _ = fs::remove_dir_all(Path::new(MEMORY).join(place));
        }
    }
}
