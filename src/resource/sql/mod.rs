//! SQL databases: real SQLite files, plain or sealed.
//!
//! A protected database is a sealed SQLite file whose key slot holds an envelope; its plain twin is
//! an ordinary SQLite file. Both are reached through the same [`SqlDatabase`], so that whatever runs
//! on one runs on the other.

mod content;
mod conversion;
mod database;
mod freshness;
mod key;
mod source;
mod transfer;

pub use content::{Content, TableContent, content_hash};
pub use database::SqlDatabase;
pub use key::Keeper;
