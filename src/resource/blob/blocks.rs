use std::collections::HashMap;
use std::io::Read;

use jiff::Timestamp;

use crate::base::GenerationId;
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions};
use super::catalog::StagedBlock;
use super::change::TRIES;
use super::content::new_entry;
use super::extent::chunk_count;
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::{
    BlobInfo, BlobPath, BlockId, ExtentReader, GenerationKey, LeaseId, Refusal, StorageAccount,
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

impl StorageAccount {
    /// Whether blocks wait for being committed.
    pub fn has_uncommitted_blocks(&self) -> Result<bool, ResourceError> {
        self.catalog.has_staged()
    }

    /// Keeps all that `source` gives as a block of the blob at `path`, until the block is committed or
    /// replaced, or for a week. `check` is asked when the source has ended, and may still refuse. Gives
    /// the block's length.
    ///
    /// # Errors
    /// [`ResourceError::BadBlock`] when the identifier is not as long as those of the blob's other
    /// uncommitted blocks, or there are too many.
    pub fn put_block(
        &self,
        path: &BlobPath,
        id: &BlockId,
        source: &mut (dyn Read + Send),
        check: &mut dyn FnMut() -> Result<(), ResourceError>,
    ) -> Result<u64, ResourceError> {
        self.put_block_under(path, id, source, check, None)
    }

    /// The same, where the blob has a lease.
    pub fn put_block_under(
        &self,
        path: &BlobPath,
        id: &BlockId,
        source: &mut (dyn Read + Send),
        check: &mut dyn FnMut() -> Result<(), ResourceError>,
        lease: Option<LeaseId>,
    ) -> Result<u64, ResourceError> {
        let conditions = &Conditions {
            lease,
            ..Conditions::default()
        };
        self.check_block_blob(path)?;
        self.catalog.check_put(path, conditions)?;
        let key = GenerationKey::random();
        let stored = self.store(source, Some(id.clone()), &key, &mut |_| ())?;
        let staged = StagedBlock {
            id: id.clone(),
            generation: key.id(),
            extent: stored.extent.id,
            size: stored.extent.len,
        };
        let mut put = || {
            check()?;
            let now = self.now().as_microsecond();
            let mut manifest = Manifest::new(now, vec![stored.extent.clone()]);
            manifest.generations = self.wrapped(&key)?;
            let subject = Subject::Block(path, id);
            let sealed = self.seal_manifest(&manifest, staged.generation, subject)?;
            self.catalog.stage(path, &staged, now, &sealed)
        };
        let unwanted = put().inspect_err(|_| self.give_up(staged.extent))?;
        self.extents.remove(&unwanted);
        self.forget_old_blocks()?;
        Ok(staged.size)
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
            let mut manifest = self.assemble(path, blocks)?;
            manifest.metadata = attributes.metadata.clone();
            manifest.content_md5 = attributes.content_md5;
            let entry = new_entry(path, &manifest, attributes);
            let sealed = self.seal_manifest(&manifest, entry.generation, Subject::Blob(path))?;
            let ids = manifest.extent_ids();
            let replaced = (self.catalog).replace(entry, &sealed, &ids, true, conditions)?;
            if let Some((entry, unwanted)) = replaced {
                self.extents.remove(&unwanted);
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

    /// The blocks of the blob at `path`. Needs the account key when there are committed ones.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`] when there are neither blob nor blocks.
    pub fn block_list(&self, path: &BlobPath) -> Result<BlockList, ResourceError> {
        let staged = self.catalog.staged(path)?;
        let uncommitted: Vec<ListedBlock> = staged
            .into_iter()
            .map(|b| ListedBlock {
                id: b.id,
                size: b.size,
            })
            .collect();
        let (entry, manifest) = match self.find(path.into()) {
            Err(ResourceError::NotFound(_)) if !uncommitted.is_empty() => {
                return Ok(BlockList {
                    uncommitted,
                    ..BlockList::default()
                });
            }
            found => found?,
        };
        let listed = |e: Extent| {
            Some(ListedBlock {
                id: e.block?,
                size: e.len,
            })
        };
        Ok(BlockList {
            blob: Some(self.blob_info(entry)?),
            committed: manifest.extents.into_iter().filter_map(listed).collect(),
            uncommitted,
        })
    }

    /// Forgets the blocks of blobs to which none was added since `before`.
    pub fn forget_blocks(&self, before: Timestamp) -> Result<(), ResourceError> {
        let unwanted = self.catalog.forget_blocks(before.as_microsecond())?;
        if !unwanted.is_empty() {
            self.extents.remove(&unwanted);
        }
        Ok(())
    }

    /// Reads and authenticates the blocks that are not committed; bytes and chunks of each.
    pub(super) fn verify_blocks(&self) -> Result<Vec<(u64, u64)>, ResourceError> {
        let mut verified = Vec::new();
        for (path, id) in self.catalog.all_staged()? {
            // One that was committed or replaced meanwhile is not missing.
            let Some((extent, generation)) = self.staged(&path, &id)? else {
                continue;
            };
            let Some(file) = self.extents.open(extent.id)? else {
                match self.catalog.refers_to(extent.id)? {
                    true => return Err(unauthentic(self.extents.dir())),
                    false => continue,
                }
            };
            let manifest = Manifest {
                generations: generation.into_iter().collect(),
                ..Manifest::new(0, Vec::new())
            };
            let at = self.extents.path(extent.id);
            let key = self.generation_key(&manifest, &extent, &at)?;
            let allowed = self.permission()?;
            ExtentReader::open(&file, &at, self.id, &extent, key.as_ref())?.read(
                0..extent.len,
                &mut std::io::sink(),
                &allowed,
                &mut |_| (),
            )?;
            verified.push((extent.len, chunk_count(extent.len)));
        }
        Ok(verified)
    }

    /// The manifest of a blob of these blocks, each of which is authenticated as the one that it is.
    fn assemble(&self, path: &BlobPath, blocks: &[Block]) -> Result<Manifest, ResourceError> {
        let from_blob = |block: &Block| !matches!(block, Block::Uncommitted(_));
        let committed = match blocks.iter().any(from_blob) {
            true => match self.find(path.into()) {
                Ok((_, manifest)) => Some(manifest),
                Err(ResourceError::NotFound(_)) => None,
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
        let mut places: HashMap<GenerationId, u32> = HashMap::new();
        let mut generations: Vec<Generation> = Vec::new();
        let mut extents = Vec::with_capacity(blocks.len());
        for block in blocks {
            let (id, found) = match block {
                Block::Committed(id) => (id, of_blob(id)),
                Block::Uncommitted(id) => (id, self.staged(path, id)?),
                Block::Latest(id) => (id, self.staged(path, id)?.or_else(|| of_blob(id))),
            };
            let (mut extent, generation) = found
                .ok_or_else(|| ResourceError::BadBlock(format!("{path} has no block {id}")))?;
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
    fn staged(
        &self,
        path: &BlobPath,
        id: &BlockId,
    ) -> Result<Option<(Extent, Option<Generation>)>, ResourceError> {
        let Some((row, bytes)) = self.catalog.staged_block(path, id)? else {
            return Ok(None);
        };
        let subject = Subject::Block(path, id);
        let manifest = self.open_manifest(&bytes, row.generation, subject)?;
        let [extent] = &manifest.extents[..] else {
            return Err(unauthentic(self.catalog.path()));
        };
        if (extent.id, extent.len, extent.block.as_ref()) != (row.extent, row.size, Some(id)) {
            return Err(unauthentic(self.catalog.path()));
        }
        let generation = manifest.generation_of(extent).cloned();
        Ok(Some((extent.clone(), generation)))
    }
}
