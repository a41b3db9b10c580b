use std::fmt;

/// Why the Blob service's rules forbid what was asked for. Each has a code of the service's own
/// (learn.microsoft.com/rest/api/storageservices/blob-service-error-codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Refusal {
    SnapshotsPresent,
    SourceMissing,
    SourceConditionNotMet,
    NoPendingCopy,
    BlobType,
    Sealed,
    AppendPosition,
    MaxBlobSize,
    BlockCount,
    LeaseAlreadyPresent,
    LeaseIdMismatchWithLeaseOperation,
    LeaseNotPresentWithLeaseOperation,
    LeaseIsBreakingAndCannotBeAcquired,
    LeaseIsBreakingAndCannotBeChanged,
    LeaseIsBrokenAndCannotBeRenewed,
    LeaseIdMissing,
    LeaseIdMismatch,
    LeaseNotPresent,
    LeaseLost,
    ContainerLeaseIdMismatch,
    ContainerLeaseNotPresent,
}

impl Refusal {
    /// The same of a container, where the service tells it from a blob's.
    pub(super) fn of_container(self) -> Self {
        match self {
            Self::LeaseIdMismatch => Self::ContainerLeaseIdMismatch,
            Self::LeaseNotPresent => Self::ContainerLeaseNotPresent,
            other => other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SnapshotsPresent => {
                "this operation is not permitted while the blob has snapshots"
            }
            Self::SourceMissing => "the specified source blob does not exist",
            Self::SourceConditionNotMet => "the source condition specified is not met",
            Self::NoPendingCopy => "there is currently no pending copy operation",
            Self::BlobType => "the blob type is invalid for this operation",
            Self::Sealed => "the specified blob is sealed and its contents cannot be modified",
            Self::AppendPosition => "the append position condition specified was not met",
            Self::MaxBlobSize => "the maximum blob size condition specified was not met",
            Self::BlockCount => "the committed block count cannot exceed 50,000",
            Self::LeaseAlreadyPresent => "there is already a lease present",
            Self::LeaseIdMismatchWithLeaseOperation => {
                "the lease ID specified did not match the lease ID"
            }
            Self::LeaseNotPresentWithLeaseOperation => "there is currently no lease",
            Self::LeaseIsBreakingAndCannotBeAcquired => {
                "the lease is in the breaking state, and cannot be acquired until it is broken"
            }
            Self::LeaseIsBreakingAndCannotBeChanged => {
                "the lease is in the breaking state, and cannot be changed"
            }
            Self::LeaseIsBrokenAndCannotBeRenewed => {
                "the lease has been broken explicitly and cannot be renewed"
            }
            Self::LeaseIdMissing => "there is currently a lease, and no lease ID was specified",
            Self::LeaseIdMismatch => {
                "the lease ID specified did not match the lease ID for the blob"
            }
            Self::LeaseNotPresent => "there is currently no lease on the blob",
            Self::LeaseLost => "a lease ID was specified, but the lease has expired",
            Self::ContainerLeaseIdMismatch => {
                "the lease ID specified did not match the lease ID for the container"
            }
            Self::ContainerLeaseNotPresent => "there is currently no lease on the container",
        })
    }
}

impl std::error::Error for Refusal {}
