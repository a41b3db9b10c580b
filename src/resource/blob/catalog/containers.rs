use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use crate::base::ExtentId;
use crate::resource::ResourceError;
use crate::resource::blob::attributes::{Conditions, Etag, Pairs};
use crate::resource::blob::lease::Lease;
use crate::resource::blob::{BlobPath, ContainerName, ContainerScope};

use super::extents::{referred_to, unreferenced};
use super::leases::{LEASE, lease, may_container};
use super::scopes::{begin_with, container_scope};
use super::{BAD_ROW, Catalog, Refused, get, get_json, to_json};

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerInfo {
    /// Its name.
    pub name: ContainerName,
    /// Its state: that of its properties, not of its blobs.
    pub etag: Etag,
    /// When that last changed.
    pub modified: Timestamp,
    /// Its metadata, under the service's key: it stays readable without the customer's, as in Azure.
    pub metadata: Pairs,
    /// The encryption scope that its new blobs are under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ContainerScope>,
    /// The lease on it.
    #[serde(skip)]
    pub lease: Option<Lease>,
}

const COLUMNS: &str = "containers.name, etag, modified, metadata, \
                       (SELECT scopes.name FROM container_scopes JOIN scopes ON scopes.id = scope \
                        WHERE container_scopes.container = containers.name), \
                       (SELECT only FROM container_scopes WHERE container_scopes.container = containers.name)";
const FROM: &str = "containers LEFT JOIN leases ON leases.container = name AND leases.blob = ''";

impl Catalog {
    pub(in crate::resource::blob) fn create_container(
        &self,
        name: &ContainerName,
        metadata: &Pairs,
        scope: Option<&ContainerScope>,
    ) -> Result<ContainerInfo, ResourceError> {
        self.write(|c| {
            let (etag, modified) = self.next_change(c)?;
            let row = (name.as_str(), etag.0, modified, to_json(metadata));
            let made = c
                .prepare_cached(
                    "INSERT INTO containers VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?
                .execute(row)?;
            if made != 1 {
                return Err(ResourceError::Exists(name.to_string()).into());
            }
            if let Some(scope) = scope {
                begin_with(c, name, scope)?;
            }
            find(c, name)
        })
    }

    pub(in crate::resource::blob) fn container(
        &self,
        name: &ContainerName,
    ) -> Result<ContainerInfo, ResourceError> {
        self.read(|c| find(c, name))
    }

    /// The same, for one who shows a lease with it.
    pub(in crate::resource::blob) fn container_under(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.read(|c| {
            check(c, name, conditions, false, self.now())?;
            find(c, name)
        })
    }

    /// The containers whose names start with `prefix` and come after `after`, at most `limit`.
    pub(in crate::resource::blob) fn containers(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ContainerInfo>, ResourceError> {
        let sql = format!(
            "SELECT {COLUMNS}, {LEASE} FROM {FROM} WHERE name >= ?1 AND name > ?2 ORDER BY name"
        );
        let rows = self.run(|c| {
            let mut query = c.prepare_cached(&sql)?;
            let rows = query.query_map([prefix, after], |row| Ok(info(row)))?;
            rows.take_while(|row| match row {
                Ok(Some(info)) => info.name.as_str().starts_with(prefix),
                _ => true,
            })
            .take(limit)
            .collect::<Result<Option<Vec<_>>, _>>()
        })?;
        rows.ok_or_else(|| self.malformed(BAD_ROW))
    }

    pub(in crate::resource::blob) fn set_container_metadata(
        &self,
        name: &ContainerName,
        metadata: &Pairs,
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.write(|c| {
            check(c, name, conditions, false, self.now())?;
            let (etag, modified) = self.next_change(c)?;
            c.prepare_cached(
                "UPDATE containers SET etag = ?2, modified = ?3, metadata = ?4 WHERE name = ?1",
            )?
            .execute((name.as_str(), etag.0, modified, to_json(metadata)))?;
            find(c, name)
        })
    }

    /// Removes a container with all in it; the extents that nothing refers to any more.
    pub(in crate::resource::blob) fn remove_container(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<Vec<ExtentId>, ResourceError> {
        self.write(|c| {
            check(c, name, conditions, true, self.now())?;
            let extents = referred_to(
                c,
                "SELECT id FROM extents JOIN blobs USING (generation) WHERE container = ?1
                 UNION SELECT extent FROM blocks WHERE container = ?1",
                [name.as_str()],
            )?;
            c.prepare_cached("DELETE FROM containers WHERE name = ?1")?
                .execute([name.as_str()])?;
            unreferenced(c, extents)
        })
    }
}

/// Refuses when the container of `path` does not exist.
pub(super) fn exists(c: &Connection, path: &BlobPath) -> Result<(), Refused> {
    let found = c
        .prepare_cached("SELECT 1 FROM containers WHERE name = ?1")?
        .exists([path.container.as_str()])?;
    match found {
        true => Ok(()),
        false => Err(ResourceError::NoContainer(path.container.to_string()).into()),
    }
}

pub(super) fn check(
    c: &Connection,
    name: &ContainerName,
    conditions: &Conditions,
    deletes: bool,
    time: Timestamp,
) -> Result<(), Refused> {
    let now = find(c, name)?;
    may_container(now.lease.as_ref(), conditions.lease, deletes, time)?;
    conditions.check(name, Some((now.etag, now.modified.as_microsecond())))?;
    Ok(())
}

pub(super) fn find(c: &Connection, name: &ContainerName) -> Result<ContainerInfo, Refused> {
    let found = c
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, {LEASE} FROM {FROM} WHERE name = ?1"
        ))?
        .query_row([name.as_str()], |row| Ok(info(row)))
        .optional()?;
    match found {
        Some(info) => info.ok_or(Refused::Malformed),
        None => Err(ResourceError::NoContainer(name.to_string()).into()),
    }
}

fn info(row: &Row<'_>) -> Option<ContainerInfo> {
    Some(ContainerInfo {
        name: get::<String>(row, 0)?.parse().ok()?,
        etag: Etag(get(row, 1)?),
        modified: Timestamp::from_microsecond(get(row, 2)?).ok()?,
        metadata: get_json(row, 3)?,
        scope: match get::<Option<String>>(row, 4)? {
            Some(_) => Some(container_scope(row, 4)?),
            None => None,
        },
        lease: lease(row, 6)?,
    })
}
