use std::collections::HashMap;

/// Length of a block of AES, in bytes.
pub(super) const BLOCK: usize = 16;

/// Counts aligned 16-byte blocks that occur more than once. Under a good cipher there is none, up
/// to 2^60 blocks; under ECB, or one keystream used again, equal plaintext gives equal blocks.
///
/// Memory is bounded: when there are too many different blocks, only those whose hash ends in
/// `sampling` zero bits are kept, which keeps or drops all occurrences of a block together.
pub(super) struct Blocks {
    seen: HashMap<u64, u32, std::hash::BuildHasherDefault<AsIs>>,
    sampling: u32,
    repeated: u64,
    sampled: u64,
}

impl Blocks {
    const MAX: usize = 1 << 20;

    /// `len`: how many bytes there will be, so that what would be dropped later is not kept first.
    pub(super) fn new(len: u64) -> Self {
        let blocks = len / BLOCK as u64;
        Self {
            seen: HashMap::default(),
            sampling: (blocks / Self::MAX as u64 + 1).ilog2(),
            repeated: 0,
            sampled: 0,
        }
    }

    /// Takes the aligned blocks of `bytes`; a remainder is left out.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for block in bytes.chunks_exact(BLOCK) {
            let hash = mix(block.try_into().expect("16 bytes"));
            if hash.trailing_zeros() < self.sampling {
                continue;
            }
            self.sampled += 1;
            let count = self.seen.entry(hash).or_default();
            *count = count.saturating_add(1);
            if *count > 1 {
                self.repeated += 1;
            }
            if self.seen.len() > Self::MAX {
                self.thin();
            }
        }
    }

    fn thin(&mut self) {
        self.sampling += 1;
        let sampling = self.sampling;
        self.seen
            .retain(|hash, _| hash.trailing_zeros() >= sampling);
        self.sampled = self.seen.values().map(|&n| u64::from(n)).sum();
        self.repeated = self.sampled - self.seen.len() as u64;
    }

    /// Blocks looked at, and how many of them had been seen before.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sampled, self.repeated)
    }
}

/// 128 bits to 64, well mixed (the multiply-fold of wyhash): two different blocks collide once in
/// 2^64 pairs, nobody chooses the blocks to collide here.
fn mix(block: [u8; 16]) -> u64 {
    let a = u64::from_le_bytes(block[..8].try_into().expect("8 bytes"));
    let b = u64::from_le_bytes(block[8..].try_into().expect("8 bytes"));
    let fold = |x: u64, y: u64| {
        let product = u128::from(x) * u128::from(y);
        (product as u64) ^ ((product >> 64) as u64)
    };
    fold(
        fold(a ^ 0xa076_1d64_78bd_642f, b ^ 0xe703_7ed1_a0b4_28db) ^ b,
        0x8ebc_6af0_9c88_c6e3 ^ a,
    )
}

/// The keys are hashes already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl std::hash::Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        // The low bits may all be zero, from sampling; the table uses low and high bits.
        self.0 = hash.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_bounded_and_repeats_are_still_seen() {
        let mut blocks = Blocks::new(0);
        let block = |i: u64| {
            let mut b = [7; 16];
            b[..8].copy_from_slice(&i.to_le_bytes());
            b
        };
        for i in 0..3 * Blocks::MAX as u64 {
            blocks.feed(&block(i));
        }
        assert!(blocks.seen.len() <= Blocks::MAX);
        assert_eq!(blocks.counts().1, 0, "all different so far");
        for i in 0..1000 {
            blocks.feed(&block(i));
        }
        let repeated = blocks.counts().1;
        assert!(
            (100..900).contains(&repeated),
            "{repeated} of 1000, one in four is sampled"
        );
    }
}
