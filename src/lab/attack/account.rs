use std::io::Read;
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::base::{ResourceId, create_dir_private};
use crate::crypto::{TAG_LEN, random_id};
use crate::lab::theft::{duplicate, list, read_at};
use crate::lab::{LabError, StolenCopy};
use crate::resource::blob::{
    Attributes, BlobName, BlobPath, CHUNK_LEN, Conditions, Encryption, ExtentHeader, Layers, Slot,
    StorageAccount, extents_in,
};
use crate::resource::{Protection, ResourceError, Wrapper};

use super::alter::{patched, read_all};
use super::bout::{Reading, error_text};
use super::vault::Arm;

/// A storage account under attack: a specimen, or part of a copy of a stolen one.
pub(super) struct Account {
    pub dir: PathBuf,
    pub id: ResourceId,
    pub protection: Protection,
    pub wrapper: Wrapper,
}

/// A blob of a specimen.
pub(super) struct Blob {
    pub path: BlobPath,
    pub bytes: Vec<u8>,
    /// The file that holds its bytes.
    pub extent: PathBuf,
}

/// Where an extent lies.
pub(super) struct Place {
    pub file: PathBuf,
    /// Which bytes of it.
    pub bytes: Range<u64>,
}

impl Place {
    pub(super) fn is_there(&self) -> Result<bool, LabError> {
        let found = in_file(&self.file)?;
        Ok(found.iter().any(|place| place.bytes == self.bytes))
    }
}

impl Account {
    /// An empty specimen.
    pub(super) fn specimen(dir: &Path, arm: &Arm) -> Result<Self, LabError> {
        Self::specimen_of(dir, arm, Layers::One)
    }

    /// The same, whose extents have so many layers.
    pub(super) fn specimen_of(dir: &Path, arm: &Arm, layers: Layers) -> Result<Self, LabError> {
        let id = random_id(ResourceId::from_bytes);
        let protection = arm.protection.clone();
        let service = arm.service_key();
        let (of, service) = (protection.clone(), service.as_ref());
        StorageAccount::create_with(dir, id, of, service, &arm.wrapper, layers, None)?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
            protection,
            wrapper: arm.wrapper.clone(),
        })
    }

    /// Part of a stolen account: everything but the extents, and of those up to `wanted`, short ones
    /// first by a draw of the lot, with all that lies in the same files. Returns the extents taken.
    pub(super) fn copy_some(
        stolen: &StolenCopy,
        owner: &Wrapper,
        dir: &Path,
        rng: &mut ChaCha8Rng,
        wanted: usize,
    ) -> Result<(Self, Vec<Place>), LabError> {
        /// Longer extents are left alone: each trial reads a whole blob.
        const LONGEST: u64 = 8 << 20;
        let copy = dir.join("copy");
        create_dir_private(&copy.join("extents")).map_err(|e| LabError::io(&copy, e))?;
        for path in list(&stolen.path)? {
            if path.is_file() {
                duplicate(&path, &copy)?;
            }
        }
        let mut extents = places(&stolen.path)?;
        extents.retain(|place| place.bytes.end - place.bytes.start <= LONGEST);
        let mut taken: Vec<Place> = Vec::new();
        while taken.len() < wanted && !extents.is_empty() {
            let place = extents.swap_remove(rng.random_range(0..extents.len()));
            let file = copy
                .join("extents")
                .join(place.file.file_name().unwrap_or_default());
            if !file.exists() {
                duplicate(&place.file, &copy.join("extents"))?;
            }
            taken.push(Place { file, ..place });
        }
        let account = Self {
            dir: copy,
            id: stolen.id,
            protection: stolen.protection.clone(),
            wrapper: owner.clone(),
        };
        Ok((account, taken))
    }

    /// The same account, as it is now, in another directory.
    pub(super) fn fork(&self, dir: &Path) -> Result<Self, LabError> {
        Ok(Self {
            dir: duplicate(&self.dir, dir)?,
            id: self.id,
            protection: self.protection.clone(),
            wrapper: self.wrapper.clone(),
        })
    }

    pub(super) fn open(&self) -> Result<StorageAccount, ResourceError> {
        StorageAccount::open(&self.dir, self.id, self.protection.clone(), &self.wrapper)
    }

    /// Puts a blob, or a new version of it.
    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<Blob, LabError> {
        let name = BlobName::parse(name).expect("the lab's names are blob names");
        let path = BlobPath::in_default(name);
        let before = self.files()?;
        let account = self.open()?;
        account.put(&path, &mut &bytes[..], &mut |_| ())?;
        let new = self.files()?.into_iter().find(|e| !before.contains(e));
        let extent = new.ok_or_else(|| {
            LabError::io(&self.dir, std::io::Error::other("a put made no extent"))
        })?;
        Ok(Blob {
            path,
            bytes,
            extent,
        })
    }

    /// Puts blobs at the same time, so that they share a file, and says which bytes of it are each one's slot: none ends
    /// before all are written.
    pub(super) fn put_together(
        &self,
        blobs: Vec<(String, Vec<u8>)>,
    ) -> Result<Vec<(Blob, Range<usize>)>, LabError> {
        let (account, count) = (self.open()?, blobs.len());
        let (begun, all) = &(Barrier::new(count), Barrier::new(count));
        let put = |(name, bytes): (String, Vec<u8>)| -> Result<Blob, LabError> {
            let name = BlobName::parse(&name).expect("the lab's names are blob names");
            let path = BlobPath::in_default(name);
            let mut said = || Ok(Attributes::default());
            let mut waited = false;
            let mut written = |_| {
                if !mem::replace(&mut waited, true) {
                    all.wait();
                }
            };
            let (any, under) = (Conditions::default(), Encryption::default());
            let mut source = Begun(Some(begun), &bytes);
            let put = account.put_with(&path, &mut source, under, &any, &mut said, &mut written);
            // The others wait for one that failed early.
            source.0.take().map(Barrier::wait);
            if !waited {
                all.wait();
            }
            put?;
            Ok(Blob {
                path,
                bytes,
                extent: PathBuf::new(),
            })
        };
        let before = self.extents()?;
        let put: Vec<Blob> = thread::scope(|scope| {
            let all = blobs.into_iter().map(|blob| scope.spawn(|| put(blob)));
            let all: Vec<_> = all.collect();
            let ended = all.into_iter();
            ended
                .map(|one| one.join().expect("a put does not panic"))
                .collect::<Result<_, _>>()
        })?;
        let mut places = self.extents()?;
        places.retain(|place| before.iter().all(|known| known.file != place.file));
        let mut found = Vec::new();
        // Which place is whose, the lengths do not say: each blob is read with one place zeroed.
        for mut blob in put {
            let mut own = None;
            for place in &places {
                let zeros =
                    vec![0; usize::try_from(place.bytes.end - place.bytes.start).unwrap_or(0)];
                let read = || self.read(&blob);
                let reading = patched(&place.file, &[(place.bytes.start, &zeros)], read)?;
                if !matches!(&reading, Reading::Data(data) if *data == blob.truth()) {
                    own = Some(place);
                }
            }
            let own = own.ok_or_else(|| {
                LabError::io(&self.dir, std::io::Error::other("a put made no extent"))
            })?;
            blob.extent.clone_from(&own.file);
            let at = |n: u64| usize::try_from(n).expect("a pack is short");
            found.push((
                blob,
                at(own.bytes.start) - Slot::HEAD_LEN..at(own.bytes.end),
            ));
        }
        Ok(found)
    }

    fn files(&self) -> Result<Vec<PathBuf>, LabError> {
        list(&self.dir.join("extents"))
    }

    /// Where the extents lie.
    pub(super) fn extents(&self) -> Result<Vec<Place>, LabError> {
        places(&self.dir)
    }

    /// Gets a blob and compares every byte with what was put, also of a part that came before an
    /// error: then wrong bytes left before they were authenticated, which counts as data.
    pub(super) fn read(&self, blob: &Blob) -> Reading {
        let mut got = Vec::new();
        let result = self
            .open()
            .and_then(|account| account.get(&blob.path, None, &mut got, &mut |_| ()));
        match result {
            Ok(_) => Reading::Data(hash(&got)),
            Err(e) if blob.bytes.starts_with(&got) => Reading::Refused(self.error(&e)),
            Err(_) => Reading::Data("wrong bytes, and then an error".to_owned()),
        }
    }

    /// The contents of the blobs that are as long as what `extent` holds: one of them is in it.
    pub(super) fn read_like(&self, size: u64) -> Reading {
        let read = || {
            let account = self.open()?;
            let mut all = Sha256::new();
            for blob in account.blobs()?.into_iter().filter(|b| b.size == size) {
                let mut got = Vec::new();
                match account.get(&blob.path(), None, &mut got, &mut |_| ()) {
                    // Its extent was not taken along.
                    Err(ResourceError::Unauthentic { path }) if path.ends_with("extents") => {}
                    Err(ResourceError::ScopeDisabled(_)) => {}
                    Err(e) => return Err(e),
                    Ok(_) => all.update(hash(&got)),
                }
            }
            Ok(hex::encode(all.finalize()))
        };
        match read() {
            Ok(data) => Reading::Data(data),
            Err(e) => Reading::Refused(self.error(&e)),
        }
    }

    fn error(&self, e: &ResourceError) -> String {
        error_text(e, &self.dir)
    }

    /// Length of an extent's header and of a whole chunk in its file, where it has one layer.
    pub(super) fn layout(&self) -> (usize, usize) {
        self.layout_of(&[])
    }

    /// The same of an extent that begins with these bytes: its header says how many layers it has.
    pub(super) fn layout_of(&self, sealed: &[u8]) -> (usize, usize) {
        let header = sealed.first_chunk().map(ExtentHeader::parse);
        let tags = match header {
            Some(Ok(header)) if header.layers == Layers::Two => 2 * TAG_LEN,
            _ => TAG_LEN,
        };
        match self.protection {
            Protection::Plain => (0, CHUNK_LEN),
            _ => (ExtentHeader::LEN, CHUNK_LEN + tags),
        }
    }

    /// How many bytes of a blob an extent holds.
    pub(super) fn blob_len(&self, extent: &Place) -> Result<u64, LabError> {
        let Range { start, end } = extent.bytes;
        let (header, chunk) = self.layout_of(&read_at(&extent.file, start, ExtentHeader::LEN)?);
        let body = (end - start).saturating_sub(header as u64);
        Ok(body - body.div_ceil(chunk as u64) * (chunk - CHUNK_LEN) as u64)
    }
}

impl Blob {
    /// What reading it gives, unaltered.
    pub(super) fn truth(&self) -> String {
        hash(&self.bytes)
    }

    /// The bytes of its extent.
    pub(super) fn sealed(&self) -> Result<Vec<u8>, LabError> {
        read_all(&self.extent)
    }
}

/// Bytes that are not read before all are about to be.
struct Begun<'a>(Option<&'a Barrier>, &'a [u8]);

impl Read for Begun<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map(Barrier::wait);
        self.1.read(buffer)
    }
}

/// Where the extents of the account in `dir` lie.
fn places(dir: &Path) -> Result<Vec<Place>, LabError> {
    let mut places = Vec::new();
    for file in list(&dir.join("extents"))? {
        places.extend(in_file(&file)?);
    }
    Ok(places)
}

/// Those in one file; none when it is gone.
fn in_file(file: &Path) -> Result<Vec<Place>, LabError> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let found = extents_in(file).map_err(|e| LabError::io(file, e))?;
    let place = |(_, bytes)| Place {
        file: file.to_owned(),
        bytes,
    };
    Ok(found.into_iter().map(place).collect())
}

/// Text of `len` bytes that no other variant has a line of.
pub(super) fn text(variant: u32, len: usize) -> Vec<u8> {
    let lines = (0u32..).flat_map(|i| format!("{variant:04} invoice line {i}\n").into_bytes());
    lines.take(len).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(crate::crypto::sha256(&[bytes]))
}
