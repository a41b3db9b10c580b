use std::collections::BTreeMap;

use serde::Serialize;

use crate::server::{Home, Identities, Identity, Role};

use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest identity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest identity add payroll --role \"Key Vault Crypto Service Encryption User\"
  atrest identity list

`add` prints AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, the secret for the only time. Changes
count at once, also for tokens that were issued before.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Register a client of the server, and print its secret
    Add {
        /// Its name: letters, digits, '-', '_' and '.'
        name: String,
        /// What it may do: one of Azure's built-in roles; may be given again
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
    },
    /// List the identities and their roles
    List,
    /// Remove one
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
struct Row {
    name: String,
    client_id: String,
    object_id: String,
    roles: Vec<Role>,
}

impl From<Identity> for Row {
    fn from(identity: Identity) -> Self {
        Self {
            name: identity.name,
            client_id: identity.client_id.to_string(),
            object_id: identity.object_id.to_string(),
            roles: identity.roles,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let identities = Identities::open(&Home::of(context.workspace()?.dir())?)?;
    match &args.command {
        Command::Add { name, roles } => {
            let (identity, secret) = identities.add(name, roles)?;
            let variables: BTreeMap<&str, String> = [
                ("AZURE_TENANT_ID", identities.tenant()?.to_string()),
                ("AZURE_CLIENT_ID", identity.client_id.to_string()),
                ("AZURE_CLIENT_SECRET", secret.to_string()),
            ]
            .into();
            context.output().answer(&variables, |text| {
                use std::fmt::Write;
                let mut lines = variables.iter();
                lines.try_for_each(|(name, value)| writeln!(text, "export {name}='{value}'"))
            })?;
            context
                .output()
                .note("The secret is not kept: store it now.");
        }
        Command::List => {
            let rows: Vec<Row> = identities.all()?.into_iter().map(Row::from).collect();
            context.output().answer(&rows, |text| {
                let of = |row: &Row| {
                    let roles: Vec<_> = row.roles.iter().map(Role::to_string).collect();
                    vec![row.name.clone(), row.client_id.clone(), roles.join(", ")]
                };
                let lines: Vec<_> = rows.iter().map(of).collect();
                text.push_str(&table(&["name", "client id", "roles"], &[], &lines));
                Ok(())
            })?;
        }
        Command::Remove { name } => {
            identities.remove(name)?;
            context
                .output()
                .note(&format!("{name} is removed, and its tokens are refused."));
        }
    }
    Ok(Outcome::Holds)
}
