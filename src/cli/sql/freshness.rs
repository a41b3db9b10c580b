//! Freshness: when a database is compared with what the vault remembers of it, and taking one that
//! was put back on purpose.

use serde::Serialize;

use crate::cli::{CliError, Context};
use crate::vault::FreshnessCheck;
use crate::world::ResourceAddress;

use super::address;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql freshness finance          show it
  atrest sql freshness finance verify   compare at `atrest sql verify` only

open    opening it refuses an old file, a log that was cut or deleted, an old header, an old vault;
        `atrest sql verify` finds old pages inside a file that is new enough (the default)
verify  only `atrest sql verify` compares
off     nothing is compared, and commits are not remembered")]
pub(super) struct FreshnessArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    /// When to compare: off, verify or open; shown when it is left out
    #[arg(value_name = "WHEN")]
    check: Option<FreshnessCheck>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest sql accept finance

For a file that was put back on purpose, such as a backup: it is older than what the vault remembers,
so it does not open. All of it is read, and from then on it is the newest.")]
pub(super) struct AcceptArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,
}

#[derive(Serialize)]
struct Freshness {
    address: String,
    /// `null`: the vault remembers nothing of it, or it is plain.
    freshness: Option<FreshnessCheck>,
}

pub(super) fn freshness(args: &FreshnessArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    if let Some(check) = args.check {
        workspace.set_sql_freshness(&args.database, check)?;
    }
    let answer = Freshness {
        address: args.database.to_string(),
        freshness: workspace.sql_freshness(&args.database)?,
    };
    context.output().answer(&answer, |text| {
        use std::fmt::Write;
        let when = match answer.freshness {
            None => "nothing is remembered of it".to_owned(),
            Some(FreshnessCheck::Off) => "off: it is not compared with anything".to_owned(),
            Some(check) => format!("{check}: compared with what the vault remembers"),
        };
        writeln!(text, "{}: {when}", answer.address)
    })
}

pub(super) fn accept(args: &AcceptArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    workspace.accept_sql(&args.database)?;
    let answer = Freshness {
        address: args.database.to_string(),
        freshness: workspace.sql_freshness(&args.database)?,
    };
    context.output().answer(&answer, |text| {
        use std::fmt::Write;
        writeln!(
            text,
            "{}: accepted as it is; this is the newest state of it now",
            answer.address
        )
    })
}
