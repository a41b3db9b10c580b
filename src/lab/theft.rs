use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::create_dir_private;
use crate::sqlite::database_files;

use super::LabError;

/// One file of a stolen copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StolenFile {
    /// Where it is in the copy: its path relative to the root that was robbed.
    pub path: String,
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

/// What was stolen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files, in the order of their paths.
    pub files: Vec<StolenFile>,
    /// Symbolic links and other things that are no files, left alone; relative paths.
    pub skipped: Vec<String>,
}

impl Manifest {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

/// Copies `files` (files, or directories with everything in them), all below `root`, byte for byte
/// into the directory `into`, and hashes what it copied. Nothing is opened as what it is: a thief
/// has a disk, not a key. Symbolic links are not followed. `progress` is told bytes done and in all.
///
/// # Errors
/// A path outside `root`, a name that is not UTF-8, a file that exists in `into` already, and
/// failures of the file system.
pub fn steal(
    root: &Path,
    files: &[PathBuf],
    into: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest, LabError> {
    let mut found = Vec::new();
    let mut manifest = Manifest::default();
    for path in files {
        for entry in walkdir::WalkDir::new(path).follow_links(false) {
            let entry = entry.map_err(|e| {
                let at = e.path().unwrap_or(path).to_owned();
                LabError::io(&at, e.into())
            })?;
            let relative = relative(root, entry.path())?;
            match entry.file_type() {
                t if t.is_file() => {
                    let size = entry
                        .metadata()
                        .map_err(|e| LabError::io(entry.path(), e.into()))?;
                    found.push((relative, entry.path().to_owned(), size.len()));
                }
                t if t.is_dir() => {}
                _ => manifest.skipped.push(relative),
            }
        }
    }
    found.sort();
    found.dedup();
    manifest.skipped.sort();
    let total = found.iter().map(|(_, _, size)| size).sum();
    let mut done = 0;
    progress(done, total);
    for (relative, from, _) in found {
        let to = into.join(&relative);
        let mut told = |bytes| {
            done += bytes;
            progress(done, total);
        };
        let (size, sha256) = copy(&from, &to, &mut told)?;
        manifest.files.push(StolenFile {
            path: relative,
            size,
            sha256,
        });
    }
    Ok(manifest)
}

fn relative(root: &Path, path: &Path) -> Result<String, LabError> {
    let refused = |why: &str| LabError::io(path, std::io::Error::other(why.to_owned()));
    let inside = path
        .strip_prefix(root)
        .map_err(|_| refused("is not below the directory that is robbed"))?;
    if inside
        .components()
        .any(|c| !matches!(c, Component::Normal(_)))
    {
        return Err(refused("is not a plain path"));
    }
    let text = inside.to_str().ok_or_else(|| refused("is not UTF-8"))?;
    Ok(text.to_owned())
}

fn copy(from: &Path, to: &Path, told: &mut dyn FnMut(u64)) -> Result<(u64, String), LabError> {
    if let Some(dir) = to.parent() {
        create_dir_private(dir).map_err(|e| LabError::io(dir, e))?;
    }
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("a small flag");
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(no_follow)
        .open(from)
        .map_err(|e| LabError::io(from, e))?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|e| LabError::io(to, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let n = source
            .read(&mut buffer)
            .map_err(|e| LabError::io(from, e))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        target
            .write_all(&buffer[..n])
            .map_err(|e| LabError::io(to, e))?;
        size += n as u64;
        told(n as u64);
    }
    Ok((size, hex::encode(hash.finalize())))
}

/// Size and SHA-256 (64 hexadecimal digits) of a file.
pub(super) fn hash_file(path: &Path) -> Result<(u64, String), LabError> {
    let mut file = File::open(path).map_err(|e| LabError::io(path, e))?;
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 18], 0);
    loop {
        let n = file.read(&mut buffer).map_err(|e| LabError::io(path, e))?;
        if n == 0 {
            return Ok((size, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

/// Copies a resource (a database with the files that belong to it, or a whole directory) into `dir`,
/// and returns where it is there. For copies of copies.
pub(super) fn duplicate(path: &Path, dir: &Path) -> Result<PathBuf, LabError> {
    let name = path.file_name().ok_or_else(|| {
        LabError::io(
            path,
            std::io::Error::other("names neither a file nor a directory"),
        )
    })?;
    let root = path.parent().unwrap_or(Path::new(""));
    let files = match path.is_file() {
        true => database_files(path),
        false => vec![path.to_owned()],
    };
    for file in files {
        for entry in walkdir::WalkDir::new(&file).follow_links(false) {
            let entry = entry.map_err(|e| LabError::io(&file, e.into()))?;
            let to = dir.join(relative(root, entry.path())?);
            if entry.file_type().is_dir() {
                create_dir_private(&to).map_err(|e| LabError::io(&to, e))?;
            } else if entry.file_type().is_file() {
                fs::copy(entry.path(), &to).map_err(|e| LabError::io(&to, e))?;
            }
        }
    }
    Ok(dir.join(name))
}

/// Copies the files of a vault, without its key file.
pub(super) fn copy_vault(from: &Path, to: &Path) -> Result<(), LabError> {
    create_dir_private(to).map_err(|e| LabError::io(to, e))?;
    let is_key = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "key");
    for file in list(from)? {
        if file.is_file() && !is_key(&file) {
            let copy = to.join(file.file_name().unwrap_or_default());
            fs::copy(&file, &copy).map_err(|e| LabError::io(&file, e))?;
        }
    }
    Ok(())
}

/// What is in a directory, by name.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, LabError> {
    let paths = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|e| Ok(e?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let mut paths = paths.map_err(|e| LabError::io(dir, e))?;
    paths.sort();
    Ok(paths)
}

/// Every file below `dir`, in the order of their paths.
pub(super) fn files_below(dir: &Path) -> Result<Vec<PathBuf>, LabError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|e| LabError::io(dir, e.into()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Bytes `at..at + len` of a file, fewer at its end.
pub(super) fn read_at(path: &Path, at: u64, len: usize) -> Result<Vec<u8>, LabError> {
    let mut bytes = vec![0; len];
    let file = File::open(path).map_err(|e| LabError::io(path, e))?;
    let mut done = 0;
    while done < len {
        match file.read_at(&mut bytes[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) => return Err(LabError::io(path, e)),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_out_of_the_data_is_not_followed_and_not_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let (root, loot) = (dir.path().join("data"), dir.path().join("loot"));
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/a"), b"stolen").unwrap();
        fs::write(dir.path().join("secret"), b"outside").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("link")).unwrap();
        let mut last = (0, 0);
        let manifest = steal(&root, std::slice::from_ref(&root), &loot, &mut |d, t| {
            last = (d, t)
        })
        .unwrap();
        assert_eq!(manifest.skipped, ["link"]);
        assert_eq!(manifest.files.len(), 1);
        assert_eq!(manifest.files[0].path, "sub/a");
        assert_eq!(
            manifest.files[0].sha256,
            hex::encode(crate::crypto::sha256(&[b"stolen"]))
        );
        assert_eq!(fs::read(loot.join("sub/a")).unwrap(), b"stolen");
        assert_eq!((manifest.bytes(), last), (6, (6, 6)));
    }

    #[test]
    fn a_file_outside_the_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("other"), b"x").unwrap();
        let outside = [dir.path().join("other")];
        let loot = dir.path().join("loot");
        let mut quiet = |_, _| ();
        assert!(steal(&dir.path().join("data"), &outside, &loot, &mut quiet).is_err());
        assert!(steal(dir.path(), &outside, &loot, &mut quiet).is_ok());
    }
}
