//! Extents as objects in an object store: one that fails in memory, a real one, and a stand-in for Google's.

#![allow(clippy::unwrap_used)]

#[path = "../common/accounts.rs"]
mod accounts;
#[path = "../common/faulty_store.rs"]
mod faulty_store;
#[path = "../common/key_wrapper.rs"]
mod key_wrapper;

mod account;
mod google;
mod in_google;
mod served;
mod store;
