use crate::world::landscape::{Project, ProjectName, TenantName, lcs_resources};

use super::{caught_up, lines, list, time, warn, workspace};
use crate::cli::{CliError, Context, Outcome};

/// Arguments of `atrest project`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest project create erp --tenant contoso
  atrest project list

A project of Lifecycle Services (LCS) keeps its metadata and assets in resources of its own, lcs-NAME/..., which
are never under a customer's key.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a project of LCS
    Create {
        /// Its name
        name: ProjectName,
        /// The tenant
        #[arg(long, value_name = "TENANT")]
        tenant: TenantName,
    },
    /// List the projects
    List,
    /// Show one
    Show {
        /// Its name
        name: ProjectName,
    },
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let output = context.output();
    let row = |project: &Project| {
        vec![
            project.name.to_string(),
            project.tenant.to_string(),
            time(project.created),
        ]
    };
    let project = match &args.command {
        Command::List => {
            let all = landscape.all::<Project>()?;
            list(output, &all, &["project", "tenant", "created"], row)?;
            return Ok(Outcome::Holds);
        }
        Command::Create { name, tenant } => {
            let made = landscape.create_project(name, tenant)?;
            warn(output, &made.warnings);
            made.value
        }
        Command::Show { name } => landscape.get(name.as_str())?,
    };
    let resources = lcs_resources(&project.name)?;
    output.answer(&project, |text| {
        let pairs = [
            ("project", project.name.to_string()),
            ("tenant", project.tenant.to_string()),
            ("created", time(project.created)),
            ("kept in", super::joined(&resources)),
        ];
        lines(text, &pairs)
    })?;
    Ok(Outcome::Holds)
}
