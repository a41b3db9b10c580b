//! The root key and the record in the vault file's key slot that leads from it to the vault's
//! master key (docs/format.md, "Vault").

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::VaultId;
use crate::crypto::{
    KeyEncryptionKey, Label, PassphraseParams, Secret, SecretBytes, WrapAlgorithm, derive,
    hmac_sha256, hmac_verify, random_bytes, stretch,
};
use crate::sqlite::KEY_SLOT_LEN;

use super::VaultError;
use super::keyfile::{create_key_file, read_key_file};

// Layout of the root-key record. Everything lies within the first 512 bytes, so that a write that
// a crash cuts at a sector leaves either record whole.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const SOURCE_AT: usize = VERSION_AT + 2;
const STATE_AT: usize = SOURCE_AT + 1;
const MEMORY_AT: usize = STATE_AT + 1;
const PASSES_AT: usize = MEMORY_AT + 4;
const LANES_AT: usize = PASSES_AT + 4;
const VAULT_AT: usize = LANES_AT + 4;
const SALT_AT: usize = VAULT_AT + 16;
const WRAPPED_AT: usize = SALT_AT + 16;
const MAC_AT: usize = WRAPPED_AT + WRAPPED_LEN;
const END: usize = MAC_AT + 32;

const MAGIC: &[u8; 8] = b"atrestVR";
const VERSION: u16 = 1;
const WRAPPED_LEN: usize = 40;
const SOURCE_KEY_FILE: u8 = 1;
const SOURCE_PASSPHRASE: u8 = 2;

/// The shortest passphrase that a vault is sealed with, in bytes (NIST SP 800-63B: 8 characters).
const PASSPHRASE_MIN: usize = 8;

/// Where the key that seals the vault's file comes from.
pub enum RootKeySource {
    /// A file of a random key, mode 0600. Made when it is missing and a root key is being set.
    KeyFile(PathBuf),
    /// A passphrase, stretched by Argon2id; its bytes are taken as they are.
    Passphrase(SecretBytes),
}

/// What is public of a vault's root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum RootKeyKind {
    /// A key file.
    KeyFile,
    /// A passphrase, and what one guess at it costs.
    Passphrase {
        /// Argon2id's parameters.
        argon2id: PassphraseParams,
    },
}

/// The bytes are no root-key record that this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootRecordError {
    /// It does not begin as one does.
    #[error("not a key vault")]
    Magic,
    /// Written by a newer version of the program.
    #[error("the vault's format version {0} is newer than this program reads (1); use a newer one")]
    Version(u16),
    /// A field holds a value that no writer writes.
    #[error("malformed root-key record: {0}")]
    Field(&'static str),
}

/// The root-key record: the vault's random master key, wrapped (A256KW) by the root key. A MAC
/// under the master key covers all of it and commits to that key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    /// The vault.
    pub vault: VaultId,
    /// Whether every use waits for an unseal.
    pub sealed: bool,
    stretch: Option<(PassphraseParams, [u8; 16])>,
    wrapped: [u8; WRAPPED_LEN],
    mac: [u8; 32],
}

impl RootRecord {
    /// A record that leads from a new root key to `master`.
    ///
    /// # Errors
    /// The key file cannot be read or made, or the passphrase is too short.
    pub(super) fn seal(
        vault: VaultId,
        sealed: bool,
        master: &Secret<32>,
        source: &RootKeySource,
    ) -> Result<Self, VaultError> {
        let (root, stretch) = match source {
            RootKeySource::KeyFile(path) if path.exists() => (read_key_file(path)?, None),
            RootKeySource::KeyFile(path) => (create_key_file(path)?, None),
            RootKeySource::Passphrase(words) if words.expose().len() < PASSPHRASE_MIN => {
                return Err(VaultError::BadParameter(format!(
                    "the passphrase is too short: give at least {PASSPHRASE_MIN} characters"
                )));
            }
            RootKeySource::Passphrase(words) => {
                let (params, salt) = (PassphraseParams::DEFAULT, random_bytes());
                let root = stretch(words.expose(), &salt, params)
                    .expect("the default parameters are within bounds");
                (root, Some((params, salt)))
            }
        };
        let wrapped = kek(&root).wrap(master).expect("a 256-bit key wraps");
        let mut record = Self {
            vault,
            sealed,
            stretch,
            wrapped: wrapped.try_into().expect("A256KW gives 40 bytes"),
            mac: [0; 32],
        };
        record.mac = hmac_sha256(&mac_key(master, vault), &[&record.to_bytes()[..MAC_AT]]);
        Ok(record)
    }

    /// What is public of the root key.
    pub fn kind(&self) -> RootKeyKind {
        match self.stretch {
            None => RootKeyKind::KeyFile,
            Some((argon2id, _)) => RootKeyKind::Passphrase { argon2id },
        }
    }

    /// The root key for this record, from its source.
    ///
    /// # Errors
    /// The source is of the other kind, or its file cannot be read.
    pub fn root_key(&self, source: &RootKeySource) -> Result<Secret<32>, VaultError> {
        match (source, &self.stretch) {
            (RootKeySource::KeyFile(path), None) => read_key_file(path),
            (RootKeySource::Passphrase(words), Some((params, salt))) => {
                Ok(stretch(words.expose(), salt, *params).expect("parsed within bounds"))
            }
            (RootKeySource::KeyFile(_), Some(_)) => Err(VaultError::BadParameter(
                "this vault is sealed under a passphrase; give that instead of a key file".into(),
            )),
            (RootKeySource::Passphrase(_), None) => Err(VaultError::BadParameter(
                "this vault is sealed under a key file; give that instead of a passphrase".into(),
            )),
        }
    }

    /// The vault's master key, or `None` alike for a wrong root key and an altered record.
    pub fn open(&self, root: &Secret<32>) -> Option<Secret<32>> {
        let master = kek(root)
            .unwrap(WrapAlgorithm::A256Kw, &self.wrapped)
            .ok()?;
        let covered = &self.to_bytes()[..MAC_AT];
        hmac_verify(&mac_key(&master, self.vault), &[covered], &self.mac).then_some(master)
    }

    /// The bytes in the key slot.
    pub fn to_bytes(&self) -> [u8; KEY_SLOT_LEN] {
        let mut b = [0; KEY_SLOT_LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..SOURCE_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[STATE_AT] = u8::from(self.sealed);
        b[SOURCE_AT] = SOURCE_KEY_FILE;
        if let Some((params, salt)) = &self.stretch {
            b[SOURCE_AT] = SOURCE_PASSPHRASE;
            b[MEMORY_AT..PASSES_AT].copy_from_slice(&params.memory_kib.to_le_bytes());
            b[PASSES_AT..LANES_AT].copy_from_slice(&params.passes.to_le_bytes());
            b[LANES_AT..VAULT_AT].copy_from_slice(&params.lanes.to_le_bytes());
            b[SALT_AT..WRAPPED_AT].copy_from_slice(salt);
        }
        b[VAULT_AT..SALT_AT].copy_from_slice(self.vault.as_bytes());
        b[WRAPPED_AT..MAC_AT].copy_from_slice(&self.wrapped);
        b[MAC_AT..END].copy_from_slice(&self.mac);
        b
    }

    /// Reads a record, strictly: exactly one sequence of bytes stands for each record.
    pub fn parse(b: &[u8; KEY_SLOT_LEN]) -> Result<Self, RootRecordError> {
        if b[MAGIC_AT..VERSION_AT] != *MAGIC {
            return Err(RootRecordError::Magic);
        }
        let version = u16::from_le_bytes([b[VERSION_AT], b[VERSION_AT + 1]]);
        if version != VERSION {
            return Err(match version {
                0 => RootRecordError::Field("version"),
                newer => RootRecordError::Version(newer),
            });
        }
        let sealed = match b[STATE_AT] {
            0 => false,
            1 => true,
            _ => return Err(RootRecordError::Field("state")),
        };
        let number = |at: usize| u32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes"));
        let params = PassphraseParams {
            memory_kib: number(MEMORY_AT),
            passes: number(PASSES_AT),
            lanes: number(LANES_AT),
        };
        let salt: [u8; 16] = b[SALT_AT..WRAPPED_AT].try_into().expect("16 bytes");
        let is_zero = |range: &[u8]| range.iter().all(|&x| x == 0);
        let stretch = match b[SOURCE_AT] {
            SOURCE_KEY_FILE if is_zero(&b[MEMORY_AT..VAULT_AT]) && is_zero(&salt) => None,
            SOURCE_KEY_FILE => {
                return Err(RootRecordError::Field("a key file has Argon2id parameters"));
            }
            SOURCE_PASSPHRASE if params.in_bounds() => Some((params, salt)),
            SOURCE_PASSPHRASE => {
                return Err(RootRecordError::Field("Argon2id parameters out of bounds"));
            }
            _ => return Err(RootRecordError::Field("source")),
        };
        if !is_zero(&b[END..]) {
            return Err(RootRecordError::Field("reserved bytes are not zero"));
        }
        Ok(Self {
            vault: VaultId::from_bytes(b[VAULT_AT..SALT_AT].try_into().expect("16 bytes")),
            sealed,
            stretch,
            wrapped: b[WRAPPED_AT..MAC_AT].try_into().expect("40 bytes"),
            mac: b[MAC_AT..END].try_into().expect("32 bytes"),
        })
    }
}

fn kek(root: &Secret<32>) -> KeyEncryptionKey {
    KeyEncryptionKey::from_oct(root.expose()).expect("a root key has 32 bytes")
}

fn mac_key(master: &Secret<32>, vault: VaultId) -> Secret<32> {
    derive(master, Label::VaultRoot, &[vault.as_bytes()])
}
