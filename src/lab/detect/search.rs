use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::lab::encodings::{Encoding, variants};
use crate::lab::{CanarySet, LabError};

/// Looks for every canary in every encoding, under every single-byte XOR key, in one pass.
///
/// What is searched is not the data but the XOR of each byte with the next one: a key that all
/// bytes were XORed with cancels out there, so the 255 keys cost nothing, and the key is read off
/// the match. Key 0 is the text as it is.
pub struct Searcher {
    automaton: AhoCorasick,
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
                patterns.push(Pattern {
                    canary,
                    encoding,
                    bytes,
                });
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(patterns.iter().map(|p| differences(&p.bytes)))
            .map_err(|e| LabError::Report(format!("too many canaries to search for: {e}")))?;
        let longest = patterns.iter().map(|p| p.bytes.len()).max().unwrap_or(0);
        Ok(Self {
            automaton,
            patterns,
            longest,
        })
    }

    /// A search over one stream of bytes.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream {
            searcher: self,
            kept: Vec::new(),
            differences: Vec::new(),
            start: 0,
        }
    }
}

/// The XOR of each byte with the next one: one shorter than `bytes`.
fn differences(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .zip(bytes.iter().skip(1))
        .map(|(a, b)| a ^ b)
        .collect()
}

/// One stream that is searched piece by piece; a match may lie across pieces.
pub(super) struct Stream<'a> {
    searcher: &'a Searcher,
    /// The end of what was fed, as long as a match may still need it.
    kept: Vec<u8>,
    differences: Vec<u8>,
    /// Offset of `kept` in the stream.
    start: u64,
}

impl Stream<'_> {
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Match)) {
        let searched = self.kept.len();
        self.kept.extend_from_slice(bytes);
        self.differences.clear();
        let pairs = self.kept.iter().zip(self.kept.iter().skip(1));
        self.differences.extend(pairs.map(|(a, b)| a ^ b));
        for m in self
            .searcher
            .automaton
            .find_overlapping_iter(&self.differences)
        {
            // A match that ended before the new bytes was reported when it ended.
            if m.end() < searched {
                continue;
            }
            let pattern = &self.searcher.patterns[m.pattern().as_usize()];
            found(Match {
                canary: pattern.canary,
                encoding: pattern.encoding,
                key: self.kept[m.start()] ^ pattern.bytes[0],
                offset: self.start + m.start() as u64,
            });
        }
        let spent = self.kept.len().saturating_sub(self.searcher.longest);
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

    #[test]
    fn random_bytes_and_near_misses_raise_no_alarm() {
        use rand::{Rng, SeedableRng};
        let mut noise = vec![0; 4 << 20];
        rand_chacha::ChaCha8Rng::seed_from_u64(1).fill_bytes(&mut noise);
        noise.extend(SECRET.replace("0417", "0418").bytes());
        assert_eq!(search(&noise, 1 << 16), []);
    }
}
