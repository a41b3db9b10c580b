//! atrest: an encryption-at-rest simulator with a local key vault.
//!
//! A key vault holds customer keys; an envelope engine uses them to wrap data encryption keys;
//! resources (SQL databases, storage accounts) seal real bytes with those; a lab steals the bytes
//! and proves what they are worth.
//!
//! The modules are layers, and imports point down only (`tests/architecture` checks it):
//!
//! | layer        | what it is for |
//! |--------------|----------------|
//! | [`extension`] | databases of working directories for other programs' SQLite |
//! | [`cli`]      | arguments to a plan, text, JSON, exit codes |
//! | [`server`]   | the wire protocols of Azure's services, for unmodified clients |
//! | [`bench`]    | what encryption at rest costs: the engine and its stations, comparison, report |
//! | [`scenario`] | the demo: builds a world, runs steps, checks what came out |
//! | [`lab`]      | theft, attacks, detectors, verdicts, the evidence report |
//! | [`world`]    | a working directory: vaults, environments, and the resources in them |
//! | [`resource`] | SQL databases and storage accounts, plain and protected |
//! | [`envelope`] | wrapped data encryption keys, leases on them, rewrap |
//! | [`vault`]    | keys, versions, rules, audit; the local store |
//! | [`sqlite`]   | SQLite on sealed files: a VFS that encrypts pages, WAL, journals, temporary files |
//! | [`crypto`]   | AEAD (two backends), key wrap, key derivation, secrets |
//! | [`base`]     | names, identifiers, the clock, files written whole or not at all |

pub mod base;
pub mod bench;
pub mod cli;
pub mod crypto;
pub mod envelope;
pub mod extension;
pub mod lab;
pub mod resource;
pub mod scenario;
pub mod server;
pub mod sqlite;
pub mod vault;
pub mod world;
