//! What is measured: what resources hold, and in what files differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::resource::ResourceError;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::{Content, SqlDatabase, content_hash};

use super::ScenarioError;

/// What a database and an account hold; equal when they hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::scenario) struct Fingerprint {
    pub(in crate::scenario) sql: Content,
    /// Name to size and SHA-256.
    pub(in crate::scenario) blobs: BTreeMap<String, (u64, String)>,
}

impl Fingerprint {
    /// Reads everything.
    pub(in crate::scenario) fn take(
        sql: &SqlDatabase,
        storage: &StorageAccount,
    ) -> Result<Self, ResourceError> {
        let content = content_hash(&sql.connect()?).map_err(|e| sql.explain(e))?;
        Ok(Self {
            sql: content,
            blobs: blob_hashes(storage)?,
        })
    }

    pub(in crate::scenario) fn rows(&self) -> u64 {
        self.sql.rows()
    }

    pub(in crate::scenario) fn blob_bytes(&self) -> u64 {
        self.blobs.values().map(|(size, _)| size).sum()
    }

    /// The table with the most rows, quoted for SQL; `None` without tables.
    pub(in crate::scenario) fn largest_table(&self) -> Option<String> {
        let largest = self.sql.tables.iter().max_by_key(|t| t.rows)?;
        Some(format!("\"{}\"", largest.name.replace('"', "\"\"")))
    }
}

/// Every blob's size and SHA-256, by name; everything is read.
pub(in crate::scenario) fn blob_hashes(
    storage: &StorageAccount,
) -> Result<BTreeMap<String, (u64, String)>, ResourceError> {
    let mut blobs = BTreeMap::new();
    for blob in storage.blobs()? {
        let mut sink = HashSink(Sha256::new());
        let info = storage.get(&blob.path(), None, &mut sink, &mut |_| ())?;
        let hash = hex::encode(sink.0.finalize());
        blobs.insert(blob.name.to_string(), (info.size, hash));
    }
    Ok(blobs)
}

struct HashSink(Sha256);

impl Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In what a resource on disk differs from a copy of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scenario) struct Difference {
    /// Bytes of the resource.
    pub(in crate::scenario) bytes: u64,
    /// Bytes that differ, at the same place of the same file.
    pub(in crate::scenario) differing: u64,
    /// Bytes that differ outside headers: data.
    pub(in crate::scenario) data_differing: u64,
    /// Names of the files that differ.
    pub(in crate::scenario) files: Vec<String>,
}

/// Where the headers of a sealed database end (docs/format.md, "Sealed SQLite file").
const SQL_HEADER: u64 = 4096;
/// The one file of an account that holds wrapped keys only.
const ACCOUNT_HEADER: &str = "account.atrest";

impl Difference {
    /// Compares a database's file, or an account's directory, byte for byte. What only one side
    /// has counts as differing.
    pub(in crate::scenario) fn between(live: &Path, copy: &Path) -> Result<Self, ScenarioError> {
        let mut difference = Self::default();
        if live.is_file() {
            difference.file(live, copy, SQL_HEADER)?;
            return Ok(difference);
        }
        let mut names = files(live)?;
        names.extend(files(copy)?);
        for name in names {
            let header = if name == Path::new(ACCOUNT_HEADER) {
                u64::MAX
            } else {
                0
            };
            difference.file(&live.join(&name), &copy.join(&name), header)?;
        }
        Ok(difference)
    }

    fn file(&mut self, live: &Path, copy: &Path, header: u64) -> Result<(), ScenarioError> {
        const STEP: usize = 1 << 18;
        let (mut mine, mut theirs) = (reader(live)?, reader(copy)?);
        let (mut a, mut b) = (Vec::with_capacity(STEP), Vec::with_capacity(STEP));
        let (mut at, before) = (0_u64, self.differing);
        loop {
            read_up_to(&mut mine, STEP, &mut a).map_err(|e| ScenarioError::io(live, e))?;
            read_up_to(&mut theirs, STEP, &mut b).map_err(|e| ScenarioError::io(copy, e))?;
            self.bytes += a.len() as u64;
            let longest = a.len().max(b.len());
            if longest == 0 {
                break;
            }
            if a != b {
                let differing = (0..longest).filter(|&i| a.get(i) != b.get(i));
                for i in differing {
                    self.differing += 1;
                    self.data_differing += u64::from(at + i as u64 >= header);
                }
            }
            at += longest as u64;
        }
        if self.differing > before {
            let name = live.file_name().unwrap_or_default();
            self.files.push(name.to_string_lossy().into_owned());
        }
        Ok(())
    }
}

/// The files below a directory, relative to it.
fn files(dir: &Path) -> Result<BTreeSet<PathBuf>, ScenarioError> {
    let mut found = BTreeSet::new();
    for entry in walkdir::WalkDir::new(dir) {
        let entry = entry.map_err(|e| ScenarioError::io(dir, e.into()))?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(dir).expect("found below it");
            found.insert(relative.to_owned());
        }
    }
    Ok(found)
}

/// A missing file reads as an empty one.
fn reader(path: &Path) -> Result<Box<dyn Read>, ScenarioError> {
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Box::new(io::empty())),
        Err(e) => Err(ScenarioError::io(path, e)),
    }
}

fn read_up_to(from: &mut dyn Read, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    from.take(len as u64).read_to_end(into).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_data_byte_is_never_taken_for_a_header_change() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
        let mut bytes = vec![7; 600_000];
        fs::write(&copy, &bytes).unwrap();
        fs::write(&live, &bytes).unwrap();
        let same = Difference::between(&live, &copy).unwrap();
        assert_eq!((same.bytes, same.differing), (600_000, 0));
        bytes[100] = 8;
        bytes[4095] = 8;
        fs::write(&live, &bytes).unwrap();
        let header = Difference::between(&live, &copy).unwrap();
        assert_eq!((header.differing, header.data_differing), (2, 0));
        bytes[4096] = 8;
        bytes.push(1);
        fs::write(&live, &bytes).unwrap();
        let data = Difference::between(&live, &copy).unwrap();
        assert_eq!((data.differing, data.data_differing), (4, 2));
    }

    #[test]
    fn a_file_that_only_one_side_has_counts_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
        for side in [&live, &copy] {
            fs::create_dir(side).unwrap();
            fs::write(side.join(ACCOUNT_HEADER), side.to_str().unwrap()).unwrap();
        }
        let header = Difference::between(&live, &copy).unwrap();
        assert!(header.differing > 0 && header.data_differing == 0);
        assert_eq!(header.files, [ACCOUNT_HEADER]);
        fs::write(copy.join("extent"), "12345").unwrap();
        assert_eq!(Difference::between(&live, &copy).unwrap().data_differing, 5);
    }
}
