use std::io::Read;

use jiff::Timestamp;

use crate::base::{ExtentId, GenerationId, Part, within};
use crate::crypto::random_id;
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions, Etag};
use super::catalog::{Entry, Known};
use super::encryption::{BlobKey, second_layer};
use super::extent::Layers;
use super::manifest::{Extent, Manifest, Subject};
use super::new_extent::NewExtent;
use super::writer::{Chunks, write_extent};
use super::{
    BlobInfo, BlobPath, BlobStatus, BlockId, Encryption, ExtentCipher, GenerationKey,
    StorageAccount,
};

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
        drop(stored);
        self.discard(&unwanted);
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
        let infrastructure = second_layer(key)?;
        let infrastructure = infrastructure.as_ref();
        let writing = self.extents.writing();
        let chunks = Chunks::start(source)?;
        let stored_len = |len| match key {
            Some(_) => Layers::with(infrastructure).sealed_len(len),
            None => len,
        };
        let mut new = (self.extents).begin(writing, chunks.single().map(stored_len))?;
        let id = new.id();
        let cipher = key.map(|_| ExtentCipher::create(self.id, id, generation, infrastructure));
        let len = write_extent(&new, cipher.as_ref(), chunks, &allowed, progress)?;
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
            self.discard(&[extent]);
        }
    }
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
