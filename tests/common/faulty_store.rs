//! An object store in memory that fails where a test says.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, UploadPart,
};

/// What happens to the change whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not take place, and nothing is reached any more: the network, or this process, is gone.
    Cut,
    /// It takes place; its answer, and everything after it, is lost.
    CutAfter,
    /// It is refused once.
    Refused,
    /// It is answered with success, and did not take place: what was not synced is lost.
    Forgotten,
    /// It is answered with success, and half of the bytes are there.
    Torn,
}

#[derive(Default)]
struct State {
    /// Which change fails, counted from 0, and how.
    fault: Option<(usize, Fault)>,
    changes: usize,
    gone: bool,
    /// Answers to reads end after so many bytes.
    answers: Option<u64>,
    reads: Vec<(String, Range<u64>)>,
}

/// The store. Its clones are the same one.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<InMemory>,
    state: Arc<Mutex<State>>,
}

impl FaultyStore {
    pub fn new() -> Self {
        Self {
            inner: Arc::new(InMemory::new()),
            state: Arc::default(),
        }
    }

    /// From now on change number `at`, counted from here, fails so.
    pub fn fail(&self, at: usize, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        (state.fault, state.changes) = (Some((at, fault)), 0);
    }

    /// Nothing fails any more; what was lost stays lost.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        (state.fault, state.gone, state.answers) = (None, false, None);
    }

    /// Whether the fault that was asked for has taken place.
    pub fn failed(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.fault.is_some_and(|(at, _)| state.changes > at)
    }

    /// Answers to reads end after so many bytes.
    pub fn cut_answers(&self, after: u64) {
        self.state.lock().unwrap().answers = Some(after);
    }

    /// What was read since the last time: the objects' names, and which bytes.
    pub fn reads(&self) -> Vec<(String, Range<u64>)> {
        std::mem::take(&mut self.state.lock().unwrap().reads)
    }

    /// Every object and its bytes, by name.
    pub fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let listed = self.inner.list(None).map(|object| object.unwrap().location);
        let paths: Vec<Path> = listed.collect().now_or_never().unwrap();
        let mut found: Vec<_> = paths
            .iter()
            .map(|p| (p.to_string(), self.bytes(p)))
            .collect();
        found.sort();
        found
    }

    /// Replaces an object.
    pub fn set(&self, name: &str, bytes: Vec<u8>) {
        let path = Path::from(name);
        let put = self.inner.put(&path, bytes.into());
        put.now_or_never().unwrap().unwrap();
    }

    /// Removes an object.
    pub fn remove(&self, name: &str) {
        let path = Path::from(name);
        let removed = self.inner.delete(&path).now_or_never();
        removed.unwrap().unwrap();
    }

    fn bytes(&self, path: &Path) -> Vec<u8> {
        let got = self.inner.get(path).now_or_never().unwrap().unwrap();
        got.bytes().now_or_never().unwrap().unwrap().to_vec()
    }

    /// The fate of the next change.
    fn change(&self) -> Result<Option<Fault>> {
        let mut state = self.state.lock().unwrap();
        if state.gone {
            return Err(lost());
        }
        let now = state.changes;
        state.changes += 1;
        let fault = (state.fault).and_then(|(at, fault)| (at == now).then_some(fault));
        state.gone = matches!(fault, Some(Fault::Cut | Fault::CutAfter));
        match fault {
            Some(Fault::Cut | Fault::Refused) => Err(lost()),
            fault => Ok(fault),
        }
    }

    fn reach(&self) -> Result<()> {
        match self.state.lock().unwrap().gone {
            true => Err(lost()),
            false => Ok(()),
        }
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "faulty",
        source: "the connection was lost".into(),
    }
}

/// What of the bytes takes place.
fn torn(fault: Option<Fault>, payload: PutPayload) -> PutPayload {
    let bytes: Vec<u8> = payload.iter().flat_map(|b| b.to_vec()).collect();
    match fault {
        Some(Fault::Torn) => bytes[..bytes.len() / 2].to_vec().into(),
        _ => payload,
    }
}

fn answered<T>(fault: Option<Fault>, answer: T) -> Result<T> {
    match fault {
        Some(Fault::CutAfter) => Err(lost()),
        _ => Ok(answer),
    }
}

fn done() -> PutResult {
    PutResult {
        e_tag: None,
        version: None,
        extensions: Default::default(),
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        let fault = self.change()?;
        if fault == Some(Fault::Forgotten) {
            return Ok(done());
        }
        let put = self.inner.put_opts(at, torn(fault, payload), how).await?;
        answered(fault, put)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.change()?;
        let upload = self.inner.put_multipart_opts(at, how).await?;
        let upload = FaultyUpload {
            store: self.clone(),
            upload,
        };
        answered(fault, Box::new(upload))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.reach()?;
        let head = how.head;
        let range = how.range.clone();
        let got = self.inner.get_opts(at, how).await?;
        let after = {
            let mut state = self.state.lock().unwrap();
            if let (false, Some(GetRange::Bounded(_))) = (head, range) {
                state.reads.push((at.to_string(), got.range.clone()));
            }
            state.answers
        };
        let Some(after) = after.filter(|_| !head) else {
            return Ok(got);
        };
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let extensions = got.extensions.clone();
        let mut bytes = got.bytes().await?;
        bytes.truncate(usize::try_from(after).unwrap());
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let remove = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                let path = path?;
                let fault = store.change()?;
                if fault != Some(Fault::Forgotten) {
                    store.inner.delete(&path).await?;
                }
                answered(fault, path)
            }
        };
        paths.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.reach() {
            Ok(()) => self.inner.list(prefix),
            Err(e) => stream::once(async { Err(e) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.reach()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.change()?;
        self.inner.copy_opts(from, to, how).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    store: FaultyStore,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match self.store.change() {
            Err(e) => Box::pin(async { Err(e) }),
            Ok(Some(Fault::Forgotten)) => Box::pin(async { Ok(()) }),
            Ok(fault) => {
                let part = self.upload.put_part(torn(fault, data));
                Box::pin(async move {
                    part.await?;
                    answered(fault, ())
                })
            }
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fault = self.store.change()?;
        if fault == Some(Fault::Forgotten) {
            return Ok(done());
        }
        let put = self.upload.complete().await?;
        answered(fault, put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.reach()?;
        self.upload.abort().await
    }
}
