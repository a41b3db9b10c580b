use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::crypto::TAG_LEN;

use super::extent::CHUNK_LEN;

/// Bytes that travel together: so few that they are still in the processor's cache when they are sealed, opened or
/// written, and that the buffers of a short transfer are zeroed soon.
pub(super) const BATCH_LEN: usize = 256 << 10;
/// What is at most so long is moved by one thread.
pub(super) const SHORT_LEN: u64 = 1 << 20;
/// Length of a whole sealed chunk, at most: under two layers.
pub(super) const SEALED_CHUNK_MAX: usize = CHUNK_LEN + 2 * TAG_LEN;
/// Buffers that go round between the two sides of a transfer: nearly all the memory that it takes.
pub(super) const BATCHES: usize = 3;

/// Bytes on their way from one thread to another.
pub(super) struct Batch {
    /// A batch, and room for a chunk that does not end with it.
    pub bytes: Box<[u8]>,
    /// Which of the bytes count.
    pub range: Range<usize>,
}

impl Batch {
    /// An empty one of so many bytes.
    pub(super) fn of(len: usize) -> Self {
        Self {
            bytes: vec![0; len].into_boxed_slice(),
            range: 0..0,
        }
    }
}

/// Two channels: batches that are full, and batches to fill.
pub(super) struct Ring {
    pub full: (SyncSender<Batch>, Receiver<Batch>),
    pub free: (SyncSender<Batch>, Receiver<Batch>),
}

impl Ring {
    /// With so many buffers, all of which may be full at once.
    pub(super) fn new(batches: usize) -> Self {
        let (full, free) = (sync_channel(batches), sync_channel(batches));
        for _ in 0..batches {
            let batch = Batch::of(BATCH_LEN + SEALED_CHUNK_MAX);
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
