use std::path::Path;

use super::layout::Documented;
use super::statistics::{CHI_SQUARE_LIMIT, CHI_SQUARE_MIN, PAGE, chi_square, histogram_of_xor};
use crate::lab::LabError;
use crate::lab::theft::read_at;

/// The XOR of each unit with the next one. Two units under one keystream (a nonce used again in
/// counter mode) XOR to the XOR of their plaintexts, which is not random.
pub(super) struct Neighbours {
    unit: usize,
    current: Vec<u8>,
    previous: Vec<u8>,
    pairs: u64,
    flagged: u64,
}

impl Neighbours {
    /// `unit`: how many bytes one nonce seals. Short units are taken several together.
    pub(super) fn new(unit: usize) -> Self {
        const SHORTEST: usize = 2048;
        Self {
            unit: unit * SHORTEST.div_ceil(unit).max(1),
            current: Vec::new(),
            previous: Vec::new(),
            pairs: 0,
            flagged: 0,
        }
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.unit - self.current.len()));
            self.current.extend_from_slice(now);
            bytes = later;
            if self.current.len() == self.unit {
                self.compare();
                std::mem::swap(&mut self.current, &mut self.previous);
                self.current.clear();
            }
        }
    }

    fn compare(&mut self) {
        let (pairs, flagged) = xor_pages(&self.previous, &self.current);
        self.pairs += pairs;
        self.flagged += flagged;
    }

    pub(super) fn counts(&mut self) -> (u64, u64) {
        if !self.current.is_empty() {
            self.compare();
        }
        (self.pairs, self.flagged)
    }
}

/// Pieces of two byte strings, at most a page each, and how many of them XOR to something that is
/// not random. Pieces that are too short for the statistic are left out.
fn xor_pages(a: &[u8], b: &[u8]) -> (u64, u64) {
    let whole = |(a, b): &(&[u8], &[u8])| a.len() == b.len() && a.len() as u64 >= CHI_SQUARE_MIN;
    let pieces = a.chunks(PAGE).zip(b.chunks(PAGE)).filter(whole);
    pieces.fold((0, 0), |(pairs, flagged), (a, b)| {
        let counts = histogram_of_xor(a, b);
        let alarm = chi_square(&counts) > CHI_SQUARE_LIMIT;
        (pairs + 1, flagged + u64::from(alarm))
    })
}

/// The XOR of two copies of one file, unit by unit at equal places, where they differ: the same
/// unit sealed twice under one keystream shows. Returns differing pieces, and flagged ones.
pub fn xor_of_copies(a: &Path, b: &Path) -> Result<(u64, u64), LabError> {
    let layout = Documented::of(a)?;
    let (mut pairs, mut flagged) = (0, 0);
    let mut at = layout.header;
    loop {
        let mine = read_at(a, at, layout.unit)?;
        let theirs = read_at(b, at, layout.unit)?;
        if mine.len() < layout.unit || theirs.len() < layout.unit {
            return Ok((pairs, flagged));
        }
        if mine != theirs && layout.is_of_one(at) {
            let [mine, theirs] = [mine, theirs].map(|unit| {
                let mut secret = Vec::with_capacity(unit.len());
                layout.secret(at, &unit, |piece| secret.extend_from_slice(piece));
                secret
            });
            let (pair, alarm) = xor_pages(&mine, &theirs);
            pairs += pair;
            flagged += alarm;
        }
        at += layout.unit as u64;
    }
}
