use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::Secret;

/// Cost of one guess at a passphrase: Argon2id (RFC 9106) parameters, bounded on both sides so
/// that a hostile file can neither make a guess cheap nor exhaust the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassphraseParams {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PassphraseParams {
    /// RFC 9106's second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };

    /// Whether they lie within the bounds: 19 MiB to 1 GiB, 2 to 16 passes, 1 to 16 lanes.
    pub fn in_bounds(self) -> bool {
        (19 * 1024..=1024 * 1024).contains(&self.memory_kib)
            && (2..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
    }
}

/// A key from a passphrase, or `None` when the parameters are out of bounds.
pub fn stretch(passphrase: &[u8], salt: &[u8; 16], params: PassphraseParams) -> Option<Secret<32>> {
    if !params.in_bounds() {
        return None;
    }
    let costs = Params::new(params.memory_kib, params.passes, params.lanes, Some(32)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, costs);
    let mut done = Ok(());
    let key = Secret::init_with(|out| done = argon.hash_password_into(passphrase, salt, out));
    done.ok().map(|()| key)
}
