use std::io;
use std::path::Path;

use crate::vault::VaultError;

/// Why the server did not start, or its files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file of the server cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A file of the server is not one that this program wrote.
    #[error("{path}: {why}; restore the file, or remove the directory {dir} to have it made anew")]
    Malformed {
        /// The file.
        path: String,
        /// The server's directory.
        dir: String,
        /// What is wrong with it.
        why: String,
    },
    /// Written by a newer version of the program.
    #[error("{path}: format version {version} is newer than this program reads; use a newer one")]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        version: u64,
    },
    /// The address cannot be listened on.
    #[error("{address}: {source}; choose another port with --port, or 0 for any free one")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// It cannot be done so.
    #[error("{0}")]
    Usage(String),
    /// The vault cannot be opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl ServerError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}
