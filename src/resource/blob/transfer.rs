use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::crypto::TAG_LEN;
use crate::resource::ResourceError;

use super::extent::{
    CHUNK_LEN, ExtentCipher, ExtentHeader, MAX_EXTENT_LEN, chunk_at, chunk_count, sealed_len,
};

/// Chunks that travel together.
const BATCH_CHUNKS: usize = 16;
/// Buffers that go round between the two sides of a transfer: all the memory that it takes,
/// beside two chunks.
const BATCHES: usize = 3;
const BATCH_BYTES: usize = BATCH_CHUNKS * (CHUNK_LEN + TAG_LEN) + ExtentHeader::LEN;

/// Written bytes after which the disk is told to start, so that the last sync finds little to do.
const WRITE_BACK_BYTES: u64 = 64 << 20;

struct Batch {
    bytes: Box<[u8]>,
    range: Range<usize>,
}

/// Where the buffers go round.
struct Ring {
    full: (SyncSender<Batch>, Receiver<Batch>),
    free: (SyncSender<Batch>, Receiver<Batch>),
}

impl Ring {
    fn new() -> Self {
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

/// Writes all that `source` gives into `file`, sealed when there is a cipher, and returns how many
/// bytes that was. This thread reads and seals; another writes; a third has the disk start early.
/// The file is durable when this returns.
///
/// `allowed` is asked before each batch; `progress` is told the bytes read so far.
pub(super) fn write_extent(
    file: &File,
    path: &Path,
    cipher: Option<&ExtentCipher>,
    source: &mut (dyn Read + Send),
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    let ring = Ring::new();
    let (full, filled) = ring.full;
    let (freed, free) = ring.free;
    let (wake, woken) = sync_channel::<()>(1);
    let (sealed, written, synced) = thread::scope(|scope| {
        let syncer = scope.spawn(move || woken.iter().try_for_each(|()| file.sync_data()));
        let writer = scope.spawn(move || {
            let mut behind = 0;
            for batch in filled {
                let bytes = &batch.bytes[batch.range.clone()];
                (&*file).write_all(bytes)?;
                behind += bytes.len() as u64;
                let _ = freed.send(batch);
                if behind >= WRITE_BACK_BYTES && wake.try_send(()).is_ok() {
                    behind = 0;
                }
            }
            Ok(())
        });
        let sealed = seal_batches(cipher, source, &free, &full, allowed, progress);
        drop(full);
        (sealed, joined(writer), joined(syncer))
    });
    written.map_err(|e| ResourceError::io(path, e))?;
    synced.map_err(|e| ResourceError::io(path, e))?;
    let len = sealed?;
    file.sync_all().map_err(|e| ResourceError::io(path, e))?;
    Ok(len)
}

/// Returns the number of bytes read. Ends early, without an error of its own, when the other side
/// has gone: it has the cause.
fn seal_batches(
    cipher: Option<&ExtentCipher>,
    source: &mut (dyn Read + Send),
    free: &Receiver<Batch>,
    full: &SyncSender<Batch>,
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    let mut chunk = vec![0; CHUNK_LEN];
    let mut next = vec![0; CHUNK_LEN];
    let mut len = fill(source, &mut chunk)?;
    let (mut index, mut total) = (0, len as u64);
    let mut last = false;
    while !last {
        allowed()?;
        let Ok(mut batch) = free.recv() else {
            return Ok(total);
        };
        let mut at = 0;
        if let (0, Some(cipher)) = (index, cipher) {
            at = ExtentHeader::LEN;
            batch.bytes[..at].copy_from_slice(&cipher.header().to_bytes());
        }
        for _ in 0..BATCH_CHUNKS {
            // A chunk is the last when nothing follows it.
            let next_len = match len {
                CHUNK_LEN => fill(source, &mut next)?,
                _ => 0,
            };
            last = next_len == 0;
            let plain = &chunk[..len];
            let end = at + len + cipher.map_or(0, |_| TAG_LEN);
            let out = &mut batch.bytes[at..end];
            match cipher {
                Some(cipher) => cipher.seal(index, last.then_some(total), plain, out),
                None => out.copy_from_slice(plain),
            }
            at = end;
            if last {
                break;
            }
            index += 1;
            len = next_len;
            total += len as u64;
            if total > MAX_EXTENT_LEN {
                return Err(ResourceError::Usage(
                    "the data is longer than a blob of one piece may be (4 TiB)".to_owned(),
                ));
            }
            std::mem::swap(&mut chunk, &mut next);
        }
        batch.range = 0..at;
        if full.send(batch).is_err() {
            return Ok(total);
        }
        progress(total);
    }
    Ok(total)
}

/// Reads until `buffer` is full or the source ends; how many bytes.
fn fill(source: &mut (dyn Read + Send), buffer: &mut [u8]) -> Result<usize, ResourceError> {
    let mut len = 0;
    while len < buffer.len() {
        match source.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(ResourceError::io(Path::new("the data to put"), e)),
        }
    }
    Ok(len)
}

/// An extent to read: its file, and what must be true of it.
pub(super) struct OpenExtent<'a> {
    pub file: &'a File,
    pub path: &'a Path,
    /// `None` in a plain account.
    pub cipher: Option<&'a ExtentCipher>,
    /// Its plaintext bytes.
    pub len: u64,
}

impl OpenExtent<'_> {
    /// Gives the bytes `range` of the extent to `sink`. Only the chunks that hold them are read;
    /// each is authenticated before a byte of it leaves. Another thread reads and opens; this one
    /// writes to the sink, and asks `allowed` before each batch. `progress` is told the bytes
    /// given since the last time.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        sink: &mut (dyn Write + Send),
        allowed: &dyn Fn() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        let file_len = self
            .file
            .metadata()
            .map_err(|e| ResourceError::io(self.path, e))?
            .len();
        let expected = self.cipher.map_or(self.len, |_| sealed_len(self.len));
        if file_len != expected || range.end > self.len {
            return Err(self.unauthentic());
        }
        let ring = Ring::new();
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
        let mut sealed = vec![0; BATCH_CHUNKS * (CHUNK_LEN + TAG_LEN)];
        while index < end {
            let Ok(mut batch) = free.recv() else {
                return Ok(());
            };
            let chunks = (end - index).min(BATCH_CHUNKS as u64);
            let first = index * chunk_len;
            let plain_end = (first + chunks * chunk_len).min(self.len);
            let plain_len = usize::try_from(plain_end - first).expect("at most a batch");
            let plain = &mut batch.bytes[..plain_len];
            match self.cipher {
                None => self.read_at(plain, first)?,
                Some(cipher) => {
                    let tags = usize::try_from(chunks).expect("at most a batch") * TAG_LEN;
                    let sealed = &mut sealed[..plain_len + tags];
                    self.read_at(sealed, chunk_at(index))?;
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
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), ResourceError> {
        let last = chunk_count(self.len) - 1;
        if plain.is_empty() {
            return cipher
                .unseal(0, Some(0), sealed, plain)
                .map_err(|_| self.unauthentic());
        }
        let chunks = sealed
            .chunks(CHUNK_LEN + TAG_LEN)
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

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
