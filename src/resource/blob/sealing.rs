use std::path::Path;

use crate::base::{GenerationId, may_wait};
use crate::crypto::TagMismatch;
use crate::resource::{KeyLoss, ResourceError};

use super::account::unauthentic;
use super::catalog::Entry;
use super::encryption::BlobKey;
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::{BlobAt, Encryption, GenerationKey, StorageAccount};

/// A blob or snapshot as the catalog has it, its manifest authenticated.
pub(super) struct Found<'a> {
    pub entry: Entry,
    pub manifest: Manifest,
    /// What the manifest is sealed under; `None` in a plain account.
    pub key: Option<BlobKey<'a>>,
}

impl StorageAccount {
    /// A blob or snapshot, its manifest authenticated under the key that it says, which the request must give
    /// when it is not the account's alone.
    pub(super) fn find<'a>(
        &'a self,
        blob: BlobAt<'_>,
        encryption: Encryption<'a>,
    ) -> Result<Found<'a>, ResourceError> {
        let (entry, bytes) = self.catalog.find(blob)?;
        // Who reads it would have to wait, and its manifest may be long.
        let extents = usize::try_from(entry.extents).unwrap_or(usize::MAX);
        if self.extents.must_keep_all(extents) && !may_wait() {
            return Err(self.busy());
        }
        let key = self.blob_key(&blob, entry.under, encryption)?;
        let subject = blob.subject();
        let manifest = self.open_manifest(&bytes, entry.generation, key.as_ref(), subject)?;
        let extents = manifest.extents.len() as u64;
        let listed = (entry.size, entry.created_micros, entry.extents);
        if listed != (manifest.size, manifest.created_micros, extents) {
            return Err(unauthentic(self.catalog.path()));
        }
        Ok(Found {
            entry,
            manifest,
            key,
        })
    }

    /// The bytes that the catalog keeps of a manifest.
    pub(super) fn seal_manifest(
        &self,
        manifest: &Manifest,
        generation: GenerationId,
        key: Option<&BlobKey<'_>>,
        subject: Subject<'_>,
    ) -> Result<Vec<u8>, ResourceError> {
        let Some(key) = key else {
            return Ok(manifest.to_bytes());
        };
        let under = key.under();
        key.with_key(|key| manifest.seal(key, under, self.id, generation, subject))
    }

    /// A generation as a manifest lists it; none in a plain account.
    pub(super) fn wrapped(
        &self,
        generation: &GenerationKey,
        key: Option<&BlobKey<'_>>,
    ) -> Result<Vec<Generation>, ResourceError> {
        let wrapped = key.map(|key| key.with_key(|key| generation.wrap(key, self.id)));
        Ok(wrapped.transpose()?.into_iter().collect())
    }

    /// The generations of a manifest under `from`, as one under `to` lists them.
    pub(super) fn wrapped_anew(
        &self,
        generations: Vec<Generation>,
        from: Option<&BlobKey<'_>>,
        to: Option<&BlobKey<'_>>,
    ) -> Result<Vec<Generation>, ResourceError> {
        let (Some(from), Some(to)) = (from, to) else {
            return Ok(generations);
        };
        if from.under() == to.under() {
            return Ok(generations);
        }
        let mut wrapped = Vec::with_capacity(generations.len());
        for generation in &generations {
            let key = self.unwrap_generation(generation, from, self.catalog.path())?;
            wrapped.push(to.with_key(|to| key.wrap(to, self.id))?);
        }
        Ok(wrapped)
    }

    pub(super) fn open_manifest(
        &self,
        bytes: &[u8],
        generation: GenerationId,
        key: Option<&BlobKey<'_>>,
        subject: Subject<'_>,
    ) -> Result<Manifest, ResourceError> {
        let manifest = match key {
            None => Manifest::parse(bytes).ok_or(TagMismatch),
            Some(key) => {
                key.with_key(|key| Manifest::open(bytes, key, self.id, generation, subject))?
            }
        };
        manifest.map_err(|TagMismatch| unauthentic(self.catalog.path()))
    }

    /// The key that an extent is sealed under; `None` in a plain account.
    pub(super) fn generation_key(
        &self,
        manifest: &Manifest,
        extent: &Extent,
        key: Option<&BlobKey<'_>>,
        path: &Path,
    ) -> Result<Option<GenerationKey>, ResourceError> {
        let Some(key) = key else {
            return Ok(None);
        };
        let generation = manifest.generation_of(extent);
        let generation = generation.ok_or_else(|| unauthentic(path))?;
        self.unwrap_generation(generation, key, path).map(Some)
    }

    /// The key of a generation; `path` is for messages.
    pub(super) fn unwrap_generation(
        &self,
        generation: &Generation,
        key: &BlobKey<'_>,
        path: &Path,
    ) -> Result<GenerationKey, ResourceError> {
        let unwrapped = key.with_key(|key| GenerationKey::unwrap(generation, key, self.id))?;
        unwrapped.map_err(|TagMismatch| unauthentic(path))
    }

    /// Asks for leave to use a key, now; what it returns asks again, and fails once the
    /// key was lost in between.
    pub(super) fn permission<'a>(
        &'a self,
        key: Option<&'a BlobKey<'a>>,
    ) -> Result<impl Fn() -> Result<(), ResourceError> + 'a, ResourceError> {
        let number = key.map(|key| key.check()).transpose()?;
        Ok(move || match key {
            Some(key) if Some(key.check()?) != number => Err(ResourceError::KeyUnavailable {
                path: self.dir.display().to_string(),
                why: "it was revoked during the transfer".to_owned(),
                loss: KeyLoss::Key,
            }),
            _ => Ok(()),
        })
    }
}
