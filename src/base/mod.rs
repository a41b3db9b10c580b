//! What every layer needs and none owns: identifiers, names, time, and files that are written
//! whole or not at all.

mod at_once;
mod clock;
mod files;
mod ids;
mod lock;
mod probe;
pub mod sabotage;
mod stamp;
mod vault_name;

pub use at_once::{at_once, may_wait, mutex_lock, read_lock};
pub use clock::{Clock, ManualClock, SystemClock};
pub use files::{
    beside, create_dir_private, file_identity, open_elsewhere, sync_names, write_atomic,
    write_new_atomic, write_private_new,
};
pub use ids::{
    BadId, BadKeyName, EpochId, ExtentId, GenerationId, KeyName, KeyRef, KeyVersion, KeyVersionRef,
    ResourceId, VaultId,
};
pub use lock::FileLock;
pub use probe::{Moving, Part, Recorded, leave, record, within};
pub use stamp::Stamp;
pub use vault_name::{BadVaultName, VaultName};
