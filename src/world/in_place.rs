//! Changing all pages of a SQL database in its place, while others go on using it. What is under way
//! stands in the header of the sealed file; a crash, or a refusal, leaves it there, and the same
//! command goes on.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::base::{beside, sync_names};
use crate::resource::sql::SqlDatabase;
use crate::resource::{Protection, ResourceError};
use crate::sqlite::{self, Conversion, Progress, SealedDatabase};

use super::convert::{places, settle};
use super::hold::{Hold, keep_log, open_here_only};
use super::resources::remove;
use super::{Kind, ResourceAddress, Workspace, WorldError};

/// What a conversion in place did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConvertedInPlace {
    /// The database.
    pub address: String,
    /// How it is protected now.
    pub protection: Protection,
    /// Pages that it has.
    pub pages: u64,
    /// Whether it went on with what was begun earlier.
    pub resumed: bool,
    /// Whether all of it had to be written anew first, since its pages had no room for a seal.
    pub room_was_made: bool,
    /// Length of the plain file that it was made from, which was overwritten and deleted.
    pub plain_bytes_deleted: Option<u64>,
}

impl Workspace {
    /// Encrypts a plain SQL database, or goes on with it. To begin takes a moment in which nobody has it
    /// open; from then on it is read and written as a protected one. `progress` is told pages done and in
    /// all.
    pub fn encrypt_in_place(
        &self,
        address: &ResourceAddress,
        to: &Protection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ConvertedInPlace, WorldError> {
        let (address, entry) = self.resource(address)?;
        self.refuse_in_landscape(&address)?;
        let (live, _, old) = places(&self.resolved_path(&address));
        let under_way = conversion_at(entry.kind, &live) == Conversion::Encryption;
        let mut room_was_made = false;
        if !under_way {
            if entry.protection != Protection::Plain {
                return Err(WorldError::Usage(format!(
                    "{address} is protected; `atrest protect` puts it under another key"
                )));
            }
            room_was_made = self.begin_encryption(&address, to)?;
        } else if entry.pending.as_ref() != Some(to) {
            return Err(WorldError::Usage(format!(
                "{address} is being encrypted under another key; go on with that one, and change it then"
            )));
        } else {
            sqlite::disown(&old).map_err(ResourceError::from)?;
        }
        let plain_bytes = fs::metadata(&old).map_or(0, |about| about.len());
        let database = self.open_sql(&address)?;
        database.convert(progress)?;
        Ok(ConvertedInPlace {
            room_was_made,
            plain_bytes_deleted: Some(plain_bytes),
            ..self.finish(&address, &database, under_way)?
        })
    }

    /// Puts the sealed file that the plain one becomes into its place.
    fn begin_encryption(
        &self,
        address: &ResourceAddress,
        to: &Protection,
    ) -> Result<bool, WorldError> {
        let (live, new, old) = places(&self.resolved_path(address));
        let plain = self.open_sql(address)?;
        open_here_only(&live)?;
        let room_was_made = plain.reserve()?;
        let mut changing = self.begin()?;
        let entry = changing.config.entry_mut(address)?;
        if entry.protection != Protection::Plain || entry.pending.is_some() {
            return Err(WorldError::Busy(address.to_string()));
        }
        let id = entry.id;
        let hold = Hold::begin(&plain)?;
        entry.pending = Some(to.clone());
        changing.save().inspect_err(|_| hold.give_up())?;
        let begun = (|| {
            hold.alone(&plain)?;
            remove(Kind::Sql, &new);
            SqlDatabase::create_over(&new, id, to, &self.wrapper(), &plain)?;
            if let Some(key) = to.key() {
                self.expect_sql(address, key.vault);
            }
            fs::rename(&live, &old).map_err(|e| WorldError::io(&live, e))?;
            // The second name reaches the disk after the first: else the plain file would be gone.
            sync_names(&live).map_err(|e| WorldError::io(&live, e))?;
            // Nobody opens it by its name from here on; somebody may have, since this was asked before,
            // and waits for the lock.
            if let Err(e) = open_here_only(&old) {
                fs::rename(&old, &live).map_err(|e| WorldError::io(&live, e))?;
                return Err(e);
            }
            fs::rename(&new, &live).map_err(|e| WorldError::io(&live, e))?;
            sync_names(&live).map_err(|e| WorldError::io(&live, e))
        })();
        if begun.is_err() {
            hold.give_up();
        }
        let wal = hold.wal;
        drop(hold);
        let settled = settle(changing.config.entry_mut(address)?, &live);
        changing.save()?;
        begun?;
        settled?;
        drop(changing);
        sqlite::disown(&old).map_err(ResourceError::from)?;
        if wal {
            keep_log(&self.open_sql(address)?)?;
        }
        Ok(room_was_made)
    }

    /// Gives a protected SQL database a new data encryption key, and seals all pages anew under it; or
    /// goes on with it. Others use it meanwhile.
    pub fn change_key_in_place(
        &self,
        address: &ResourceAddress,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ConvertedInPlace, WorldError> {
        let (address, _) = self.resource(address)?;
        let database = self.open_sql(&address)?;
        let under_way = self.not_otherwise(&address, &database, Conversion::KeyChange)?;
        if !under_way {
            let _changing = self.begin()?;
            database.begin_key_change()?;
        }
        database.convert(progress)?;
        self.finish(&address, &database, under_way)
    }

    /// Makes a protected SQL database plain, or goes on with it. Others use it meanwhile; to end takes a
    /// moment in which nobody has it open.
    pub fn decrypt_in_place(
        &self,
        address: &ResourceAddress,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<ConvertedInPlace, WorldError> {
        let (address, _) = self.resource(address)?;
        let database = self.open_sql(&address)?;
        let under_way = self.not_otherwise(&address, &database, Conversion::Decryption)?;
        if !under_way {
            self.refuse_in_landscape(&address)?;
            let mut changing = self.begin()?;
            changing.config.entry_mut(&address)?.pending = Some(Protection::Plain);
            changing.save()?;
            database.begin_decryption()?;
        }
        database.convert(progress)?;
        let mode: String = database
            .connect()?
            .query_row("PRAGMA journal_mode", (), |row| row.get(0))
            .map_err(|e| database.explain(e))?;
        let done = self.finish(&address, &database, under_way)?;
        drop(database);
        if mode == "wal" {
            keep_log(&self.open_sql(&address)?)?;
        }
        Ok(done)
    }

    /// What the resource is being changed to in its place, as its files tell without a key.
    pub fn under_way(&self, address: &ResourceAddress) -> Result<Option<UnderWay>, WorldError> {
        let (address, entry) = self.resource(address)?;
        let path = self.resolved_path(&address);
        Ok(match conversion_at(entry.kind, &path) {
            Conversion::None => None,
            conversion => Some(UnderWay {
                state: conversion.state().1,
                percent_complete: SealedDatabase::progress_at(&path)
                    .ok()
                    .map(Progress::percent),
            }),
        })
    }

    /// Whether this conversion is under way already.
    fn not_otherwise(
        &self,
        address: &ResourceAddress,
        database: &SqlDatabase,
        wanted: Conversion,
    ) -> Result<bool, WorldError> {
        match database.conversion() {
            None => Err(WorldError::Usage(format!("{address} is not protected"))),
            Some(Conversion::None) => Ok(false),
            Some(other) if other == wanted => Ok(true),
            Some(other) => Err(WorldError::Usage(format!(
                "{address}: {} is under way; end it first with `atrest sql {}`",
                name(other),
                command(other)
            ))),
        }
    }

    /// Says that nothing is under way any more, in the file and in the configuration.
    fn finish(
        &self,
        address: &ResourceAddress,
        database: &SqlDatabase,
        resumed: bool,
    ) -> Result<ConvertedInPlace, WorldError> {
        let mut changing = self.begin()?;
        let pages = database.finish_conversion()?;
        let entry = changing.config.entry_mut(address)?;
        let was_pending = entry.pending.is_some();
        settle(entry, &self.resolved_path(address))?;
        let protection = entry.protection.clone();
        if was_pending {
            changing.save()?;
        }
        Ok(ConvertedInPlace {
            address: address.to_string(),
            protection,
            pages,
            resumed,
            room_was_made: false,
            plain_bytes_deleted: None,
        })
    }
}

/// What a SQL database is being changed to in its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UnderWay {
    /// The state, in the words of Azure SQL's `sys.dm_database_encryption_keys`.
    pub state: &'static str,
    /// How much of it is done, from 0 to 100; `None` when a file that it needs is missing.
    pub percent_complete: Option<f64>,
}

/// What is under way in the database at `path`, as its header says without a key.
pub(super) fn conversion_at(kind: Kind, path: &Path) -> Conversion {
    match kind {
        Kind::Sql => SealedDatabase::conversion_at(path).unwrap_or(Conversion::None),
        Kind::Storage => Conversion::None,
    }
}

/// Ends what was left of a decryption: the plain file takes the place of the sealed one.
pub(super) fn put_plain_in_place(live: &Path, new: &Path) -> Result<(), WorldError> {
    sqlite::discard_shared_memory(live);
    for ending in ["-wal", "-shm", "-journal"] {
        let _ = fs::remove_file(beside(live, ending));
    }
    fs::rename(new, live).map_err(|e| WorldError::io(live, e))?;
    sync_names(live).map_err(|e| WorldError::io(live, e))
}

fn name(conversion: Conversion) -> &'static str {
    match conversion {
        Conversion::Encryption => "an encryption",
        Conversion::KeyChange => "a change of its data encryption key",
        _ => "a decryption",
    }
}

fn command(conversion: Conversion) -> &'static str {
    match conversion {
        Conversion::Encryption => "protect",
        Conversion::KeyChange => "rekey",
        _ => "unprotect",
    }
}
