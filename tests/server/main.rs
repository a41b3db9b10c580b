//! `atrest serve` on the wire: whom it answers, what it refuses, and what its log tells.

#![allow(clippy::unwrap_used)]

mod access;
mod audit;
mod blob_keys;
mod blob_operations;
mod blob_scopes;
mod blobs;
mod client;
mod events;
mod faults;
mod flood;
mod fuzz;
mod hostile;
mod key_loss;
mod killed;
mod killed_blobs;
mod plain;
mod refusals;
mod running;
mod vaults;
