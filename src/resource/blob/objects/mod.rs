//! The bytes of storage accounts in an object store: Amazon's, Azure's or Google's. The only place that knows that the
//! library behind it is asynchronous: a small runtime of its own runs it, and what callers see blocks.

mod http;
mod object;
mod upload;
mod url;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use rustix::system::uname;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::base::{ExtentId, ResourceId, may_wait};
use crate::resource::ResourceError;

pub use object::Object;
pub use upload::Upload;
pub use url::{BadObjectsUrl, ObjectsUrl, Provider};

/// Threads that carry the answers; those who call do the work on them.
const THREADS: usize = 2;
/// A request that fails for the moment is repeated so often, and so long.
const RETRIES: usize = 5;
const RETRIED: Duration = Duration::from_secs(30);

/// The objects of one storage account.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Of all of this account's, and of nobody else's: it ends with the account's identifier.
    prefix: Path,
    url: ObjectsUrl,
}

impl Objects {
    /// The objects of the account `id` below `url`. Nothing is asked for yet.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when the environment says too little, such as no region or no credentials.
    pub fn connect(url: &ObjectsUrl, id: ResourceId) -> Result<Self, ResourceError> {
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRIED,
            ..RetryConfig::default()
        };
        let bucket = url.root();
        let store: object_store::Result<Arc<dyn ObjectStore>> = match url.provider() {
            Provider::S3 => AmazonS3Builder::from_env()
                .with_url(bucket)
                .with_retry(retry)
                .with_http_connector(http::Connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Provider::Azure => MicrosoftAzureBuilder::from_env()
                .with_url(bucket)
                .with_retry(retry)
                .with_http_connector(http::Connector)
                .build()
                .map(|store| Arc::new(store) as _),
            Provider::Google => GoogleCloudStorageBuilder::from_env()
                .with_url(bucket)
                .with_retry(retry)
                .with_http_connector(http::Connector)
                .build()
                .map(|store| Arc::new(store) as _),
        };
        let store = store.map_err(|e| ResourceError::Usage(format!("{url}: {e}")))?;
        Ok(Self::over(store, url, id))
    }

    /// The same over a store that is reached already.
    pub fn over(store: Arc<dyn ObjectStore>, url: &ObjectsUrl, id: ResourceId) -> Self {
        let prefix = Path::from(url.prefix()).join(id.to_string());
        Self {
            store,
            prefix,
            url: url.clone(),
        }
    }

    /// Where they are.
    pub fn url(&self) -> &ObjectsUrl {
        &self.url
    }

    /// What messages call an extent's object.
    pub fn path(&self, extent: ExtentId) -> PathBuf {
        self.shown(&self.at(extent))
    }

    /// Starts the object of an extent.
    pub fn begin(&self, extent: ExtentId) -> Upload {
        Upload::new(self.store.clone(), self.at(extent))
    }

    /// Opens the object of an extent, which should be about `len` bytes long; `None` when there is none.
    pub fn open(&self, extent: ExtentId, len: u64) -> Result<Option<Object>, ResourceError> {
        let opened = Object::open(self.store.clone(), self.at(extent), len);
        opened.map_err(|e| ResourceError::io(&self.path(extent), e))
    }

    /// Removes the objects of extents, as far as there are any.
    ///
    /// # Errors
    /// The first that resists; the others are gone then.
    pub fn remove(&self, extents: &[ExtentId]) -> Result<(), ResourceError> {
        let paths: Vec<_> = extents.iter().map(|e| Ok(self.at(*e))).collect();
        let mut removed = self
            .store
            .delete_stream(futures_util::stream::iter(paths).boxed());
        let mut all = Ok(());
        while let Some(one) = self.wait(removed.next())? {
            match one {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => all = all.and(Err(self.failed(e))),
            }
        }
        all
    }

    /// Every extent that has an object, in no order. Objects with other names are let be.
    pub fn extents(&self) -> Result<Vec<ExtentId>, ResourceError> {
        let listed = self.store.list(Some(&self.prefix));
        let named = listed.try_filter_map(|object| {
            let direct = object.location.prefix_match(&self.prefix);
            let mut parts = direct.into_iter().flatten();
            let id: Option<ExtentId> = match (parts.next(), parts.next()) {
                (Some(name), None) => name.as_ref().parse().ok(),
                _ => None,
            };
            std::future::ready(Ok(id))
        });
        self.wait(named.try_collect())?.map_err(|e| self.failed(e))
    }

    /// Whether the account in the directory `dir` of this machine is the one whose objects they are, and no copy of it.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when it is not.
    pub fn check_writer(&self, dir: &std::path::Path) -> Result<(), ResourceError> {
        let url = &self.url;
        let refused = |why: String| {
            Err(ResourceError::Usage(format!(
                "{}: {why}; when that was moved here, `atrest blob claim` takes them over: if both write, each \
                 destroys blobs of the other",
                dir.display()
            )))
        };
        let at = self.named(WRITER);
        match self.wait(self.store.get(&at))? {
            Ok(got) => {
                let found = self.wait(got.bytes())?.map_err(|e| self.failed(e))?;
                match serde_json::from_slice::<Writer>(&found) {
                    Ok(writer) if writer == Writer::here(dir) => Ok(()),
                    Ok(Writer { host, directory }) => refused(format!(
                        "the objects at {url} are those of the account in {directory} on {host}"
                    )),
                    Err(_) => refused(format!("it is not said whose the objects at {url} are")),
                }
            }
            Err(object_store::Error::NotFound { .. }) => refused(format!(
                "{url}, where the environment's endpoint has it, holds no objects of this account"
            )),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// Says that the account in the directory `dir` of this machine is the one that writes them.
    pub fn claim(&self, dir: &std::path::Path) -> Result<(), ResourceError> {
        let at = self.named(WRITER);
        let writer = serde_json::to_vec(&Writer::here(dir)).expect("texts serialize");
        let put = self.wait(self.store.put(&at, writer.into()))?;
        put.map(drop).map_err(|e| self.failed(e))
    }

    fn at(&self, extent: ExtentId) -> Path {
        self.named(&extent.to_string())
    }

    fn named(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    fn shown(&self, at: &Path) -> PathBuf {
        format!("{}/{at}", self.url.root()).into()
    }

    fn wait<F: Future>(&self, future: F) -> Result<F::Output, ResourceError> {
        let runtime = runtime().map_err(|e| ResourceError::io(&self.shown(&self.prefix), e))?;
        Ok(runtime.block_on(future))
    }

    fn failed(&self, error: object_store::Error) -> ResourceError {
        ResourceError::io(&self.shown(&self.prefix), failed(error))
    }
}

/// The name of the object that says who writes.
const WRITER: &str = "writer";

/// What it says.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Writer {
    host: String,
    directory: String,
}

impl Writer {
    fn here(dir: &std::path::Path) -> Self {
        let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self {
            host: uname().nodename().to_string_lossy().into_owned(),
            directory: whole.display().to_string(),
        }
    }
}

fn failed(error: object_store::Error) -> io::Error {
    io::Error::other(error)
}

/// One for the process: connections that are kept belong to it. It ends with the process.
fn runtime() -> io::Result<&'static Runtime> {
    if !may_wait() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("objects")
        .enable_all()
        .build()?;
    Ok(RUNTIME.get_or_init(|| made))
}
