use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::VaultName;
use crate::crypto::SecretBytes;
use crate::vault::{KeyVault, LocalVault, RootKeyKind, RootKeySource, VaultSettings, VaultStatus};
use crate::world::{AnyVault, NewVault, VaultKind, WhichVault};

use super::vaults::list;
use super::{CliError, Context, Outcome};

/// Arguments of `atrest vault`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest vault create payroll                  keys apart from the others': payroll.vault.azure.net
  atrest vault status                          keys, settings, what the root key comes from
  atrest vault seal                            no file opens it any more, and nobody uses it
  atrest vault unseal                          back to normal use, under a key file
  atrest vault change-root --to-passphrase     under a passphrase, asked for at each use
  atrest vault change-root --to-key-file       under a new key file

A change of the root key rewrites the header of the vault's file and nothing else. Who has an old
root key and an old copy of the file still opens that copy.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The vault: customer, provider, or one that `atrest vault create` made
    #[arg(long, value_name = "VAULT", default_value_t = WhichVault::Customer, global = true)]
    vault: WhichVault,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a further vault of the customer's
    Create(Create),
    /// List the vaults
    List,
    /// Show keys, settings, and what the root key comes from
    Status,
    /// Put it under a passphrase only, and refuse every use until it is unsealed
    Seal {
        /// The new passphrase is the first line of FILE
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Let it be used again: under the key file, which is made when it is missing
    Unseal {
        /// Leave it under the passphrase instead
        #[arg(long)]
        keep_passphrase: bool,
    },
    /// Change what the root key comes from, or the root key
    ChangeRoot(ChangeRoot),
    /// Let nobody purge a deleted key before its time; there is no way back
    ProtectPurge,
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its name: 3 to 24 letters, digits and hyphens
    name: VaultName,

    /// A managed HSM: no secrets, and at NAME.managedhsm.azure.net. Its hardware is simulated
    #[arg(long)]
    managed_hsm: bool,

    #[command(flatten)]
    settings: Settings,
}

/// What a new vault is made with.
#[derive(Debug, clap::Args)]
pub struct Settings {
    /// Seal the vault under a passphrase instead of a key file: asked for twice, or the first
    /// line of --passphrase-file
    #[arg(long)]
    passphrase: bool,

    /// Days in which a deleted key can be recovered
    #[arg(long, value_name = "DAYS", default_value_t = 90,
          value_parser = clap::value_parser!(u8).range(7..=90))]
    retention_days: u8,

    /// Let nobody purge a deleted key before its time; there is no way back
    #[arg(long)]
    purge_protection: bool,
}

impl Settings {
    pub(super) fn vault(&self) -> VaultSettings {
        VaultSettings {
            retention_days: self.retention_days,
            purge_protection: self.purge_protection,
        }
    }

    /// The passphrase, when one is to be used.
    pub(super) fn passphrase(&self, context: &Context) -> Result<Option<SecretBytes>, CliError> {
        match self.passphrase {
            true => context.new_passphrase(context.passphrase_file()).map(Some),
            false => Ok(None),
        }
    }
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct ChangeRoot {
    /// To a passphrase: asked for twice
    #[arg(long)]
    to_passphrase: bool,

    /// To the passphrase in the first line of FILE
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,

    /// To a new key file
    #[arg(long)]
    to_key_file: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let which = &args.vault;
    let here = matches!(args.command, Command::Create(_) | Command::List);
    if !here && *which == WhichVault::Customer {
        context.insist_on_own_vault()?;
    }
    match &args.command {
        Command::Create(create) => make(create, context),
        Command::List => list(context),
        Command::Status => status(which, context),
        _ if *which == WhichVault::Provider => Err(CliError::new(
            "the provider's vault is the provider's",
            "`status` is what a customer can do with it",
        )),
        Command::Seal {
            new_passphrase_file,
        } => seal(which, new_passphrase_file.as_deref(), context),
        Command::Unseal { keep_passphrase } => unseal(which, *keep_passphrase, context),
        Command::ChangeRoot(to) => change_root(which, to, context),
        Command::ProtectPurge => {
            let vault = open_vault(context, which)?;
            vault.enable_purge_protection()?;
            show(&vault.status()?, context)
        }
    }
}

/// A vault, open, used in the name of the system's user.
pub(super) fn open_vault(context: &Context, which: &WhichVault) -> Result<LocalVault, CliError> {
    Ok(context.workspace()?.vault(which)?.acting_as(&caller()))
}

/// A vault for the administration of its keys, wherever it is.
pub(super) fn keys_of(
    context: &Context,
    which: &WhichVault,
) -> Result<Box<dyn AnyVault>, CliError> {
    Ok(context.workspace()?.keys(which, &caller())?)
}

/// How the audit log names the user of this program.
pub(super) fn caller() -> String {
    format!("uid:{}", rustix::process::getuid().as_raw())
}

/// What is shown of a vault that no key opens.
#[derive(Serialize)]
struct Sealed {
    id: String,
    root: RootKeyKind,
    sealed: bool,
}

fn make(create: &Create, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let settings = &create.settings;
    let passphrase = settings.passphrase(context)?;
    let clock = context.clock();
    let with_key_file = passphrase.is_none();
    let new = NewVault {
        settings: settings.vault(),
        passphrase,
        kind: match create.managed_hsm {
            true => VaultKind::ManagedHsm,
            false => VaultKind::Vault,
        },
    };
    let vault = workspace.create_vault(&create.name, new, clock)?;
    show(&vault.acting_as(&caller()).status()?, context)?;
    if with_key_file {
        let which = WhichVault::Further(create.name.clone());
        context.output().note(&format!(
            "Keep {} apart from the data: who has it and the vault has every key.",
            which.key_file(context.dir()).display()
        ));
    }
    Ok(Outcome::Holds)
}

fn status(which: &WhichVault, context: &Context) -> Result<Outcome, CliError> {
    // Opening the working directory says first whether there is one.
    let workspace = context.workspace()?;
    workspace.identity_of(which)?;
    let record = LocalVault::root_record(&which.dir(workspace.dir()))?;
    if !record.sealed {
        return show(&workspace.vault(which)?.status()?, context);
    }
    let sealed = Sealed {
        id: record.vault.to_string(),
        root: record.kind(),
        sealed: true,
    };
    context.output().answer(&sealed, |text| {
        writeln!(text, "vault             {}", sealed.id)?;
        writeln!(
            text,
            "state             sealed: `atrest vault unseal` opens it"
        )?;
        writeln!(text, "root key          {}", root_key(sealed.root))
    })?;
    Ok(Outcome::Holds)
}

fn show(status: &VaultStatus, context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(status, |text| {
        let settings = status.settings;
        writeln!(text, "vault             {}", status.id)?;
        writeln!(text, "created           {:.0}", status.created)?;
        writeln!(text, "root key          {}", root_key(status.root))?;
        writeln!(text, "keys              {}", status.keys)?;
        writeln!(text, "key versions      {}", status.versions)?;
        writeln!(text, "deleted keys      {}", status.deleted_keys)?;
        writeln!(text, "secrets           {}", status.secrets)?;
        writeln!(text, "deleted secrets   {}", status.deleted_secrets)?;
        writeln!(text, "retention         {} days", settings.retention_days)?;
        let protection = if settings.purge_protection {
            "on"
        } else {
            "off"
        };
        writeln!(text, "purge protection  {protection}")?;
        writeln!(text, "audit records     {}", status.audit_records)
    })?;
    Ok(Outcome::Holds)
}

fn root_key(kind: RootKeyKind) -> String {
    match kind {
        RootKeyKind::KeyFile => "key file".into(),
        RootKeyKind::Passphrase { argon2id: costs } => format!(
            "passphrase; one guess costs Argon2id with {} MiB, {} passes, {} lanes",
            costs.memory_kib / 1024,
            costs.passes,
            costs.lanes
        ),
    }
}

fn seal(
    which: &WhichVault,
    new_passphrase_file: Option<&Path>,
    context: &Context,
) -> Result<Outcome, CliError> {
    let vault = open_vault(context, which)?;
    vault.seal(context.new_passphrase(new_passphrase_file)?)?;
    changed(
        &vault,
        0,
        "sealed: nothing that needs its keys works until it is unsealed",
        context,
    )?;
    let key_file = which.key_file(context.dir());
    if key_file.exists() {
        context.output().note(&format!(
            "{} no longer opens it, but still opens older copies of it: remove it unless you need those.",
            key_file.display()
        ));
    }
    Ok(Outcome::Holds)
}

fn unseal(
    which: &WhichVault,
    keep_passphrase: bool,
    context: &Context,
) -> Result<Outcome, CliError> {
    // Says what is wrong when there is no working directory, or no such vault.
    context.workspace()?.identity_of(which)?;
    let dir = which.dir(context.dir());
    if !LocalVault::root_record(&dir)?.sealed {
        return Err(CliError::at(&dir, "the vault is not sealed", "just use it"));
    }
    let passphrase = RootKeySource::Passphrase(context.passphrase(which)?);
    let key_file = RootKeySource::KeyFile(which.key_file(context.dir()));
    let new_root = if keep_passphrase {
        &passphrase
    } else {
        &key_file
    };
    let clock = context.clock();
    let vault = LocalVault::unseal(&dir, &passphrase, new_root, &caller(), clock)?;
    changed(&vault, 0, "unsealed", context)
}

fn change_root(
    which: &WhichVault,
    to: &ChangeRoot,
    context: &Context,
) -> Result<Outcome, CliError> {
    let vault = open_vault(context, which)?;
    if !to.to_key_file {
        let words = context.new_passphrase(to.new_passphrase_file.as_deref())?;
        let written = vault.change_root(&RootKeySource::Passphrase(words))?;
        return changed(&vault, written, "under the new passphrase", context);
    }
    // The new key lies beside the old one until the vault is under it.
    let key_file = which.key_file(context.dir());
    let new = key_file.with_extension("key.new");
    if new.exists() {
        return Err(CliError::at(
            &new,
            "an earlier change of the root key was cut short",
            "if the vault still opens, remove this file; else move it over root.key",
        ));
    }
    let written = vault.change_root(&RootKeySource::KeyFile(new.clone()))?;
    std::fs::rename(&new, &key_file).map_err(|e| {
        CliError::at(
            &new,
            e,
            "the vault is under this key file: move it over root.key",
        )
    })?;
    changed(&vault, written, "under the new key file", context)
}

#[derive(Serialize)]
struct Changed {
    vault: String,
    bytes_rewritten: u64,
    now: &'static str,
}

fn changed(
    vault: &LocalVault,
    bytes_rewritten: u64,
    now: &'static str,
    context: &Context,
) -> Result<Outcome, CliError> {
    let changed = Changed {
        vault: vault.id().to_string(),
        bytes_rewritten,
        now,
    };
    context.output().answer(&changed, |text| {
        writeln!(text, "{}: {now}", changed.vault)?;
        match bytes_rewritten {
            0 => Ok(()),
            bytes => writeln!(
                text,
                "  {bytes} bytes rewritten, no key and no data among them"
            ),
        }
    })?;
    Ok(Outcome::Holds)
}
