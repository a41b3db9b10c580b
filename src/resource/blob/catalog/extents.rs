//! Which extents are referred to: by blobs, by their snapshots, by copies of them, by blocks.

use rusqlite::{Connection, Params};

use crate::base::ExtentId;
use crate::resource::ResourceError;

use super::{Catalog, Refused};

/// What must be known of the extents that a new manifest lists, when it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resource::blob) enum Known {
    /// Nothing: they were just written.
    New,
    /// The blob that is replaced, or a block that waits for it, refers to them. Else that was replaced since
    /// they were found, and its old bytes would take the place of an acknowledged put.
    OfTheBlob,
    /// Something in the account does.
    OfAny,
}

impl Catalog {
    /// Whether a blob, a snapshot or a block refers to the extent.
    pub(in crate::resource::blob) fn refers_to(
        &self,
        extent: ExtentId,
    ) -> Result<bool, ResourceError> {
        self.refers_between((extent, extent))
    }

    /// Whether one refers to an extent from the first to the last of these.
    pub(in crate::resource::blob) fn refers_between(
        &self,
        bounds: (ExtentId, ExtentId),
    ) -> Result<bool, ResourceError> {
        self.run(|c| is_any_there(c, bounds))
    }

    /// The extents from `first` to `last` that a blob, a snapshot or a block refers to, ascending.
    pub(in crate::resource::blob) fn referred_to_between(
        &self,
        (first, last): (ExtentId, ExtentId),
    ) -> Result<Vec<ExtentId>, ResourceError> {
        self.run(|c| {
            let mut query = c.prepare_cached(
                "SELECT id FROM extents WHERE id BETWEEN ?1 AND ?2 \
                 UNION SELECT extent FROM blocks WHERE extent BETWEEN ?1 AND ?2 ORDER BY 1",
            )?;
            let bounds = [first.as_bytes(), last.as_bytes()];
            let rows = query.query_map(bounds, |row| row.get(0).map(ExtentId::from_bytes))?;
            rows.collect()
        })
    }

    /// Whether more than one blob or snapshot refers to the extent.
    pub(in crate::resource::blob) fn is_shared(
        &self,
        extent: ExtentId,
    ) -> Result<bool, ResourceError> {
        self.run(|c| {
            c.prepare_cached("SELECT 1 FROM extents WHERE id = ?1 LIMIT 1 OFFSET 1")?
                .exists([extent.as_bytes()])
        })
    }
}

pub(super) fn is_there(c: &Connection, extent: ExtentId) -> rusqlite::Result<bool> {
    is_any_there(c, (extent, extent))
}

fn is_any_there(c: &Connection, (first, last): (ExtentId, ExtentId)) -> rusqlite::Result<bool> {
    c.prepare_cached(
        "SELECT 1 FROM extents WHERE id BETWEEN ?1 AND ?2
         UNION ALL SELECT 1 FROM blocks WHERE extent BETWEEN ?1 AND ?2",
    )?
    .exists([first.as_bytes(), last.as_bytes()])
}

/// The extents that a query gives.
pub(super) fn referred_to(
    c: &Connection,
    sql: &str,
    parameters: impl Params,
) -> Result<Vec<ExtentId>, Refused> {
    let mut query = c.prepare_cached(sql)?;
    let rows = query.query_map(parameters, |row| row.get(0).map(ExtentId::from_bytes))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of `extents` that nothing refers to any more, each once.
pub(super) fn unreferenced(
    c: &Connection,
    mut extents: Vec<ExtentId>,
) -> Result<Vec<ExtentId>, Refused> {
    extents.sort_unstable();
    extents.dedup();
    let mut unwanted = Vec::with_capacity(extents.len());
    for extent in extents {
        if !is_there(c, extent)? {
            unwanted.push(extent);
        }
    }
    Ok(unwanted)
}
