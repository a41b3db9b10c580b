//! The resources that hold data: SQL databases and storage accounts, each either plain or protected
//! by a key in a vault. `sql` and `blob` never name each other.

pub mod blob;
pub mod sql;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::base::{KeyRef, ResourceId};
use crate::envelope::{EnvelopeError, ResourceKind};
use crate::sqlite::SealedError;
use crate::vault::{KeyWrapper, VaultError};

/// How a resource's data is protected at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "protection", rename_all = "kebab-case")]
pub enum Protection {
    /// Not at all: the twin that shows that a detector works.
    Plain,
    /// By the provider's key.
    ServiceManaged {
        /// The provider's key.
        key: KeyRef,
    },
    /// By the customer's key.
    CustomerManaged {
        /// The customer's key.
        key: KeyRef,
    },
}

impl Protection {
    /// The key that wraps the resource's data encryption key.
    pub fn key(&self) -> Option<&KeyRef> {
        match self {
            Self::Plain => None,
            Self::ServiceManaged { key } | Self::CustomerManaged { key } => Some(key),
        }
    }
}

/// What the lab, the world and the command line need of every resource.
pub trait ProtectedResource {
    /// Its identity, which every sealed unit of it authenticates.
    fn id(&self) -> ResourceId;

    /// Its kind.
    fn kind(&self) -> ResourceKind;

    /// How it is protected.
    fn protection(&self) -> &Protection;

    /// Exactly the files that a thief would take, as they are now.
    fn files(&self) -> Result<Vec<PathBuf>, ResourceError>;

    /// Reads and authenticates every byte whose key is at hand. `progress` is told bytes done and bytes in all.
    fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, ResourceError>;

    /// Wraps the data encryption key anew, with the newest version of `to`. No data is touched.
    fn rewrap(&mut self, to: &Protection) -> Result<Rewrapped, ResourceError>;
}

/// What [`ProtectedResource::verify`] read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Sealed units (pages, frames, chunks) that were authenticated.
    pub units: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What was not read, since its key is not at hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<blob::LeftOut>,
}

/// What [`ProtectedResource::rewrap`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrapped {
    /// The key version before, as in its identifier.
    pub from: String,
    /// The key version now.
    pub to: String,
    /// Bytes written: headers only.
    pub bytes_rewritten: u64,
    /// Bytes of data that were left alone.
    pub bytes_untouched: u64,
    /// Encryption scopes whose keys are not available, and were left as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<blob::ScopeName>,
}

/// How resources reach the vaults.
pub type Wrapper = Arc<dyn KeyWrapper>;

/// Why a resource did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The key cannot be used: the vault refused, with its reason. Nothing is known of the data.
    #[error("{path}: the data encryption key is not available: {why}")]
    KeyUnavailable {
        /// The resource's file or directory.
        path: String,
        /// The vault's reason.
        why: String,
        /// What that is the loss of.
        loss: KeyLoss,
    },
    /// A tag did not fit: altered, moved, cut, or not made under this key. Tells nothing more.
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
    /// Not a file of this kind, or of a newer format.
    #[error("{path}: {why}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No such blob, or no such resource.
    #[error("{0}: not found")]
    NotFound(String),
    /// No such container of a storage account.
    #[error("{0}: there is no such container")]
    NoContainer(String),
    /// A blob or container is not in a state in which it may be done.
    #[error("{what}: its state is not the one that was asked for")]
    ConditionNotMet {
        /// The blob or container.
        what: String,
        /// Whether it was asked for something else than this state.
        unchanged: bool,
    },
    /// A blob is encrypted otherwise than the request says.
    #[error("{what}: {mismatch}")]
    Encryption {
        /// The blob or block.
        what: String,
        /// How.
        mismatch: EncryptionMismatch,
    },
    /// No such encryption scope of a storage account.
    #[error("{0}: there is no such encryption scope")]
    NoScope(String),
    /// An encryption scope is disabled.
    #[error("the encryption scope {0} is disabled")]
    ScopeDisabled(String),
    /// A container takes blobs under its own encryption scope only.
    #[error("{0}: takes blobs under its own encryption scope only")]
    ScopeForced(String),
    /// A block cannot be put or committed.
    #[error("{0}")]
    BadBlock(String),
    /// The rules of a storage account forbid it.
    #[error("{0}")]
    Refused(#[from] blob::Refusal),
    /// It exists already.
    #[error("{0}: exists already; choose another name, or remove it first")]
    Exists(String),
    /// The caller's mistake.
    #[error("{0}")]
    Usage(String),
    /// Another process holds it.
    #[error("{path}: in use by another process; try again when it is done")]
    Busy {
        /// The file.
        path: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// SQLite refused a statement or a file.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database.
        path: String,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// What is lost when a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLoss {
    /// The key: disabled, deleted, purged, or not one that opens this.
    Key,
    /// The vault: not there, sealed, or out of reach.
    Vault,
    /// The right to use the key.
    Access,
}

impl KeyLoss {
    /// What the vault's refusal means.
    pub fn of(error: &VaultError) -> Self {
        match error {
            VaultError::VaultNotFound(_)
            | VaultError::Unreachable { .. }
            | VaultError::RootKey { .. }
            | VaultError::Sealed
            | VaultError::Busy { .. }
            | VaultError::Store { .. } => Self::Vault,
            VaultError::Forbidden { .. } | VaultError::NotAuthorized { .. } => Self::Access,
            _ => Self::Key,
        }
    }
}

/// How a blob is encrypted otherwise than a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionMismatch {
    /// It is under a key that its client must give, and none was given.
    #[error("it is encrypted with a key that its client gives with each request; give that key")]
    KeyNeeded,
    /// A key was given, and it is under none of its client's.
    #[error("it is not encrypted with a key of its client's; give none")]
    NoKeyUsed,
    /// It is under another key than the one that was given.
    #[error("it is encrypted with another key than the one that was given")]
    Other,
}

impl ResourceError {
    /// An envelope's refusal, at `path`.
    pub fn envelope(path: &std::path::Path, error: &EnvelopeError) -> Self {
        let path = path.display().to_string();
        match error {
            EnvelopeError::Format(e) => Self::Format {
                path,
                why: e.to_string(),
            },
            EnvelopeError::Vault(e) => Self::vault(path, e),
            EnvelopeError::Mismatch => Self::Unauthentic { path },
        }
    }

    /// A vault's refusal. A wrapped key that does not open is like any other failed tag.
    pub fn vault(path: impl AsRef<std::path::Path>, error: &VaultError) -> Self {
        let path = path.as_ref().display().to_string();
        match error {
            VaultError::UnwrapFailed => Self::Unauthentic { path },
            other => Self::KeyUnavailable {
                path,
                why: other.to_string(),
                loss: KeyLoss::of(other),
            },
        }
    }

    /// An error of SQLite on the file at `path`.
    pub fn sqlite(path: &std::path::Path, source: rusqlite::Error) -> Self {
        let path = path.display().to_string();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::NotADatabase) => Self::Format {
                path,
                why: "not a SQLite database, or encrypted by another program".to_owned(),
            },
            _ => Self::Sqlite { path, source },
        }
    }

    /// A failure of the file system at `path`.
    pub fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}

impl From<SealedError> for ResourceError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Format { path, why } => Self::Format { path, why },
            SealedError::Unauthentic { path } => Self::Unauthentic { path },
            SealedError::Stale { path, why } => Self::Stale { path, why },
            SealedError::Busy { path } => Self::Busy { path },
            SealedError::KeyUnavailable { path, why } => Self::KeyUnavailable {
                path,
                why,
                loss: KeyLoss::Key,
            },
            SealedError::Io { path, source } if source.kind() == ErrorKind::AlreadyExists => {
                Self::Exists(path)
            }
            SealedError::Io { path, source } => Self::Io { path, source },
            SealedError::Sqlite { path, source } => Self::sqlite(path.as_ref(), source),
        }
    }
}
