use crate::resource::Protection;
use crate::world::ResourceAddress;

use super::{CliError, Context, Outcome, protect};

/// Arguments of `atrest unprotect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest unprotect sql/finance           back under the provider's key; no data is rewritten
  atrest unprotect sql/finance --plain   no encryption at all; all data is rewritten")]
pub struct Args {
    /// The resource: [ENVIRONMENT/]sql/NAME or [ENVIRONMENT/]storage/NAME
    address: ResourceAddress,

    /// Leave it without any protection, instead of under the provider's key
    #[arg(long)]
    plain: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let to = match args.plain {
        true => Protection::Plain,
        false => Protection::ServiceManaged {
            key: workspace.service_key(),
        },
    };
    let progress = context.output().progress("Rewriting");
    let done = workspace.set_protection(&args.address, &to, &mut |n, of| progress.set(n, of))?;
    drop(progress);
    protect::report(&done, context)
}
