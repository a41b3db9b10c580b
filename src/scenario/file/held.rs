//! What resources hold, so that it can be compared later on; and why they cannot be read.

use std::collections::BTreeMap;

use crate::resource::ResourceError;
use crate::resource::sql::{Content, content_hash};
use crate::scenario::ScenarioError;
use crate::scenario::figures::things;
use crate::scenario::measure::blob_hashes;
use crate::world::landscape::Rule;
use crate::world::{Kind, ResourceAddress, Workspace, WorldError};

use super::load::{PREFIX, TABLE};
use super::words::CODES;

/// What a resource holds; equal when it is the same. What a `load` wrote is counted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Sql(Content),
    /// Name to size and SHA-256.
    Storage(BTreeMap<String, (u64, String)>),
}

/// How much there is of what threads of a `load` wrote.
pub(super) type Loaded = u64;

impl Held {
    /// Reads everything, through a resource that is opened for it.
    pub(super) fn read(
        workspace: &Workspace,
        address: &ResourceAddress,
    ) -> Result<(Self, Loaded), WorldError> {
        workspace.check_access(address)?;
        match address.kind {
            Kind::Sql => {
                let database = workspace.open_sql(address)?;
                let content = content_hash(&database.connect()?);
                let mut content = content.map_err(|e| database.explain(e))?;
                let written = content.tables.iter().position(|t| t.name == TABLE);
                let loaded = written.map_or(0, |at| content.tables.remove(at).rows);
                // Its CREATE TABLE is part of the schema; other tables tell of theirs by their rows.
                if loaded > 0 || written.is_some() {
                    content.schema.clear();
                }
                Ok((Self::Sql(content), loaded))
            }
            Kind::Storage => {
                let mut blobs = blob_hashes(&workspace.open_storage(address)?)?;
                let all = blobs.len();
                blobs.retain(|name, _| !name.starts_with(PREFIX));
                Ok((Self::Storage(blobs.clone()), (all - blobs.len()) as u64))
            }
        }
    }

    /// How much it is, in words.
    pub(super) fn size(&self) -> String {
        match self {
            Self::Sql(content) => things(content.rows(), "row"),
            Self::Storage(blobs) => things(blobs.len() as u64, "blob"),
        }
    }

    /// Whether there is anything to compare.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Sql(content) => content.rows() == 0,
            Self::Storage(blobs) => blobs.is_empty(),
        }
    }

    /// Whether the same is held, as far as both say.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sql(a), Self::Sql(b)) => {
                let known = |c: &Content| !c.schema.is_empty();
                a.tables == b.tables
                    && a.settings == b.settings
                    && (a.schema == b.schema || !known(a) || !known(b))
            }
            _ => self == other,
        }
    }
}

/// The code by which a scenario knows a refusal.
pub(super) fn code(error: &ScenarioError) -> String {
    match error {
        ScenarioError::Vault(e) => e.code().to_owned(),
        ScenarioError::World(e) => of_world(e),
        ScenarioError::Resource(e) => of_resource(e),
        ScenarioError::Lab(_) | ScenarioError::Input { .. } | ScenarioError::File(_) => {
            "Usage".to_owned()
        }
        ScenarioError::Io { .. } => "Io".to_owned(),
    }
}

fn of_world(error: &WorldError) -> String {
    match error {
        WorldError::Vault(e) => e.code().to_owned(),
        WorldError::Resource(e) => of_resource(e),
        WorldError::Refused(refusal) => refusal.rule.code().to_owned(),
        WorldError::Exists(_) => "Exists".to_owned(),
        WorldError::NoResource(_) => "NoResource".to_owned(),
        WorldError::Busy(_) | WorldError::OpenElsewhere { .. } => "Busy".to_owned(),
        WorldError::Io { .. } => "Io".to_owned(),
        _ => "Usage".to_owned(),
    }
}

fn of_resource(error: &ResourceError) -> String {
    match error {
        // The vault's own word, which comes first in what it says.
        ResourceError::KeyUnavailable { why, .. } => {
            // Of a rule of the landscape the gate to the vault says which.
            let says = |rule: &&Rule| why.contains(&format!(": {} (", rule.code()));
            if let Some(rule) = Rule::ALL.iter().find(says) {
                return rule.code().to_owned();
            }
            let word = why.split(':').next().unwrap_or(why);
            match CODES.contains(&word) {
                true => word,
                false if why.starts_with("the vault is sealed") => "Sealed",
                false => "KeyUnavailable",
            }
        }
        ResourceError::Unauthentic { .. } => "Unauthentic",
        ResourceError::Stale { .. } => "Stale",
        ResourceError::Format { .. } => "Format",
        ResourceError::NotFound(_) | ResourceError::NoContainer(_) => "NotFound",
        ResourceError::Exists(_) => "Exists",
        ResourceError::Busy { .. } => "Busy",
        ResourceError::Io { .. } => "Io",
        ResourceError::Sqlite { .. } => "Sqlite",
        _ => "Usage",
    }
    .to_owned()
}
