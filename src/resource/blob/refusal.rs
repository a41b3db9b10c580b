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
        })
    }
}

impl std::error::Error for Refusal {}
