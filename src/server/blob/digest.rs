//! MD5 (RFC 1321), as a field of the protocol: clients compare it to find faults of transport. It
//! protects nothing: that is what the chunks' tags are for.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::resource::ResourceError;

use super::fault::Fault;
use super::head::Head;

/// What the header `name` says the digest is.
pub(super) fn expected(head: &Head, name: &str) -> Result<Option<[u8; 16]>, Fault> {
    let Some(text) = head.header(name)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bytes = STANDARD.decode(text).ok();
    match bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()) {
        Some(md5) => Ok(Some(md5)),
        None => Err(Fault::bad(
            "InvalidMd5",
            "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and \
             base64 encoded.",
        )),
    }
}

pub(super) fn mismatch() -> Fault {
    Fault::bad(
        "Md5Mismatch",
        "The MD5 value specified in the request did not match with the MD5 value calculated by the \
         server.",
    )
}

pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// Digests what is written to it.
#[derive(Default)]
pub(super) struct Sum(Md5);

impl Sum {
    pub(super) fn md5(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Digests what is read through it.
pub(super) struct Digesting<R> {
    source: R,
    digest: Arc<Mutex<Md5>>,
}

/// The digest of a body, and what the request says that it is.
pub(super) struct Checked {
    right: Vec<[u8; 16]>,
    digest: Arc<Mutex<Md5>>,
    differs: bool,
}

impl Checked {
    pub(super) fn new(right: impl IntoIterator<Item = Option<[u8; 16]>>) -> Self {
        Self {
            right: right.into_iter().flatten().collect(),
            digest: Arc::default(),
            differs: false,
        }
    }

    /// The body as it is read.
    pub(super) fn reading<R>(&self, source: R) -> Digesting<R> {
        let digest = self.digest.clone();
        Digesting { source, digest }
    }

    /// That of what was read so far.
    pub(super) fn md5(&self) -> [u8; 16] {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        digest.clone().finalize().into()
    }

    /// The same once all was read: an error, which keeps the body from being written, when it is another one
    /// than the request says.
    pub(super) fn check(&mut self) -> Result<[u8; 16], ResourceError> {
        let md5 = self.md5();
        self.differs = self.right.iter().any(|right| *right != md5);
        match self.differs {
            true => Err(ResourceError::BadBlock("another digest".into())),
            false => Ok(md5),
        }
    }

    /// Whether that found no other digest.
    pub(super) fn agreed(&self) -> Result<(), Fault> {
        match self.differs {
            true => Err(mismatch()),
            false => Ok(()),
        }
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        digest.update(&buffer[..len]);
        Ok(len)
    }
}
