use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::base::{ExtentId, KeyRef, ResourceId, create_dir_private};
use crate::crypto::{TagMismatch, random_id};
use crate::envelope::Envelope;
use crate::resource::{Protection, ResourceError, Wrapper};

use super::catalog::{Catalog, Entry};
use super::key::AccountKeys;
use super::manifest::{Extent, Manifest};
use super::store::ExtentStore;
use super::writer::write_extent;
use super::{AccountHeader, BlobName, ExtentCipher, ExtentReader, GenerationKey};

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobInfo {
    /// Its name.
    pub name: BlobName,
    /// Its length, in bytes.
    pub size: u64,
    /// When it was put.
    pub created: Timestamp,
    /// How many extents hold its bytes.
    pub extents: u64,
}

/// A storage account: a directory of blobs, plain or protected.
///
/// Its methods may be called from several threads at once, and several processes may have it open.
/// Reads and writes of blobs fail once the vault refuses the account's key, also in the middle of
/// a transfer; [`StorageAccount::list`] and [`StorageAccount::delete`] go on, as they do in Azure,
/// because they need the catalog's key only.
pub struct StorageAccount {
    pub(super) dir: PathBuf,
    pub(super) id: ResourceId,
    pub(super) protection: Protection,
    /// `None` in a plain account.
    pub(super) keys: Option<AccountKeys>,
    pub(super) catalog: Catalog,
    pub(super) extents: ExtentStore,
}

impl StorageAccount {
    /// Makes an empty account in `dir`, which must not exist or be empty. A protected one gets two
    /// new random keys: the account key, wrapped by the protection's key, and the catalog's, wrapped
    /// by `service_key`. Without a service key a service-managed account uses its own for both.
    ///
    /// # Errors
    /// [`ResourceError::Exists`] when `dir` holds anything; [`ResourceError::KeyUnavailable`] when
    /// the vault does not wrap; [`ResourceError::Usage`] when a customer-managed account is given no
    /// service key.
    pub fn create(
        dir: &Path,
        id: ResourceId,
        protection: Protection,
        service_key: Option<&KeyRef>,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        let failed = |e| ResourceError::io(dir, e);
        if dir.exists() && fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(ResourceError::Exists(dir.display().to_string()));
        }
        let service_key = match (&protection, service_key) {
            (Protection::CustomerManaged { .. }, None) => {
                return Err(ResourceError::Usage(
                    "a customer-managed storage account needs a service key for its catalog".into(),
                ));
            }
            (_, Some(given)) => Some(given),
            (_, None) => protection.key(),
        };
        let wrapped_by = protection.key().zip(service_key);
        let header = wrapped_by
            .map(|(account, catalog)| AccountHeader::generate(id, account, catalog, wrapper))
            .transpose()
            .map_err(|e| ResourceError::vault(&dir.display().to_string(), e))?;
        create_dir_private(dir).map_err(failed)?;
        let extents = ExtentStore::new(dir.join(EXTENTS));
        extents.create()?;
        let keys = match header {
            None => None,
            Some(header) => {
                let path = dir.join(HEADER);
                header.write(&path)?;
                Some(AccountKeys::new(&path, id, wrapper))
            }
        };
        let catalog = Catalog::create(&dir.join(CATALOG), id, keys.as_ref().map(|k| k.catalog()))?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog,
            extents,
        })
    }

    /// Opens the account in `dir`, which must be the resource `id`, and removes what an interrupted
    /// put left behind. This needs the catalog's key only: an account whose customer key is refused
    /// opens, lists and deletes, and nothing else.
    ///
    /// # Errors
    /// [`ResourceError::NotFound`]; [`ResourceError::Format`]; [`ResourceError::Unauthentic`] when
    /// it is another resource's, or was altered; [`ResourceError::KeyUnavailable`] when the catalog's
    /// key is refused; [`ResourceError::Usage`] when a protected account is opened as a plain one.
    pub fn open(
        dir: &Path,
        id: ResourceId,
        mut protection: Protection,
        wrapper: &Wrapper,
    ) -> Result<Self, ResourceError> {
        let header = dir.join(HEADER);
        let keys = match &mut protection {
            Protection::Plain if header.exists() => {
                return Err(ResourceError::Usage(format!(
                    "{}: the storage account is protected; open it with its key",
                    dir.display()
                )));
            }
            Protection::Plain => None,
            Protection::ServiceManaged { key } | Protection::CustomerManaged { key } => {
                // The header is the truth: a rewrap may have ended before its caller noted it.
                *key = AccountHeader::read(&header)?.account.key.key();
                Some(AccountKeys::new(&header, id, wrapper))
            }
        };
        let catalog = Catalog::open(&dir.join(CATALOG), id, keys.as_ref().map(|k| k.catalog()))?;
        let extents = ExtentStore::new(dir.join(EXTENTS));
        extents.collect_garbage(|extent| catalog.refers_to(extent))?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            keys,
            catalog,
            extents,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The wrapped account key as it is now; `None` in a plain account, and when its file does not
    /// read.
    pub fn envelope(&self) -> Option<Envelope> {
        let keys = self.keys.as_ref()?;
        Some(keys.header().ok()?.account)
    }

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

    /// The blobs whose names start with `prefix`, in the order of their names' bytes. Needs the
    /// catalog's key only.
    pub fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, ResourceError> {
        let entries = self.catalog.list(prefix)?;
        entries.into_iter().map(|e| self.blob_info(e)).collect()
    }

    /// What is known of the blob `name`. Needs the account key: the manifest is authenticated.
    pub fn info(&self, name: &BlobName) -> Result<BlobInfo, ResourceError> {
        let (entry, _) = self.find(name)?;
        self.blob_info(entry)
    }

    /// Removes the blob `name` for good: its key goes with its manifest. Needs the catalog's key
    /// only.
    pub fn delete(&self, name: &BlobName) -> Result<(), ResourceError> {
        let removed = self.catalog.remove(name)?;
        let extents = removed.ok_or_else(|| ResourceError::NotFound(name.to_string()))?;
        self.extents.remove(&extents);
        Ok(())
    }

    fn find(&self, name: &BlobName) -> Result<(Entry, Manifest), ResourceError> {
        let found = self.catalog.find(name)?;
        let (entry, bytes) = found.ok_or_else(|| ResourceError::NotFound(name.to_string()))?;
        let manifest = match &self.keys {
            None => Manifest::parse(&bytes).ok_or(TagMismatch),
            Some(keys) => (keys.account())
                .with_key(|key| Manifest::open(&bytes, key, self.id, entry.generation, name))?,
        };
        let unauthentic = || unauthentic(&self.dir.join(CATALOG));
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
                None => return Err(unauthentic(&self.dir.join(EXTENTS))),
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

    fn blob_info(&self, entry: Entry) -> Result<BlobInfo, ResourceError> {
        let created = Timestamp::from_microsecond(entry.created_micros);
        Ok(BlobInfo {
            name: entry.name,
            size: entry.size,
            created: created.map_err(|_| unauthentic(&self.dir.join(CATALOG)))?,
            extents: entry.extents,
        })
    }
}

fn unauthentic(path: &Path) -> ResourceError {
    ResourceError::Unauthentic {
        path: path.display().to_string(),
    }
}

/// A blob whose manifest is authentic, with its extents' files.
pub(super) struct OpenBlob {
    pub entry: Entry,
    pub manifest: Manifest,
    pub files: Vec<File>,
}

const HEADER: &str = "account.atrest";
const CATALOG: &str = "catalog.db";
const EXTENTS: &str = "extents";
