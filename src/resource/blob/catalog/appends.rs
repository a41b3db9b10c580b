use crate::base::ExtentId;
use crate::resource::ResourceError;
use crate::resource::blob::attributes::Conditions;

use super::blobs::{allowed, required};
use super::leases::lapse;
use super::{Catalog, Entry, Refused};

impl Catalog {
    /// Gives the blob that was `found` one extent more, with a manifest that lists it. Gives the entry as it
    /// was written; or nothing, when the blob is not in the state that was found any more.
    pub(in crate::resource::blob) fn append(
        &self,
        found: &Entry,
        extent: ExtentId,
        len: u64,
        manifest: &[u8],
        conditions: &Conditions,
    ) -> Result<Option<Entry>, ResourceError> {
        self.write_unless_outdated(|c| {
            let mut entry = required(c, (&found.path).into())?;
            allowed(
                Some(&entry),
                (&found.path).into(),
                conditions,
                true,
                self.now(),
            )?;
            if entry.etag != found.etag {
                return Err(Refused::Outdated);
            }
            if entry.lease.is_some() {
                lapse(c, &found.path, conditions.lease)?;
            }
            entry.size += len;
            entry.extents += 1;
            (entry.etag, entry.modified_micros) = self.next_change(c)?;
            let number = |n: u64| i64::try_from(n).map_err(|_| Refused::Malformed);
            c.prepare_cached(
                "UPDATE blobs SET size = ?2, extents = ?3, modified = ?4, etag = ?5, manifest = ?6
                 WHERE generation = ?1",
            )?
            .execute((
                entry.generation.as_bytes(),
                number(entry.size)?,
                number(entry.extents)?,
                entry.modified_micros,
                entry.etag.0,
                manifest,
            ))?;
            c.prepare_cached("INSERT INTO extents VALUES (?1, ?2)")?
                .execute((extent.as_bytes(), entry.generation.as_bytes()))?;
            Ok(entry)
        })
    }
}
