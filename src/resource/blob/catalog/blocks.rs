use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::{ExtentId, GenerationId};
use crate::resource::ResourceError;
use crate::resource::blob::manifest;
use crate::resource::blob::{BlobPath, BlockId, UnderKey};

use super::blobs::names;
use super::containers::exists;
use super::extents::referred_to;
use super::{BAD_ROW, Catalog, Refused, get, get_count};

/// A block that waits for being committed.
pub(in crate::resource::blob) struct StagedBlock {
    pub id: BlockId,
    pub generation: GenerationId,
    pub extent: ExtentId,
    pub size: u64,
    /// Which key its manifest is under.
    pub under: UnderKey,
}

const COLUMNS: &str = "id, generation, extent, size, substr(manifest, 1, 80)";

impl Catalog {
    /// Keeps a block, with its manifest, for the blob at `path`; the extent of the block of this
    /// identifier that it replaces, if there was one.
    pub(in crate::resource::blob) fn stage(
        &self,
        path: &BlobPath,
        block: &StagedBlock,
        staged_micros: i64,
        manifest: &[u8],
    ) -> Result<Vec<ExtentId>, ResourceError> {
        let size = i64::try_from(block.size).map_err(|_| self.malformed("a block is too long"))?;
        let [container, name] = names(path);
        self.write(|c| {
            exists(c, path)?;
            let length: Option<i64> = c
                .prepare_cached(
                    "SELECT length(id) FROM blocks WHERE container = ?1 AND blob = ?2 LIMIT 1",
                )?
                .query_row((container, name), |row| row.get(0))
                .optional()?;
            if length
                .is_some_and(|length| length.unsigned_abs() != block.id.as_bytes().len() as u64)
            {
                let why = "all identifiers of a blob's blocks must have the same length";
                return Err(ResourceError::BadBlock(why.into()).into());
            }
            if !self.staging.may_add(c, path, self.writer.spoiled())? {
                let max = BlockId::UNCOMMITTED_MAX;
                let why = format!("a blob has at most {max} uncommitted blocks");
                return Err(ResourceError::BadBlock(why).into());
            }
            let old = c
                .prepare_cached(
                    "DELETE FROM blocks WHERE container = ?1 AND blob = ?2 AND id = ?3
                     RETURNING extent",
                )?
                .query_row((container, name, block.id.as_bytes()), |row| {
                    row.get(0).map(ExtentId::from_bytes)
                })
                .optional()?;
            c.prepare_cached("INSERT INTO blocks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute((
                    container,
                    name,
                    block.id.as_bytes(),
                    block.generation.as_bytes(),
                    block.extent.as_bytes(),
                    size,
                    staged_micros,
                    manifest,
                ))?;
            Ok(old.into_iter().collect())
        })
    }

    /// The blocks that wait for being committed to the blob at `path`, by their identifiers.
    pub(in crate::resource::blob) fn staged(
        &self,
        path: &BlobPath,
    ) -> Result<Vec<StagedBlock>, ResourceError> {
        self.read(|c| {
            exists(c, path)?;
            let sql = format!(
                "SELECT {COLUMNS} FROM blocks WHERE container = ?1 AND blob = ?2 ORDER BY id"
            );
            let mut query = c.prepare_cached(&sql)?;
            let rows = query.query_map(names(path), |row| Ok(block(row)))?;
            rows.map(|row| row?.ok_or(Refused::Malformed)).collect()
        })
    }

    /// The block `id` that waits for being committed to the blob at `path`, with its manifest.
    pub(in crate::resource::blob) fn staged_block(
        &self,
        path: &BlobPath,
        id: &BlockId,
    ) -> Result<Option<(StagedBlock, Vec<u8>)>, ResourceError> {
        let sql = format!(
            "SELECT {COLUMNS}, manifest FROM blocks WHERE container = ?1 AND blob = ?2 AND id = ?3"
        );
        let [container, name] = names(path);
        let found = self.run(|c| {
            c.prepare_cached(&sql)?
                .query_row((container, name, id.as_bytes()), |row| {
                    Ok((block(row), row.get(5)?))
                })
                .optional()
        })?;
        match found {
            Some((Some(block), manifest)) => Ok(Some((block, manifest))),
            Some((None, _)) => Err(self.malformed(BAD_ROW)),
            None => Ok(None),
        }
    }

    /// Whether any block of the account waits for being committed.
    pub(in crate::resource::blob) fn has_staged(&self) -> Result<bool, ResourceError> {
        self.run(|c| c.prepare_cached("SELECT 1 FROM blocks")?.exists(()))
    }

    /// Every block of the account that waits for being committed.
    pub(in crate::resource::blob) fn all_staged(
        &self,
    ) -> Result<Vec<(BlobPath, BlockId)>, ResourceError> {
        self.read(|c| {
            let sql = "SELECT container, blob, id FROM blocks ORDER BY container, blob, id";
            let mut query = c.prepare_cached(sql)?;
            let rows = query.query_map((), |row| Ok(place(row)))?;
            rows.map(|row| row?.ok_or(Refused::Malformed)).collect()
        })
    }

    /// Forgets the blocks of blobs to which none was added since `before`; their extents.
    pub(in crate::resource::blob) fn forget_blocks(
        &self,
        before_micros: i64,
    ) -> Result<Vec<ExtentId>, ResourceError> {
        const OLD: &str = "SELECT 1 FROM blocks WHERE staged < ?1";
        if !self.run(|c| c.prepare_cached(OLD)?.exists([before_micros]))? {
            return Ok(Vec::new());
        }
        self.write(|c| Ok(forget(c, before_micros)?))
    }
}

fn forget(c: &Connection, before_micros: i64) -> rusqlite::Result<Vec<ExtentId>> {
    c.prepare_cached(
        "DELETE FROM blocks WHERE (container, blob) IN
             (SELECT container, blob FROM blocks GROUP BY container, blob HAVING max(staged) < ?1)
         RETURNING extent",
    )?
    .query_map([before_micros], |row| row.get(0).map(ExtentId::from_bytes))?
    .collect()
}

fn place(row: &Row<'_>) -> Option<(BlobPath, BlockId)> {
    let path = BlobPath {
        container: get::<String>(row, 0)?.parse().ok()?,
        name: get::<String>(row, 1)?.parse().ok()?,
    };
    Some((path, BlockId::from_bytes(&get::<Vec<u8>>(row, 2)?)?))
}

fn block(row: &Row<'_>) -> Option<StagedBlock> {
    Some(StagedBlock {
        id: BlockId::from_bytes(&get::<Vec<u8>>(row, 0)?)?,
        generation: GenerationId::from_bytes(get(row, 1)?),
        extent: ExtentId::from_bytes(get(row, 2)?),
        size: get_count(row, 3)?,
        under: manifest::under(&get::<Vec<u8>>(row, 4)?)?,
    })
}

/// The extents of the blocks that wait at `path`.
pub(super) fn of_blocks(c: &Connection, path: &BlobPath) -> Result<Vec<ExtentId>, Refused> {
    let sql = "SELECT extent FROM blocks WHERE container = ?1 AND blob = ?2";
    referred_to(c, sql, names(path))
}

pub(super) fn forget_blocks(c: &Connection, path: &BlobPath) -> rusqlite::Result<usize> {
    c.prepare_cached("DELETE FROM blocks WHERE container = ?1 AND blob = ?2")?
        .execute(names(path))
}
