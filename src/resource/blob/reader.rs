use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use crate::base::ResourceId;
use crate::resource::ResourceError;

use super::extent::{
    CHUNK_LEN, ExtentCipher, ExtentHeader, GenerationKey, InfrastructureKey, Layers, chunk_count,
};
use super::manifest::Extent;
use super::ring::{BATCH_LEN, BATCHES, Batch, Ring, joined};

/// Chunks whose plaintexts travel together.
const BATCH_CHUNKS: usize = BATCH_LEN / CHUNK_LEN;

/// The longest part that is read without a second thread.
const SHORT_LEN: u64 = BATCH_LEN as u64;

/// Reads one extent.
pub struct ExtentReader<'a> {
    file: &'a File,
    path: &'a Path,
    /// `None` in a plain account.
    cipher: Option<ExtentCipher>,
    len: u64,
}

impl<'a> ExtentReader<'a> {
    /// Opens the file of `extent` of `account`; `path` is for messages. `generation` is the key that
    /// it must be sealed under, or `None` when it is plain; `infrastructure` that of the second layer that it must
    /// have, or `None` when it must have none.
    ///
    /// # Errors
    /// [`ResourceError::Unauthentic`] when the length or the header is not this extent's, or the
    /// header's commitment is not that of the key.
    pub fn open(
        file: &'a File,
        path: &'a Path,
        account: ResourceId,
        extent: &Extent,
        generation: Option<&GenerationKey>,
        infrastructure: Option<&InfrastructureKey>,
    ) -> Result<Self, ResourceError> {
        let mut reader = Self {
            file,
            path,
            cipher: None,
            len: extent.len,
        };
        let about = file.metadata().map_err(|e| ResourceError::io(path, e))?;
        let expected = match generation {
            None => extent.len,
            Some(_) => Layers::with(infrastructure).sealed_len(extent.len),
        };
        if about.len() != expected {
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
        if range.start > range.end || range.end > self.len {
            return Err(self.unauthentic());
        }
        if range.end - range.start <= SHORT_LEN {
            return self.read_short(range, sink, allowed, progress);
        }
        let ring = Ring::new(BATCHES);
        let (full, opened) = ring.full;
        let (freed, free) = ring.free;
        let (given, read) = thread::scope(|scope| {
            let reader = scope.spawn(move || self.open_batches(range, &free, &full));
            let given = give(&opened, &freed, sink, allowed, progress);
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
        let ring = Ring::new(2);
        let (full, opened) = ring.full;
        let (freed, free) = ring.free;
        let read = self.open_batches(range, &free, &full);
        drop(full);
        give(&opened, &freed, sink, allowed, progress).and(read)
    }

    /// Ends early, without an error of its own, when the other side has gone: it has the cause.
    fn open_batches(
        &self,
        range: Range<u64>,
        free: &Receiver<Batch>,
        full: &SyncSender<Batch>,
    ) -> Result<(), ResourceError> {
        let chunk_len = CHUNK_LEN as u64;
        let count = chunk_count(self.len);
        // Even an empty range reads one chunk, so that even an empty blob is authenticated.
        let mut index = (range.start / chunk_len).min(count - 1);
        let end = range.end.div_ceil(chunk_len).max(index + 1);
        let layers = self
            .cipher
            .as_ref()
            .map_or(Layers::One, ExtentCipher::layers);
        let mut sealed = vec![0; BATCH_CHUNKS * layers.chunk_len()];
        while index < end {
            let Ok(mut batch) = free.recv() else {
                return Ok(());
            };
            let chunks = (end - index).min(BATCH_CHUNKS as u64);
            let first = index * chunk_len;
            let plain_end = (first + chunks * chunk_len).min(self.len);
            let plain_len = usize::try_from(plain_end - first).expect("at most a batch");
            let plain = &mut batch.bytes[..plain_len];
            match &self.cipher {
                None => self.read_at(plain, first)?,
                Some(cipher) => {
                    let chunks = usize::try_from(chunks).expect("at most a batch");
                    let tags = chunks * layers.overhead();
                    let sealed = &mut sealed[..plain_len + tags];
                    self.read_at(sealed, layers.chunk_at(index))?;
                    self.unseal(cipher, index, sealed, plain)?;
                }
            }
            let from = range.start.max(first) - first;
            let to = range.end.min(plain_end).max(range.start) - first;
            batch.range = usize::try_from(from).expect("at most a batch")
                ..usize::try_from(to).expect("at most a batch");
            if full.send(batch).is_err() {
                return Ok(());
            }
            index += chunks;
        }
        Ok(())
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

    fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), ResourceError> {
        self.file
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
    opened: &Receiver<Batch>,
    freed: &SyncSender<Batch>,
    sink: &mut (dyn Write + Send),
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ResourceError> {
    for batch in opened {
        allowed()?;
        let bytes = &batch.bytes[batch.range.clone()];
        sink.write_all(bytes)
            .map_err(|e| ResourceError::io(Path::new("the place that the data goes to"), e))?;
        progress(bytes.len() as u64);
        let _ = freed.send(batch);
    }
    Ok(())
}
