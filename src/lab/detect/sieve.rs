use std::collections::HashMap;
use std::ops::Range;

/// Where a pattern may lie, from one look at every eighth byte.
///
/// Each pattern is at least [`SHORTEST`] bytes long. A stretch of so many bytes, wherever it lies, has a gram
/// (five neighbouring bytes) that begins at a multiple of eight: so a set of the eight grams of one stretch of
/// each pattern misses nothing. A gram stands for the XOR of each of its bytes with the next one, in which a
/// key that all bytes were XORed with cancels out.
pub(super) struct Sieve {
    /// A bit for each hash of a gram.
    bits: Vec<u64>,
    /// The grams by their hashes, as ranges of `entries`.
    buckets: Vec<u32>,
    entries: Vec<Entry>,
}

struct Entry {
    gram: u32,
    place: Place,
}

/// A gram's place: in which pattern, and how many bytes from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub pattern: usize,
    pub offset: usize,
}

/// One gram is looked at in so many bytes.
pub(super) const STRIDE: usize = 8;
/// The bytes of a gram.
const GRAM: usize = 5;
/// The shortest pattern that a sieve can hold, in bytes.
pub(super) const SHORTEST: usize = STRIDE + GRAM - 1;

/// 32 KiB of bits: as much as stays in a processor's nearest cache.
const BITS: u32 = 18;
const BUCKETS: u32 = 14;

impl Sieve {
    /// Patterns of at least [`SHORTEST`] bytes each.
    pub(super) fn new(patterns: &[&[u8]]) -> Self {
        let mut common: HashMap<u32, u32> = HashMap::new();
        for pattern in patterns {
            for gram in pattern.windows(GRAM).map(gram_of) {
                *common.entry(gram).or_default() += 1;
            }
        }
        // Five equal bytes in a row are in every file.
        common.insert(0, u32::MAX / 2 / STRIDE as u32);
        let mut entries = Vec::new();
        for (number, pattern) in patterns.iter().enumerate() {
            let stretch = rarest(pattern, &common);
            entries.extend(stretch.map(|offset| Entry {
                gram: gram_of(&pattern[offset..offset + GRAM]),
                place: Place {
                    pattern: number,
                    offset,
                },
            }));
        }
        entries.sort_by_key(|entry| hash(entry.gram) >> (BITS - BUCKETS));
        let mut sieve = Self {
            bits: vec![0; 1 << (BITS - 6)],
            buckets: vec![0; (1 << BUCKETS) + 1],
            entries,
        };
        for entry in &sieve.entries {
            let hash = hash(entry.gram);
            sieve.bits[hash >> 6] |= 1 << (hash & 63);
            sieve.buckets[(hash >> (BITS - BUCKETS)) + 1] += 1;
        }
        let mut sum = 0;
        for end in &mut sieve.buckets {
            sum += *end;
            *end = sum;
        }
        sieve
    }

    /// Calls `may` with each place at which a gram of a pattern lies in `bytes`, and the gram's place in
    /// its pattern. Looks at the grams at 0, 8, 16 and so on.
    pub(super) fn look(&self, bytes: &[u8], mut may: impl FnMut(usize, Place)) {
        let mut words = bytes.chunks_exact(STRIDE);
        for (number, word) in words.by_ref().enumerate() {
            self.word(number, word.try_into().expect("eight bytes"), &mut may);
        }
        let rest = words.remainder();
        if rest.len() >= GRAM {
            let mut word = [0; STRIDE];
            word[..rest.len()].copy_from_slice(rest);
            self.word(bytes.len() / STRIDE, word, &mut may);
        }
    }

    #[inline(always)]
    fn word(&self, number: usize, word: [u8; STRIDE], may: &mut impl FnMut(usize, Place)) {
        let gram = differences(u64::from_le_bytes(word));
        let hash = hash(gram);
        if self.bits[hash >> 6] >> (hash & 63) & 1 != 0 {
            self.found(gram, hash, number * STRIDE, may);
        }
    }

    #[inline(never)]
    fn found(&self, gram: u32, hash: usize, at: usize, may: &mut impl FnMut(usize, Place)) {
        let bucket = hash >> (BITS - BUCKETS);
        let range = self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize;
        for entry in self.entries[range].iter().filter(|e| e.gram == gram) {
            may(at, entry.place);
        }
    }
}

/// The XOR of each of the first five bytes with the next one.
fn differences(word: u64) -> u32 {
    (word ^ (word >> 8)) as u32
}

fn gram_of(bytes: &[u8]) -> u32 {
    let mut word = [0; 8];
    word[..GRAM].copy_from_slice(&bytes[..GRAM]);
    differences(u64::from_le_bytes(word))
}

/// The upper bits of a product with the golden ratio (Knuth, volume 3, section 6.4).
fn hash(gram: u32) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

/// Where the grams begin of the stretch whose grams are in the fewest patterns: what many texts begin with
/// tells little.
fn rarest(pattern: &[u8], common: &HashMap<u32, u32>) -> Range<usize> {
    let cost: Vec<u32> = pattern
        .windows(GRAM)
        .map(|bytes| common.get(&gram_of(bytes)).copied().unwrap_or(0))
        .collect();
    let costs = cost.windows(STRIDE).map(|grams| grams.iter().sum::<u32>());
    let best = costs.enumerate().min_by_key(|(_, cost)| *cost);
    let (at, _) = best.expect("patterns are long enough");
    at..at + STRIDE
}
