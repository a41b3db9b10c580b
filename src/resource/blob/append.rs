use std::io::Read;

use crate::crypto::Secret;
use crate::resource::ResourceError;

use super::attributes::{Attributes, Conditions};
use super::catalog::{Entry, Known};
use super::change::TRIES;
use super::content::new_entry;
use super::encryption::{BlobKey, same_key};
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::sealing::Found;
use super::{
    BlobInfo, BlobPath, BlockId, Encryption, GenerationKey, Refusal, StorageAccount, UnderKey,
};

/// Where something may be appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendConditions {
    /// The length that the blob must have.
    pub position: Option<u64>,
    /// The length that it must not exceed then.
    pub max_size: Option<u64>,
}

impl AppendConditions {
    fn check(&self, blob: &BlobInfo, len: u64) -> Result<(), Refusal> {
        if !blob.status.append {
            return Err(Refusal::BlobType);
        }
        if self.position.is_some_and(|position| position != blob.size) {
            return Err(Refusal::AppendPosition);
        }
        let after = blob.size.saturating_add(len);
        if self.max_size.is_some_and(|max| after > max) {
            return Err(Refusal::MaxBlobSize);
        }
        Ok(())
    }
}

impl StorageAccount {
    /// The generation of what will be appended to an append blob under the account key; none of another, or in
    /// a plain account.
    pub(super) fn own_generation(
        &self,
        entry: &Entry,
        key: Option<&BlobKey<'_>>,
    ) -> Result<Vec<Generation>, ResourceError> {
        match entry.status.append && entry.under == UnderKey::Account {
            true => self.wrapped(&GenerationKey::new(entry.generation, Secret::random()), key),
            false => Ok(Vec::new()),
        }
    }

    /// Makes an empty blob at `path` to which blocks can be appended, if the one that is there meets
    /// `conditions`.
    pub fn create_append_blob(
        &self,
        path: &BlobPath,
        attributes: &Attributes,
        encryption: Encryption<'_>,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        self.catalog.check_put(path, conditions)?;
        let key = self.new_blob_key(&path.container, encryption)?;
        let key = key.as_ref();
        let mut manifest = Manifest::new(self.now().as_microsecond(), Vec::new());
        manifest.metadata = attributes.metadata.clone();
        let mut entry = new_entry(path, &manifest, key, attributes);
        entry.status.append = true;
        manifest.generations = self.own_generation(&entry, key)?;
        let sealed = self.seal_manifest(&manifest, entry.generation, key, Subject::Blob(path))?;
        let replaced = (self.catalog).replace(entry, &sealed, &[], &[], Known::New, conditions)?;
        let (entry, unwanted) = replaced.ok_or_else(|| self.busy())?;
        self.discard(&unwanted);
        self.blob_info(entry)
    }

    /// Appends all that `source` gives to the append blob at `path`, as one block: all of it is there, and
    /// durable, when this returns, and nothing of it when this fails. `check` is asked when the source has
    /// ended, and may still refuse. Gives the blob as it is then, and where the block begins. The blob's
    /// manifest is written anew with each block: 29 bytes for each that it has, and 56 more under a key that
    /// its client gives.
    ///
    /// # Errors
    /// [`Refusal`]: it is no append blob, is sealed, is not as long as `at` says, or has 50,000 blocks.
    pub fn append(
        &self,
        path: &BlobPath,
        source: &mut (dyn Read + Send),
        encryption: Encryption<'_>,
        check: &mut dyn FnMut() -> Result<(), ResourceError>,
        at: &AppendConditions,
        conditions: &Conditions,
    ) -> Result<(BlobInfo, u64), ResourceError> {
        self.catalog.check_change(path, conditions)?;
        let Found {
            entry: found,
            manifest,
            key: under,
        } = self.find(path.into(), encryption)?;
        at.check(&self.blob_info(found.clone())?, 0)?;
        if found.status.sealed {
            return Err(Refusal::Sealed.into());
        }
        // The blocks of a blob share a generation, so that its manifest does not grow by a key with each. Not
        // under a key that a client gives: a copy under another key holds that generation's, too, and would
        // open what is appended here later without the client's key.
        let own = |generation: &&Generation| generation.id == found.generation;
        let own = manifest.generations.iter().find(own);
        let key = match (own, &under) {
            (Some(own), Some(under)) if under.under() == UnderKey::Account => {
                self.unwrap_generation(own, under, self.catalog.path())?
            }
            _ => GenerationKey::random(),
        };
        let stored = self.store(source, None, &key, under.as_ref(), &mut |_| ())?;
        let mut append = || {
            check()?;
            let stored = (&stored.extent, under.as_ref());
            self.append_stored(path, stored, &key, encryption, at, conditions)
        };
        append().inspect_err(|_| self.give_up(stored.extent.id))
    }

    fn append_stored(
        &self,
        path: &BlobPath,
        (stored, sealed_under): (&Extent, Option<&BlobKey<'_>>),
        key: &GenerationKey,
        encryption: Encryption<'_>,
        at: &AppendConditions,
        conditions: &Conditions,
    ) -> Result<(BlobInfo, u64), ResourceError> {
        // One at a time, so that no one's turn never comes; other processes are met below.
        let _turn = self.appends.lock().unwrap_or_else(|e| e.into_inner());
        for _ in 0..TRIES {
            self.catalog.check_change(path, conditions)?;
            let Found {
                entry: found,
                mut manifest,
                key: under,
            } = self.find(path.into(), encryption)?;
            // Replaced meanwhile by one under another key, whose layers may be others, and whose key alone must open
            // what is appended.
            if !same_key(under.as_ref(), sealed_under) {
                return Err(self.busy());
            }
            let wrapped = self.wrapped(key, under.as_ref())?.pop();
            at.check(&self.blob_info(found.clone())?, stored.len)?;
            if found.status.sealed {
                return Err(Refusal::Sealed.into());
            }
            if manifest.extents.len() >= BlockId::COMMITTED_MAX {
                return Err(Refusal::BlockCount.into());
            }
            let mut extent = stored.clone();
            if let Some(wrapped) = &wrapped {
                let known = manifest.generations.iter().position(|g| g.id == wrapped.id);
                let place = known.unwrap_or_else(|| {
                    manifest.generations.push(wrapped.clone());
                    manifest.generations.len() - 1
                });
                extent.generation = u32::try_from(place).expect("no more than blocks");
            }
            manifest.extents.push(extent);
            manifest.size += stored.len;
            // What the whole was does not tell what it is.
            manifest.content_md5 = None;
            let subject = Subject::Blob(path);
            let sealed =
                self.seal_manifest(&manifest, found.generation, under.as_ref(), subject)?;
            let appended =
                (self.catalog).append(&found, stored.id, stored.len, &sealed, conditions)?;
            if let Some(entry) = appended {
                return Ok((self.blob_info(entry)?, found.size));
            }
        }
        Err(self.busy())
    }

    /// Makes an end of an append blob: nothing more is appended. Needs the catalog's key only.
    pub fn seal_append_blob(
        &self,
        path: &BlobPath,
        at: &AppendConditions,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        let entry = (self.catalog).change(path.into(), conditions, true, &mut |entry| {
            at.check(&self.blob_info(entry.clone())?, 0)?;
            entry.status.sealed = true;
            Ok(None)
        })?;
        self.blob_info(entry)
    }
}
