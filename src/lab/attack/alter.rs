use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::lab::LabError;
use crate::lab::theft::read_at;

fn open(path: &Path) -> Result<File, LabError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.map_err(|e| LabError::io(path, e))
}

/// Length of the file, in bytes.
pub(super) fn len(path: &Path) -> Result<u64, LabError> {
    let meta = path.metadata().map_err(|e| LabError::io(path, e))?;
    Ok(meta.len())
}

/// All bytes of a small file.
pub(super) fn read_all(path: &Path) -> Result<Vec<u8>, LabError> {
    std::fs::read(path).map_err(|e| LabError::io(path, e))
}

/// Overwrites `bytes` at each offset, runs `trial`, and takes it back.
pub(super) fn patched<T>(
    path: &Path,
    patches: &[(u64, &[u8])],
    trial: impl FnOnce() -> T,
) -> Result<T, LabError> {
    let failed = |e| LabError::io(path, e);
    let file = open(path)?;
    let mut before = Vec::with_capacity(patches.len());
    for (at, bytes) in patches {
        let mut old = vec![0; bytes.len()];
        file.read_exact_at(&mut old, *at).map_err(failed)?;
        before.push((*at, old));
    }
    for (at, bytes) in patches {
        file.write_all_at(bytes, *at).map_err(failed)?;
    }
    let result = trial();
    for (at, old) in before {
        file.write_all_at(&old, at).map_err(failed)?;
    }
    Ok(result)
}

/// Replaces everything from `at` on by `tail`, runs `trial`, and takes it back.
pub(super) fn with_tail<T>(
    path: &Path,
    at: u64,
    tail: &[u8],
    trial: impl FnOnce() -> T,
) -> Result<T, LabError> {
    let failed = |e| LabError::io(path, e);
    let old_len = len(path)?;
    let kept = usize::try_from(old_len.saturating_sub(at)).expect("a file of this machine");
    let old = read_at(path, at, kept)?;
    let file = open(path)?;
    let put = |bytes: &[u8]| {
        file.set_len(at)
            .and_then(|()| file.write_all_at(bytes, at))
            .map_err(failed)
    };
    put(tail)?;
    let result = trial();
    put(&old)?;
    Ok(result)
}
