use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::resource::{ResourceError, Verified};

use super::ring::joined;
use super::{BlobInfo, Conditions, Encryption, StorageAccount, UnderKey};

/// Bytes of a blob that are verified in one go: a long one is shared out, too.
const PIECE_LEN: u64 = 64 << 20;

/// More read the disk no faster, and each takes memory.
const WORKERS_MAX: usize = 8;

/// Part of a blob or snapshot.
struct Piece<'a> {
    blob: &'a BlobInfo,
    range: Range<u64>,
}

impl StorageAccount {
    /// Reads and authenticates every manifest and every chunk, in parallel, as
    /// [`ProtectedResource::verify`](crate::resource::ProtectedResource::verify) of an account says.
    pub(super) fn verify_blobs(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verified, ResourceError> {
        let blobs = self.blobs()?;
        let total = blobs.iter().map(|b| b.size).sum();
        let pieces: Vec<Piece<'_>> = blobs.iter().flat_map(pieces).collect();
        let next = AtomicUsize::new(0);
        let (told, news) = channel();
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers.clamp(1, WORKERS_MAX))
                .map(|_| {
                    let told = told.clone();
                    let (pieces, next) = (&pieces, &next);
                    scope.spawn(move || {
                        let mut all = Verified::default();
                        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let verified = self.verify_piece(piece, &told).inspect_err(|_| {
                                // The others need not go on.
                                next.store(pieces.len(), Ordering::Relaxed);
                            })?;
                            all.units += verified.units;
                            all.bytes += verified.bytes;
                        }
                        Ok::<_, ResourceError>(all)
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
            for worker in workers {
                let verified = joined(worker)?;
                all.units += verified.units;
                all.bytes += verified.bytes;
            }
            Ok(all)
        })
    }

    fn verify_piece(
        &self,
        piece: &Piece<'_>,
        told: &Sender<u64>,
    ) -> Result<Verified, ResourceError> {
        let path = piece.blob.path();
        // It may have been replaced by a shorter one since it was listed.
        let mut within = |now: &BlobInfo| {
            let end = piece.range.end.min(now.size);
            Ok(piece.range.start.min(end)..end)
        };
        let (any, encryption) = (Conditions::default(), Encryption::default());
        let reader = match self.reader(piece.blob.at(&path), encryption, &any, &mut within) {
            // Deleted since it was listed.
            Err(ResourceError::NotFound(_) | ResourceError::NoContainer(_))
            | Err(ResourceError::ScopeDisabled(_)) => return Ok(Verified::default()),
            reader => reader?,
        };
        let mut before = 0;
        reader.read(&mut io::sink(), &mut |done| {
            let _ = told.send(done - before);
            before = done;
        })?;
        let mut units = 0;
        if piece.range.start == 0 {
            reader.check_block_list()?;
            units = 1 + reader.chunks();
        }
        Ok(Verified {
            units,
            bytes: reader.range().end - reader.range().start,
        })
    }
}

/// At least one, so that an empty blob is authenticated, too; none of what is under a key that a client gives.
fn pieces(blob: &BlobInfo) -> impl Iterator<Item = Piece<'_>> {
    let count = match blob.under {
        UnderKey::Provided(_) => 0,
        _ => blob.size.div_ceil(PIECE_LEN).max(1),
    };
    (0..count).map(move |piece| Piece {
        blob,
        range: piece * PIECE_LEN..((piece + 1) * PIECE_LEN).min(blob.size),
    })
}
