use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::{ExtentId, GenerationId};
use crate::resource::ResourceError;
use crate::resource::blob::attributes::{Conditions, Etag, Pairs, Properties};
use crate::resource::blob::lease::Lease;
use crate::resource::blob::lease_rules::may;
use crate::resource::blob::manifest;
use crate::resource::blob::{
    BlobAt, BlobName, BlobPath, BlobStatus, Refusal, ScopeName, Snapshot, Snapshots, UnderKey,
};

use super::blocks::{forget_blocks, of_blocks};
use super::containers::exists;
use super::extents::{referred_to, unreferenced};
use super::leases::{LEASE, forget, lapse, lease};
use super::snapshots::newest_snapshot;
use super::{BAD_ROW, Catalog, Refused, get, get_count, get_json, to_json};

/// What the catalog says of a blob without the customer's key: what a list shows.
#[derive(Clone)]
pub(in crate::resource::blob) struct Entry {
    pub path: BlobPath,
    /// Which snapshot it is of; `None` for the blob itself.
    pub snapshot: Option<Snapshot>,
    pub generation: GenerationId,
    pub size: u64,
    /// How many extents it has.
    pub extents: u64,
    pub created_micros: i64,
    pub modified_micros: i64,
    pub etag: Etag,
    /// Which key its manifest is under.
    pub under: UnderKey,
    /// The name of the scope whose key that is.
    pub scope: Option<ScopeName>,
    pub properties: Properties,
    pub tags: Pairs,
    pub status: BlobStatus,
    /// The lease on the blob; none on a snapshot.
    pub lease: Option<Lease>,
}

/// What the column `snapshot` has for the blob itself, so that it comes after its snapshots.
pub(super) const ITSELF: i64 = i64::MAX;

/// What is done to an entry, and the manifest that it has then, if that changes.
type Change<'a> = dyn FnMut(&mut Entry) -> Result<Option<Vec<u8>>, ResourceError> + 'a;

pub(super) const COLUMNS: &str = "blobs.container, blobs.name, snapshot, generation, size, extents, created, modified, \
                       etag, properties, tags, status, substr(manifest, 1, 80), \
                       (SELECT scopes.name FROM scopes WHERE id = substr(manifest, 49, 16))";
/// One blob or snapshot, by the values of [`key`].
pub(super) const ONE: &str = "blobs.container = ?1 AND name = ?2 AND snapshot = ?3";
/// Where they are, with the lease.
pub(super) const FROM: &str = "blobs LEFT JOIN leases ON leases.container = blobs.container
                    AND leases.blob = blobs.name AND snapshot = 9223372036854775807";

impl Catalog {
    /// A blob or snapshot, with its manifest (sealed, or plain in a plain account).
    pub(in crate::resource::blob) fn find(
        &self,
        blob: BlobAt<'_>,
    ) -> Result<(Entry, Vec<u8>), ResourceError> {
        let sql = format!("SELECT {COLUMNS}, {LEASE}, manifest FROM {FROM} WHERE {ONE}");
        let found = self.run(|c| {
            c.prepare_cached(&sql)?
                .query_row(key(blob), |row| Ok((entry(row), row.get(18)?)))
                .optional()
        })?;
        match found {
            Some((Some(entry), manifest)) => Ok((entry, manifest)),
            Some((None, _)) => Err(self.malformed(BAD_ROW)),
            None => {
                self.container(&blob.path.container)?;
                Err(ResourceError::NotFound(blob.to_string()))
            }
        }
    }

    /// Refuses what [`Catalog::replace`] would refuse now.
    pub(in crate::resource::blob) fn check_put(
        &self,
        path: &BlobPath,
        conditions: &Conditions,
    ) -> Result<(), ResourceError> {
        self.read(|c| {
            exists(c, path)?;
            let now = current(c, path.into())?;
            allowed(now.as_ref(), path.into(), conditions, true, self.now())
        })
    }

    /// Refuses what would change the blob at `path`, which must be there.
    pub(in crate::resource::blob) fn check_change(
        &self,
        path: &BlobPath,
        conditions: &Conditions,
    ) -> Result<(), ResourceError> {
        self.read(|c| {
            let now = required(c, path.into())?;
            allowed(Some(&now), path.into(), conditions, true, self.now())
        })
    }

    /// Whether one who only reads may do so, who has `entry`.
    pub(in crate::resource::blob) fn may_read(
        &self,
        entry: &Entry,
        conditions: &Conditions,
    ) -> Result<(), ResourceError> {
        let at = BlobAt {
            path: &entry.path,
            snapshot: entry.snapshot,
        };
        allowed(Some(entry), at, conditions, false, self.now()).map_err(|e| self.refused(e))
    }

    /// What is known of a blob or snapshot without its manifest.
    pub(in crate::resource::blob) fn entry(
        &self,
        blob: BlobAt<'_>,
    ) -> Result<Entry, ResourceError> {
        self.read(|c| required(c, blob))
    }

    /// Changes what is said of a blob or snapshot. `change` is given the entry as it is in the
    /// transaction; the manifest that it returns, if any, must be of its generation.
    pub(in crate::resource::blob) fn change(
        &self,
        blob: BlobAt<'_>,
        conditions: &Conditions,
        is_new_state: bool,
        change: &mut Change<'_>,
    ) -> Result<Entry, ResourceError> {
        self.change_as(blob, conditions, true, is_new_state, change)
    }

    /// The same for what is no new state, and may be done whoever has a lease.
    pub(in crate::resource::blob) fn look(
        &self,
        blob: BlobAt<'_>,
        conditions: &Conditions,
        change: &mut Change<'_>,
    ) -> Result<Entry, ResourceError> {
        self.change_as(blob, conditions, false, false, change)
    }

    fn change_as(
        &self,
        blob: BlobAt<'_>,
        conditions: &Conditions,
        needs_lease: bool,
        is_new_state: bool,
        change: &mut Change<'_>,
    ) -> Result<Entry, ResourceError> {
        self.write(|c| {
            let mut entry = required(c, blob)?;
            allowed(Some(&entry), blob, conditions, needs_lease, self.now())?;
            if entry.lease.is_some() && is_new_state {
                lapse(c, blob.path, conditions.lease)?;
            }
            let manifest = change(&mut entry)?;
            if is_new_state {
                (entry.etag, entry.modified_micros) = self.next_change(c)?;
            }
            c.prepare_cached(
                "UPDATE blobs SET modified = ?2, etag = ?3, properties = ?4, tags = ?5, status = ?6,
                     manifest = coalesce(?7, manifest) WHERE generation = ?1",
            )?
            .execute((
                entry.generation.as_bytes(),
                entry.modified_micros,
                entry.etag.0,
                to_json(&entry.properties),
                to_json(&entry.tags),
                to_json(&entry.status),
                manifest,
            ))?;
            Ok(entry)
        })
    }

    /// Removes a blob, its snapshots, or one of those; the extents that nothing refers to any more.
    pub(in crate::resource::blob) fn remove(
        &self,
        blob: BlobAt<'_>,
        snapshots: Snapshots,
        conditions: &Conditions,
    ) -> Result<Vec<ExtentId>, ResourceError> {
        self.write(|c| {
            let entry = required(c, blob)?;
            let of_itself = snapshots != Snapshots::Only;
            allowed(Some(&entry), blob, conditions, of_itself, self.now())?;
            let [container, name] = names(blob.path);
            let (first, last) = match (blob.snapshot, snapshots) {
                (Some(snapshot), _) => (snapshot.micros(), snapshot.micros()),
                (None, Snapshots::Refuse) if newest_snapshot(c, blob.path)?.is_some() => {
                    return Err(ResourceError::from(Refusal::SnapshotsPresent).into());
                }
                (None, Snapshots::Refuse) => (ITSELF, ITSELF),
                (None, Snapshots::Include) => (i64::MIN, ITSELF),
                (None, Snapshots::Only) => (i64::MIN, ITSELF - 1),
            };
            let mut old = referred_to(
                c,
                "SELECT id FROM extents JOIN blobs USING (generation)
                 WHERE container = ?1 AND name = ?2 AND snapshot BETWEEN ?3 AND ?4",
                (container, name, first, last),
            )?;
            c.prepare_cached(
                "DELETE FROM blobs WHERE container = ?1 AND name = ?2 AND snapshot BETWEEN ?3 AND ?4",
            )?
            .execute((container, name, first, last))?;
            if last == ITSELF {
                old.extend(of_blocks(c, blob.path)?);
                forget_blocks(c, blob.path)?;
                forget(c, names(blob.path))?;
            }
            unreferenced(c, old)
        })
    }
}

pub(super) fn names(path: &BlobPath) -> [&str; 2] {
    [path.container.as_str(), path.name.as_str()]
}

/// The values of [`ONE`].
pub(super) fn key<'a>(blob: BlobAt<'a>) -> (&'a str, &'a str, i64) {
    let [container, name] = names(blob.path);
    let snapshot = blob.snapshot.map_or(ITSELF, Snapshot::micros);
    (container, name, snapshot)
}

pub(super) fn current(c: &Connection, blob: BlobAt<'_>) -> Result<Option<Entry>, Refused> {
    let sql = format!("SELECT {COLUMNS}, {LEASE} FROM {FROM} WHERE {ONE}");
    let found = c
        .prepare_cached(&sql)?
        .query_row(key(blob), |row| Ok(entry(row)))
        .optional()?;
    match found {
        Some(entry) => Ok(Some(entry.ok_or(Refused::Malformed)?)),
        None => Ok(None),
    }
}

pub(super) fn required(c: &Connection, blob: BlobAt<'_>) -> Result<Entry, Refused> {
    match current(c, blob)? {
        Some(entry) => Ok(entry),
        None => {
            exists(c, blob.path)?;
            Err(ResourceError::NotFound(blob.to_string()).into())
        }
    }
}

/// Writes the row of an entry.
pub(super) fn insert(c: &Connection, entry: &Entry, manifest: &[u8]) -> Result<(), Refused> {
    let number = |n: u64| i64::try_from(n).map_err(|_| Refused::Malformed);
    c.prepare_cached(
        "INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute((
        entry.path.container.as_str(),
        entry.path.name.as_str(),
        entry.snapshot.map_or(ITSELF, Snapshot::micros),
        entry.generation.as_bytes(),
        number(entry.size)?,
        number(entry.extents)?,
        entry.created_micros,
        entry.modified_micros,
        entry.etag.0,
        to_json(&entry.properties),
        to_json(&entry.tags),
        to_json(&entry.status),
        manifest,
    ))?;
    Ok(())
}

/// Whether what `conditions` say of a blob or snapshot, whose entry is `now`, lets something be done to it.
pub(super) fn allowed(
    now: Option<&Entry>,
    blob: BlobAt<'_>,
    conditions: &Conditions,
    writes: bool,
    time: Timestamp,
) -> Result<(), Refused> {
    let lease = now.and_then(|now| now.lease.as_ref());
    if blob.snapshot.is_none() {
        may(lease, conditions.lease, writes, time).map_err(ResourceError::from)?;
    }
    conditions.check(&blob, now.map(|now| (now.etag, now.modified_micros)))?;
    if let Some(tags) = &conditions.tags
        && !now.is_some_and(|now| tags.holds(now.path.container.as_str(), &now.tags))
    {
        let what = blob.to_string();
        let unchanged = false;
        return Err(ResourceError::ConditionNotMet { what, unchanged }.into());
    }
    Ok(())
}

pub(super) fn entry(row: &Row<'_>) -> Option<Entry> {
    let under = manifest::under(&get::<Vec<u8>>(row, 12)?)?;
    Some(Entry {
        path: BlobPath {
            container: get::<String>(row, 0)?.parse().ok()?,
            name: BlobName::parse(&get::<String>(row, 1)?).ok()?,
        },
        snapshot: match get(row, 2)? {
            ITSELF => None,
            micros => Some(Snapshot::from_micros(micros)?),
        },
        generation: GenerationId::from_bytes(get(row, 3)?),
        size: get_count(row, 4)?,
        extents: get_count(row, 5)?,
        created_micros: get(row, 6)?,
        modified_micros: get(row, 7)?,
        etag: Etag(get(row, 8)?),
        properties: get_json(row, 9)?,
        tags: get_json(row, 10)?,
        status: get_json(row, 11)?,
        scope: match under {
            UnderKey::Scope(_) => Some(get::<String>(row, 13)?.parse().ok()?),
            _ => None,
        },
        under,
        lease: lease(row, 14)?,
    })
}
