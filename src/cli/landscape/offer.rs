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

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List offers and services, and what is said of them
    List,
    /// Install an offer in a finance and operations environment
    Install {
        /// The environment
        environment: FinanceName,
        /// The offer
        offer: ProductId,
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
            let all: Vec<_> = products.filter(|p| p.kind != ProductKind::AddIn).collect();
            return products_of(&all, landscape.now()?, context);
        }
        Command::Install { environment, offer } => landscape.install_offer(environment, offer)?,
        Command::Show { environment } => landscape.get(environment.as_str())?,
    };
    show(&environment, context)
}

pub(super) fn products_of(
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

pub(super) fn show(
    environment: &FinanceEnvironment,
    context: &Context,
) -> Result<Outcome, CliError> {
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
