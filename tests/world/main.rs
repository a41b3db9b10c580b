//! Landscapes for finance and operations: what is under which key, and what happens when it is pulled
//! (docs/world.md). `rules.rs` breaks every rule of the table.

#![allow(clippy::unwrap_used)]

#[path = "../common/scratch.rs"]
mod scratch;

mod attacked;
mod command_line;
mod coverage;
mod file;
mod killed;
mod life;
mod rules;
mod stage;
