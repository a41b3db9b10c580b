use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{KeyName, ResourceId, Stamp, VaultId, VaultName, write_atomic};
use crate::resource::Protection;
use crate::resource::blob::ObjectsUrl;

use super::{Kind, Name, ResourceAddress, VaultKind, WhichVault, WorldError};

/// The name of the configuration file. It holds nothing secret, and a stolen copy includes it.
pub const CONFIG: &str = "atrest.json";

/// The format version that this program reads and writes.
const VERSION: u64 = 2;
/// The one before, which knew the customer's vault and the provider's only.
const TWO_VAULTS: u64 = 1;
/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 16 << 20;

/// What `atrest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) version: u64,
    pub(super) customer_vault: VaultId,
    pub(super) provider_vault: VaultId,
    /// The customer's further vaults.
    #[serde(default)]
    pub(super) vaults: Vec<FurtherVault>,
    /// The key in the customer's vault that new resources are put under.
    pub(super) customer_key: Option<KeyName>,
    pub(super) environments: Vec<Environment>,
}

/// A vault beside the customer's first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FurtherVault {
    pub(super) name: VaultName,
    pub(super) id: VaultId,
    pub(super) kind: VaultKind,
}

/// An environment and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Environment {
    pub(super) name: Name,
    pub(super) resources: Vec<ResourceEntry>,
}

/// A resource, as the configuration lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceEntry {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its identity.
    pub id: ResourceId,
    /// How it is protected.
    #[serde(flatten)]
    pub protection: Protection,
    /// What its protection was being changed to when the configuration was last written. What the
    /// files are decides whether that change took place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) pending: Option<Protection>,
    /// Where a storage account's bytes are, when they are objects. So commands know that have no key; the account's
    /// catalog is what counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub objects: Option<ObjectsUrl>,
}

impl ResourceEntry {
    /// Whether all of it is in files here, which `what` needs.
    ///
    /// # Errors
    /// [`WorldError::Usage`] when it is not.
    pub(super) fn insist_on_files(&self, what: &str) -> Result<(), WorldError> {
        match &self.objects {
            None => Ok(()),
            Some(url) => Err(WorldError::Usage(format!(
                "{}/{}: its bytes are at {url}, and {what} takes files only: get its blobs into an account whose \
                 bytes are here, which is sealed the same way",
                self.kind, self.name
            ))),
        }
    }
}

/// The configuration that counts.
pub(super) struct Current {
    pub(super) config: Arc<Config>,
    /// The state of the file that it was read from, where that can be told from a later one.
    seen: Option<Stamp>,
}

impl Current {
    pub(super) fn new(config: Config, seen: Option<Stamp>) -> Self {
        let config = Arc::new(config);
        Self { config, seen }
    }

    /// Whether the file in `dir` is still the one that it was read from.
    pub(super) fn is_newest(&self, dir: &Path) -> bool {
        self.seen.is_some() && self.seen == Stamp::of(&dir.join(CONFIG))
    }
}

impl Config {
    pub(super) fn new(customer_vault: VaultId, provider_vault: VaultId) -> Self {
        Self {
            version: VERSION,
            customer_vault,
            provider_vault,
            vaults: Vec::new(),
            customer_key: None,
            environments: Vec::new(),
        }
    }

    /// Reads the configuration in `dir`.
    pub(super) fn read(dir: &Path) -> Result<Self, WorldError> {
        let path = dir.join(CONFIG);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(file) => file
                .take(MAX_LEN + 1)
                .read_to_end(&mut text)
                .map_err(|e| WorldError::io(&path, e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(WorldError::NoWorkspace(dir.display().to_string()));
            }
            Err(e) => return Err(WorldError::io(&path, e)),
        };
        Self::parse(&text, &path)
    }

    /// The same, and by what to tell whether it is still the newest: looked at before, so that a change meanwhile is
    /// another state.
    pub(super) fn read_seen(dir: &Path) -> Result<(Self, Option<Stamp>), WorldError> {
        let seen = Stamp::of(&dir.join(CONFIG)).filter(Stamp::is_settled);
        Ok((Self::read(dir)?, seen))
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self, WorldError> {
        /// Read first: what else a newer version wrote need not be understood to refuse it.
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let malformed = |why: String| WorldError::Malformed {
            path: path.display().to_string(),
            why,
        };
        if text.len() as u64 > MAX_LEN {
            return Err(malformed("longer than 16 MiB".into()));
        }
        let Version { version } =
            serde_json::from_slice(text).map_err(|e| malformed(e.to_string()))?;
        if version > VERSION {
            return Err(WorldError::Newer {
                path: path.display().to_string(),
                version,
                reads: VERSION,
            });
        }
        let mut config: Self =
            serde_json::from_slice(text).map_err(|e| malformed(e.to_string()))?;
        match version {
            VERSION => {}
            TWO_VAULTS if config.vaults.is_empty() => config.version = VERSION,
            _ => return Err(malformed(format!("no format version {version}"))),
        }
        match config.repeated() {
            Some(name) => Err(malformed(format!("{name} is there twice"))),
            None => Ok(config),
        }
    }

    /// Replaces the configuration in `dir`, wholly or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), WorldError> {
        let path = dir.join(CONFIG);
        let mut text = serde_json::to_vec_pretty(self).expect("names and identifiers serialize");
        text.push(b'\n');
        write_atomic(&path, &text).map_err(|e| WorldError::io(&path, e))
    }

    /// Every vault: which, its identity, its kind.
    pub(super) fn vaults(&self) -> impl Iterator<Item = (WhichVault, VaultId, VaultKind)> + '_ {
        let two = [
            (WhichVault::Customer, self.customer_vault, VaultKind::Vault),
            (WhichVault::Provider, self.provider_vault, VaultKind::Vault),
        ];
        let further = |v: &FurtherVault| (WhichVault::Further(v.name.clone()), v.id, v.kind);
        two.into_iter().chain(self.vaults.iter().map(further))
    }

    pub(super) fn environment(&self, name: &Name) -> Result<&Environment, WorldError> {
        let found = self.environments.iter().find(|e| e.name == *name);
        found.ok_or_else(|| WorldError::NoEnvironment(name.to_string()))
    }

    pub(super) fn environment_mut(&mut self, name: &Name) -> Result<&mut Environment, WorldError> {
        let found = self.environments.iter_mut().find(|e| e.name == *name);
        found.ok_or_else(|| WorldError::NoEnvironment(name.to_string()))
    }

    /// The address with its environment filled in.
    pub(super) fn resolve(&self, address: &ResourceAddress) -> Result<ResourceAddress, WorldError> {
        let environment = match (&address.environment, &self.environments[..]) {
            (Some(named), _) => self.environment(named)?,
            (None, [only]) => only,
            (None, _) => return Err(WorldError::WhichEnvironment(address.to_string())),
        };
        Ok(ResourceAddress {
            environment: Some(environment.name.clone()),
            ..address.clone()
        })
    }

    /// The resource at a resolved address.
    pub(super) fn entry(&self, address: &ResourceAddress) -> Option<&ResourceEntry> {
        let environment = address.environment.as_ref()?;
        let found = self.environments.iter().find(|e| e.name == *environment)?;
        let mut resources = found.resources.iter();
        resources.find(|r| r.kind == address.kind && r.name == address.name)
    }

    pub(super) fn entry_mut(
        &mut self,
        address: &ResourceAddress,
    ) -> Result<&mut ResourceEntry, WorldError> {
        let missing = || WorldError::NoResource(address.to_string());
        let environment = address.environment.as_ref().ok_or_else(missing)?;
        let mut resources = self.environment_mut(environment)?.resources.iter_mut();
        resources
            .find(|r| r.kind == address.kind && r.name == address.name)
            .ok_or_else(missing)
    }

    fn repeated(&self) -> Option<String> {
        // Names of environments have no capitals, and no spaces.
        let vaults = self
            .vaults()
            .map(|(which, ..)| format!("The vault {which}"));
        let ids = self.vaults().map(|(_, id, _)| format!("The vault {id}"));
        let mut names: Vec<String> = vaults.chain(ids).collect();
        for environment in &self.environments {
            names.push(environment.name.to_string());
            let of = |r: &ResourceEntry| format!("{}/{}/{}", environment.name, r.kind, r.name);
            names.extend(environment.resources.iter().map(of));
        }
        names.sort();
        names
            .windows(2)
            .find(|w| w[0] == w[1])
            .map(|w| w[0].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Config {
        let mut config = Config::new(VaultId::from_bytes([1; 16]), VaultId::from_bytes([2; 16]));
        config.vaults.push(FurtherVault {
            name: "payroll".parse().unwrap(),
            id: VaultId::from_bytes([5; 16]),
            kind: VaultKind::ManagedHsm,
        });
        config.environments.push(Environment {
            name: "production".parse().unwrap(),
            resources: vec![ResourceEntry {
                kind: Kind::Sql,
                name: "finance".parse().unwrap(),
                id: ResourceId::from_bytes([3; 16]),
                protection: Protection::Plain,
                pending: None,
                objects: None,
            }],
        });
        config
    }

    #[test]
    fn a_directory_of_a_newer_format_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        sample().write(dir.path()).unwrap();
        assert_eq!(Config::read(dir.path()).unwrap(), sample());
        let newer = br#"{"version": 3, "anything": {"else": 1}}"#;
        std::fs::write(dir.path().join(CONFIG), newer).unwrap();
        let refused = Config::read(dir.path()).unwrap_err();
        assert!(matches!(refused, WorldError::Newer { version: 3, .. }));
        assert_eq!(std::fs::read(dir.path().join(CONFIG)).unwrap(), newer);
    }

    #[test]
    fn a_configuration_that_nobody_wrote_is_refused() {
        let path = Path::new(CONFIG);
        let good = serde_json::to_string(&sample()).unwrap();
        assert!(Config::parse(good.as_bytes(), path).is_ok());
        let twice = {
            let mut config = sample();
            let first = config.environments[0].resources[0].clone();
            config.environments[0].resources.push(first);
            serde_json::to_string(&config).unwrap()
        };
        let bad = [
            String::new(),
            "[]".into(),
            "{}".into(),
            good.replace("\"version\":2", "\"version\":0"),
            good.replace("finance", "../finance"),
            good.replace("\"plain\"", "\"none\""),
            good.replace("payroll", "../payroll"),
            good.replace("managed-hsm", "hsm"),
            good.replace(",\"kind\":\"managed-hsm\"", ""),
            good.replace("payroll", "customer"),
            good.replace("payroll", "provider"),
            good.replace(&"0505".repeat(8), &"0101".repeat(8)),
            good.replace("\"version\":2", "\"version\":1"),
            good.replacen("\"version\"", "\"unknown\":1,\"version\"", 1),
            good[..good.len() - 1].to_owned(),
            twice,
        ];
        let older = good.replace("\"version\":2", "\"version\":1");
        let [before, after] = older
            .split("\"vaults\"")
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let older = before.to_owned() + after.split_once("],").unwrap().1;
        let read = Config::parse(older.as_bytes(), path).unwrap();
        assert!(read.version == VERSION && read.vaults.is_empty());
        for text in bad {
            let refused = Config::parse(text.as_bytes(), path);
            assert!(
                matches!(refused, Err(WorldError::Malformed { .. })),
                "{text}"
            );
        }
    }
}
