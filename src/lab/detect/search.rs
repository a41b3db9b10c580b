use super::sieve::{SHORTEST, STRIDE, Sieve};
use crate::lab::encodings::{Encoding, variants};
use crate::lab::{CanarySet, LabError};

/// Looks for every canary in every encoding, under every single-byte XOR key, in one pass.
///
/// What is searched is not the data but the XOR of each byte with the next one: a key that all
/// bytes were XORed with cancels out there, so the 255 keys cost nothing, and the key is read off
/// the match. Key 0 is the text as it is.
pub struct Searcher {
    sieve: Sieve,
    patterns: Vec<Pattern>,
    longest: usize,
}

struct Pattern {
    canary: usize,
    encoding: Encoding,
    bytes: Vec<u8>,
}

/// A canary found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub canary: usize,
    pub encoding: Encoding,
    /// What each byte was XORed with; 0 for none.
    pub key: u8,
    /// Where it begins.
    pub offset: u64,
}

impl Searcher {
    /// Prepares the search. Its size grows with the number of canaries, not with the data.
    pub fn new(canaries: &CanarySet) -> Result<Self, LabError> {
        let mut patterns: Vec<Pattern> = Vec::new();
        for (canary, found) in canaries.all().iter().enumerate() {
            for (encoding, bytes) in variants(found.bytes()) {
                if bytes.len() < SHORTEST {
                    let why = format!("{found} is too short to be searched for");
                    return Err(LabError::Report(why));
                }
                patterns.push(Pattern {
                    canary,
                    encoding,
                    bytes,
                });
            }
        }
        let bytes: Vec<&[u8]> = patterns.iter().map(|p| p.bytes.as_slice()).collect();
        Ok(Self {
            sieve: Sieve::new(&bytes),
            longest: bytes.iter().map(|b| b.len()).max().unwrap_or(0),
            patterns,
        })
    }

    /// A search over one stream of bytes.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream {
            searcher: self,
            kept: Vec::new(),
            start: 0,
        }
    }
}

impl Pattern {
    /// What each of `bytes` was XORed with to become this pattern.
    fn key(&self, bytes: &[u8]) -> Option<u8> {
        let key = bytes[0] ^ self.bytes[0];
        let same = bytes.iter().zip(&self.bytes).all(|(b, p)| b ^ p == key);
        same.then_some(key)
    }
}

/// One stream that is searched piece by piece; a match may lie across pieces.
pub(super) struct Stream<'a> {
    searcher: &'a Searcher,
    /// The end of what was fed, as long as a match may still need it.
    kept: Vec<u8>,
    /// Offset of `kept` in the stream.
    start: u64,
}

impl Stream<'_> {
    /// Takes the next bytes. A match is told when its last byte was fed.
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Match)) {
        let Searcher {
            sieve, patterns, ..
        } = self.searcher;
        let told = self.kept.len();
        self.kept.extend_from_slice(bytes);
        let kept = &self.kept;
        sieve.look(kept, |at, place| {
            let pattern = &patterns[place.pattern];
            let Some(begin) = at.checked_sub(place.offset) else {
                return;
            };
            let end = begin + pattern.bytes.len();
            if end <= told || end > kept.len() {
                return;
            }
            if let Some(key) = pattern.key(&kept[begin..end]) {
                found(Match {
                    canary: pattern.canary,
                    encoding: pattern.encoding,
                    key,
                    offset: self.start + begin as u64,
                });
            }
        });
        // The next look begins at a multiple of the stride in the stream, as this one did.
        let spent = self.kept.len().saturating_sub(self.searcher.longest) / STRIDE * STRIDE;
        self.kept.drain(..spent);
        self.start += spent as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Kim Akers, IBAN NL91ABNA0417164300";

    fn search(data: &[u8], piece: usize) -> Vec<Match> {
        let mut set = CanarySet::default();
        assert_eq!(set.plant([SECRET]), 1);
        let searcher = Searcher::new(&set).unwrap();
        let (mut stream, mut found) = (searcher.stream(), Vec::new());
        for part in data.chunks(piece) {
            stream.feed(part, |m| found.push(m));
        }
        found
    }

    #[test]
    fn every_encoding_is_found_under_every_key_however_the_data_is_cut() {
        for (encoding, variant) in variants(SECRET.as_bytes()) {
            for key in [0, 1, 0x20, 0x5a, 0xff] {
                let mut data = vec![0x11; 1000];
                data.extend(variant.iter().map(|b| b ^ key));
                data.extend([0x11; 1000]);
                for piece in [1, 7, 64, 1 << 20] {
                    let found = search(&data, piece);
                    let expected = Match {
                        canary: 0,
                        encoding,
                        key,
                        offset: 1000,
                    };
                    assert!(
                        found.contains(&expected),
                        "{encoding} key {key} piece {piece}"
                    );
                    assert_eq!(found.iter().filter(|m| **m == expected).count(), 1);
                }
            }
        }
    }

    /// Whatever the sieve leaves out is never seen again: it must find what a search of every byte finds.
    #[test]
    fn the_sieve_finds_what_an_automaton_over_every_byte_finds() {
        use aho_corasick::AhoCorasick;
        use rand::{RngExt, SeedableRng};
        let differences =
            |bytes: &[u8]| -> Vec<u8> { bytes.windows(2).map(|pair| pair[0] ^ pair[1]).collect() };
        let mut set = CanarySet::default();
        let texts = [
            "aaaaaaaaaaaaaabcdefg",
            "customer 0001",
            "customer 0002",
            SECRET,
        ];
        assert_eq!(set.plant(texts), texts.len());
        let searcher = Searcher::new(&set).unwrap();
        let patterns = &searcher.patterns;
        let automaton = AhoCorasick::new(patterns.iter().map(|p| differences(&p.bytes))).unwrap();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let mut data = Vec::new();
        for _ in 0..20_000 {
            let key = [0, rng.random::<u8>()][rng.random_range(0..2)];
            let bytes = &patterns[rng.random_range(0..patterns.len())].bytes;
            // Whole ones, pieces of them, and what is between.
            let from = [0, rng.random_range(0..bytes.len())][rng.random_range(0..2)];
            data.extend(bytes[from..].iter().map(|b| b ^ key));
            let gap = rng.random_range(0..9);
            data.extend(vec![rng.random_range(0..4); gap]);
        }
        let sought = differences(&data);
        let mut expected: Vec<(usize, Encoding, u64)> = automaton
            .find_overlapping_iter(&sought)
            .map(|m| {
                let pattern = &patterns[m.pattern().as_usize()];
                (pattern.canary, pattern.encoding, m.start() as u64)
            })
            .collect();
        expected.sort();
        assert!(expected.len() > 10_000);
        for piece in [13, 4096, data.len()] {
            let (mut stream, mut found) = (searcher.stream(), Vec::new());
            for part in data.chunks(piece) {
                stream.feed(part, |m| found.push((m.canary, m.encoding, m.offset)));
            }
            found.sort();
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn random_bytes_and_near_misses_raise_no_alarm() {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; 4 << 20];
        rand_chacha::ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
        noise.extend(SECRET.replace("0417", "0418").bytes());
        assert_eq!(search(&noise, 1 << 16), []);
    }
}
