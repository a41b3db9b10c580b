use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::crypto::TAG_LEN;

use super::extent::{CHUNK_LEN, ExtentHeader};

/// Chunks that travel together.
pub(super) const BATCH_CHUNKS: usize = 16;
/// Buffers that go round between the two sides of a transfer: all the memory that it takes,
/// beside two chunks.
const BATCHES: usize = 3;
const BATCH_BYTES: usize = BATCH_CHUNKS * (CHUNK_LEN + TAG_LEN) + ExtentHeader::LEN;

/// Bytes on their way from one thread to another.
pub(super) struct Batch {
    pub bytes: Box<[u8]>,
    /// Which of the bytes count.
    pub range: Range<usize>,
}

/// Two channels: batches that are full, and batches to fill.
pub(super) struct Ring {
    pub full: (SyncSender<Batch>, Receiver<Batch>),
    pub free: (SyncSender<Batch>, Receiver<Batch>),
}

impl Ring {
    pub(super) fn new() -> Self {
        let (full, free) = (sync_channel(BATCHES), sync_channel(BATCHES));
        for _ in 0..BATCHES {
            let batch = Batch {
                bytes: vec![0; BATCH_BYTES].into_boxed_slice(),
                range: 0..0,
            };
            free.0.send(batch).expect("the receiver is here");
        }
        Self { full, free }
    }
}

/// What the thread returned, or its panic.
pub(super) fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
