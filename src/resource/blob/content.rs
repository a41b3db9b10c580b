use std::io::Read;

use jiff::Timestamp;

use crate::base::{ExtentId, GenerationId, Part, within};
use crate::crypto::random_id;
use crate::resource::ResourceError;

use super::attributes::{Attributes, Conditions, Etag};
use super::catalog::{Entry, NewRow};
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

/// A blob whose bytes are written, perhaps not durable yet, and which is in no catalog. When it is dropped, they go, but for
/// an object's, which the next opening removes.
pub struct WrittenBlob {
    new: NewExtent,
    row: NewRow,
}

/// Extents that commits leave behind.
#[derive(Default)]
pub(super) struct Left {
    /// Those of rows that were not written, as far as is known.
    pub given_up: Vec<ExtentId>,
    /// Those to which nothing refers any more.
    pub unwanted: Vec<ExtentId>,
}

impl Left {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.given_up.is_empty() && self.unwanted.is_empty()
    }
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
        let written =
            self.write_blob(path, source, encryption, conditions, attributes, progress)?;
        self.commit(written)
    }

    /// The first half of [`StorageAccount::put_with`]: nothing refers to what is written yet. The other half is
    /// [`StorageAccount::commit`] or [`StorageAccount::commit_later`].
    ///
    /// # Errors
    /// As there.
    pub fn write_blob(
        &self,
        path: &BlobPath,
        source: &mut (dyn Read + Send),
        encryption: Encryption<'_>,
        conditions: &Conditions,
        attributes: &mut dyn FnMut() -> Result<Attributes, ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<WrittenBlob, ResourceError> {
        within(Part::Sqlite, || self.catalog.check_put(path, conditions))?;
        let key = self.new_blob_key(&path.container, encryption)?;
        let own = GenerationKey::random();
        let mut said = None;
        let mut ended = || attributes().map(|attributes| said = Some(attributes));
        let (mut new, extent) =
            self.write(source, None, &own, key.as_ref(), &mut ended, progress)?;
        let attributes = said.expect("the source has ended");
        // That may take long, and the key is asked for again after it. A place in a pack is synced with others'.
        if !new.is_in_a_pack() {
            new.publish()?;
        }
        let id = extent.id;
        let row = || -> Result<NewRow, ResourceError> {
            let mut manifest = Manifest::new(self.now().as_microsecond(), vec![extent]);
            manifest.metadata = attributes.metadata.clone();
            manifest.content_md5 = attributes.content_md5;
            manifest.generations = self.wrapped(&own, key.as_ref())?;
            let mut entry = new_entry(path, &manifest, key.as_ref(), &attributes);
            entry.generation = own.id();
            let (key, subject) = (key.as_ref(), Subject::Blob(path));
            Ok(NewRow {
                manifest: self.seal_manifest(&manifest, own.id(), key, subject)?,
                entry,
                extent: id,
                conditions: conditions.clone(),
            })
        };
        let row = row().inspect_err(|_| {
            if !new.is_in_a_pack() {
                self.discard(&[id]);
            }
        })?;
        Ok(WrittenBlob { new, row })
    }

    /// The second half of [`StorageAccount::put_with`]: makes a blob durable, and the one of its path.
    ///
    /// # Errors
    /// As there.
    pub fn commit(&self, blob: WrittenBlob) -> Result<BlobInfo, ResourceError> {
        let (mut committed, left) = self.commit_all(vec![blob]);
        self.clean(left);
        committed.pop().expect("one is told of one")
    }

    /// Makes blobs durable, and then the blobs of their paths: in order, each as if it were alone. What became of each, and
    /// what is to be cleaned afterwards.
    pub(super) fn commit_all(
        &self,
        blobs: Vec<WrittenBlob>,
    ) -> (Vec<Result<BlobInfo, ResourceError>>, Left) {
        let (mut new, rows): (Vec<_>, Vec<_>) = blobs.into_iter().map(|b| (b.new, b.row)).unzip();
        let published = NewExtent::publish_all(&mut new);
        // The row of one that is not durable is not written.
        let durable = (new.iter_mut().zip(rows).zip(&published)).filter(|(_, done)| done.is_ok());
        let rows: Vec<NewRow> = durable
            .map(|((new, row), _)| {
                new.keep();
                row
            })
            .collect();
        let replaced = within(Part::Sqlite, || self.catalog.replace_all(&rows));
        let (mut replaced, mut left) = (rows.iter().zip(replaced), Left::default());
        let mut committed = |()| {
            let (row, replaced) = replaced.next().expect("as many as are durable");
            let replaced = replaced.inspect_err(|_| left.given_up.push(row.extent));
            let (entry, mut old) = replaced?;
            left.unwanted.append(&mut old);
            self.blob_info(entry)
        };
        let committed = published
            .into_iter()
            .map(|done| done.and_then(&mut committed));
        (committed.collect(), left)
    }

    /// Removes what nothing refers to after a commit.
    pub(super) fn clean(&self, mut left: Left) {
        // A commit that failed may have taken place; the catalog knows.
        left.given_up
            .retain(|id| matches!(self.catalog.refers_to(*id), Ok(false)));
        left.unwanted.append(&mut left.given_up);
        self.discard(&left.unwanted);
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
        let mut ended = || Ok(());
        let (mut new, extent) = self.write(source, block, generation, key, &mut ended, progress)?;
        new.publish()?;
        new.keep();
        Ok(Stored { _new: new, extent })
    }

    /// The same, so far that it only has to be made durable. `ended` is asked when the source has ended, before anything is
    /// written where it is short, and may refuse.
    fn write(
        &self,
        source: &mut (dyn Read + Send),
        block: Option<BlockId>,
        generation: &GenerationKey,
        key: Option<&BlobKey<'_>>,
        ended: &mut dyn FnMut() -> Result<(), ResourceError>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(NewExtent, Extent), ResourceError> {
        let allowed = self.permission(key)?;
        let infrastructure = second_layer(key)?;
        let infrastructure = infrastructure.as_ref();
        let writing = self.extents.writing();
        let chunks = Chunks::start(source)?;
        let stored_len = |len| match key {
            Some(_) => Layers::with(infrastructure).sealed_len(len),
            None => len,
        };
        let single = chunks.single();
        if single.is_some() {
            ended()?;
        }
        let new = (self.extents).begin(writing, single.map(stored_len))?;
        let id = new.id();
        let cipher = key.map(|_| ExtentCipher::create(self.id, id, generation, infrastructure));
        let len = write_extent(&new, cipher.as_ref(), chunks, &allowed, progress)?;
        if single.is_none() {
            ended()?;
        }
        let extent = Extent {
            id,
            generation: 0,
            len,
            block,
        };
        Ok((new, extent))
    }

    /// Removes an extent for which no row was written.
    pub(super) fn give_up(&self, extent: ExtentId) {
        self.clean(Left {
            given_up: vec![extent],
            ..Left::default()
        });
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
