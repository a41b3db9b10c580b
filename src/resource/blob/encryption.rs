use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::base::ResourceId;
use crate::crypto::{Label, Secret, derive_from_both, sha256};
use crate::resource::{EncryptionMismatch, ResourceError};

use super::StorageAccount;
use super::key::HeldKey;

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
}

/// Which key seals a manifest and wraps the keys in it. Public: a manifest begins with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderKey {
    /// The account key.
    #[default]
    Account,
    /// One that follows from the account key and from the key with this SHA-256, which a client gives.
    Provided([u8; 32]),
}

impl Serialize for UnderKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown {
            #[serde(skip_serializing_if = "Option::is_none")]
            customer_provided_key_sha256: Option<String>,
        }
        let sha256 = match self {
            Self::Account => None,
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
        }
    }

    /// Reads what [`UnderKey::to_bytes`] gave, strictly.
    pub(super) fn parse(code: u8, id: [u8; 32]) -> Option<Self> {
        match code {
            0 => (id == [0; 32]).then_some(Self::Account),
            1 => Some(Self::Provided(id)),
            _ => None,
        }
    }
}

/// The key that a blob's manifest is sealed under, as a request reaches it.
pub(super) struct BlobKey<'a> {
    account: ResourceId,
    held: &'a HeldKey,
    provided: Option<&'a ProvidedKey>,
}

impl BlobKey<'_> {
    /// Which it is.
    pub(super) fn under(&self) -> UnderKey {
        match self.provided {
            None => UnderKey::Account,
            Some(provided) => UnderKey::Provided(provided.sha256),
        }
    }

    /// Whether it may be used now, as [`HeldKey::check`].
    pub(super) fn check(&self) -> Result<u64, ResourceError> {
        self.held.check()
    }

    /// Uses it, when the vault allows it.
    pub(super) fn with_key<T>(
        &self,
        use_key: impl FnOnce(&Secret<32>) -> T,
    ) -> Result<T, ResourceError> {
        self.held.with_key(|key| match self.provided {
            None => use_key(key),
            Some(provided) => {
                let context = [self.account.as_bytes().as_slice()];
                let both = derive_from_both(key, &provided.key, Label::BlobProvided, &context);
                use_key(&both)
            }
        })
    }
}

impl StorageAccount {
    /// The key that something new is sealed under; `None` in a plain account.
    ///
    /// # Errors
    /// [`ResourceError::Usage`] when a plain account shall encrypt.
    pub(super) fn new_blob_key<'a>(
        &'a self,
        encryption: Encryption<'a>,
    ) -> Result<Option<BlobKey<'a>>, ResourceError> {
        let provided = match encryption {
            Encryption::Unspecified => None,
            Encryption::Provided(key) => Some(key),
        };
        match (&self.keys, provided) {
            (None, Some(_)) => Err(ResourceError::Usage(
                "a plain storage account encrypts nothing, also not with a key that is given"
                    .into(),
            )),
            (None, None) => Ok(None),
            (Some(keys), provided) => Ok(Some(BlobKey {
                account: self.id,
                held: keys.account(),
                provided,
            })),
        }
    }

    /// The key of `what`, which is under `under`; `None` in a plain account.
    ///
    /// # Errors
    /// [`ResourceError::Encryption`] when the request does not give that key.
    pub(super) fn blob_key<'a>(
        &'a self,
        what: &dyn fmt::Display,
        under: UnderKey,
        encryption: Encryption<'a>,
    ) -> Result<Option<BlobKey<'a>>, ResourceError> {
        let mismatch = match (under, encryption) {
            (UnderKey::Account, Encryption::Unspecified) => None,
            (UnderKey::Account, Encryption::Provided(_)) => Some(EncryptionMismatch::NoKeyUsed),
            (UnderKey::Provided(_), Encryption::Unspecified) => Some(EncryptionMismatch::KeyNeeded),
            (UnderKey::Provided(sha256), Encryption::Provided(key)) => {
                (sha256 != key.sha256).then_some(EncryptionMismatch::Other)
            }
        };
        match mismatch {
            None => self.new_blob_key(encryption),
            Some(mismatch) => Err(ResourceError::Encryption {
                what: what.to_string(),
                mismatch,
            }),
        }
    }
}
