//! Leases (learn.microsoft.com/rest/api/storageservices/lease-blob): who has one alone may write a blob, or
//! delete a container. They protect against mistakes of those who may write, not against those who may not.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::resource::ResourceError;

use super::attributes::{Conditions, Etag};
use super::{BlobPath, ContainerName, StorageAccount};

/// A lease's name, which its holder shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(Uuid);

impl LeaseId {
    pub(super) fn random() -> Self {
        let random = uuid::Builder::from_random_bytes(crate::crypto::random_bytes());
        Self(random.into_uuid())
    }

    /// Its bytes.
    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for LeaseId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease that was taken and not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// For how long it is taken at a time, in seconds; `None` for ever.
    pub seconds: Option<u32>,
    /// When it ends, in microseconds since 1970; `None` for never.
    pub(super) ends_micros: Option<i64>,
    /// Whether it was broken: then it ends so.
    pub(super) broken: bool,
}

/// In which state a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the service's names")]
pub enum LeaseState {
    Available,
    Leased,
    Expired,
    Breaking,
    Broken,
}

impl LeaseState {
    /// Its name, as the service writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Breaking => "breaking",
            Self::Broken => "broken",
        }
    }

    /// Whether nobody else may write.
    pub fn is_locked(self) -> bool {
        matches!(self, Self::Leased | Self::Breaking)
    }

    /// Of a lease, if there is one.
    pub fn of(lease: Option<&Lease>, now: Timestamp) -> Self {
        let Some(lease) = lease else {
            return Self::Available;
        };
        let runs = lease
            .ends_micros
            .is_none_or(|ends| ends > now.as_microsecond());
        match (lease.broken, runs) {
            (false, true) => Self::Leased,
            (false, false) => Self::Expired,
            (true, true) => Self::Breaking,
            (true, false) => Self::Broken,
        }
    }
}

/// What is leased.
#[derive(Clone, Copy, Debug)]
pub enum Leasable<'a> {
    /// A container.
    Container(&'a ContainerName),
    /// A blob.
    Blob(&'a BlobPath),
}

/// What is done to a lease.
#[derive(Clone, Copy, Debug)]
pub enum LeaseAction {
    /// It is taken, for so many seconds or for ever, under a name that is proposed or a random one.
    Acquire {
        /// For how long; `None` for ever.
        seconds: Option<u32>,
        /// Under which name.
        proposed: Option<LeaseId>,
    },
    /// It is taken again for as long.
    Renew(LeaseId),
    /// It gets another name.
    Change {
        /// The one that it has.
        id: LeaseId,
        /// The one that it gets.
        proposed: LeaseId,
    },
    /// It is given back.
    Release(LeaseId),
    /// It ends after so many seconds, or when it would have, whoever has it; at once, when it was for ever.
    Break {
        /// After how many seconds at the latest.
        seconds: Option<u32>,
    },
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseChanged {
    /// Its name, when it is held.
    pub id: Option<LeaseId>,
    /// After a break, how many seconds it still runs.
    pub seconds_left: Option<u64>,
    /// The state of the blob or container, which a lease does not change.
    pub etag: Etag,
    /// When that last changed.
    pub modified: Timestamp,
}

impl StorageAccount {
    /// Takes, renews, renames, gives back or breaks a lease. Needs the catalog's key only.
    ///
    /// # Errors
    /// [`ResourceError::Refused`], with which rule forbids it.
    pub fn lease(
        &self,
        what: Leasable<'_>,
        action: LeaseAction,
        conditions: &Conditions,
    ) -> Result<LeaseChanged, ResourceError> {
        self.catalog.change_lease(what, action, conditions)
    }

    /// The account's time.
    pub fn now(&self) -> Timestamp {
        self.catalog.now()
    }
}
