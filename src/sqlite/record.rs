//! The freshness record: which version of the main file is the newest, and the sum of its pages.
//! It lies in the header block, in four places that are written in turn, each sealed by itself:
//! SQLite syncs the file at least once in three writes of it, so that after a power cut one that
//! was synced is always left.

use super::header::{BLOCK_LEN, RECORD_PLACES};
use super::medium::{Code, Medium, read_whole};
use super::unit::{Place, TRAILER_LEN, UnitId, UnitKind, Units};

const PLAIN_LEN: usize = 112;
const SEALED_LEN: usize = PLAIN_LEN + TRAILER_LEN;
/// A record as it is in the file: its sequence number, which is also its place's turn, and the unit.
pub(super) const RECORD_LEN: usize = 8 + SEALED_LEN;

/// How many pages a version of the main file has, and what their identities sum up to. It is
/// known to those who have the key, and to no others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    pub count: u64,
    pub sum: u128,
}

impl Pages {
    pub(super) fn add(&mut self, units: &mut Units, page: u64, id: &UnitId) -> Result<(), Code> {
        self.sum = self.sum.wrapping_add(units.summand(page, id)?);
        Ok(())
    }

    pub(super) fn remove(&mut self, units: &mut Units, page: u64, id: &UnitId) -> Result<(), Code> {
        self.sum = self.sum.wrapping_sub(units.summand(page, id)?);
        Ok(())
    }
}

/// Where a transaction with a rollback journal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// None is under way: the file holds `now`.
    Settled = 0,
    /// Pages are being written over; until it is done, `base` counts, which the journal leads to.
    Open = 1,
    /// All pages are written: the file holds `now`, unless a journal leads back to `base`.
    Committing = 2,
}

/// What is written of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Counts the writes of records.
    pub sequence: u64,
    pub stage: Stage,
    /// Counts the states of the main file.
    pub version: u64,
    pub now: Pages,
    /// The version before the transaction that is under way or was the last.
    pub base_version: u64,
    pub base: Pages,
    /// The write-ahead log's generation, by its salts, whose first frames `now` has taken in.
    pub log: [u8; 8],
    pub log_frames: u64,
    /// The newest version that the keeper of epochs was told of.
    pub anchored: u64,
}

impl Record {
    /// Of a new file, with these pages.
    pub(super) fn first(pages: Pages) -> Self {
        Self {
            sequence: 1,
            stage: Stage::Settled,
            version: 1,
            now: pages,
            base_version: 1,
            base: pages,
            log: [0; 8],
            log_frames: 0,
            anchored: 0,
        }
    }

    /// The next record, of `pages`, with which nothing is under way.
    pub(super) fn settled(&self, version: u64, now: Pages) -> Self {
        Self {
            sequence: self.sequence + 1,
            stage: Stage::Settled,
            version,
            now,
            base_version: version,
            base: now,
            ..self.clone()
        }
    }

    /// Its bytes, and where in the file they go.
    pub(super) fn seal(&self, units: &mut Units) -> Result<([u8; RECORD_LEN], u64), Code> {
        let mut plain = [0; PLAIN_LEN];
        plain[..8].copy_from_slice(&self.version.to_le_bytes());
        plain[8..16].copy_from_slice(&self.base_version.to_le_bytes());
        plain[16] = self.stage as u8;
        for (at, pages) in [(24, self.now), (48, self.base)] {
            plain[at..at + 8].copy_from_slice(&pages.count.to_le_bytes());
            plain[at + 8..at + 24].copy_from_slice(&pages.sum.to_le_bytes());
        }
        plain[72..80].copy_from_slice(&self.log);
        plain[80..88].copy_from_slice(&self.log_frames.to_le_bytes());
        let anchored = self.anchored.max(units.shared().anchored());
        plain[88..96].copy_from_slice(&anchored.to_le_bytes());
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        let place = Place::new(UnitKind::Record, self.sequence);
        units.seal(place, &plain, &mut bytes[8..])?;
        Ok((bytes, place_of(self.sequence)))
    }

    pub(super) fn write(&self, units: &mut Units, medium: &mut dyn Medium) -> Result<(), Code> {
        let (bytes, at) = self.seal(units)?;
        medium.write_at(&bytes, at)
    }

    /// The newest record of the file; `None` when no place holds an authentic one.
    pub(super) fn read(units: &mut Units, medium: &mut dyn Medium) -> Result<Option<Self>, Code> {
        let mut block = [0; BLOCK_LEN];
        if !read_whole(medium, &mut block, 0)? {
            return Ok(None);
        }
        let mut found = RECORD_PLACES.map(|at| &block[at..at + RECORD_LEN]);
        let sequence = |b: &[u8]| u64::from_le_bytes(b[..8].try_into().expect("8 bytes"));
        found.sort_by_key(|bytes| std::cmp::Reverse(sequence(bytes)));
        for bytes in found {
            let (number, mut plain) = (sequence(bytes), [0; PLAIN_LEN]);
            let place = Place::new(UnitKind::Record, number);
            if units.open(place, &bytes[8..], &mut plain)? {
                return Ok(Self::parse(number, &plain));
            }
        }
        Ok(None)
    }

    fn parse(sequence: u64, plain: &[u8; PLAIN_LEN]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(plain[at..at + 8].try_into().expect("8 bytes"));
        let pages = |at: usize| Pages {
            count: number(at),
            sum: u128::from_le_bytes(plain[at + 8..at + 24].try_into().expect("16 bytes")),
        };
        let stage = match plain[16] {
            0 => Stage::Settled,
            1 => Stage::Open,
            2 => Stage::Committing,
            _ => return None,
        };
        Some(Self {
            sequence,
            stage,
            version: number(0),
            now: pages(24),
            base_version: number(8),
            base: pages(48),
            log: plain[72..80].try_into().expect("8 bytes"),
            log_frames: number(80),
            anchored: number(88),
        })
    }
}

fn place_of(sequence: u64) -> u64 {
    let places = RECORD_PLACES.len() as u64;
    RECORD_PLACES[(sequence % places) as usize] as u64
}
