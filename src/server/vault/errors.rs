//! What the vault refuses, as the API says it.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};

use crate::base::KeyName;
use crate::server::ServerError;
use crate::server::reply::{Reply, error_reply};
use crate::server::shared::Shared;
use crate::vault::VaultError;

use super::operation::Operation;
use super::route::Call;

/// The answer to `error`, which ended `call`: in the words of Azure's answer where they are known.
pub(super) fn refused(shared: &Shared, call: &Call, error: VaultError) -> Reply {
    let name = call.name.as_ref().map_or("", KeyName::as_str);
    let (kind, capital, not_found_code) = match call.operation.is_on_secrets() {
        true => ("secret", "Secret", "SecretNotFound"),
        false => ("key", "Key", "KeyNotFound"),
    };
    let status = error.http_status();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let not_found = || {
        let message = match call.operation.is_on_deleted() {
            true => format!("Deleted {capital} not found: {name}"),
            false => {
                let version = call.version.map_or_else(String::new, |v| format!("/{v}"));
                format!(
                    "A {kind} with (name/id) {name}{version} was not found in this key vault. If you \
                     recently deleted this {kind} you may be able to recover it using the correct \
                     recovery command."
                )
            }
        };
        error_reply(status, not_found_code, None, &message)
    };
    let operation = match call.operation {
        Operation::Encrypt => "encrypt",
        Operation::Decrypt => "decrypt",
        Operation::Wrap => "wrapKey",
        Operation::Unwrap => "unwrapKey",
        Operation::Sign => "sign",
        Operation::Verify => "verify",
        _ => "get",
    };
    let disabled = format!("Operation {operation} is not allowed on a disabled {kind}.");
    let forbidden =
        |inner: Option<&str>, message: &str| error_reply(status, "Forbidden", inner, message);
    match &error {
        VaultError::KeyNotFound(_)
        | VaultError::KeyDeleted { .. }
        | VaultError::SecretNotFound(_)
        | VaultError::NotDeleted(_) => not_found(),
        VaultError::VaultNotFound(_) => error_reply(
            StatusCode::NOT_FOUND,
            "VaultNotFound",
            None,
            &error.to_string(),
        ),
        VaultError::KeyDisabled(_) => forbidden(Some("KeyDisabled"), &disabled),
        VaultError::SecretDisabled(_) => forbidden(Some("SecretDisabled"), &disabled),
        VaultError::Forbidden { why, .. } => {
            let message = format!("Operation {operation} is not allowed: the key {why}.");
            forbidden(None, &message)
        }
        VaultError::PurgeProtected { .. } => forbidden(None, &error.to_string()),
        VaultError::DeletedButRecoverable { .. } => {
            let message = format!(
                "{capital} {name} is currently in a deleted but recoverable state, and its name cannot be \
                 reused; in this state, the {kind} can only be recovered or purged."
            );
            let inner = Some("ObjectIsDeletedButRecoverable");
            error_reply(StatusCode::CONFLICT, "Conflict", inner, &message)
        }
        _ => general(shared, error),
    }
}

/// The answer to `error`, whatever was asked.
pub(super) fn general(shared: &Shared, error: VaultError) -> Reply {
    let bad = |message: &str| error_reply(StatusCode::BAD_REQUEST, "BadParameter", None, message);
    // The inner codes are this server's own: a client that knows them need not read the message.
    let later = |inner: &str, message: &str| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut reply = error_reply(status, "ServiceUnavailable", Some(inner), message);
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        reply
    };
    match &error {
        VaultError::Conflict(why) => error_reply(StatusCode::CONFLICT, "Conflict", None, why),
        VaultError::BadParameter(why) => bad(why),
        // The words of Azure's answer, which tells no more.
        VaultError::UnwrapFailed | VaultError::DecryptFailed => bad("The parameter is incorrect."),
        VaultError::Sealed => later("VaultSealed", &error.to_string()),
        VaultError::Busy { .. } => later(
            "VaultBusy",
            "The vault's file is in use by another process.",
        ),
        VaultError::VaultNotFound(_) => error_reply(
            StatusCode::NOT_FOUND,
            "VaultNotFound",
            None,
            &error.to_string(),
        ),
        // Where a key or secret is asked for by its name, `refused` tells these.
        VaultError::KeyNotFound(_)
        | VaultError::KeyDeleted { .. }
        | VaultError::KeyDisabled(_)
        | VaultError::Forbidden { .. }
        | VaultError::PurgeProtected { .. }
        | VaultError::DeletedButRecoverable { .. }
        | VaultError::NotDeleted(_)
        | VaultError::SecretNotFound(_)
        | VaultError::SecretDisabled(_)
        | VaultError::BadAnswer(_)
        | VaultError::Unreachable { .. }
        | VaultError::NotAuthorized { .. }
        | VaultError::RootKey { .. }
        | VaultError::Audit(_)
        | VaultError::Store { .. } => shared.failed(&ServerError::Vault(error)),
    }
}
