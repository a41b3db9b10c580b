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
use crate::resource::blob::ExtentBytes;

/// An object that is shorter than this is fetched when it is opened.
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
    /// Opens the object at `at`, which should be about `len` bytes long; `None` when there is none.
    pub(super) fn open(
        store: Arc<dyn ObjectStore>,
        at: Path,
        len: u64,
    ) -> io::Result<Option<Self>> {
        let runtime = runtime()?;
        let wanted = match len {
            0..WHOLE_MAX => WHOLE_MAX,
            _ => FIRST_LEN,
        };
        let mut object = Self {
            store,
            at,
            len: 0,
            first: Vec::new(),
            coming: Mutex::default(),
        };
        let options = GetOptions {
            range: Some(GetRange::Bounded(0..wanted)),
            ..GetOptions::default()
        };
        match runtime.block_on(object.store.get_opts(&object.at, options)) {
            Ok(got) => {
                object.len = got.meta.size;
                object.first = runtime.block_on(got.bytes()).map_err(failed)?.to_vec();
            }
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            // An empty one has no first byte to be asked for.
            Err(e) => match runtime.block_on(object.store.head(&object.at)) {
                Ok(about) if about.size == 0 => (),
                _ => return Err(failed(e)),
            },
        }
        Ok(Some(object))
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

impl ExtentBytes for Object {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    /// They are asked for at once, when the first of them is read.
    fn expect(&self, range: Range<u64>) {
        // A holder cannot panic.
        let mut coming = self.coming.lock().unwrap_or_else(|e| e.into_inner());
        coming.expected = range;
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
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
}
