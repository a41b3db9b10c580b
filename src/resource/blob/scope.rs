use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::{KeyVersionRef, ResourceId};
use crate::crypto::{Secret, random_id};
use crate::envelope::{Envelope, EnvelopeError, ResourceKind};
use crate::resource::{Protection, ResourceError, Rewrapped, Wrapper};

use super::catalog::{Catalog, ScopeRow};
use super::change::TRIES;
use super::key::{Envelopes, HeldKey, commitment};
use super::{Layers, ScopeName, StorageAccount};

/// An encryption scope: a key of its own for some of an account's containers or blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EncryptionScope {
    /// Its name.
    pub name: ScopeName,
    /// Whether what is under it can be used.
    pub enabled: bool,
    /// Whose key wraps its own.
    #[serde(flatten)]
    pub protection: Protection,
    /// Which version of that key does.
    pub key_version: KeyVersionRef,
    /// Whether what is under it is sealed a second time, under a key of the service's.
    pub infrastructure_encryption: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

/// Which scope new blobs of a container are under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerScope {
    /// When a request says nothing.
    pub name: ScopeName,
    /// Whether a request may not say another.
    pub only: bool,
}

/// The keys of an account's scopes that were used since it was opened.
#[derive(Default)]
pub(super) struct ScopeKeys(Mutex<HashMap<ResourceId, Arc<HeldKey>>>);

impl ScopeKeys {
    pub(super) fn get(
        &self,
        catalog: &Arc<Catalog>,
        scope: &ScopeRow,
        wrapper: &Wrapper,
    ) -> Arc<HeldKey> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = keys.entry(scope.id).or_insert_with(|| {
            let (catalog, id) = (catalog.clone(), scope.id);
            let path = catalog.path().to_owned();
            let envelope: Envelopes = Arc::new(move || Ok(catalog.scope_of(id)?.envelope));
            let key = HeldKey::new(&path, id, ResourceKind::StorageScope, envelope, wrapper);
            key.expect(scope.commitment);
            Arc::new(key)
        });
        key.clone()
    }
}

impl From<ScopeRow> for EncryptionScope {
    fn from(row: ScopeRow) -> Self {
        let key = row.envelope.key.key();
        Self {
            name: row.name,
            enabled: row.enabled,
            protection: match row.customers {
                true => Protection::CustomerManaged { key },
                false => Protection::ServiceManaged { key },
            },
            key_version: row.envelope.key,
            infrastructure_encryption: row.infrastructure,
            created: row.created,
            modified: row.modified,
        }
    }
}

impl StorageAccount {
    /// Makes an encryption scope with a new random key, wrapped by the protection's. With [`Layers::Two`] what is
    /// under it has infrastructure encryption, which an account that has it gives to each.
    ///
    /// # Errors
    /// [`ResourceError::Exists`]; [`ResourceError::KeyUnavailable`] when the vault does not wrap;
    /// [`ResourceError::Usage`] in a plain account.
    pub fn create_scope(
        &self,
        name: &ScopeName,
        protection: &Protection,
        layers: Layers,
    ) -> Result<EncryptionScope, ResourceError> {
        let (Some(keys), Some(key)) = (&self.keys, protection.key()) else {
            return Err(ResourceError::Usage(
                "an encryption scope needs a protected account, and a key of its own".into(),
            ));
        };
        let (id, own) = (random_id(ResourceId::from_bytes), Secret::random());
        let kind = ResourceKind::StorageScope;
        let envelope = Envelope::seal(&**keys.wrapper(), key, kind, id, &own)
            .map_err(|e| ResourceError::vault(&self.dir, &e))?;
        let now = self.now();
        let row = ScopeRow {
            id,
            name: name.clone(),
            enabled: true,
            customers: matches!(protection, Protection::CustomerManaged { .. }),
            created: now,
            modified: now,
            commitment: commitment(&own, id),
            envelope,
            infrastructure: self.infrastructure || layers == Layers::Two,
        };
        self.catalog.add_scope(&row)?;
        Ok(row.into())
    }

    /// Every encryption scope of the account, by name. Needs the catalog's key only, as the next two do.
    pub fn scopes(&self) -> Result<Vec<EncryptionScope>, ResourceError> {
        let rows = self.catalog.scopes()?;
        Ok(rows.into_iter().map(EncryptionScope::from).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ResourceError::NoScope`]
    pub fn scope(&self, name: &ScopeName) -> Result<EncryptionScope, ResourceError> {
        Ok(self.catalog.scope(name)?.into())
    }

    /// Disables a scope, so that nothing under it can be read or written, or enables it again.
    pub fn enable_scope(
        &self,
        name: &ScopeName,
        enabled: bool,
    ) -> Result<EncryptionScope, ResourceError> {
        Ok(self.catalog.enable_scope(name, enabled)?.into())
    }

    /// Wraps a scope's key anew, with the newest version of `to`, or of the key that wraps it already. No
    /// data is touched.
    pub fn rewrap_scope(
        &self,
        name: &ScopeName,
        to: Option<&Protection>,
    ) -> Result<Rewrapped, ResourceError> {
        let id = self.catalog.scope(name)?.id;
        let (old, new) = self.wrap_scope_anew(id, to)?;
        Ok(Rewrapped {
            from: old.key.to_string(),
            to: new.key.to_string(),
            bytes_rewritten: Envelope::LEN as u64,
            bytes_untouched: self.data_len()?,
            left: Vec::new(),
        })
    }

    /// The envelope before and the one after. Who wraps it at the same time is not overwritten: what he did is
    /// read, and wrapped anew in its turn.
    pub(super) fn wrap_scope_anew(
        &self,
        id: ResourceId,
        to: Option<&Protection>,
    ) -> Result<(Envelope, Envelope), ResourceError> {
        for _ in 0..TRIES {
            let row = self.catalog.scope_of(id)?;
            let now = EncryptionScope::from(row.clone()).protection;
            let to = to.unwrap_or(&now);
            let (Some(keys), Some(key)) = (&self.keys, to.key()) else {
                return Err(ResourceError::Usage(
                    "a scope's key can be wrapped by another key only".into(),
                ));
            };
            let (wrapper, kind) = (&**keys.wrapper(), ResourceKind::StorageScope);
            let rewrap = || {
                let own = row.envelope.open(wrapper, kind, row.id)?;
                if commitment(&own, row.id) != row.commitment {
                    return Err(EnvelopeError::Mismatch);
                }
                row.envelope.anew(wrapper, key, &own)
            };
            let envelope = rewrap().map_err(|e| ResourceError::envelope(&self.dir, &e))?;
            let customers = matches!(to, Protection::CustomerManaged { .. });
            if self.catalog.rewrap_scope(&row, &envelope, customers)? {
                self.scope_keys
                    .get(&self.catalog, &row, keys.wrapper())
                    .reload();
                return Ok((row.envelope, envelope));
            }
        }
        Err(self.busy())
    }
}
