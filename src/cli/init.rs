use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::{Clock, KeyName, SystemClock};
use crate::crypto::KeyKind;
use crate::server::{Authority, Home};
use crate::vault::KeyVault;
use crate::world::{InitOptions, Name, WhichVault, Workspace};

use super::vault::Settings;
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

    /// The customer's vault
    #[command(flatten)]
    vault: Settings,
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
    context.insist_on_own_vault()?;
    let passphrase = args.vault.passphrase(context)?;
    let with_key_file = passphrase.is_none();
    let options = InitOptions {
        environment: args.environment.clone(),
        customer_key: (!args.service_managed).then(|| (args.key.clone(), args.key_kind)),
        passphrase,
        vault: args.vault.vault(),
    };
    let workspace = Workspace::init(context.dir(), options, Arc::new(SystemClock))?;
    Authority::open(&Home::of(workspace.dir())?, SystemClock.now())?;
    let made = Made {
        dir: context.dir().to_owned(),
        environment: args.environment.clone(),
        customer_vault: workspace.vault(&WhichVault::Customer)?.id().to_string(),
        provider_vault: workspace.vault(&WhichVault::Provider)?.id().to_string(),
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
    if with_key_file {
        let key_file = WhichVault::Customer.key_file(context.dir());
        context.output().note(&format!(
            "Keep {} apart from the data: who has it and the vault has every key.",
            key_file.display()
        ));
    }
    Ok(Outcome::Holds)
}
