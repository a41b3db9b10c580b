use std::io::{self, Write};
use std::ops::Range;

use crate::base::{ExtentId, FileLock, GenerationId};
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions};
use super::blocks::listed;
use super::content::attributes_of;
use super::encryption::{BlobKey, second_layer};
use super::extent::chunk_count;
use super::manifest::{Extent, Manifest};
use super::opened::{Buffers, Opened};
use super::sealing::Found;
use super::store::OpenExtent;
use super::{BlobAt, BlobInfo, BlobPath, Encryption, ExtentReader, StorageAccount};

/// Part of a blob that is about to be read, in one state of the blob: a put or delete meanwhile does
/// not change what is read.
pub struct BlobReader<'a> {
    account: &'a StorageAccount,
    info: BlobInfo,
    generation: GenerationId,
    manifest: Manifest,
    key: Option<BlobKey<'a>>,
    range: Range<u64>,
    held: Held,
}

/// What keeps the extents of a part from being removed.
enum Held {
    /// They are open.
    Files(Vec<(ExtentId, OpenExtent)>),
    /// There are too many for that, or they are objects.
    All { _lock: FileLock },
}

impl StorageAccount {
    /// Gives the blob at `path`, or the bytes `range` of it, to `sink`, in constant memory. Of a range
    /// only the chunks that hold it are read. No byte reaches the sink before its chunk is
    /// authenticated; when this fails, what the sink has got is a part and must be thrown away.
    /// `progress` is told the bytes given.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when the range does not lie within the blob.
    pub fn get(
        &self,
        path: &BlobPath,
        range: Option<Range<u64>>,
        sink: &mut (dyn Write + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlobInfo, ResourceError> {
        let mut whole_or_range = |info: &BlobInfo| Ok(range.clone().unwrap_or(0..info.size));
        let (any, encryption) = (Conditions::default(), Encryption::default());
        let reader = self.reader(path, encryption, &any, &mut whole_or_range)?;
        reader.read(sink, progress)?;
        Ok(reader.info)
    }

    /// Begins to read the part that `choose` says of a blob or snapshot, if that meets `conditions`.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when the part does not lie within the blob; what `choose` says.
    pub fn reader<'a, 'b>(
        &'a self,
        blob: impl Into<BlobAt<'b>>,
        encryption: Encryption<'a>,
        conditions: &Conditions,
        choose: &mut dyn FnMut(&BlobInfo) -> Result<Range<u64>, ResourceError>,
    ) -> Result<BlobReader<'a>, ResourceError> {
        let blob = blob.into();
        let mut tried = None;
        let mut all = None;
        loop {
            let Found {
                entry,
                manifest,
                key,
            } = self.find(blob, encryption)?;
            self.catalog.may_read(&entry, conditions)?;
            let generation = entry.generation;
            let info = self.blob_info(entry)?;
            let range = choose(&info)?;
            if range.start > range.end || range.end > info.size {
                return Err(ResourceError::Usage(format!(
                    "bytes {} to {} do not lie within {blob}, which has {} bytes",
                    range.start, range.end, info.size
                )));
            }
            let wanted: Vec<&Extent> = parts(&manifest, &range).map(|(e, _)| e).collect();
            let locks = self.extents.must_keep_all(wanted.len());
            let held = match (locks, all.take()) {
                (true, Some(lock)) => Some(Held::All { _lock: lock }),
                (true, None) => {
                    // What was found may have been replaced before the lock held.
                    all = Some(self.extents.keep_all()?);
                    continue;
                }
                (false, _) => {
                    let open = |e: &Extent| Ok(self.extents.open(e)?.map(|file| (e.id, file)));
                    let files = wanted.into_iter().map(open);
                    let files: Option<Vec<_>> = files.collect::<Result<_, ResourceError>>()?;
                    files.map(Held::Files)
                }
            };
            match held {
                Some(held) => {
                    return Ok(BlobReader {
                        account: self,
                        info,
                        generation,
                        manifest,
                        key,
                        range,
                        held,
                    });
                }
                // Replaced since the catalog was read: read it again.
                None if tried != Some(generation) => tried = Some(generation),
                None => return Err(unauthentic(self.extents.dir())),
            }
        }
    }
}

impl BlobReader<'_> {
    /// What is known of the blob.
    pub fn info(&self) -> &BlobInfo {
        &self.info
    }

    /// What is said of it.
    pub fn attributes(&self) -> Attributes {
        attributes_of(&self.info, &self.manifest)
    }

    /// Which part of it is read.
    pub fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// Whether the catalog lists the blocks that the manifest does. Of a blob that was replaced it lists none.
    pub(super) fn check_block_list(&self) -> Result<(), ResourceError> {
        let catalog = &self.account.catalog;
        match catalog.block_list(self.generation)? == listed(&self.manifest) {
            true => Ok(()),
            false => Err(unauthentic(catalog.path())),
        }
    }

    /// How many chunks hold the blob.
    pub(super) fn chunks(&self) -> u64 {
        let extents = &self.manifest.extents;
        extents.iter().map(|e| chunk_count(e.len)).sum()
    }

    /// Gives the part to `sink`, as [`StorageAccount::get`] does.
    pub fn read(
        &self,
        sink: &mut (dyn Write + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        let account = self.account;
        let allowed = account.permission(self.key())?;
        let mut done = 0;
        for (extent, within) in parts(&self.manifest, &self.range) {
            self.read_extent(extent, within, sink, &allowed, &mut |given| {
                done += given;
                progress(done);
            })?;
        }
        Ok(())
    }

    /// The same without a copy, and without a thread beside the caller's: who takes pieces does so in one of its own.
    pub fn read_pieces(
        &self,
        take: &mut dyn FnMut(Opened) -> io::Result<()>,
    ) -> Result<(), ResourceError> {
        let allowed = self.account.permission(self.key())?;
        let buffers = Buffers::for_range(&self.range);
        for (extent, within) in parts(&self.manifest, &self.range) {
            self.with_extent(extent, &mut |reader| {
                reader.read_into_pieces(within.clone(), &buffers, take, &allowed)
            })?;
        }
        Ok(())
    }

    /// Gives the bytes `within` of an extent to `sink`.
    pub(super) fn read_extent(
        &self,
        extent: &Extent,
        within: Range<u64>,
        sink: &mut (dyn Write + Send),
        allowed: &dyn Fn() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        self.with_extent(extent, &mut |reader| {
            reader.read(within.clone(), sink, allowed, progress)
        })
    }

    fn with_extent(
        &self,
        extent: &Extent,
        work: &mut dyn FnMut(&ExtentReader<'_>) -> Result<(), ResourceError>,
    ) -> Result<(), ResourceError> {
        let account = self.account;
        let held = match &self.held {
            Held::Files(files) => files.iter().find(|(id, _)| *id == extent.id),
            Held::All { .. } => None,
        };
        let opened;
        let bytes = match held {
            Some((_, file)) => &**file,
            None => {
                let file = account.extents.open(extent)?;
                opened = file.ok_or_else(|| unauthentic(account.extents.dir()))?;
                &*opened
            }
        };
        let path = account.extents.path(extent.id);
        let generation = account.generation_key(&self.manifest, extent, self.key(), &path)?;
        let (generation, second) = (generation.as_ref(), second_layer(self.key())?);
        let (id, second) = (account.id, second.as_ref());
        work(&ExtentReader::open(
            bytes, &path, id, extent, generation, second,
        )?)
    }

    /// The manifest of the whole blob.
    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The key that it is under; `None` in a plain account.
    pub(super) fn key(&self) -> Option<&BlobKey<'_>> {
        self.key.as_ref()
    }

    /// The account that is read from.
    pub(super) fn account(&self) -> &StorageAccount {
        self.account
    }
}

/// The extents that hold the bytes `range` of a blob, and which bytes of each.
fn parts<'a>(
    manifest: &'a Manifest,
    range: &Range<u64>,
) -> impl Iterator<Item = (&'a Extent, Range<u64>)> {
    let (range, mut start) = (range.clone(), 0);
    manifest.extents.iter().filter_map(move |extent| {
        let begin = start;
        start += extent.len;
        let within = range.start.max(begin)..range.end.min(start);
        // An empty range still authenticates the chunk that it points at.
        let counts = within.start < within.end || (range.is_empty() && within.start == within.end);
        counts.then(|| (extent, within.start - begin..within.end - begin))
    })
}
