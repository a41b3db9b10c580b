//! Environments of both kinds. `atrest env` alone prints a server's variables (`cli/environment.rs`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::world::Name;
use crate::world::landscape::{
    Backup, BackupName, FinanceEnvironment, FinanceKind, FinanceName, Link, NewFinance,
    PowerEnvironment, PowerKind, PowerName, ProductId, ProjectName, Region, TenantName,
};

use super::view::{backups, list_all, show};
use super::{By, caught_up, list, told, workspace};
use crate::cli::{CliError, Context, Outcome};

/// What is done with environments.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a finance and operations environment
    Create(Create),
    /// Make a Power Platform environment, by the name of its Dataverse organisation
    CreatePower(CreatePower),
    /// List the environments of both kinds
    List,
    /// Show one, by either name
    Show {
        /// Its name
        name: Name,
    },
    /// Integrate a finance and operations environment with a Power Platform environment; takes an hour
    Link {
        /// The finance and operations environment
        finance: FinanceName,
        /// The Dataverse organisation
        power: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Refused: an integration is for good
    Unlink {
        /// The finance and operations environment
        finance: FinanceName,
        #[command(flatten)]
        by: By,
    },
    /// Change a Power Platform environment
    Set(Set),
    /// Migrate Human Resources Standalone to a finance and operations environment
    Migrate {
        /// Its name
        name: FinanceName,
    },
    /// Enable a locked environment, once its key can be used again
    Enable {
        /// The Dataverse organisation
        power: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Back an environment up, with what is linked to it
    Backup {
        /// The Dataverse organisation
        power: PowerName,
        /// The backup's name
        backup: BackupName,
        #[command(flatten)]
        by: By,
    },
    /// List the backups, and the key versions that they need
    Backups,
    /// Restore a backup into the same environment, or into one under the same key
    Restore {
        /// The backup
        backup: BackupName,
        /// The Dataverse organisation
        into: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Copy an environment over another one under the same key
    Copy {
        /// From this Dataverse organisation
        from: PowerName,
        /// Over this one
        into: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Delete an environment's data and backups; empty, it is back under the service-managed key
    Reset {
        /// The Dataverse organisation
        power: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Try to attach a stolen copy of another working directory here
    Attach {
        /// The copy, as `atrest steal` makes it
        copy: PathBuf,
        /// As this environment
        #[arg(long, value_name = "NAME", default_value = "attached")]
        into: Name,
    },
}

#[derive(Debug, clap::Args)]
pub struct Create {
    /// Its name in LCS
    name: FinanceName,
    /// The project
    #[arg(long, value_name = "PROJECT")]
    project: ProjectName,
    /// An Azure region
    #[arg(long, value_name = "REGION", default_value = "westeurope")]
    region: Region,
    /// production, sandbox, cloud-hosted or hr-standalone
    #[arg(long, value_name = "KIND", default_value = "production", value_parser = word::<FinanceKind>)]
    kind: FinanceKind,
    /// Its SQL databases; may be given again
    #[arg(long = "database", value_name = "NAME", default_value = "axdb")]
    databases: Vec<Name>,
    /// Its storage account
    #[arg(long, value_name = "NAME", default_value = "documents")]
    storage: Name,
}

#[derive(Debug, clap::Args)]
pub struct CreatePower {
    /// The name of its Dataverse organisation
    name: PowerName,
    /// The tenant
    #[arg(long, value_name = "TENANT")]
    tenant: TenantName,
    /// An Azure region
    #[arg(long, value_name = "REGION", default_value = "westeurope")]
    region: Region,
    /// production, sandbox, trial or teams
    #[arg(long, value_name = "KIND", default_value = "production", value_parser = word::<PowerKind>)]
    kind: PowerKind,
    /// Without D365 apps, for good
    #[arg(long)]
    without_d365_apps: bool,
    /// No Managed Environment
    #[arg(long)]
    unmanaged: bool,
    /// Its users lack the licence
    #[arg(long)]
    unlicensed: bool,
    /// Free database capacity, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    capacity: u32,
    /// A service that runs in it: flows, connections, ... (docs-2026-03); may be given again
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<ProductId>,
}

#[derive(Debug, clap::Args)]
pub struct Set {
    /// The Dataverse organisation
    power: PowerName,
    /// Whether it is a Managed Environment
    #[arg(long, value_name = "BOOL")]
    managed: Option<bool>,
    /// Whether its users have the licence
    #[arg(long, value_name = "BOOL")]
    licensed: Option<bool>,
    /// Free database capacity, in MiB
    #[arg(long, value_name = "MIB")]
    capacity: Option<u32>,
}

/// A word that the format has, too.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|e| e.to_string())
}

pub fn run(command: &Command, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let output = context.output();
    let shown = match command {
        Command::Create(create) => {
            let new = NewFinance {
                name: create.name.clone(),
                project: create.project.clone(),
                kind: create.kind,
                region: create.region.clone(),
                databases: create.databases.clone(),
                storage: create.storage.clone(),
            };
            landscape.create_finance(&[new], &|_| ())?;
            create.name.as_str()
        }
        Command::CreatePower(create) => {
            let services: BTreeSet<_> = create.services.iter().cloned().collect();
            let (name, tenant) = (create.name.clone(), create.tenant.clone());
            let new = PowerEnvironment {
                kind: create.kind,
                d365_apps: !create.without_d365_apps,
                managed: !create.unmanaged,
                licensed: !create.unlicensed,
                capacity_mib: create.capacity,
                services,
                ..PowerEnvironment::usual(name, tenant, create.region.clone())
            };
            landscape.create_power(&[new], &|_| ())?;
            create.name.as_str()
        }
        Command::List => return list_all(&landscape, context),
        Command::Show { name } => name.as_str(),
        Command::Link { finance, power, by } => {
            let by = by.admin(&landscape, power.as_str())?;
            landscape.link(finance, power, &by)?;
            output.note("It takes an hour: `atrest clock advance 1h`.");
            finance.as_str()
        }
        Command::Unlink { finance, by } => {
            let power = match landscape.get::<FinanceEnvironment>(finance.as_str())?.link {
                Link::Completed { power, .. } => power.to_string(),
                _ => String::new(),
            };
            let by = by.admin(&landscape, &power)?;
            landscape.unlink(finance, &by)?;
            finance.as_str()
        }
        Command::Set(set) => {
            if set.managed.is_none() && set.licensed.is_none() && set.capacity.is_none() {
                return Err(CliError::new(
                    "nothing is to be changed",
                    "say what: --managed, --licensed or --capacity",
                ));
            }
            landscape.set_power(&set.power, set.managed, set.licensed, set.capacity)?;
            set.power.as_str()
        }
        Command::Migrate { name } => {
            landscape.migrate(name)?;
            name.as_str()
        }
        Command::Enable { power, by } => {
            let by = by.admin(&landscape, power.as_str())?;
            landscape.enable(power, &by)?;
            power.as_str()
        }
        Command::Backup { power, backup, by } => {
            let by = by.admin(&landscape, power.as_str())?;
            let made = landscape.back_up(power, backup, &by)?;
            backups(&[made], context)?;
            return Ok(Outcome::Holds);
        }
        Command::Backups => {
            backups(&landscape.all::<Backup>()?, context)?;
            return Ok(Outcome::Holds);
        }
        Command::Restore { backup, into, by } => {
            let by = by.admin(&landscape, into.as_str())?;
            let done = landscape.restore_backup(backup, into, &by)?;
            list(output, &done.resources, &["restored"], |address| {
                vec![address.clone()]
            })?;
            return Ok(Outcome::Holds);
        }
        Command::Copy { from, into, by } => {
            let by = by.admin(&landscape, into.as_str())?;
            let done = landscape.copy(from, into, &by)?;
            list(output, &done.resources, &["copied"], |address| {
                vec![address.clone()]
            })?;
            return Ok(Outcome::Holds);
        }
        Command::Reset { power, by } => {
            let by = by.admin(&landscape, power.as_str())?;
            landscape.reset(power, &by)?;
            power.as_str()
        }
        Command::Attach { copy, into } => {
            let progress = output.progress("Copying");
            let attached = landscape.attach(copy, into, &told(&progress));
            drop(progress);
            list(output, &attached?, &["attached"], |address| {
                vec![address.clone()]
            })?;
            return Ok(Outcome::Holds);
        }
    };
    show(&landscape, shown, context)
}
