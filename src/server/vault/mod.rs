//! A vault's keys and secrets: Azure Key Vault's REST API (learn.microsoft.com/rest/api/keyvault, `keys`
//! and `secrets`), and the server's own pages beside it.

mod api_version;
mod audit;
mod errors;
mod inject;
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

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::vault::{AuditOperation, KeyBackup, SecretBackup};
use crate::world::WhichVault;

use super::ServerError;
use super::access::{Target, Wanted};
use super::auth::{Caller, authenticate, authorize};
use super::hosts::HostPort;
use super::reply::{Injected, Refusal, Reply, body, error_reply, json_reply, one, text_reply};
use super::shared::{Answer, Shared};
use super::token::{HSM_AUDIENCE, VAULT_AUDIENCE};
use api_version::is_api_version;
use audit::Seen;
pub(super) use audit::{Strangers, record_strangers_left_out};
use errors::refused;
use perform::Asked;
use route::{Call, NoRoute, Operation, route};
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
    request: Request<Incoming>,
) -> Answer {
    let audience = match shared.is_hsm(&which) {
        true => HSM_AUDIENCE,
        false => VAULT_AUDIENCE,
    };
    let mut seen = Seen::of(host, which, &request);
    // Before all else: who has no token learns where to get one, and nothing more.
    let mut answer = match authenticate(shared, request.headers(), audience) {
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
        Ok(call) if call.operation.is_on_secrets() && shared.is_hsm(&seen.vault) => {
            Err(NoRoute::Path)
        }
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
    let wanted = Wanted {
        vault: &seen.vault,
        shown: &shared.name_of(&seen.vault),
        target: call.name.as_ref().map_or(Target::Vault, Target::Named),
        action: operation.action(),
        permission: operation.permission(),
        path: request.uri().path(),
    };
    authorize(shared, caller, &wanted)?;
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
    let body = body(request.into_body(), limit).await?;
    let (before, after) = shared.injections.befall(call);
    let mut marks = Injected::default();
    if let Some(reply) = before.happen(operation, &shared.metrics, &mut marks).await {
        return Err(Box::new(marks.on(reply)));
    }
    let _turn = match operation {
        Operation::Create | Operation::Rotate => shared.generating.acquire().await.ok(),
        _ => None,
    };
    let base = format!("https://{host}");
    let (blocking, of, seen) = (shared.clone(), call.clone(), seen.clone());
    let done = tokio::task::spawn_blocking(move || {
        let vault = match seen.open(&blocking) {
            Ok(vault) => vault,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(throttle) = &blocking.throttle {
            let charge = Charge::of(&of, &body, &vault);
            let (name, now) = (blocking.name_of(&seen.vault), blocking.clock.now());
            let taken = throttle.take(&name, charge, now);
            taken.map_err(|throttled| Box::new(throttled.reply()))?;
        }
        let asked = Asked {
            vault: &vault,
            hsm: blocking.is_hsm(&seen.vault),
            call: &of,
            base: &base,
            query: &seen.query,
            body: &body,
        };
        Ok(asked.perform_recorded())
    });
    let reply = match done.await {
        Ok(Ok(Ok((status, Some(body))))) => json_reply(status, &body),
        Ok(Ok(Ok((status, None)))) => text_reply(status, ""),
        Ok(Ok(Err(error))) => refused(shared, call, error),
        Ok(Err(throttled)) => return Err(throttled),
        Err(panicked) => {
            let cause = ServerError::Usage(panicked.to_string());
            return Err(Box::new(shared.failed(&cause)));
        }
    };
    let instead = after.happen(operation, &shared.metrics, &mut marks).await;
    Ok(marks.on(instead.unwrap_or(reply)))
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
