use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::lab::CanarySet;
use crate::resource::blob::{BlobName, BlobPath, StorageAccount};
use crate::resource::sql::SqlDatabase;
use crate::scenario::sample::{Document, Sample};

use super::{DemoError, DemoOptions};

/// Where the demo's data comes from.
pub(super) struct Sources {
    pub(super) sql: SqlSource,
    pub(super) blobs: Vec<BlobSource>,
    /// Symbolic links and other things in the user's folder that are no files: left out.
    pub(super) skipped: u64,
    seed: u64,
}

pub(super) enum SqlSource {
    Sample(Sample),
    /// The user's database; read only.
    File(PathBuf),
}

pub(super) enum BlobSource {
    Sample(Document),
    /// A file of the user's; read only.
    File(PathBuf, BlobName),
}

/// How many canaries are drawn from each kind of the user's own data.
const DRAWN: usize = 20;

impl Sources {
    /// Looks at everything that the user named, before anything is made.
    pub(super) fn new(options: &DemoOptions) -> Result<Self, DemoError> {
        let sample = Sample::new(options.seed, options.rows);
        let sql = match &options.sql {
            None => SqlSource::Sample(sample),
            Some(file) => {
                readable(file)?;
                SqlSource::File(file.clone())
            }
        };
        let (blobs, skipped) = match &options.files {
            Some(dir) => folder(dir)?,
            None => {
                let documents = sample.documents().into_iter().map(BlobSource::Sample);
                (documents.collect(), 0)
            }
        };
        Ok(Self {
            sql,
            blobs,
            skipped,
            seed: options.seed,
        })
    }

    /// What must not be found in protected bytes: markers that are planted in made-up data, and
    /// distinctive pieces of the user's own, which lies in the plain twins by now.
    pub(super) fn canaries(&self, twin: &SqlDatabase) -> Result<CanarySet, DemoError> {
        let mut canaries = CanarySet::default();
        let planted = match &self.sql {
            SqlSource::Sample(sample) => {
                let markers = sample.canaries();
                markers[..sample.markers_in_database()].to_vec()
            }
            SqlSource::File(_) => {
                let conn = twin.connect()?;
                canaries.draw_from_database(&conn, DRAWN, self.seed)?;
                Vec::new()
            }
        };
        canaries.plant(planted);
        let mut files = Vec::new();
        for blob in &self.blobs {
            match blob {
                BlobSource::Sample(document) => {
                    canaries.plant(document.marker());
                }
                BlobSource::File(path, _) => files.push(path),
            }
        }
        canaries.draw_from_files(&files, DRAWN, self.seed)?;
        Ok(canaries)
    }
}

impl BlobSource {
    /// Puts it into an account; returns its size.
    pub(super) fn put(&self, into: &StorageAccount) -> Result<u64, DemoError> {
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
fn folder(dir: &Path) -> Result<(Vec<BlobSource>, u64), DemoError> {
    let (mut found, mut skipped) = (Vec::new(), 0);
    if !dir.is_dir() {
        let why = if dir.exists() {
            "not a folder"
        } else {
            "no such folder"
        };
        let why = format!("{why}; give the folder whose files are to be used");
        return Err(DemoError::input(dir, why));
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
            DemoError::input(&path, why)
        };
        let text = relative
            .to_str()
            .ok_or_else(|| unusable("it is not UTF-8"))?;
        let name = BlobName::parse(text).map_err(|e| unusable(&e.to_string()))?;
        found.push(BlobSource::File(path, name));
    }
    if found.is_empty() {
        return Err(DemoError::input(
            dir,
            "holds no files; give a folder with some",
        ));
    }
    Ok((found, skipped))
}

fn readable(path: &Path) -> Result<(), DemoError> {
    let metadata = path.metadata().map_err(|e| unreadable(path, &e))?;
    if !metadata.is_file() {
        return Err(DemoError::input(path, "not a regular file; give one"));
    }
    File::open(path).map(drop).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, cause: &std::io::Error) -> DemoError {
    DemoError::input(path, format!("{cause}; make it readable, or leave it out"))
}
