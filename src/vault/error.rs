use crate::crypto::KeyUseError;
use crate::sqlite::SealedError;

/// Why the vault did not do it. The names follow Azure Key Vault's error codes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VaultError {
    /// `KeyNotFound`
    #[error(
        "KeyNotFound: no key {0} in this vault (never made, purged, or of another vault); see `atrest key list`"
    )]
    KeyNotFound(String),
    /// There is no vault of that name.
    #[error(
        "VaultNotFound: no vault {0} here; `atrest vault list` lists them, and `atrest vault create` makes one"
    )]
    VaultNotFound(String),
    /// `KeyNotFound`: soft-deleted, so that no use sees it, and recoverable.
    #[error(
        "KeyNotFound: key {key} was deleted; recover it with `atrest key recover` before {until}"
    )]
    KeyDeleted {
        /// Which key.
        key: String,
        /// When it goes for good.
        until: String,
    },
    /// `Forbidden` / `KeyDisabled`
    #[error("KeyDisabled: key {0} is disabled; enable it with `atrest key enable`")]
    KeyDisabled(String),
    /// `Forbidden`: outside its validity, an operation that is not permitted, purge protection.
    #[error("Forbidden: key {key} {why}; {advice}")]
    Forbidden {
        /// Which key.
        key: String,
        /// What forbids it: "has expired (2026-01-01T00:00:00Z)".
        why: String,
        /// What its owner can do, on the command line.
        advice: &'static str,
    },
    /// `Forbidden`: purge protection.
    #[error(
        "Forbidden: {object} is under purge protection until {until}, when it is purged by itself; recover it to keep it"
    )]
    PurgeProtected {
        /// Which key or secret.
        object: String,
        /// When it goes for good.
        until: String,
    },
    /// `Conflict`
    #[error("Conflict: {0}")]
    Conflict(String),
    /// `Conflict` / `ObjectIsDeletedButRecoverable`: the name is that of a soft-deleted key or secret.
    #[error(
        "Conflict: {object} is deleted but recoverable until {until}, and keeps its name; {advice}, or choose another name"
    )]
    DeletedButRecoverable {
        /// Which key or secret.
        object: String,
        /// When it goes for good.
        until: String,
        /// What its owner can do: "recover it".
        advice: &'static str,
    },
    /// `Conflict`: what is to be recovered or purged was not deleted.
    #[error("Conflict: {0} is not deleted; delete it first")]
    NotDeleted(String),
    /// `SecretNotFound`
    #[error("SecretNotFound: no secret {0} in this vault (never made, deleted, or purged)")]
    SecretNotFound(String),
    /// `Forbidden` / `SecretDisabled`
    #[error("SecretDisabled: secret {0} is disabled; enable it first")]
    SecretDisabled(String),
    /// The value does not decrypt under the key named. Tells nothing more.
    #[error("the value does not decrypt under this key")]
    DecryptFailed,
    /// The wrapped bytes do not open under the key named. Tells nothing more.
    #[error("the wrapped key does not open under this key")]
    UnwrapFailed,
    /// The vault gave something that was not asked for: it errs, or is not the vault it seems.
    #[error("the vault's answer cannot be used: {0}")]
    BadAnswer(String),
    /// No answer came from the vault's server.
    #[error(
        "the vault at {vault} cannot be reached: {why}; see that `atrest serve` runs there. What waits for \
         a key goes on by itself once it answers"
    )]
    Unreachable {
        /// Its URL.
        vault: String,
        /// What happened.
        why: String,
    },
    /// The vault's server, or who gives tokens for it, does not let this client do it.
    #[error(
        "the vault at {vault} does not let this client do it: {why}; give its identity a role (`atrest \
         identity`), or set the variables that `atrest env` prints"
    )]
    NotAuthorized {
        /// Its URL.
        vault: String,
        /// In the server's words.
        why: String,
    },
    /// Bad parameter from the caller.
    #[error("BadParameter: {0}")]
    BadParameter(String),
    /// The vault's root key is wrong, or its file was altered or cut: indistinguishable.
    #[error(
        "{path}: the root key does not open this vault, or the file was altered; give the key file or passphrase that it was last sealed with, or restore the file"
    )]
    RootKey {
        /// The vault's file.
        path: String,
    },
    /// The vault is sealed: its use waits for an administrator.
    #[error("the vault is sealed; unseal it with `atrest vault unseal` and its passphrase")]
    Sealed,
    /// The audit chain is broken.
    #[error("the audit chain is broken: {0}")]
    Audit(String),
    /// Another process holds the vault's file.
    #[error("{path}: in use by another process; try again when it is done")]
    Busy {
        /// The vault's file.
        path: String,
    },
    /// The store under the vault failed.
    #[error("{path}: {why}")]
    Store {
        /// The file.
        path: String,
        /// The cause and what to do.
        why: String,
    },
}

impl VaultError {
    /// The code by which audit records and machines know the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyNotFound(_) | Self::KeyDeleted { .. } => "KeyNotFound",
            Self::VaultNotFound(_) => "VaultNotFound",
            Self::KeyDisabled(_) => "KeyDisabled",
            Self::Forbidden { .. } | Self::PurgeProtected { .. } => "Forbidden",
            Self::Conflict(_) | Self::DeletedButRecoverable { .. } | Self::NotDeleted(_) => {
                "Conflict"
            }
            Self::SecretNotFound(_) => "SecretNotFound",
            Self::SecretDisabled(_) => "SecretDisabled",
            Self::DecryptFailed => "DecryptFailed",
            Self::UnwrapFailed => "UnwrapFailed",
            Self::BadAnswer(_) => "BadAnswer",
            Self::Unreachable { .. } => "Unreachable",
            Self::NotAuthorized { .. } => "NotAuthorized",
            Self::BadParameter(_) => "BadParameter",
            Self::RootKey { .. } => "RootKey",
            Self::Sealed => "Sealed",
            Self::Audit(_) => "Audit",
            Self::Busy { .. } => "Busy",
            Self::Store { .. } => "Store",
        }
    }

    /// The status of HTTP with which Azure Key Vault answers it.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::VaultNotFound(_)
            | Self::KeyNotFound(_)
            | Self::KeyDeleted { .. }
            | Self::SecretNotFound(_)
            | Self::NotDeleted(_) => 404,
            Self::KeyDisabled(_)
            | Self::SecretDisabled(_)
            | Self::Forbidden { .. }
            | Self::PurgeProtected { .. } => 403,
            Self::Conflict(_) | Self::DeletedButRecoverable { .. } => 409,
            Self::BadParameter(_) | Self::UnwrapFailed | Self::DecryptFailed => 400,
            Self::Sealed | Self::Busy { .. } => 503,
            Self::BadAnswer(_)
            | Self::Unreachable { .. }
            | Self::NotAuthorized { .. }
            | Self::RootKey { .. }
            | Self::Audit(_)
            | Self::Store { .. } => 500,
        }
    }

    /// A failure of the file system at `path`.
    pub(super) fn io(path: &std::path::Path, cause: &std::io::Error) -> Self {
        Self::Store {
            path: path.display().to_string(),
            why: cause.to_string(),
        }
    }
}

impl From<KeyUseError> for VaultError {
    fn from(error: KeyUseError) -> Self {
        match error {
            KeyUseError::Failed => Self::DecryptFailed,
            KeyUseError::Algorithm { .. } | KeyUseError::Parameter(_) => {
                Self::BadParameter(error.to_string())
            }
        }
    }
}

impl From<SealedError> for VaultError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Format { path, why } => Self::Store { path, why },
            SealedError::Unauthentic { path } => Self::RootKey { path },
            // The vault's file keeps no freshness record: its audit anchor does that.
            SealedError::Stale { path, why } => Self::Store { path, why },
            SealedError::Busy { path } => Self::Busy { path },
            SealedError::KeyUnavailable { .. } => Self::Sealed,
            SealedError::Io { path, source } => Self::Store {
                path,
                why: source.to_string(),
            },
            SealedError::Sqlite { path, source } => match source.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    Self::Busy { path }
                }
                Some(rusqlite::ErrorCode::DiskFull) => Self::Store {
                    path,
                    why: "the disk is full; nothing was changed: make room and try again".into(),
                },
                _ => Self::Store {
                    path,
                    why: source.to_string(),
                },
            },
        }
    }
}

/// How a step of a transaction ends early: the vault's rules refused (to be recorded), or the
/// store failed (everything is rolled back).
pub(super) enum Fault {
    Refused(VaultError),
    Store(rusqlite::Error),
}

impl From<VaultError> for Fault {
    fn from(error: VaultError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}
