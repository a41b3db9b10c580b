//! `atrest policy vault`: the management plane of a vault.

use crate::world::WhichVault;
use crate::world::landscape::{Landscape, Region, VaultFacts};

use super::{lines, time, warn};
use crate::cli::{CliError, Context, Outcome};

#[derive(Debug, clap::Args)]
pub struct VaultArgs {
    /// The vault
    vault: WhichVault,
    /// Where it is
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,
    /// Whether only its own network reaches it
    #[arg(long, value_name = "BOOL")]
    network_closed: Option<bool>,
    /// Whether trusted services pass in spite of that
    #[arg(long, value_name = "BOOL")]
    trusted_services: Option<bool>,
    /// Delete it softly
    #[arg(long, conflicts_with_all = ["recover", "purge"])]
    delete: bool,
    /// Recover it; its grants do not come back
    #[arg(long, conflicts_with = "purge")]
    recover: bool,
    /// Purge it
    #[arg(long)]
    purge: bool,
}

pub fn change_vault(
    landscape: &Landscape<'_>,
    args: &VaultArgs,
    context: &Context,
) -> Result<Outcome, CliError> {
    let vault = &args.vault;
    if args.region.is_some() || args.network_closed.is_some() || args.trusted_services.is_some() {
        landscape.set_vault(
            vault,
            args.region.as_ref(),
            args.network_closed,
            args.trusted_services,
        )?;
    }
    if args.delete {
        landscape.delete_vault(vault)?;
    }
    if args.recover {
        let recovered = landscape.recover_vault(vault)?;
        warn(context.output(), &recovered.warnings);
    }
    if args.purge {
        landscape.purge_vault(vault)?;
    }
    let facts: VaultFacts = landscape.vault_facts(vault)?;
    context.output().answer(&facts, |text| {
        let state = match (facts.purged, facts.deleted) {
            (Some(at), _) => format!("purged on {}", time(at)),
            (None, Some(at)) => format!("deleted on {}", time(at)),
            _ => "active".to_owned(),
        };
        let network = match (facts.network_closed, facts.trusted_services) {
            (false, _) => "open",
            (true, true) => "closed; trusted services pass",
            (true, false) => "closed, for trusted services, too",
        };
        lines(
            text,
            &[
                ("vault", facts.name.clone()),
                (
                    "region",
                    facts
                        .region
                        .as_ref()
                        .map_or("not said".into(), ToString::to_string),
                ),
                ("network", network.to_owned()),
                ("state", state),
            ],
        )
    })?;
    Ok(Outcome::Holds)
}
