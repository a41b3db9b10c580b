//! The server's own pages, for what Azure's API has no words for: which vault this is, and which states
//! of files are the newest (docs/format.md, "Server").

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::base::EpochId;
use crate::server::ServerError;
use crate::server::access::{Target, Wanted};
use crate::server::auth::{Caller, authorize, authorize_still};
use crate::server::permission::{KeyPermission, Permission};
use crate::server::reply::{Refusal, Reply, body, error_reply, json_reply, text_reply};
use crate::server::role::DataAction;
use crate::server::shared::Shared;
use crate::vault::{
    AdvanceJson, AuditOperation, AuditOutcome, EpochJson, EpochKeeper, KeyVault, LocalVault,
    PositionJson, VaultError,
};

use super::audience;
use super::audit::{self, Seen};
use super::errors::general;

/// Where they are.
pub(super) const PREFIX: &str = "/atrest/";
/// A position is a few hundred bytes.
const BODY_MAX: usize = 4 << 10;
/// The answer for a file of which the vault knows nothing.
const NO_POSITION: &str = "PositionNotFound";
const NOTHING_REMEMBERED: &str = "Nothing is remembered of this file.";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Vault,
    PositionGet(EpochId),
    PositionSet(EpochId),
    PositionAdvance(EpochId),
}

impl Own {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix(PREFIX)?.split('/').collect();
        let id = |text: &str| text.parse::<EpochId>().ok();
        match (method, &segments[..]) {
            (&Method::GET, ["v1", "vault"]) => Some(Self::Vault),
            (&Method::GET, ["v1", "positions", file]) => id(file).map(Self::PositionGet),
            (&Method::PUT, ["v1", "positions", file]) => id(file).map(Self::PositionSet),
            (&Method::POST, ["v1", "positions", file, "advance"]) => {
                id(file).map(Self::PositionAdvance)
            }
            _ => None,
        }
    }

    /// What audit records, log and metrics call it.
    fn audited(self) -> AuditOperation {
        match self {
            Self::Vault => AuditOperation::VaultGet,
            Self::PositionGet(_) => AuditOperation::EpochGet,
            Self::PositionSet(_) => AuditOperation::EpochSet,
            Self::PositionAdvance(_) => AuditOperation::EpochAdvance,
        }
    }

    fn action(self) -> DataAction {
        match self {
            Self::Vault => DataAction::KeysRead,
            Self::PositionGet(_) => DataAction::PositionsRead,
            Self::PositionSet(_) | Self::PositionAdvance(_) => DataAction::PositionsWrite,
        }
    }

    /// What an access policy must permit.
    fn permission(self) -> Permission {
        Permission::Key(match self {
            Self::Vault => KeyPermission::Get,
            _ => KeyPermission::UnwrapKey,
        })
    }

    fn perform(self, vault: &LocalVault, body: &[u8]) -> Result<Option<Value>, VaultError> {
        let id = vault.id();
        match self {
            Self::Vault => {
                let settings = vault.settings()?;
                Ok(Some(json!({
                    "id": id,
                    "retention_days": settings.retention_days,
                    "purge_protection": settings.purge_protection,
                })))
            }
            // A file of which nothing is remembered is told by the code of an error.
            Self::PositionGet(file) => Ok(vault.epoch(id, file)?.map(|epoch| {
                serde_json::to_value(EpochJson::from(epoch)).expect("it has a JSON form")
            })),
            Self::PositionSet(file) => {
                let told: EpochJson = parse(body)?;
                vault.set_epoch(id, file, &told.into())?;
                Ok(None)
            }
            Self::PositionAdvance(file) => {
                let AdvanceJson {
                    position: PositionJson(position),
                } = parse(body)?;
                vault.advance_epoch(id, file, &position)?;
                Ok(None)
            }
        }
    }
}

/// Answers a request to one of them.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    caller: &Caller,
    seen: &Seen,
    request: Request<Incoming>,
) -> (AuditOperation, Reply) {
    let (operation, done) = match Own::of(request.method(), request.uri().path()) {
        Some(own) => (own.audited(), run(shared, caller, seen, own, request).await),
        None => {
            let why = "This version of atrest has no such page.";
            let reply = error_reply(StatusCode::NOT_FOUND, "NotFound", None, why);
            (AuditOperation::Unknown, Err(Box::new(reply)))
        }
    };
    let reply = match done {
        Ok(reply) => reply,
        Err(refusal) => audit::refused(shared, seen, operation, None, *refusal).await,
    };
    (operation, reply)
}

/// Does what is asked. Who refuses (`Err`) has not recorded it.
async fn run(
    shared: &Arc<Shared>,
    caller: &Caller,
    seen: &Seen,
    own: Own,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let (head, body_to_come) = request.into_parts();
    let wanted = Wanted {
        vault: &seen.vault,
        shown: shared.name_of(&seen.vault),
        target: Target::AnyKey,
        action: own.action(),
        permission: own.permission(),
        path: head.uri.path(),
    };
    authorize(shared, caller, &wanted)?;
    let body = body(body_to_come, BODY_MAX).await?;
    authorize_still(shared, caller, audience(seen.kind), &wanted)?;
    let (blocking, seen) = (shared.clone(), seen.clone());
    let done = tokio::task::spawn_blocking(move || {
        let vault = seen.open(&blocking)?;
        let told = own.perform(&vault, &body)?;
        if !vault.is_recorded() {
            let outcome = match (&told, own) {
                (Some(_), _) => AuditOutcome::done(200),
                (None, Own::PositionGet(_)) => AuditOutcome {
                    http_status: 404,
                    code: NO_POSITION.into(),
                    description: NOTHING_REMEMBERED.into(),
                },
                (None, _) => AuditOutcome::done(204),
            };
            vault.record(own.audited(), None, outcome)?;
        }
        Ok(told)
    });
    match (done.await, own) {
        (Ok(Ok(Some(told))), _) => Ok(json_reply(StatusCode::OK, &told)),
        (Ok(Ok(None)), Own::PositionGet(_)) => {
            let status = StatusCode::NOT_FOUND;
            Ok(error_reply(status, NO_POSITION, None, NOTHING_REMEMBERED))
        }
        (Ok(Ok(None)), _) => Ok(text_reply(StatusCode::NO_CONTENT, "")),
        (Ok(Err(error)), _) => Err(Box::new(general(shared, error))),
        (Err(panicked), _) => {
            let cause = ServerError::Usage(panicked.to_string());
            Err(Box::new(shared.failed(&cause)))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, VaultError> {
    let bad = |_| VaultError::BadParameter("The body is not what this page takes.".into());
    serde_json::from_slice(body).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_none_is_not_taken_for_another() {
        let file = "0123456789abcdef0123456789abcdef";
        let id: EpochId = file.parse().unwrap();
        let positions = format!("/atrest/v1/positions/{file}");
        for (method, path, own) in [
            (Method::GET, "/atrest/v1/vault".to_owned(), Own::Vault),
            (Method::GET, positions.clone(), Own::PositionGet(id)),
            (Method::PUT, positions.clone(), Own::PositionSet(id)),
            (
                Method::POST,
                format!("{positions}/advance"),
                Own::PositionAdvance(id),
            ),
        ] {
            assert_eq!(Own::of(&method, &path), Some(own), "{path}");
        }
        for (method, path) in [
            (Method::POST, "/atrest/v1/vault".to_owned()),
            (Method::GET, "/atrest/v2/vault".to_owned()),
            (Method::GET, "/atrest/v1/vault/".to_owned()),
            (Method::GET, "/atrest/v1/positions/1".to_owned()),
            (Method::GET, "/atrest/v1/positions/".to_owned()),
            (Method::DELETE, positions.clone()),
            (Method::GET, format!("{positions}/advance")),
        ] {
            assert_eq!(Own::of(&method, &path), None, "{method} {path}");
        }
    }
}
