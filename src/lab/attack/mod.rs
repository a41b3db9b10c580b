//! The attacks, by what they attack.

pub(super) mod blob;
pub(super) mod envelope;
pub(super) mod leak;
pub(super) mod nonce;
pub(super) mod open;
pub(super) mod sql;
