//! The commands on a landscape: tenants, projects, environments, policies, add-ins, offers, Lockbox, coverage,
//! the clock. Each is one call of `crate::world::landscape`.

pub mod addin;
pub mod clock;
pub mod coverage;
pub mod environment;
pub mod lockbox;
pub mod offer;
pub mod policy;
pub mod project;
pub mod tenant;
mod vault;
mod view;

use jiff::Timestamp;
use serde::Serialize;

use crate::world::landscape::{
    Event, Landscape, PersonName, PowerEnvironment, Refusal, TenantName,
};
use crate::world::{Step, Workspace};

use super::{CliError, Context, Output, Progress, table};

/// Whom a command is done in the name of.
#[derive(Debug, clap::Args)]
pub struct By {
    /// In whose name; by default TENANT-admin, or TENANT-vault-admin for policies
    #[arg(long = "as", value_name = "PERSON", global = true)]
    by: Option<PersonName>,
}

impl By {
    fn or(&self, tenant: &TenantName, usual: &str) -> Result<PersonName, CliError> {
        match &self.by {
            Some(by) => Ok(by.clone()),
            None => Ok(format!("{tenant}-{usual}").parse()?),
        }
    }

    /// The administrator of the environment's tenant.
    fn admin(&self, landscape: &Landscape<'_>, power: &str) -> Result<PersonName, CliError> {
        match (&self.by, landscape.get::<PowerEnvironment>(power)) {
            (Some(by), _) => Ok(by.clone()),
            (None, Ok(power)) => self.or(&power.tenant, "admin"),
            // The command says itself what is wrong with the name.
            (None, Err(_)) => Ok("nobody".parse()?),
        }
    }
}

/// The working directory, for a landscape in it.
fn workspace(context: &Context) -> Result<Workspace, CliError> {
    context.workspace()
}

/// The same, once what is due has taken effect.
fn caught_up(workspace: &Workspace) -> Result<Landscape<'_>, CliError> {
    let landscape = Landscape::open(workspace)?;
    landscape.catch_up()?;
    Ok(landscape)
}

/// Tells warnings: also when quiet.
fn warn(output: Output, warnings: &[Refusal]) {
    for warning in warnings {
        output.warn(&warning.to_string());
    }
}

/// Shows steps as a progress bar.
fn told(progress: &Progress) -> impl Fn(Step) + Sync + '_ {
    |step| progress.set(step.done, step.of)
}

/// A time, to the second.
fn time(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// Rows as a table, or what they are of in JSON.
fn list<T: Serialize>(
    output: Output,
    all: &[T],
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), CliError> {
    output.answer(&all, |text| {
        let rows: Vec<_> = all.iter().map(row).collect();
        match rows.is_empty() {
            true => text.push_str("None.\n"),
            false => text.push_str(&table(header, &[], &rows)),
        }
        Ok(())
    })
}

/// Lines of a name and a value.
fn lines(text: &mut String, pairs: &[(&str, String)]) -> std::fmt::Result {
    use std::fmt::Write;
    pairs
        .iter()
        .try_for_each(|(name, value)| writeln!(text, "{name:18} {value}"))
}

fn event_row(event: &Event) -> Vec<String> {
    vec![
        time(event.time),
        event.actor.clone(),
        event.operation.clone(),
        event.subject.clone(),
        event.outcome.clone(),
        event.detail.clone(),
    ]
}

const EVENT_HEADER: [&str; 6] = ["time", "who", "operation", "subject", "outcome", "detail"];

fn joined(all: impl IntoIterator<Item = impl ToString>) -> String {
    let all: Vec<_> = all.into_iter().map(|one| one.to_string()).collect();
    match all.is_empty() {
        true => "-".into(),
        false => all.join(", "),
    }
}

/// A word as the format has it.
fn spelled(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
