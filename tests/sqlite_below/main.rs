//! The sealed SQLite engine as the system below it sees it: every byte that it ever writes, power
//! cuts between and within its system calls, and calls that fail. Plain SQLite lives the same
//! lives: it must pass where the engine must, and show what the engine must not.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod convert_cut;
mod convert_life;
mod convert_lived;
mod database;
mod disk;
mod endure;
mod faults;
#[path = "../sqlite_sealed/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests above the system")]
mod fixture;
mod life;
mod lived;
mod plan;
mod power_cut;
mod recording;
mod strace;
mod told;
mod trace;
