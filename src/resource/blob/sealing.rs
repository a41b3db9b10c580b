use std::path::Path;

use crate::base::GenerationId;
use crate::crypto::TagMismatch;
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::catalog::Entry;
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::{BlobAt, GenerationKey, StorageAccount};

impl StorageAccount {
    /// A blob or snapshot, its manifest authenticated under the account key.
    pub(super) fn find(&self, blob: BlobAt<'_>) -> Result<(Entry, Manifest), ResourceError> {
        let (entry, bytes) = self.catalog.find(blob)?;
        let manifest = self.open_manifest(&bytes, entry.generation, blob.subject())?;
        let extents = manifest.extents.len() as u64;
        let listed = (entry.size, entry.created_micros, entry.extents);
        if listed != (manifest.size, manifest.created_micros, extents) {
            return Err(unauthentic(self.catalog.path()));
        }
        Ok((entry, manifest))
    }

    /// The bytes that the catalog keeps of a manifest.
    pub(super) fn seal_manifest(
        &self,
        manifest: &Manifest,
        generation: GenerationId,
        subject: Subject<'_>,
    ) -> Result<Vec<u8>, ResourceError> {
        match &self.keys {
            None => Ok(manifest.to_bytes()),
            Some(keys) => {
                (keys.account()).with_key(|key| manifest.seal(key, self.id, generation, subject))
            }
        }
    }

    /// A generation as a manifest lists it; none in a plain account.
    pub(super) fn wrapped(
        &self,
        generation: &GenerationKey,
    ) -> Result<Vec<Generation>, ResourceError> {
        match &self.keys {
            None => Ok(Vec::new()),
            Some(keys) => (keys.account()).with_key(|key| vec![generation.wrap(key, self.id)]),
        }
    }

    pub(super) fn open_manifest(
        &self,
        bytes: &[u8],
        generation: GenerationId,
        subject: Subject<'_>,
    ) -> Result<Manifest, ResourceError> {
        let manifest = match &self.keys {
            None => Manifest::parse(bytes).ok_or(TagMismatch),
            Some(keys) => (keys.account())
                .with_key(|key| Manifest::open(bytes, key, self.id, generation, subject))?,
        };
        manifest.map_err(|TagMismatch| unauthentic(self.catalog.path()))
    }

    /// The key that an extent is sealed under; `None` in a plain account.
    pub(super) fn generation_key(
        &self,
        manifest: &Manifest,
        extent: &Extent,
        path: &Path,
    ) -> Result<Option<GenerationKey>, ResourceError> {
        if self.keys.is_none() {
            return Ok(None);
        }
        let generation = manifest.generation_of(extent);
        let generation = generation.ok_or_else(|| unauthentic(path))?;
        self.unwrap_generation(generation, path).map(Some)
    }

    /// The key of a generation of this account, which must be a protected one; `path` is for messages.
    pub(super) fn unwrap_generation(
        &self,
        generation: &Generation,
        path: &Path,
    ) -> Result<GenerationKey, ResourceError> {
        let keys = self.keys.as_ref().ok_or_else(|| unauthentic(path))?;
        let unwrapped =
            (keys.account()).with_key(|key| GenerationKey::unwrap(generation, key, self.id))?;
        unwrapped.map_err(|TagMismatch| unauthentic(path))
    }
}
