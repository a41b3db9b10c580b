//! What stands in a write-ahead log: its header, its frames' headers, and what is known of them.

use super::tracker::ROOM;
use super::unit::{ID_LEN, Place, TRAILER_LEN, UnitId, UnitKind, copied, id_of};

// What SQLite sees (its file format, section 4).
pub(super) const HEADER_LEN: usize = 32;
pub(super) const FRAME_HEADER_LEN: usize = 24;
pub(super) const SALTS_LEN: usize = 8;
/// The two sums that end both kinds of header.
pub(super) const SUMS_LEN: usize = 8;
// What is on the medium: after SQLite's frame header, the identity of the header before it and that of
// the page in the main file.
pub(super) const HEADER_UNIT_LEN: usize = HEADER_LEN + TRAILER_LEN;
pub(super) const FRAME_UNIT_PLAIN_LEN: usize = FRAME_HEADER_LEN + 2 * ID_LEN;
pub(super) const FRAME_UNIT_LEN: usize = FRAME_UNIT_PLAIN_LEN + TRAILER_LEN;

/// The plaintext of a frame header's unit.
pub(super) type FrameHeader = [u8; FRAME_UNIT_PLAIN_LEN];

/// A log, as far as it is known.
pub(super) struct Log {
    pub salts: [u8; SALTS_LEN],
    /// SQLite's count of the logs since the file was made.
    checkpoint: u32,
    /// The identity of the log's header.
    pub id: UnitId,
    pub frames: Vec<LoggedFrame>,
}

/// What is known of a frame.
pub(super) struct LoggedFrame {
    /// The page's number.
    pub page: u64,
    /// What the main file held as this page when the frame was written; `None` for nothing.
    pub before: Option<UnitId>,
    /// The identity that the page gets in the main file.
    pub id: UnitId,
    /// The frame header's identity.
    pub header: UnitId,
    commits: bool,
}

/// The frames of a log that are committed.
pub(super) struct Generation<'a> {
    pub salts: &'a [u8; SALTS_LEN],
    /// SQLite's count of the logs since the file was made.
    pub checkpoint: u32,
    pub frames: &'a [LoggedFrame],
}

impl Log {
    /// One that begins with this header, in the room of the one that was known before.
    pub(super) fn new(header: &[u8; HEADER_LEN], id: UnitId, before: Option<Self>) -> Self {
        let mut frames = before.map_or(Vec::new(), |log| log.frames);
        frames.clear();
        frames.shrink_to(ROOM);
        Self {
            salts: header[16..24].try_into().expect("8 bytes"),
            checkpoint: u32::from_be_bytes(header[12..16].try_into().expect("4 bytes")),
            id,
            frames,
        }
    }

    pub(super) fn last_header(&self) -> UnitId {
        self.frames.last().map_or(self.id, |frame| frame.header)
    }

    /// How many frames there are up to the first commit that frame `last` is part of.
    pub(super) fn end_of_commit(&self, last: usize) -> Option<usize> {
        let after = self.frames.get(last..)?;
        Some(last + after.iter().position(|frame| frame.commits)? + 1)
    }

    /// How many frames there are up to the last commit.
    fn committed_len(&self) -> usize {
        let last = self.frames.iter().rposition(|frame| frame.commits);
        last.map_or(0, |last| last + 1)
    }

    pub(super) fn committed(&self) -> Generation<'_> {
        self.first(self.committed_len())
    }

    /// What the page of frame `index` authenticates, if that frame is known.
    pub(super) fn bound_fields(&self, index: u64) -> Option<[u8; 12]> {
        let frame = self.frames.get(usize::try_from(index).ok()?)?;
        let page = u32::try_from(frame.page).ok()?;
        let mut fields = [0; 12];
        fields[..4].copy_from_slice(&page.to_be_bytes());
        fields[4..].copy_from_slice(&self.salts);
        Some(fields)
    }

    /// Keeps the frames up to the last commit.
    pub(super) fn drop_uncommitted(&mut self) {
        self.frames.truncate(self.committed_len());
    }

    pub(super) fn first(&self, count: usize) -> Generation<'_> {
        Generation {
            salts: &self.salts,
            checkpoint: self.checkpoint,
            frames: &self.frames[..count],
        }
    }
}

/// SQLite's running sums over header and frames (its file format, section 4.2).
pub(super) struct Sums {
    big_endian: bool,
    sums: [u32; 2],
}

impl Sums {
    pub(super) fn of_header(header: &[u8; HEADER_LEN]) -> Self {
        let mut sums = Self {
            big_endian: header[3] & 1 != 0,
            sums: [0; 2],
        };
        sums.add(&header[..HEADER_LEN - SUMS_LEN]);
        sums
    }

    fn add(&mut self, bytes: &[u8]) {
        let word = |b: [u8; 4]| match self.big_endian {
            true => u32::from_be_bytes(b),
            false => u32::from_le_bytes(b),
        };
        let [mut a, mut b] = self.sums;
        for pair in bytes.as_chunks::<8>().0 {
            let (first, second) = (
                word([pair[0], pair[1], pair[2], pair[3]]),
                word([pair[4], pair[5], pair[6], pair[7]]),
            );
            a = a.wrapping_add(first).wrapping_add(b);
            b = b.wrapping_add(second).wrapping_add(a);
        }
        self.sums = [a, b];
    }

    /// Whether the sums in the frame's header are those of all before it and of its page.
    pub(super) fn fit(&mut self, header: &FrameHeader, page: &[u8]) -> bool {
        self.add(&header[..8]);
        self.add(page);
        let [a, b] = self.sums.map(u32::to_be_bytes);
        header[16..20] == a && header[20..24] == b
    }
}

impl LoggedFrame {
    /// Of a frame as it is on the medium, whose header is opened.
    pub(super) fn of(header: &FrameHeader, sealed: &[u8]) -> Self {
        Self {
            id: copied(id_of(sealed)),
            ..Self::of_header(header, &sealed[..FRAME_UNIT_LEN])
        }
    }

    pub(super) fn of_header(header: &FrameHeader, sealed: &[u8]) -> Self {
        let before: UnitId = header[FRAME_HEADER_LEN + ID_LEN..]
            .try_into()
            .expect("16 bytes");
        Self {
            page: page_number(header),
            before: Some(before).filter(|id| *id != [0; ID_LEN]),
            id: [0; ID_LEN],
            header: id_of(sealed),
            commits: header[4..8] != [0; 4],
        }
    }
}

pub(super) fn page_number(header: &[u8]) -> u64 {
    u32::from_be_bytes(header[..4].try_into().expect("4 bytes")).into()
}

/// The identity of the header that this frame's names as the one before it.
pub(super) fn previous(header: &FrameHeader) -> UnitId {
    let at = FRAME_HEADER_LEN..FRAME_HEADER_LEN + ID_LEN;
    header[at].try_into().expect("16 bytes")
}

/// Page number and salts of a frame header.
pub(super) fn bound_fields(header: &[u8]) -> [u8; 12] {
    let mut fields = [0; 12];
    fields[..4].copy_from_slice(&header[..4]);
    fields[4..].copy_from_slice(&header[8..16]);
    fields
}

/// Where the page of frame `index` belongs.
pub(super) fn page_place(index: u64, bound: [u8; 12]) -> Place {
    Place {
        bound,
        ..Place::new(UnitKind::WalPage, index)
    }
}
