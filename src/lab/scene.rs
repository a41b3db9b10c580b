use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{ExtentId, ResourceId, create_dir_private};
use crate::crypto::random_id;
use crate::resource::blob::{ContainerName, StorageAccount};
use crate::resource::sql::SqlDatabase;
use crate::resource::{Protection, Wrapper};
use crate::sqlite::database_files;
use crate::world::{CONFIG, Kind, ResourceAddress, ResourceEntry, Workspace};

use super::inventory::{Readable, readable};
use super::theft::{copy_vault, duplicate, list};
use super::{CanarySet, Exhibit, LabError, Manifest, Searcher, StolenCopy, StolenVault, steal};

/// Where the stolen files are in the directory of a scene, and where they are kept.
pub const STOLEN: &str = "stolen";

/// A working directory's resources, stolen, each protected one beside a plain twin made for the
/// purpose.
pub struct Scene {
    /// What was stolen.
    pub manifest: Manifest,
    /// The protected resources.
    pub exhibits: Vec<Exhibit>,
    /// Protected resources that no twin could be made of, and why: nothing can be proved of them.
    pub without_twin: Vec<(ResourceAddress, String)>,
    /// Resources that are not protected at all.
    pub plain: Vec<String>,
    /// Files that lie among the data, are no part of a resource, and can be read by anybody.
    pub readable: Vec<Readable>,
    /// Its vaults, of those that lie in it.
    pub vaults: Vec<StolenVault>,
    /// Distinctive pieces of the data.
    pub canaries: CanarySet,
}

/// Sets the scene: copies everything at rest of `workspace` into `dir`, and makes there a plain
/// twin of each protected resource among `wanted` (all, when that is empty). The working directory
/// is only read. **`dir` then holds plaintext**: it should be private, and go away afterwards.
///
/// # Errors
/// When the copy cannot be made, or a resource of `wanted` does not exist.
pub fn set_scene(
    workspace: &Workspace,
    wanted: &[ResourceAddress],
    dir: &Path,
    seed: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Scene, LabError> {
    let resources = match wanted {
        [] => workspace.resources(),
        some => some
            .iter()
            .map(|a| workspace.resource(a))
            .collect::<Result<_, _>>()?,
    };
    let stolen = dir.join(STOLEN);
    // Before one of them is opened: a file that this process has open is not to be opened beside SQLite.
    let vaults = vaults(workspace, &dir.join("vaults"))?;
    let manifest = steal(workspace.dir(), &workspace.at_rest()?, &stolen, progress)?;
    let mut scene = Scene {
        manifest,
        exhibits: Vec::new(),
        without_twin: Vec::new(),
        plain: Vec::new(),
        readable: Vec::new(),
        vaults,
        canaries: CanarySet::default(),
    };
    for (number, (address, entry)) in resources.into_iter().enumerate() {
        if entry.protection == Protection::Plain {
            scene.plain.push(address.to_string());
            continue;
        }
        let own = dir.join(format!("twin-{number}"));
        match exhibit(workspace, &address, &entry, &stolen, &own) {
            Ok(exhibit) => scene.exhibits.push(exhibit),
            Err(LabError::Resource(e)) => {
                scene.without_twin.push((address, e.to_string()));
            }
            Err(e) => return Err(e),
        }
    }
    let share = CanarySet::MAX / scene.exhibits.len().max(1);
    for exhibit in &scene.exhibits {
        draw(&mut scene.canaries, exhibit, share, seed)?;
    }
    if wanted.is_empty() {
        let beside = beside_resources(workspace, &scene.manifest, &stolen)?;
        scene.readable = readable(&beside, &Searcher::new(&scene.canaries)?)?;
        for found in &mut scene.readable {
            found.path = found
                .path
                .strip_prefix(&stolen)
                .unwrap_or(&found.path)
                .to_owned();
        }
    }
    Ok(scene)
}

/// Copies of the vaults that lie in the working directory, below `dir`. One behind a server does not.
fn vaults(workspace: &Workspace, dir: &Path) -> Result<Vec<StolenVault>, LabError> {
    let mut stolen = Vec::new();
    for (which, ..) in workspace.vaults()? {
        let from = which.dir(workspace.dir());
        if !from.is_dir() {
            continue;
        }
        let copy = dir.join(which.name());
        copy_vault(&from, &copy)?;
        let key_file = which.key_file(workspace.dir());
        stolen.push(StolenVault {
            name: which.name().to_owned(),
            dir: copy,
            key_file: key_file.is_file().then_some(key_file),
        });
    }
    Ok(stolen)
}

/// The stolen files that are no part of a resource, and not the working directory's own.
fn beside_resources(
    workspace: &Workspace,
    manifest: &Manifest,
    stolen: &Path,
) -> Result<Vec<PathBuf>, LabError> {
    let mut known = vec![stolen.join(CONFIG)];
    for (address, _) in workspace.resources() {
        let live = workspace.path(&address)?;
        let inside = live.strip_prefix(workspace.dir()).unwrap_or(&live);
        let path = stolen.join(inside);
        known.extend(database_files(&path));
        known.push(path);
    }
    let all = manifest.files.iter().map(|file| stolen.join(&file.path));
    Ok(all
        .filter(|path| !known.iter().any(|k| path.starts_with(k)))
        .collect())
}

/// A resource as it lies in the copy of `workspace` at `stolen`, and an unprotected twin of it, with the same rows or
/// blobs, that is made in the directory `own`: the control of what is tried on it. **`own` then holds plaintext.**
///
/// # Errors
/// [`LabError::Resource`] when the owner's key does not open it now: then nothing can be proved of it.
pub fn exhibit(
    workspace: &Workspace,
    address: &ResourceAddress,
    entry: &ResourceEntry,
    stolen: &Path,
    own: &Path,
) -> Result<Exhibit, LabError> {
    create_dir_private(own).map_err(|e| LabError::io(own, e))?;
    let live = workspace.path(address)?;
    let inside = live.strip_prefix(workspace.dir());
    let protected = StolenCopy {
        id: entry.id,
        protection: entry.protection.clone(),
        path: stolen.join(inside.expect("a resource lies in its working directory")),
    };
    let twin = StolenCopy {
        id: random_id(ResourceId::from_bytes),
        protection: Protection::Plain,
        path: own.join("twin"),
    };
    match address.kind {
        Kind::Sql => database_twin(&protected, &twin, &workspace.wrapper(), own)?,
        Kind::Storage => account_twin(&protected, &twin, &workspace.wrapper(), own)?,
    }
    Ok(Exhibit {
        name: address.to_string(),
        kind: address.kind.into(),
        protected,
        twin,
    })
}

fn database_twin(
    protected: &StolenCopy,
    twin: &StolenCopy,
    owner: &Wrapper,
    own: &Path,
) -> Result<(), LabError> {
    let copy = duplicate(&protected.path, own)?;
    let database = SqlDatabase::open(&copy, protected.id, protected.protection.clone(), owner)?;
    database.export(&twin.path, &mut |_, _| ())?;
    Ok(())
}

fn account_twin(
    protected: &StolenCopy,
    twin: &StolenCopy,
    owner: &Wrapper,
    own: &Path,
) -> Result<(), LabError> {
    // Extents are never changed in place, so that links to them are copies enough; packs of them are.
    let copy = own.join("copy");
    let (from, to) = (protected.path.join("extents"), copy.join("extents"));
    create_dir_private(&to).map_err(|e| LabError::io(&to, e))?;
    for path in list(&from)? {
        let name = path.file_name().unwrap_or_default();
        match name.to_str().map(str::parse::<ExtentId>) {
            Some(Ok(_)) => {
                let linked = fs::hard_link(&path, to.join(name));
                linked.map_err(|e| LabError::io(&path, e))?;
            }
            _ => drop(duplicate(&path, &to)?),
        }
    }
    for path in list(&protected.path)?.iter().filter(|p| p.is_file()) {
        duplicate(path, &copy)?;
    }
    let source = StorageAccount::open(&copy, protected.id, protected.protection.clone(), owner)?;
    let target = StorageAccount::create(&twin.path, twin.id, Protection::Plain, None, owner)?;
    for container in source.containers("", "", usize::MAX)? {
        if container.name != ContainerName::default() {
            target.create_container(&container.name, &container.metadata)?;
        }
    }
    for blob in source.blobs()? {
        let path = blob.path();
        let piped = |e| LabError::io(&twin.path, e);
        let (mut reader, mut writer) = std::io::pipe().map_err(piped)?;
        let (read, written) = std::thread::scope(|scope| {
            let read = scope.spawn(|| {
                let read = source.get(&path, None, &mut writer, &mut |_| ());
                drop(writer);
                read
            });
            let written = target.put(&path, &mut reader, &mut |_| ());
            drop(reader);
            (read.join().expect("a read does not panic"), written)
        });
        read?;
        written?;
    }
    Ok(())
}

fn draw(
    canaries: &mut CanarySet,
    exhibit: &Exhibit,
    wanted: usize,
    seed: u64,
) -> Result<(), LabError> {
    /// Blobs that canaries are drawn from.
    const BLOBS: usize = 64;
    let path = &exhibit.twin.path;
    if path.is_dir() {
        let extents = list(&path.join("extents"))?;
        let step = extents.len().div_ceil(BLOBS).max(1);
        let some: Vec<PathBuf> = extents.into_iter().step_by(step).collect();
        canaries.draw_from_files(&some, wanted, seed)?;
    } else {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        canaries.draw_from_database(&connection, wanted, seed)?;
    }
    Ok(())
}
