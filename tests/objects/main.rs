//! Extents as objects in an object store: one that fails in memory, and a real one.

#![allow(clippy::unwrap_used)]

#[path = "../common/accounts.rs"]
mod accounts;
#[path = "../common/faulty_store.rs"]
mod faulty_store;
#[path = "../common/key_wrapper.rs"]
mod key_wrapper;

mod account;
mod served;
mod store;
