use serde::Serialize;

use crate::base::KeyRef;
use crate::resource::blob::ScopeName;
use crate::resource::{Protection, Rewrapped};
use crate::world::{Kind, NamedKey, ResourceAddress, Workspace};

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
struct Done {
    address: String,
    /// Only this encryption scope of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeName>,
    #[serde(flatten)]
    rewrapped: Rewrapped,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let (addresses, scopes) = match args.addresses.is_empty() {
        true => under_key(&workspace, args.key.as_ref())?,
        false => (args.addresses.clone(), Vec::new()),
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
            scope: None,
            rewrapped: resource.rewrap(&protection)?,
        });
    }
    for (address, scope) in scopes {
        let account = workspace.open_storage(&address)?;
        done.push(Done {
            address: address.to_string(),
            rewrapped: account.rewrap_scope(&scope, None)?,
            scope: Some(scope),
        });
    }
    context.output().answer(&done, |text| {
        use std::fmt::Write;
        if done.is_empty() {
            writeln!(text, "Nothing is under that key.")?;
        }
        for Done {
            address,
            scope,
            rewrapped,
        } in &done
        {
            match scope {
                Some(scope) => writeln!(text, "{address}, scope {scope}: rewrapped")?,
                None => writeln!(text, "{address}: rewrapped")?,
            }
            tell(rewrapped, text)?;
            for scope in &rewrapped.left {
                writeln!(
                    text,
                    "  scope {scope} left as it was: its key is not available"
                )?;
            }
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
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

/// The resources under a key, and the encryption scopes under it of other accounts.
type Found = (Vec<ResourceAddress>, Vec<(ResourceAddress, ScopeName)>);

fn under_key(workspace: &Workspace, key: Option<&NamedKey>) -> Result<Found, CliError> {
    let wanted: Option<KeyRef> = key
        .map(|name| workspace.customer_key(Some(name)))
        .transpose()?;
    let chosen = |protection: &Protection| match (protection, &wanted) {
        (Protection::CustomerManaged { key }, Some(wanted)) => key == wanted,
        (Protection::CustomerManaged { .. }, None) => true,
        _ => false,
    };
    let (mut found, mut scopes) = (Vec::new(), Vec::new());
    for (address, entry) in workspace.resources() {
        if workspace.owner_in_landscape(&address)?.is_some() {
            continue;
        }
        if chosen(&entry.protection) {
            found.push(address);
        } else if address.kind == Kind::Storage && entry.protection != Protection::Plain {
            for scope in workspace.open_storage(&address)?.scopes()? {
                if chosen(&scope.protection) {
                    scopes.push((address.clone(), scope.name));
                }
            }
        }
    }
    Ok((found, scopes))
}
