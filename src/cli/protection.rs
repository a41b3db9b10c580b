use crate::resource::Protection;
use crate::world::{NamedKey, Workspace, WorldError};

/// How a new resource shall be protected; by default by the customer's key where there is one,
/// else by the provider's.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct ProtectionArgs {
    /// Under this key of the customer's; by default the one made by `atrest init`
    #[arg(long, value_name = "[VAULT/]NAME")]
    key: Option<NamedKey>,

    /// Under the provider's key
    #[arg(long)]
    service_managed: bool,

    /// Not protected at all: to see what a thief gets then
    #[arg(long)]
    plain: bool,
}

impl ProtectionArgs {
    /// Whether anything was asked for.
    pub fn is_given(&self) -> bool {
        self.key.is_some() || self.service_managed || self.plain
    }

    /// What was asked for.
    pub fn protection(&self, workspace: &Workspace) -> Result<Protection, WorldError> {
        Ok(match &self.key {
            Some(key) => Protection::CustomerManaged {
                key: workspace.customer_key(Some(key))?,
            },
            None if self.plain => Protection::Plain,
            None if self.service_managed => Protection::ServiceManaged {
                key: workspace.service_key(),
            },
            None => workspace.default_protection(),
        })
    }
}

/// How a resource is protected, as the end of a sentence.
pub fn how(protection: &Protection) -> String {
    match protection {
        Protection::Plain => "not protected".to_owned(),
        Protection::ServiceManaged { key } => {
            format!("under the key {}, service-managed", key.name)
        }
        Protection::CustomerManaged { key } => {
            format!("under the key {}, customer-managed", key.name)
        }
    }
}
