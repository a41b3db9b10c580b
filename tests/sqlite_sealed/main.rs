//! The sealed SQLite engine: all that SQLite does works through it, crashes lose nothing that was
//! committed, and altered bytes are refused, never read as other data. Plain SQLite is the oracle.
#![allow(clippy::unwrap_used)]

mod crash;
mod features;
mod fixture;
mod freshness;
mod hammer;
mod journals;
mod leaks;
mod model;
mod processes;
mod revocation;
mod tampering;
