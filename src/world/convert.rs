//! Changing how a resource is protected. From key to key only wrapped keys change. From and to
//! plain all data is written anew: a new resource is made beside the old one, which it then
//! replaces. `pending` in the configuration says what is under way, so that a crash leaves either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::{KeyVersionRef, ResourceId, beside, sync_names};
use crate::envelope::Envelope;
use crate::resource::blob::{
    AccountHeader, BlobInfo, Conditions, ContainerName, StorageAccount, UnderKey,
};
use crate::resource::sql::SqlDatabase;
use crate::resource::{ProtectedResource, Protection, ResourceError};
use crate::sqlite::{self, Conversion, SealedDatabase, SealedError};

use super::config::ResourceEntry;
use super::hold::{Hold, keep_log};
use super::in_place::{conversion_at, put_plain_in_place};
use super::resources::{remove, sql_files};
use super::{Kind, ResourceAddress, Workspace, WorldError};

/// What a change of protection did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// The resource.
    pub address: String,
    /// How it was protected.
    pub from: Protection,
    /// How it is protected.
    pub to: Protection,
    /// Bytes written.
    pub bytes_rewritten: u64,
    /// Bytes of data that were left alone; 0 when all was written anew.
    pub bytes_untouched: u64,
    /// Whether the data lay unencrypted in files that are now deleted. Deleting does not scrub:
    /// their bytes may remain on the medium, in snapshots and in backups.
    pub plaintext_was_deleted: bool,
}

impl Workspace {
    /// Changes how the resource is protected. No other process may have it open. `progress` is told
    /// bytes done and in all.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when it is protected so already; those of the resource and the vaults.
    /// The resource is then as it was.
    pub fn set_protection(
        &self,
        address: &ResourceAddress,
        to: &Protection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Converted, WorldError> {
        let mut changing = self.begin()?;
        let address = changing.config.resolve(address)?;
        self.refuse_in_landscape(&address)?;
        let entry = changing.config.entry_mut(&address)?;
        let from = entry.protection.clone();
        if entry.pending.is_some() {
            return Err(WorldError::Usage(format!(
                "{address} is being encrypted or decrypted in its place; end that first with \
                 `atrest sql protect` or `atrest sql unprotect`"
            )));
        }
        if from == *to {
            let how = match to.key() {
                Some(key) => format!("is under the key {} already", key.name),
                None => "is not protected as it is".into(),
            };
            return Err(WorldError::Usage(format!("{address} {how}")));
        }
        entry.pending = Some(to.clone());
        let entry = entry.clone();
        changing.save()?;
        let data_is_rewritten = from == Protection::Plain || *to == Protection::Plain;
        let done = match data_is_rewritten {
            true => self.replace(&address, &entry, to, progress),
            false => self.open_resource(&address).and_then(|mut resource| {
                let rewrapped = resource.rewrap(to)?;
                Ok((rewrapped.bytes_rewritten, rewrapped.bytes_untouched))
            }),
        };
        // What the files are now decides, also after a failure half way.
        let path = self.resolved_path(&address);
        let settled = settle(changing.config.entry_mut(&address)?, &path);
        changing.save()?;
        let (bytes_rewritten, bytes_untouched) = done?;
        settled?;
        Ok(Converted {
            address: address.to_string(),
            plaintext_was_deleted: from == Protection::Plain,
            from,
            to: to.clone(),
            bytes_rewritten,
            bytes_untouched,
        })
    }

    /// The key version that wraps the resource's data encryption key, as its files tell without a
    /// key; `None` when it is plain.
    pub fn key_version(
        &self,
        address: &ResourceAddress,
    ) -> Result<Option<KeyVersionRef>, WorldError> {
        let (address, entry) = self.resource(address)?;
        key_on_disk(entry.kind, &self.resolved_path(&address))
    }

    /// Ends what a crash left half done.
    pub(super) fn settle(&self) -> Result<(), WorldError> {
        let unsettled = |entry: &ResourceEntry| entry.pending.is_some();
        if !self.resources().iter().any(|(_, entry)| unsettled(entry)) {
            return Ok(());
        }
        let mut changing = match self.begin() {
            // Another process is at it at this moment.
            Err(WorldError::Busy(_)) => return Ok(()),
            other => other?,
        };
        for (address, _) in self.resources() {
            let path = self.resolved_path(&address);
            let entry = changing.config.entry_mut(&address)?;
            if unsettled(entry) {
                settle(entry, &path)?;
            }
        }
        changing.save()
    }

    /// Writes all data anew under `to`, and puts it in the old one's place. Returns the bytes
    /// written, and 0 for those left alone.
    fn replace(
        &self,
        address: &ResourceAddress,
        entry: &ResourceEntry,
        to: &Protection,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(u64, u64), WorldError> {
        entry.insist_on_files("a change between protected and plain")?;
        let (live, new, old) = places(&self.resolved_path(address));
        remove(entry.kind, &new);
        remove(entry.kind, &old);
        // Held until the new one is in place: whoever writes to the old one after that is refused.
        let mut hold = None;
        let written = match entry.kind {
            Kind::Sql => {
                let database = self.open_sql(address)?;
                let hold = hold.insert(Hold::begin(&database)?);
                self.rewrite_sql(&database, entry.id, to, &new, hold, progress)
                    .inspect_err(|_| hold.give_up())?
            }
            Kind::Storage => self.rewrite_storage(address, entry.id, to, &new, progress)?,
        };
        if let (Kind::Sql, Some(key)) = (entry.kind, to.key()) {
            self.expect_sql(address, key.vault);
        }
        fs::rename(&live, &old).map_err(|e| WorldError::io(&live, e))?;
        fs::rename(&new, &live).map_err(|e| WorldError::io(&live, e))?;
        sync_names(&live).map_err(|e| WorldError::io(&live, e))?;
        Ok((written, 0))
    }

    fn rewrite_sql(
        &self,
        database: &SqlDatabase,
        id: ResourceId,
        to: &Protection,
        new: &Path,
        hold: &Hold,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, WorldError> {
        let wrapper = self.wrapper();
        let made = match to {
            Protection::Plain => {
                database.export(new, progress)?;
                SqlDatabase::open(new, id, to.clone(), &wrapper)?
            }
            _ => {
                let live = database.path();
                SqlDatabase::create_from(new, id, to.clone(), &wrapper, live, progress)?
            }
        };
        if hold.wal {
            keep_log(&made)?;
        }
        hold.insist(database)?;
        Ok(fs::metadata(new).map_or(0, |m| m.len()))
    }

    fn rewrite_storage(
        &self,
        address: &ResourceAddress,
        id: ResourceId,
        to: &Protection,
        new: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, WorldError> {
        let service_key = self.service_key();
        let service_key = to.key().is_some().then_some(&service_key);
        let from = self.open_storage(address)?;
        if from.has_uncommitted_blocks()? {
            return Err(WorldError::Usage(format!(
                "{address} has blocks that are not committed, which would be lost: commit them, or wait \
                 until they are forgotten after a week"
            )));
        }
        let state = || {
            let containers = from.containers("", "", usize::MAX)?;
            Ok::<_, ResourceError>((from.blobs()?, containers, from.has_uncommitted_blocks()?))
        };
        if !from.scopes()?.is_empty() {
            return Err(WorldError::Usage(format!(
                "{address} has encryption scopes, which are never removed, and of which a plain account has \
                 none: make another account (`atrest blob create NAME --plain`), and copy the blobs there \
                 (`atrest blob get`, `atrest blob put`)"
            )));
        }
        let provided = |blob: &BlobInfo| matches!(blob.under, UnderKey::Provided(_));
        if let Some(blob) = from.blobs()?.iter().find(|blob| provided(blob)) {
            return Err(WorldError::Usage(format!(
                "{address} has blobs under keys that their clients give, which cannot be copied without \
                 them ({} is one): delete them first",
                blob.path()
            )));
        }
        let into = StorageAccount::create(new, id, to.clone(), service_key, &self.wrapper())?;
        let before = state()?;
        copy_containers(&from, &into)?;
        into.take_over(&from, progress)?;
        into.take_over_service(&from)?;
        // A put or delete that another process made meanwhile is not in the copy; and one that
        // still has the catalog open may make one next.
        let changed = state()? != before;
        let catalog = from.dir().join("catalog.db");
        drop(from);
        if changed || sql_files(&catalog).iter().skip(1).any(|file| file.exists()) {
            return Err(ResourceError::Busy {
                path: catalog.display().to_string(),
            }
            .into());
        }
        let lens = into
            .files()?
            .into_iter()
            .map(|f| fs::metadata(f).map_or(0, |m| m.len()));
        Ok(lens.sum())
    }
}

fn copy_containers(from: &StorageAccount, into: &StorageAccount) -> Result<(), WorldError> {
    let any = Conditions::default();
    into.delete_container(&ContainerName::default(), &any)?;
    for container in from.containers("", "", usize::MAX)? {
        into.create_container(&container.name, &container.metadata)?;
    }
    Ok(())
}

/// Finishes or takes back the change that is pending at `path`, whichever the files show.
pub(super) fn settle(entry: &mut ResourceEntry, path: &Path) -> Result<(), WorldError> {
    let Some(pending) = entry.pending.clone() else {
        return Ok(());
    };
    let (live, new, old) = places(path);
    if !live.exists() {
        let from = if new.exists() { &new } else { &old };
        fs::rename(from, &live).map_err(|e| WorldError::io(&live, e))?;
        sync_names(&live).map_err(|e| WorldError::io(&live, e))?;
    }
    match conversion_at(entry.kind, &live) {
        Conversion::None | Conversion::KeyChange => (),
        Conversion::Decrypted => put_plain_in_place(&live, &new)?,
        // It goes on, from or to the plain file beside it.
        Conversion::Encryption => {
            entry.protection = pending;
            return Ok(());
        }
        Conversion::Decryption => return Ok(()),
    }
    if key_on_disk(entry.kind, &live)?
        .map(|version| version.key())
        .as_ref()
        == pending.key()
    {
        entry.protection = pending;
    }
    entry.pending = None;
    remove(entry.kind, &new);
    if sqlite::is_disowned(&old) {
        sqlite::scrub(&old).map_err(ResourceError::from)?;
    }
    remove(entry.kind, &old);
    // Before the configuration forgets that they may be there.
    sync_names(&live).map_err(|e| WorldError::io(&live, e))
}

/// Where a resource is, where its replacement is made, and where it waits to be deleted. A name
/// holds no dot, so no other resource is there.
pub(super) fn places(live: &Path) -> (PathBuf, PathBuf, PathBuf) {
    (live.to_owned(), beside(live, ".new"), beside(live, ".old"))
}

/// The key version that a resource's files name; `None` when they are plain. Not authenticated: it
/// is shown, and decides between two states that this program wrote itself.
pub(super) fn key_on_disk(kind: Kind, path: &Path) -> Result<Option<KeyVersionRef>, WorldError> {
    match kind {
        Kind::Sql => {
            let slots = match SealedDatabase::key_slots(path) {
                Ok(slots) => slots,
                Err(SealedError::Format { .. }) => return Ok(None),
                Err(SealedError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                // A file that cannot be read is not a plain one.
                Err(e) => return Err(WorldError::io(path, io::Error::other(e.to_string()))),
            };
            let newest = slots.first().and_then(|slot| Envelope::parse(slot).ok());
            Ok(newest.map(|envelope| envelope.key))
        }
        Kind::Storage => match fs::read(path.join("account.atrest")) {
            Ok(bytes) => Ok(AccountHeader::parse(&bytes).ok().map(|h| h.account.key)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(WorldError::io(path, e)),
        },
    }
}
