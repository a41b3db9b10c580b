use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::ResourceId;

use super::KeySource;

/// Length of a key slot: where a sealed file keeps how its key is got (an envelope, or a vault's
/// root key record). Public; authenticated by the header's MAC.
pub const KEY_SLOT_LEN: usize = 768;

/// Size of a page, in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// SQLite's default.
    pub const DEFAULT: Self = Self(4096);

    /// `None` when `bytes` is no page size.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65536).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Why a sealed file does not open.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// Not a sealed SQLite file, of a newer format, or malformed.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tag did not fit: altered, moved, cut, or not of this file and key.
    #[error(
        "{path}: authentication failed: the data was altered, moved or cut, or is not of this resource and key"
    )]
    Unauthentic {
        /// The file.
        path: String,
    },
    /// The key may not be used; the vault's reason.
    #[error("{path}: the key is not available: {why}")]
    KeyUnavailable {
        /// The file.
        path: String,
        /// The reason.
        why: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database.
        path: String,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// A sealed SQLite database: its file, its key, and connections to it. (Skeleton: not sealed yet.)
pub struct SealedDatabase {
    path: PathBuf,
}

impl SealedDatabase {
    /// Makes a new file at `path` (which must not exist) that is sealed from its first byte on.
    pub fn create(
        path: &Path,
        _file: ResourceId,
        _page_size: PageSize,
        slot: &[u8; KEY_SLOT_LEN],
        _keys: Arc<dyn KeySource>,
    ) -> Result<Self, SealedError> {
        std::fs::write(path.with_extension("slot"), slot).expect("skeleton");
        std::fs::write(path, []).expect("skeleton");
        Ok(Self { path: path.into() })
    }

    /// The key slots of a sealed file, newest first: not yet authenticated, since the key is what
    /// they lead to.
    pub fn key_slots(path: &Path) -> Result<Vec<[u8; KEY_SLOT_LEN]>, SealedError> {
        let slot = std::fs::read(path.with_extension("slot")).expect("skeleton");
        Ok(vec![slot.try_into().expect("skeleton")])
    }

    /// Opens the sealed file at `path`, whose header must be authentic under the key.
    pub fn open(
        path: &Path,
        _file: ResourceId,
        _keys: Arc<dyn KeySource>,
    ) -> Result<Self, SealedError> {
        Ok(Self { path: path.into() })
    }

    /// A new connection, foreign keys on, with a busy timeout of 5 s.
    pub fn connect(&self) -> Result<rusqlite::Connection, SealedError> {
        Ok(rusqlite::Connection::open(&self.path).expect("skeleton"))
    }

    /// The name by which SQLite's ATTACH and VACUUM INTO reach this file in this process.
    pub fn uri(&self) -> String {
        format!("file:{}", self.path.display())
    }

    /// Replaces the key slot, atomically; returns the bytes written. No page is touched.
    pub fn replace_key_slot(&self, slot: &[u8; KEY_SLOT_LEN]) -> Result<u64, SealedError> {
        std::fs::write(self.path.with_extension("slot"), slot).expect("skeleton");
        Ok(768)
    }

    /// Turns an error of a connection into the reason behind it (a key that may not be used, a
    /// failed tag), where this file knows one.
    pub fn explain(&self, error: rusqlite::Error) -> SealedError {
        SealedError::Sqlite {
            path: self.path.display().to_string(),
            source: error,
        }
    }

    /// Reads and authenticates every page of the main file and every WAL frame; returns how many
    /// units and bytes. `progress` is told bytes done and in all.
    pub fn verify(&self, _progress: &mut dyn FnMut(u64, u64)) -> Result<(u64, u64), SealedError> {
        Ok((0, 0))
    }

    /// The files that exist now: main, WAL, journal (never the shared memory, which holds no data).
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }
}
