use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use crate::base::{Part, within};
use crate::resource::ResourceError;

use super::extent::{CHUNK_LEN, ExtentCipher, MAX_EXTENT_LEN};
use super::new_extent::NewExtent;
use super::ring::{BATCH_LEN, BATCHES, Batch, Ring, SEALED_CHUNK_MAX, SHORT_LEN, joined};

/// Written bytes after which the disk is told to start, so that the sync at the end finds little
/// left to do.
const WRITE_BACK_BYTES: u64 = 4 << 20;

/// Writes all that `chunks` gives into `new`, sealed when there is a cipher, and returns how many
/// bytes that was. This thread reads and seals; after the first [`SHORT_LEN`] bytes another writes. What is written is durable once it is published.
///
/// `allowed` is asked before each batch; `progress` is told the bytes read so far.
pub(super) fn write_extent<'a>(
    new: &NewExtent,
    cipher: Option<&'a ExtentCipher>,
    chunks: Chunks<'a>,
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ResourceError> {
    let mut sealing = Sealing::start(new, cipher, chunks);
    let failed = |e| ResourceError::io(new.path(), e);
    // To wake another thread takes longer than it saves where little is to be written.
    let mut batch = Batch::of(sealing.most());
    let mut at = 0;
    while !sealing.is_done() && at <= SHORT_LEN {
        allowed()?;
        sealing.fill(&mut batch)?;
        let bytes = &batch.bytes[batch.range.clone()];
        within(Part::System, || new.write_all(bytes)).map_err(failed)?;
        at += bytes.len() as u64;
        progress(sealing.total());
    }
    drop(batch);
    if !sealing.is_done() {
        let ring = Ring::new(BATCHES);
        let (full, filled) = ring.full;
        let (freed, free) = ring.free;
        let (sealed, written) = thread::scope(|scope| {
            let writer = scope.spawn(move || write_batches(new, at, filled, &freed));
            let sealed = seal_batches(&mut sealing, &free, &full, allowed, progress);
            drop(full);
            (sealed, within(Part::Wait, || joined(writer)))
        });
        written.map_err(failed)?;
        sealed?;
    }
    Ok(sealing.total())
}

/// Writes what comes after the first `at` bytes.
fn write_batches(
    new: &NewExtent,
    mut at: u64,
    filled: Receiver<Batch>,
    freed: &SyncSender<Batch>,
) -> io::Result<()> {
    let mut started = 0;
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

/// Ends early, without an error of its own, when the other side has gone: it has the cause.
fn seal_batches(
    sealing: &mut Sealing<'_>,
    free: &Receiver<Batch>,
    full: &SyncSender<Batch>,
    allowed: &dyn Fn() -> Result<(), ResourceError>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ResourceError> {
    while !sealing.is_done() {
        allowed()?;
        let Ok(mut batch) = within(Part::Wait, || free.recv()) else {
            return Ok(());
        };
        sealing.fill(&mut batch)?;
        if full.send(batch).is_err() {
            return Ok(());
        }
        progress(sealing.total());
    }
    Ok(())
}

/// The source, sealed and cut into batches.
struct Sealing<'a> {
    cipher: Option<&'a ExtentCipher>,
    chunks: Chunks<'a>,
    /// What does not fit into a batch begins the next one.
    carried: Vec<u8>,
    done: bool,
}

impl<'a> Sealing<'a> {
    fn start(new: &NewExtent, cipher: Option<&'a ExtentCipher>, chunks: Chunks<'a>) -> Self {
        let mut carried = new.head().map(Vec::from).unwrap_or_default();
        carried.extend(cipher.iter().flat_map(|cipher| cipher.header().to_bytes()));
        Self {
            cipher,
            chunks,
            carried,
            done: false,
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes read.
    fn total(&self) -> u64 {
        self.chunks.total
    }

    /// Before the first batch: how long its buffer has to be, at most.
    fn most(&self) -> usize {
        match self.chunks.is_last() {
            true => self.carried.len() + self.chunks.len + SEALED_CHUNK_MAX - CHUNK_LEN,
            false => BATCH_LEN + SEALED_CHUNK_MAX,
        }
    }

    /// Fills the next batch.
    fn fill(&mut self, batch: &mut Batch) -> Result<(), ResourceError> {
        let mut at = self.carried.len();
        batch.bytes[..at].copy_from_slice(&self.carried);
        while at < BATCH_LEN && !self.done {
            let len;
            (len, self.done) = (self.chunks).seal_next(self.cipher, &mut batch.bytes[at..])?;
            at += len;
        }
        // Whole batches lie in the file where its pages do.
        let end = if self.done { at } else { BATCH_LEN };
        self.carried.clear();
        self.carried.extend_from_slice(&batch.bytes[end..at]);
        batch.range = 0..end;
        Ok(())
    }
}

/// The source, cut into chunks. One is read ahead: a chunk is the last when nothing follows it.
pub(super) struct Chunks<'a> {
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
    /// Reads the first of them.
    pub(super) fn start(source: &'a mut (dyn Read + Send)) -> Result<Self, ResourceError> {
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

    /// At the start: how many bytes there are in all, if they are a single chunk.
    pub(super) fn single(&self) -> Option<u64> {
        self.is_last().then_some(self.total)
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
