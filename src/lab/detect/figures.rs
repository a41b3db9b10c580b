use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::{CHI_SQUARE_LIMIT, DEFLATE_LIMIT, chi_square, entropy};
use crate::lab::Encoding;

/// A canary that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The file, relative to the copy.
    pub file: String,
    /// Where it begins: in the file, or in the compressed member that it was found inside of.
    pub offset: u64,
    /// Which canary, by its place in the set.
    pub canary: usize,
    /// How it was written.
    pub encoding: Encoding,
    /// What each byte had been XORed with, where it had been.
    pub xor_key: Option<u8>,
    /// The compressed member that holds it: "gzip at 4096".
    pub inside: Option<String>,
}

/// The beginning of a known kind of file or structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MagicFound {
    /// The file, relative to the copy.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// What it is.
    pub what: String,
}

/// What the detectors saw in a file, or in all files of a copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Bytes scanned.
    pub bytes: u64,
    /// Of these, bytes of documented headers: searched for canaries, left out of the statistics.
    pub documented: u64,
    /// How often each byte value occurs; 256 counts.
    pub histogram: Vec<u64>,
    /// Pages of 4096 bytes.
    pub pages: u64,
    /// Pages whose chi-square is above [`CHI_SQUARE_LIMIT`].
    pub pages_flagged: u64,
    /// The highest chi-square of a page.
    pub worst_page: f64,
    /// Pairs of neighbouring units that were XORed.
    pub pairs: u64,
    /// Pairs whose XOR is not random: one keystream was used for both.
    pub pairs_flagged: u64,
    /// Aligned 16-byte blocks looked at.
    pub blocks: u64,
    /// Blocks that had occurred before.
    pub blocks_repeated: u64,
    /// Bytes given to the compressor.
    pub deflate_in: u64,
    /// Bytes that it made of them.
    pub deflate_out: u64,
    /// Compressed members (gzip, zlib, zstd) that opened.
    pub members: u64,
    /// What begins as a compressed member does and was not opened, since too many others were open.
    #[serde(default)]
    pub members_passed: u64,
    /// Structures found, by kind.
    pub structures: BTreeMap<String, u64>,
    /// The first of them; at most [`Figures::MAX_KEPT`].
    pub magics: Vec<MagicFound>,
    /// Canaries found, in all.
    pub canary_hits: u64,
    /// The first of them; at most [`Figures::MAX_KEPT`].
    pub hits: Vec<Hit>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            bytes: 0,
            documented: 0,
            histogram: vec![0; 256],
            pages: 0,
            pages_flagged: 0,
            worst_page: 0.0,
            pairs: 0,
            pairs_flagged: 0,
            blocks: 0,
            blocks_repeated: 0,
            deflate_in: 0,
            deflate_out: 0,
            members: 0,
            members_passed: 0,
            structures: BTreeMap::new(),
            magics: Vec::new(),
            canary_hits: 0,
            hits: Vec::new(),
        }
    }
}

impl Figures {
    /// How many positions are kept; the counts are complete.
    pub const MAX_KEPT: usize = 100;

    /// Chi-square of all bytes together; 0 when there are too few.
    pub fn chi_square(&self) -> f64 {
        chi_square(self.counts())
    }

    /// Shannon entropy of the byte distribution, in bits per byte; 0 without bytes.
    pub fn entropy(&self) -> f64 {
        entropy(self.counts())
    }

    /// Compressed size over size; 1 when nothing was compressed.
    pub fn deflate_ratio(&self) -> f64 {
        match self.deflate_in {
            0 => 1.0,
            n => self.deflate_out as f64 / n as f64,
        }
    }

    /// Whether a detector saw more than noise.
    pub fn alarms(&self) -> Vec<&'static str> {
        let mut alarms = Vec::new();
        let mut check = |alarm, name| {
            if alarm {
                alarms.push(name);
            }
        };
        check(self.canary_hits > 0, "canaries");
        check(self.pages_flagged > 0, "chi-square per page");
        check(
            self.chi_square() > CHI_SQUARE_LIMIT,
            "chi-square of the whole",
        );
        check(self.deflate_ratio() < DEFLATE_LIMIT, "deflate ratio");
        check(self.blocks_repeated > 0, "repeated blocks");
        check(self.pairs_flagged > 0, "XOR of neighbours");
        check(!self.structures.is_empty(), "file structures");
        alarms
    }

    /// Adds the figures of another file.
    pub fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.documented += other.documented;
        for (mine, theirs) in self.histogram.iter_mut().zip(&other.histogram) {
            *mine += theirs;
        }
        self.pages += other.pages;
        self.pages_flagged += other.pages_flagged;
        self.worst_page = self.worst_page.max(other.worst_page);
        self.pairs += other.pairs;
        self.pairs_flagged += other.pairs_flagged;
        self.blocks += other.blocks;
        self.blocks_repeated += other.blocks_repeated;
        self.deflate_in += other.deflate_in;
        self.deflate_out += other.deflate_out;
        self.members += other.members;
        self.members_passed += other.members_passed;
        for (what, count) in other.structures {
            *self.structures.entry(what).or_default() += count;
        }
        self.magics.extend(other.magics);
        self.magics.truncate(Self::MAX_KEPT);
        self.canary_hits += other.canary_hits;
        self.hits.extend(other.hits);
        self.hits.truncate(Self::MAX_KEPT);
    }

    pub(super) fn structure(&mut self, file: &str, offset: u64, what: &str) {
        *self.structures.entry(what.to_owned()).or_default() += 1;
        if self.magics.len() < Self::MAX_KEPT {
            self.magics.push(MagicFound {
                file: file.to_owned(),
                offset,
                what: what.to_owned(),
            });
        }
    }

    pub(super) fn hit(&mut self, hit: Hit) {
        self.canary_hits += 1;
        if self.hits.len() < Self::MAX_KEPT {
            self.hits.push(hit);
        }
    }

    fn counts(&self) -> &[u64; 256] {
        self.histogram.as_slice().try_into().expect("256 counts")
    }
}
