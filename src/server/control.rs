//! What the server answers over plain HTTP: the managed-identity endpoints, its health, its metrics.
//! CONNECT is in `listen.rs`.

use std::net::IpAddr;

use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::blob;
use super::hosts::HostPort;
use super::reply::{Reply, error_reply, json_reply, one, parameters, text_reply};
use super::shared::{Answer, Shared};
use super::token::{LIFETIME, audience};

/// Azure App Service's managed-identity endpoint (`IDENTITY_ENDPOINT`).
pub(super) const MSI_PATH: &str = "/msi/token";
/// That of virtual machines (the Instance Metadata Service).
const IMDS_PATH: &str = "/metadata/identity/oauth2/token";

pub(super) fn answer<B>(shared: &Shared, peer: IpAddr, request: &Request<B>) -> Answer {
    let refused = |operation, status, why: &str| {
        Answer::new(operation, error_reply(status, "BadRequest", None, why))
    };
    // Clients that send all requests to the proxy ask it for the server's own pages, too.
    let proxied = request.uri().authority().is_some();
    // A web page whose name somebody points at this machine must not get a token from it.
    let Some(host) = HostPort::of(request).filter(HostPort::is_own) else {
        let why = "Over http the server answers to localhost and to addresses only.";
        return refused("ForeignHost", StatusCode::MISDIRECTED_REQUEST, why);
    };
    if proxied && host.port != Some(shared.port) {
        let why = "The proxy takes CONNECT only; use https.";
        return refused("Proxy", StatusCode::FORBIDDEN, why);
    }
    if request.method() != Method::GET {
        let why = "Over http there is nothing but GET and CONNECT; the vault is at https.";
        return refused("Method", StatusCode::METHOD_NOT_ALLOWED, why);
    }
    match request.uri().path() {
        "/healthz" => Answer::new("Health", text_reply(StatusCode::OK, "ok\n")),
        _ if !peer.is_loopback() => {
            let why = "Only programs on the server's own machine may ask this.";
            refused("Remote", StatusCode::FORBIDDEN, why)
        }
        "/metrics" => Answer::new("Metrics", text_reply(StatusCode::OK, shared.metrics.text())),
        MSI_PATH => Answer::new("ManagedIdentity", msi(shared, request)),
        IMDS_PATH if shared.imds => Answer::new("InstanceMetadata", imds(shared, request)),
        _ => {
            let why = "Nothing is here. Key vaults are at https; see `atrest serve --help`.";
            refused("Unknown", StatusCode::NOT_FOUND, why)
        }
    }
}

/// The storage account that a request over plain HTTP is for, by its path. Asked where those are served.
pub(super) fn storage_account<B>(request: &Request<B>) -> Option<String> {
    // As below: no web page whose name somebody points at this machine.
    HostPort::of(request).filter(HostPort::is_own)?;
    match request.method() {
        &Method::CONNECT => None,
        _ => blob::in_path(request),
    }
}

/// `GET /msi/token?api-version=2019-08-01&resource=...`, header `X-IDENTITY-HEADER`.
fn msi<B>(shared: &Shared, request: &Request<B>) -> Reply {
    let failed = |status: StatusCode, message: &str| {
        json_reply(
            status,
            &json!({ "statusCode": status.as_u16(), "message": message }),
        )
    };
    let registry = match shared.identities.now() {
        Ok(registry) => registry,
        Err(e) => return shared.failed(&e),
    };
    let shown = request.headers().get("x-identity-header");
    let shown = shown.and_then(|h| h.to_str().ok()).unwrap_or_default();
    if !registry.has_header(shown) {
        let why =
            "X-IDENTITY-HEADER is missing or wrong: set IDENTITY_HEADER as `atrest env` says.";
        return failed(StatusCode::UNAUTHORIZED, why);
    }
    grant(shared, request, "2019-08-01").unwrap_or_else(|why| failed(StatusCode::BAD_REQUEST, &why))
}

/// `GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=...`, header `Metadata: true`.
fn imds<B>(shared: &Shared, request: &Request<B>) -> Reply {
    let failed = |why: &str| {
        let refusal = json!({ "error": "invalid_request", "error_description": why });
        json_reply(StatusCode::BAD_REQUEST, &refusal)
    };
    let asked = request.headers().get("metadata");
    if !asked.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")) {
        return failed("Required metadata header not specified");
    }
    grant(shared, request, "2018-02-01").unwrap_or_else(|why| failed(&why))
}

fn grant<B>(shared: &Shared, request: &Request<B>, version: &str) -> Result<Reply, String> {
    let query = parameters(request.uri().query().unwrap_or_default().as_bytes());
    if one(&query, "api-version") != Some(version) {
        return Err(format!("api-version must be {version}."));
    }
    let resource = one(&query, "resource").unwrap_or_default();
    let audience = audience(resource)
        .ok_or("resource is not one that this server has tokens for.".to_owned())?;
    let registry = shared.identities.now().map_err(|e| e.to_string())?;
    let identity = registry.by_name(&shared.managed_identity);
    let identity = identity.ok_or("the server's managed identity was removed.".to_owned())?;
    if let Some(asked) = one(&query, "client_id")
        && asked != identity.client_id.to_string()
    {
        return Err("Identity not found: the server has one, of another client_id.".into());
    }
    let now = shared.clock.now();
    let granted = json!({
        "access_token": shared.tokens.issue(identity, audience, now),
        "expires_on": (now.as_second() + LIFETIME).to_string(),
        "expires_in": LIFETIME.to_string(),
        "resource": resource,
        "token_type": "Bearer",
        "client_id": identity.client_id,
    });
    Ok(json_reply(StatusCode::OK, &granted))
}
