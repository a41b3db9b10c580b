use crate::resource::ResourceError;

use super::attributes::{Attributes, Conditions, Pairs, Properties};
use super::content::attributes_of;
use super::manifest::Subject;
use super::{BlobInfo, BlobPath, ContainerInfo, ContainerName, StorageAccount};

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
        self.catalog.create_container(name, metadata)
    }

    /// What is known of a container.
    ///
    /// # Errors
    /// [`ResourceError::NoContainer`]
    pub fn container(&self, name: &ContainerName) -> Result<ContainerInfo, ResourceError> {
        self.catalog.container(name)
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
        self.extents.remove(&unwanted);
        Ok(())
    }

    /// Removes the blob at `path` for good: its key goes with its manifest. Needs the catalog's key
    /// only.
    pub fn delete(&self, path: &BlobPath, conditions: &Conditions) -> Result<(), ResourceError> {
        let unwanted = self.catalog.remove(path, conditions)?;
        self.extents.remove(&unwanted);
        Ok(())
    }

    /// What is said of the blob at `path`. Needs the account key: the manifest is authenticated.
    pub fn attributes(
        &self,
        path: &BlobPath,
        conditions: &Conditions,
    ) -> Result<(BlobInfo, Attributes), ResourceError> {
        let (entry, manifest) = self.find(path)?;
        conditions.check(path, Some((entry.etag, entry.modified_micros)))?;
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
        let entry = self.catalog.change(path, conditions, true, &mut |entry| {
            entry.properties = properties.clone();
            Ok(None)
        })?;
        self.blob_info(entry)
    }

    /// Replaces a blob's index tags, which does not make a new state of it. Needs the catalog's key
    /// only.
    pub fn set_tags(
        &self,
        path: &BlobPath,
        tags: &Pairs,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        let entry = self.catalog.change(path, conditions, false, &mut |entry| {
            entry.tags = tags.clone();
            Ok(None)
        })?;
        self.blob_info(entry)
    }

    /// Replaces a blob's metadata. Needs the account key.
    pub fn set_metadata(
        &self,
        path: &BlobPath,
        metadata: &Pairs,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        for _ in 0..TRIES {
            let (found, mut manifest) = self.find(path)?;
            manifest.metadata = metadata.clone();
            let subject = Subject::Blob(path);
            let sealed = match &self.keys {
                None => manifest.to_bytes(),
                Some(keys) => keys
                    .account()
                    .with_key(|key| manifest.seal(key, self.id, found.generation, subject))?,
            };
            let mut replaced = false;
            let changed = self.catalog.change(path, conditions, true, &mut |entry| {
                replaced = entry.generation != found.generation;
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
