use crate::resource::ResourceError;

use super::attributes::{Attributes, Conditions, Pairs, Properties};
use super::content::attributes_of;
use super::manifest::Subject;
use super::sealing::Found;
use super::{
    BlobAt, BlobInfo, BlobPath, ContainerInfo, ContainerName, ContainerScope, Encryption, Refusal,
    Snapshots, StorageAccount, Tier,
};

/// How often a change is begun anew, since the blob that it is of was replaced meanwhile.
pub(super) const TRIES: usize = 16;

impl StorageAccount {
    /// Makes a container.
    ///
    /// # Errors
    /// [`ResourceError::Exists`]
    pub fn create_container(
        &self,
        name: &ContainerName,
        metadata: &Pairs,
    ) -> Result<ContainerInfo, ResourceError> {
        self.create_container_under(name, metadata, None)
    }

    /// The same, with the encryption scope that its new blobs are under.
    ///
    /// # Errors
    /// [`ResourceError::NoScope`]
    pub fn create_container_under(
        &self,
        name: &ContainerName,
        metadata: &Pairs,
        scope: Option<&ContainerScope>,
    ) -> Result<ContainerInfo, ResourceError> {
        self.catalog.create_container(name, metadata, scope)
    }

    /// What is known of a container.
    ///
    /// # Errors
    /// [`ResourceError::NoContainer`]
    pub fn container(&self, name: &ContainerName) -> Result<ContainerInfo, ResourceError> {
        self.catalog.container(name)
    }

    /// The same, for one who shows a lease with it.
    pub fn container_under(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.catalog.container_under(name, conditions)
    }

    /// The containers whose names start with `prefix` and come after `after`, at most `limit`, in the
    /// order of their names' bytes.
    pub fn containers(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ContainerInfo>, ResourceError> {
        self.catalog.containers(prefix, after, limit)
    }

    /// Replaces a container's metadata.
    pub fn set_container_metadata(
        &self,
        name: &ContainerName,
        metadata: &Pairs,
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.catalog
            .set_container_metadata(name, metadata, conditions)
    }

    /// Removes a container, and every blob in it for good.
    pub fn delete_container(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<(), ResourceError> {
        let unwanted = self.catalog.remove_container(name, conditions)?;
        self.discard(&unwanted);
        Ok(())
    }

    /// Removes the blob at `path` for good: its key goes with its manifest. Needs the catalog's key
    /// only.
    ///
    /// # Errors
    /// [`Refusal::SnapshotsPresent`](super::Refusal::SnapshotsPresent) when it has snapshots.
    pub fn delete(&self, path: &BlobPath, conditions: &Conditions) -> Result<(), ResourceError> {
        self.delete_with(path.into(), Snapshots::Refuse, conditions)
    }

    /// The same, with a say in what becomes of the blob's snapshots; or one of those alone.
    pub fn delete_with(
        &self,
        blob: BlobAt<'_>,
        snapshots: Snapshots,
        conditions: &Conditions,
    ) -> Result<(), ResourceError> {
        let unwanted = self.catalog.remove(blob, snapshots, conditions)?;
        self.discard(&unwanted);
        Ok(())
    }

    /// What is said of a blob, or was of a snapshot of it. Needs its key: the manifest is authenticated.
    pub fn attributes<'a>(
        &self,
        blob: impl Into<BlobAt<'a>>,
        encryption: Encryption<'_>,
        conditions: &Conditions,
    ) -> Result<(BlobInfo, Attributes), ResourceError> {
        let blob = blob.into();
        let Found {
            entry, manifest, ..
        } = self.find(blob, encryption)?;
        self.catalog.may_read(&entry, conditions)?;
        let info = self.blob_info(entry)?;
        let attributes = attributes_of(&info, &manifest);
        Ok((info, attributes))
    }

    /// Replaces what is said of a blob's content. Needs the catalog's key only.
    pub fn set_properties(
        &self,
        path: &BlobPath,
        properties: &Properties,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        let entry = (self.catalog).change(path.into(), conditions, true, &mut |entry| {
            entry.properties = properties.clone();
            Ok(None)
        })?;
        self.blob_info(entry)
    }

    /// Replaces the index tags of a blob or snapshot, which does not make a new state of it. Needs the
    /// catalog's key only.
    pub fn set_tags<'a>(
        &self,
        blob: impl Into<BlobAt<'a>>,
        tags: &Pairs,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        let blob = blob.into();
        let entry = self.catalog.change(blob, conditions, false, &mut |entry| {
            entry.tags = tags.clone();
            Ok(None)
        })?;
        self.blob_info(entry)
    }

    /// Gives a blob or snapshot an access tier, which does not make a new state of it. Refused while the
    /// customer's key is, as in Azure; only the catalog's is used.
    ///
    /// # Errors
    /// [`Refusal::BlobType`]: it is no block blob.
    pub fn set_tier(
        &self,
        blob: BlobAt<'_>,
        tier: Tier,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        self.check_key(self.catalog.entry(blob)?.under)?;
        let now = self.now();
        let entry = self.catalog.look(blob, conditions, &mut |entry| {
            if entry.status.append {
                return Err(Refusal::BlobType.into());
            }
            entry.status.tier = Some((tier, now));
            Ok(None)
        })?;
        self.blob_info(entry)
    }

    /// What is known of a blob or snapshot that meets `conditions`. Needs the catalog's key only.
    pub fn info_under(
        &self,
        blob: BlobAt<'_>,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        let entry = self.catalog.entry(blob)?;
        self.catalog.may_read(&entry, conditions)?;
        self.blob_info(entry)
    }

    /// Replaces a blob's metadata. Needs its key.
    pub fn set_metadata(
        &self,
        path: &BlobPath,
        metadata: &Pairs,
        encryption: Encryption<'_>,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        for _ in 0..TRIES {
            let Found {
                entry: found,
                mut manifest,
                key,
            } = self.find(path.into(), encryption)?;
            manifest.metadata = metadata.clone();
            let sealed = self.seal_manifest(
                &manifest,
                found.generation,
                key.as_ref(),
                Subject::Blob(path),
            )?;
            let mut replaced = false;
            let changed = (self.catalog).change(path.into(), conditions, true, &mut |entry| {
                // Whatever changes a manifest makes a new state.
                replaced = entry.etag != found.etag;
                match replaced {
                    true => Err(self.busy()),
                    false => Ok(Some(sealed.clone())),
                }
            });
            if !replaced {
                return self.blob_info(changed?);
            }
        }
        Err(self.busy())
    }

    pub(super) fn busy(&self) -> ResourceError {
        ResourceError::Busy {
            path: self.catalog.path().display().to_string(),
        }
    }
}
