//! MD5 (RFC 1321), as a field of the protocol: clients compare it to find faults of transport. It
//! protects nothing: that is what the chunks' tags are for.

use std::io::{self, Read, Write};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_md5::Md5;
use hyper::body::Bytes;

use crate::resource::ResourceError;
use crate::server::stream::Source;

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
    fast_md5::digest(bytes)
}

/// Digests what is written to it.
pub(super) struct Sum(Md5);

impl Sum {
    /// Of nothing yet.
    pub(super) fn new() -> Self {
        Self(Md5::new())
    }

    pub(super) fn md5(self) -> [u8; 16] {
        self.0.finalize()
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

/// Bodies that are longer are digested by a thread of their own, beside the one that seals them.
const INLINE_MAX: u64 = 256 << 10;
/// Pieces that may wait for it.
const WAITING: usize = 32;

/// The digest of a body, and what the request says that it is.
pub(super) struct Checked {
    right: Vec<[u8; 16]>,
    state: State,
    differs: bool,
}

enum State {
    Inline(Inline),
    Beside(Option<JoinHandle<[u8; 16]>>),
    Known([u8; 16]),
}

impl Checked {
    /// Of a body of about `length` bytes that `source` gives.
    ///
    /// # Errors
    /// 503 when no thread can be started.
    pub(super) fn of(
        right: impl IntoIterator<Item = Option<[u8; 16]>>,
        source: &mut Source,
        length: u64,
    ) -> Result<Self, Fault> {
        let (mut checked, inline) = Self::inline(right);
        if length <= INLINE_MAX {
            source.watch(Box::new(move |piece| inline.update(piece)));
            return Ok(checked);
        }
        let (sender, pieces) = sync_channel::<Bytes>(WAITING);
        let thread = thread::Builder::new().name("atrest-md5".into());
        let thread = thread.spawn(move || {
            let mut sum = Md5::new();
            pieces.into_iter().for_each(|piece| sum.update(&piece));
            sum.finalize()
        });
        let thread = thread.map_err(|error| {
            tracing::error!(%error, "no thread could be started");
            Fault::busy()
        })?;
        source.watch(Box::new(move |piece| {
            // It ends when this is dropped, and not before.
            let _ = sender.send(piece.clone());
        }));
        checked.state = State::Beside(Some(thread));
        Ok(checked)
    }

    /// Of what will be read through the other.
    pub(super) fn inline(right: impl IntoIterator<Item = Option<[u8; 16]>>) -> (Self, Inline) {
        let inline = Inline(Arc::new(Mutex::new(Md5::new())));
        let checked = Self {
            right: right.into_iter().flatten().collect(),
            state: State::Inline(inline.clone()),
            differs: false,
        };
        (checked, inline)
    }

    /// That of all that was read. Asked when the body has ended.
    pub(super) fn md5(&mut self) -> [u8; 16] {
        let md5 = match &mut self.state {
            State::Known(md5) => return *md5,
            State::Inline(sum) => std::mem::replace(&mut *sum.lock(), Md5::new()).finalize(),
            State::Beside(thread) => {
                let thread = thread.take().expect("after it was joined it is known");
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        };
        self.state = State::Known(md5);
        md5
    }

    /// The same: an error, which keeps the body from being written, when it is another one than the request
    /// says.
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

/// A digest that is made by who reads.
#[derive(Clone)]
pub(super) struct Inline(Arc<Mutex<Md5>>);

impl Inline {
    fn lock(&self) -> MutexGuard<'_, Md5> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, bytes: &[u8]) {
        self.lock().update(bytes);
    }

    /// `source` as it is read.
    pub(super) fn reading<R>(self, source: R) -> Digesting<R> {
        Digesting {
            source,
            digest: self,
        }
    }
}

/// Digests what is read through it.
pub(super) struct Digesting<R> {
    source: R,
    digest: Inline,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.digest.update(&buffer[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use md5::Digest as _;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_body_gets_another_digest_than_clients_compute(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        ) {
            let whole = pieces.concat();
            let right: [u8; 16] = md5::Md5::digest(&whole).into();
            prop_assert_eq!(md5(&whole), right);
            let mut sum = Sum::new();
            let (mut checked, inline) = Checked::inline([Some(right)]);
            for piece in &pieces {
                sum.write_all(piece).unwrap();
                inline.update(piece);
            }
            prop_assert_eq!(sum.md5(), right);
            prop_assert_eq!(checked.check().ok(), Some(right));
            prop_assert_eq!(checked.md5(), right);
        }
    }
}
