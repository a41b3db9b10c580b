//! Bringing a copy of a working directory's data back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{ResourceId, create_dir_private, sync_names};
use crate::resource::Protection;
use crate::sqlite::Conversion;

use super::config::{Config, Environment};
use super::convert::{key_on_disk, places, settle};
use super::in_place::conversion_at;
use super::resources::{list, remove, sql_files};
use super::workspace::resource_path;
use super::{Kind, Name, ResourceAddress, ResourceEntry, Workspace, WorldError};

impl Workspace {
    /// Brings every resource of the copy in the directory `copy` (made of what
    /// [`Workspace::at_rest`] names) into an environment, which is made when it is missing. They
    /// keep their identities and protection, and what they were being changed to; whether they open
    /// depends on the vaults here holding their keys. The copy stays as it is. `progress` is told bytes
    /// done and in all.
    ///
    /// # Errors
    /// [`WorldError::Exists`] when a name is taken there, or is in two environments of the copy;
    /// [`WorldError::Usage`] when a file of the copy is older than another one that it needs. Nothing is
    /// left of what was copied then.
    pub fn restore(
        &self,
        copy: &Path,
        environment: &Name,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<ResourceAddress>, WorldError> {
        let source = Config::read(copy)?;
        let mut changing = self.begin()?;
        if changing.config.environment(environment).is_err() {
            changing.config.environments.push(Environment {
                name: environment.clone(),
                resources: Vec::new(),
            });
        }
        let mut plan = Vec::new();
        for from in &source.environments {
            for entry in &from.resources {
                entry.insist_on_files("a restore")?;
                let address = ResourceAddress {
                    environment: Some(environment.clone()),
                    kind: entry.kind,
                    name: entry.name.clone(),
                };
                let address = self.vacant(&changing.config, &address)?;
                let stolen = resource_path(copy, &from.name, address.kind, &address.name);
                let entry = ResourceEntry {
                    pending: pending(entry, &address, &stolen)?,
                    ..entry.clone()
                };
                list(&mut changing.config, &address, entry)?;
                plan.push((stolen, address));
            }
        }
        let copied = self
            .copy_all(&plan, &changing.config, progress)
            .and_then(|()| {
                for (_, address) in &plan {
                    let path = self.resolved_path(address);
                    settle(changing.config.entry_mut(address)?, &path)?;
                }
                changing.save()
            });
        if let Err(e) = copied {
            for (_, address) in &plan {
                for path in all_places(&self.resolved_path(address)) {
                    remove(address.kind, &path);
                }
            }
            return Err(e);
        }
        for (_, address) in &plan {
            if let Some(version) = self.key_version(address)?
                && address.kind == Kind::Sql
            {
                self.expect_sql(address, version.vault);
            }
        }
        Ok(plan.into_iter().map(|(_, address)| address).collect())
    }

    fn copy_all(
        &self,
        plan: &[(PathBuf, ResourceAddress)],
        config: &Config,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), WorldError> {
        let mut files = Vec::new();
        for (from, address) in plan {
            let to = self.resolved_path(address);
            match address.kind {
                Kind::Sql => {
                    // With what it is being changed from or to.
                    let changes = config.entry(address).is_some_and(|e| e.pending.is_some());
                    let places = all_places(from).into_iter().zip(all_places(&to));
                    for (from, to) in places.take(if changes { 3 } else { 1 }) {
                        let pairs = sql_files(&from).into_iter().zip(sql_files(&to));
                        // The last tells where memory is shared, which a copy has no use for.
                        files.extend(pairs.take(3).filter(|(from, _)| from.is_file()));
                    }
                }
                Kind::Storage => files.extend(tree(from, &to)?),
            }
        }
        let len = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
        let total = files.iter().map(|(from, _)| len(from)).sum();
        let mut done = 0;
        for (from, to) in &files {
            progress(done, total);
            done += fs::copy(from, to).map_err(|e| WorldError::io(to, e))?;
        }
        progress(done, total);
        Ok(())
    }
}

/// What the resource of the copy is being changed to. The configuration was copied before the files: where
/// it says nothing of a conversion that the files show, that began in between.
fn pending(
    entry: &ResourceEntry,
    address: &ResourceAddress,
    stolen: &Path,
) -> Result<Option<Protection>, WorldError> {
    match (&entry.pending, conversion_at(entry.kind, stolen)) {
        (None, Conversion::Decryption | Conversion::Decrypted) => Ok(Some(Protection::Plain)),
        (None, Conversion::Encryption) => Err(WorldError::Usage(format!(
            "{address}: the copy was made while its encryption began, and does not tell under which \
             key; make another one"
        ))),
        (pending, _) => Ok(pending.clone()),
    }
}

/// Copies the files of a resource, and has them reach the disk.
pub(super) fn copy_resource(kind: Kind, from: &Path, to: &Path) -> Result<(), WorldError> {
    let files = match kind {
        Kind::Sql => {
            let pairs = sql_files(from).into_iter().zip(sql_files(to));
            // The last tells where memory is shared, which a copy has no use for.
            pairs.take(3).filter(|(from, _)| from.is_file()).collect()
        }
        Kind::Storage => tree(from, to)?,
    };
    for (from, to) in files {
        let copied = fs::copy(&from, &to).and_then(|_| fs::File::open(&to)?.sync_all());
        copied.map_err(|e| WorldError::io(&to, e))?;
    }
    sync_names(to).map_err(|e| WorldError::io(to, e))
}

impl Workspace {
    /// Puts a copy of the resource whose files are at `from` in the place of the one at `address`, which
    /// may be missing. It keeps its identity, and the state that is copied counts as the newest.
    pub(super) fn replace_by_copy(
        &self,
        address: &ResourceAddress,
        from: &Path,
        id: ResourceId,
        protection: &Protection,
    ) -> Result<(), WorldError> {
        let mut changing = self.begin()?;
        if let Some(entry) = changing.config.entry(address) {
            entry.insist_on_files("a restore")?;
        }
        let (live, new, old) = places(&self.resolved_path(address));
        let parent = live.parent().expect("inside the working directory");
        create_dir_private(parent).map_err(|e| WorldError::io(parent, e))?;
        remove(address.kind, &new);
        remove(address.kind, &old);
        copy_resource(address.kind, from, &new)?;
        if let Err(e) = under_the_key(address.kind, &new, protection, from) {
            remove(address.kind, &new);
            return Err(e);
        }
        if address.kind == Kind::Sql && live.exists() {
            super::hold::open_here_only(&live)?;
        }
        let entry = ResourceEntry {
            kind: address.kind,
            name: address.name.clone(),
            id,
            protection: protection.clone(),
            pending: None,
            objects: None,
        };
        // The files that go with the old main file go first, so that none meets the new one.
        match address.kind {
            Kind::Sql => {
                remove(address.kind, &live);
                for (from, to) in sql_files(&new).iter().zip(sql_files(&live)).rev() {
                    if from.exists() {
                        fs::rename(from, &to).map_err(|e| WorldError::io(&to, e))?;
                    }
                }
            }
            Kind::Storage => {
                if live.exists() {
                    fs::rename(&live, &old).map_err(|e| WorldError::io(&live, e))?;
                }
                fs::rename(&new, &live).map_err(|e| WorldError::io(&live, e))?;
                remove(address.kind, &old);
            }
        }
        sync_names(&live).map_err(|e| WorldError::io(&live, e))?;
        match changing.config.entry_mut(address) {
            Ok(found) => *found = entry,
            Err(_) => list(&mut changing.config, address, entry)?,
        }
        changing.save()?;
        if let (Kind::Sql, Some(key)) = (address.kind, protection.key()) {
            self.expect_sql(address, key.vault);
        }
        Ok(())
    }
}

/// Whether the files at `path` are under the key that they are to be under; `named` is what the error calls
/// them.
///
/// # Errors
/// [`WorldError::Usage`] when they are not, or are missing.
pub(super) fn under_the_key(
    kind: Kind,
    path: &Path,
    protection: &Protection,
    named: &Path,
) -> Result<(), WorldError> {
    let found = key_on_disk(kind, path)?.map(|version| version.key());
    match path.exists() && found.as_ref() == protection.key() {
        true => Ok(()),
        false => Err(WorldError::Usage(format!(
            "{}: not what was backed up, or missing; restore another backup",
            named.display()
        ))),
    }
}

fn all_places(live: &Path) -> [PathBuf; 3] {
    places(live).into()
}

/// Makes the directories of `from` below `to`, and lists the files to copy. Symbolic links are left
/// out.
fn tree(from: &Path, to: &Path) -> Result<Vec<(PathBuf, PathBuf)>, WorldError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(from).follow_links(false) {
        let entry = entry.map_err(|e| WorldError::io(from, e.into()))?;
        let inside = entry.path().strip_prefix(from).expect("found below it");
        let target = to.join(inside);
        if entry.file_type().is_dir() {
            create_dir_private(&target).map_err(|e| WorldError::io(&target, e))?;
        } else if entry.file_type().is_file() {
            files.push((entry.path().to_owned(), target));
        }
    }
    Ok(files)
}
