use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::base::{KeyRef, ResourceId, write_atomic};
use crate::crypto::Secret;
use crate::envelope::{Envelope, ResourceKind};
use crate::resource::{ResourceError, Wrapper};
use crate::vault::VaultError;

use super::key::commitment;

// Layout of `account.atrest` (docs/format.md, "Account header").
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = MAGIC_AT + 8;
const ZERO_AT: usize = VERSION_AT + 2;
const ACCOUNT_AT: usize = ZERO_AT + 6;
const CATALOG_AT: usize = ACCOUNT_AT + Envelope::LEN;

const MAGIC: &[u8; 8] = b"atrestBA";
const VERSION: u16 = 1;

/// The file `account.atrest`: how an account's two keys are got. Each envelope authenticates
/// itself and names the account, so the file needs no MAC of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountHeader {
    /// The account key's, by the customer's key.
    pub account: Envelope,
    /// The catalog key's, by the service's key.
    pub catalog: Envelope,
}

impl AccountHeader {
    /// Length of the file, in bytes.
    pub const LEN: usize = CATALOG_AT + Envelope::LEN;

    /// Two new random keys for account `id`, wrapped by the newest versions of these; and the
    /// commitment to the account key.
    pub(super) fn generate(
        id: ResourceId,
        account: &KeyRef,
        catalog: &KeyRef,
        wrapper: &Wrapper,
    ) -> Result<(Self, [u8; 32]), VaultError> {
        let seal = |by, kind, key| Envelope::seal(&**wrapper, by, kind, id, key);
        let account_key = Secret::random();
        let header = Self {
            account: seal(account, ResourceKind::Storage, &account_key)?,
            catalog: seal(catalog, ResourceKind::StorageCatalog, &Secret::random())?,
        };
        Ok((header, commitment(&account_key, id)))
    }

    /// The bytes on disk.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut b = [0; Self::LEN];
        b[MAGIC_AT..VERSION_AT].copy_from_slice(MAGIC);
        b[VERSION_AT..ZERO_AT].copy_from_slice(&VERSION.to_le_bytes());
        b[ACCOUNT_AT..CATALOG_AT].copy_from_slice(&self.account.to_bytes());
        b[CATALOG_AT..].copy_from_slice(&self.catalog.to_bytes());
        b
    }

    /// Reads the file's bytes, strictly. Nothing is authenticated yet: the keys inside do that.
    ///
    /// # Errors
    /// What is wrong, as text for a person.
    pub fn parse(b: &[u8]) -> Result<Self, String> {
        let b: &[u8; Self::LEN] = b
            .try_into()
            .map_err(|_| format!("not an account header: expected {} bytes", Self::LEN))?;
        if b[MAGIC_AT..VERSION_AT] != *MAGIC {
            return Err("not an account header".to_owned());
        }
        match u16::from_le_bytes([b[VERSION_AT], b[VERSION_AT + 1]]) {
            VERSION => (),
            0 => return Err("malformed account header: version".to_owned()),
            newer => {
                return Err(format!(
                    "account format version {newer} is newer than this program reads ({VERSION})"
                ));
            }
        }
        if b[ZERO_AT..ACCOUNT_AT] != [0; ACCOUNT_AT - ZERO_AT] {
            return Err("malformed account header: reserved bytes are not zero".to_owned());
        }
        let envelope = |at: usize| {
            let bytes = b[at..at + Envelope::LEN].try_into().expect("768 bytes");
            Envelope::parse(bytes).map_err(|e| e.to_string())
        };
        Ok(Self {
            account: envelope(ACCOUNT_AT)?,
            catalog: envelope(CATALOG_AT)?,
        })
    }

    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ResourceError> {
        let mut bytes = Vec::new();
        // One byte more than fits, so that a longer file shows.
        let limit = AccountHeader::LEN as u64 + 1;
        let read = File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes));
        match read {
            Ok(_) => Self::parse(&bytes).map_err(|why| ResourceError::Format {
                path: path.display().to_string(),
                why,
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(ResourceError::NotFound(path.display().to_string()))
            }
            Err(e) => Err(ResourceError::io(path, e)),
        }
    }

    /// Replaces the file at `path`, atomically.
    pub(super) fn write(&self, path: &Path) -> Result<(), ResourceError> {
        write_atomic(path, &self.to_bytes()).map_err(|e| ResourceError::io(path, e))
    }
}
