use jiff::Timestamp;
use rusqlite::{Connection, Row};

use crate::resource::ResourceError;
use crate::resource::blob::attributes::Conditions;
use crate::resource::blob::lease::{Lease, LeaseId};
use crate::resource::blob::lease_rules::may;
use crate::resource::blob::{BlobPath, Leasable, LeaseAction, LeaseChanged};

use super::blobs::{allowed, names, required};
use super::{Catalog, Refused, containers, get};

/// What the columns of a lease are called where a query joins them.
pub(super) const LEASE: &str = "leases.id AS lease, leases.seconds, leases.ends, leases.broken";

impl Catalog {
    pub(in crate::resource::blob) fn change_lease(
        &self,
        what: Leasable<'_>,
        action: LeaseAction,
        conditions: &Conditions,
    ) -> Result<LeaseChanged, ResourceError> {
        let now = self.now();
        // A lease's own operations show its name in their own way.
        let conditions = &Conditions {
            lease: None,
            ..conditions.clone()
        };
        self.write(|c| {
            let (key, held, etag, modified) = match what {
                Leasable::Blob(path) => {
                    let entry = required(c, path.into())?;
                    allowed(Some(&entry), path.into(), conditions, false, now)?;
                    (names(path), entry.lease, entry.etag, entry.modified_micros)
                }
                Leasable::Container(name) => {
                    let found = containers::find(c, name)?;
                    let modified = found.modified.as_microsecond();
                    conditions.check(name, Some((found.etag, modified)))?;
                    ([name.as_str(), ""], found.lease, found.etag, modified)
                }
            };
            let applied = action.apply(held, now).map_err(ResourceError::from);
            let (lease, seconds_left) = applied?;
            forget(c, key)?;
            if let Some(lease) = &lease {
                c.prepare_cached("INSERT INTO leases VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute((
                        key[0],
                        key[1],
                        lease.id.as_bytes(),
                        lease.seconds,
                        lease.ends_micros,
                        lease.broken,
                    ))?;
            }
            Ok(LeaseChanged {
                id: lease.filter(|lease| !lease.broken).map(|lease| lease.id),
                seconds_left,
                etag,
                modified: Timestamp::from_microsecond(modified).map_err(|_| Refused::Malformed)?,
            })
        })
    }
}

/// Forgets the lease of a blob, or of a container: that of the blob without a name.
pub(super) fn forget(c: &Connection, key: [&str; 2]) -> rusqlite::Result<usize> {
    c.prepare_cached("DELETE FROM leases WHERE container = ?1 AND blob = ?2")?
        .execute(key)
}

/// What was written without a lease is not to be taken back by one that ended before.
pub(super) fn lapse(
    c: &Connection,
    path: &BlobPath,
    shown: Option<LeaseId>,
) -> rusqlite::Result<()> {
    if shown.is_none() {
        forget(c, names(path))?;
    }
    Ok(())
}

/// The lease whose columns begin at `at`; `Some(None)` when there is none.
pub(super) fn lease(row: &Row<'_>, at: usize) -> Option<Option<Lease>> {
    let id: Option<[u8; 16]> = get(row, at)?;
    let Some(id) = id else {
        return Some(None);
    };
    Some(Some(Lease {
        id: LeaseId::from_bytes(id),
        seconds: get(row, at + 1)?,
        ends_micros: get(row, at + 2)?,
        broken: get(row, at + 3)?,
    }))
}

/// Whether one who shows `shown` may delete a container, or what else `writes`.
pub(super) fn may_container(
    held: Option<&Lease>,
    shown: Option<LeaseId>,
    writes: bool,
    now: Timestamp,
) -> Result<(), Refused> {
    may(held, shown, writes, now)
        .map_err(|refusal| ResourceError::from(refusal.of_container()).into())
}
