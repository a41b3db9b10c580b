use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::{ExtentId, GenerationId};
use crate::resource::ResourceError;
use crate::resource::blob::attributes::{Conditions, Etag, Pairs, Properties};
use crate::resource::blob::{BlobName, BlobPath, ContainerName};

use super::containers::exists;
use super::{BAD_ROW, Catalog, Refused, get, get_count, get_json, next_change, to_json};

/// What the catalog says of a blob without the customer's key: what a list shows.
#[derive(Clone)]
pub(in crate::resource::blob) struct Entry {
    pub path: BlobPath,
    pub generation: GenerationId,
    pub size: u64,
    /// How many extents it has.
    pub extents: u64,
    pub created_micros: i64,
    pub modified_micros: i64,
    pub etag: Etag,
    pub properties: Properties,
    pub tags: Pairs,
}

/// What is done to an entry, and the manifest that it has then, if that changes.
type Change<'a> = dyn FnMut(&mut Entry) -> Result<Option<Vec<u8>>, ResourceError> + 'a;

const COLUMNS: &str =
    "container, name, generation, size, extents, created, modified, etag, properties, tags";

impl Catalog {
    /// The blob at `path`, with its manifest (sealed, or plain in a plain account).
    pub(in crate::resource::blob) fn find(
        &self,
        path: &BlobPath,
    ) -> Result<(Entry, Vec<u8>), ResourceError> {
        let sql =
            format!("SELECT {COLUMNS}, manifest FROM blobs WHERE container = ?1 AND name = ?2");
        let found = self.run(|c| {
            c.prepare_cached(&sql)?
                .query_row(names(path), |row| Ok((entry(row), row.get(10)?)))
                .optional()
        })?;
        match found {
            Some((Some(entry), manifest)) => Ok((entry, manifest)),
            Some((None, _)) => Err(self.malformed(BAD_ROW)),
            None => {
                self.container(&path.container)?;
                Err(ResourceError::NotFound(path.to_string()))
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
            check(c, path, conditions)
        })
    }

    /// What is known of the blob at `path` without its manifest.
    pub(in crate::resource::blob) fn entry(&self, path: &BlobPath) -> Result<Entry, ResourceError> {
        self.read(|c| required(c, path))
    }

    /// The blobs of `container` whose names start with `prefix` and come at or after `from`, by the
    /// bytes of their names, as long as `visit` wants more.
    pub(in crate::resource::blob) fn walk(
        &self,
        container: &ContainerName,
        prefix: &str,
        from: &str,
        visit: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<(), ResourceError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM blobs
             WHERE container = ?1 AND name >= ?2 AND name >= ?3 ORDER BY name"
        );
        let whole = self.run(|c| {
            let mut query = c.prepare_cached(&sql)?;
            let mut rows = query.query([container.as_str(), prefix, from])?;
            while let Some(row) = rows.next()? {
                let Some(entry) = entry(row) else {
                    return Ok(false);
                };
                if !entry.path.name.as_str().starts_with(prefix) || !visit(entry) {
                    break;
                }
            }
            Ok(true)
        })?;
        match whole {
            true => Ok(()),
            false => Err(self.malformed(BAD_ROW)),
        }
    }

    /// Makes `entry`, with its manifest and extents, the blob of its path, if the one that is there
    /// meets the conditions. Blocks that wait for being committed go. Gives the entry as it was
    /// written, and the extents that nothing refers to any more; or nothing, when `extents` were to
    /// be of the blob or its blocks already, and are not any more.
    pub(in crate::resource::blob) fn replace(
        &self,
        mut entry: Entry,
        manifest: &[u8],
        extents: &[ExtentId],
        are_there: bool,
        conditions: &Conditions,
    ) -> Result<Option<(Entry, Vec<ExtentId>)>, ResourceError> {
        let size = i64::try_from(entry.size).map_err(|_| self.malformed("a blob is too long"))?;
        self.write_unless_outdated(|c| {
            exists(c, &entry.path)?;
            check(c, &entry.path, conditions)?;
            let mut old = remove(c, &entry.path)?;
            let known: HashSet<_> = old.iter().copied().collect();
            if are_there && !extents.iter().all(|id| known.contains(id)) {
                return Err(Refused::Outdated);
            }
            let kept: HashSet<_> = extents.iter().collect();
            old.retain(|id| !kept.contains(id));
            (entry.etag, entry.modified_micros) = next_change(c)?;
            c.prepare_cached(
                "INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute((
                entry.path.container.as_str(),
                entry.path.name.as_str(),
                entry.generation.as_bytes(),
                size,
                i64::try_from(entry.extents).map_err(|_| Refused::Malformed)?,
                entry.created_micros,
                entry.modified_micros,
                entry.etag.0,
                to_json(&entry.properties),
                to_json(&entry.tags),
                manifest,
            ))?;
            let mut insert = c.prepare_cached("INSERT INTO extents VALUES (?1, ?2)")?;
            for extent in extents {
                insert.execute((extent.as_bytes(), entry.generation.as_bytes()))?;
            }
            Ok((entry, old))
        })
    }

    /// Changes what is said of the blob at `path`. `change` is given the entry as it is in the
    /// transaction; the manifest that it returns, if any, must be of its generation.
    pub(in crate::resource::blob) fn change(
        &self,
        path: &BlobPath,
        conditions: &Conditions,
        is_new_state: bool,
        change: &mut Change<'_>,
    ) -> Result<Entry, ResourceError> {
        self.write(|c| {
            let mut entry = required(c, path)?;
            check(c, path, conditions)?;
            let manifest = change(&mut entry)?;
            if is_new_state {
                (entry.etag, entry.modified_micros) = next_change(c)?;
            }
            c.prepare_cached(
                "UPDATE blobs SET modified = ?2, etag = ?3, properties = ?4, tags = ?5,
                     manifest = coalesce(?6, manifest) WHERE generation = ?1",
            )?
            .execute((
                entry.generation.as_bytes(),
                entry.modified_micros,
                entry.etag.0,
                to_json(&entry.properties),
                to_json(&entry.tags),
                manifest,
            ))?;
            Ok(entry)
        })
    }

    /// Removes the blob at `path`; the extents that nothing refers to any more.
    pub(in crate::resource::blob) fn remove(
        &self,
        path: &BlobPath,
        conditions: &Conditions,
    ) -> Result<Vec<ExtentId>, ResourceError> {
        self.write(|c| {
            required(c, path)?;
            check(c, path, conditions)?;
            remove(c, path)
        })
    }

    /// Whether a blob or a block refers to the extent.
    pub(in crate::resource::blob) fn refers_to(
        &self,
        extent: ExtentId,
    ) -> Result<bool, ResourceError> {
        self.run(|c| {
            c.prepare_cached(
                "SELECT 1 FROM extents WHERE id = ?1 UNION ALL SELECT 1 FROM blocks WHERE extent = ?1",
            )?
            .exists([extent.as_bytes()])
        })
    }
}

pub(super) fn names(path: &BlobPath) -> [&str; 2] {
    [path.container.as_str(), path.name.as_str()]
}

fn required(c: &Connection, path: &BlobPath) -> Result<Entry, Refused> {
    let sql = format!("SELECT {COLUMNS} FROM blobs WHERE container = ?1 AND name = ?2");
    let found = c
        .prepare_cached(&sql)?
        .query_row(names(path), |row| Ok(entry(row)))
        .optional()?;
    match found {
        Some(entry) => entry.ok_or(Refused::Malformed),
        None => {
            exists(c, path)?;
            Err(ResourceError::NotFound(path.to_string()).into())
        }
    }
}

fn check(c: &Connection, path: &BlobPath, conditions: &Conditions) -> Result<(), Refused> {
    let now = c
        .prepare_cached("SELECT etag, modified FROM blobs WHERE container = ?1 AND name = ?2")?
        .query_row(names(path), |row| Ok((Etag(row.get(0)?), row.get(1)?)))
        .optional()?;
    Ok(conditions.check(path, now)?)
}

/// Removes the blob at `path` and its blocks, as far as there are any; their extents.
fn remove(c: &Connection, path: &BlobPath) -> Result<Vec<ExtentId>, Refused> {
    let extents = c
        .prepare_cached(
            "SELECT id FROM extents JOIN blobs USING (generation) WHERE container = ?1 AND name = ?2
             UNION ALL SELECT extent FROM blocks WHERE container = ?1 AND blob = ?2",
        )?
        .query_map(names(path), |row| row.get(0).map(ExtentId::from_bytes))?
        .collect::<Result<Vec<_>, _>>()?;
    c.prepare_cached("DELETE FROM blobs WHERE container = ?1 AND name = ?2")?
        .execute(names(path))?;
    c.prepare_cached("DELETE FROM blocks WHERE container = ?1 AND blob = ?2")?
        .execute(names(path))?;
    Ok(extents)
}

fn entry(row: &Row<'_>) -> Option<Entry> {
    Some(Entry {
        path: BlobPath {
            container: get::<String>(row, 0)?.parse().ok()?,
            name: BlobName::parse(&get::<String>(row, 1)?).ok()?,
        },
        generation: GenerationId::from_bytes(get(row, 2)?),
        size: get_count(row, 3)?,
        extents: get_count(row, 4)?,
        created_micros: get(row, 5)?,
        modified_micros: get(row, 6)?,
        etag: Etag(get(row, 7)?),
        properties: get_json(row, 8)?,
        tags: get_json(row, 9)?,
    })
}
