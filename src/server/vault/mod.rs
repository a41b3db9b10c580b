//! A vault's keys and secrets: Azure Key Vault's REST API (learn.microsoft.com/rest/api/keyvault, `keys`
//! and `secrets`), and the server's own pages beside it.

mod api_version;
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

use crate::vault::{KeyBackup, SecretBackup};
use crate::world::WhichVault;

use super::ServerError;
use super::access::{Target, Wanted};
use super::auth::{Caller, authenticate, authorize};
use super::hosts::HostPort;
use super::reply::{
    Injected, Refusal, Reply, body, error_reply, json_reply, one, parameters, text_reply,
};
use super::shared::{Answer, Shared};
use super::token::{HSM_AUDIENCE, VAULT_AUDIENCE};
use api_version::is_api_version;
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
    // Before all else: who has no token learns where to get one, and nothing more.
    let hsm = shared.is_hsm(&which);
    let audience = if hsm { HSM_AUDIENCE } else { VAULT_AUDIENCE };
    let caller = match authenticate(shared, request.headers(), audience) {
        Ok(caller) => caller,
        Err(reply) => return Answer::new("Unauthorized", *reply),
    };
    if request.uri().path().starts_with(own::PREFIX) {
        let (operation, reply) = own::answer(shared, which, &caller, request).await;
        return Answer {
            operation,
            reply,
            caller: Some(caller.shown()),
        };
    }
    let (operation, reply) = match route(request.method(), request.uri().path()) {
        Err(no) => ("Unknown", no_route(&no)),
        Ok(call) if hsm && call.operation.is_on_secrets() => ("Unknown", no_route(&NoRoute::Path)),
        Ok(call) => {
            let operation = call.operation.name();
            let reply = run(shared, host, which, &caller, call, request).await;
            (operation, reply.unwrap_or_else(|refusal| *refusal))
        }
    };
    Answer {
        operation,
        reply,
        caller: Some(caller.shown()),
    }
}

async fn run(
    shared: &Arc<Shared>,
    host: &HostPort,
    which: WhichVault,
    caller: &Caller,
    call: Call,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let operation = call.operation;
    let wanted = Wanted {
        vault: &which,
        shown: &shared.name_of(&which),
        target: call.name.as_ref().map_or(Target::Vault, Target::Named),
        action: operation.action(),
        permission: operation.permission(),
        path: request.uri().path(),
    };
    authorize(shared, caller, &wanted)?;
    let query = parameters(request.uri().query().unwrap_or_default().as_bytes());
    if !one(&query, "api-version").is_some_and(is_api_version) {
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
    let (before, after) = shared.injections.befall(&call);
    let mut marks = Injected::default();
    if let Some(reply) = before.happen(operation, &shared.metrics, &mut marks).await {
        return Ok(marks.on(reply));
    }
    let _turn = match operation {
        Operation::Create | Operation::Rotate => shared.generating.acquire().await.ok(),
        _ => None,
    };
    let (base, caller) = (format!("https://{host}"), caller.shown());
    let (blocking, of) = (shared.clone(), call);
    let done = tokio::task::spawn_blocking(move || {
        let vault = blocking.workspace.vault(&which);
        let refuse = |error| Box::new(refused(&blocking, &of, error));
        let vault = vault.map_err(refuse)?;
        if let Some(throttle) = &blocking.throttle {
            let charge = Charge::of(&of, &body, &vault);
            let (vault, now) = (blocking.name_of(&which), blocking.clock.now());
            throttle
                .take(&vault, charge, now)
                .map_err(|throttled| Box::new(throttled.reply()))?;
        }
        let asked = Asked {
            vault: &vault.acting_as(&caller),
            hsm: blocking.is_hsm(&which),
            call: &of,
            base: &base,
            query: &query,
            body: &body,
        };
        Ok(match asked.perform().map_err(refuse)? {
            (status, Some(body)) => json_reply(status, &body),
            (status, None) => text_reply(status, ""),
        })
    });
    let reply = match done.await {
        Ok(done) => done.unwrap_or_else(|refused: Refusal| *refused),
        Err(panicked) => shared.failed(&ServerError::Usage(panicked.to_string())),
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
