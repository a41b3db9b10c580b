use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::figures::Figures;
use super::layout::Documented;
use super::scan::Scan;
use super::search::Searcher;
use crate::lab::LabError;
use crate::lab::theft::files_below;

/// Runs all detectors over every file below `root`, which may be one file, an image of a disk, or a block device.
/// Findings carry paths relative to `root`. `progress` is told bytes done.
///
/// # Errors
/// What cannot be read, and what is no place of bytes at rest: a pipe, a terminal.
pub fn scan_copy(
    root: &Path,
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let kind = std::fs::metadata(root).map_err(|e| LabError::io(root, e))?;
    if !kind.is_dir() {
        return scan_files(root, &[root.to_owned()], searcher, progress);
    }
    scan_files(root, &files_below(root)?, searcher, progress)
}

/// As [`scan_copy`], over the files given. Large ones come one after the other, with all threads on each; so
/// memory grows with the threads, and not with the files.
pub(in crate::lab) fn scan_files(
    root: &Path,
    files: &[PathBuf],
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let opened = |path: &PathBuf| Ok((path.clone(), Bytes::open(path)?.len));
    let sizes: Vec<(PathBuf, u64)> = files.iter().map(opened).collect::<Result<_, LabError>>()?;
    let large = |len: u64| len >= LARGE;
    let one = |path: &Path| scan_file(root, path, searcher, progress);
    let small = sizes
        .par_iter()
        .enumerate()
        .filter(|(_, (_, len))| !large(*len));
    let small = small.map(|(number, (path, _))| Ok((number, one(path)?)));
    let mut all: Vec<(usize, Figures)> = small.collect::<Result<_, LabError>>()?;
    for (number, (path, len)) in sizes.iter().enumerate() {
        if large(*len) {
            all.push((number, one(path)?));
        }
    }
    all.sort_by_key(|(number, _)| *number);
    let mut sum = Figures::default();
    all.into_iter().for_each(|(_, figures)| sum.merge(figures));
    Ok(sum)
}

/// From so many bytes on, a file is worth all threads.
const LARGE: u64 = 16 << 20;

/// A file, or a block device, and its length in bytes.
struct Bytes {
    file: File,
    len: u64,
}

impl Bytes {
    fn open(path: &Path) -> Result<Self, LabError> {
        let failed = |e| LabError::io(path, e);
        // Looked at before it is opened: opening a pipe waits for somebody who writes.
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let what = format!("{} is no file and no block device", path.display());
            return Err(LabError::Report(what));
        }
        let mut file = File::open(path).map_err(failed)?;
        // A device's metadata give no length.
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Self { file, len })
    }

    /// Reads until `piece` is full, or to the end. Returns how much.
    fn fill(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
        let mut done = 0;
        while done < piece.len() {
            match self.file.read(&mut piece[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

fn scan_file(
    root: &Path,
    path: &Path,
    searcher: &Searcher,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Figures, LabError> {
    let mut bytes = Bytes::open(path)?;
    let name = match path.strip_prefix(root) {
        Ok(relative) if relative != Path::new("") => relative.to_string_lossy(),
        _ => path.file_name().unwrap_or_default().to_string_lossy(),
    };
    let mut scan = Scan::new(searcher, &name, Documented::of(path)?, bytes.len);
    let large = bytes.len >= LARGE;
    let size = if large { Scan::PIECE } else { Scan::PIECE / 8 };
    // One piece is looked at while the next one is read.
    let (mut now, mut next) = (vec![0; size], vec![0; if large { size } else { 0 }]);
    let failed = |e| LabError::io(path, e);
    let mut len = bytes.fill(&mut now).map_err(failed)?;
    while len > 0 {
        let piece = &now[..len];
        let then = if large {
            let (read, ()) = rayon::join(|| bytes.fill(&mut next), || scan.feed(piece));
            std::mem::swap(&mut now, &mut next);
            read
        } else {
            scan.feed(piece);
            bytes.fill(&mut now)
        };
        progress(len as u64);
        len = then.map_err(failed)?;
    }
    Ok(scan.finish())
}
