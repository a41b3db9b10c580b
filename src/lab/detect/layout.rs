use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use crate::lab::LabError;
use crate::lab::theft::read_at;
use crate::resource::blob::{PackId, Slot, extents_in};

use super::statistics::PAGE;

/// What the formats document as public (docs/format.md): a header, in each sealed unit the nonce and
/// the salt, and the name of a place in memory beside a write-ahead log. These are no noise and need
/// not be: a nonce counts. The statistics leave them out; the search for canaries and structures
/// leaves out nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// Length of the header, in bytes.
    pub header: u64,
    /// Length of each unit behind it, in bytes.
    pub unit: usize,
    /// The public bytes of a unit.
    pub public: Vec<Range<usize>>,
    /// Of a pack of extents: where each begins with what is public, its own and its slot's header, and where what is
    /// sealed of it begins and ends. Between them nothing is but zeros.
    pub packed: Option<Vec<[u64; 3]>>,
}

/// Length of an extent's header.
const EXTENT_HEADER: u64 = 128;
/// Nonce and salt are the first 16 of a trailer's 32 bytes.
const TRAILER: usize = 32;
const NONCE_AND_SALT: usize = 16;
/// The unit of a write-ahead log's header, and that of a frame's.
pub(in crate::lab) const LOG_HEADER: usize = 64;
pub(in crate::lab) const FRAME_HEADER: usize = 88;
/// A chunk of a rollback journal, with its trailer.
pub(in crate::lab) const JOURNAL_UNIT: usize = 512 + TRAILER;

impl Documented {
    /// Nothing is public, and pages are the units: any file that is not ours.
    pub fn none() -> Self {
        Self {
            header: 0,
            unit: PAGE,
            public: Vec::new(),
            packed: None,
        }
    }

    /// By the file's first bytes; for a write-ahead log or journal, which shows no magic, by those
    /// of the database beside it. A file that pretends to be one of ours hides bytes from the
    /// statistics only.
    pub fn of(path: &Path) -> Result<Self, LabError> {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let beside = |suffix| {
            let main = name.strip_suffix(suffix)?;
            Some(path.with_file_name(main)).filter(|p| p.is_file())
        };
        let nonce_in = |unit: usize| unit - TRAILER..unit - TRAILER + NONCE_AND_SALT;
        if let Some(main) = beside("-wal") {
            return Ok(match page_size(&read_at(&main, 0, 12)?) {
                None => Self::none(),
                Some(page) => Self {
                    header: LOG_HEADER as u64,
                    unit: FRAME_HEADER + page,
                    public: vec![nonce_in(FRAME_HEADER), nonce_in(FRAME_HEADER + page)],
                    ..Self::none()
                },
            });
        }
        if let Some(main) = beside("-journal") {
            return Ok(match page_size(&read_at(&main, 0, 12)?) {
                None => Self::none(),
                Some(_) => Self {
                    header: 0,
                    unit: JOURNAL_UNIT,
                    public: vec![nonce_in(JOURNAL_UNIT)],
                    ..Self::none()
                },
            });
        }
        // Where the index of an open log lies: public as a whole.
        if let Some(main) = beside("-shm")
            && page_size(&read_at(&main, 0, 12)?).is_some()
        {
            return Ok(Self {
                header: u64::MAX,
                ..Self::none()
            });
        }
        let start = read_at(path, 0, 12)?;
        if let Some(page) = page_size(&start) {
            return Ok(Self {
                header: 4096,
                unit: page,
                public: vec![nonce_in(page)],
                ..Self::none()
            });
        }
        if name.parse::<PackId>().is_ok() {
            return Self::of_pack(path);
        }
        let (header, unit) = match start.get(..8) {
            Some(b"atrestBX") => (EXTENT_HEADER, 65_536 + 16),
            Some(b"atrestBA") => (1552, PAGE),
            _ => return Ok(Self::none()),
        };
        Ok(Self {
            header,
            unit,
            ..Self::none()
        })
    }

    /// An extent of a protected account shows its magic; one of a plain account is all its bytes.
    fn of_pack(path: &Path) -> Result<Self, LabError> {
        let mut packed = Vec::new();
        for (_, bytes) in extents_in(path).map_err(|e| LabError::io(path, e))? {
            let header = match &read_at(path, bytes.start, 8)?[..] {
                b"atrestBX" => EXTENT_HEADER,
                _ => 0,
            };
            let sealed = (bytes.start + header).min(bytes.end);
            packed.push([bytes.start - Slot::HEAD_LEN as u64, sealed, bytes.end]);
        }
        Ok(Self {
            packed: Some(packed),
            ..Self::none()
        })
    }

    /// Calls `keep` with each piece of `bytes`, which lie at `at` in the file, that is not public.
    pub(in crate::lab) fn secret(&self, at: u64, bytes: &[u8], mut keep: impl FnMut(&[u8])) {
        if let Some(packed) = &self.packed {
            let (mut done, end) = (at, at + bytes.len() as u64);
            let slice = |from: u64, to: u64| {
                let within = |n: u64| usize::try_from(n.clamp(at, end) - at).expect("in a slice");
                &bytes[within(from)..within(to.max(from))]
            };
            let first = packed.partition_point(|[.., past]| *past <= at);
            for [head, sealed, past] in &packed[first..] {
                if *head >= end {
                    break;
                }
                not_zeros(slice(done, *head), &mut keep);
                keep(slice((*sealed).max(done), *past));
                done = (*past).max(done);
            }
            not_zeros(slice(done, end), &mut keep);
            return;
        }
        let skip = self.header.saturating_sub(at).min(bytes.len() as u64);
        let bytes = &bytes[usize::try_from(skip).expect("within a slice")..];
        if self.public.is_empty() {
            keep(bytes);
            return;
        }
        let unit = self.unit as u64;
        let phase = (at + skip).saturating_sub(self.header) % unit;
        let mut phase = usize::try_from(phase).expect("within a unit");
        let mut rest = bytes;
        while !rest.is_empty() {
            let inside = self.public.iter().find(|r| r.end > phase);
            let (public, end) = match inside {
                Some(r) if r.start <= phase => (true, r.end),
                Some(r) => (false, r.start),
                None => (false, self.unit),
            };
            let (now, later) = rest.split_at(rest.len().min(end - phase));
            if !public {
                keep(now);
            }
            phase = (phase + now.len()) % self.unit;
            rest = later;
        }
    }

    /// Whether all of a unit that lies at `at` is sealed: of a pack, whether one extent has it.
    pub(super) fn is_of_one(&self, at: u64) -> bool {
        let end = at + self.unit as u64;
        let within = |[_, sealed, past]: &[u64; 3]| *sealed <= at && end <= *past;
        (self.packed.as_ref()).is_none_or(|packed| packed.iter().any(within))
    }

    /// Length of what is left of a unit, in bytes.
    pub(super) fn secret_unit(&self) -> usize {
        self.unit - self.public.iter().map(Range::len).sum::<usize>()
    }
}

/// The pieces between longer runs of zeros.
fn not_zeros(bytes: &[u8], keep: &mut impl FnMut(&[u8])) {
    const RUN: usize = 16;
    let blocks = bytes.chunks(RUN);
    blocks
        .filter(|block| block.iter().any(|b| *b != 0))
        .for_each(keep);
}

/// The page size of a sealed database, by its first header slot.
fn page_size(start: &[u8]) -> Option<usize> {
    match start {
        [
            b'a',
            b't',
            b'r',
            b'e',
            b's',
            b't',
            b'D',
            b'B',
            _,
            _,
            _,
            log2 @ 9..=16,
            ..,
        ] => Some(1 << log2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::base::ResourceId;
    use crate::crypto::Secret;
    use crate::sqlite::{Freshness, PageSize, SealedDatabase};

    /// A layout that no longer fits would leave out ciphertext and judge nonces as if they were noise.
    #[test]
    fn what_is_left_out_of_a_real_log_is_its_nonces_and_salts_and_no_ciphertext() {
        let dir = tempfile::tempdir().unwrap();
        let (path, id) = (dir.path().join("d.db"), ResourceId::from_bytes([7; 16]));
        let key = Arc::new(Secret::<32>::random());
        let slot = [0; 768];
        let db = SealedDatabase::create(&path, id, PageSize::DEFAULT, Freshness::Kept, &slot, key)
            .unwrap();
        let live = db.connect().unwrap();
        let rows = "PRAGMA journal_mode = WAL; CREATE TABLE t (a);
            INSERT INTO t VALUES (randomblob(9000)), (randomblob(9000));";
        live.execute_batch(rows).unwrap();

        let wal = dir.path().join("d.db-wal");
        let (layout, log) = (Documented::of(&wal).unwrap(), std::fs::read(&wal).unwrap());
        let frames = log[usize::try_from(layout.header).unwrap()..].chunks_exact(layout.unit);
        assert!(frames.remainder().is_empty(), "the log is whole frames");
        let public = frames.flat_map(|frame| layout.public.iter().map(|r| &frame[r.clone()]));
        let (mut nonces, mut salts, mut units) = (BTreeSet::new(), BTreeSet::new(), 0);
        for identity in public {
            units += 1;
            nonces.insert(&identity[..12]);
            salts.insert(&identity[12..]);
        }
        assert!(units > 4);
        assert_eq!(nonces.len(), units, "no nonce twice");
        assert_eq!(salts.len(), 1, "one writer's session, one salt");
    }

    #[test]
    fn only_the_public_bytes_are_left_out_however_the_file_is_cut() {
        let layout = Documented {
            header: 5,
            unit: 10,
            public: vec![2..4, 7..8],
            ..Documented::none()
        };
        let file: Vec<u8> = (0..40).collect();
        let expected: Vec<u8> = file[5..]
            .iter()
            .copied()
            .filter(|b| !matches!((b - 5) % 10, 2 | 3 | 7))
            .collect();
        for piece in [1, 3, 7, 40] {
            let (mut kept, mut at) = (Vec::new(), 0);
            for part in file.chunks(piece) {
                layout.secret(at, part, |k| kept.extend_from_slice(k));
                at += part.len() as u64;
            }
            assert_eq!(kept, expected, "in pieces of {piece}");
        }
        let packed = Documented {
            packed: Some(vec![[1, 3, 4], [8, 9, 9], [9, 10, 25], [37, 39, 40]]),
            ..Documented::none()
        };
        // And what lies between them, but for zeros, of which the first byte is one.
        let sealed = [3].into_iter().chain(10..25).chain([39]);
        let mut expected: Vec<u8> = sealed.chain(4..8).chain(25..37).collect();
        expected.sort_unstable();
        for piece in [1, 3, 7, 40] {
            let (mut kept, mut at) = (Vec::new(), 0);
            for part in file.chunks(piece) {
                packed.secret(at, part, |k| kept.extend_from_slice(k));
                at += part.len() as u64;
            }
            kept.retain(|b| *b != 0);
            assert_eq!(kept, expected, "of a pack, in pieces of {piece}");
        }
    }
}
