//! What the vault refuses, as the API says it.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

use crate::server::ServerError;
use crate::server::reply::{Reply, error_reply};
use crate::server::shared::Shared;
use crate::vault::VaultError;

/// The answer to `error`, which ended `operation`.
pub(super) fn refused(shared: &Shared, error: VaultError) -> Reply {
    let not_found = |kind: &str, code: &str, what: &str| {
        let message = format!(
            "A {kind} with (name/id) {what} was not found in this key vault. If you recently deleted \
             this {kind} you may be able to recover it using the correct recovery command."
        );
        error_reply(StatusCode::NOT_FOUND, code, None, &message)
    };
    let forbidden = |inner: Option<&str>, message: &str| {
        error_reply(StatusCode::FORBIDDEN, "Forbidden", inner, message)
    };
    let bad = |message: &str| error_reply(StatusCode::BAD_REQUEST, "BadParameter", None, message);
    let conflict = |inner: Option<&str>, message: &str| {
        error_reply(StatusCode::CONFLICT, "Conflict", inner, message)
    };
    let later = |message: &str| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut reply = error_reply(status, "ServiceUnavailable", None, message);
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        reply
    };
    match &error {
        VaultError::KeyNotFound(key) | VaultError::KeyDeleted { key, .. } => {
            not_found("key", "KeyNotFound", key)
        }
        VaultError::SecretNotFound(secret) => not_found("secret", "SecretNotFound", secret),
        VaultError::KeyDisabled(_) => forbidden(Some("KeyDisabled"), &error.to_string()),
        VaultError::SecretDisabled(_) => forbidden(Some("SecretDisabled"), &error.to_string()),
        VaultError::Forbidden { .. } | VaultError::PurgeProtected { .. } => {
            forbidden(None, &error.to_string())
        }
        VaultError::DeletedButRecoverable { .. } => {
            conflict(Some("ObjectIsDeletedButRecoverable"), &error.to_string())
        }
        VaultError::Conflict(why) => conflict(None, why),
        VaultError::BadParameter(why) => bad(why),
        // The words of Azure's answer, which tells no more.
        VaultError::UnwrapFailed | VaultError::DecryptFailed => bad("The parameter is incorrect."),
        VaultError::Sealed => later(&error.to_string()),
        VaultError::Busy { .. } => later("The vault's file is in use by another process."),
        VaultError::BadAnswer(_)
        | VaultError::RootKey { .. }
        | VaultError::Audit(_)
        | VaultError::Store { .. } => shared.failed(&ServerError::Vault(error)),
    }
}
