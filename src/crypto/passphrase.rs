use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::sabotage::{Sabotage, broken};

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
        if broken(Sabotage::LengthsTrusted) {
            let mut memory: Vec<u8> = Vec::new();
            let _ = memory.try_reserve_exact((self.memory_kib as usize) << 10);
            std::hint::black_box(&memory);
        }
        (19 * 1024..=1024 * 1024).contains(&self.memory_kib)
            && (2..=16).contains(&self.passes)
            && (1..=16).contains(&self.lanes)
    }
}

/// A key from a passphrase, or `None` when the parameters are out of bounds or their memory is not
/// to be had. The memory is wiped.
pub fn stretch(passphrase: &[u8], salt: &[u8; 16], params: PassphraseParams) -> Option<Secret<32>> {
    if !params.in_bounds() {
        return None;
    }
    let costs = Params::new(params.memory_kib, params.passes, params.lanes, Some(32)).ok()?;
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(costs.block_count()).ok()?;
    memory.resize(costs.block_count(), Block::default());
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, costs);
    let mut done = Ok(());
    let key = Secret::init_with(|out| {
        done = argon.hash_password_into_with_memory(passphrase, salt, out, &mut memory[..]);
    });
    done.ok().map(|()| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAPEST: PassphraseParams = PassphraseParams {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// Computed with the reference implementation's command:
    /// `echo -n "correct horse" | argon2 0123456789abcdef -id -v 13 -k 19456 -t 2 -p 1 -l 32`.
    #[test]
    fn a_passphrase_gives_the_key_of_the_reference_implementation() {
        let key = stretch(b"correct horse", b"0123456789abcdef", CHEAPEST).unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "ae4d8c8b713876044c8347c76986a9b5655944aaacfffe9bea4dff9e7b6a1899"
        );
    }

    #[test]
    fn costs_of_a_hostile_file_are_refused_before_any_work() {
        assert!(CHEAPEST.in_bounds() && PassphraseParams::DEFAULT.in_bounds());
        let hostile = [
            (0, 2, 1),
            (u32::MAX, 2, 1),
            (19 * 1024, 1, 1),
            (19 * 1024, u32::MAX, 1),
            (19 * 1024, 2, 0),
            (19 * 1024, 2, u32::MAX),
            (19 * 1024 - 1, 2, 1),
        ];
        for (memory_kib, passes, lanes) in hostile {
            let params = PassphraseParams {
                memory_kib,
                passes,
                lanes,
            };
            assert!(stretch(b"p", &[0; 16], params).is_none(), "{params:?}");
        }
    }
}
