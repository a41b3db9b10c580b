use jiff::Timestamp;
use serde::Serialize;

use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Etag, Pairs, Properties};
use super::catalog::Entry;
use super::{
    BlobAt, BlobName, BlobPath, BlobStatus, ContainerName, Lease, ScopeName, Snapshot,
    StorageAccount, UnderKey,
};

/// What is known of a blob without the customer's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobInfo {
    /// Its container.
    pub container: ContainerName,
    /// Its name.
    pub name: BlobName,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was put.
    pub created: Timestamp,
    /// When its content, its properties or its metadata last changed.
    pub modified: Timestamp,
    /// Its state.
    pub etag: Etag,
    /// How many extents hold its bytes.
    pub extents: u64,
    /// What its owner says of its content.
    pub properties: Properties,
    /// Its index tags.
    pub tags: Pairs,
    /// Which snapshot this is; `None` of the blob itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Which key it is under.
    #[serde(flatten)]
    pub under: UnderKey,
    /// Which encryption scope it is under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeName>,
    /// How it may be written, and where it came from.
    #[serde(skip_serializing_if = "BlobStatus::is_default")]
    pub status: BlobStatus,
    /// The lease on it.
    #[serde(skip)]
    pub lease: Option<Lease>,
}

impl BlobInfo {
    /// Where it is.
    pub fn path(&self) -> BlobPath {
        BlobPath {
            container: self.container.clone(),
            name: self.name.clone(),
        }
    }

    /// Which blob or snapshot it is; `path` is what [`BlobInfo::path`] gives.
    pub fn at<'a>(&self, path: &'a BlobPath) -> BlobAt<'a> {
        BlobAt {
            path,
            snapshot: self.snapshot,
        }
    }
}

impl StorageAccount {
    /// Every blob of the account, by container and name, each after its snapshots. Needs the catalog's key
    /// only.
    pub fn blobs(&self) -> Result<Vec<BlobInfo>, ResourceError> {
        let mut found = Vec::new();
        for container in self.containers("", "", usize::MAX)? {
            let walked = self.walk(&container.name, "", ("", None), true, &mut |blob| {
                found.push(blob);
                true
            });
            match walked {
                // Removed meanwhile.
                Err(ResourceError::NoContainer(_)) => {}
                walked => walked?,
            }
        }
        Ok(found)
    }

    /// The blobs of a container whose names start with `prefix`, in the order of their names' bytes.
    /// Needs the catalog's key only.
    pub fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
    ) -> Result<Vec<BlobInfo>, ResourceError> {
        let mut found = Vec::new();
        self.walk(container, prefix, ("", None), false, &mut |blob| {
            found.push(blob);
            true
        })?;
        Ok(found)
    }

    /// Shows `visit` the blobs of a container whose names start with `prefix` and come at or after the name
    /// `from`, and after that snapshot of it, in the order of their names' bytes, each after its snapshots
    /// where those are wanted, as long as it wants more.
    pub fn walk(
        &self,
        container: &ContainerName,
        prefix: &str,
        from: (&str, Option<Snapshot>),
        with_snapshots: bool,
        visit: &mut dyn FnMut(BlobInfo) -> bool,
    ) -> Result<(), ResourceError> {
        self.catalog.container(container)?;
        let mut malformed = None;
        (self.catalog).walk(
            container,
            prefix,
            from,
            with_snapshots,
            &mut |entry| match self.blob_info(entry) {
                Ok(blob) => visit(blob),
                Err(e) => {
                    malformed = Some(e);
                    false
                }
            },
        )?;
        malformed.map_or(Ok(()), Err)
    }

    /// What is known of a blob or snapshot without the customer's key.
    pub fn info<'a>(&self, blob: impl Into<BlobAt<'a>>) -> Result<BlobInfo, ResourceError> {
        self.blob_info(self.catalog.entry(blob.into())?)
    }

    pub(super) fn blob_info(&self, entry: Entry) -> Result<BlobInfo, ResourceError> {
        let time = |micros| {
            let time = Timestamp::from_microsecond(micros);
            time.map_err(|_| unauthentic(self.catalog.path()))
        };
        Ok(BlobInfo {
            container: entry.path.container,
            name: entry.path.name,
            size: entry.size,
            created: time(entry.created_micros)?,
            modified: time(entry.modified_micros)?,
            etag: entry.etag,
            extents: entry.extents,
            properties: entry.properties,
            tags: entry.tags,
            snapshot: entry.snapshot,
            under: entry.under,
            scope: entry.scope,
            status: entry.status,
            lease: entry.lease,
        })
    }
}
