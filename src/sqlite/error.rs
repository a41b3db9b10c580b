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
    /// Authentic, but not the newest: old bytes were put back, or newer ones taken away.
    #[error(
        "{path}: not fresh: {why}. If you put it back yourself, accept it as it is with `atrest sql accept`"
    )]
    Stale {
        /// The file.
        path: String,
        /// What shows it.
        why: String,
    },
    /// Other processes write to it all the time.
    #[error("{path}: in use by another process; try again when it is done")]
    Busy {
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
