//! SQLite on sealed files. A VFS encrypts and authenticates every byte that SQLite writes: pages,
//! write-ahead log, rollback journals, temporary files. It knows keys only through [`KeySource`],
//! so the vault (under its root key) and the SQL resource (under a wrapped key) share it.
//!
//! From below: [`vfs`] is the shim over the system's VFS (the only `unsafe`); [`medium`] the two
//! interfaces between it and the sealed files; [`unit`] seals and opens one unit; [`page_file`],
//! [`wal_file`] and [`stream_file`] map what SQLite sees to units; [`header`] is the block before
//! page 1; [`database`] is what the rest of the program uses; [`host`] is for programs that load this
//! library into their own SQLite.

mod conversion;
mod convert;
mod database;
mod error;
mod header;
mod host;
mod journal_file;
mod keys;
mod medium;
mod overlay;
mod page_conversion;
mod page_file;
mod page_freshness;
mod page_sealer;
mod page_size;
mod plain_file;
mod position;
mod progress;
mod record;
mod shared;
mod side;
mod slots;
mod stream_file;
mod tracker;
mod unit;
mod verify;
mod vfs;
mod view;
mod wal_file;
mod wal_follow;
mod wal_frames;
mod wal_index;

pub use conversion::Conversion;
pub use database::{SealedDatabase, database_files, file_uri};
pub use error::SealedError;
pub use host::{Host, Refused};
pub use keys::{Encryptor, KeySource, KeyUnavailable, Succession};
pub use page_sealer::PageSealer;
pub use page_size::{Freshness, KEY_SLOT_LEN, PageSize};
pub use plain_file::{disown, is_disowned, scrub};
pub use position::Position;
pub use progress::Progress;
pub use vfs::{load_extension, reserve_for_seal};
pub use wal_index::discard_shared_memory;
