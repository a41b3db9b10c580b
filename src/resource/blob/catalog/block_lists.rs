//! Which blocks the blobs are made of. Their manifests say so, too, but are under the customer's key: what
//! is here lets a block list be told without it.

use rusqlite::{Connection, OptionalExtension};

use crate::base::GenerationId;
use crate::resource::ResourceError;
use crate::resource::blob::{BlockId, ListedBlock};

use super::{BAD_ROW, Catalog};

// docs/format.md, "Catalog".
pub(super) const SCHEMA: &str = "
    CREATE TABLE block_lists (
        generation BLOB    NOT NULL PRIMARY KEY REFERENCES blobs (generation) ON DELETE CASCADE,
        blocks     BLOB    NOT NULL
    ) STRICT;
";

impl Catalog {
    /// The blocks that the blob of this generation is made of; none when it was put in one piece.
    pub(in crate::resource::blob) fn block_list(
        &self,
        generation: GenerationId,
    ) -> Result<Vec<ListedBlock>, ResourceError> {
        let found: Option<Vec<u8>> = self.run(|c| {
            c.prepare_cached("SELECT blocks FROM block_lists WHERE generation = ?1")?
                .query_row([generation.as_bytes()], |row| row.get(0))
                .optional()
        })?;
        let Some(bytes) = found else {
            return Ok(Vec::new());
        };
        parse(&bytes).ok_or_else(|| self.malformed(BAD_ROW))
    }
}

/// Keeps the blocks of a blob that was just put, if it is made of any.
pub(super) fn insert(
    c: &Connection,
    generation: GenerationId,
    blocks: &[ListedBlock],
) -> rusqlite::Result<()> {
    if blocks.is_empty() {
        return Ok(());
    }
    c.prepare_cached("INSERT INTO block_lists VALUES (?1, ?2)")?
        .execute((generation.as_bytes(), to_bytes(blocks)))?;
    Ok(())
}

fn to_bytes(blocks: &[ListedBlock]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in blocks {
        let id = block.id.as_bytes();
        bytes.push(u8::try_from(id.len()).expect("an identifier of a block is short"));
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&block.size.to_le_bytes());
    }
    bytes
}

fn parse(mut bytes: &[u8]) -> Option<Vec<ListedBlock>> {
    let mut blocks = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (id, rest) = rest.split_at_checked(usize::from(*len))?;
        let (size, rest) = rest.split_first_chunk()?;
        blocks.push(ListedBlock {
            id: BlockId::from_bytes(id)?,
            size: u64::from_le_bytes(*size),
        });
        bytes = rest;
    }
    Some(blocks)
}
