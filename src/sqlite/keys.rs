use crate::crypto::Secret;

use super::{KEY_SLOT_LEN, Position};

/// The key may not be used now; the text says why and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyUnavailable(pub String);

/// Where a sealed file's key comes from, for as long as it may be used.
pub trait KeySource: Send + Sync {
    /// Whether the key may be used now: cheap, asked at each lock and each read or write.
    /// Returns a number that changes whenever keys derived earlier must be dropped.
    fn check(&self) -> Result<u64, KeyUnavailable>;

    /// Shows the key to `use_key`, which derives what it needs and keeps no copy.
    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable>;

    /// Goes over to the key that this key slot leads to, when `succession` shows that it took the place of
    /// the one in use. `false` when not.
    fn follow(&self, _slot: &[u8; KEY_SLOT_LEN], _succession: &dyn Succession) -> bool {
        false
    }

    /// The file's header, which is authentic under the key in use, leads to it by this key slot by now.
    fn rewrapped(&self, _slot: &[u8; KEY_SLOT_LEN]) {}

    /// What wraps the key; `None` when nobody needs to be told.
    fn encryptor(&self) -> Option<Encryptor> {
        None
    }

    /// Remembers that the file has come as far as `position`, which is on the disk, where nobody who
    /// writes to the file can take it back. `false` when that was not done.
    fn anchor(&self, _position: &Position) -> bool {
        false
    }

    /// The newest version of the file that is remembered there; `None` for none. Asked when a rollback
    /// journal might undo the transaction that led to the newest version.
    fn remembered(&self) -> Result<Option<u64>, KeyUnavailable> {
        Ok(None)
    }
}

/// What wraps a data encryption key, in the words of Azure SQL's `sys.dm_database_encryption_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encryptor {
    /// `ASYMMETRIC KEY` for a customer's key, `CERTIFICATE` for the service's.
    pub kind: &'static str,
    /// The identifier of the key version.
    pub thumbprint: [u8; 16],
}

/// What a file says of the key before the one that it is sealed under.
pub trait Succession {
    /// Given the present key, the one before; `None` when that is gone from the file, or the key is not
    /// the file's.
    fn before(&self, new: &Secret<32>) -> Option<Secret<32>>;

    /// Whether `new` is the file's, and took the place of `old`.
    fn links(&self, old: &Secret<32>, new: &Secret<32>) -> bool;
}

/// A key that may always be used.
impl KeySource for Secret<32> {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        Ok(0)
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        use_key(self);
        Ok(())
    }
}
