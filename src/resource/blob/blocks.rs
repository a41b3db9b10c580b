use std::collections::HashMap;
use std::io::Read;

use jiff::Timestamp;

use crate::base::GenerationId;
use crate::resource::{EncryptionMismatch, ResourceError};

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions};
use super::catalog::{Known, StagedBlock};
use super::change::TRIES;
use super::content::new_entry;
use super::encryption::{BlobKey, mismatched, same_key};
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::{
    BlobAt, BlobInfo, BlobPath, BlockId, Encryption, GenerationKey, LeaseId, Refusal, ScopeName,
    StorageAccount, UnderKey,
};

/// A block that a blob shall be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// One of the blob that is there.
    Committed(BlockId),
    /// One that waits for being committed.
    Uncommitted(BlockId),
    /// The one that waits, or else the one of the blob.
    Latest(BlockId),
}

/// A block as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBlock {
    /// Which.
    pub id: BlockId,
    /// Its bytes.
    pub size: u64,
}

/// What is known of a block that was just put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBlock {
    /// Its bytes.
    pub size: u64,
    /// Which key it is under.
    pub under: UnderKey,
    /// Which encryption scope it is under.
    pub scope: Option<ScopeName>,
}

/// The blocks of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockList {
    /// The blob; `None` when nothing was committed yet.
    pub blob: Option<BlobInfo>,
    /// Those that it is made of, in its order; none when it was put in one piece.
    pub committed: Vec<ListedBlock>,
    /// Those that wait for being committed, by their identifiers.
    pub uncommitted: Vec<ListedBlock>,
}

/// A block that waits for being committed, its manifest authenticated.
pub(super) struct Staged<'a> {
    pub extent: Extent,
    pub generation: Option<Generation>,
    pub key: Option<BlobKey<'a>>,
}

impl StorageAccount {
    /// Whether blocks wait for being committed.
    pub fn has_uncommitted_blocks(&self) -> Result<bool, ResourceError> {
        self.catalog.has_staged()
    }

    /// Keeps all that `source` gives as a block of the blob at `path`, until the block is committed or
    /// replaced, or for a week. `check` is asked when the source has ended, and may still refuse.
    ///
    /// # Errors
    /// [`ResourceError::BadBlock`] when the identifier is not as long as those of the blob's other
    /// uncommitted blocks, or there are too many.
    pub fn put_block(
        &self,
        path: &BlobPath,
        id: &BlockId,
        source: &mut (dyn Read + Send),
        encryption: Encryption<'_>,
        check: &mut dyn FnMut() -> Result<(), ResourceError>,
    ) -> Result<PutBlock, ResourceError> {
        self.put_block_under(path, id, source, encryption, check, None)
    }

    /// The same, where the blob has a lease.
    pub fn put_block_under(
        &self,
        path: &BlobPath,
        id: &BlockId,
        source: &mut (dyn Read + Send),
        encryption: Encryption<'_>,
        check: &mut dyn FnMut() -> Result<(), ResourceError>,
        lease: Option<LeaseId>,
    ) -> Result<PutBlock, ResourceError> {
        let conditions = &Conditions {
            lease,
            ..Conditions::default()
        };
        self.check_block_blob(path)?;
        self.catalog.check_put(path, conditions)?;
        let key = self.new_blob_key(&path.container, encryption)?;
        let own = GenerationKey::random();
        let stored = self.store(source, Some(id.clone()), &own, key.as_ref(), &mut |_| ())?;
        let staged = StagedBlock {
            id: id.clone(),
            generation: own.id(),
            extent: stored.extent.id,
            size: stored.extent.len,
            under: key.as_ref().map(BlobKey::under).unwrap_or_default(),
        };
        let mut put = || {
            check()?;
            let now = self.now().as_microsecond();
            let mut manifest = Manifest::new(now, vec![stored.extent.clone()]);
            manifest.generations = self.wrapped(&own, key.as_ref())?;
            let subject = Subject::Block(path, id);
            let generation = staged.generation;
            let sealed = self.seal_manifest(&manifest, generation, key.as_ref(), subject)?;
            self.catalog.stage(path, &staged, now, &sealed)
        };
        let unwanted = put().inspect_err(|_| self.give_up(staged.extent))?;
        drop(stored);
        self.discard(&unwanted);
        self.forget_old_blocks()?;
        Ok(PutBlock {
            size: staged.size,
            under: staged.under,
            scope: key.as_ref().and_then(BlobKey::scope).cloned(),
        })
    }

    /// Makes the blob at `path` of these blocks, in this order, if the blob that is there meets
    /// `conditions`. No byte of them is rewritten. Blocks that wait and are not named are gone after this.
    ///
    /// # Errors
    /// [`ResourceError::BadBlock`] when there is no such block, or there are too many.
    pub fn put_block_list(
        &self,
        path: &BlobPath,
        blocks: &[Block],
        attributes: &Attributes,
        encryption: Encryption<'_>,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        if blocks.len() > BlockId::COMMITTED_MAX {
            let max = BlockId::COMMITTED_MAX;
            return Err(ResourceError::BadBlock(format!(
                "a blob has at most {max} blocks"
            )));
        }
        for _ in 0..TRIES {
            self.catalog.check_put(path, conditions)?;
            self.check_block_blob(path)?;
            let key = self.new_blob_key(&path.container, encryption)?;
            let mut manifest = self.assemble(path, blocks, encryption, key.as_ref())?;
            manifest.metadata = attributes.metadata.clone();
            manifest.content_md5 = attributes.content_md5;
            let entry = new_entry(path, &manifest, key.as_ref(), attributes);
            let subject = Subject::Blob(path);
            let sealed = self.seal_manifest(&manifest, entry.generation, key.as_ref(), subject)?;
            let (ids, list) = (manifest.extent_ids(), listed(&manifest));
            let known = Known::OfTheBlob;
            let replaced =
                (self.catalog).replace(entry, &sealed, &list, &ids, known, conditions)?;
            if let Some((entry, unwanted)) = replaced {
                self.discard(&unwanted);
                return self.blob_info(entry);
            }
        }
        Err(self.busy())
    }

    fn check_block_blob(&self, path: &BlobPath) -> Result<(), ResourceError> {
        match self.catalog.entry(path.into()) {
            Ok(entry) if entry.status.append => Err(Refusal::BlobType.into()),
            Ok(_) | Err(ResourceError::NotFound(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The blocks of a blob, or of a snapshot, for which none wait. Needs the catalog's key only.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`] when there are neither blob nor blocks.
    pub fn block_list<'a>(&self, blob: impl Into<BlobAt<'a>>) -> Result<BlockList, ResourceError> {
        let blob = blob.into();
        let staged = match blob.snapshot {
            None => self.catalog.staged(blob.path)?,
            Some(_) => Vec::new(),
        };
        let uncommitted: Vec<ListedBlock> = staged
            .into_iter()
            .map(|b| ListedBlock {
                id: b.id,
                size: b.size,
            })
            .collect();
        let entry = match self.catalog.entry(blob) {
            Err(ResourceError::NotFound(_)) if !uncommitted.is_empty() => {
                return Ok(BlockList {
                    uncommitted,
                    ..BlockList::default()
                });
            }
            found => found?,
        };
        Ok(BlockList {
            committed: self.catalog.block_list(entry.generation)?,
            blob: Some(self.blob_info(entry)?),
            uncommitted,
        })
    }

    /// Forgets the blocks of blobs to which none was added since `before`.
    pub fn forget_blocks(&self, before: Timestamp) -> Result<(), ResourceError> {
        let unwanted = self.catalog.forget_blocks(before.as_microsecond())?;
        if !unwanted.is_empty() {
            self.discard(&unwanted);
        }
        Ok(())
    }

    /// The manifest of a blob of these blocks, each of which is authenticated as the one that it is. All
    /// must be under `key`, which is the one that `encryption` says: theirs are kept as that one wraps them.
    fn assemble(
        &self,
        path: &BlobPath,
        blocks: &[Block],
        encryption: Encryption<'_>,
        key: Option<&BlobKey<'_>>,
    ) -> Result<Manifest, ResourceError> {
        let from_blob = |block: &Block| !matches!(block, Block::Uncommitted(_));
        // A blob under another key is none whose blocks can be kept; one that is to be replaced whole.
        let mut mismatch = None;
        let committed = match blocks.iter().any(from_blob) {
            true => match self.find(path.into(), encryption) {
                Ok(found) if !same_key(found.key.as_ref(), key) => {
                    mismatch = Some(mismatched(path, EncryptionMismatch::Other));
                    None
                }
                Ok(found) => Some(found.manifest),
                Err(ResourceError::NotFound(_)) => None,
                Err(e @ ResourceError::Encryption { .. }) => {
                    mismatch = Some(e);
                    None
                }
                Err(e) => return Err(e),
            },
            false => None,
        };
        // A list may name two blocks of one identifier, an old one and a new: then the first counts.
        let mut by_id: HashMap<&BlockId, &Extent> = HashMap::new();
        for extent in committed.iter().flat_map(|manifest| &manifest.extents) {
            if let Some(id) = &extent.block {
                by_id.entry(id).or_insert(extent);
            }
        }
        let of_blob = |id: &BlockId| {
            let extent = *by_id.get(id)?;
            let generation = committed.as_ref()?.generation_of(extent).cloned();
            Some((extent.clone(), generation))
        };
        let staged = |id: &BlockId| match self.staged(path, id, encryption)? {
            Some(block) if !same_key(block.key.as_ref(), key) => {
                Err(mismatched(path, EncryptionMismatch::Other))
            }
            staged => Ok(staged.map(|block| (block.extent, block.generation))),
        };
        let mut places: HashMap<GenerationId, u32> = HashMap::new();
        let mut generations: Vec<Generation> = Vec::new();
        let mut extents = Vec::with_capacity(blocks.len());
        for block in blocks {
            let (id, found) = match block {
                Block::Committed(id) => (id, of_blob(id)),
                Block::Uncommitted(id) => (id, staged(id)?),
                Block::Latest(id) => (id, staged(id)?.or_else(|| of_blob(id))),
            };
            let missing = || ResourceError::BadBlock(format!("{path} has no block {id}"));
            let (mut extent, generation) =
                found.ok_or_else(|| mismatch.take().unwrap_or_else(missing))?;
            if let Some(generation) = generation {
                let next = u32::try_from(generations.len()).expect("at most 50,000 blocks");
                extent.generation = *places.entry(generation.id).or_insert(next);
                if extent.generation == next {
                    generations.push(generation);
                }
            }
            extents.push(extent);
        }
        let sizes = extents
            .iter()
            .try_fold(0_u64, |sum, e| sum.checked_add(e.len));
        if sizes.is_none_or(|sum| i64::try_from(sum).is_err()) {
            return Err(ResourceError::BadBlock("the blob would be too long".into()));
        }
        let mut manifest = Manifest::new(self.now().as_microsecond(), extents);
        manifest.generations = generations;
        Ok(manifest)
    }

    /// The block `id` that waits for being committed to the blob at `path`.
    pub(super) fn staged<'a>(
        &'a self,
        path: &BlobPath,
        id: &BlockId,
        encryption: Encryption<'a>,
    ) -> Result<Option<Staged<'a>>, ResourceError> {
        let Some((row, bytes)) = self.catalog.staged_block(path, id)? else {
            return Ok(None);
        };
        let subject = Subject::Block(path, id);
        let what = format_args!("{path}, block {id}");
        let key = self.blob_key(&what, row.under, encryption)?;
        let manifest = self.open_manifest(&bytes, row.generation, key.as_ref(), subject)?;
        let [extent] = &manifest.extents[..] else {
            return Err(unauthentic(self.catalog.path()));
        };
        if (extent.id, extent.len, extent.block.as_ref()) != (row.extent, row.size, Some(id)) {
            return Err(unauthentic(self.catalog.path()));
        }
        let generation = manifest.generation_of(extent).cloned();
        Ok(Some(Staged {
            extent: extent.clone(),
            generation,
            key,
        }))
    }
}

/// The blocks that a blob is made of.
pub(super) fn listed(manifest: &Manifest) -> Vec<ListedBlock> {
    let blocks = manifest.extents.iter().map(|extent| {
        Some(ListedBlock {
            id: extent.block.clone()?,
            size: extent.len,
        })
    });
    blocks.flatten().collect()
}
