//! Many resources at once: made, and put under another key. One process does it, with the right to change
//! the configuration; the configuration is written once before and once after each batch, and threads
//! share the vaults' commits.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::base::{ResourceId, beside, create_dir_private, sync_names};
use crate::crypto::random_id;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::resource::{Protection, Rewrapped};
use crate::sqlite::PageSize;
use crate::vault::FreshnessCheck;

use super::config::Environment;
use super::convert::key_on_disk;
use super::resources::remove;
use super::workspace::ENVIRONMENTS;
use super::{Kind, Name, ResourceAddress, ResourceEntry, Workspace, WorldError};

/// How many resources are under way between two writes of the configuration: what a crash leaves to be
/// looked at.
const BATCH: usize = 512;
/// Threads: they wait for disks and for the vaults' commits, which they share, more than they compute.
const WORKERS: usize = 24;

/// An environment to be made, with empty resources under the service-managed key.
pub(super) struct NewPlace {
    pub(super) name: Name,
    pub(super) databases: Vec<Name>,
    pub(super) accounts: Vec<Name>,
}

/// What became of one resource that was to be put under another key.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) address: ResourceAddress,
    pub(super) result: Result<Rewrapped, WorldError>,
}

/// A step of something long: told after each, on whichever thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was just done.
    pub what: String,
    /// How many are done.
    pub done: u64,
    /// Of how many.
    pub of: u64,
}

/// Is told of each step.
pub type Progress<'a> = &'a (dyn Fn(Step) + Sync);

/// Does `f` to each item, several at a time; the results are in the items' order.
fn each<I: Sync, T: Send>(items: &[I], f: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = f(item);
                    *results[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let done = |slot: Mutex<Option<T>>| slot.into_inner().unwrap_or_else(PoisonError::into_inner);
    let results = results.into_iter().map(done);
    results
        .map(|r| r.expect("a thread that panics ends the scope"))
        .collect()
}

impl Workspace {
    /// Makes environments. One that is there already keeps its resources, which must not be under a key
    /// of the customer's, and gets those that it lacks.
    pub(super) fn make_places(
        &self,
        places: &[NewPlace],
        progress: Progress<'_>,
    ) -> Result<(), WorldError> {
        let mut changing = self.begin()?;
        let protection = Protection::ServiceManaged {
            key: self.service_key(),
        };
        let mut wanted = Vec::new();
        for place in places {
            let kinds = [
                (Kind::Sql, &place.databases),
                (Kind::Storage, &place.accounts),
            ];
            for (kind, names) in kinds {
                for name in names {
                    let address = ResourceAddress {
                        environment: Some(place.name.clone()),
                        kind,
                        name: name.clone(),
                    };
                    match changing.config.entry(&address) {
                        None => wanted.push((address, random_id(ResourceId::from_bytes))),
                        Some(entry) if entry.protection == protection => {}
                        Some(_) => {
                            return Err(WorldError::Usage(format!(
                                "{address} is not under the service-managed key, as all is that is taken into a \
                                 landscape; choose another name"
                            )));
                        }
                    }
                }
            }
        }
        let done = AtomicUsize::new(0);
        let of = wanted.len();
        let made = each(&wanted, |(address, id)| {
            let made = self.make_beside(address, *id, &protection);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Step {
                what: format!("{address} made"),
                done: done as u64,
                of: of as u64,
            });
            made
        });
        for made in made {
            made?;
        }
        // From here on it is found: what lies beside is put in its place, now or by the next opening.
        for place in places {
            if changing.config.environment(&place.name).is_err() {
                changing.config.environments.push(Environment {
                    name: place.name.clone(),
                    resources: Vec::new(),
                });
            }
        }
        for (address, id) in &wanted {
            let entry = ResourceEntry {
                kind: address.kind,
                name: address.name.clone(),
                id: *id,
                protection: protection.clone(),
                pending: Some(protection.clone()),
                objects: None,
            };
            super::resources::list(&mut changing.config, address, entry)?;
        }
        changing.save()?;
        for (address, _) in &wanted {
            let live = self.resolved_path(address);
            put_in_place(&made_beside(&live), &live)?;
            changing.config.entry_mut(address)?.pending = None;
        }
        for place in places {
            let dir = self.dir().join(ENVIRONMENTS).join(place.name.as_str());
            for kind in [Kind::Sql, Kind::Storage] {
                let inside = dir.join(kind.to_string()).join("any");
                if inside.parent().is_some_and(Path::exists) {
                    sync_names(&inside).map_err(|e| WorldError::io(&inside, e))?;
                }
            }
        }
        changing.save()
    }

    /// Makes a resource beside its place, where nobody looks for it.
    fn make_beside(
        &self,
        address: &ResourceAddress,
        id: ResourceId,
        protection: &Protection,
    ) -> Result<(), WorldError> {
        let live = self.resolved_path(address);
        if live.symlink_metadata().is_ok() {
            return Err(WorldError::Exists(live.display().to_string()));
        }
        let path = made_beside(&live);
        let parent = path.parent().expect("inside the working directory");
        create_dir_private(parent).map_err(|e| WorldError::io(parent, e))?;
        remove(address.kind, &path);
        let (wrapper, protection) = (self.wrapper(), protection.clone());
        match address.kind {
            Kind::Sql => {
                let made = SqlDatabase::create(&path, id, PageSize::DEFAULT, protection, &wrapper)?;
                made.begin_epoch(&self.keeper_of(id, address), FreshnessCheck::Open)?;
            }
            Kind::Storage => {
                let key = self.service_key();
                StorageAccount::create(&path, id, protection, Some(&key), &wrapper)?;
            }
        }
        Ok(())
    }

    /// Puts each resource under the newest version of `to`'s key; none of their data is touched. What
    /// cannot be done to one is told of that one. A crash leaves each under either key, and the next
    /// opening of the working directory finds out under which.
    pub(super) fn move_all(
        &self,
        addresses: &[ResourceAddress],
        to: &Protection,
        progress: Progress<'_>,
    ) -> Result<Vec<Moved>, WorldError> {
        let mut moved = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(BATCH) {
            let mut changing = self.begin()?;
            for address in batch {
                let entry = changing.config.entry_mut(address)?;
                if entry.pending.is_some() {
                    return Err(WorldError::Usage(format!(
                        "{address} is being encrypted or decrypted in its place; end that first"
                    )));
                }
                entry.pending = Some(to.clone());
            }
            changing.save()?;
            let before = moved.len();
            let done = AtomicUsize::new(before);
            let results = each(batch, |address| {
                let result = self
                    .open_resource(address)
                    .and_then(|mut resource| Ok(resource.rewrap(to)?));
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                progress(Step {
                    what: format!("{address} under another key"),
                    done: done as u64,
                    of: addresses.len() as u64,
                });
                result
            });
            // Only headers were written: what they say decides, also after a failure.
            for (address, result) in batch.iter().zip(results) {
                let on_disk = key_on_disk(address.kind, &self.resolved_path(address))?;
                let entry = changing.config.entry_mut(address)?;
                if on_disk.map(|version| version.key()).as_ref() == to.key() {
                    entry.protection = to.clone();
                }
                entry.pending = None;
                moved.push(Moved {
                    address: address.clone(),
                    result,
                });
            }
            changing.save()?;
        }
        Ok(moved)
    }

    /// Takes environments with all that is in them away.
    pub(super) fn remove_places(&self, places: &[Name]) -> Result<(), WorldError> {
        let mut changing = self.begin()?;
        changing
            .config
            .environments
            .retain(|e| !places.contains(&e.name));
        changing.save()?;
        for place in places {
            let dir = self.dir().join(ENVIRONMENTS).join(place.as_str());
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(WorldError::io(&dir, e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where a new resource is made. What `settle` looks for is the same place: a crash between the
/// listing of a resource and its move is ended by the next opening.
fn made_beside(live: &Path) -> PathBuf {
    beside(live, ".new")
}

fn put_in_place(from: &Path, live: &Path) -> Result<(), WorldError> {
    fs::rename(from, live).map_err(|e| WorldError::io(live, e))
}
