use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::resource::Protection;
use crate::world::{UnderWay, Workspace};

use super::vaults::{Listed, vault_table, vaults};
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest --dir work status
  atrest --dir work status --json | jq '.resources[].protection'

Nothing here needs a key: what is shown is what a thief of the data sees too.")]
pub struct Args {}

#[derive(Serialize)]
struct Status {
    dir: PathBuf,
    vaults: Vec<Listed>,
    environments: Vec<String>,
    resources: Vec<Resource>,
}

#[derive(Serialize)]
struct Resource {
    address: String,
    id: String,
    #[serde(flatten)]
    protection: Protection,
    key_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion: Option<UnderWay>,
    bytes: u64,
}

pub fn run(_args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let status = Status {
        dir: context.dir().to_owned(),
        vaults: vaults(&workspace)?,
        environments: workspace
            .environments()
            .iter()
            .map(ToString::to_string)
            .collect(),
        resources: resources(&workspace)?,
    };
    context.output().answer(&status, |text| {
        use std::fmt::Write;
        writeln!(text, "{}", vault_table(&status.vaults))?;
        if let Some(url) = workspace.server() {
            writeln!(
                text,
                "Customer's keys come from {url} (--vault-url or ATREST_VAULT_URL).\n"
            )?;
        }
        writeln!(text, "ENVIRONMENTS\n{}\n", status.environments.join(", "))?;
        let rows: Vec<_> = status.resources.iter().map(Resource::row).collect();
        let header = ["RESOURCE", "PROTECTION", "KEY", "VERSION", "BYTES"];
        match rows.is_empty() {
            true => writeln!(
                text,
                "No resources yet: see `atrest sql` and `atrest blob`."
            ),
            false => text.write_str(&table(&header, &[4], &rows)),
        }
    })?;
    Ok(Outcome::Holds)
}

fn resources(workspace: &Workspace) -> Result<Vec<Resource>, CliError> {
    let mut resources = Vec::new();
    for (address, entry) in workspace.resources() {
        let version = workspace.key_version(&address)?;
        resources.push(Resource {
            address: address.to_string(),
            id: entry.id.to_string(),
            key_version: version.map(|key| key.version.to_string()),
            conversion: workspace.under_way(&address)?,
            bytes: size(&workspace.path(&address)?),
            protection: entry.protection,
        });
    }
    Ok(resources)
}

/// Bytes of a file, or of all files in a directory.
pub(super) fn size(path: &Path) -> u64 {
    let files = walkdir::WalkDir::new(path).into_iter().flatten();
    let lens = files.filter_map(|f| f.metadata().ok().filter(|m| m.is_file()));
    lens.map(|m| m.len()).sum()
}

impl Resource {
    fn row(&self) -> Vec<String> {
        let how = match self.protection {
            Protection::Plain => "none",
            Protection::ServiceManaged { .. } => "service-managed",
            Protection::CustomerManaged { .. } => "customer-managed",
        };
        let key = self.protection.key().map(|k| k.name.to_string());
        vec![
            self.address.clone(),
            match &self.conversion {
                None => how.to_owned(),
                Some(UnderWay {
                    state,
                    percent_complete: None,
                }) => format!("{how}, {state}"),
                Some(UnderWay {
                    state,
                    percent_complete: Some(percent),
                }) => format!("{how}, {state} {percent:.0} %"),
            },
            key.unwrap_or_else(|| "-".into()),
            self.key_version
                .clone()
                .map_or_else(|| "-".into(), |v| v[..8].to_owned()),
            self.bytes.to_string(),
        ]
    }
}
