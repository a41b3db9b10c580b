use std::cmp::Ordering;

use super::record::Record;
use super::wal_frames::Generation;

/// How far a sealed file with freshness records has come: what is remembered of it elsewhere, so that
/// an older state of it is told. Secret: it sums up pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Counts the writes of the header's slots.
    pub(super) header: u64,
    /// Counts the states of the main file.
    pub(super) version: u64,
    pub(super) count: u64,
    pub(super) sum: u128,
    pub(super) log: Option<LogPosition>,
}

/// How far a write-ahead log has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogPosition {
    pub salts: [u8; 8],
    /// SQLite's count of the logs since the file was made.
    pub checkpoint: u32,
    pub frames: u64,
    /// The identity of the last of these frames' headers, which names those before it.
    pub last: [u8; 16],
}

impl LogPosition {
    /// The end of a log's committed frames; `None` when there are none.
    pub(super) fn of(log: &Generation<'_>) -> Option<Self> {
        Some(Self {
            salts: *log.salts,
            checkpoint: log.checkpoint,
            frames: log.frames.len() as u64,
            last: log.frames.last()?.header,
        })
    }
}

impl Position {
    /// Length of a position as bytes.
    pub const LEN: usize = 80;

    pub(super) fn new(header: u64, record: &Record, log: Option<LogPosition>) -> Self {
        Self {
            header,
            version: record.version,
            count: record.now.count,
            sum: record.now.sum,
            log,
        }
    }

    /// Which state of the main file, counted from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The further of two positions of one file, field by field where they move by themselves.
    pub fn max(self, other: Self) -> Self {
        let header = self.header.max(other.header);
        let further = match self.order(&other) {
            Ordering::Less => other,
            _ => self,
        };
        Self { header, ..further }
    }

    fn order(&self, other: &Self) -> Ordering {
        let log = |p: &Self| p.log.as_ref().map(|log| (log.checkpoint, log.frames));
        (self.version, log(self)).cmp(&(other.version, log(other)))
    }

    /// As bytes (docs/format.md, "Epochs").
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[..8].copy_from_slice(&self.header.to_le_bytes());
        b[8..16].copy_from_slice(&self.version.to_le_bytes());
        b[16..24].copy_from_slice(&self.count.to_le_bytes());
        b[24..40].copy_from_slice(&self.sum.to_le_bytes());
        if let Some(log) = &self.log {
            b[40] = 1;
            b[44..48].copy_from_slice(&log.checkpoint.to_le_bytes());
            b[48..56].copy_from_slice(&log.salts);
            b[56..64].copy_from_slice(&log.frames.to_le_bytes());
            b[64..].copy_from_slice(&log.last);
        }
        b
    }

    /// Reads what [`Position::to_bytes`] writes; `None` for anything else.
    pub fn from_bytes(b: &[u8; Self::LEN]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(b[at..at + 8].try_into().expect("8 bytes"));
        let log = LogPosition {
            salts: b[48..56].try_into().expect("8 bytes"),
            checkpoint: u32::from_le_bytes(b[44..48].try_into().expect("4 bytes")),
            frames: number(56),
            last: b[64..].try_into().expect("16 bytes"),
        };
        let position = Self {
            header: number(0),
            version: number(8),
            count: number(16),
            sum: u128::from_le_bytes(b[24..40].try_into().expect("16 bytes")),
            log: (b[40] == 1 && log.frames > 0).then_some(log),
        };
        (position.to_bytes() == *b).then_some(position)
    }
}
