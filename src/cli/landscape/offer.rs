use crate::world::landscape::{FinanceEnvironment, FinanceName, Product, ProductId, ProductKind};

use super::{caught_up, joined, lines, list, workspace};
use crate::cli::{CliError, Context, Outcome};

/// Arguments of `atrest offer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest offer list                       what the landscape's profile says of each
  atrest offer install prod finance
  atrest offer show prod")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done with offers, and with add-ins likewise.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List those that the documentation names, and what it says of them
    List,
    /// Install one in a finance and operations environment
    Install {
        /// The environment
        environment: FinanceName,
        /// Its name, as `list` has it
        name: ProductId,
    },
    /// Show what an environment has
    Show {
        /// The environment
        environment: FinanceName,
    },
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    run_for(&args.command, false, context)
}

/// Does it to add-ins, or to offers; services are listed with the latter.
pub(super) fn run_for(
    command: &Command,
    add_ins: bool,
    context: &Context,
) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let environment = match command {
        Command::List => {
            let products = landscape.profile()?.products().iter();
            let all: Vec<_> = products
                .filter(|product| (product.kind == ProductKind::AddIn) == add_ins)
                .collect();
            return products_of(&all, landscape.now()?, context);
        }
        Command::Install { environment, name } if add_ins => {
            landscape.install_add_in(environment, name)?
        }
        Command::Install { environment, name } => landscape.install_offer(environment, name)?,
        Command::Show { environment } => landscape.get(environment.as_str())?,
    };
    show(&environment, context)
}

fn products_of(
    all: &[&Product],
    now: jiff::Timestamp,
    context: &Context,
) -> Result<Outcome, CliError> {
    let row = |product: &&Product| {
        let promise = product.promise.map_or_else(
            || "-".to_owned(),
            |promise| match promise.is_stale(now) {
                true => format!("{} (STALE)", promise.text),
                false => promise.text.to_owned(),
            },
        );
        vec![
            product.id.to_owned(),
            product.name.to_owned(),
            product.why.to_owned(),
            product.source.as_of.to_owned(),
            promise,
        ]
    };
    list(
        context.output(),
        all,
        &["name", "full name", "said", "as of", "promise"],
        row,
    )?;
    Ok(Outcome::Holds)
}

fn show(environment: &FinanceEnvironment, context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(environment, |text| {
        let pairs = [
            ("environment", environment.name.to_string()),
            ("offers", joined(&environment.offers)),
            ("add-ins", joined(&environment.add_ins)),
        ];
        lines(text, &pairs)
    })?;
    Ok(Outcome::Holds)
}
