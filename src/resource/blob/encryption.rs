use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::base::ResourceId;
use crate::crypto::{Label, Secret, derive_from_both, sha256};
use crate::resource::{EncryptionMismatch, ResourceError};

use super::catalog::ScopeRow;
use super::key::HeldKey;
use super::{ContainerName, InfrastructureKey, ScopeName, StorageAccount};

/// A key that a client gives with each request (customer-provided key, CPK), and that is kept nowhere.
pub struct ProvidedKey {
    key: Secret<32>,
    sha256: [u8; 32],
}

impl ProvidedKey {
    /// Takes `key` over.
    pub fn new(key: Secret<32>) -> Self {
        Self {
            sha256: sha256(&[key.expose()]),
            key,
        }
    }

    /// Its SHA-256, by which it is told from others. It is kept beside the blob, under the service's key: of
    /// a random key it tells nothing, a guessed one it confirms.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl fmt::Debug for ProvidedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProvidedKey({})", hex::encode(self.sha256))
    }
}

/// What a request says of the key that a blob is under.
#[derive(Clone, Copy, Debug, Default)]
pub enum Encryption<'a> {
    /// Nothing.
    #[default]
    Unspecified,
    /// The account's key and this one.
    Provided(&'a ProvidedKey),
    /// The key of this encryption scope.
    Scope(&'a ScopeName),
}

/// Which key seals a manifest and wraps the keys in it. Public: a manifest begins with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderKey {
    /// The account key.
    #[default]
    Account,
    /// One that follows from the account key and from the key with this SHA-256, which a client gives.
    Provided([u8; 32]),
    /// The key of the encryption scope with this identifier.
    Scope(ResourceId),
}

impl Serialize for UnderKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            #[serde(skip_serializing_if = "Option::is_none")]
            customer_provided_key_sha256: Option<String>,
        }
        let sha256 = match self {
            Self::Account | Self::Scope(_) => None,
            Self::Provided(sha256) => Some(STANDARD.encode(sha256)),
        };
        let shown = Shown {
            customer_provided_key_sha256: sha256,
        };
        shown.serialize(s)
    }
}

impl UnderKey {
    /// Its code in a manifest's head, and what follows the salt there.
    pub(super) fn to_bytes(self) -> (u8, [u8; 32]) {
        match self {
            Self::Account => (0, [0; 32]),
            Self::Provided(sha256) => (1, sha256),
            Self::Scope(id) => {
                let mut bytes = [0; 32];
                bytes[..16].copy_from_slice(id.as_bytes());
                (2, bytes)
            }
        }
    }

    /// Reads what [`UnderKey::to_bytes`] gave, strictly.
    pub(super) fn parse(code: u8, id: [u8; 32]) -> Option<Self> {
        match code {
            0 => (id == [0; 32]).then_some(Self::Account),
            1 => Some(Self::Provided(id)),
            2 => {
                let (id, zeros) = id.split_first_chunk()?;
                (*zeros == [0; 16]).then_some(Self::Scope(ResourceId::from_bytes(*id)))
            }
            _ => None,
        }
    }
}

/// The key that a blob's manifest is sealed under, as a request reaches it.
pub(super) struct BlobKey<'a> {
    account: &'a StorageAccount,
    held: Arc<HeldKey>,
    by: By<'a>,
}

enum By<'a> {
    Account,
    Provided(&'a ProvidedKey),
    Scope(Box<ScopeRow>),
}

impl BlobKey<'_> {
    /// Which it is.
    pub(super) fn under(&self) -> UnderKey {
        match &self.by {
            By::Account => UnderKey::Account,
            By::Provided(key) => UnderKey::Provided(key.sha256),
            By::Scope(scope) => UnderKey::Scope(scope.id),
        }
    }

    /// The encryption scope whose key it is.
    pub(super) fn scope(&self) -> Option<&ScopeName> {
        match &self.by {
            By::Scope(scope) => Some(&scope.name),
            _ => None,
        }
    }

    /// Whether what is under it is sealed a second time, under a key of the service's.
    pub(super) fn is_double(&self) -> bool {
        let of_scope = matches!(&self.by, By::Scope(scope) if scope.infrastructure);
        self.account.infrastructure || of_scope
    }

    /// The key of that second layer, if there is one.
    pub(super) fn infrastructure(&self) -> Result<Option<InfrastructureKey>, ResourceError> {
        let (true, Some(keys)) = (self.is_double(), &self.account.keys) else {
            return Ok(None);
        };
        let account = self.account.id;
        let derive = |key: &Secret<32>| InfrastructureKey::of(key, account);
        keys.catalog().with_key(derive).map(Some)
    }

    /// Whether it may be used now, as [`HeldKey::check`]. That a scope was disabled is seen at once, whoever did it.
    pub(super) fn check(&self) -> Result<u64, ResourceError> {
        if let By::Scope(scope) = &self.by {
            enabled(&self.account.catalog.scope_of(scope.id)?)?;
        }
        self.held.check()
    }

    /// Uses it, when the vault allows it.
    pub(super) fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, ResourceError> {
        self.held.with_key(|key| match &self.by {
            By::Account | By::Scope(_) => use_key(key),
            By::Provided(provided) => {
                let context = [self.account.id.as_bytes().as_slice()];
                let both = derive_from_both(key, &provided.key, Label::BlobProvided, &context);
                use_key(&both)
            }
        })
    }
}

/// The key of the second layer of what is under `key`, if it has one.
pub(super) fn second_layer(
    key: Option<&BlobKey<'_>>,
) -> Result<Option<InfrastructureKey>, ResourceError> {
    Ok(key.map(BlobKey::infrastructure).transpose()?.flatten())
}

/// Whether both are the same key; so are two that plain accounts do not have.
pub(super) fn same_key(one: Option<&BlobKey<'_>>, other: Option<&BlobKey<'_>>) -> bool {
    one.map(BlobKey::under) == other.map(BlobKey::under)
}

fn enabled(scope: &ScopeRow) -> Result<(), ResourceError> {
    match scope.enabled {
        true => Ok(()),
        false => Err(ResourceError::ScopeDisabled(scope.name.to_string())),
    }
}

impl StorageAccount {
    /// The key that something new in `container` is sealed under; `None` in a plain account.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when a plain account shall encrypt; [`ResourceError::NoScope`],
    /// [`ResourceError::ScopeDisabled`]; [`ResourceError::ScopeForced`] when the container allows no other
    /// scope than its own.
    pub(super) fn new_blob_key<'a>(
        &'a self,
        container: &ContainerName,
        encryption: Encryption<'a>,
    ) -> Result<Option<BlobKey<'a>>, ResourceError> {
        if self.keys.is_none() {
            return match encryption {
                Encryption::Unspecified => Ok(None),
                _ => Err(ResourceError::Usage(
                    "a plain storage account encrypts nothing, also not with a key that is given"
                        .into(),
                )),
            };
        }
        let own = self.catalog.container_scope(container)?;
        let other = match (encryption, &own) {
            (Encryption::Unspecified, _) | (_, None) => false,
            (Encryption::Provided(_), Some(_)) => true,
            (Encryption::Scope(name), Some(own)) => *name != own.name,
        };
        if other && own.as_ref().is_some_and(|own| own.only) {
            return Err(ResourceError::ScopeForced(container.to_string()));
        }
        let scope = match (encryption, &own) {
            (Encryption::Scope(name), _) => Some(name),
            (Encryption::Unspecified, Some(own)) => Some(&own.name),
            _ => None,
        };
        let by = match (scope, encryption) {
            (Some(name), _) => By::Scope(Box::new(self.catalog.scope(name)?)),
            (None, Encryption::Provided(key)) => By::Provided(key),
            (None, _) => By::Account,
        };
        self.key_by(by)
    }

    fn key_by<'a>(&'a self, by: By<'a>) -> Result<Option<BlobKey<'a>>, ResourceError> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let held = match &by {
            By::Scope(scope) => {
                enabled(scope)?;
                self.scope_keys.get(&self.catalog, scope, keys.wrapper())
            }
            _ => keys.account().clone(),
        };
        Ok(Some(BlobKey {
            account: self,
            held,
            by,
        }))
    }

    /// Refuses when the key that something is under may not be used now, but for what its client must give.
    pub(super) fn check_key(&self, under: UnderKey) -> Result<(), ResourceError> {
        let by = match under {
            UnderKey::Scope(id) => By::Scope(Box::new(self.catalog.scope_of(id)?)),
            UnderKey::Account | UnderKey::Provided(_) => By::Account,
        };
        match self.key_by(by)? {
            Some(key) => key.check().map(drop),
            None => Ok(()),
        }
    }

    /// The key of `what`, which is under `under`; `None` in a plain account. A scope's needs not be named.
    ///
    /// # Errors
    /// [`ResourceError::Encryption`] when the request does not give that key, or names another;
    /// [`ResourceError::ScopeDisabled`].
    pub(super) fn blob_key<'a>(
        &'a self,
        what: &dyn fmt::Display,
        under: UnderKey,
        encryption: Encryption<'a>,
    ) -> Result<Option<BlobKey<'a>>, ResourceError> {
        use EncryptionMismatch::{KeyNeeded, NoKeyUsed, Other};
        let by = match (under, encryption) {
            (UnderKey::Account, Encryption::Unspecified) => Ok(By::Account),
            (UnderKey::Account, Encryption::Provided(_)) => Err(NoKeyUsed),
            (UnderKey::Provided(_), Encryption::Unspecified) => Err(KeyNeeded),
            (UnderKey::Provided(sha256), Encryption::Provided(key)) if sha256 == key.sha256 => {
                Ok(By::Provided(key))
            }
            (UnderKey::Scope(id), Encryption::Unspecified | Encryption::Scope(_)) => {
                let scope = self.catalog.scope_of(id)?;
                match encryption {
                    Encryption::Scope(name) if *name != scope.name => Err(Other),
                    _ => Ok(By::Scope(Box::new(scope))),
                }
            }
            _ => Err(Other),
        };
        let by = by.map_err(|mismatch| mismatched(what, mismatch))?;
        self.key_by(by)
    }
}

/// A refusal of `what`.
pub(super) fn mismatched(what: &dyn fmt::Display, mismatch: EncryptionMismatch) -> ResourceError {
    ResourceError::Encryption {
        what: what.to_string(),
        mismatch,
    }
}
