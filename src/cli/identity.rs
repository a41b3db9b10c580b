use std::collections::BTreeMap;

use serde::Serialize;

use crate::server::{
    AccessPolicy, Assignment, Home, Identities, Identity, KeyPermission, Role, Scope,
    SecretPermission,
};
use crate::world::{VaultKind, WhichVault};

use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest identity`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest identity add payroll --role \"Key Vault Crypto Service Encryption User\"
  atrest identity grant payroll --role \"Key Vault Crypto User\" --scope customer/keys/customer-key
  atrest identity list
  atrest identity model customer access-policy
  atrest identity policy customer payroll --keys get,wrapKey,unwrapKey --secrets get

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
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<Role>,
        /// Where: in a vault (VAULT), for one key of it (VAULT/keys/NAME) or one secret
        /// (VAULT/secrets/NAME); everywhere when nothing is said
        #[arg(long, value_name = "SCOPE", default_value_t = Scope::Everywhere, hide_default_value = true)]
        scope: Scope,
    },
    /// Give an identity a role
    Grant(RoleArgs),
    /// Take a role from an identity
    Revoke(RoleArgs),
    /// Say what decides who may use a vault: roles, or access policies
    Model {
        /// The vault
        vault: WhichVault,
        /// What decides there
        model: Model,
    },
    /// Say what an identity may do in a vault whose model is access-policy; nothing takes all from it
    Policy {
        /// The vault
        vault: WhichVault,
        /// The identity
        name: String,
        /// With keys, with commas between: get, list, wrapKey, unwrapKey, ...
        #[arg(long, value_name = "PERMISSIONS", value_delimiter = ',')]
        keys: Vec<KeyPermission>,
        /// With secrets: get, list, set, ...
        #[arg(long, value_name = "PERMISSIONS", value_delimiter = ',')]
        secrets: Vec<SecretPermission>,
    },
    /// List the identities and their roles
    List {
        /// The access policies of a vault instead
        #[arg(long, value_name = "VAULT")]
        policies: Option<WhichVault>,
    },
    /// Remove one
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct RoleArgs {
    /// The identity
    name: String,
    /// One of Azure's built-in roles
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Where: VAULT, VAULT/keys/NAME or VAULT/secrets/NAME; everywhere when nothing is said
    #[arg(long, value_name = "SCOPE", default_value_t = Scope::Everywhere, hide_default_value = true)]
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    Rbac,
    AccessPolicy,
}

#[derive(Serialize)]
struct Row {
    name: String,
    client_id: String,
    object_id: String,
    roles: Vec<Assignment>,
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
    let workspace = context.workspace_here()?;
    let identities = Identities::open(&Home::of(workspace.dir())?)?;
    let note = |text: String| context.output().note(&text);
    // A role or policy for a vault that is not there is most likely a slip.
    let known = |vault: Option<&WhichVault>| match vault {
        Some(vault) => workspace.identity_of(vault).map(|_| ()),
        None => Ok(()),
    };
    match &args.command {
        Command::Add { name, roles, scope } => {
            known(scope.vault())?;
            let assigned = |role: &Role| Assignment {
                role: *role,
                scope: scope.clone(),
            };
            let roles: Vec<_> = roles.iter().map(assigned).collect();
            let (identity, secret) = identities.add(name, &roles)?;
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
            note("The secret is not kept: store it now.".into());
        }
        Command::Grant(RoleArgs { name, role, scope }) => {
            known(scope.vault())?;
            let (role, scope) = (*role, scope.clone());
            let assignment = Assignment { role, scope };
            identities.grant(name, &assignment)?;
            note(format!("{name} has the role {assignment} from now on."));
        }
        Command::Revoke(RoleArgs { name, role, scope }) => {
            let (role, scope) = (*role, scope.clone());
            let assignment = Assignment { role, scope };
            identities.revoke(name, &assignment)?;
            note(format!("{name} no longer has the role {assignment}."));
        }
        Command::Model { vault, model } => {
            known(Some(vault))?;
            let hsm = workspace.vault_kind(vault) == Some(VaultKind::ManagedHsm);
            if hsm && *model == Model::AccessPolicy {
                return Err(CliError::new(
                    format_args!("{vault} is a managed HSM, and those have no access policies"),
                    "give roles in it with `atrest identity grant --scope`",
                ));
            }
            identities.use_policies(vault, *model == Model::AccessPolicy)?;
            note(match model {
                Model::Rbac => format!("In the vault {vault} roles decide; its policies are gone."),
                Model::AccessPolicy => format!(
                    "In the vault {vault} access policies decide, and no roles: at first, the administrator may \
                     everything and others nothing."
                ),
            });
        }
        Command::Policy {
            vault,
            name,
            keys,
            secrets,
        } => {
            known(Some(vault))?;
            identities.set_policy(vault, name, keys, secrets)?;
            note(format!("In the vault {vault} that is what {name} may."));
        }
        Command::List {
            policies: Some(vault),
        } => {
            known(Some(vault))?;
            let policies = identities.policies(vault)?.ok_or_else(|| {
                CliError::new(
                    format_args!("roles decide in the vault {vault}"),
                    "`atrest identity list` lists them",
                )
            })?;
            context.output().answer(&policies, |text| {
                let row = |(name, policy): &(String, AccessPolicy)| {
                    let keys: Vec<_> = policy.keys.iter().map(KeyPermission::to_string).collect();
                    let secrets = policy.secrets.iter().map(SecretPermission::to_string);
                    let secrets: Vec<_> = secrets.collect();
                    vec![name.clone(), keys.join(" "), secrets.join(" ")]
                };
                let lines: Vec<_> = policies.iter().map(row).collect();
                text.push_str(&table(&["name", "keys", "secrets"], &[], &lines));
                Ok(())
            })?;
        }
        Command::List { policies: None } => {
            let rows: Vec<Row> = identities.all()?.into_iter().map(Row::from).collect();
            context.output().answer(&rows, |text| {
                let of = |row: &Row| {
                    let roles: Vec<_> = row.roles.iter().map(Assignment::to_string).collect();
                    vec![row.name.clone(), row.client_id.clone(), roles.join(", ")]
                };
                let lines: Vec<_> = rows.iter().map(of).collect();
                text.push_str(&table(&["name", "client id", "roles"], &[], &lines));
                Ok(())
            })?;
        }
        Command::Remove { name } => {
            identities.remove(name)?;
            note(format!("{name} is removed, and its tokens are refused."));
        }
    }
    Ok(Outcome::Holds)
}
