use std::collections::BTreeMap;

use crate::base::KeyName;
use crate::crypto::KeyKind;
use crate::world::NamedKey;
use crate::world::landscape::{
    Applied, NewPolicy, Permission, PersonName, Policy, PolicyName, PowerEnvironment, PowerName,
    Region, TenantName, VersionState,
};

use super::vault::{VaultArgs, change_vault};
use super::{By, caught_up, joined, lines, list, spelled, told, warn, workspace};
use crate::cli::{CliError, Context, Outcome, wrapping_kind};

/// Arguments of `atrest policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest policy create cmk --tenant contoso --location europe --key customer-key
  atrest policy grant cmk                          Key Vault Crypto Service Encryption User
  atrest policy share cmk contoso-admin            Reader, without which nobody adds an environment
  atrest policy apply cmk org-prod                 every resource of the environment, and of what is linked to it
  atrest policy remove org-prod                    back under the service-managed key
  atrest policy revoke cmk                         the lock: every environment of it is offline at once
  atrest policy vault customer --network-closed true --trusted-services false

Only wrapped keys change. What is interrupted goes on with the next command.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an enterprise policy with an identity of its own
    Create {
        /// Its name
        name: PolicyName,
        /// The tenant
        #[arg(long, value_name = "TENANT")]
        tenant: TenantName,
        /// Its location, a geography: europe, unitedstates, ...
        #[arg(long, value_name = "LOCATION")]
        location: Region,
        /// Its key, of which the newest version is used
        #[arg(long, value_name = "[VAULT/]KEY")]
        key: NamedKey,
        #[command(flatten)]
        by: By,
    },
    /// List the policies
    List,
    /// Show one, whether its key can be used, and its environments
    Show {
        /// Its name
        name: PolicyName,
    },
    /// Let its identity use the key
    Grant(Grants),
    /// Take that away: every environment of it is locked at once
    Revoke(Grants),
    /// Give somebody the role Reader on it
    Share {
        /// Its name
        name: PolicyName,
        /// Whom
        reader: PersonName,
        #[command(flatten)]
        by: By,
    },
    /// Delete it: every environment of it is locked at once
    Delete {
        /// Its name
        name: PolicyName,
        #[command(flatten)]
        by: By,
    },
    /// Make a deleted one again
    Undelete {
        /// Its name
        name: PolicyName,
        #[command(flatten)]
        by: By,
    },
    /// Add environments to it, by their Dataverse names
    Apply {
        /// Its name
        name: PolicyName,
        /// The environments
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        environments: Vec<PowerName>,
        /// Every environment of the tenant that has no policy
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        by: By,
    },
    /// Take an environment from its policy
    Remove {
        /// The Dataverse organisation
        environment: PowerName,
        #[command(flatten)]
        by: By,
    },
    /// Go on with what was interrupted
    Resume,
    /// Say where a vault is and who reaches it, or delete, recover or purge it
    Vault(VaultArgs),
    /// Say which kinds of key a policy takes: pages disagree on it
    AllowKeys {
        /// rsa-2048, rsa-3072, rsa-4096 or oct-256
        #[arg(required = true, value_parser = wrapping_kind)]
        kinds: Vec<KeyKind>,
    },
    /// Refused: a version of a key cannot be deleted alone
    DeleteVersion {
        /// The key
        key: KeyName,
        /// The version
        version: crate::base::KeyVersion,
    },
}

#[derive(Debug, clap::Args)]
struct Grants {
    /// The policy
    name: PolicyName,
    /// Only this: get, wrapKey or unwrapKey; may be given again
    #[arg(long = "permission", value_name = "PERMISSION")]
    permissions: Vec<Permission>,
    #[command(flatten)]
    by: By,
}

impl Grants {
    fn permissions(&self) -> &[Permission] {
        match self.permissions.is_empty() {
            true => &Permission::ALL,
            false => &self.permissions,
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let output = context.output();
    let usual = |by: &By, policy: &PolicyName, usual: &str| match landscape
        .get::<Policy>(policy.as_str())
    {
        Ok(policy) => by.or(&policy.tenant, usual),
        Err(e) => Err(CliError::from(e)),
    };
    let owner = |by: &By, policy: &PolicyName| usual(by, policy, "vault-admin");
    let name = match &args.command {
        Command::Create {
            name,
            tenant,
            location,
            key,
            by,
        } => {
            let new = NewPolicy {
                name: name.clone(),
                tenant: tenant.clone(),
                location: location.clone(),
                vault: key.vault.clone(),
                key: key.key.clone(),
            };
            landscape.create_policy(&new, &by.or(tenant, "vault-admin")?)?;
            name
        }
        Command::List => {
            let all = landscape.all::<Policy>()?;
            let row = |policy: &Policy| {
                vec![
                    policy.name.to_string(),
                    policy.tenant.to_string(),
                    policy.location.to_string(),
                    format!("{}/{}", policy.vault.0, policy.key),
                    word(policy).to_owned(),
                ]
            };
            list(
                output,
                &all,
                &["policy", "tenant", "location", "key", "state"],
                row,
            )?;
            return Ok(Outcome::Holds);
        }
        Command::Show { name } => name,
        Command::Grant(grants) => {
            let by = owner(&grants.by, &grants.name)?;
            landscape.grant(&grants.name, grants.permissions(), &by)?;
            &grants.name
        }
        Command::Revoke(grants) => {
            let by = owner(&grants.by, &grants.name)?;
            landscape.revoke(&grants.name, grants.permissions(), &by)?;
            &grants.name
        }
        Command::Share { name, reader, by } => {
            landscape.share_policy(name, reader, &owner(by, name)?)?;
            name
        }
        Command::Delete { name, by } => {
            landscape.delete_policy(name, &owner(by, name)?)?;
            name
        }
        Command::Undelete { name, by } => {
            landscape.restore_policy(name, &owner(by, name)?)?;
            name
        }
        Command::Apply {
            name,
            environments,
            all,
            by,
        } => {
            let environments = match all {
                false => environments.clone(),
                true => without_policy(&landscape.get::<Policy>(name.as_str())?, &landscape.all()?),
            };
            let by = usual(by, name, "admin")?;
            let progress = output.progress("Wrapping keys anew");
            let applied = landscape.apply(name, &environments, &by, &told(&progress));
            drop(progress);
            let applied = applied?;
            warn(output, &applied.warnings);
            return report(&applied.value, context);
        }
        Command::Remove { environment, by } => {
            let by = by.admin(&landscape, environment.as_str())?;
            let progress = output.progress("Wrapping keys anew");
            let removed = landscape.remove(environment, &by, &told(&progress));
            drop(progress);
            return report(&removed?, context);
        }
        // Each command does, before its own work.
        Command::Resume => {
            let mut all = landscape.all::<PowerEnvironment>()?;
            all.retain(|power| power.key.policy().is_some());
            let row = |power: &PowerEnvironment| {
                let policy = power.key.policy().map_or("-".into(), ToString::to_string);
                vec![power.name.to_string(), policy, power.key.word().to_owned()]
            };
            list(output, &all, &["environment", "policy", "state"], row)?;
            return Ok(Outcome::Holds);
        }
        Command::Vault(args) => return change_vault(&landscape, args, context),
        Command::AllowKeys { kinds } => {
            landscape.allow_keys(kinds)?;
            let allowed = landscape.allowed_keys()?;
            output.answer(&allowed, |text| {
                lines(text, &[("a policy takes", joined(&allowed))])
            })?;
            return Ok(Outcome::Holds);
        }
        Command::DeleteVersion { key, version } => {
            landscape.delete_version(key, *version)?;
            return Ok(Outcome::Holds);
        }
    };
    let policy: Policy = landscape.get(name.as_str())?;
    let trigger = landscape.trigger(&policy, landscape.now()?)?;
    let mut members = landscape.all::<PowerEnvironment>()?;
    members.retain(|power| power.key.policy() == Some(&policy.name));
    let of: Vec<_> = members
        .iter()
        .map(|power| format!("{} ({})", power.name, power.key.word()))
        .collect();
    let states = landscape.version_states(&policy).unwrap_or_default();
    let versions = states.iter().map(|(version, state)| {
        format!(
            "{} ({})",
            version.get(..8).unwrap_or(version),
            spelled(state)
        )
    });
    let versions: Vec<_> = versions.collect();
    let shown = Shown {
        policy: &policy,
        state: word(&policy),
        cannot_be_used: trigger.as_deref(),
        version_states: states.iter().cloned().collect(),
        environments: members
            .iter()
            .map(|power| (power.name.as_str(), power.key.word()))
            .collect(),
    };
    output.answer(&shown, |text| {
        let grants = policy.grants.iter().map(|grant| grant.name());
        lines(
            text,
            &[
                ("policy", policy.name.to_string()),
                ("tenant", policy.tenant.to_string()),
                ("location", policy.location.to_string()),
                (
                    "key",
                    format!("{}/{}, its newest version", policy.vault.0, policy.key),
                ),
                ("versions used", joined(&versions)),
                ("identity", policy.identity.to_string()),
                ("granted", joined(grants)),
                ("readers", joined(&policy.readers)),
                ("made by", policy.created_by.to_string()),
                ("state", word(&policy).to_owned()),
                (
                    "cannot be used",
                    trigger.clone().unwrap_or_else(|| "-".into()),
                ),
                ("environments", joined(of)),
            ],
        )
    })?;
    Ok(Outcome::Holds)
}

/// A policy, and what follows from the vault and the environments.
#[derive(serde::Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    policy: &'a Policy,
    state: &'static str,
    cannot_be_used: Option<&'a str>,
    version_states: BTreeMap<String, VersionState>,
    environments: BTreeMap<&'a str, &'static str>,
}

fn word(policy: &Policy) -> &'static str {
    match policy {
        Policy {
            deleted: Some(_), ..
        } => "Deleted",
        Policy {
            unhealthy_since: Some(_),
            ..
        } => "Unhealthy",
        policy if policy.grants.len() < Permission::ALL.len() => "Created",
        policy if policy.versions.is_empty() => "Granted",
        _ => "Healthy",
    }
}

fn without_policy(policy: &Policy, all: &[PowerEnvironment]) -> Vec<PowerName> {
    let of = all.iter().filter(|power| power.tenant == policy.tenant);
    let without = of.filter(|power| power.key.policy().is_none());
    without.map(|power| power.name.clone()).collect()
}

fn report(applied: &Applied, context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(applied, |text| {
        lines(
            text,
            &[
                ("policy", applied.policy.clone()),
                ("environments", joined(&applied.environments)),
                ("resources", applied.resources.to_string()),
                (
                    "bytes written",
                    format!("{}, none of them data", applied.bytes_rewritten),
                ),
                ("bytes left alone", applied.bytes_untouched.to_string()),
            ],
        )?;
        for failed in &applied.failed {
            lines(text, &[("FAILED", failed.clone())])?;
        }
        Ok(())
    })?;
    match applied.failed.is_empty() {
        true => Ok(Outcome::Holds),
        false => Err(CliError::new(
            format_args!(
                "{} resources are still under the key before",
                applied.failed.len()
            ),
            "put right what failed, and give the same command again",
        )),
    }
}
