use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// The file beside `path` whose name goes on with `ending`.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Creates `path` and its parents, readable by the owner only (mode 0700).
pub fn create_dir_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces `path` by `bytes`, or leaves it as it was: the bytes go to a temporary file beside it,
/// are synced, and are renamed over it; then the directory is synced. Mode 0600.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = written_beside(path, bytes)?;
    temp.persist(path).map_err(|e| e.error)?;
    sync_names(path)
}

/// Writes a file that must not exist yet, mode 0600 from its first byte on, and syncs it. Removes
/// it again when the write fails, so that nothing half written is left.
pub fn write_private_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(e) = written {
        let _ = fs::remove_file(path);
        return Err(e);
    }
    sync_names(path)
}

/// Has the name `path`, and those beside it, reach the disk: made, exchanged or removed.
pub fn sync_names(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

/// Which file it is, whatever it is called: device and inode.
pub fn file_identity(about: &fs::Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// Other processes that have this file open, as far as they are the same user's: `PID (NAME)` each.
/// By what the system shows in /proc, where it does.
pub fn open_elsewhere(path: &Path) -> io::Result<Vec<String>> {
    let about = fs::metadata(path)?;
    let is_it = |open: &PathBuf| {
        fs::metadata(open).is_ok_and(|m| file_identity(&m) == file_identity(&about))
    };
    let entries = |dir: &Path| {
        let listed = fs::read_dir(dir).into_iter().flatten().flatten();
        listed.map(|entry| entry.path())
    };
    let own = std::process::id().to_string();
    let others = entries(Path::new("/proc")).filter(|process| {
        let pid = process.file_name().unwrap_or_default().as_bytes();
        pid.iter().all(u8::is_ascii_digit) && pid != own.as_bytes()
    });
    let having = others.filter(|process| entries(&process.join("fd")).any(|fd| is_it(&fd)));
    let named = having.map(|process| {
        let pid = process.file_name().unwrap_or_default().to_string_lossy();
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        format!("{pid} ({})", name.trim_end())
    });
    Ok(named.collect())
}

/// Writes a file that must not exist yet, so that nobody ever sees half of it. Mode 0600. The error is
/// [`io::ErrorKind::AlreadyExists`] when somebody else was first.
pub fn write_new_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temp = written_beside(path, bytes)?;
    temp.persist_noclobber(path).map_err(|e| e.error)?;
    sync_names(path)
}

/// A temporary file of these bytes, synced, which can be renamed to `path`.
fn written_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut temp = NamedTempFile::new_in(parent(path))?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    Ok(temp)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
