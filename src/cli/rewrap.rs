use serde::Serialize;

use crate::resource::{Protection, Rewrapped};
use crate::world::{NamedKey, ResourceAddress, Workspace};

use super::{CliError, Context, Outcome};

/// Arguments of `atrest rewrap`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest key rotate customer-key && atrest rewrap   everything to the new version
  atrest rewrap --key payroll-key                   what is under one key
  atrest rewrap sql/finance                         one resource

Only wrapped keys are rewritten, never data. What belongs to a landscape is left out: its services
follow a new version by themselves. A copy taken before still needs the old version: it opens for
as long as that is enabled.")]
pub struct Args {
    /// The resources; by default every one that is under a customer's key
    #[arg(conflicts_with = "key")]
    addresses: Vec<ResourceAddress>,

    /// Only those under this key
    #[arg(long, value_name = "[VAULT/]NAME")]
    key: Option<NamedKey>,
}

#[derive(Serialize)]
struct Done {
    address: String,
    #[serde(flatten)]
    rewrapped: Rewrapped,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let addresses = match args.addresses.is_empty() {
        true => under_key(&workspace, args.key.as_ref())?,
        false => args.addresses.clone(),
    };
    let mut done = Vec::new();
    for address in &addresses {
        workspace.refuse_in_landscape(address)?;
    }
    for address in &addresses {
        let mut resource = workspace.open_resource(address)?;
        let protection = resource.protection().clone();
        done.push(Done {
            address: address.to_string(),
            rewrapped: resource.rewrap(&protection)?,
        });
    }
    context.output().answer(&done, |text| {
        use std::fmt::Write;
        if done.is_empty() {
            writeln!(text, "Nothing is under that key.")?;
        }
        for Done { address, rewrapped } in &done {
            writeln!(text, "{address}: rewrapped")?;
            writeln!(text, "  from {}", rewrapped.from)?;
            writeln!(text, "  to   {}", rewrapped.to)?;
            writeln!(
                text,
                "  {} bytes written, {} bytes of data left alone",
                rewrapped.bytes_rewritten, rewrapped.bytes_untouched
            )?;
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
}

fn under_key(
    workspace: &Workspace,
    key: Option<&NamedKey>,
) -> Result<Vec<ResourceAddress>, CliError> {
    let wanted = key
        .map(|name| workspace.customer_key(Some(name)))
        .transpose()?;
    let chosen = |protection: &Protection| match (protection, &wanted) {
        (Protection::CustomerManaged { key }, Some(wanted)) => key == wanted,
        (Protection::CustomerManaged { .. }, None) => true,
        _ => false,
    };
    let mut found = Vec::new();
    for (address, entry) in workspace.resources() {
        if chosen(&entry.protection) && workspace.owner_in_landscape(&address)?.is_none() {
            found.push(address);
        }
    }
    Ok(found)
}
