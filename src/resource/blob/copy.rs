use std::collections::HashMap;

use crate::base::ExtentId;
use crate::resource::ResourceError;

use super::account::unauthentic;
use super::attributes::{Attributes, Conditions};
use super::blocks::listed;
use super::catalog::Known;
use super::change::TRIES;
use super::content::{attributes_of, new_entry};
use super::encryption::{BlobKey, same_key};
use super::manifest::{Extent, Generation, Manifest, Subject};
use super::pipe::piped;
use super::sealing::Found;
use super::{
    BlobAt, BlobInfo, BlobPath, BlobReader, BlobStatus, Encryption, GenerationKey, Refusal,
    StorageAccount,
};

/// What is copied.
#[derive(Clone, Copy)]
pub struct CopySource<'a> {
    /// Of which account.
    pub account: &'a StorageAccount,
    /// Which blob or snapshot.
    pub blob: BlobAt<'a>,
    /// In which state it must be.
    pub conditions: &'a Conditions,
    /// Which key it is under.
    pub encryption: Encryption<'a>,
}

/// Extents on their way from one account to another.
#[derive(Default)]
struct Moving {
    /// Where those are by now that several blobs refer to, so that they share them there, too.
    shared: HashMap<ExtentId, Moved>,
    /// What was written for the blob that is under way.
    written: Vec<ExtentId>,
}

#[derive(Clone)]
struct Moved {
    id: ExtentId,
    /// `None` in a plain account.
    generation: Option<Generation>,
}

/// What is said of a copy, from what is known and said of its source.
type Said<'a> =
    dyn FnMut(&BlobInfo, Attributes) -> Result<(Attributes, BlobStatus), ResourceError> + 'a;

impl<'a> CopySource<'a> {
    /// What the source refused, told from what the copy's own place refuses.
    fn refused(error: ResourceError) -> ResourceError {
        match error {
            ResourceError::NotFound(_) | ResourceError::NoContainer(_) => {
                Refusal::SourceMissing.into()
            }
            ResourceError::ConditionNotMet { .. }
            | ResourceError::Exists(_)
            | ResourceError::Refused(
                Refusal::LeaseIdMismatch | Refusal::LeaseNotPresent | Refusal::LeaseLost,
            ) => Refusal::SourceConditionNotMet.into(),
            other => other,
        }
    }

    fn find(&self) -> Result<(BlobInfo, Manifest, Option<BlobKey<'a>>), ResourceError> {
        let found = self.account.find(self.blob, self.encryption);
        let Found {
            entry,
            manifest,
            key,
        } = found.map_err(Self::refused)?;
        let met = self.account.catalog.may_read(&entry, self.conditions);
        met.map_err(Self::refused)?;
        Ok((self.account.blob_info(entry)?, manifest, key))
    }

    /// Begins to read all of it, or the part that `choose` says.
    ///
    /// # Errors
    /// [`Refusal::SourceMissing`], [`Refusal::SourceConditionNotMet`]; what `choose` says.
    pub fn reader(
        &self,
        choose: &mut dyn FnMut(&BlobInfo) -> Result<std::ops::Range<u64>, ResourceError>,
    ) -> Result<BlobReader<'a>, ResourceError> {
        let (account, encryption) = (self.account, self.encryption);
        let reader = account.reader(self.blob, encryption, self.conditions, choose);
        reader.map_err(Self::refused)
    }
}

impl StorageAccount {
    /// Makes the blob at `into` a copy of `source` under the key that `encryption` says, with what `said` says of it, if the blob that is there
    /// meets `conditions`. Within the account no byte of the content is read: the copy lists the same
    /// extents, and the keys of their generations. From another account each extent is opened, and sealed
    /// anew under a key of this one; and so of an append blob when the copy is under another key, and when only one
    /// of the two is sealed twice.
    ///
    /// # Errors
    /// [`Refusal::SourceMissing`], [`Refusal::SourceConditionNotMet`], [`ResourceError::ConditionNotMet`].
    pub fn copy(
        &self,
        source: &CopySource<'_>,
        into: &BlobPath,
        encryption: Encryption<'_>,
        conditions: &Conditions,
        said: &mut Said<'_>,
    ) -> Result<BlobInfo, ResourceError> {
        let key = self.new_blob_key(&into.container, encryption)?;
        let key = key.as_ref();
        match source.account.id == self.id && source.account.dir == self.dir {
            true => self.share(source, into, key, conditions, said),
            false => self.transplant(source, into, key, conditions, said),
        }
    }

    fn share(
        &self,
        source: &CopySource<'_>,
        into: &BlobPath,
        key: Option<&BlobKey<'_>>,
        conditions: &Conditions,
        said: &mut Said<'_>,
    ) -> Result<BlobInfo, ResourceError> {
        for _ in 0..TRIES {
            self.catalog.check_put(into, conditions)?;
            let (info, mut manifest, of) = source.find()?;
            // The generation of an append blob is that of what is appended later, too, which is none of a copy's
            // under another key.
            let of = of.as_ref();
            let unlike = info.status.append && !same_key(of, key);
            if unlike || of.is_some_and(BlobKey::is_double) != key.is_some_and(BlobKey::is_double) {
                return self.transplant(source, into, key, conditions, said);
            }
            manifest.generations = self.wrapped_anew(manifest.generations, of, key)?;
            let copied =
                self.commit_copy(into, &info, manifest, key, Known::OfAny, conditions, said)?;
            if let Some(copy) = copied {
                return Ok(copy);
            }
        }
        Err(self.busy())
    }

    fn transplant(
        &self,
        source: &CopySource<'_>,
        into: &BlobPath,
        key: Option<&BlobKey<'_>>,
        conditions: &Conditions,
        said: &mut Said<'_>,
    ) -> Result<BlobInfo, ResourceError> {
        self.catalog.check_put(into, conditions)?;
        let reader = source.reader(&mut |blob| Ok(0..blob.size))?;
        let _no_collection = self.extents.no_collection()?;
        let mut moving = Moving::default();
        let mut copy = || {
            let manifest = self.sealed_anew(&reader, key, &mut moving, &mut |_| ())?;
            self.commit_copy(
                into,
                reader.info(),
                manifest,
                key,
                Known::New,
                conditions,
                said,
            )
        };
        let copied = copy();
        copied
            .and_then(|copied| copied.ok_or_else(|| unauthentic(self.catalog.path())))
            .inspect_err(|_| moving.written.iter().for_each(|id| self.give_up(*id)))
    }

    /// Takes over every blob and snapshot of `from` as it is, in constant memory but for what several of
    /// them share. `progress` is told bytes done and in all.
    pub fn take_over(
        &self,
        from: &StorageAccount,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ResourceError> {
        let blobs = from.blobs()?;
        let total = blobs.iter().map(|blob| blob.size).sum();
        let (mut done, mut moving) = (0, Moving::default());
        let _no_collection = self.extents.no_collection()?;
        for blob in blobs {
            let path = blob.path();
            let at = blob.at(&path);
            let any = Conditions::default();
            let encryption = Encryption::default();
            let reader = from.reader(at, encryption, &any, &mut |blob| Ok(0..blob.size))?;
            let key = self.new_blob_key(&path.container, encryption)?;
            let key = key.as_ref();
            moving.written.clear();
            let mut take = || {
                let mut manifest = self.sealed_anew(&reader, key, &mut moving, &mut |n| {
                    progress(done + n, total);
                })?;
                let info = reader.info();
                let said = attributes_of(info, &manifest);
                let mut entry = new_entry(&path, &manifest, key, &said);
                (entry.snapshot, entry.status) = (blob.snapshot, info.status.clone());
                manifest
                    .generations
                    .extend(self.own_generation(&entry, key)?);
                let sealed = self.seal_manifest(&manifest, entry.generation, key, at.subject())?;
                let (ids, list) = (manifest.extent_ids(), listed(&manifest));
                let replaced =
                    (self.catalog).replace(entry, &sealed, &list, &ids, Known::New, &any)?;
                replaced.ok_or_else(|| unauthentic(self.catalog.path()))
            };
            let taken = take();
            taken.inspect_err(|_| moving.written.iter().for_each(|id| self.give_up(*id)))?;
            done += blob.size;
        }
        Ok(())
    }

    /// The manifest of a blob that is read, whose extents are written anew for this account. `progress` is
    /// told the bytes written.
    fn sealed_anew(
        &self,
        reader: &BlobReader<'_>,
        under: Option<&BlobKey<'_>>,
        moving: &mut Moving,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Manifest, ResourceError> {
        let key = GenerationKey::random();
        let own = self.wrapped(&key, under)?.pop();
        let allowed = reader.account().permission(reader.key())?;
        let mut here: HashMap<ExtentId, Moved> = HashMap::new();
        let mut generations: Vec<Generation> = Vec::new();
        let (mut extents, mut done) = (Vec::new(), 0);
        for extent in &reader.manifest().extents {
            let known = here.get(&extent.id).or(moving.shared.get(&extent.id));
            let moved = match known {
                Some(moved) => moved.clone(),
                None => {
                    let id = piped(
                        |sink| {
                            reader.read_extent(extent, 0..extent.len, sink, &allowed, &mut |_| ())
                        },
                        |source| {
                            let mut told = |n| progress(done + n);
                            Ok(self.store(source, None, &key, under, &mut told)?.extent.id)
                        },
                    )?;
                    moving.written.push(id);
                    let moved = Moved {
                        id,
                        generation: own.clone(),
                    };
                    here.insert(extent.id, moved.clone());
                    if reader.account().catalog.is_shared(extent.id)? {
                        moving.shared.insert(extent.id, moved.clone());
                    }
                    moved
                }
            };
            done += extent.len;
            let place = moved.generation.map_or(0, |generation| {
                let same = |known: &Generation| known.id == generation.id;
                let place = generations.iter().position(same);
                place.unwrap_or_else(|| {
                    generations.push(generation);
                    generations.len() - 1
                })
            });
            extents.push(Extent {
                id: moved.id,
                generation: u32::try_from(place)
                    .expect("at most one for each blob that it shares with"),
                ..extent.clone()
            });
        }
        let old = reader.manifest();
        let mut manifest = Manifest::new(old.created_micros, extents);
        manifest.content_md5 = old.content_md5;
        manifest.metadata = old.metadata.clone();
        manifest.generations = generations;
        Ok(manifest)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what both kinds of copy have in common"
    )]
    fn commit_copy(
        &self,
        into: &BlobPath,
        source: &BlobInfo,
        mut manifest: Manifest,
        key: Option<&BlobKey<'_>>,
        known: Known,
        conditions: &Conditions,
        said: &mut Said<'_>,
    ) -> Result<Option<BlobInfo>, ResourceError> {
        let (attributes, status) = said(source, attributes_of(source, &manifest))?;
        manifest.created_micros = self.now().as_microsecond();
        manifest.metadata = attributes.metadata.clone();
        manifest.content_md5 = attributes.content_md5;
        let mut entry = new_entry(into, &manifest, key, &attributes);
        entry.status = status;
        manifest
            .generations
            .extend(self.own_generation(&entry, key)?);
        let sealed = self.seal_manifest(&manifest, entry.generation, key, Subject::Blob(into))?;
        let (list, extents) = (listed(&manifest), manifest.extent_ids());
        let replaced =
            (self.catalog).replace(entry, &sealed, &list, &extents, known, conditions)?;
        let Some((entry, unwanted)) = replaced else {
            return Ok(None);
        };
        self.discard(&unwanted);
        self.blob_info(entry).map(Some)
    }
}

impl BlobReader<'_> {
    /// Runs `take`, which reads the part to its end if it is to succeed. When it cannot be read, what `take`
    /// reads from fails, too.
    pub fn feed<T>(
        &self,
        take: impl FnOnce(&mut (dyn std::io::Read + Send)) -> Result<T, ResourceError>,
    ) -> Result<T, ResourceError> {
        piped(|sink| self.read(sink, &mut |_| ()), take)
    }
}
