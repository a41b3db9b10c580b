use rusqlite::Connection;

use crate::resource::ResourceError;
use crate::resource::blob::attributes::Conditions;
use crate::resource::blob::{BlobPath, Snapshot};

use super::blobs::{ITSELF, allowed, insert, names, required};
use super::{Catalog, Entry, Refused};

impl Catalog {
    /// When the newest snapshot of the blob at `path` was taken.
    pub(in crate::resource::blob) fn newest_snapshot(
        &self,
        path: &BlobPath,
    ) -> Result<Option<Snapshot>, ResourceError> {
        self.read(|c| newest_snapshot(c, path))
    }

    /// Keeps `entry`, with its manifest, as a snapshot of `of`, with the extents of that. Gives the entry as
    /// it was written; or nothing, when the blob is not in the state `of` any more, or has a newer snapshot.
    pub(in crate::resource::blob) fn take_snapshot(
        &self,
        of: &Entry,
        entry: Entry,
        manifest: &[u8],
        is_new_state: bool,
        conditions: &Conditions,
    ) -> Result<Option<Entry>, ResourceError> {
        self.write_unless_outdated(|c| {
            let now = required(c, (&of.path).into())?;
            allowed(Some(&now), (&of.path).into(), conditions, false, self.now())?;
            let newest = newest_snapshot(c, &of.path)?;
            if now.etag != of.etag || newest >= entry.snapshot {
                return Err(Refused::Outdated);
            }
            let mut entry = entry.clone();
            if is_new_state {
                (entry.etag, entry.modified_micros) = self.next_change(c)?;
            }
            insert(c, &entry, manifest)?;
            c.prepare_cached(
                "INSERT INTO extents SELECT id, ?2 FROM extents WHERE generation = ?1",
            )?
            .execute((of.generation.as_bytes(), entry.generation.as_bytes()))?;
            c.prepare_cached(
                "INSERT INTO block_lists SELECT ?2, blocks FROM block_lists WHERE generation = ?1",
            )?
            .execute((of.generation.as_bytes(), entry.generation.as_bytes()))?;
            Ok(entry)
        })
    }
}

pub(super) fn newest_snapshot(
    c: &Connection,
    path: &BlobPath,
) -> Result<Option<Snapshot>, Refused> {
    let [container, name] = names(path);
    let newest: Option<i64> = c
        .prepare_cached(
            "SELECT max(snapshot) FROM blobs WHERE container = ?1 AND name = ?2 AND snapshot < ?3",
        )?
        .query_row((container, name, ITSELF), |row| row.get(0))?;
    newest
        .map(|micros| Snapshot::from_micros(micros).ok_or(Refused::Malformed))
        .transpose()
}
