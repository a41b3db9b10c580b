//! Blobs on their way into storage accounts: made up, or the user's own files, which are only read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::resource::blob::{BlobName, BlobPath, StorageAccount};

use super::ScenarioError;
use super::sample::Document;

/// A blob before it is stored.
pub(in crate::scenario) enum BlobSource {
    /// Made up.
    Sample(Document),
    /// A file of the user's; read only.
    File(PathBuf, BlobName),
}

impl BlobSource {
    /// Puts it into an account; returns its size.
    pub(in crate::scenario) fn put(&self, into: &StorageAccount) -> Result<u64, ScenarioError> {
        let (name, mut bytes): (_, Box<dyn Read + Send>) = match self {
            Self::Sample(document) => (
                &document.name,
                Box::new(std::io::Cursor::new(document.bytes())),
            ),
            Self::File(path, name) => {
                let file = File::open(path).map_err(|e| unreadable(path, &e))?;
                (name, Box::new(file))
            }
        };
        let path = BlobPath::in_default(name.clone());
        Ok(into.put(&path, &mut *bytes, &mut |_| ())?.size)
    }
}

/// The files below the user's folder, in a fixed order, and how many things were left out.
pub(in crate::scenario) fn folder(dir: &Path) -> Result<(Vec<BlobSource>, u64), ScenarioError> {
    let (mut found, mut skipped) = (Vec::new(), 0);
    if !dir.is_dir() {
        let why = if dir.exists() {
            "not a folder"
        } else {
            "no such folder"
        };
        let why = format!("{why}; give the folder whose files are to be used");
        return Err(ScenarioError::input(dir, why));
    }
    for entry in walkdir::WalkDir::new(dir)
        .follow_links(false)
        .sort_by_file_name()
    {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(dir).to_owned();
            unreadable(&path, &e.into())
        })?;
        if entry.file_type().is_dir() {
            continue;
        }
        if !entry.file_type().is_file() {
            skipped += 1;
            continue;
        }
        let path = entry.into_path();
        readable(&path)?;
        let relative = path.strip_prefix(dir).expect("found below it");
        let unusable = |why: &str| {
            let why = format!("cannot be the name of a blob: {why}; rename it, or leave it out");
            ScenarioError::input(&path, why)
        };
        let text = relative
            .to_str()
            .ok_or_else(|| unusable("it is not UTF-8"))?;
        let name = BlobName::parse(text).map_err(|e| unusable(&e.to_string()))?;
        found.push(BlobSource::File(path, name));
    }
    if found.is_empty() {
        return Err(ScenarioError::input(
            dir,
            "holds no files; give a folder with some",
        ));
    }
    Ok((found, skipped))
}

/// Refuses what cannot be read as a file.
pub(in crate::scenario) fn readable(path: &Path) -> Result<(), ScenarioError> {
    let metadata = path.metadata().map_err(|e| unreadable(path, &e))?;
    if !metadata.is_file() {
        return Err(ScenarioError::input(path, "not a regular file; give one"));
    }
    File::open(path).map(drop).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, cause: &std::io::Error) -> ScenarioError {
    ScenarioError::input(path, format!("{cause}; make it readable, or leave it out"))
}
