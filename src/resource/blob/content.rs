use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;

use jiff::Timestamp;

use crate::base::ExtentId;
use crate::crypto::{TagMismatch, random_id};
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::catalog::Entry;
use super::manifest::{Extent, Manifest};
use super::writer::write_extent;
use super::{BlobInfo, BlobName, ExtentCipher, ExtentReader, GenerationKey, StorageAccount};

/// A blob whose manifest is authentic, with its extents' files.
pub(super) struct OpenBlob {
    pub entry: Entry,
    pub manifest: Manifest,
    files: Vec<File>,
}

impl StorageAccount {
    /// Stores all that `source` gives as the blob `name`, in constant memory. The blob is durable
    /// when this returns; until then, and when this fails, the blob that was there before stays.
    /// Of several puts of one name at once the last to end wins. `progress` is told the bytes read.
    pub fn put(
        &self,
        name: &BlobName,
        source: &mut (dyn Read + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlobInfo, ResourceError> {
        let allowed = self.permission()?;
        let id = random_id(ExtentId::from_bytes);
        let generation = GenerationKey::random();
        let cipher = (self.keys.as_ref()).map(|_| ExtentCipher::create(self.id, id, &generation));
        let mut extent = self.extents.begin(id)?;
        let (file, path) = (extent.file(), extent.path());
        let size = write_extent(file, path, cipher.as_ref(), source, &allowed, progress)?;
        extent.publish()?;

        let created_micros = Timestamp::now().as_microsecond();
        let extents = vec![Extent {
            id,
            generation: 0,
            len: size,
        }];
        let mut manifest = Manifest::new(created_micros, extents);
        let entry = Entry {
            name: name.clone(),
            generation: generation.id(),
            size,
            created_micros,
            extents: 1,
        };
        let sealed = match &self.keys {
            None => Ok(manifest.to_bytes()),
            Some(keys) => keys.account().with_key(|key| {
                manifest.generations = vec![generation.wrap(key, self.id)];
                manifest.seal(key, self.id, entry.generation, name)
            }),
        };
        let replaced = sealed.and_then(|bytes| self.catalog.replace(&entry, &bytes, &[id]));
        match replaced {
            Ok(replaced) => self.extents.remove(&replaced),
            Err(e) => {
                // A commit that failed may have taken place; the catalog knows.
                if let Ok(false) = self.catalog.refers_to(id) {
                    self.extents.remove(&[id]);
                }
                return Err(e);
            }
        }
        self.blob_info(entry)
    }

    /// Gives the blob `name`, or the bytes `range` of it, to `sink`, in constant memory. Of a range
    /// only the chunks that hold it are read. No byte reaches the sink before its chunk is
    /// authenticated; when this fails, what the sink has got is a part and must be thrown away.
    /// `progress` is told the bytes given.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when the range does not lie within the blob.
    pub fn get(
        &self,
        name: &BlobName,
        range: Option<Range<u64>>,
        sink: &mut (dyn Write + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<BlobInfo, ResourceError> {
        let blob = self.open_blob(name)?;
        let size = blob.entry.size;
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            return Err(ResourceError::Usage(format!(
                "bytes {} to {} do not lie within {name}, which has {size} bytes",
                range.start, range.end
            )));
        }
        self.read(&blob, range, sink, progress)?;
        self.blob_info(blob.entry)
    }

    pub(super) fn find(&self, name: &BlobName) -> Result<(Entry, Manifest), ResourceError> {
        let found = self.catalog.find(name)?;
        let (entry, bytes) = found.ok_or_else(|| ResourceError::NotFound(name.to_string()))?;
        let manifest = match &self.keys {
            None => Manifest::parse(&bytes).ok_or(TagMismatch),
            Some(keys) => (keys.account())
                .with_key(|key| Manifest::open(&bytes, key, self.id, entry.generation, name))?,
        };
        let unauthentic = || unauthentic(self.catalog.path());
        let manifest = manifest.map_err(|TagMismatch| unauthentic())?;
        let listed = (entry.size, entry.created_micros, entry.extents);
        if listed
            != (
                manifest.size,
                manifest.created_micros,
                manifest.extents.len() as u64,
            )
        {
            return Err(unauthentic());
        }
        Ok((entry, manifest))
    }

    /// Opens the files of all extents of a blob, so that a put or delete meanwhile cannot pull them
    /// away.
    pub(super) fn open_blob(&self, name: &BlobName) -> Result<OpenBlob, ResourceError> {
        let mut tried = None;
        loop {
            let (entry, manifest) = self.find(name)?;
            let ids = manifest.extents.iter().map(|e| e.id);
            let files: Option<Vec<File>> = ids
                .map(|id| self.extents.open(id))
                .collect::<Result<_, _>>()?;
            match files {
                Some(files) => {
                    return Ok(OpenBlob {
                        entry,
                        manifest,
                        files,
                    });
                }
                // Replaced since the catalog was read: read it again.
                None if tried != Some(entry.generation) => tried = Some(entry.generation),
                None => return Err(unauthentic(self.extents.dir())),
            }
        }
    }

    /// Gives the bytes `range`, which must lie within the blob, to `sink`.
    pub(super) fn read(
        &self,
        blob: &OpenBlob,
        range: Range<u64>,
        sink: &mut (dyn Write + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ResourceError> {
        let allowed = self.permission()?;
        let (mut start, mut done) = (0, 0);
        for (extent, file) in blob.manifest.extents.iter().zip(&blob.files) {
            let end = start + extent.len;
            let within = range.start.max(start)..range.end.min(end);
            // An empty range still authenticates the chunk that it points at.
            if within.start < within.end || (range.is_empty() && within.start == within.end) {
                let path = self.extents.path(extent.id);
                let generation = self.generation_key(&blob.manifest, extent, &path)?;
                let reader = ExtentReader::open(file, &path, self.id, extent, generation.as_ref())?;
                let within = within.start - start..within.end - start;
                reader.read(within, sink, &allowed, &mut |given| {
                    done += given;
                    progress(done);
                })?;
            }
            start = end;
        }
        Ok(())
    }

    /// The key that an extent is sealed under; `None` in a plain account.
    fn generation_key(
        &self,
        manifest: &Manifest,
        extent: &Extent,
        path: &Path,
    ) -> Result<Option<GenerationKey>, ResourceError> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let unwrapped = keys.account().with_key(|key| {
            let generation = manifest.generation_of(extent).ok_or(TagMismatch)?;
            GenerationKey::unwrap(generation, key, self.id)
        })?;
        unwrapped.map(Some).map_err(|TagMismatch| unauthentic(path))
    }

    /// Asks for leave to use the account key, now; what it returns asks again, and fails once the
    /// key was lost in between.
    fn permission(&self) -> Result<impl Fn() -> Result<(), ResourceError>, ResourceError> {
        let key = self.keys.as_ref().map(|keys| keys.account());
        let number = key.map(|key| key.check()).transpose()?;
        Ok(move || match key {
            Some(key) if Some(key.check()?) != number => Err(ResourceError::KeyUnavailable {
                path: self.dir.display().to_string(),
                why: "it was revoked during the transfer".to_owned(),
            }),
            _ => Ok(()),
        })
    }
}
