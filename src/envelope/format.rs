use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::sabotage::{Sabotage, broken};
use crate::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef, ResourceId, VaultId};
use crate::crypto::{KeyKind, Label, Secret, WrapAlgorithm, derive, hmac_sha256, hmac_verify};
use crate::vault::{KeyWrapper, VaultError};

// Layout of an envelope (docs/format.md, "Envelope"). Integers are little-endian.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ALGORITHM_AT: usize = VERSION_AT + 2;
const KIND_AT: usize = ALGORITHM_AT + 1;
const WRAPPED_LEN_AT: usize = KIND_AT + 1;
const NAME_LEN_AT: usize = WRAPPED_LEN_AT + 2;
const ZERO_1_AT: usize = NAME_LEN_AT + 1;
const RESOURCE_AT: usize = ZERO_1_AT + 1;
const VAULT_AT: usize = RESOURCE_AT + 16;
const KEY_VERSION_AT: usize = VAULT_AT + 16;
const NAME_AT: usize = KEY_VERSION_AT + 16;
const WRAPPED_AT: usize = NAME_AT + 128;
const ZERO_2_AT: usize = WRAPPED_AT + 512;
const MAC_AT: usize = Envelope::LEN - 32;

const MAGIC: &[u8; 8] = b"atrestEN";
const VERSION: u16 = 1;

/// Lengths that a wrapped 256-bit key can have: one for each size of key.
fn wrapped_lengths(algorithm: WrapAlgorithm) -> impl Iterator<Item = usize> {
    let kinds = KeyKind::WRAPPING.into_iter();
    kinds
        .filter(move |k| k.wrap_algorithm() == Some(algorithm))
        .filter_map(KeyKind::wrapped_len)
}

/// What kind of resource a data encryption key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A SQL database.
    Sql,
    /// A storage account.
    Storage,
    /// The catalog of a storage account (names), under the service-managed key.
    StorageCatalog,
    /// An encryption scope of a storage account.
    StorageScope,
}

impl ResourceKind {
    const fn code(self) -> u8 {
        match self {
            Self::Sql => 1,
            Self::Storage => 2,
            Self::StorageCatalog => 3,
            Self::StorageScope => 4,
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sql => "SQL database",
            Self::Storage => "storage account",
            Self::StorageCatalog => "storage catalog",
            Self::StorageScope => "encryption scope",
        })
    }
}

/// The bytes are no envelope that this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It does not begin as an envelope does.
    #[error("not an envelope")]
    Magic,
    /// Written by a newer version of the program.
    #[error("envelope format version {0} is newer than this program reads (1)")]
    Version(u16),
    /// A field holds a value that no writer writes.
    #[error("malformed envelope: {0}")]
    Field(&'static str),
}

/// Why an envelope does not give its key.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are no envelope.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The vault refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It belongs elsewhere, was altered, or the key is not the one that made it.
    #[error("the envelope does not belong to this resource and key, or was altered")]
    Mismatch,
}

/// A wrapped data encryption key, with all that must be known to unwrap it. All of it is public,
/// and all of it is authenticated by a MAC under the key inside, which is also the commitment to
/// that key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The kind of resource that the key belongs to.
    pub kind: ResourceKind,
    /// The resource that the key belongs to.
    pub resource: ResourceId,
    /// The key version that wrapped it.
    pub key: KeyVersionRef,
    /// How it was wrapped.
    pub algorithm: WrapAlgorithm,
    wrapped: Vec<u8>,
    mac: [u8; 32],
}

impl Envelope {
    /// Length of every envelope, in bytes.
    pub const LEN: usize = 768;

    /// Wraps `dek` for a resource with the newest version of `key`.
    ///
    /// # Errors
    /// The vault's refusal, or [`VaultError::BadAnswer`] when what it gave is not what was asked for.
    pub fn seal(
        wrapper: &dyn KeyWrapper,
        key: &KeyRef,
        kind: ResourceKind,
        resource: ResourceId,
        dek: &Secret<32>,
    ) -> Result<Self, VaultError> {
        let wrapped = wrapper.wrap_key(key, dek)?;
        // An envelope that cannot be read back would be the loss of all that the key seals.
        if wrapped.key.key() != *key {
            let answer = format!("asked for {key}, it wrapped with {}", wrapped.key);
            return Err(VaultError::BadAnswer(answer));
        }
        if !wrapped_lengths(wrapped.algorithm).any(|len| len == wrapped.bytes.len()) {
            let (len, algorithm) = (wrapped.bytes.len(), wrapped.algorithm);
            let answer = format!("{len} bytes are no key wrapped with {algorithm}");
            return Err(VaultError::BadAnswer(answer));
        }
        let mut envelope = Self {
            kind,
            resource,
            key: wrapped.key,
            algorithm: wrapped.algorithm,
            wrapped: wrapped.bytes,
            mac: [0; 32],
        };
        let bytes = envelope.to_bytes();
        envelope.mac = hmac_sha256(&derive(dek, Label::Envelope, &[]), &[&bytes[..MAC_AT]]);
        Ok(envelope)
    }

    /// Unwraps the key, for the resource that the caller knows this to be.
    ///
    /// # Errors
    /// [`EnvelopeError::Mismatch`] when it names another resource, or when anything in it differs
    /// from what was sealed; [`EnvelopeError::Vault`] when the vault refuses.
    pub fn open(
        &self,
        wrapper: &dyn KeyWrapper,
        kind: ResourceKind,
        resource: ResourceId,
    ) -> Result<Secret<32>, EnvelopeError> {
        let is_other = self.kind != kind || self.resource != resource;
        if is_other && !broken(Sabotage::ResourceNotBound) {
            return Err(EnvelopeError::Mismatch);
        }
        let dek = wrapper.unwrap_key(&self.key, self.algorithm, &self.wrapped)?;
        if self.commits_to(&dek) {
            Ok(dek)
        } else {
            Err(EnvelopeError::Mismatch)
        }
    }

    /// The same key, wrapped by the newest version of `to`. No data is touched. The new envelope was
    /// opened once, so that it can take the place of this one: a key that wraps and may not unwrap
    /// would lock the data up.
    ///
    /// # Errors
    /// As [`Envelope::open`] and [`Envelope::seal`]; this envelope is still good then.
    pub fn rewrap(&self, wrapper: &dyn KeyWrapper, to: &KeyRef) -> Result<Self, EnvelopeError> {
        let dek = self.open(wrapper, self.kind, self.resource)?;
        self.anew(wrapper, to, &dek)
    }

    /// As [`Envelope::rewrap`], for who has opened this envelope: `dek` is what was in it.
    pub fn anew(
        &self,
        wrapper: &dyn KeyWrapper,
        to: &KeyRef,
        dek: &Secret<32>,
    ) -> Result<Self, EnvelopeError> {
        let new = Self::seal(wrapper, to, self.kind, self.resource, dek)?;
        new.open(wrapper, self.kind, self.resource)?;
        Ok(new)
    }

    /// Whether this is the envelope of `dek`, all its fields unaltered.
    pub fn commits_to(&self, dek: &Secret<32>) -> bool {
        let bytes = self.to_bytes();
        hmac_verify(
            &derive(dek, Label::Envelope, &[]),
            &[&bytes[..MAC_AT]],
            &self.mac,
        )
    }

    /// The bytes on disk.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        let name = self.key.name.as_str().as_bytes();
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..ALGORITHM_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[ALGORITHM_AT] = match self.algorithm {
            WrapAlgorithm::RsaOaep256 => 1,
            WrapAlgorithm::A256Kw => 2,
        };
        b[KIND_AT] = self.kind.code();
        let wrapped_len = u16::try_from(self.wrapped.len()).expect("at most 512");
        b[WRAPPED_LEN_AT..NAME_LEN_AT].copy_from_slice(&wrapped_len.to_le_bytes());
        b[NAME_LEN_AT] = u8::try_from(name.len()).expect("at most 127");
        b[RESOURCE_AT..VAULT_AT].copy_from_slice(self.resource.as_bytes());
        b[VAULT_AT..KEY_VERSION_AT].copy_from_slice(self.key.vault.as_bytes());
        b[KEY_VERSION_AT..NAME_AT].copy_from_slice(self.key.version.as_bytes());
        b[NAME_AT..NAME_AT + name.len()].copy_from_slice(name);
        b[WRAPPED_AT..WRAPPED_AT + self.wrapped.len()].copy_from_slice(&self.wrapped);
        b[MAC_AT..].copy_from_slice(&self.mac);
        b
    }

    /// Reads an envelope, strictly: exactly one sequence of bytes stands for each envelope.
    pub fn parse(b: &[u8; Self::LEN]) -> Result<Self, FormatError> {
        if b[MAGIC_AT..VERSION_AT] != *MAGIC {
            return Err(FormatError::Magic);
        }
        let version = u16::from_le_bytes([b[VERSION_AT], b[VERSION_AT + 1]]);
        if version != VERSION {
            return Err(match version {
                0 => FormatError::Field("version"),
                newer => FormatError::Version(newer),
            });
        }
        let algorithm = match b[ALGORITHM_AT] {
            1 => WrapAlgorithm::RsaOaep256,
            2 => WrapAlgorithm::A256Kw,
            _ => return Err(FormatError::Field("wrap algorithm")),
        };
        let kinds = [
            ResourceKind::Sql,
            ResourceKind::Storage,
            ResourceKind::StorageCatalog,
            ResourceKind::StorageScope,
        ];
        let kind = kinds
            .into_iter()
            .find(|k| k.code() == b[KIND_AT])
            .ok_or(FormatError::Field("resource kind"))?;
        let wrapped_len = u16::from_le_bytes([b[WRAPPED_LEN_AT], b[WRAPPED_LEN_AT + 1]]);
        let wrapped_len = usize::from(wrapped_len);
        if !wrapped_lengths(algorithm).any(|len| len == wrapped_len) {
            return Err(FormatError::Field("length of the wrapped key"));
        }
        let wrapped_end = WRAPPED_AT + wrapped_len;
        let name_end = NAME_AT + usize::from(b[NAME_LEN_AT]);
        if name_end > NAME_AT + KeyName::MAX_LEN {
            return Err(FormatError::Field("length of the key name"));
        }
        let name = std::str::from_utf8(&b[NAME_AT..name_end])
            .ok()
            .and_then(|s| s.parse::<KeyName>().ok())
            .ok_or(FormatError::Field("key name"))?;
        let zeros = [
            ZERO_1_AT..RESOURCE_AT,
            name_end..WRAPPED_AT,
            wrapped_end..ZERO_2_AT,
            ZERO_2_AT..MAC_AT,
        ];
        if zeros.into_iter().any(|r| b[r].iter().any(|&x| x != 0)) {
            return Err(FormatError::Field("reserved bytes are not zero"));
        }
        let id = |at: usize| -> [u8; 16] { b[at..at + 16].try_into().expect("16 bytes") };
        Ok(Self {
            kind,
            resource: ResourceId::from_bytes(id(RESOURCE_AT)),
            key: KeyVersionRef {
                vault: VaultId::from_bytes(id(VAULT_AT)),
                name,
                version: KeyVersion::from_bytes(id(KEY_VERSION_AT)),
            },
            algorithm,
            wrapped: b[WRAPPED_AT..wrapped_end].to_vec(),
            mac: b[MAC_AT..].try_into().expect("32 bytes"),
        })
    }
}
