use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use tokio::time::timeout;

use super::{failed, runtime};

/// An object that is no longer than this is fetched when it is opened.
const WHOLE_MAX: u64 = 256 << 10;
/// Of a longer one, so much is: its header.
const FIRST_LEN: u64 = 256;
/// Until more of an answer comes.
const STALLED: Duration = Duration::from_secs(60);

type Bytes = BoxStream<'static, object_store::Result<PieceOf>>;
type PieceOf = hyper::body::Bytes;

/// An object that is open for reading.
pub struct Object {
    store: Arc<dyn ObjectStore>,
    at: Path,
    len: u64,
    first: Vec<u8>,
    coming: Mutex<Coming>,
}

/// An answer that is being read.
#[derive(Default)]
struct Coming {
    /// What the next answer is to hold, where it was said.
    expected: Range<u64>,
    /// Where the next byte stands.
    at: u64,
    piece: PieceOf,
    rest: Option<Bytes>,
}

impl Object {
    /// Opens the object at `at`, which is `expected` bytes long if it is what it should be; `None` when there is none.
    pub(super) fn open(
        store: Arc<dyn ObjectStore>,
        at: Path,
        expected: u64,
    ) -> io::Result<Option<Self>> {
        let runtime = runtime()?;
        let wanted = match expected {
            0..=WHOLE_MAX => expected,
            _ => FIRST_LEN,
        };
        let mut object = Self {
            store,
            at,
            len: 0,
            first: Vec::new(),
            coming: Mutex::default(),
        };
        if wanted > 0 {
            let options = GetOptions {
                range: Some(GetRange::Bounded(0..wanted)),
                ..GetOptions::default()
            };
            let got = runtime.block_on(object.store.get_opts(&object.at, options));
            match got {
                Ok(got) => {
                    object.len = got.meta.size;
                    object.first = runtime.block_on(got.bytes()).map_err(failed)?.to_vec();
                    return Ok(Some(object));
                }
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                // There is no such range, perhaps: what was cut is told by its length.
                Err(e) => match runtime.block_on(object.store.head(&object.at)) {
                    Ok(about) if about.size != expected => object.len = about.size,
                    _ => return Err(failed(e)),
                },
            }
            return Ok(Some(object));
        }
        match runtime.block_on(object.store.head(&object.at)) {
            Ok(about) => object.len = about.size,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        Ok(Some(object))
    }

    /// Its length, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says that the bytes `range` will be read in order: they are asked for at once.
    pub fn expect(&self, range: Range<u64>) {
        // A holder cannot panic.
        let mut coming = self.coming.lock().unwrap_or_else(|e| e.into_inner());
        coming.expected = range;
    }

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when there are not so many.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.saturating_add(buffer.len() as u64);
        if end > self.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let whole = |n| usize::try_from(n).expect("a place in memory");
        if end <= self.first.len() as u64 {
            buffer.copy_from_slice(&self.first[whole(at)..whole(end)]);
            return Ok(());
        }
        let mut coming = self.coming.lock().unwrap_or_else(|e| e.into_inner());
        if coming.at != at || (coming.rest.is_none() && coming.piece.is_empty()) {
            let expected = coming.expected.clone();
            let to = match expected.contains(&at) {
                true => expected.end.clamp(end, self.len),
                false => end,
            };
            *coming = Coming {
                expected,
                at,
                piece: PieceOf::new(),
                rest: Some(self.ask(at..to)?),
            };
        }
        let filled = coming.fill(buffer);
        if filled.is_err() {
            coming.rest = None;
            coming.piece = PieceOf::new();
        }
        filled
    }

    fn ask(&self, range: Range<u64>) -> io::Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        match runtime()?.block_on(self.store.get_opts(&self.at, options)) {
            Ok(got) => Ok(got.into_stream()),
            // Removed since it was opened.
            Err(object_store::Error::NotFound { .. }) => Err(ErrorKind::UnexpectedEof.into()),
            Err(e) => Err(failed(e)),
        }
    }
}

impl Coming {
    fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            if self.piece.is_empty() {
                self.piece = self.next()?;
                continue;
            }
            let len = buffer.len().min(self.piece.len());
            let (now, later) = buffer.split_at_mut(len);
            now.copy_from_slice(&self.piece.split_to(len));
            self.at += len as u64;
            buffer = later;
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<PieceOf> {
        let Some(rest) = &mut self.rest else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let runtime = runtime()?;
        let next = {
            // Its timer is the runtime's.
            let _inside = runtime.enter();
            timeout(STALLED, rest.next())
        };
        match runtime.block_on(next) {
            Err(_) => Err(ErrorKind::TimedOut.into()),
            Ok(None) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(Some(piece)) => piece.map_err(failed),
        }
    }
}
