//! Bringing a copy of a working directory's data back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::create_dir_private;

use super::config::{Config, Environment};
use super::resources::{list, remove, sql_files};
use super::workspace::resource_path;
use super::{Kind, Name, ResourceAddress, ResourceEntry, Workspace, WorldError};

impl Workspace {
    /// Brings every resource of the copy in the directory `copy` (made of what
    /// [`Workspace::at_rest`] names) into an environment, which is made when it is missing. They
    /// keep their identities and protection; whether they open depends on the vaults here holding
    /// their keys. The copy stays as it is. `progress` is told bytes done and in all.
    ///
    /// # Errors
    /// [`WorldError::Exists`] when a name is taken there, or is in two environments of the copy.
    /// Nothing is left of what was copied then.
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
                let address = ResourceAddress {
                    environment: Some(environment.clone()),
                    kind: entry.kind,
                    name: entry.name.clone(),
                };
                let address = self.vacant(&changing.config, &address)?;
                let entry = ResourceEntry {
                    pending: None,
                    ..entry.clone()
                };
                list(&mut changing.config, &address, entry)?;
                let stolen = resource_path(copy, &from.name, address.kind, &address.name);
                plan.push((stolen, address));
            }
        }
        let copied = self
            .copy_all(&plan, progress)
            .and_then(|()| changing.save());
        if let Err(e) = copied {
            for (_, address) in &plan {
                remove(address.kind, &self.resolved_path(address));
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
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), WorldError> {
        let mut files = Vec::new();
        for (from, address) in plan {
            let to = self.resolved_path(address);
            match address.kind {
                Kind::Sql => {
                    let pairs = sql_files(from).into_iter().zip(sql_files(&to));
                    // The last tells where memory is shared, which a copy has no use for.
                    files.extend(pairs.take(3).filter(|(from, _)| from.is_file()));
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
