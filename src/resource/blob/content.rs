use std::io::{Read, Write};
use std::ops::Range;

use jiff::Timestamp;

use crate::base::{ExtentId, FileLock, GenerationId, Part, within};
use crate::crypto::random_id;
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions, Etag};
use super::blocks::listed;
use super::catalog::{Entry, Known};
use super::encryption::{BlobKey, second_layer};
use super::extent::chunk_count;
use super::manifest::{Extent, Manifest, Subject};
use super::sealing::Found;
use super::store::{NewExtent, OpenExtent};
use super::writer::write_extent;
use super::{
    BlobAt, BlobInfo, BlobPath, BlobStatus, BlockId, Encryption, ExtentCipher, ExtentReader,
    GenerationKey, StorageAccount,
};

/// Extents whose files a read opens before it begins.
const OPEN_MAX: usize = 64;

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

/// An extent that is written, and that nothing refers to yet.
pub(super) struct Stored {
    /// Keeps it from being taken for garbage.
    _new: NewExtent,
    pub extent: Extent,
}

impl StorageAccount {
    /// Stores all that `source` gives as the blob at `path`, whose container must exist, in constant
    /// memory. The blob is durable when this returns; until then, and when this fails, the blob that was
    /// there before stays. Of several puts of one name at once the last to end wins. `progress` is told
    /// the bytes read.
    pub fn put(
        &self,
        path: &BlobPath,
        source: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlobInfo, ResourceError> {
        let mut none = || Ok(Attributes::default());
        let (any, encryption) = (Conditions::default(), Encryption::default());
        self.put_with(path, source, encryption, &any, &mut none, progress)
    }

    /// The same under the key that `encryption` says, with what is said of the blob, for which `attributes` is asked when the source has
    /// ended, and which may still refuse; and only when the blob that is there then meets `conditions`.
    ///
    /// # Errors
    /// [`ResourceError::ConditionNotMet`], or [`ResourceError::Exists`] when there must be no blob.
    pub fn put_with(
        &self,
        path: &BlobPath,
        source: &mut (dyn Read + Send),
        encryption: Encryption<'_>,
        conditions: &Conditions,
        attributes: &mut dyn FnMut() -> Result<Attributes, ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlobInfo, ResourceError> {
        within(Part::Sqlite, || self.catalog.check_put(path, conditions))?;
        let key = self.new_blob_key(&path.container, encryption)?;
        let own = GenerationKey::random();
        let stored = self.store(source, None, &own, key.as_ref(), progress)?;
        let (id, generation) = (stored.extent.id, own.id());
        let mut put = || {
            let attributes = attributes()?;
            let mut manifest =
                Manifest::new(self.now().as_microsecond(), vec![stored.extent.clone()]);
            manifest.metadata = attributes.metadata.clone();
            manifest.content_md5 = attributes.content_md5;
            manifest.generations = self.wrapped(&own, key.as_ref())?;
            let mut entry = new_entry(path, &manifest, key.as_ref(), &attributes);
            entry.generation = generation;
            let sealed =
                self.seal_manifest(&manifest, generation, key.as_ref(), Subject::Blob(path))?;
            let replaced = within(Part::Sqlite, || {
                (self.catalog).replace(entry, &sealed, &[], &[id], Known::New, conditions)
            })?;
            replaced.ok_or_else(|| unauthentic(self.catalog.path()))
        };
        let (entry, unwanted) = put().inspect_err(|_| self.give_up(id))?;
        self.extents.remove(&unwanted);
        self.blob_info(entry)
    }

    /// Writes an extent, sealed under the key of `generation`; `key` is the one that that is under.
    pub(super) fn store(
        &self,
        source: &mut (dyn Read + Send),
        block: Option<BlockId>,
        generation: &GenerationKey,
        key: Option<&BlobKey<'_>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Stored, ResourceError> {
        let allowed = self.permission(key)?;
        let id = random_id(ExtentId::from_bytes);
        let infrastructure = second_layer(key)?;
        let infrastructure = infrastructure.as_ref();
        let cipher = key.map(|_| ExtentCipher::create(self.id, id, generation, infrastructure));
        let mut new = self.extents.begin(id)?;
        let len = write_extent(&new, cipher.as_ref(), source, &allowed, progress)?;
        within(Part::System, || new.publish())?;
        Ok(Stored {
            _new: new,
            extent: Extent {
                id,
                generation: 0,
                len,
                block,
            },
        })
    }

    /// Removes an extent for which no row was written.
    pub(super) fn give_up(&self, extent: ExtentId) {
        // A commit that failed may have taken place; the catalog knows.
        if let Ok(false) = self.catalog.refers_to(extent) {
            self.extents.remove(&[extent]);
        }
    }

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
            let locks = wanted.len() > OPEN_MAX || !self.extents.stay_while_open();
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

    /// Gives the bytes `within` of an extent to `sink`.
    pub(super) fn read_extent(
        &self,
        extent: &Extent,
        within: Range<u64>,
        sink: &mut (dyn Write + Send),
        allowed: &dyn Fn() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
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
        let reader = ExtentReader::open(bytes, &path, id, extent, generation, second)?;
        reader.read(within, sink, allowed, progress)
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

pub(super) fn attributes_of(info: &BlobInfo, manifest: &Manifest) -> Attributes {
    Attributes {
        properties: info.properties.clone(),
        tags: info.tags.clone(),
        metadata: manifest.metadata.clone(),
        content_md5: manifest.content_md5,
        tier: info.status.tier.map(|(tier, _)| tier),
    }
}

/// A state that no other blob was ever in.
pub(super) fn new_generation() -> GenerationId {
    random_id(GenerationId::from_bytes)
}

/// What the catalog will say of a blob with this manifest, in a state of its own.
pub(super) fn new_entry(
    path: &BlobPath,
    manifest: &Manifest,
    key: Option<&BlobKey<'_>>,
    attributes: &Attributes,
) -> Entry {
    Entry {
        path: path.clone(),
        snapshot: None,
        status: BlobStatus {
            tier: attributes
                .tier
                .zip(Timestamp::from_microsecond(manifest.created_micros).ok()),
            ..BlobStatus::default()
        },
        lease: None,
        generation: new_generation(),
        size: manifest.size,
        extents: manifest.extents.len() as u64,
        created_micros: manifest.created_micros,
        // Decided with the change.
        modified_micros: 0,
        etag: Etag(0),
        under: key.map(BlobKey::under).unwrap_or_default(),
        scope: key.and_then(BlobKey::scope).cloned(),
        properties: attributes.properties.clone(),
        tags: attributes.tags.clone(),
    }
}
