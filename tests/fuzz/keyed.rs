//! Units opened, altered inside and sealed again, by docs/format.md. No attacker can do this without the
//! key; it leads to what lies behind the tags.

use std::ops::Range;

use atrest::crypto::{AeadKey, Label, derive, hmac_sha256};
use proptest::sample::Index;

use crate::files::{BLOCK, FILE, FRAME_HEADER, Files, JOURNAL, MAIN, PAGE, TRAILER, WAL, dek};
use crate::sums::sum_frames;

/// Versions of the main file that a journal of the corpora may lead back to.
const VERSIONS: Range<u64> = 0..64;

/// Where a unit belongs.
pub struct Place {
    kind: u8,
    index: u64,
    pub bound: Vec<u8>,
}

impl Place {
    pub fn new(kind: u8, index: usize) -> Self {
        let bound = Vec::new();
        Self {
            kind,
            index: index as u64,
            bound,
        }
    }

    fn key(&self, salt: &[u8]) -> AeadKey {
        let label = match self.kind {
            2..=4 => Label::SqliteWal,
            5 => Label::SqliteJournal,
            _ => Label::SqlitePage,
        };
        AeadKey::new(&derive(&dek(), label, &[FILE.as_bytes(), salt]))
    }

    fn aad(&self, len: usize) -> Vec<u8> {
        let len = u32::try_from(len).unwrap().to_le_bytes();
        let log2 = PAGE.trailing_zeros() as u8;
        let index = self.index.to_le_bytes();
        [
            &[1, 1, self.kind, log2][..],
            &len,
            &index,
            FILE.as_bytes(),
            &self.bound,
        ]
        .concat()
    }

    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (body, trailer) = sealed.split_at_checked(sealed.len().checked_sub(TRAILER)?)?;
        let mut plain = vec![0; body.len()];
        let (nonce, salt, tag) = (&trailer[..12], &trailer[12..16], &trailer[16..]);
        let opened = self.key(salt).open(
            nonce.try_into().unwrap(),
            &self.aad(body.len()),
            body,
            tag.try_into().unwrap(),
            &mut plain,
        );
        opened.is_ok().then_some(plain)
    }

    /// Seals under the nonce and salt that are there: to the chain and the sum it is the same unit.
    pub fn seal(&self, plain: &[u8], sealed: &mut [u8]) {
        let (body, trailer) = sealed.split_at_mut(plain.len());
        let nonce = trailer[..12].try_into().unwrap();
        let key = self.key(&trailer[12..16]);
        let tag = key.seal(nonce, &self.aad(plain.len()), plain, body);
        trailer[16..].copy_from_slice(&tag);
    }
}

/// Alters the inside of a unit that `part` names; `false` when none that opens is there.
pub fn forge(
    files: &mut Files,
    file: usize,
    parts: &dyn Fn(&[u8]) -> Vec<Range<usize>>,
    part: &Index,
    change: (&Index, &[u8]),
    sums: bool,
) -> bool {
    let Some(bytes) = &mut files.0[file] else {
        return false;
    };
    let parts = parts(bytes);
    if parts.is_empty() {
        return false;
    }
    let at = part.get(&parts).start;
    let done = match file {
        MAIN if at < BLOCK => forge_half(bytes, at, change),
        MAIN => {
            let page = Place::new(1, (at - BLOCK) / PAGE + 1);
            alter(&page, bytes, at..at + PAGE, change)
        }
        WAL if at < 64 => alter(&Place::new(2, 0), bytes, 0..64, change),
        WAL => forge_frame(bytes, at, change),
        JOURNAL => VERSIONS.into_iter().any(|version| {
            let mut place = Place::new(5, part.index(parts.len()));
            place.bound = version.to_le_bytes().to_vec();
            let unit = part.get(&parts).clone();
            alter(&place, bytes, unit, change)
        }),
        _ => false,
    };
    if sums && file == WAL {
        sum_frames(bytes);
    }
    done
}

fn alter(place: &Place, bytes: &mut [u8], unit: Range<usize>, (at, new): (&Index, &[u8])) -> bool {
    let Some(sealed) = bytes.get_mut(unit) else {
        return false;
    };
    let Some(mut plain) = place.open(sealed) else {
        return false;
    };
    let at = aligned(at.index(plain.len()), new);
    plain
        .iter_mut()
        .skip(at)
        .zip(new)
        .for_each(|(b, n)| *b = *n);
    place.seal(&plain, sealed);
    true
}

/// Numbers go where a field may begin.
fn aligned(at: usize, new: &[u8]) -> usize {
    match new.len() {
        2 | 4 | 8 => at / new.len() * new.len(),
        _ => at,
    }
}

/// Alters a record in a half of the header block, or the half's fields, whose MAC is made anew.
fn forge_half(bytes: &mut [u8], at: usize, (index, new): (&Index, &[u8])) -> bool {
    let begin = at / 2048 * 2048;
    let Some(half) = bytes.get_mut(begin..begin + 2048) else {
        return false;
    };
    if (1024..2016).contains(&(at - begin)) {
        let record = if at - begin < 1536 { 1024 } else { 1536 };
        let sequence = u64::from_le_bytes(half[record..record + 8].try_into().unwrap());
        let place = Place {
            index: sequence,
            ..Place::new(8, 0)
        };
        return alter(&place, half, record + 8..record + 152, (index, new));
    }
    // Most of the fields lie in the first 64 bytes.
    let at = match new.len() % 2 {
        0 => aligned(index.index(64), new),
        _ => index.index(1024),
    };
    half[..1024]
        .iter_mut()
        .skip(at)
        .zip(new)
        .for_each(|(b, n)| *b = *n);
    let mac_key = derive(&dek(), Label::SqliteHeader, &[FILE.as_bytes()]);
    let mac = hmac_sha256(&mac_key, &[&half[..1024]]);
    half[2016..].copy_from_slice(&mac);
    true
}

/// What a page in the log is bound to.
pub fn bound(header: &[u8]) -> Vec<u8> {
    [&header[..4], &header[8..16]].concat()
}

/// Alters a frame's header, with which its page is sealed again, or its page.
fn forge_frame(bytes: &mut [u8], at: usize, change: (&Index, &[u8])) -> bool {
    let (index, within) = (
        (at - 64) / (FRAME_HEADER + PAGE),
        (at - 64) % (FRAME_HEADER + PAGE),
    );
    let frame = 64 + index * (FRAME_HEADER + PAGE);
    let Some((head, page)) = bytes
        .get_mut(frame..frame + FRAME_HEADER + PAGE)
        .and_then(|frame| frame.split_at_mut_checked(FRAME_HEADER))
    else {
        return false;
    };
    let place = Place::new(3, index);
    let Some(header) = place.open(head) else {
        return false;
    };
    let mut body = Place::new(4, index);
    body.bound = bound(&header);
    if within > 0 {
        return alter(&body, page, 0..PAGE, change);
    }
    let plain = body.open(page);
    let all = 0..head.len();
    let altered = alter(&place, head, all, change);
    if let (Some(plain), Some(header)) = (plain, place.open(head)) {
        body.bound = bound(&header);
        body.seal(&plain, page);
    }
    altered
}

/// The plaintext of the newest freshness record, zeros without one.
pub fn newest_record(main: &[u8]) -> Vec<u8> {
    let records = [1024, 1536, 3072, 3584].into_iter().filter_map(|at| {
        let (sequence, unit) = main.get(at..at + 152)?.split_at(8);
        let index = u64::from_le_bytes(sequence.try_into().unwrap());
        let place = Place {
            index,
            ..Place::new(8, 0)
        };
        Some((index, place.open(unit)?))
    });
    records.max().map_or(vec![0; 112], |(_, plain)| plain)
}
