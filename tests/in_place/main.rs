//! Encrypting, decrypting and changing the data encryption key in place: while others write, and while
//! processes are killed.
#![allow(clippy::unwrap_used)]

mod copies;
mod killed;
mod others;
mod states;
mod work;
