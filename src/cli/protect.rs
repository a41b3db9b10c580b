use super::{CliError, Context, Outcome};

/// Arguments of `atrest protect`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _context: &Context) -> Result<Outcome, CliError> {
    Err(CliError::new(
        "protection: not built yet",
        "use a later version",
    ))
}
