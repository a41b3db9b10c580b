use std::io;
use std::path::Path;

use crate::resource::ResourceError;
use crate::vault::VaultError;

use super::BadAddress;
use super::landscape::Refusal;

/// Why a working directory did not do it.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// There is no working directory.
    #[error("{0}: no working directory (it has no atrest.json); make one with `atrest init`")]
    NoWorkspace(String),
    /// A new working directory needs an empty place.
    #[error("{0}: not empty; give a new directory, or an empty one")]
    NotEmpty(String),
    /// Written by a newer version of the program.
    #[error(
        "{path}: format version {version} is newer than this program reads ({reads}); use a newer one"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its version.
        version: u64,
        /// The newest version that this program reads.
        reads: u64,
    },
    /// Not a configuration file that this program wrote.
    #[error("{path}: {why}; restore the file from a backup")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another process changes the working directory.
    #[error("{0}: another process is changing this working directory; try again when it is done")]
    Busy(String),
    /// Other processes have a database open that is to get another file in its place.
    #[error("{path}: open in {}: close it there, and try again", .by.join(", "))]
    OpenElsewhere {
        /// The file.
        path: String,
        /// The processes.
        by: Vec<String>,
    },
    /// No such environment.
    #[error("no environment {0}; `atrest status` lists them")]
    NoEnvironment(String),
    /// An address without an environment where there are several.
    #[error("{0}: there are several environments; say which one, as in ENVIRONMENT/{0}")]
    WhichEnvironment(String),
    /// No such resource.
    #[error("no resource {0}; `atrest status` lists them")]
    NoResource(String),
    /// The name is taken.
    #[error("{0}: exists already; choose another name")]
    Exists(String),
    /// It cannot be done to this resource.
    #[error("{0}")]
    Usage(String),
    /// There is no landscape.
    #[error("{0}: no landscape here; make one with `atrest tenant create NAME`")]
    NoLandscape(String),
    /// No such part of a landscape.
    #[error("no {kind} {name}; `atrest {}` lists them", .listed_by)]
    NoEntity {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The command that lists such things, without the program's name.
        listed_by: &'static str,
    },
    /// A rule of the landscape.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not a name or an address.
    #[error(transparent)]
    Address(#[from] BadAddress),
    /// A resource refused.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A vault refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file system failed.
    #[error("{path}: {source}; nothing was changed")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
}

impl WorldError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}
