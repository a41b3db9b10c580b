//! The vaults of a working directory, as `atrest vault list` and `atrest status` show them.

use serde::Serialize;

use crate::base::VaultId;
use crate::vault::{LocalVault, RootKeyKind};
use crate::world::{VaultKind, WhichVault, Workspace};

use super::{CliError, Context, Outcome, table};

/// What is shown of each vault, without opening it.
#[derive(Serialize)]
pub(super) struct Listed {
    name: String,
    id: String,
    kind: VaultKind,
    #[serde(flatten)]
    place: Place,
}

/// Where a vault is asked.
#[derive(Serialize)]
#[serde(untagged)]
enum Place {
    Here {
        root_key: &'static str,
        sealed: bool,
    },
    Server {
        url: String,
    },
}

/// The vaults of a working directory.
pub(super) fn vaults(workspace: &Workspace) -> Result<Vec<Listed>, CliError> {
    let listed = |(which, id, kind): (WhichVault, VaultId, VaultKind)| {
        let server = workspace.server().filter(|_| which == WhichVault::Customer);
        let place = match server {
            Some(url) => Place::Server {
                url: url.to_owned(),
            },
            None => {
                let record = LocalVault::root_record(&which.dir(workspace.dir()))?;
                Place::Here {
                    root_key: match record.kind() {
                        RootKeyKind::KeyFile => "key file",
                        RootKeyKind::Passphrase { .. } => "passphrase",
                    },
                    sealed: record.sealed,
                }
            }
        };
        Ok(Listed {
            name: which.to_string(),
            id: id.to_string(),
            kind,
            place,
        })
    };
    workspace.vaults()?.into_iter().map(listed).collect()
}

pub(super) fn vault_table(vaults: &[Listed]) -> String {
    let row = |vault: &Listed| {
        let (root_key, state) = match &vault.place {
            Place::Here { root_key, sealed } if *sealed => (*root_key, "sealed".to_owned()),
            Place::Here { root_key, .. } => (*root_key, "unsealed".to_owned()),
            Place::Server { url } => ("-", format!("asked at {url}")),
        };
        let [name, id, root_key] = [&vault.name, &vault.id, root_key].map(str::to_owned);
        vec![name, id, root_key, state]
    };
    let rows: Vec<Vec<String>> = vaults.iter().map(row).collect();
    table(&["VAULT", "ID", "ROOT KEY", "STATE"], &[], &rows)
}

pub(super) fn list(context: &Context) -> Result<Outcome, CliError> {
    let vaults = vaults(&context.workspace()?)?;
    context.output().answer(&vaults, |text| {
        text.push_str(&vault_table(&vaults));
        Ok(())
    })?;
    Ok(Outcome::Holds)
}
