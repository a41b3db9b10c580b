//! The attacks, by what they attack, and what they share: specimens, alterations that are taken
//! back, and the reading of what came out.
//!
//! Two kinds of things are attacked. The stolen copies themselves, with a few alterations chosen by
//! the seed, so that the cost does not grow with the data. And *specimens*: small databases and
//! accounts that the lab makes with the same engine and page size under a key of its own, where
//! every byte can be tried.

pub(super) mod audit;
pub(super) mod backup;
pub(super) mod blob;
pub(super) mod commitment;
pub(super) mod deleted_keys;
mod dumps;
pub(super) mod envelope;
pub(super) mod hostile;
pub(super) mod inference;
pub(super) mod key_backup;
pub(super) mod leak;
pub(super) mod logs;
pub(super) mod memory;
pub(super) mod nonce;
pub(super) mod open;
pub(super) mod oracle;
mod own_vaults;
pub(super) mod passphrase;
pub(super) mod past;
pub(super) mod past_keys;
pub(super) mod purge;
pub(super) mod residue;
pub(super) mod server;
pub(super) mod sql;
pub(super) mod swap;
pub(super) mod temporary;
pub(super) mod traversal;
pub(super) mod vault_files;

mod account;
mod alter;
mod bout;
mod database;
mod known;
mod pack;
mod served;
mod strongbox;
mod vault;
