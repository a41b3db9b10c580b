use super::{CliError, Context, Outcome};

/// Arguments of `atrest vault`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _context: &Context) -> Result<Outcome, CliError> {
    Err(CliError::new(
        "vaults: not built yet",
        "use a later version",
    ))
}
