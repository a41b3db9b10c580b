use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::base::SystemClock;
use crate::crypto::SecretBytes;
use crate::world::{AskPassphrase, WhichVault, Workspace};

use super::{CliError, Output};

/// What every command is given beside its own arguments.
#[derive(Clone, Debug)]
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

    /// Where to print.
    pub fn output(&self) -> Output {
        self.output
    }

    /// The working directory, open. A vault's passphrase is asked for when it is needed.
    pub fn workspace(&self) -> Result<Workspace, CliError> {
        let context = self.clone();
        let ask: AskPassphrase =
            Arc::new(move |vault| context.passphrase(vault).map_err(|e| e.to_string()));
        Ok(Workspace::open(self.dir(), ask, Arc::new(SystemClock))?)
    }

    /// The passphrase that a vault is sealed under: from `--passphrase-file`, or asked for on the
    /// terminal.
    pub fn passphrase(&self, vault: &WhichVault) -> Result<SecretBytes, CliError> {
        match &self.passphrase_file {
            Some(file) => passphrase_in(file),
            None => ask(&format!("Passphrase of the vault {vault}: ")),
        }
    }

    /// A new passphrase: from `file`, or asked for twice on the terminal.
    pub fn new_passphrase(&self, file: Option<&Path>) -> Result<SecretBytes, CliError> {
        if let Some(file) = file {
            return passphrase_in(file);
        }
        let first = ask("New passphrase: ")?;
        let again = ask("New passphrase, again: ")?;
        if first.expose() == again.expose() {
            return Ok(first);
        }
        Err(CliError::new(
            "the two passphrases differ",
            "nothing was changed; try again",
        ))
    }

    /// The file that `--passphrase-file` names.
    pub fn passphrase_file(&self) -> Option<&Path> {
        self.passphrase_file.as_deref()
    }
}

fn ask(prompt: &str) -> Result<SecretBytes, CliError> {
    let typed = rpassword::prompt_password(prompt).map_err(|e| {
        CliError::new(
            format_args!("no passphrase could be asked for: {e}"),
            "run it on a terminal, or give --passphrase-file FILE",
        )
    })?;
    Ok(SecretBytes::from_vec(typed.into_bytes()))
}

/// The first line of a file, without its end.
pub(crate) fn passphrase_in(path: &Path) -> Result<SecretBytes, CliError> {
    const MAX_LEN: u64 = 4096;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize));
    let read = File::open(path)
        .and_then(|file| BufReader::new(file.take(MAX_LEN)).read_until(b'\n', &mut line));
    read.map_err(|e| CliError::at(path, e, "give a file with the passphrase in its first line"))?;
    let end = line.iter().position(|b| matches!(b, b'\n' | b'\r'));
    Ok(SecretBytes::from_vec(
        line[..end.unwrap_or(line.len())].to_vec(),
    ))
}
