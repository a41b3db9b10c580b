//! `atrest blob scope`: an account's encryption scopes.

use serde::Serialize;

use crate::cli::protection::{ProtectionArgs, how};
use crate::cli::rewrap;
use crate::resource::Rewrapped;
use crate::resource::blob::{EncryptionScope, ScopeName};
use crate::world::ResourceAddress;

use super::args::{InfrastructureArgs, address, twice};
use super::{CliError, Context, table};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob scope create invoices payroll --key payroll-key
  atrest blob put invoices july.pdf --scope payroll
  atrest key rotate payroll-key && atrest blob scope rewrap invoices payroll
  atrest blob scope disable invoices payroll       what is under it is refused at once

A scope is a key of its own for some of an account's blobs, wrapped by a key of the customer's or by the
provider's. It cannot be deleted: blobs may be under it.")]
pub(super) struct ScopeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a scope with a new key
    Create {
        #[command(flatten)]
        scope: Named,
        #[command(flatten)]
        protection: ProtectionArgs,

        #[command(flatten)]
        twice: InfrastructureArgs,
    },
    /// List the scopes; works when the customer's key is gone, as the next three do
    List {
        /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
        #[arg(value_parser = address)]
        account: ResourceAddress,
    },
    /// Show a scope
    Show(Named),
    /// Refuse whatever is under it from now on
    Disable(Named),
    /// Allow it again
    Enable(Named),
    /// Wrap its key with the newest version of the key that wraps it, or with another key
    Rewrap {
        #[command(flatten)]
        scope: Named,
        #[command(flatten)]
        protection: ProtectionArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    /// The scope's name: 3 to 63 lower-case letters, digits and single hyphens
    scope: ScopeName,
}

pub(super) fn run(args: &ScopeArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let open = |address: &ResourceAddress| workspace.open_storage(address);
    match &args.command {
        Command::Create {
            scope,
            protection,
            twice,
        } => {
            let protection = protection.protection(&workspace)?;
            let made =
                open(&scope.account)?.create_scope(&scope.scope, &protection, twice.layers())?;
            tell(&made, context)
        }
        Command::List { account } => list(&open(account)?.scopes()?, context),
        Command::Show(scope) => tell(&open(&scope.account)?.scope(&scope.scope)?, context),
        Command::Disable(scope) => {
            let changed = open(&scope.account)?.enable_scope(&scope.scope, false)?;
            tell(&changed, context)
        }
        Command::Enable(scope) => {
            let changed = open(&scope.account)?.enable_scope(&scope.scope, true)?;
            tell(&changed, context)
        }
        Command::Rewrap { scope, protection } => {
            let to = match protection.is_given() {
                true => Some(protection.protection(&workspace)?),
                false => None,
            };
            let done = open(&scope.account)?.rewrap_scope(&scope.scope, to.as_ref())?;
            rewrapped(&scope.scope, done, context)
        }
    }
}

fn tell(scope: &EncryptionScope, context: &Context) -> Result<(), CliError> {
    context.output().answer(scope, |text| {
        use std::fmt::Write;
        let EncryptionScope {
            name, key_version, ..
        } = scope;
        let (state, how) = (state(scope), how(&scope.protection));
        let twice = twice(scope.infrastructure_encryption);
        let version = key_version.version;
        writeln!(text, "{name}: {state}, {how}, version {version}{twice}")
    })
}

pub(in crate::cli) fn state(scope: &EncryptionScope) -> &'static str {
    match scope.enabled {
        true => "enabled",
        false => "disabled",
    }
}

fn list(scopes: &[EncryptionScope], context: &Context) -> Result<(), CliError> {
    context.output().answer(&scopes, |text| {
        let row = |scope: &EncryptionScope| {
            let (name, how) = (scope.name.to_string(), how(&scope.protection));
            vec![name, state(scope).to_owned(), how]
        };
        match scopes {
            [] => text.push_str("No encryption scopes.\n"),
            scopes => {
                let rows: Vec<Vec<String>> = scopes.iter().map(row).collect();
                text.push_str(&table(&["Scope", "State", "Key"], &[], &rows));
            }
        }
        Ok(())
    })
}

fn rewrapped(scope: &ScopeName, rewrapped: Rewrapped, context: &Context) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Done<'a> {
        scope: &'a ScopeName,
        #[serde(flatten)]
        rewrapped: Rewrapped,
    }
    let done = Done { scope, rewrapped };
    context.output().answer(&done, |text| {
        use std::fmt::Write;
        writeln!(text, "{scope}: rewrapped")?;
        rewrap::tell(&done.rewrapped, text)
    })
}
