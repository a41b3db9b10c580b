//! Changing all pages of a database while it is in use; see `sqlite::convert`.

use std::path::Path;
use std::sync::Arc;

use rusqlite::OptionalExtension;

use crate::base::{KeyRef, ResourceId};
use crate::crypto::Secret;
use crate::envelope::{Envelope, ResourceKind};
use crate::resource::{ProtectedResource, Protection, ResourceError, Wrapper};
use crate::sqlite::{Conversion, PageSize, SealedDatabase};

use super::SqlDatabase;
use super::database::Store;

impl SqlDatabase {
    /// Makes, at `path`, the sealed file into which the plain database `source` is going to be
    /// converted, under a new data encryption key. `source` must leave 32 bytes of each page reserved
    /// ([`SqlDatabase::reserve`]), keep no write-ahead log, and not be written to from before this on.
    pub fn create_over(
        path: &Path,
        id: ResourceId,
        protection: &Protection,
        wrapper: &Wrapper,
        source: &Self,
    ) -> Result<(), ResourceError> {
        let Some(kek) = protection.key() else {
            return Err(ResourceError::Usage(
                "a key is needed to encrypt".to_owned(),
            ));
        };
        let (envelope, dek) = new_key(path, id, kek, wrapper)?;
        let page_size = source.page_size();
        let pages = source.file_len()? / u64::from(page_size.get());
        let slot = envelope.to_bytes();
        Ok(SealedDatabase::create_over(
            path,
            id,
            page_size,
            pages,
            &slot,
            Arc::new(dek),
        )?)
    }

    /// Has each page of a plain database leave the bytes free that a seal needs; all of it is written
    /// anew when it does not yet. Returns whether it was.
    pub fn reserve(&self) -> Result<bool, ResourceError> {
        let conn = self.connect()?;
        let reserved = || {
            // Byte 20 of its header (SQLite's file format, section 1.3).
            let sql = "SELECT substr(data, 21, 1) FROM sqlite_dbpage WHERE pgno = 1";
            let byte = conn.query_row(sql, (), |row| row.get::<_, Vec<u8>>(0));
            byte.optional().map_err(|e| self.explain(e))
        };
        let enough = Some(vec![PageSize::RESERVED]);
        let before = reserved()?;
        if before.is_none() || before == enough {
            return Ok(false);
        }
        conn.execute_batch("VACUUM").map_err(|e| self.explain(e))?;
        match reserved()? == enough {
            true => Ok(true),
            false => Err(ResourceError::Busy {
                path: self.path().display().to_string(),
            }),
        }
    }

    fn file_len(&self) -> Result<u64, ResourceError> {
        let about = std::fs::metadata(self.path());
        about
            .map(|about| about.len())
            .map_err(|e| ResourceError::io(self.path(), e))
    }

    /// What is under way; `None` in a plain database.
    pub fn conversion(&self) -> Option<Conversion> {
        self.below().ok().map(SealedDatabase::conversion)
    }

    /// Gives the database a new data encryption key, wrapped by the newest version of its key. What is
    /// written from now on is sealed under it; the rest by [`SqlDatabase::convert`].
    pub fn begin_key_change(&self) -> Result<(), ResourceError> {
        let (Store::Sealed { database, .. }, Some(kek)) = (&self.store, self.protection().key())
        else {
            return Err(self.plain());
        };
        let (envelope, dek) = new_key(self.path(), self.id(), kek, &self.wrapper)?;
        Ok(database.begin_key_change(&envelope.to_bytes(), &dek)?)
    }

    /// From now on pages are written plain, to a file beside this one; the rest by [`SqlDatabase::convert`].
    pub fn begin_decryption(&self) -> Result<(), ResourceError> {
        Ok(self.below()?.begin_decryption()?)
    }

    /// Converts what is left, while others read and write. `progress` is told pages done and in all.
    pub fn convert(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), ResourceError> {
        Ok(self.below()?.convert(progress)?)
    }

    /// Ends the conversion, when nothing is left of it; returns how many pages it was.
    pub fn finish_conversion(&self) -> Result<u64, ResourceError> {
        let database = self.below()?;
        let pages = database.finish()?;
        // The header that says so is remembered at once, as after a rewrap: the one before lets the key before
        // count.
        if let Some(envelope) = self.envelope().filter(|_| database.keeps_freshness()) {
            self.move_epoch(envelope.key.vault)?;
        }
        Ok(pages)
    }

    fn below(&self) -> Result<&SealedDatabase, ResourceError> {
        match &self.store {
            Store::Sealed { database, .. } => Ok(database),
            Store::Plain => Err(self.plain()),
        }
    }

    fn plain(&self) -> ResourceError {
        ResourceError::Usage(format!("{}: is plain", self.path().display()))
    }
}

/// A new data encryption key, and the same wrapped by the newest version of `kek`.
pub(super) fn new_key(
    path: &Path,
    id: ResourceId,
    kek: &KeyRef,
    wrapper: &Wrapper,
) -> Result<(Envelope, Secret<32>), ResourceError> {
    let dek = Secret::random();
    let envelope = Envelope::seal(&**wrapper, kek, ResourceKind::Sql, id, &dek)
        .map_err(|e| ResourceError::vault(path, &e))?;
    Ok((envelope, dek))
}
