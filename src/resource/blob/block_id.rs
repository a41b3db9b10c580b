use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The identifier of a block within its blob: 1 to 64 bytes, which clients write in base64.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(Vec<u8>);

impl BlockId {
    /// The most bytes of one.
    pub const MAX_LEN: usize = 64;
    /// The most blocks of a blob (the Blob service's limit).
    pub const COMMITTED_MAX: usize = 50_000;
    /// The most blocks that wait for being committed to a blob (its limit, too).
    pub const UNCOMMITTED_MAX: usize = 100_000;

    /// `None` unless there are 1 to 64 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX_LEN)
            .contains(&bytes.len())
            .then(|| Self(bytes.to_vec()))
    }

    /// Reads base64 (RFC 4648, section 4).
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_bytes(&STANDARD.decode(text).ok()?)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({self})")
    }
}
