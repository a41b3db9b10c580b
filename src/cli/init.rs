use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::{Clock, KeyName, SystemClock};
use crate::crypto::KeyKind;
use crate::server::{Authority, Home};
use crate::vault::{KeyVault, VaultSettings};
use crate::world::{InitOptions, Name, WhichVault, Workspace};

use super::{CliError, Context, Outcome, wrapping_kind};

/// Arguments of `atrest init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest --dir work init                      vaults, an RSA-3072 customer key, an environment
  atrest --dir work init --key-kind oct-256   the same with a symmetric key
  atrest --dir work init --passphrase         the customer's vault is sealed under a passphrase
  atrest --dir work init --service-managed    no customer key: everything under the provider's")]
pub struct Args {
    /// The first environment
    #[arg(long, value_name = "NAME", default_value = "production")]
    environment: Name,

    /// The customer key to make
    #[arg(long, value_name = "NAME", default_value = "customer-key")]
    key: KeyName,

    /// Its kind: rsa-2048, rsa-3072, rsa-4096 or oct-256
    #[arg(long, value_name = "KIND", default_value_t = KeyKind::Rsa3072, value_parser = wrapping_kind)]
    key_kind: KeyKind,

    /// Make no customer key
    #[arg(long, conflicts_with_all = ["key", "key_kind"])]
    service_managed: bool,

    /// Seal the customer's vault under a passphrase instead of a key file; asked for, or the first
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

#[derive(Serialize)]
struct Made {
    dir: PathBuf,
    environment: Name,
    customer_vault: String,
    provider_vault: String,
    customer_key: Option<KeyName>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let passphrase = match args.passphrase {
        true => Some(context.new_passphrase(context.passphrase_file())?),
        false => None,
    };
    let options = InitOptions {
        environment: args.environment.clone(),
        customer_key: (!args.service_managed).then(|| (args.key.clone(), args.key_kind)),
        passphrase,
        vault: VaultSettings {
            retention_days: args.retention_days,
            purge_protection: args.purge_protection,
        },
    };
    let workspace = Workspace::init(context.dir(), options, Arc::new(SystemClock))?;
    Authority::open(&Home::of(workspace.dir())?, SystemClock.now())?;
    let made = Made {
        dir: context.dir().to_owned(),
        environment: args.environment.clone(),
        customer_vault: workspace.vault(WhichVault::Customer)?.id().to_string(),
        provider_vault: workspace.vault(WhichVault::Provider)?.id().to_string(),
        customer_key: (!args.service_managed).then(|| args.key.clone()),
    };
    context.output().answer(&made, |text| {
        use std::fmt::Write;
        writeln!(text, "{}: a working directory", made.dir.display())?;
        writeln!(text, "  customer's vault  {}", made.customer_vault)?;
        match &made.customer_key {
            Some(key) => writeln!(text, "  customer's key    {key} ({})", args.key_kind)?,
            None => writeln!(
                text,
                "  customer's key    none: new resources are service-managed"
            )?,
        }
        writeln!(text, "  provider's vault  {}", made.provider_vault)?;
        writeln!(text, "  environment       {}", made.environment)
    })?;
    if !args.passphrase {
        let key_file = WhichVault::Customer.key_file(context.dir());
        context.output().note(&format!(
            "Keep {} apart from the data: who has it and the vault has every key.",
            key_file.display()
        ));
    }
    Ok(Outcome::Holds)
}
