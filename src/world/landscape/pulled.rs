//! What opens while every key of the customer's is refused, and what does not: tried with the real bytes, through
//! a way to the vaults that refuses those keys. Nothing is changed, and nobody else notices.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use crate::base::{KeyRef, KeyVersionRef, VaultId};
use crate::crypto::{Secret, WrapAlgorithm};
use crate::resource::Wrapper;
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::vault::{KeyWrapper, VaultError, WrappedKey, revision};
use crate::world::resources::key_is_given;
use crate::world::{Kind, ResourceAddress, WorldError};

use super::Landscape;
use super::coverage::Coverage;
use super::entities::{FinanceEnvironment, PowerEnvironment, Project, Tenant};
use super::services::{lcs_resources, rcs_resources};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It is as it must be: what is under the customer's key is closed, all else is open.
    Holds,
    /// It is not.
    Fails,
    /// It could not be read with the keys as they are: that it cannot be without them says nothing.
    Inconclusive,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Fails => "FAILS",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// A resource that was read twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Which.
    pub subject: String,
    /// Whether its own file says that it is under a key of the customer's.
    pub customers: bool,
    /// Why it was refused with the keys as they are; none when it was read.
    pub refused: Option<String>,
    /// The same with the customer's keys pulled.
    pub refused_when_pulled: Option<String>,
    /// What that shows.
    pub proof: Proof,
}

impl Landscape<'_> {
    /// Reads what an environment consists of, and what RCS and LCS keep beside it, as it is and with every key
    /// of the customer's refused. What came of it goes into the report.
    pub fn prove(&self, coverage: &mut Coverage) -> Result<(), WorldError> {
        let mut tried = Vec::new();
        for address in self.with_services(coverage)? {
            tried.push(self.read_twice(&address)?);
        }
        coverage.pulled = Some(tried);
        Ok(())
    }

    fn with_services(&self, coverage: &Coverage) -> Result<Vec<ResourceAddress>, WorldError> {
        let mut all = Vec::new();
        let finance: Option<FinanceEnvironment> =
            self.store().read(|tx| tx.find(&coverage.environment))?;
        if let Some(finance) = &finance {
            all.extend(self.resources_of_finance(&finance.name));
        }
        if let Some(name) = &coverage.power {
            let power: PowerEnvironment = self.get(name)?;
            all.extend(self.resources_at(&power.place()));
        }
        if let Some(finance) = &finance {
            let project: Project = self.get(finance.project.as_str())?;
            let tenant: Tenant = self.get(project.tenant.as_str())?;
            all.extend(lcs_resources(&project.name)?);
            if tenant.rcs {
                all.extend(rcs_resources(&tenant.name)?);
            }
        }
        Ok(all)
    }

    fn read_twice(&self, address: &ResourceAddress) -> Result<Tried, WorldError> {
        let provider = self.workspace.service_key().vault;
        let version = self.workspace.key_version(address)?;
        let customers = version.is_some_and(|version| version.vault != provider);
        let place = address.environment.as_ref().expect("a full address");
        let through = self.workspace.wrapper_in(place)?;
        let pulled: Wrapper = Arc::new(Pulled {
            through: through.clone(),
            provider,
        });
        let refused = self.read(address, &through).err();
        let refused_when_pulled = self.read(address, &pulled).err();
        let proof = match (&refused, &refused_when_pulled) {
            (Some(_), _) => Proof::Inconclusive,
            (None, when_pulled) if when_pulled.is_some() == customers => Proof::Holds,
            (None, _) => Proof::Fails,
        };
        Ok(Tried {
            subject: address.to_string(),
            customers,
            refused: refused.map(|e| e.to_string()),
            refused_when_pulled: refused_when_pulled.map(|e| e.to_string()),
            proof,
        })
    }

    /// Reads something of a resource that only its data key opens.
    fn read(&self, address: &ResourceAddress, through: &Wrapper) -> Result<(), WorldError> {
        let (address, entry) = self.workspace.resource(address)?;
        let path = self.workspace.resolved_path(&address);
        match address.kind {
            Kind::Sql => {
                let database = SqlDatabase::open(&path, entry.id, entry.protection, through)?;
                let conn = database.connect()?;
                let read = conn.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()));
                Ok(read.map_err(|e| database.explain(e))?)
            }
            Kind::Storage => {
                let account = StorageAccount::open(&path, entry.id, entry.protection, through)?;
                key_is_given(&account, through)?;
                if let Some(blob) = account.blobs()?.into_iter().next() {
                    account.get(&blob.path(), None, &mut std::io::sink(), &mut |_| ())?;
                }
                Ok(())
            }
        }
    }
}

/// The way to the vaults with the customer's keys pulled.
struct Pulled {
    through: Wrapper,
    provider: VaultId,
}

fn refused(key: &impl fmt::Display) -> VaultError {
    VaultError::Forbidden {
        key: key.to_string(),
        why: "is refused as if it were pulled".into(),
        advice: "nothing was changed",
    }
}

impl KeyWrapper for Pulled {
    fn wrap_key(&self, key: &KeyRef, _: &Secret<32>) -> Result<WrappedKey, VaultError> {
        Err(refused(key))
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        match key.vault == self.provider {
            true => self.through.unwrap_key(key, algorithm, wrapped),
            false => Err(refused(key)),
        }
    }

    fn revision(&self) -> Arc<AtomicU64> {
        revision()
    }
}
