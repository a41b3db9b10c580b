use std::path::PathBuf;

use serde::Serialize;

use crate::world::{Name, ResourceAddress};

use super::{CliError, Context, Outcome};

/// Arguments of `atrest restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest restore /tmp/stolen --environment recovery
  atrest --dir elsewhere restore /tmp/stolen --environment loot

A copy can be restored anywhere. What is in it opens only where the vaults hold its keys.
A database that was half encrypted or decrypted comes with the plain file beside it, and goes on.")]
pub struct Args {
    /// The copy, as `atrest steal` made it; it stays as it is
    copy: PathBuf,

    /// The environment to restore into; made when it is missing
    #[arg(long, value_name = "NAME")]
    environment: Name,
}

#[derive(Serialize)]
struct Restored {
    address: String,
    opens: bool,
    why_not: Option<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let progress = context.output().progress("Restoring");
    let addresses = workspace.restore(&args.copy, &args.environment, &mut |done, total| {
        progress.set(done, total);
    })?;
    drop(progress);
    let try_to_open = |address: &ResourceAddress| {
        let refused = workspace.check_access(address).err();
        Restored {
            address: address.to_string(),
            opens: refused.is_none(),
            why_not: refused.map(|e| e.to_string()),
        }
    };
    let restored: Vec<_> = addresses.iter().map(try_to_open).collect();
    context.output().answer(&restored, |text| {
        use std::fmt::Write;
        for one in &restored {
            match &one.why_not {
                None => writeln!(text, "{}: restored, opens", one.address)?,
                Some(why) => writeln!(text, "{}: restored, does not open: {why}", one.address)?,
            }
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
}
