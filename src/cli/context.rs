use std::path::{Path, PathBuf};

use super::Output;

/// What every command is given beside its own arguments.
#[derive(Debug)]
pub struct Context {
    dir: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    output: Output,
}

impl Context {
    pub(super) fn new(
        dir: Option<PathBuf>,
        passphrase_file: Option<PathBuf>,
        output: Output,
    ) -> Self {
        Self {
            dir,
            passphrase_file,
            output,
        }
    }

    /// The working directory: as given, or the current one.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }

    /// The working directory, if one was given.
    pub fn dir_given(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Where the customer vault's passphrase is to be read from, instead of asking.
    pub fn passphrase_file(&self) -> Option<&Path> {
        self.passphrase_file.as_deref()
    }

    /// Where to print.
    pub fn output(&self) -> Output {
        self.output
    }
}
