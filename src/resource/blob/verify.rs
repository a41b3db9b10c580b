use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::base::GenerationId;
use crate::resource::{ResourceError, Verified};

use super::account::unauthentic;
use super::attributes::Etag;
use super::blocks::Staged;
use super::change::TRIES;
use super::encryption::second_layer;
use super::extent::chunk_count;
use super::manifest::Manifest;
use super::ring::joined;
use super::unread::{LeftOut, Unread};
use super::{
    BlobInfo, BlobPath, BlockId, Conditions, Encryption, ExtentReader, StorageAccount, UnderKey,
};

/// Bytes of a blob that are verified in one go: a long one is shared out, too.
const PIECE_LEN: u64 = 64 << 20;

/// More read the disk no faster, and each takes memory.
const WORKERS_MAX: usize = 8;

/// Part of a blob or snapshot.
struct Piece<'a> {
    /// Which of the blobs that were listed.
    at: usize,
    blob: &'a BlobInfo,
    range: Range<u64>,
}

/// A row of the catalog, as far as a verdict depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    generation: GenerationId,
    /// `None` of a block, which never changes.
    etag: Option<Etag>,
    under: UnderKey,
}

/// What was found of a blob or block.
enum Found<T> {
    Read(T),
    Unread(Unread),
    /// It is not there any more.
    Gone,
}

/// What one worker has read, and which blobs it could not.
#[derive(Default)]
struct Share {
    units: u64,
    bytes: u64,
    unread: Vec<(usize, Unread)>,
}

impl StorageAccount {
    /// Reads and authenticates every manifest and every chunk, the blobs' in parallel, as
    /// [`ProtectedResource::verify`](crate::resource::ProtectedResource::verify) of an account says.
    pub(super) fn verify_data(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, ResourceError> {
        let mut verified = self.verify_blobs(progress)?;
        for (path, id) in self.catalog.all_staged()? {
            match self.verify_block(&path, &id)? {
                Found::Read(size) => {
                    verified.units += 1 + chunk_count(size);
                    verified.bytes += size;
                }
                Found::Unread(why) => LeftOut::block(why).add_to(&mut verified.left_out),
                Found::Gone => {}
            }
        }
        Ok(verified)
    }

    fn verify_blobs(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, ResourceError> {
        let blobs = self.blobs()?;
        let total = blobs.iter().map(|b| b.size).sum();
        let pieces: Vec<Piece<'_>> = blobs.iter().enumerate().flat_map(pieces).collect();
        let next = AtomicUsize::new(0);
        let (told, news) = channel();
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers.clamp(1, WORKERS_MAX))
                .map(|_| {
                    let told = told.clone();
                    let (pieces, next) = (&pieces, &next);
                    scope.spawn(move || {
                        let mut share = Share::default();
                        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let found = self.verify_piece(piece, &told).inspect_err(|_| {
                                // The others need not go on.
                                next.store(pieces.len(), Ordering::Relaxed);
                            })?;
                            match found {
                                Found::Read((units, bytes)) => {
                                    share.units += units;
                                    share.bytes += bytes;
                                }
                                Found::Unread(why) => share.unread.push((piece.at, why)),
                                Found::Gone => {}
                            }
                        }
                        Ok::<_, ResourceError>(share)
                    })
                })
                .collect();
            drop(told);
            let mut done = 0;
            for bytes in news {
                done += bytes;
                progress(done, total);
            }
            let mut all = Verified::default();
            // A blob is left out once, however many of its pieces are.
            let mut unread = BTreeMap::new();
            for worker in workers {
                let share = joined(worker)?;
                all.units += share.units;
                all.bytes += share.bytes;
                unread.extend(share.unread);
            }
            for why in unread.into_values() {
                LeftOut::blob(why).add_to(&mut all.left_out);
            }
            Ok(all)
        })
    }

    /// Units and bytes of a piece.
    fn verify_piece(
        &self,
        piece: &Piece<'_>,
        told: &Sender<u64>,
    ) -> Result<Found<(u64, u64)>, ResourceError> {
        let path = piece.blob.path();
        let at = piece.blob.at(&path);
        let row = || match self.catalog.entry(at) {
            Ok(entry) => Ok(Some(Row {
                generation: entry.generation,
                etag: Some(entry.etag),
                under: entry.under,
            })),
            Err(ResourceError::NotFound(_) | ResourceError::NoContainer(_)) => Ok(None),
            Err(e) => Err(e),
        };
        let mut before = 0;
        let found = self.settle(row, || {
            // It may have been replaced by a shorter one since it was listed.
            let mut within = |now: &BlobInfo| {
                let end = piece.range.end.min(now.size);
                Ok(piece.range.start.min(end)..end)
            };
            let (any, encryption) = (Conditions::default(), Encryption::default());
            let reader = self.reader(at, encryption, &any, &mut within)?;
            reader.read(&mut io::sink(), &mut |done| {
                let _ = told.send(done.saturating_sub(before));
                before = before.max(done);
            })?;
            let mut units = 0;
            if piece.range.start == 0 {
                reader.check_block_list()?;
                units = 1 + reader.chunks();
            }
            Ok((units, reader.range().end - reader.range().start))
        })?;
        let rest = piece.range.end - piece.range.start;
        let _ = told.send(rest.saturating_sub(before));
        Ok(found)
    }

    /// Bytes of a block that is not committed.
    fn verify_block(&self, path: &BlobPath, id: &BlockId) -> Result<Found<u64>, ResourceError> {
        let row = || {
            let found = self.catalog.staged_block(path, id)?;
            Ok(found.map(|(block, _)| Row {
                generation: block.generation,
                etag: None,
                under: block.under,
            }))
        };
        self.settle(row, || {
            let staged = self.staged(path, id, Encryption::default())?;
            let gone = || ResourceError::NotFound(format!("{path}, block {id}"));
            let Staged {
                extent,
                generation,
                key,
            } = staged.ok_or_else(gone)?;
            let _there = match self.extents.stay_while_open() {
                true => None,
                false => Some(self.extents.keep_all()?),
            };
            let file = self.extents.open(&extent)?;
            let place = self.extents.path(extent.id);
            let file = file.ok_or_else(|| unauthentic(&place))?;
            let manifest = Manifest {
                generations: generation.into_iter().collect(),
                ..Manifest::new(0, Vec::new())
            };
            let generation = self.generation_key(&manifest, &extent, key.as_ref(), &place)?;
            let allowed = self.permission(key.as_ref())?;
            let (generation, second) = (generation.as_ref(), second_layer(key.as_ref())?);
            ExtentReader::open(
                &*file,
                &place,
                self.id,
                &extent,
                generation,
                second.as_ref(),
            )?
            .read(0..extent.len, &mut io::sink(), &allowed, &mut |_| ())?;
            Ok(extent.len)
        })
    }

    /// Reads what `row` tells of until it is read or its row stays as it was: others write meanwhile, and
    /// what does not fit a row that was replaced since proves nothing.
    fn settle<T>(
        &self,
        row: impl Fn() -> Result<Option<Row>, ResourceError>,
        mut read: impl FnMut() -> Result<T, ResourceError>,
    ) -> Result<Found<T>, ResourceError> {
        let mut before = row()?;
        for _ in 0..TRIES {
            let Some(then) = before else {
                return Ok(Found::Gone);
            };
            let error = match read() {
                Ok(done) => return Ok(Found::Read(done)),
                Err(e) => e,
            };
            before = row()?;
            if before == Some(then)
                && let Some(why) = self.unread(then.under, error)?
            {
                return Ok(Found::Unread(why));
            }
        }
        Err(self.busy())
    }

    /// Why what is under `under` was not read, when `error` is no more than that; `None` when it should be tried again,
    /// because its key can be used now.
    fn unread(
        &self,
        under: UnderKey,
        error: ResourceError,
    ) -> Result<Option<Unread>, ResourceError> {
        match (&error, under) {
            (ResourceError::Encryption { .. }, UnderKey::Provided(_)) => {
                return Ok(Some(Unread::CustomerProvidedKey));
            }
            (ResourceError::ScopeDisabled(_) | ResourceError::KeyUnavailable { .. }, _) => {}
            _ => return Err(error),
        }
        let refused = match self.check_key(under) {
            Ok(()) => return Ok(None),
            Err(e) => e,
        };
        let UnderKey::Scope(id) = under else {
            return Err(refused);
        };
        let scope = self.catalog.scope_of(id)?.name;
        match refused {
            ResourceError::ScopeDisabled(_) => Ok(Some(Unread::ScopeDisabled { scope })),
            ResourceError::KeyUnavailable { why: reason, .. } => {
                Ok(Some(Unread::KeyUnavailable { scope, reason }))
            }
            other => Err(other),
        }
    }
}

/// At least one, so that an empty blob is authenticated, too.
fn pieces((at, blob): (usize, &BlobInfo)) -> impl Iterator<Item = Piece<'_>> {
    let count = blob.size.div_ceil(PIECE_LEN).max(1);
    (0..count).map(move |piece| Piece {
        at,
        blob,
        range: piece * PIECE_LEN..((piece + 1) * PIECE_LEN).min(blob.size),
    })
}
