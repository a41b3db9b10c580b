//! Environments of both kinds. `atrest env` alone prints a server's variables (`cli/environment.rs`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::world::Name;
use crate::world::landscape::{
    Backup, BackupName, FinanceEnvironment, FinanceKind, FinanceName, Landscape, Link, NewFinance,
    NewPower, PowerEnvironment, PowerKind, PowerName, ProductId, ProjectName, Region, SqlState,
    TenantName,
};

use super::{By, caught_up, joined, lines, list, spelled, time, told, workspace};
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

/// A row of `atrest env list`.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: String,
    region: String,
    link: String,
    key: &'static str,
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    finance: Option<FinanceEnvironment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<PowerEnvironment>,
    sql: Option<SqlState>,
    resources: Vec<String>,
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
            let new = NewPower {
                name: create.name.clone(),
                tenant: create.tenant.clone(),
                kind: create.kind,
                region: create.region.clone(),
                d365_apps: !create.without_d365_apps,
                managed: !create.unmanaged,
                licensed: !create.unlicensed,
                capacity_mib: create.capacity,
                services,
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

fn backups(all: &[Backup], context: &Context) -> Result<(), CliError> {
    let row = |backup: &Backup| {
        let mut versions: Vec<_> = backup
            .parts
            .iter()
            .map(|part| part.protector.clone())
            .collect();
        versions.sort();
        versions.dedup();
        vec![
            backup.name.to_string(),
            backup.power.to_string(),
            time(backup.taken),
            time(backup.expires),
            joined(versions),
        ]
    };
    let header = [
        "backup",
        "of",
        "taken",
        "kept until",
        "needs the key versions",
    ];
    list(context.output(), all, &header, row)
}

fn list_all(landscape: &Landscape<'_>, context: &Context) -> Result<Outcome, CliError> {
    let mut rows = Vec::new();
    for finance in landscape.all::<FinanceEnvironment>()? {
        let key = match finance.link.completed() {
            Some(power) => landscape
                .get::<PowerEnvironment>(power.as_str())?
                .key
                .word(),
            None => "Microsoft-managed",
        };
        rows.push(Row {
            name: finance.name.to_string(),
            kind: format!("finance and operations, {}", spelled(&finance.kind)),
            region: finance.region.to_string(),
            link: match finance.link.completed() {
                Some(power) => format!("with {power}"),
                None => finance.link.word().to_owned(),
            },
            key,
        });
    }
    for power in landscape.all::<PowerEnvironment>()? {
        rows.push(Row {
            name: power.name.to_string(),
            kind: format!("Power Platform, {}", spelled(&power.kind)),
            region: power.region.to_string(),
            link: match &power.linked {
                Some(finance) => format!("with {finance}"),
                None => "not integrated".to_owned(),
            },
            key: power.key.word(),
        });
    }
    let row = |row: &Row| {
        vec![
            row.name.clone(),
            row.kind.clone(),
            row.region.clone(),
            row.link.clone(),
            row.key.to_owned(),
        ]
    };
    let header = ["environment", "kind", "region", "integration", "key"];
    list(context.output(), &rows, &header, row)?;
    Ok(Outcome::Holds)
}

fn show(landscape: &Landscape<'_>, name: &str, context: &Context) -> Result<Outcome, CliError> {
    let finances = landscape.all::<FinanceEnvironment>()?;
    let finance = finances
        .into_iter()
        .find(|finance| finance.name.as_str() == name);
    let power: Option<PowerEnvironment> = match &finance {
        Some(finance) => finance
            .link
            .completed()
            .map(|power| landscape.get(power.as_str()))
            .transpose()?,
        None => Some(landscape.get(name)?),
    };
    let mut resources = match &finance {
        Some(finance) => landscape.resources_of_finance(&finance.name),
        None => Vec::new(),
    };
    if let Some(power) = &power {
        resources = landscape.resources_of(power);
    }
    let shown = Shown {
        sql: match &power {
            Some(power) => Some(power.key.sql(landscape.now()?)),
            None => None,
        },
        resources: resources.iter().map(ToString::to_string).collect(),
        finance,
        power,
    };
    context.output().answer(&shown, |text| {
        if let Some(finance) = &shown.finance {
            lines(
                text,
                &[
                    ("environment", finance.name.to_string()),
                    ("kind", spelled(&finance.kind)),
                    ("project", finance.project.to_string()),
                    ("region", finance.region.to_string()),
                    ("integration", finance.link.word().to_owned()),
                    ("offers", joined(&finance.offers)),
                    ("add-ins", joined(&finance.add_ins)),
                ],
            )?;
        }
        if let Some(power) = &shown.power {
            let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
            lines(
                text,
                &[
                    ("Dataverse", power.name.to_string()),
                    ("kind", spelled(&power.kind)),
                    ("region", power.region.to_string()),
                    ("managed", yes(power.managed)),
                    ("D365 apps", yes(power.d365_apps)),
                    ("key", power.key.word().to_owned()),
                    (
                        "policy",
                        power.key.policy().map_or("-".into(), ToString::to_string),
                    ),
                ],
            )?;
            if let Some(sql) = shown.sql {
                lines(text, &[("SQL databases", format!("{sql:?}"))])?;
            }
        }
        lines(text, &[("resources", joined(&shown.resources))])
    })?;
    Ok(Outcome::Holds)
}
