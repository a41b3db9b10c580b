use serde::Serialize;

use crate::base::KeyRef;
use crate::resource::blob::ScopeName;
use crate::resource::{Protection, Rewrapped};
use crate::world::{Kind, NamedKey, ResourceAddress, Workspace, WorldError};

use super::{CliError, Context, Outcome};

/// Arguments of `atrest rewrap`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest key rotate customer-key && atrest rewrap   everything to the new version
  atrest rewrap --key payroll-key                   what is under one key
  atrest rewrap sql/finance                         one resource

Only wrapped keys are rewritten, never data; those of a storage account's encryption scopes, too.
What belongs to a landscape is left out: its services follow a new version by themselves. A copy
taken before still needs the old version: it opens for as long as that is enabled.")]
pub struct Args {
    /// The resources; by default every one that is under a customer's key
    #[arg(conflicts_with = "key")]
    addresses: Vec<ResourceAddress>,

    /// Only those under this key
    #[arg(long, value_name = "[VAULT/]NAME")]
    key: Option<NamedKey>,
}

#[derive(Serialize)]
struct Tried {
    address: String,
    /// Only this encryption scope of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeName>,
    #[serde(flatten)]
    done: Done,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Done {
    Rewrapped(Rewrapped),
    Failed { error: String },
}

impl Tried {
    fn new(
        address: &ResourceAddress,
        scope: Option<ScopeName>,
        rewrapped: Result<Rewrapped, WorldError>,
    ) -> Self {
        Self {
            address: address.to_string(),
            scope,
            done: match rewrapped {
                Ok(rewrapped) => Done::Rewrapped(rewrapped),
                Err(e) => Done::Failed {
                    error: e.to_string(),
                },
            },
        }
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let mut found = match args.addresses.is_empty() {
        true => under_key(&workspace, args.key.as_ref())?,
        false => Found {
            addresses: args.addresses.clone(),
            ..Found::default()
        },
    };
    for address in &found.addresses {
        workspace.refuse_in_landscape(address)?;
    }
    // One that fails does not keep the others from being rewrapped.
    let mut all = Vec::new();
    for address in &found.addresses {
        let rewrap = || {
            let mut resource = workspace.open_resource(address)?;
            let protection = resource.protection().clone();
            Ok(resource.rewrap(&protection)?)
        };
        all.push(Tried::new(address, None, rewrap()));
    }
    for (address, scope) in found.scopes {
        let rewrap = || Ok((workspace.open_storage(&address)?).rewrap_scope(&scope, None)?);
        let rewrapped = rewrap();
        all.push(Tried::new(&address, Some(scope), rewrapped));
    }
    all.append(&mut found.unknown);
    context.output().answer(&all, |text| {
        use std::fmt::Write;
        if all.is_empty() {
            writeln!(text, "Nothing is under that key.")?;
        }
        for Tried {
            address,
            scope,
            done,
        } in &all
        {
            text.push_str(address);
            if let Some(scope) = scope {
                write!(text, ", scope {scope}")?;
            }
            match done {
                Done::Rewrapped(rewrapped) => {
                    writeln!(text, ": rewrapped")?;
                    tell(rewrapped, text)?;
                    for scope in &rewrapped.left {
                        writeln!(
                            text,
                            "  scope {scope} left as it was: its key is not available"
                        )?;
                    }
                }
                Done::Failed { error } => writeln!(text, ": left as it was: {error}")?,
            }
        }
        Ok(())
    })?;
    let failed = all.iter().filter_map(|tried| match &tried.done {
        Done::Failed { error } => Some(format!("{}: {error}", tried.address)),
        Done::Rewrapped(_) => None,
    });
    let failed: Vec<_> = failed.collect();
    match failed.first() {
        None => Ok(Outcome::Holds),
        Some(first) => Err(CliError::new(
            format_args!(
                "{} of {} could not be rewrapped: {first}",
                failed.len(),
                all.len()
            ),
            "rewrap again when that is mended",
        )),
    }
}

/// From what to what, and what that touched.
pub(super) fn tell(rewrapped: &Rewrapped, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    writeln!(text, "  from {}", rewrapped.from)?;
    writeln!(text, "  to   {}", rewrapped.to)?;
    writeln!(
        text,
        "  {} bytes written, {} bytes of data left alone",
        rewrapped.bytes_rewritten, rewrapped.bytes_untouched
    )
}

/// What is under a key.
#[derive(Default)]
struct Found {
    addresses: Vec<ResourceAddress>,
    /// Encryption scopes of other accounts.
    scopes: Vec<(ResourceAddress, ScopeName)>,
    /// Accounts that do not open, so that nobody knows which scopes they have.
    unknown: Vec<Tried>,
}

fn under_key(workspace: &Workspace, key: Option<&NamedKey>) -> Result<Found, CliError> {
    let wanted: Option<KeyRef> = key
        .map(|name| workspace.customer_key(Some(name)))
        .transpose()?;
    let chosen = |protection: &Protection| match (protection, &wanted) {
        (Protection::CustomerManaged { key }, Some(wanted)) => key == wanted,
        (Protection::CustomerManaged { .. }, None) => true,
        _ => false,
    };
    let mut found = Found::default();
    for (address, entry) in workspace.resources() {
        if workspace.owner_in_landscape(&address)?.is_some() {
            continue;
        }
        if chosen(&entry.protection) {
            found.addresses.push(address);
        } else if address.kind == Kind::Storage && entry.protection != Protection::Plain {
            let scopes = || Ok((workspace.open_storage(&address)?).scopes()?);
            match scopes() {
                Ok(scopes) => {
                    let scopes = scopes.into_iter().filter(|scope| chosen(&scope.protection));
                    let scopes = scopes.map(|scope| (address.clone(), scope.name));
                    found.scopes.extend(scopes);
                }
                Err(e) => found.unknown.push(Tried::new(&address, None, Err(e))),
            }
        }
    }
    Ok(found)
}
