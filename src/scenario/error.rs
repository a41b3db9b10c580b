use std::path::Path;

use crate::lab::LabError;
use crate::resource::ResourceError;
use crate::vault::VaultError;
use crate::world::WorldError;

use super::file::BadFile;

/// Why the demo or a scenario could not begin or end. Once it has begun, whatever goes wrong is a
/// claim that fails.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Something that the user named cannot be used.
    #[error("{path}: {why}")]
    Input {
        /// What they named.
        path: String,
        /// The cause and what to do.
        why: String,
    },
    /// A scenario file is wrong.
    #[error(transparent)]
    File(#[from] BadFile),
    /// The working directory refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A resource refused.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A vault refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The lab could not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl ScenarioError {
    pub(super) fn input(path: &Path, why: impl Into<String>) -> Self {
        Self::Input {
            path: path.display().to_string(),
            why: why.into(),
        }
    }

    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.display().to_string(),
            source,
        }
    }
}

/// The cause in an error, as short as a line wants it: without the file, which the line names, and
/// without advice, and a key as `NAME/VERSION` with the first digits of the version. The report has
/// it whole.
pub(in crate::scenario) fn reason(error: &impl std::fmt::Display) -> String {
    const KEY: &str = "/keys/";
    let text = error.to_string();
    let cause = text.rsplit("is not available: ").next().unwrap_or(&text);
    let cause = cause.split(';').next().unwrap_or(cause);
    let shown = |word: &str| match word
        .split_once(KEY)
        .and_then(|(_, key)| key.split_once('/'))
    {
        Some((name, version)) => format!("{name}/{}", version.get(..8).unwrap_or(version)),
        None => word.to_owned(),
    };
    cause.split(' ').map(shown).collect::<Vec<_>>().join(" ")
}
