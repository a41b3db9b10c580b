//! SQLite on sealed files. A VFS encrypts and authenticates every byte that SQLite writes: pages,
//! write-ahead log, rollback journals, temporary files. It knows keys only through [`KeySource`],
//! so the vault (under its root key) and the SQL resource (under a wrapped key) share it.

mod database;
mod keys;

pub use database::{KEY_SLOT_LEN, PageSize, SealedDatabase, SealedError};
pub use keys::{KeySource, KeyUnavailable};
