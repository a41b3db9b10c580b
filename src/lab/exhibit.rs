use std::io;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::base::ResourceId;
use crate::crypto::sha256;
use crate::envelope::ResourceKind;
use crate::resource::{Protection, ResourceError, Wrapper};
use crate::vault::VaultError;
use crate::world::WorldError;

use super::CanarySet;

/// A resource as the thief has it: a copy of its files.
#[derive(Clone, Debug)]
pub struct StolenCopy {
    /// Its identity.
    pub id: ResourceId,
    /// How it is protected; [`Protection::Plain`] for a twin.
    pub protection: Protection,
    /// The database's file, or the storage account's directory, inside the copy.
    pub path: PathBuf,
}

/// A protected resource beside its plain twin, both stolen, of the same data.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// The name that reports use.
    pub name: String,
    /// [`ResourceKind::Sql`] or [`ResourceKind::Storage`].
    pub kind: ResourceKind,
    /// The protected copy.
    pub protected: StolenCopy,
    /// The plain copy of the same data.
    pub twin: StolenCopy,
}

impl AsRef<str> for Exhibit {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

/// Somebody who has the copy and no right to the key.
#[derive(Clone)]
pub struct Stranger {
    /// Who, in the report's words: "another tenant's vault".
    pub name: String,
    /// The vault that they have.
    pub wrapper: Wrapper,
}

/// A vault as it was when the rest was stolen. No thief of the data has it: it is for the attacks on vaults.
#[derive(Clone, Debug)]
pub struct StolenVault {
    /// Its name in its working directory.
    pub name: String,
    /// A copy of its directory, without a key file.
    pub dir: PathBuf,
    /// The key file of the original; none where it is under a passphrase.
    pub key_file: Option<PathBuf>,
}

/// What the attacks work with.
#[derive(Clone)]
pub struct Lab {
    /// What was stolen.
    pub exhibits: Vec<Exhibit>,
    /// The right key: attacks that alter bytes open with it.
    pub owner: Wrapper,
    /// Vaults beside those that the lab makes up itself (none, one with a wrong key, one that lies).
    pub strangers: Vec<Stranger>,
    /// Vaults that the attacks on vaults are tried on, beside those that the lab makes.
    pub vaults: Vec<StolenVault>,
    /// What must not be found in a protected copy.
    pub canaries: CanarySet,
    /// Every random choice comes from this.
    pub seed: u64,
    /// An existing directory for copies of copies; each attack works in its own below it, and
    /// removes it.
    pub scratch: PathBuf,
    /// This program, for attacks on a process or server of its own; without it these are inconclusive.
    pub program: Option<PathBuf>,
}

impl Lab {
    /// The generator for one purpose: the same seed and purpose give the same choices, whatever
    /// else runs.
    pub(super) fn rng(&self, purpose: &str) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(sha256(&[&self.seed.to_le_bytes(), purpose.as_bytes()]))
    }

    /// A fresh directory that goes away with its handle.
    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, LabError> {
        tempfile::Builder::new()
            .prefix("attack-")
            .tempdir_in(&self.scratch)
            .map_err(|e| LabError::io(&self.scratch, e))
    }
}

/// Why the lab could not do its work: never a finding about the data.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// A resource did not do what the lab's set-up needs.
    #[error("the lab's set-up: {0}")]
    Resource(#[from] ResourceError),
    /// SQLite did not do what the lab's set-up needs.
    #[error("the lab's set-up: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The working directory did not do what the lab's set-up needs.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The vault did not sign the report.
    #[error("the report is not signed: {0}")]
    Vault(#[from] VaultError),
    /// No attack has this number, or this name.
    #[error("no attack {0:?}: `atrest prove --list` lists them")]
    NoSuchAttack(String),
    /// The report could not be made.
    #[error("the report: {0}")]
    Report(String),
    /// A standard tool did not do its work, so that nothing follows from what it found.
    #[error("{program} failed: {how}")]
    Tool {
        /// The program.
        program: &'static str,
        /// How it ended, and its last words.
        how: String,
    },
}

impl LabError {
    /// A failure of the file system at `path`.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}
