//! Encrypting, decrypting and changing the data encryption key in place: while others write, and while
//! processes are killed.
#![allow(clippy::unwrap_used)]

mod copies;
mod killed;
mod large;
mod others;
#[path = "../common/scratch.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod scratch;
mod states;
mod work;
