use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::resource::Protection;
use crate::resource::blob::{EncryptionScope, ObjectsUrl};
use crate::world::{Kind, ResourceAddress, UnderWay, Workspace, WorldError};

use super::blob::scope_state;
use super::vaults::{Listed, vault_table, vaults};
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest --dir work status
  atrest --dir work status --json | jq '.resources[].protection'

Nothing here needs a customer's key. An account's encryption scopes are in its catalog, which the
provider's key opens; all else is what a thief of the data sees too.")]
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
    /// Of a storage account.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<EncryptionScope>,
    /// Why they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes_unknown: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<ObjectsUrl>,
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
        let rows: Vec<_> = status.resources.iter().flat_map(Resource::rows).collect();
        let header = ["RESOURCE", "PROTECTION", "KEY", "VERSION", "BYTES"];
        match rows.is_empty() {
            true => writeln!(
                text,
                "No resources yet: see `atrest sql` and `atrest blob`."
            ),
            false => text.write_str(&table(&header, &[4], &rows)),
        }?;
        for resource in &status.resources {
            if let Some(why) = &resource.scopes_unknown {
                writeln!(
                    text,
                    "{}: its encryption scopes are not known: {why}",
                    resource.address
                )?;
            }
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
}

fn resources(workspace: &Workspace) -> Result<Vec<Resource>, CliError> {
    let mut resources = Vec::new();
    for (address, entry) in workspace.resources() {
        let version = workspace.key_version(&address)?;
        let (scopes, scopes_unknown) = match scopes(workspace, &address, &entry.protection) {
            Ok(scopes) => (scopes, None),
            Err(e) => (Vec::new(), Some(e.to_string())),
        };
        resources.push(Resource {
            address: address.to_string(),
            id: entry.id.to_string(),
            key_version: version.map(|key| key.version.to_string()),
            conversion: workspace.under_way(&address)?,
            bytes: size(&workspace.path(&address)?),
            protection: entry.protection,
            scopes,
            scopes_unknown,
            objects: entry.objects,
        });
    }
    Ok(resources)
}

fn scopes(
    workspace: &Workspace,
    address: &ResourceAddress,
    protection: &Protection,
) -> Result<Vec<EncryptionScope>, WorldError> {
    match (address.kind, protection) {
        (Kind::Sql, _) | (_, Protection::Plain) => Ok(Vec::new()),
        (Kind::Storage, _) => Ok((workspace.open_storage(address)?).scopes()?),
    }
}

/// Bytes of a file, or of all files in a directory.
pub(super) fn size(path: &Path) -> u64 {
    let files = walkdir::WalkDir::new(path).into_iter().flatten();
    let lens = files.filter_map(|f| f.metadata().ok().filter(|m| m.is_file()));
    lens.map(|m| m.len()).sum()
}

impl Resource {
    /// Itself, and each of its scopes.
    fn rows(&self) -> Vec<Vec<String>> {
        let key = self.protection.key().map(|k| k.name.to_string());
        let how = match &self.objects {
            Some(url) => format!("{}, bytes at {url}", how(&self.protection)),
            None => how(&self.protection).to_owned(),
        };
        let own = vec![
            self.address.clone(),
            match &self.conversion {
                None => how,
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
                .as_deref()
                .map_or_else(|| "-".into(), short),
            self.bytes.to_string(),
        ];
        let scopes = self.scopes.iter().map(scope_row);
        std::iter::once(own).chain(scopes).collect()
    }
}

fn scope_row(scope: &EncryptionScope) -> Vec<String> {
    let (how, state) = (how(&scope.protection), scope_state(scope));
    vec![
        format!("  scope {}", scope.name),
        format!("{how}, {state}"),
        scope.key_version.name.to_string(),
        short(&scope.key_version.version.to_string()),
        String::new(),
    ]
}

fn how(protection: &Protection) -> &'static str {
    match protection {
        Protection::Plain => "none",
        Protection::ServiceManaged { .. } => "service-managed",
        Protection::CustomerManaged { .. } => "customer-managed",
    }
}

/// A version as the table shows it.
fn short(version: &str) -> String {
    version.chars().take(8).collect()
}
