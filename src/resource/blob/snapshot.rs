use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;

use crate::resource::ResourceError;

use super::attributes::{Conditions, Pairs};
use super::change::TRIES;
use super::manifest::Subject;
use super::sealing::Found;
use super::{BlobInfo, BlobPath, Encryption, StorageAccount};

/// When a snapshot of a blob was taken, which names it: microseconds since 1970-01-01T00:00:00Z. As text it
/// has the seven digits of a second that the Blob service writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot(i64);

/// Not the name of a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the time of a snapshot: expected 2026-07-01T08:30:00.1234560Z")]
pub struct BadSnapshot(String);

impl Snapshot {
    /// Taken so many microseconds after 1970-01-01T00:00:00Z.
    pub fn from_micros(micros: i64) -> Option<Self> {
        Timestamp::from_microsecond(micros)
            .ok()
            .map(|_| Self(micros))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_microsecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%S.%6f0Z"))
    }
}

impl FromStr for Snapshot {
    type Err = BadSnapshot;
    fn from_str(text: &str) -> Result<Self, BadSnapshot> {
        let time = text.parse::<Timestamp>().ok();
        let snapshot = time.and_then(|time| Self::from_micros(time.as_microsecond()));
        // One text stands for each snapshot: it is signed, and compared.
        snapshot
            .filter(|snapshot| snapshot.to_string() == text)
            .ok_or_else(|| BadSnapshot(text.chars().take(64).collect()))
    }
}

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A blob as it is, or as it was when a snapshot of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobAt<'a> {
    /// Which blob.
    pub path: &'a BlobPath,
    /// Which snapshot of it; `None` for the blob as it is.
    pub snapshot: Option<Snapshot>,
}

impl<'a> BlobAt<'a> {
    /// What its manifest is sealed for.
    pub(super) fn subject(self) -> Subject<'a> {
        match self.snapshot {
            None => Subject::Blob(self.path),
            Some(snapshot) => Subject::Snapshot(self.path, snapshot),
        }
    }
}

impl<'a> From<&'a BlobPath> for BlobAt<'a> {
    fn from(path: &'a BlobPath) -> Self {
        Self {
            path,
            snapshot: None,
        }
    }
}

impl fmt::Display for BlobAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.snapshot {
            None => self.path.fmt(f),
            Some(snapshot) => write!(f, "{}?snapshot={snapshot}", self.path),
        }
    }
}

/// What a deletion of a blob does to its snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshots {
    /// It is refused when there are any.
    #[default]
    Refuse,
    /// They go, too.
    Include,
    /// They go, and the blob stays.
    Only,
}

impl StorageAccount {
    /// Takes a snapshot of the blob at `path`, if that meets `conditions`: it reads as the blob does now,
    /// whatever becomes of that, until it is deleted. With `metadata` of its own, or the blob's. No byte of
    /// the content is copied. Needs its key.
    pub fn snapshot(
        &self,
        path: &BlobPath,
        metadata: Option<&Pairs>,
        encryption: Encryption<'_>,
        conditions: &Conditions,
    ) -> Result<BlobInfo, ResourceError> {
        for _ in 0..TRIES {
            let Found {
                entry: found,
                mut manifest,
                key,
            } = self.find(path.into(), encryption)?;
            if let Some(metadata) = metadata {
                manifest.metadata = metadata.clone();
            }
            let newest = self.catalog.newest_snapshot(path)?;
            let now = self.now().as_microsecond();
            let taken = newest.map_or(now, |newest| now.max(newest.micros() + 1));
            let taken = Snapshot::from_micros(taken).ok_or_else(|| self.busy())?;
            let mut entry = found.clone();
            entry.generation = super::content::new_generation();
            entry.snapshot = Some(taken);
            let subject = Subject::Snapshot(path, taken);
            let sealed = self.seal_manifest(&manifest, entry.generation, key.as_ref(), subject)?;
            let is_new_state = metadata.is_some();
            let taken =
                self.catalog
                    .take_snapshot(&found, entry, &sealed, is_new_state, conditions)?;
            if let Some(entry) = taken {
                return self.blob_info(entry);
            }
        }
        Err(self.busy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_has_one_name() {
        let text = "2026-07-01T08:30:00.1234560Z";
        assert_eq!(text.parse::<Snapshot>().unwrap().to_string(), text);
        for other in [
            "",
            "2026-07-01T08:30:00Z",
            "2026-07-01T08:30:00.123456Z",
            "2026-07-01T08:30:00.1234561Z",
            "2026-07-01T09:30:00.1234560+01:00",
        ] {
            assert!(other.parse::<Snapshot>().is_err(), "{other}");
        }
    }
}
