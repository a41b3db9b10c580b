use std::io;
use std::path::Path;

use crate::envelope::EnvelopeError;
use crate::resource::ResourceError;
use crate::sqlite::{KeyUnavailable, SealedError};
use crate::vault::VaultError;
use crate::world::WorldError;

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// SQLite failed.
    #[error("the SQL workload: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A sealed file.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyUnavailable),
    /// A resource.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A working directory.
    #[error(transparent)]
    World(#[from] WorldError),
    /// An envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The server that is measured.
    #[error("the server that is measured: {0}")]
    Served(String),
    /// A file of results.
    #[error("{path}: {why}; give a file that `atrest bench --json` wrote")]
    Results {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A picture or a page.
    #[error("the report: {0}")]
    Report(String),
    /// What is measured gave another result than it must: no time of it means anything.
    #[error("{0}: it did not do what is measured")]
    Wrong(&'static str),
}

impl BenchError {
    /// A failure at `path`.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}
