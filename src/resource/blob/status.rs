use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What else the catalog says of a blob: how it may be written, where it came from. Under the service's key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobStatus {
    /// Whether it is an append blob; else it is a block blob.
    #[serde(default, skip_serializing_if = "is_false")]
    pub append: bool,
    /// Whether nothing more may be appended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sealed: bool,
    /// The access tier that it was given, with when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<(Tier, Timestamp)>,
    /// The copy that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Copied>,
}

impl BlobStatus {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// An access tier (learn.microsoft.com/azure/storage/blobs/access-tiers-overview). It is kept and told, and
/// changes nothing: nothing here is slower or cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Tier {
    Hot,
    Cool,
    Cold,
}

impl Tier {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "Hot",
            Self::Cool => "Cool",
            Self::Cold => "Cold",
        }
    }

    /// The tier of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Hot, Self::Cool, Self::Cold];
        all.into_iter().find(|tier| tier.as_str() == name)
    }
}

/// That a blob was copied from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// The copy's own name.
    pub id: String,
    /// The URL of what was copied, without its query but for the snapshot: that may hold a signature.
    pub source: String,
    /// When.
    pub completed: Timestamp,
    /// How many bytes.
    pub bytes: u64,
}
