//! What is said of a container and of the account's whole service. All of it needs the catalog's key only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::{Label, Secret, derive, sha256};
use crate::resource::ResourceError;

use super::attributes::{Conditions, Pairs};
use super::{BlobName, BlobPath, ContainerInfo, ContainerName, StorageAccount, TagQuery};

/// What a signature may say that names a policy of its container instead of saying it itself
/// (learn.microsoft.com/rest/api/storageservices/define-stored-access-policy): as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPolicy {
    /// Its name.
    pub id: String,
    /// From when on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
    /// The letters of what it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

impl StorageAccount {
    /// A container's policies.
    pub fn policies(
        &self,
        name: &ContainerName,
        conditions: &Conditions,
    ) -> Result<(ContainerInfo, Vec<AccessPolicy>), ResourceError> {
        self.catalog.policies(name, conditions)
    }

    /// Replaces a container's policies: signatures that name one that is gone are refused from then on.
    pub fn set_policies(
        &self,
        name: &ContainerName,
        policies: &[AccessPolicy],
        conditions: &Conditions,
    ) -> Result<ContainerInfo, ResourceError> {
        self.catalog.set_policies(name, policies, conditions)
    }

    /// The key with which an identity may sign in its own name; `whose` says which identity, and from when
    /// until when. It is derived, and kept nowhere.
    pub fn delegation_key(&self, whose: &str) -> Result<Secret<32>, ResourceError> {
        let secret = self.catalog.delegation()?;
        let whose = sha256(&[whose.as_bytes()]);
        let context: [&[u8]; 2] = [self.id.as_bytes(), &whose];
        Ok(derive(&secret, Label::BlobDelegation, &context))
    }

    /// Ends every delegation: what was signed with their keys is refused from then on.
    pub fn revoke_delegations(&self) -> Result<(), ResourceError> {
        self.catalog.renew_delegation()
    }

    /// The properties of the service that were set: an XML element by each name.
    pub fn service_properties(&self) -> Result<BTreeMap<String, String>, ResourceError> {
        self.catalog.service_properties()
    }

    /// Sets those of the service's properties that are given.
    pub fn set_service_properties(
        &self,
        given: BTreeMap<String, String>,
    ) -> Result<(), ResourceError> {
        self.catalog.set_service_properties(given)
    }

    /// The blobs whose tags `query` holds for, at most `limit`, at or after `from` by container and name; of
    /// `container` only, if one is given.
    pub fn find_by_tags(
        &self,
        query: &TagQuery,
        container: Option<&ContainerName>,
        from: Option<&BlobPath>,
        limit: usize,
    ) -> Result<Vec<(BlobPath, Pairs)>, ResourceError> {
        let mut found = Vec::new();
        let start = (container.map_or("", ContainerName::as_str), "");
        let from = from.map(|from| (from.container.as_str(), from.name.as_str()));
        (self.catalog).walk_tagged(container, from.unwrap_or(start), &mut |path, tags| {
            if query.holds(path.container.as_str(), &tags) {
                found.push((path, tags));
            }
            found.len() < limit
        })?;
        Ok(found)
    }

    /// Takes over what is said of containers and of the service.
    pub fn take_over_service(&self, from: &StorageAccount) -> Result<(), ResourceError> {
        let any = Conditions::default();
        for container in from.containers("", "", usize::MAX)? {
            let (_, policies) = from.policies(&container.name, &any)?;
            if !policies.is_empty() {
                self.set_policies(&container.name, &policies, &any)?;
            }
        }
        self.set_service_properties(from.service_properties()?)
    }
}

impl BlobPath {
    /// Parses `CONTAINER/NAME`.
    pub fn parse(text: &str) -> Option<Self> {
        let (container, name) = text.split_once('/')?;
        Some(Self {
            container: container.parse().ok()?,
            name: BlobName::parse(name).ok()?,
        })
    }
}
