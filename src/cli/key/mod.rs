//! `atrest key`: the customer's keys.

mod material;
mod view;

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::{KeyName, KeyVersion, KeyVersionRef, write_private_new};
use crate::crypto::KeyKind;
use crate::vault::{KeyOperation, KeySpec, KeyUpdate, Page};
use crate::world::landscape::{Landscape, as_rule};
use crate::world::{WhichVault, WorldError};

use super::vault::keys_of;
use super::{CliError, Context, Outcome};

/// Arguments of `atrest key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest key create payroll-key --kind rsa-3072 --expires 2027-12-31
  atrest key import bought-key key.pem         a private key; or 32 bytes, for oct-256
  atrest key rotate payroll-key && atrest rewrap
  atrest key disable payroll-key               what it protects stops at once
  atrest key delete payroll-key                recoverable until the retention has passed
  atrest key backup payroll-key payroll.bak    sealed; only this vault restores it

An expired key, or one that is not valid yet, still unwraps; it does not wrap. A purge erases a key
only when no backup of it is left.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The vault: customer, provider, or one that `atrest vault create` made
    #[arg(long, value_name = "VAULT", default_value_t = WhichVault::Customer, global = true)]
    vault: WhichVault,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key, or a new version when the name exists
    Create {
        /// Its name: letters, digits and hyphens
        name: KeyName,
        /// rsa-2048, rsa-3072, rsa-4096 or oct-256; for other uses than a resource's data also oct-128,
        /// oct-192, ec-p256, ec-p384, ec-p521 or ec-p256k
        #[arg(long, value_name = "KIND", default_value_t = KeyKind::Rsa3072)]
        kind: KeyKind,
        #[command(flatten)]
        attributes: Attributes,
        /// Make it disabled
        #[arg(long)]
        disabled: bool,
    },
    /// Bring a key in: PKCS#8 as PEM or DER (RSA, elliptic curve), or a file of 32 bytes (oct-256)
    Import {
        /// Its name; an existing one gets a new version
        name: KeyName,
        /// The file
        file: PathBuf,
        #[command(flatten)]
        attributes: Attributes,
        /// Make it disabled
        #[arg(long)]
        disabled: bool,
    },
    /// List keys, each by its newest version
    List {
        /// The soft-deleted ones
        #[arg(long)]
        deleted: bool,
    },
    /// Show a key and its versions
    Show {
        /// Its name
        name: KeyName,
    },
    /// Make a new version of the same kind, which wraps from now on; older ones still unwrap
    Rotate {
        /// Its name
        name: KeyName,
    },
    /// Block every use of a version
    #[command(disable_version_flag = true)]
    Disable(Version),
    /// Allow it again
    #[command(disable_version_flag = true)]
    Enable(Version),
    /// Change dates and operations of a version
    #[command(disable_version_flag = true)]
    Update {
        #[command(flatten)]
        version: Version,
        #[command(flatten)]
        attributes: Attributes,
    },
    /// Delete a key with all its versions; until its retention has passed it can be recovered
    Delete {
        /// Its name
        name: KeyName,
    },
    /// Bring a deleted key back
    Recover {
        /// Its name
        name: KeyName,
    },
    /// Destroy a deleted key now, for good
    Purge {
        /// Its name
        name: KeyName,
    },
    /// Write a sealed copy of a key with all its versions
    Backup {
        /// Its name
        name: KeyName,
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Bring a backup back, into the vault that made it; the name must be free
    Restore {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Version {
    /// The key's name
    name: KeyName,
    /// Which version of it; by default the newest
    #[arg(long, value_name = "VERSION")]
    version: Option<KeyVersion>,
}

#[derive(Debug, clap::Args)]
struct Attributes {
    /// Does not wrap before this date (2027-01-31, midnight UTC) or time (2027-01-31T08:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    not_before: Option<Timestamp>,
    /// Does not wrap from this date or time on
    #[arg(long, value_name = "WHEN", value_parser = when)]
    expires: Option<Timestamp>,
    /// What it may be used for, with commas between: wrapKey, unwrapKey, encrypt, decrypt, sign, verify
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',')]
    operations: Option<Vec<KeyOperation>>,
}

/// A time of RFC 3339, or a date: its first moment, UTC.
pub(super) fn when(text: &str) -> Result<Timestamp, String> {
    let midnight = || format!("{text}T00:00:00Z").parse();
    text.parse()
        .or_else(|_| midnight())
        .map_err(|_: jiff::Error| {
            "expected a date (2027-01-31) or a time (2027-01-31T08:00:00Z)".to_owned()
        })
}

impl Attributes {
    fn spec(&self, kind: KeyKind, disabled: bool) -> KeySpec {
        let usual = KeySpec::new(kind);
        KeySpec {
            enabled: !disabled,
            not_before: self.not_before,
            expires: self.expires,
            operations: self.operations.clone().unwrap_or(usual.operations),
            ..usual
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List { deleted } => {
            let vault = keys_of(context, &args.vault)?;
            match deleted {
                true => view::deleted(&vault.deleted_keys(Page::all())?, context),
                false => view::list(&vault.keys(Page::all())?, context),
            }
        }
        Command::Show { name } => {
            let vault = keys_of(context, &args.vault)?;
            view::versions(&vault.key_versions(name, Page::all())?, context)
        }
        _ if args.vault == WhichVault::Provider => Err(CliError::new(
            "the keys in the provider's vault are the provider's",
            "`list` and `show` are what a customer can do there",
        )),
        change => {
            // An outage that this change ends is noted before. What is wrong with a landscape hinders no change
            // of a key, and is told after it.
            if let Ok(Some(landscape)) = Landscape::find(&context.workspace()?) {
                let _ = landscape.catch_up();
            }
            let done = run_change(change, &args.vault, context);
            // What follows from it in a landscape follows at once.
            if let Some(landscape) = Landscape::find(&context.workspace()?)? {
                landscape.catch_up()?;
            }
            done
        }
    }
}

fn run_change(
    command: &Command,
    vault: &WhichVault,
    context: &Context,
) -> Result<Outcome, CliError> {
    let vault = keys_of(context, vault)?;
    let (bundle, done) = match command {
        Command::List { .. } | Command::Show { .. } => unreachable!("these change nothing"),
        Command::Create {
            name,
            kind,
            attributes,
            disabled,
        } => (
            vault.create_key(name, &attributes.spec(*kind, *disabled))?,
            "created",
        ),
        Command::Import {
            name,
            file,
            attributes,
            disabled,
        } => {
            let key = material::read(file)?;
            let spec = attributes.spec(key.kind(), *disabled);
            (vault.import_key(name, key, &spec)?, "imported")
        }
        Command::Rotate { name } => {
            let bundle = vault.rotate_key(name)?;
            note_use(
                context,
                "still under an older version until `atrest rewrap`, or, in a landscape, until its services follow",
                |key| key.key() == bundle.kid.key(),
            )?;
            (bundle, "rotated")
        }
        Command::Disable(Version { name, version }) => {
            let update = KeyUpdate {
                enabled: Some(false),
                ..KeyUpdate::default()
            };
            let bundle = vault.update_key(name, *version, &update)?;
            note_use(context, "unreadable until it is enabled", |key| {
                *key == bundle.kid
            })?;
            warn_of_use(context, &bundle.kid)?;
            (bundle, "disabled")
        }
        Command::Enable(Version { name, version }) => {
            let update = KeyUpdate {
                enabled: Some(true),
                ..KeyUpdate::default()
            };
            (vault.update_key(name, *version, &update)?, "enabled")
        }
        Command::Update {
            version: Version { name, version },
            attributes,
        } => {
            let update = KeyUpdate {
                enabled: None,
                not_before: attributes.not_before.map(Some),
                expires: attributes.expires.map(Some),
                operations: attributes.operations.clone(),
                tags: None,
            };
            (vault.update_key(name, *version, &update)?, "updated")
        }
        Command::Delete { name } => {
            let deleted = vault.delete_key(name)?;
            note_use(
                context,
                "unreadable until it is recovered, and for good after a purge",
                |key| key.key() == deleted.bundle.kid.key(),
            )?;
            return view::deleted(&[deleted], context);
        }
        Command::Recover { name } => (vault.recover_key(name)?, "recovered"),
        Command::Purge { name } => {
            if let Err(e) = vault.purge_key(name) {
                let rule = as_rule(&context.workspace()?, &e);
                return Err(rule.map_or(e.into(), |rule| WorldError::from(rule).into()));
            }
            return view::purged(name, context);
        }
        Command::Backup { name, file } => {
            let bytes = vault.backup_key(name)?;
            write_private_new(file, &bytes).map_err(|e| {
                CliError::at(
                    file,
                    e,
                    "name a new file in a directory that you can write to",
                )
            })?;
            return view::backed_up(name, file, bytes.len(), context);
        }
        Command::Restore { file } => (vault.restore_key(&backup(file)?)?, "restored"),
    };
    view::changed(&bundle, done, context)
}

/// In a landscape: what still needs a version that was disabled.
fn warn_of_use(context: &Context, version: &KeyVersionRef) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    if let Some(landscape) = Landscape::find(&workspace)?
        && let Some(warning) = landscape.warn_of_use(version)?
    {
        context.output().warn(&warning.to_string());
    }
    Ok(())
}

/// Says which resources the change of a key touches.
fn note_use(
    context: &Context,
    what: &str,
    touched: impl Fn(&KeyVersionRef) -> bool,
) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    for (address, _) in workspace.resources() {
        if workspace
            .key_version(&address)?
            .is_some_and(|key| touched(&key))
        {
            context.output().note(&format!("{address}: {what}"));
        }
    }
    Ok(())
}

fn backup(file: &Path) -> Result<Vec<u8>, CliError> {
    let advice = "give a file that `atrest key backup` wrote";
    let about = fs::metadata(file).map_err(|e| CliError::at(file, e, advice))?;
    if about.len() > 4 << 20 {
        return Err(CliError::at(file, "too large for a key backup", advice));
    }
    fs::read(file).map_err(|e| CliError::at(file, e, advice))
}
