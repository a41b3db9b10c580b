//! New blobs, in the place of what was there.

use std::collections::HashSet;

use rusqlite::Connection;

use crate::base::ExtentId;
use crate::resource::ResourceError;
use crate::resource::blob::attributes::Conditions;
use crate::resource::blob::{BlobAt, ListedBlock};

use super::blobs::{Entry, ONE, allowed, current, insert, key};
use super::blocks::{forget_blocks, of_blocks};
use super::containers::exists;
use super::extents::{Known, is_there, referred_to, unreferenced};
use super::leases::lapse;
use super::{Catalog, Refused, block_lists};

/// A blob of one extent that is to be, and under which conditions.
pub(in crate::resource::blob) struct NewRow {
    pub entry: Entry,
    /// Sealed, or plain in a plain account.
    pub manifest: Vec<u8>,
    pub extent: ExtentId,
    pub conditions: Conditions,
}

const EXTENTS: &str = "SELECT id FROM extents JOIN blobs USING (generation)";

impl Catalog {
    /// Makes `entry`, with its manifest, blocks and extents, the blob of its path, or a snapshot of it, if the one that is there
    /// meets the conditions. Blocks that wait for being committed go; snapshots stay. Gives the entry as it
    /// was written, and the extents that nothing refers to any more; or nothing, when `extents` are not
    /// what they must be any more.
    pub(in crate::resource::blob) fn replace(
        &self,
        entry: Entry,
        manifest: &[u8],
        blocks: &[ListedBlock],
        extents: &[ExtentId],
        known: Known,
        conditions: &Conditions,
    ) -> Result<Option<(Entry, Vec<ExtentId>)>, ResourceError> {
        self.write_unless_outdated(|c| {
            let extents = (extents, known);
            self.replace_in(c, entry.clone(), manifest, blocks, extents, conditions)
        })
    }

    /// The same for blobs of one extent each, which was just written: all of them in one transaction, where each counts
    /// as if it were alone.
    pub(in crate::resource::blob) fn replace_all(
        &self,
        rows: &[NewRow],
    ) -> Vec<Result<(Entry, Vec<ExtentId>), ResourceError>> {
        let mut works: Vec<_> = (rows.iter())
            .map(|row| {
                move |c: &Connection| {
                    let extents = (&[row.extent][..], Known::New);
                    let (manifest, conditions) = (&row.manifest, &row.conditions);
                    self.replace_in(c, row.entry.clone(), manifest, &[], extents, conditions)
                }
            })
            .collect();
        self.write_all(&mut works)
    }

    fn replace_in(
        &self,
        c: &Connection,
        mut entry: Entry,
        manifest: &[u8],
        blocks: &[ListedBlock],
        (extents, known): (&[ExtentId], Known),
        conditions: &Conditions,
    ) -> Result<(Entry, Vec<ExtentId>), Refused> {
        exists(c, &entry.path)?;
        let at = BlobAt {
            path: &entry.path,
            snapshot: entry.snapshot,
        };
        let now = current(c, at)?;
        allowed(now.as_ref(), at, conditions, true, self.now())?;
        if now.as_ref().is_some_and(|now| now.lease.is_some()) {
            lapse(c, at.path, conditions.lease)?;
        }
        let mut old = match now {
            Some(_) => referred_to(c, &format!("{EXTENTS} WHERE {ONE}"), key(at))?,
            None => Vec::new(),
        };
        let staged = of_blocks(c, at.path)?;
        old.extend(&staged);
        if known != Known::New {
            let own: HashSet<_> = old.iter().copied().collect();
            for id in extents.iter().filter(|id| !own.contains(id)) {
                if known == Known::OfTheBlob || !is_there(c, *id)? {
                    return Err(Refused::Outdated);
                }
            }
        }
        if now.is_some() {
            c.prepare_cached(&format!("DELETE FROM blobs WHERE {ONE}"))?
                .execute(key(at))?;
        }
        if !staged.is_empty() {
            forget_blocks(c, at.path)?;
        }
        (entry.etag, entry.modified_micros) = self.next_change(c)?;
        insert(c, &entry, manifest)?;
        block_lists::insert(c, entry.generation, blocks)?;
        let mut insert = c.prepare_cached("INSERT INTO extents VALUES (?1, ?2)")?;
        for extent in extents {
            insert.execute((extent.as_bytes(), entry.generation.as_bytes()))?;
        }
        let kept: HashSet<_> = extents.iter().collect();
        old.retain(|id| !kept.contains(id));
        Ok((entry, unreferenced(c, old)?))
    }
}
