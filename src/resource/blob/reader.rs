use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use crate::base::ResourceId;
use crate::resource::ResourceError;

use super::extent::{
    CHUNK_LEN, ExtentCipher, ExtentHeader, GenerationKey, InfrastructureKey, Layers, chunk_count,
};
use super::manifest::Extent;
use super::opened::{Buffers, Opened};
use super::ring::{BATCH_LEN, BATCHES, Batch, Ring, SHORT_LEN, joined};
use super::store::ExtentBytes;

/// Chunks whose plaintexts travel together.
const BATCH_CHUNKS: usize = BATCH_LEN / CHUNK_LEN;

/// Reads one extent.
pub struct ExtentReader<'a> {
    bytes: &'a dyn ExtentBytes,
    path: &'a Path,
    /// `None` in a plain account.
    cipher: Option<ExtentCipher>,
    len: u64,
}

impl<'a> ExtentReader<'a> {
    /// Opens the bytes of `extent` of `account`; `path` is for messages. `generation` is the key that
    /// it must be sealed under, or `None` when it is plain; `infrastructure` that of the second layer that it must
    /// have, or `None` when it must have none.
    ///
    /// # Errors
    /// [`ResourceError::Unauthentic`] when the length or the header is not this extent's, or the
    /// header's commitment is not that of the key.
    pub fn open(
        bytes: &'a dyn ExtentBytes,
        path: &'a Path,
        account: ResourceId,
        extent: &Extent,
        generation: Option<&GenerationKey>,
        infrastructure: Option<&InfrastructureKey>,
    ) -> Result<Self, ResourceError> {
        let mut reader = Self {
            bytes,
            path,
            cipher: None,
            len: extent.len,
        };
        let stored = bytes.length().map_err(|e| ResourceError::io(path, e))?;
        let expected = match generation {
            None => extent.len,
            Some(_) => Layers::with(infrastructure).sealed_len(extent.len),
        };
        if stored != expected {
            return Err(reader.unauthentic());
        }
        if let Some(generation) = generation {
            let mut header = [0; ExtentHeader::LEN];
            reader.read_at(&mut header, 0)?;
            let cipher =
                ExtentCipher::open(&header, account, extent.id, generation, infrastructure);
            reader.cipher = Some(cipher.map_err(|_| reader.unauthentic())?);
        }
        Ok(reader)
    }

    /// Gives the bytes `range` of the extent to `sink`. Only the chunks that hold them are read;
    /// each is authenticated before a byte of it leaves. Another thread reads and opens; this one
    /// writes to the sink, and asks `allowed` before each batch. `progress` is told the bytes
    /// given since the last time.
    ///
    /// # Errors
    /// [`ResourceError::Unauthentic`] when a chunk is not the one that belongs there, or the range
    /// lies outside; what `allowed` says; the sink's.
    pub fn read(
        &self,
        range: Range<u64>,
        sink: &mut (dyn Write + Send),
        allowed: &dyn Fn() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        self.begin(&range)?;
        if range.end - range.start <= SHORT_LEN {
            return self.read_short(range, sink, allowed, progress);
        }
        let ring = Ring::new(BATCHES);
        let (full, opened) = ring.full;
        let (freed, free) = ring.free;
        let (given, read) = thread::scope(|scope| {
            let reader = scope.spawn(move || self.open_batches(range, &free, &full));
            let given = opened.iter().try_for_each(|batch| {
                give(&batch.bytes[batch.range.clone()], sink, allowed, progress)?;
                let _ = freed.send(batch);
                Ok(())
            });
            // The reader must not wait for buffers that will not come back.
            drop((opened, freed));
            (given, joined(reader))
        });
        given.and(read)
    }

    /// What is read at once is read by this thread alone: a blob may consist of thousands of short extents.
    fn read_short(
        &self,
        range: Range<u64>,
        sink: &mut (dyn Write + Send),
        allowed: &dyn Fn() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        let mut chunks = self.chunks_of(&range);
        let mut sealed = self.room_for(&chunks, BATCH_CHUNKS);
        let most = (chunks.end - chunks.start).min(BATCH_CHUNKS as u64);
        let mut plain = vec![0; usize::try_from(most).expect("at most a batch") * CHUNK_LEN];
        while !chunks.is_empty() {
            let opened = self.open_next(&mut chunks, &range, &mut sealed, &mut plain)?;
            give(&plain[opened], sink, allowed, progress)?;
        }
        Ok(())
    }

    /// The same, by this thread alone and without a copy: `take` gets each piece together with the buffer that it
    /// lies in, which goes back to `buffers` when it is dropped.
    ///
    /// # Errors
    /// As of [`ExtentReader::read`]; what `take` says.
    pub(super) fn read_into_pieces(
        &self,
        range: Range<u64>,
        buffers: &Buffers,
        take: &mut dyn FnMut(Opened) -> io::Result<()>,
        allowed: &dyn Fn() -> Result<(), ResourceError>,
    ) -> Result<(), ResourceError> {
        self.begin(&range)?;
        let mut chunks = self.chunks_of(&range);
        let mut sealed = self.room_for(&chunks, buffers.len() / CHUNK_LEN);
        while !chunks.is_empty() {
            let mut piece = buffers.take();
            piece.range = self.open_next(&mut chunks, &range, &mut sealed, &mut piece.bytes)?;
            allowed()?;
            take(piece).map_err(not_taken)?;
        }
        Ok(())
    }

    /// Room for as many sealed chunks as are opened at once.
    fn room_for(&self, chunks: &Range<u64>, most: usize) -> Vec<u8> {
        let count = (chunks.end - chunks.start).min(most as u64);
        let count = usize::try_from(count).expect("at most a batch");
        vec![0; count * self.layers().chunk_len()]
    }

    /// Looks whether the extent has the range, and says that it will be read.
    fn begin(&self, range: &Range<u64>) -> Result<(), ResourceError> {
        if range.start > range.end || range.end > self.len {
            return Err(self.unauthentic());
        }
        self.bytes.expect(self.stored(range));
        Ok(())
    }

    fn layers(&self) -> Layers {
        let cipher = self.cipher.as_ref();
        cipher.map_or(Layers::One, ExtentCipher::layers)
    }

    /// The chunks that hold a range. Even an empty one has one, so that even an empty blob is authenticated.
    fn chunks_of(&self, range: &Range<u64>) -> Range<u64> {
        let chunk_len = CHUNK_LEN as u64;
        let first = (range.start / chunk_len).min(chunk_count(self.len) - 1);
        first..range.end.div_ceil(chunk_len).max(first + 1)
    }

    /// Ends early, without an error of its own, when the other side has gone: it has the cause.
    fn open_batches(
        &self,
        range: Range<u64>,
        free: &Receiver<Batch>,
        full: &SyncSender<Batch>,
    ) -> Result<(), ResourceError> {
        let mut chunks = self.chunks_of(&range);
        let mut sealed = self.room_for(&chunks, BATCH_CHUNKS);
        while !chunks.is_empty() {
            let Ok(mut batch) = free.recv() else {
                return Ok(());
            };
            let plain = &mut batch.bytes[..BATCH_LEN];
            batch.range = self.open_next(&mut chunks, &range, &mut sealed, plain)?;
            if full.send(batch).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the next chunks, as many as `plain` has room for, into its start; which bytes there are of the range.
    fn open_next(
        &self,
        chunks: &mut Range<u64>,
        range: &Range<u64>,
        sealed: &mut [u8],
        plain: &mut [u8],
    ) -> Result<Range<usize>, ResourceError> {
        let count = (chunks.end - chunks.start).min((plain.len() / CHUNK_LEN) as u64);
        let first = chunks.start * CHUNK_LEN as u64;
        let end = (first + count * CHUNK_LEN as u64).min(self.len);
        let usize = |n: u64| usize::try_from(n).expect("at most a batch");
        let plain = &mut plain[..usize(end - first)];
        match &self.cipher {
            None => self.read_at(plain, first)?,
            Some(cipher) => {
                let layers = cipher.layers();
                let sealed = &mut sealed[..plain.len() + usize(count) * layers.overhead()];
                self.read_at(sealed, layers.chunk_at(chunks.start))?;
                self.unseal(cipher, chunks.start, sealed, plain)?;
            }
        }
        chunks.start += count;
        let to = range.end.min(end).max(range.start);
        Ok(usize(range.start.max(first) - first)..usize(to - first))
    }

    fn unseal(
        &self,
        cipher: &ExtentCipher,
        first: u64,
        sealed: &mut [u8],
        plain: &mut [u8],
    ) -> Result<(), ResourceError> {
        let last = chunk_count(self.len) - 1;
        if plain.is_empty() {
            return cipher
                .unseal(0, Some(0), sealed, plain)
                .map_err(|_| self.unauthentic());
        }
        let chunks = sealed
            .chunks_mut(cipher.layers().chunk_len())
            .zip(plain.chunks_mut(CHUNK_LEN));
        for (index, (sealed, plain)) in (first..).zip(chunks) {
            let total = (index == last).then_some(self.len);
            cipher
                .unseal(index, total, sealed, plain)
                .map_err(|_| self.unauthentic())?;
        }
        Ok(())
    }

    /// Where the chunks that hold a range are stored.
    fn stored(&self, range: &Range<u64>) -> Range<u64> {
        let chunks = self.chunks_of(range);
        let at = |chunk| match &self.cipher {
            None => chunk * CHUNK_LEN as u64,
            Some(cipher) => cipher.layers().chunk_at(chunk),
        };
        at(chunks.start)..at(chunks.end)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), ResourceError> {
        self.bytes
            .read_exact_at(buffer, at)
            .map_err(|e| match e.kind() {
                // It was cut since it was opened.
                io::ErrorKind::UnexpectedEof => self.unauthentic(),
                _ => ResourceError::io(self.path, e),
            })
    }

    fn unauthentic(&self) -> ResourceError {
        ResourceError::Unauthentic {
            path: self.path.display().to_string(),
        }
    }
}

fn give(
    bytes: &[u8],
    sink: &mut (dyn Write + Send),
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ResourceError> {
    allowed()?;
    sink.write_all(bytes).map_err(not_taken)?;
    progress(bytes.len() as u64);
    Ok(())
}

fn not_taken(cause: io::Error) -> ResourceError {
    ResourceError::io(Path::new("the place that the data goes to"), cause)
}
