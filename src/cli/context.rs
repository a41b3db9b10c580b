use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::base::Clock;
use crate::crypto::SecretBytes;
use crate::vault::RemoteOptions;
use crate::world::landscape::WorldClock;
use crate::world::{AskPassphrase, WhichVault, Workspace};

use super::{CliError, Output};

/// Where the customer's vault is asked; empty for "here".
pub(crate) const VAULT_URL: &str = "ATREST_VAULT_URL";
/// The certificate that is trusted there.
pub(crate) const VAULT_CA: &str = "ATREST_VAULT_CA";

/// What every command is given beside its own arguments.
#[derive(Clone, Debug)]
pub struct Context {
    dir: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
    output: Output,
    vault_url: Option<String>,
    vault_ca: Option<PathBuf>,
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
            vault_url: None,
            vault_ca: None,
        }
    }

    /// The customer's vault is asked through the server at `url`, when that is not empty.
    pub(super) fn through(mut self, url: Option<String>, ca: Option<PathBuf>) -> Self {
        self.vault_url = url.filter(|url| !url.is_empty());
        self.vault_ca = ca.filter(|ca| !ca.as_os_str().is_empty());
        self
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

    /// The working directory, open, its customer's vault wherever the user says. A vault's passphrase is
    /// asked for when it is needed.
    pub fn workspace(&self) -> Result<Workspace, CliError> {
        let workspace = self.workspace_here()?;
        let Some(url) = &self.vault_url else {
            return Ok(workspace);
        };
        let ca = self.vault_ca.as_deref();
        let options = RemoteOptions::from_variables(url, ca, &|name| env::var_os(name))?;
        Ok(workspace.through(options))
    }

    /// For what is done where the customer's vault lies, and without a word to it.
    ///
    /// # Errors
    /// The user says that it is elsewhere.
    pub fn insist_on_own_vault(&self) -> Result<(), CliError> {
        match &self.vault_url {
            None => Ok(()),
            Some(url) => Err(CliError::new(
                format_args!(
                    "the customer's vault is asked through {url}, and this is done where it lies"
                ),
                "do it there, or without --vault-url and ATREST_VAULT_URL (`--vault-url=` overrides the \
                 variable)",
            )),
        }
    }

    /// The working directory, open, its customer's vault in it.
    pub fn workspace_here(&self) -> Result<Workspace, CliError> {
        let context = self.clone();
        let ask: AskPassphrase =
            Arc::new(move |vault| context.passphrase(vault).map_err(|e| e.to_string()));
        Ok(Workspace::open(self.dir(), ask, self.clock())?)
    }

    /// What the vaults go by: the landscape's clock where there is one.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(WorldClock::of(self.dir()))
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
