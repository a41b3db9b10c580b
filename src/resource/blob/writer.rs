use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use crate::base::{Part, within};
use crate::resource::ResourceError;

use super::extent::{CHUNK_LEN, ExtentCipher, ExtentHeader, MAX_EXTENT_LEN};
use super::ring::{BATCH_LEN, BATCHES, Batch, Ring, SEALED_CHUNK_MAX, joined};
use super::store::NewExtent;

/// Written bytes after which the disk is told to start, so that the sync at the end finds little
/// left to do.
const WRITE_BACK_BYTES: u64 = 4 << 20;

/// Writes all that `source` gives into `new`, sealed when there is a cipher, and returns how many
/// bytes that was. This thread reads and seals, another writes. What is written is durable once it is published.
///
/// `allowed` is asked before each batch; `progress` is told the bytes read so far.
pub(super) fn write_extent(
    new: &NewExtent,
    cipher: Option<&ExtentCipher>,
    source: &mut (dyn Read + Send),
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    let mut chunks = Chunks::start(source)?;
    let len = match chunks.is_last() {
        true => write_short(new, cipher, &mut chunks, allowed, progress)?,
        false => {
            let ring = Ring::new(BATCHES);
            let (full, filled) = ring.full;
            let (freed, free) = ring.free;
            let (sealed, written) = thread::scope(|scope| {
                let writer = scope.spawn(move || write_batches(new, filled, &freed));
                let sealed = seal_batches(cipher, chunks, &free, &full, allowed, progress);
                drop(full);
                (sealed, within(Part::Wait, || joined(writer)))
            });
            written.map_err(|e| ResourceError::io(new.path(), e))?;
            sealed?
        }
    };
    within(Part::Sync, || new.sync()).map_err(|e| ResourceError::io(new.path(), e))?;
    Ok(len)
}

/// What is one chunk is written by this thread alone, in one piece.
fn write_short(
    new: &NewExtent,
    cipher: Option<&ExtentCipher>,
    chunks: &mut Chunks<'_>,
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    allowed()?;
    let mut bytes = Vec::with_capacity(ExtentHeader::LEN + SEALED_CHUNK_MAX);
    if let Some(cipher) = cipher {
        bytes.extend_from_slice(&cipher.header().to_bytes());
    }
    let at = bytes.len();
    let overhead = cipher.map_or(0, |cipher| cipher.layers().overhead());
    bytes.resize(at + chunks.len + overhead, 0);
    let (len, _) = chunks.seal_next(cipher, &mut bytes[at..])?;
    new.write_all(&bytes[..at + len])
        .map_err(|e| ResourceError::io(new.path(), e))?;
    progress(chunks.total);
    Ok(chunks.total)
}

fn write_batches(
    new: &NewExtent,
    filled: Receiver<Batch>,
    freed: &SyncSender<Batch>,
) -> io::Result<()> {
    let (mut at, mut started) = (0, 0);
    for batch in filled {
        let bytes = &batch.bytes[batch.range.clone()];
        new.write_all(bytes)?;
        at += bytes.len() as u64;
        let _ = freed.send(batch);
        if at - started >= WRITE_BACK_BYTES {
            new.write_back(started..at);
            started = at;
        }
    }
    Ok(())
}

/// Returns the number of bytes read. Ends early, without an error of its own, when the other side
/// has gone: it has the cause.
fn seal_batches(
    cipher: Option<&ExtentCipher>,
    mut chunks: Chunks<'_>,
    free: &Receiver<Batch>,
    full: &SyncSender<Batch>,
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    // What does not fit into a batch begins the next one.
    let mut carried = Vec::with_capacity(SEALED_CHUNK_MAX);
    if let Some(cipher) = cipher {
        carried.extend_from_slice(&cipher.header().to_bytes());
    }
    let mut last = false;
    while !last {
        allowed()?;
        let Ok(mut batch) = within(Part::Wait, || free.recv()) else {
            return Ok(chunks.total);
        };
        let mut at = carried.len();
        batch.bytes[..at].copy_from_slice(&carried);
        while at < BATCH_LEN && !last {
            let len;
            (len, last) = chunks.seal_next(cipher, &mut batch.bytes[at..])?;
            at += len;
        }
        // Whole batches lie in the file where its pages do.
        let end = if last { at } else { BATCH_LEN };
        carried.clear();
        carried.extend_from_slice(&batch.bytes[end..at]);
        batch.range = 0..end;
        if full.send(batch).is_err() {
            return Ok(chunks.total);
        }
        progress(chunks.total);
    }
    Ok(chunks.total)
}

/// The source, cut into chunks. One is read ahead: a chunk is the last when nothing follows it.
struct Chunks<'a> {
    source: &'a mut (dyn Read + Send),
    now: Vec<u8>,
    next: Vec<u8>,
    /// Of `now`.
    len: usize,
    next_len: usize,
    /// Of `now`.
    index: u64,
    /// Bytes read.
    total: u64,
}

impl<'a> Chunks<'a> {
    fn start(source: &'a mut (dyn Read + Send)) -> Result<Self, ResourceError> {
        let mut now = vec![0; CHUNK_LEN];
        let len = fill(source, &mut now)?;
        let mut chunks = Self {
            source,
            now,
            next: Vec::new(),
            len,
            next_len: 0,
            index: 0,
            total: len as u64,
        };
        chunks.look_ahead()?;
        Ok(chunks)
    }

    /// Reads the chunk after `now`.
    fn look_ahead(&mut self) -> Result<(), ResourceError> {
        self.next_len = 0;
        if self.len == CHUNK_LEN {
            self.next.resize(CHUNK_LEN, 0);
            self.next_len = fill(self.source, &mut self.next)?;
        }
        self.total += self.next_len as u64;
        match self.total > MAX_EXTENT_LEN {
            true => Err(ResourceError::Usage(
                "the data is longer than a blob of one piece may be (4 TiB)".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Whether nothing follows `now`.
    fn is_last(&self) -> bool {
        self.next_len == 0
    }

    /// Seals the next chunk to the start of `out`; its length there, and whether it is the last.
    fn seal_next(
        &mut self,
        cipher: Option<&ExtentCipher>,
        out: &mut [u8],
    ) -> Result<(usize, bool), ResourceError> {
        let last = self.is_last();
        let plain = &self.now[..self.len];
        let len = match cipher {
            None => {
                out[..self.len].copy_from_slice(plain);
                self.len
            }
            Some(cipher) => {
                let len = self.len + cipher.layers().overhead();
                cipher.seal(
                    self.index,
                    last.then_some(self.total),
                    plain,
                    &mut out[..len],
                );
                len
            }
        };
        std::mem::swap(&mut self.now, &mut self.next);
        self.len = self.next_len;
        self.index += 1;
        self.look_ahead()?;
        Ok((len, last))
    }
}

/// Reads until `buffer` is full or the source ends; how many bytes.
fn fill(source: &mut (dyn Read + Send), buffer: &mut [u8]) -> Result<usize, ResourceError> {
    let mut len = 0;
    while len < buffer.len() {
        match within(Part::System, || source.read(&mut buffer[len..])) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(ResourceError::io(Path::new("the data to put"), e)),
        }
    }
    Ok(len)
}
