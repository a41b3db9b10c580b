use super::offer;
use crate::cli::{CliError, Context, Outcome};

/// Arguments of `atrest addin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest addin list                           those of which something is said
  atrest addin install prod tax-calculation   begins to use RCS
  atrest addin install prod inventory-visibility

An add-in that is not listed supports the policy.")]
pub struct Args {
    #[command(subcommand)]
    command: offer::Command,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    offer::run_for(&args.command, true, context)
}
