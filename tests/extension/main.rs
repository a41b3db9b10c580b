//! The loadable extension in other people's programs: Debian's `sqlite3` shell and Python's `sqlite3`
//! module, as processes of their own, on working directories that the `atrest` binary made.

#![allow(clippy::unwrap_used)]

#[path = "../server/client.rs"]
mod client;
mod keys;
mod library;
mod python;
mod refusals;
mod server;
mod shell;
mod together;
mod work;
