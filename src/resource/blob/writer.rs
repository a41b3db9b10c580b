use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use rustix::fs::{Advice, fadvise};

use crate::crypto::TAG_LEN;
use crate::resource::ResourceError;

use super::extent::{CHUNK_LEN, ExtentCipher, ExtentHeader, MAX_EXTENT_LEN};
use super::ring::{BATCH_CHUNKS, Batch, Ring, joined};

/// Written bytes after which the disk is told to start, so that the sync at the end finds little
/// left to do.
const WRITE_BACK_BYTES: u64 = 32 << 20;

/// Writes all that `source` gives into `file`, sealed when there is a cipher, and returns how many
/// bytes that was. This thread reads and seals, another writes. The file is durable when this
/// returns.
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
    let (sealed, written) = thread::scope(|scope| {
        let writer = scope.spawn(move || write_batches(file, filled, &freed));
        let sealed = seal_batches(cipher, source, &free, &full, allowed, progress);
        drop(full);
        (sealed, joined(writer))
    });
    written.map_err(|e| ResourceError::io(path, e))?;
    let len = sealed?;
    file.sync_all().map_err(|e| ResourceError::io(path, e))?;
    Ok(len)
}

fn write_batches(
    mut file: &File,
    filled: Receiver<Batch>,
    freed: &SyncSender<Batch>,
) -> io::Result<()> {
    let (mut at, mut started) = (0, 0);
    for batch in filled {
        let bytes = &batch.bytes[batch.range.clone()];
        file.write_all(bytes)?;
        at += bytes.len() as u64;
        let _ = freed.send(batch);
        if let Some(fresh) = NonZeroU64::new(at - started)
            && fresh.get() >= WRITE_BACK_BYTES
        {
            // On Linux this advice starts the write-back of dirty pages, and drops clean ones, of
            // which a fresh file has none. Being advice, it may fail.
            let _ = fadvise(file, started, Some(fresh), Advice::DontNeed);
            started = at;
        }
    }
    Ok(())
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
