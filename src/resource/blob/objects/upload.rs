use std::io;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::task::JoinSet;

use super::{failed, runtime};

/// Bytes of a part: S3 takes no shorter one than 5 MiB, but for the last.
const PART_LEN: usize = 8 << 20;
/// And of those after the first [`SHORT_PARTS`].
const LONG_PART_LEN: usize = 64 << 20;
const SHORT_PARTS: usize = 2_000;
/// S3's and Google's limit; 516 GB in all.
const PARTS_MAX: usize = 10_000;
/// Parts on their way at once; of long ones, a single one.
const FLYING: usize = 4;

/// An object that is being written. Nobody sees any of it before it is finished; dropped before that, it never was.
pub struct Upload {
    store: Arc<dyn ObjectStore>,
    at: Path,
    buffer: Vec<u8>,
    /// `None` until the first part goes: what is short goes in one request.
    parts: Option<Box<dyn MultipartUpload>>,
    sent: usize,
    flying: JoinSet<object_store::Result<()>>,
    part_len: usize,
}

impl Upload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, at: Path) -> Self {
        Self {
            store,
            at,
            buffer: Vec::new(),
            parts: None,
            sent: 0,
            flying: JoinSet::new(),
            part_len: PART_LEN,
        }
    }

    /// Adds to its end.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.buffer.len() == self.part_len {
                self.send()?;
            }
            let len = bytes.len().min(self.part_len - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..len]);
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// Has the object be there, whole and durable. When this fails it may be there: a lost answer tells neither.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.parts.is_none() {
            let whole = std::mem::take(&mut self.buffer).into();
            let put = runtime()?.block_on(self.store.put(&self.at, whole));
            return put.map(drop).map_err(failed);
        }
        self.send()?;
        while !self.flying.is_empty() {
            self.landed()?;
        }
        if let Some(parts) = &mut self.parts {
            runtime()?.block_on(parts.complete()).map_err(failed)?;
        }
        self.parts = None;
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        if self.sent == PARTS_MAX {
            return Err(io::Error::other(
                "the data is longer than an object store takes in one piece (516 GB); put it as blocks",
            ));
        }
        let long = self.sent >= SHORT_PARTS;
        while self.flying.len() >= if long { 1 } else { FLYING } {
            self.landed()?;
        }
        let runtime = runtime()?;
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(
                runtime
                    .block_on(self.store.put_multipart(&self.at))
                    .map_err(failed)?,
            ),
        };
        let part = parts.put_part(std::mem::take(&mut self.buffer).into());
        self.flying.spawn_on(part, runtime.handle());
        self.sent += 1;
        if self.sent >= SHORT_PARTS {
            self.part_len = LONG_PART_LEN;
        }
        Ok(())
    }

    /// Waits until one more part has arrived.
    fn landed(&mut self) -> io::Result<()> {
        match runtime()?.block_on(self.flying.join_next()) {
            Some(Ok(sent)) => sent.map_err(failed),
            Some(Err(e)) => Err(io::Error::other(e)),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut parts), Ok(runtime)) = (self.parts.take(), runtime()) {
            self.flying.abort_all();
            // Parts that stay are seen by nobody; the store's own rule for them removes them.
            let _ = runtime.block_on(parts.abort());
        }
    }
}
