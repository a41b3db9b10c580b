use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::resource::blob::{BlobPath, BlockId};

use super::blobs::names;

/// Blobs of which it is remembered, at most.
const KEPT: usize = 1024;

/// How many blocks may be staged without counting those that are there, of which there may be many. What
/// is committed, replaced or forgotten meanwhile only leaves room for more.
#[derive(Default)]
pub(super) struct Staging(Mutex<Left>);

#[derive(Default)]
struct Left {
    /// What it was counted in: a number that changes when another process changes the catalog, and the number
    /// of changes that were counted and then not committed.
    state: (i64, u64),
    of: HashMap<BlobPath, usize>,
}

impl Staging {
    /// Whether one more block of the blob at `path` may wait for being committed. Asked on the connection
    /// by which this process changes the catalog, of whose groups `spoiled` were not committed.
    pub(super) fn may_add(
        &self,
        c: &Connection,
        path: &BlobPath,
        spoiled: u64,
    ) -> rusqlite::Result<bool> {
        let version = c
            .prepare_cached("PRAGMA data_version")?
            .query_row((), |row| row.get(0))?;
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.state != (version, spoiled) || left.of.len() > KEPT {
            left.of.clear();
            left.state = (version, spoiled);
        }
        if let Some(left) = left.of.get_mut(path)
            && *left > 0
        {
            *left -= 1;
            return Ok(true);
        }
        let count: i64 = c
            .prepare_cached("SELECT count(*) FROM blocks WHERE container = ?1 AND blob = ?2")?
            .query_row(names(path), |row| row.get(0))?;
        let free =
            BlockId::UNCOMMITTED_MAX.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        left.of.insert(path.clone(), free.saturating_sub(1));
        Ok(free > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::blob::BlobName;

    fn catalog(blocks: usize) -> Connection {
        let c = Connection::open_in_memory().unwrap();
        let sql = format!(
            "CREATE TABLE blocks (container, blob, id);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {blocks})
             INSERT INTO blocks SELECT 'default', 'a', i FROM n;"
        );
        c.execute_batch(&sql).unwrap();
        c
    }

    fn blob() -> BlobPath {
        BlobPath::in_default(BlobName::parse("a").unwrap())
    }

    #[test]
    fn blob_has_no_more_blocks_than_may_wait() {
        let c = catalog(BlockId::UNCOMMITTED_MAX - 1);
        let staging = Staging::default();
        let add = || staging.may_add(&c, &blob(), 0).unwrap();
        assert!(add());
        let insert = "INSERT INTO blocks VALUES ('default', 'a', 0)";
        c.execute(insert, ()).unwrap();
        assert!(!add());
        assert!(!add());
        c.execute("DELETE FROM blocks WHERE id < 2", ()).unwrap();
        assert!(add());
    }

    #[test]
    fn what_was_counted_in_a_change_that_was_taken_back_is_counted_again() {
        let c = catalog(BlockId::UNCOMMITTED_MAX);
        let staging = Staging::default();
        c.execute_batch("BEGIN; DELETE FROM blocks").unwrap();
        assert!(staging.may_add(&c, &blob(), 0).unwrap());
        c.execute_batch("ROLLBACK").unwrap();
        assert!(!staging.may_add(&c, &blob(), 1).unwrap());
    }

    #[test]
    fn staging_a_block_does_not_count_those_that_are_there() {
        let c = catalog(1);
        let staging = Staging::default();
        assert!(staging.may_add(&c, &blob(), 0).unwrap());
        c.execute_batch("DROP TABLE blocks").unwrap();
        for _ in 2..BlockId::UNCOMMITTED_MAX {
            assert!(staging.may_add(&c, &blob(), 0).unwrap());
        }
        assert!(
            staging.may_add(&c, &blob(), 0).is_err(),
            "it must be looked at again"
        );
    }
}
