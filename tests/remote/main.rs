//! A client of a vault behind a server: servers in other processes, servers that lie, and the command
//! line on top.

#![allow(clippy::unwrap_used)]

mod blobs;
#[path = "../server/client.rs"]
mod client;
mod command_line;
mod fake;
mod hostile;
#[path = "../common/remote.rs"]
mod in_process;
mod revocation;
mod uses;
