//! Where the shared memory of write-ahead logs lives. SQLite keeps the index of a log in a mapped file
//! beside the database, with page numbers and a checksum over plaintext in it. A sealed database's
//! is in the memory file system instead; what lies beside the database, as `-shm`, is a file that holds
//! nothing but where, and that each process locks while it uses it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::base::{beside, create_dir_private, file_identity};
use crate::crypto::random_bytes;

/// The memory file system (Linux).
const MEMORY: &str = "/dev/shm";
const PREFIX: &str = "atrest-";
/// Hexadecimal digits of a directory's name.
const DIGITS: usize = 32;
/// The database's name inside its directory there.
const LINK: &str = "db";

/// The place of one database's shared memory, held for as long as this process uses it.
pub(super) struct WalIndexHome {
    signpost: File,
    signpost_path: PathBuf,
    dir: PathBuf,
}

impl WalIndexHome {
    /// Finds the place that other processes use for the database at `database`, or makes one.
    ///
    /// # Errors
    /// The file system's; [`io::ErrorKind::Unsupported`] when there is no memory file system, or the
    /// other processes use one that this one does not reach (as in two containers).
    pub(super) fn enter(database: &Path) -> io::Result<Self> {
        if !Path::new(MEMORY).is_dir() {
            return Err(unsupported(
                "a write-ahead log needs the memory file system at /dev/shm; use another journal mode",
            ));
        }
        let signpost_path = beside(database, "-shm");
        loop {
            let mut signpost = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&signpost_path)?;
            let alone = match flock(&signpost, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => true,
                Err(Errno::WOULDBLOCK) => false,
                Err(e) => return Err(e.into()),
            };
            // Whoever is alone makes the place, while others wait here.
            if !alone {
                flock(&signpost, FlockOperation::LockShared)?;
            }
            if !is_at(&signpost, &signpost_path) {
                continue;
            }
            let dir = match (read(&mut signpost, database)?, alone) {
                (Some(dir), _) => dir,
                (None, true) => make(&mut signpost, database)?,
                (None, false) => {
                    return Err(unsupported(
                        "another process has its write-ahead log open, with shared memory that \
                         this one does not reach; let both see the same /dev/shm",
                    ));
                }
            };
            flock(&signpost, FlockOperation::LockShared)?;
            return Ok(Self {
                signpost,
                signpost_path,
                dir,
            });
        }
    }

    /// The name of the database by which its shared memory gets a place here: a link to it.
    pub(super) fn link(&self) -> PathBuf {
        self.dir.join(LINK)
    }

    /// Whether nobody else uses the place; then nobody begins to before this one is gone.
    pub(super) fn is_last(&self) -> bool {
        flock(&self.signpost, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Removes the place, which nobody else uses.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(self.link());
        let _ = fs::remove_dir(&self.dir);
        let _ = fs::remove_file(&self.signpost_path);
        drop(self.signpost);
    }
}

/// Removes what a crash left of the shared memory of the database at `path`, which is about to go or to be
/// replaced.
pub fn discard_shared_memory(path: &Path) {
    let signpost_path = beside(path, "-shm");
    let Ok(mut signpost) = File::open(&signpost_path) else {
        return;
    };
    let place = path
        .canonicalize()
        .and_then(|database| read(&mut signpost, &database));
    if flock(&signpost, FlockOperation::NonBlockingLockExclusive).is_ok() {
        if let Ok(Some(dir)) = place {
            let _ = fs::remove_dir_all(dir);
        }
        let _ = fs::remove_file(signpost_path);
    }
}

/// The directory that the signpost names, when it is one of this user's and leads to `database`.
fn read(signpost: &mut File, database: &Path) -> io::Result<Option<PathBuf>> {
    let mut name = String::new();
    signpost.rewind()?;
    let most = (PREFIX.len() + DIGITS + 1) as u64;
    if signpost.take(most).read_to_string(&mut name).is_err() {
        return Ok(None);
    }
    let digits = name.strip_prefix(PREFIX).unwrap_or_default();
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let dir = Path::new(MEMORY).join(name);
    let is_ours = dir.symlink_metadata().is_ok_and(|about| {
        let user = rustix::process::geteuid().as_raw();
        about.is_dir() && about.uid() == user && about.mode() & 0o077 == 0
    });
    let leads = fs::read_link(dir.join(LINK)).is_ok_and(|target| target == database);
    Ok((is_ours && leads).then_some(dir))
}

fn make(signpost: &mut File, database: &Path) -> io::Result<PathBuf> {
    let name = format!("{PREFIX}{}", hex::encode(random_bytes::<{ DIGITS / 2 }>()));
    let dir = Path::new(MEMORY).join(&name);
    create_dir_private(&dir)?;
    symlink(database, dir.join(LINK))?;
    signpost.set_len(0)?;
    signpost.rewind()?;
    signpost.write_all(name.as_bytes())?;
    Ok(dir)
}

/// Whether `file` is still what lies at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(a), Ok(b)) => file_identity(&a) == file_identity(&b),
        _ => false,
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
