//! The key vault: keys and their versions, the rules on their use, soft-delete, backup, and an
//! audit record of every use. Names, fields and rules are those of Azure Key Vault; the wire is
//! not here.
//!
//! | file          | what it is for |
//! |---------------|----------------|
//! | `api.rs`, `bundle.rs`, `secret_api.rs` | what a resource and an administrator see of any vault |
//! | `local.rs`, `status.rs`  | a vault in a directory: make, open, seal, change the root key |
//! | `keys.rs`, `rotate.rs`, `rotation.rs` | the administration of keys, and when they are rotated by themselves |
//! | `wrapping.rs`, `cryptography.rs`, `use_row.rs`, `key_cache.rs` | the use of keys, the rules on it, and the keys in memory |
//! | `secrets.rs`, `secret_rows.rs` | secrets, and their tables' rows |
//! | `store.rs`, `group.rs`, `checkpoint.rs`, `schema.rs`, `rows.rs` | transactions that end in audit records, alone or for many at once, and the tables |
//! | `sealed_field.rs` | the columns that are sealed within their rows |
//! | `files.rs`, `root.rs`, `keyfile.rs` | from the root key to the open file |
//! | `audit.rs`, `audit_record.rs`, `audit_operation.rs`, `anchor.rs` | the chain of records, and what vouches for its end |
//! | `audit_request.rs`, `audit_event.rs` | who asks, and records in the shape of Azure's logs |
//! | `backup.rs`, `secret_backup.rs`, `backup_format.rs` | a key or secret on its way out and back |
//! | `epochs.rs`   | which states of the protected files are the newest |
//! | `remote/`, `policy_json.rs`, `epoch_json.rs` | a vault behind a server, and what its API and the server's have in common |

mod anchor;
mod api;
mod audit;
mod audit_event;
mod audit_operation;
mod audit_record;
mod audit_request;
mod backup;
mod backup_format;
mod bundle;
mod checkpoint;
mod cryptography;
mod epoch_json;
mod epochs;
mod error;
mod files;
mod group;
mod key_cache;
mod keyfile;
mod keys;
mod local;
mod policy_json;
mod remote;
mod revision;
mod root;
mod rotate;
mod rotation;
mod rows;
mod schema;
mod sealed_field;
mod secret_api;
mod secret_backup;
mod secret_rows;
mod secrets;
mod status;
mod store;
mod use_row;
mod wrapping;

pub use anchor::AuditAnchor;
pub use api::{Cryptography, KeyVault, KeyWrapper, Page, SecretVault, Used, WrappedKey};
pub use audit::{AuditFilter, AuditOutcome, AuditPage, AuditSummary};
pub use audit_event::AuditEvent;
pub use audit_operation::AuditOperation;
pub use audit_record::AuditRecord;
pub use audit_request::AuditRequest;
pub use backup::KeyBackup;
pub use backup_format::BackupError;
pub use bundle::{
    DeletedKey, KeyAttributes, KeyBundle, KeyOperation, KeySpec, KeyUpdate, RecoveryLevel, Tags,
};
pub use cryptography::{KeyUse, Made};
pub use epoch_json::{AdvanceJson, EpochJson, PositionJson};
pub use epochs::{Epoch, EpochKeeper, FreshnessCheck};
pub use error::VaultError;
pub use group::Runner;
pub use keyfile::read_key_file;
pub use local::LocalVault;
pub use policy_json::{PolicyJson, policy_json};
pub use remote::{Credential, REQUEST_TIMEOUT, RemoteOptions, RemoteVault};
pub use revision::revision;
pub use root::{RootKeyKind, RootKeySource, RootRecord, RootRecordError};
pub use rotation::{BadPeriod, Period, RotationPolicy, RotationTrigger};
pub use rows::StoredVersion;
pub use sealed_field::{Field, FieldKey};
pub use secret_api::{
    DeletedSecret, SecretBundle, SecretId, SecretSpec, SecretUpdate, SecretValue,
};
pub use secret_backup::SecretBackup;
pub use secret_rows::StoredSecret;
pub use status::{VaultSettings, VaultStatus};
pub use wrapping::PendingUse;

#[cfg(test)]
mod tests;
