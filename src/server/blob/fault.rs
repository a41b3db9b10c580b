//! Why a request is refused, in the words of the Blob service
//! (learn.microsoft.com/rest/api/storageservices/blob-service-error-codes).

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};

use crate::base::may_wait;
use crate::resource::blob::Refusal;
use crate::resource::{EncryptionMismatch, KeyLoss, ResourceError};
use crate::server::reply::{Reply, whole};

use super::xml;

/// A refusal.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    message: String,
    /// Of a range that lies outside: the blob's length.
    length: Option<u64>,
    /// What a client without a token is told.
    challenge: Option<String>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            length: None,
            challenge: None,
        }
    }

    /// 400
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503, when there is no turn or no thread for it now.
    pub(super) fn busy() -> Self {
        let why = "The server is currently unable to receive requests. Please retry your request.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", why)
    }

    /// 400, of a header.
    pub(super) fn header(name: &str) -> Self {
        let why = format!("The value of the HTTP header {name} is not in the correct format.");
        Self::bad("InvalidHeaderValue", why)
    }

    /// 400, of a header that is not there.
    pub(super) fn missing(name: &str) -> Self {
        let why =
            format!("An HTTP header that's mandatory for this request is not specified: {name}.");
        Self::bad("MissingRequiredHeader", why)
    }

    /// 403
    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 403, of a signature. Tells nothing more.
    pub(super) fn authentication() -> Self {
        let why = "Server failed to authenticate the request. Make sure the value of Authorization \
                   header is formed correctly including the signature.";
        Self::forbidden("AuthenticationFailed", why)
    }

    /// 401, with where to get a token.
    pub(super) fn challenge(code: &'static str, message: &str, challenge: String) -> Self {
        Self {
            challenge: Some(challenge),
            ..Self::new(StatusCode::UNAUTHORIZED, code, message)
        }
    }

    /// 501
    pub(super) fn not_here(what: &str) -> Self {
        let why = format!("This version of atrest does not serve {what}.");
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", why)
    }

    /// What is asked for is one of page blobs, which are not there.
    pub(super) fn page_blob() -> Self {
        let why = "This account has block blobs and append blobs; page blobs are not served.";
        Self::new(StatusCode::CONFLICT, "FeatureNotSupportedForAccount", why)
    }

    /// 405
    pub(super) fn no_verb() -> Self {
        let why = "The resource doesn't support specified Http Verb.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", why)
    }

    /// 416
    pub(super) fn range(length: u64) -> Self {
        let why = "The range specified is invalid for the current size of the resource.";
        Self {
            length: Some(length),
            ..Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", why)
        }
    }

    /// 412, or 304 to one who has what there is.
    fn condition(unchanged_to_reader: bool) -> Self {
        let why = "The condition specified using HTTP conditional header(s) is not met.";
        match unchanged_to_reader {
            true => Self::new(StatusCode::NOT_MODIFIED, "ConditionNotMet", why),
            false => Self::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", why),
        }
    }

    /// What the account refused. `reads` tells whether the operation only reads; `on_container` whether it
    /// is one of a container.
    pub(super) fn of(error: &ResourceError, reads: bool, on_container: bool) -> Self {
        match error {
            ResourceError::NotFound(_) => Self::new(
                StatusCode::NOT_FOUND,
                "BlobNotFound",
                "The specified blob does not exist.",
            ),
            ResourceError::NoContainer(_) => Self::new(
                StatusCode::NOT_FOUND,
                "ContainerNotFound",
                "The specified container does not exist.",
            ),
            ResourceError::Exists(_) if on_container => Self::new(
                StatusCode::CONFLICT,
                "ContainerAlreadyExists",
                "The specified container already exists.",
            ),
            ResourceError::Exists(_) if reads => Self::condition(true),
            ResourceError::Exists(_) => Self::new(
                StatusCode::CONFLICT,
                "BlobAlreadyExists",
                "The specified blob already exists.",
            ),
            ResourceError::ConditionNotMet { unchanged, .. } => {
                Self::condition(*unchanged && reads)
            }
            ResourceError::Refused(refusal) => Self::refused(*refusal),
            ResourceError::Encryption { mismatch, .. } => {
                let (code, why) = match mismatch {
                    EncryptionMismatch::KeyNeeded => (
                        "BlobUsesCustomerSpecifiedEncryption",
                        "The blob is encrypted with customer specified encryption, but it was not \
                         provided in the request.",
                    ),
                    EncryptionMismatch::NoKeyUsed => (
                        "BlobDoesNotUseCustomerSpecifiedEncryption",
                        "The blob is not encrypted with customer specified encryption, but it was \
                         provided in the request.",
                    ),
                    EncryptionMismatch::Other => (
                        "BlobCustomerSpecifiedEncryptionMismatch",
                        "The given customer specified encryption does not match the encryption used \
                         to encrypt the blob.",
                    ),
                };
                Self::new(StatusCode::CONFLICT, code, why)
            }
            ResourceError::NoScope(_) => Self::new(
                StatusCode::NOT_FOUND,
                "ResourceNotFound",
                "The specified encryption scope does not exist.",
            ),
            ResourceError::ScopeDisabled(_) => Self::forbidden(
                "AuthorizationFailure",
                "This request is not authorized to perform this operation: the encryption scope is \
                 disabled.",
            ),
            ResourceError::ScopeForced(_) => super::encryption::forced(),
            ResourceError::BadBlock(why) => Self::bad("InvalidBlockList", why.as_str()),
            ResourceError::Usage(why) => Self::bad("InvalidInput", why.as_str()),
            ResourceError::Busy { .. } => {
                // A thread that may wait may find it free.
                may_wait();
                let why = "The account is in use by another process; try again.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", why)
            }
            ResourceError::KeyUnavailable { loss, .. } => {
                let (code, why) = match loss {
                    KeyLoss::Key => (
                        "KeyVaultEncryptionKeyNotFound",
                        "The key vault key is not found to unwrap the encryption key.",
                    ),
                    KeyLoss::Vault => (
                        "KeyVaultVaultNotFound",
                        "The key vault is not found, is sealed, or cannot be opened.",
                    ),
                    KeyLoss::Access => (
                        "KeyVaultAccessTokenCannotBeAcquired",
                        "The key vault does not let the storage account use the encryption key.",
                    ),
                };
                Self::forbidden(code, why)
            }
            other => Self::internal(other, "the storage account failed"),
        }
    }

    /// A failure of the server, which its log tells. A thread that may not wait does not tell of it: it may have
    /// failed for that, and one that may wait tells then.
    pub(super) fn internal(cause: &dyn std::fmt::Display, what: &str) -> Self {
        if may_wait() {
            tracing::error!(%cause, "{what}");
        }
        let why = "The server encountered an internal error; its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", why)
    }

    /// The same, of the blob that is copied.
    pub(super) fn of_source(self) -> Self {
        Self {
            code: "CannotVerifyCopySource",
            challenge: None,
            ..self
        }
    }

    /// What the rules of a storage account forbid.
    fn refused(refusal: Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::SnapshotsPresent => (StatusCode::CONFLICT, "SnapshotsPresent"),
            Refusal::SourceMissing => (StatusCode::NOT_FOUND, "CannotVerifyCopySource"),
            Refusal::SourceConditionNotMet => {
                (StatusCode::PRECONDITION_FAILED, "SourceConditionNotMet")
            }
            Refusal::NoPendingCopy => (StatusCode::CONFLICT, "NoPendingCopyOperation"),
            Refusal::BlobType => (StatusCode::CONFLICT, "InvalidBlobType"),
            Refusal::Sealed => (StatusCode::CONFLICT, "BlobIsSealed"),
            Refusal::AppendPosition => (
                StatusCode::PRECONDITION_FAILED,
                "AppendPositionConditionNotMet",
            ),
            Refusal::MaxBlobSize => (
                StatusCode::PRECONDITION_FAILED,
                "MaxBlobSizeConditionNotMet",
            ),
            Refusal::BlockCount => (StatusCode::CONFLICT, "BlockCountExceedsLimit"),
            Refusal::LeaseAlreadyPresent => (StatusCode::CONFLICT, "LeaseAlreadyPresent"),
            Refusal::LeaseIdMismatchWithLeaseOperation => {
                (StatusCode::CONFLICT, "LeaseIdMismatchWithLeaseOperation")
            }
            Refusal::LeaseNotPresentWithLeaseOperation => {
                (StatusCode::CONFLICT, "LeaseNotPresentWithLeaseOperation")
            }
            Refusal::LeaseIsBreakingAndCannotBeAcquired => {
                (StatusCode::CONFLICT, "LeaseIsBreakingAndCannotBeAcquired")
            }
            Refusal::LeaseIsBreakingAndCannotBeChanged => {
                (StatusCode::CONFLICT, "LeaseIsBreakingAndCannotBeChanged")
            }
            Refusal::LeaseIsBrokenAndCannotBeRenewed => {
                (StatusCode::CONFLICT, "LeaseIsBrokenAndCannotBeRenewed")
            }
            Refusal::LeaseIdMissing => (StatusCode::PRECONDITION_FAILED, "LeaseIdMissing"),
            Refusal::LeaseIdMismatch => (
                StatusCode::PRECONDITION_FAILED,
                "LeaseIdMismatchWithBlobOperation",
            ),
            Refusal::LeaseNotPresent => (
                StatusCode::PRECONDITION_FAILED,
                "LeaseNotPresentWithBlobOperation",
            ),
            Refusal::LeaseLost => (StatusCode::PRECONDITION_FAILED, "LeaseLost"),
            Refusal::ContainerLeaseIdMismatch => (
                StatusCode::PRECONDITION_FAILED,
                "LeaseIdMismatchWithContainerOperation",
            ),
            Refusal::ContainerLeaseNotPresent => (
                StatusCode::PRECONDITION_FAILED,
                "LeaseNotPresentWithContainerOperation",
            ),
        };
        let text = refusal.to_string();
        let first = text.chars().next().map(|c| c.to_ascii_uppercase());
        let text: String = first.into_iter().chain(text.chars().skip(1)).collect();
        Self::new(status, code, text + ".")
    }

    /// What the answer holds.
    pub(super) fn body(&self) -> Vec<u8> {
        xml::error(self.code, &self.message)
    }

    /// As an answer.
    pub(super) fn reply(&self) -> Reply {
        let mut reply = match self.status {
            StatusCode::NOT_MODIFIED => whole(""),
            _ => {
                let mut reply = whole(self.body());
                let xml = HeaderValue::from_static("application/xml");
                reply.headers_mut().insert(CONTENT_TYPE, xml);
                reply
            }
        };
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        headers.insert("x-ms-error-code", HeaderValue::from_static(self.code));
        if let Some(length) = self.length
            && let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}"))
        {
            headers.insert(CONTENT_RANGE, value);
        }
        if let Some(challenge) = &self.challenge
            && let Ok(value) = HeaderValue::from_str(challenge)
        {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        reply
    }
}
