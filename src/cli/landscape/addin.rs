use crate::world::landscape::{FinanceName, ProductId, ProductKind};

use super::{caught_up, offer, workspace};
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
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the add-ins that the documentation names
    List,
    /// Install an add-in in a finance and operations environment
    Install {
        /// The environment
        environment: FinanceName,
        /// The add-in
        add_in: ProductId,
    },
    /// Show what an environment has
    Show {
        /// The environment
        environment: FinanceName,
    },
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let environment = match &args.command {
        Command::List => {
            let products = landscape.profile()?.products().iter();
            let all: Vec<_> = products.filter(|p| p.kind == ProductKind::AddIn).collect();
            return offer::products_of(&all, landscape.now()?, context);
        }
        Command::Install {
            environment,
            add_in,
        } => landscape.install_add_in(environment, add_in)?,
        Command::Show { environment } => landscape.get(environment.as_str())?,
    };
    offer::show(&environment, context)
}
