use std::path::PathBuf;

use crate::lab::CanarySet;
use crate::resource::sql::SqlDatabase;
use crate::scenario::blobs::{BlobSource, folder, readable};
use crate::scenario::sample::Sample;

use super::DemoOptions;
use crate::scenario::ScenarioError;

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

/// How many canaries are drawn from each kind of the user's own data.
const DRAWN: usize = 20;

impl Sources {
    /// Looks at everything that the user named, before anything is made.
    pub(super) fn new(options: &DemoOptions) -> Result<Self, ScenarioError> {
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
    pub(super) fn canaries(&self, twin: &SqlDatabase) -> Result<CanarySet, ScenarioError> {
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
