//! A vault's keys and secrets: Azure Key Vault's REST API (learn.microsoft.com/rest/api/keyvault, `keys`
//! and `secrets`), and the server's own pages beside it.

mod api_version;
mod audit;
mod errors;
mod inject;
mod operation;
mod out;
mod own;
mod perform;
mod route;
mod secrets;
#[cfg(test)]
mod tests;
mod throttle;
mod wire;

use std::sync::Arc;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::base::{Part, leave, within};
use crate::vault::{AuditOperation, KeyBackup, SecretBackup, VaultError};
use crate::world::{VaultKind, WhichVault};

use super::ServerError;
use super::access::{Target, Wanted};
use super::auth::{Caller, authenticate, authorize, authorize_still};
use super::hosts::HostPort;
use super::reply::{Injected, Refusal, Reply, body, error_reply, json_reply, one, text_reply};
use super::shared::{Answer, Shared};
use super::token::{HSM_AUDIENCE, VAULT_AUDIENCE};
use api_version::is_api_version;
use audit::Seen;
pub(super) use audit::{Strangers, record_strangers_left_out};
use errors::refused;
use operation::Operation;
use perform::Asked;
use route::{Call, NoRoute, route};
use throttle::Charge;

pub use inject::Injection;
pub(super) use inject::Injections;
pub(super) use throttle::Throttle;
pub use throttle::ThrottleScale;

/// The longest body, in bytes.
const BODY_MAX: usize = 256 << 10;
/// That of a restore: what the vault backs up can be restored.
const KEY_BACKUP_MAX: usize = BODY_MAX + KeyBackup::MAX_LEN.div_ceil(3) * 4;
const SECRET_BACKUP_MAX: usize = BODY_MAX + SecretBackup::MAX_LEN.div_ceil(3) * 4;

/// Answers a request to the vault `which`, which the client reached as `host`.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    host: &HostPort,
    which: WhichVault,
    kind: VaultKind,
    request: Request<Incoming>,
) -> Answer {
    let audience = audience(kind);
    let mut seen = Seen::of(host, which, kind, &request);
    // Before all else: who has no token learns where to get one, and nothing more.
    let caller = within(Part::Right, || {
        authenticate(shared, request.headers(), audience)
    });
    let mut answer = match caller {
        Err(reply) => {
            audit::stranger(shared, &seen, &reply).await;
            Answer::new("Unauthorized", *reply)
        }
        Ok(caller) => {
            seen.is_by(caller.claims());
            let (operation, reply) = by_path(shared, host, &caller, &seen, request).await;
            Answer {
                operation: operation.name(),
                reply,
                caller: Some(caller.shown()),
            }
        }
    };
    answer.reply.extensions_mut().insert(seen.id);
    answer
}

/// What tokens for a vault are for.
fn audience(kind: VaultKind) -> &'static str {
    match kind {
        VaultKind::Vault => VAULT_AUDIENCE,
        VaultKind::ManagedHsm => HSM_AUDIENCE,
    }
}

async fn by_path(
    shared: &Arc<Shared>,
    host: &HostPort,
    caller: &Caller,
    seen: &Seen,
    request: Request<Incoming>,
) -> (AuditOperation, Reply) {
    if request.uri().path().starts_with(own::PREFIX) {
        return own::answer(shared, caller, seen, request).await;
    }
    let routed = match route(request.method(), request.uri().path()) {
        // A managed HSM has none.
        Ok(call) if call.operation.is_on_secrets() && seen.is_hsm() => Err(NoRoute::Path),
        routed => routed,
    };
    let (operation, path, done) = match routed {
        Err(no) => (AuditOperation::Unknown, None, Err(Box::new(no_route(&no)))),
        Ok(call) => {
            let done = run(shared, host, caller, seen, &call, request).await;
            (call.operation.audited(), call.path(), done)
        }
    };
    let reply = match done {
        Ok(reply) => reply,
        Err(refusal) => audit::refused(shared, seen, operation, path, *refusal).await,
    };
    (operation, reply)
}

/// Does what is asked. Who refuses (`Err`) has not recorded it.
async fn run(
    shared: &Arc<Shared>,
    host: &HostPort,
    caller: &Caller,
    seen: &Seen,
    call: &Call,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let operation = call.operation;
    let (head, body_to_come) = request.into_parts();
    let wanted = Wanted {
        vault: &seen.vault,
        shown: shared.name_of(&seen.vault),
        target: call.name.as_ref().map_or(Target::Vault, Target::Named),
        action: operation.action(),
        permission: operation.permission(),
        path: head.uri.path(),
    };
    within(Part::Right, || authorize(shared, caller, &wanted))?;
    if !one(&seen.query, "api-version").is_some_and(is_api_version) {
        let why =
            "api-version must be given once, as 7.0 or later, or as a date from 2025-06-01 on.";
        return Err(Box::new(bad_parameter(why)));
    }
    let limit = match operation {
        Operation::Restore => KEY_BACKUP_MAX,
        Operation::SecretRestore => SECRET_BACKUP_MAX,
        _ => BODY_MAX,
    };
    let body = body(body_to_come, limit).await?;
    let (before, after) = shared.injections.befall(call);
    let mut marks = Injected::default();
    if let Some(reply) = before.happen(operation, &shared.metrics, &mut marks).await {
        return Err(Box::new(marks.on(reply)));
    }
    let _turn = match operation {
        Operation::Create | Operation::Rotate => shared.generating.acquire().await.ok(),
        _ => None,
    };
    within(Part::Right, || {
        authorize_still(shared, caller, audience(seen.kind), &wanted)
    })?;
    let base = format!("https://{host}");
    if let Some(throttle) = &shared.throttle {
        charge(shared, throttle, seen, call, &body).await?;
    }
    let used = match operation.is_use() {
        true => use_key(shared, seen, call, &base, &body).await,
        false => None,
    };
    let reply = match used {
        Some(Ok(body)) => json_reply(StatusCode::OK, &body),
        Some(Err(error)) => refused(shared, call, error),
        None => perform(shared, seen, call, base, body).await?,
    };
    let instead = after.happen(operation, &shared.metrics, &mut marks).await;
    Ok(marks.on(instead.unwrap_or(reply)))
}

/// Charges the vault's limits.
async fn charge(
    shared: &Arc<Shared>,
    throttle: &Throttle,
    seen: &Seen,
    call: &Call,
    body: &Bytes,
) -> Result<(), Refusal> {
    let name = shared.name_of(&seen.vault);
    let (blocking, asked, of, body) = (shared.clone(), seen.clone(), call.clone(), body.clone());
    let charge = tokio::task::spawn_blocking(move || {
        let vault = asked.open(&blocking).ok()?;
        Some(Charge::of(&of, &body, &vault))
    });
    match charge.await {
        Ok(Some(charge)) => {
            let taken = throttle.take(name, charge, shared.clock.now());
            taken.map_err(|throttled| Box::new(throttled.reply()))
        }
        // What is wrong is told by who does it.
        _ => Ok(()),
    }
}

/// Does what may wait for the disk.
async fn perform(
    shared: &Arc<Shared>,
    seen: &Seen,
    call: &Call,
    base: String,
    body: Bytes,
) -> Result<Reply, Refusal> {
    let (blocking, of, seen) = (shared.clone(), call.clone(), seen.clone());
    let done = tokio::task::spawn_blocking(move || {
        let asked = Asked {
            vault: &seen.open(&blocking)?,
            hsm: seen.is_hsm(),
            call: &of,
            base: &base,
            query: &seen.query,
            body: &body,
        };
        asked.perform_recorded()
    });
    match done.await {
        Ok(Ok((status, Some(body)))) => Ok(json_reply(status, &body)),
        Ok(Ok((status, None))) => Ok(text_reply(status, "")),
        Ok(Err(error)) => Ok(refused(shared, call, error)),
        Err(panicked) => {
            let cause = ServerError::Usage(panicked.to_string());
            Err(Box::new(shared.failed(&cause)))
        }
    }
}

/// Uses a key, without a thread that waits for the disk. `None`: nothing was recorded, and it is to be
/// done by one that may wait, and that says what is wrong with the request.
async fn use_key(
    shared: &Arc<Shared>,
    seen: &Seen,
    call: &Call,
    base: &str,
    body: &Bytes,
) -> Option<Result<Value, VaultError>> {
    let name = call.name.clone()?;
    let vault = seen.open(shared).ok()?;
    let pending = if vault.is_at_hand(&name, call.version) {
        let asked = Asked {
            vault: &vault,
            hsm: seen.is_hsm(),
            call,
            base,
            query: &seen.query,
            body,
        };
        asked.begin_use(&name, 1)
    } else {
        let (vault, call, seen) = (vault.clone(), call.clone(), seen.clone());
        let (base, body) = (base.to_owned(), body.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let asked = Asked {
                vault: &vault,
                hsm: seen.is_hsm(),
                call: &call,
                base: &base,
                query: &seen.query,
                body: &body,
            };
            asked.begin_use(&name, 1)
        });
        begun.await.ok()?
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    vault.finish_then(pending.ok()?, &shared.runner, move |done| {
        // The request's task is never dropped before its end.
        let _ = tell.send((done, leave()));
    });
    let (done, moving) = told.await.ok()?;
    if let Some(moving) = moving {
        moving.go_on();
    }
    done
}

fn no_route(no: &NoRoute) -> Reply {
    match no {
        NoRoute::Path => {
            let why = "No operation is at this path.";
            error_reply(StatusCode::NOT_FOUND, "NotFound", None, why)
        }
        NoRoute::Method(offered) => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let why = "This path takes another method.";
            let mut reply = error_reply(status, "MethodNotAllowed", None, why);
            // RFC 9110, 15.5.6.
            let offered: Vec<_> = offered.iter().map(Method::as_str).collect();
            let offered = HeaderValue::from_str(&offered.join(", ")).expect("ASCII");
            reply.headers_mut().insert(ALLOW, offered);
            reply
        }
        NoRoute::Malformed(why) => bad_parameter(why),
    }
}

fn bad_parameter(why: &str) -> Reply {
    error_reply(StatusCode::BAD_REQUEST, "BadParameter", None, why)
}
