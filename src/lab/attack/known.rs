use std::path::{Path, PathBuf};

use crate::base::ResourceId;
use crate::crypto::random_id;
use crate::lab::detect::scan_files;
use crate::lab::{CanarySet, Documented, Figures, LabError, Scan, Searcher};

/// Bytes that lie in a specimen, and the search for them in every encoding.
pub(super) struct Known(Searcher);

impl Known {
    /// The search for these; each must be long and varied enough to be a canary.
    pub(super) fn new<S: AsRef<[u8]>>(texts: &[S]) -> Result<Self, LabError> {
        let mut set = CanarySet::default();
        if set.plant(texts) != texts.len() {
            return Err(LabError::Report("a known text proves nothing".to_owned()));
        }
        Ok(Self(Searcher::new(&set)?))
    }

    /// What the detectors see in these files.
    pub(super) fn in_files(&self, files: &[PathBuf]) -> Result<Figures, LabError> {
        scan_files(Path::new(""), files, &self.0, &|_| ())
    }

    /// What they see in these bytes.
    pub(super) fn in_bytes(&self, name: &str, bytes: &[u8]) -> Figures {
        let mut scan = Scan::new(&self.0, name, Documented::none(), bytes.len() as u64);
        scan.feed(bytes);
        scan.finish()
    }
}

/// A text that occurs nowhere else, not even in another attack of this run.
pub(super) fn marker(what: &str) -> String {
    format!("{what} {}", random_id(ResourceId::from_bytes))
}
