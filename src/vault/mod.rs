//! The key vault: keys and their versions, the rules on their use, soft-delete, backup, and an
//! audit record of every use. Names, fields and rules are those of Azure Key Vault; the wire is
//! not here.
//!
//! | file          | what it is for |
//! |---------------|----------------|
//! | `api.rs`      | what a resource and an administrator see of any vault |
//! | `local.rs`, `status.rs`  | a vault in a directory: make, open, seal, change the root key |
//! | `keys.rs`, `wrapping.rs` | the administration of keys, and their use |
//! | `store.rs`, `rows.rs`    | transactions that end in an audit record, and the tables |
//! | `files.rs`, `root.rs`, `keyfile.rs` | from the root key to the open file |
//! | `audit.rs`, `anchor.rs`  | the chain of records, and what vouches for its end |
//! | `backup.rs`   | a key on its way out and back |
//! | `epochs.rs`   | which states of the protected files are the newest |

mod anchor;
mod api;
mod audit;
mod backup;
mod epochs;
mod error;
mod files;
mod keyfile;
mod keys;
mod local;
mod revision;
mod root;
mod rows;
mod status;
mod store;
mod wrapping;

pub use anchor::AuditAnchor;
pub use api::{
    DeletedKey, KeyAttributes, KeyBundle, KeyOperation, KeySpec, KeyUpdate, KeyVault, KeyWrapper,
    WrappedKey,
};
pub use audit::{AuditFilter, AuditOperation, AuditRecord, AuditSummary};
pub use backup::{BackupError, KeyBackup};
pub use epochs::{Epoch, EpochKeeper, FreshnessCheck};
pub use error::VaultError;
pub use keyfile::read_key_file;
pub use local::LocalVault;
pub use revision::revision;
pub use root::{RootKeyKind, RootKeySource, RootRecord, RootRecordError};
pub use rows::StoredVersion;
pub use status::{VaultSettings, VaultStatus};

#[cfg(test)]
mod tests;
