use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::extent::CHUNK_LEN;

/// The longest: a mebibyte, so that the threads that open, send and take it are seldom woken. That costs more than what no
/// longer lies near the processor.
const OPENED_MAX: usize = 16 * CHUNK_LEN;

/// A part of a blob, authentic, in a buffer that others will use when it is dropped.
pub struct Opened {
    pub(super) bytes: Box<[u8]>,
    /// Which of the bytes count.
    pub(super) range: Range<usize>,
    home: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl AsRef<[u8]> for Opened {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        home.push(std::mem::take(&mut self.bytes));
    }
}

/// Buffers of pieces. Who takes pieces bounds how many there are.
pub(super) struct Buffers {
    len: usize,
    kept: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Buffers {
    /// For the bytes `range` of a blob: no larger than these need.
    pub(super) fn for_range(range: &Range<u64>) -> Self {
        let chunk = CHUNK_LEN as u64;
        let chunks = range.end.div_ceil(chunk) - range.start / chunk;
        let len = (chunks.max(1) * chunk).min(OPENED_MAX as u64);
        Self {
            len: usize::try_from(len).expect("at most a piece"),
            kept: Arc::default(),
        }
    }

    /// The length of each.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// An empty piece.
    pub(super) fn take(&self) -> Opened {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.pop();
        Opened {
            bytes: kept.unwrap_or_else(|| vec![0; self.len].into_boxed_slice()),
            range: 0..0,
            home: self.kept.clone(),
        }
    }
}
