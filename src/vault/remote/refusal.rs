//! Errors as the API tells them, and what they mean here.

use std::time::Instant;

use serde::Deserialize;

use crate::base::KeyName;
use crate::vault::VaultError;

use super::RemoteVault;
use super::client::Ask;
use super::http::{Answer, told};

/// Azure's whole answer to a value that does not open.
const OPENS_NOT: &str = "The parameter is incorrect.";

#[derive(Deserialize)]
struct Body {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    #[serde(default)]
    message: String,
    innererror: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    code: String,
}

/// An answer that is no success.
pub(super) struct Refusal {
    status: u16,
    /// Empty when the answer says none.
    code: String,
    inner: String,
    message: String,
}

/// What was asked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// To unwrap a data encryption key: whatever is wrong with it is told alike.
    UnwrapKey,
    UnwrapBytes,
    Decrypt,
    Purge,
    Recover,
    Other,
}

impl Refusal {
    pub(super) fn of(answer: &Answer) -> Self {
        let body: Option<Body> = match answer.status {
            200..300 => None,
            _ => serde_json::from_slice(answer.body.expose()).ok(),
        };
        let (code, inner, message) = body.map_or_else(Default::default, |Body { error }| {
            let inner = error
                .innererror
                .map_or_else(String::new, |inner| inner.code);
            (error.code, inner, error.message)
        });
        Self {
            status: answer.status,
            code,
            inner,
            message,
        }
    }

    /// Whether this is its code.
    pub(super) fn says(&self, code: &str) -> bool {
        self.code == code
    }

    /// Whether the same may be answered otherwise in a moment. A vault that is
    /// sealed stays so until somebody unseals it.
    pub(super) fn is_for_now(&self) -> bool {
        matches!(self.status, 429 | 503) && self.inner != "VaultSealed"
    }

    /// What it means, whatever was asked, to the vault at `vault`.
    pub(super) fn general(&self, vault: &str) -> VaultError {
        let vault = || vault.to_owned();
        let why = || match told(&self.message) {
            said if said.is_empty() => format!("HTTP status {}", self.status),
            said => said,
        };
        match (self.status, self.code.as_str(), self.inner.as_str()) {
            (401, ..) => VaultError::NotAuthorized {
                vault: vault(),
                why: why(),
            },
            (403, _, "ForbiddenByRbac") => VaultError::NotAuthorized {
                vault: vault(),
                why: match action(&self.message) {
                    Some(action) => format!("it has no role that permits {action}"),
                    None => why(),
                },
            },
            (400, "BadParameter", _) => VaultError::BadParameter(why()),
            (409, "Conflict", _) => VaultError::Conflict(why()),
            (503, _, "VaultSealed") => VaultError::Sealed,
            (503, _, "VaultBusy") => VaultError::Busy { path: vault() },
            (404, "VaultNotFound", _) | (421 | 429 | 503, ..) => VaultError::Unreachable {
                vault: vault(),
                why: why(),
            },
            (500..600, "InternalServerError", _) => VaultError::Store {
                path: vault(),
                why: why(),
            },
            _ => VaultError::BadAnswer(format!("{}: {}", vault(), why())),
        }
    }
}

impl RemoteVault {
    /// What a refusal means for who asked something of the key `name`, which he calls `asked`. Where the
    /// API says less than is known of a deleted key, the vault is asked once more.
    pub(super) fn refused(
        &self,
        doing: Doing,
        name: &KeyName,
        asked: String,
        until: Instant,
        answer: &Answer,
    ) -> VaultError {
        let refusal = Refusal::of(answer);
        let found = |path: String| {
            let answer = self.client.ask(&Ask::get(path).until(until)).ok()?;
            (answer.status == 200).then_some(answer)
        };
        let deleted = || {
            let answer = found(format!("/deletedkeys/{name}"))?;
            let deleted = self.wire().deleted(&answer, name).ok()?;
            Some(deleted.scheduled_purge.to_string())
        };
        let object = format!("key {asked}");
        match (
            refusal.status,
            refusal.code.as_str(),
            refusal.inner.as_str(),
        ) {
            (403, _, "KeyDisabled") => VaultError::KeyDisabled(asked),
            (403, "Forbidden", "") if doing == Doing::Purge => VaultError::PurgeProtected {
                object,
                until: deleted().unwrap_or_else(|| "its scheduled purge".into()),
            },
            (403, "Forbidden", "") => VaultError::Forbidden {
                key: asked,
                why: reason(&refusal.message),
                advice: "see its operations and dates with `atrest key show`, and change them with \
                         `atrest key update`",
            },
            (404, "KeyNotFound", _) => match doing {
                Doing::Purge | Doing::Recover if found(format!("/keys/{name}")).is_some() => {
                    VaultError::NotDeleted(object)
                }
                Doing::Purge | Doing::Recover => VaultError::KeyNotFound(asked),
                _ => match deleted() {
                    Some(until) => VaultError::KeyDeleted { key: asked, until },
                    None => VaultError::KeyNotFound(asked),
                },
            },
            (409, "Conflict", "ObjectIsDeletedButRecoverable") => {
                VaultError::DeletedButRecoverable {
                    object,
                    until: deleted().unwrap_or_else(|| "its scheduled purge".into()),
                    advice: "recover it with `atrest key recover`",
                }
            }
            (400, "BadParameter", _) if doing == Doing::UnwrapKey => VaultError::UnwrapFailed,
            (400, "BadParameter", _) if refusal.message == OPENS_NOT => match doing {
                Doing::UnwrapBytes => VaultError::UnwrapFailed,
                Doing::Decrypt => VaultError::DecryptFailed,
                _ => VaultError::BadParameter(told(&refusal.message)),
            },
            _ => refusal.general(self.client.base()),
        }
    }
}

/// The data action of "... Action: 'Microsoft.KeyVault/vaults/keys/read' ...".
fn action(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("Action: '")?;
    rest.split_once('\'').map(|(action, _)| told(action))
}

/// "has expired" of "Operation wrapKey is not allowed: the key has expired."
fn reason(message: &str) -> String {
    let said = told(message);
    let why = said
        .split_once(": the key ")
        .map(|(_, why)| why.trim_end_matches('.'));
    why.map_or_else(|| format!("may not do this ({said})"), str::to_owned)
}
