//! The files of a database, and where the units in them begin and end (docs/format.md).

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use tempfile::TempDir;

pub const FILE: ResourceId = ResourceId::from_bytes([0xf2; 16]);
pub const DEK: [u8; 32] = [0xd2; 32];
pub const PAGE: usize = 512;
pub const BLOCK: usize = 4096;
pub const TRAILER: usize = 32;
pub const FRAME_HEADER: usize = 88;
pub const CHUNK: usize = 512 + TRAILER;

const MEMORY: &str = "/dev/shm";

pub const MAIN: usize = 0;
pub const WAL: usize = 1;
pub const JOURNAL: usize = 2;
pub const SIGNPOST: usize = 3;
const ENDINGS: [&str; 4] = ["", "-wal", "-journal", "-shm"];

pub fn dek() -> Secret<32> {
    Secret::copy_from(&DEK).unwrap()
}

/// The bytes of a database's files, as far as they exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files(pub [Option<Vec<u8>>; 4]);

impl Files {
    pub fn of_main(bytes: Vec<u8>) -> Self {
        Self([Some(bytes), None, None, None])
    }

    pub fn main(&self) -> &[u8] {
        self.0[MAIN].as_deref().unwrap_or_default()
    }

    /// What lies at `path` now, but for the name of the shared memory.
    pub fn copy(path: &Path) -> Self {
        let mut files = Self(ENDINGS.map(|ending| fs::read(beside(path, ending)).ok()));
        files.0[SIGNPOST] = None;
        files
    }

    /// Makes them all that lies at `path`.
    pub fn place(&self, path: &Path) {
        sweep(path);
        for (ending, bytes) in ENDINGS.iter().zip(&self.0) {
            let path = beside(path, ending);
            match bytes {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
    }
}

/// A directory in memory where the system has one, for a database `db`.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(match Path::new(MEMORY).is_dir() {
            true => tempfile::tempdir_in(MEMORY).unwrap(),
            false => tempfile::tempdir().unwrap(),
        })
    }

    pub fn db(&self) -> PathBuf {
        self.0.path().join("db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        sweep(&self.db());
    }
}

/// Where the shared memory of the database at `path` is, if its signpost leads there.
pub fn shared_memory(path: &Path) -> Option<PathBuf> {
    let name = fs::read_to_string(beside(path, "-shm")).ok()?;
    let place = Path::new(MEMORY).join(name);
    let leads = fs::read_link(place.join("db")).is_ok_and(|target| target == path);
    leads.then_some(place)
}

/// Removes the shared memory that the files which lie there now lead to: others are put in their place.
fn sweep(path: &Path) {
    if let Some(place) = shared_memory(path) {
        fs::remove_dir_all(place).unwrap();
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

/// How the bytes of a file fall into parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    Sealed,
    Plain,
    Envelope,
    Position,
}

impl Layout {
    /// The parts of file `file` when it has `len` bytes; the last may be cut.
    pub fn parts(self, file: usize, len: usize) -> Vec<Range<usize>> {
        let (fixed, repeated): (&[usize], &[usize]) = match (self, file) {
            (Self::Sealed, MAIN) => (&HEADER_BLOCK, &[PAGE]),
            (Self::Sealed, WAL) => (&[64], &[FRAME_HEADER, PAGE]),
            (Self::Sealed, JOURNAL) => (&[], &[CHUNK]),
            (Self::Plain, WAL) => (&[32], &[24, PAGE]),
            (Self::Plain, JOURNAL) => (&[512], &[4, PAGE, 4]),
            (Self::Plain, _) => (&[], &[PAGE]),
            (Self::Envelope, _) => (&[8, 2, 1, 1, 2, 1, 1, 16, 16, 16, 128, 512, 32, 32], &[32]),
            (Self::Position, _) => (&[8, 8, 8, 16, 1, 3, 4, 8, 8, 16], &[16]),
            (Self::Sealed, _) => (&[7, 32], &[8]),
        };
        let lens = fixed.iter().chain(repeated.iter().cycle());
        let mut at = 0;
        lens.map(|part| {
            let begin = at;
            at = (at + part).min(len);
            begin..at
        })
        .take_while(|part| !part.is_empty())
        .collect()
    }
}

/// Both halves of a header block: fields, key slot and zeros, two records with what lies between, the MAC.
const HEADER_BLOCK: [usize; 32] = {
    let half = [8, 2, 1, 1, 1, 1, 1, 1, 16, 8, 24, 768, 192, 512, 480, 32];
    let mut both = [0; 32];
    let mut at = 0;
    while at < both.len() {
        both[at] = half[at % half.len()];
        at += 1;
    }
    both
};
