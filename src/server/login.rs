//! The token service, as much of login.microsoftonline.com as clients with a client secret ask for:
//! discovery, configuration, keys, and the grant `client_credentials` (RFC 6749, 4.4).

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::hosts::LOGIN;
use super::reply::{Reply, body, json_reply, one, parameters};
use super::shared::{Answer, Shared};
use super::token::{LIFETIME, audience};

/// A token request has a few short fields.
const BODY_MAX: usize = 16 << 10;

pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let get = request.method() == Method::GET;
    let tenant = shared.tokens.tenant().to_string();
    match segments[..] {
        ["common", "discovery", "instance"] if get => Answer::new("Discovery", discovery(&tenant)),
        [asked, ..] if !asked.eq_ignore_ascii_case(&tenant) => {
            let description = format!(
                "AADSTS90002: Tenant '{asked}' not found. This server has one tenant, {tenant}."
            );
            Answer::new(
                "UnknownTenant",
                refused(
                    StatusCode::BAD_REQUEST,
                    "invalid_tenant",
                    90002,
                    &description,
                ),
            )
        }
        [_, "v2.0", ".well-known", "openid-configuration"] if get => {
            Answer::new("Configuration", configuration(&tenant))
        }
        [_, "discovery", "v2.0", "keys"] if get => {
            Answer::new("Keys", json_reply(StatusCode::OK, &shared.tokens.key_set()))
        }
        [_, "oauth2", "v2.0", "token"] if request.method() == Method::POST => {
            let reply = match body(request.into_body(), BODY_MAX).await {
                Ok(form) => token(shared, &parameters(&form)),
                Err(reply) => *reply,
            };
            Answer::new("Token", reply)
        }
        _ => Answer::new(
            "Unknown",
            refused(
                StatusCode::NOT_FOUND,
                "invalid_request",
                90015,
                "AADSTS90015: no such page here.",
            ),
        ),
    }
}

fn token(shared: &Shared, form: &[(String, String)]) -> Reply {
    let bad = StatusCode::BAD_REQUEST;
    if one(form, "grant_type") != Some("client_credentials") {
        let description = "AADSTS70003: only the grant type client_credentials is served.";
        return refused(bad, "unsupported_grant_type", 70003, description);
    }
    let registry = match shared.identities.now() {
        Ok(registry) => registry,
        Err(e) => return shared.failed(&e),
    };
    let client = one(form, "client_id").unwrap_or_default();
    let Some(identity) = registry.by_client(client) else {
        let description = "AADSTS700016: no application with this client_id; \
                           register one with `atrest identity add`.";
        return refused(bad, "unauthorized_client", 700016, description);
    };
    if !identity.has_secret(one(form, "client_secret").unwrap_or_default()) {
        let description = "AADSTS7000215: Invalid client secret provided.";
        return refused(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            7000215,
            description,
        );
    }
    let Some(audience) = audience(one(form, "scope").unwrap_or_default()) else {
        let description = "AADSTS70011: the scope is not one that this server has tokens for.";
        return refused(bad, "invalid_scope", 70011, description);
    };
    let token = shared.tokens.issue(identity, audience, shared.clock.now());
    let granted = json!({
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "ext_expires_in": LIFETIME,
        "access_token": token,
    });
    json_reply(StatusCode::OK, &granted)
}

fn discovery(tenant: &str) -> Reply {
    let found = json!({
        "tenant_discovery_endpoint":
            format!("https://{LOGIN}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{
            "preferred_network": LOGIN,
            "preferred_cache": "login.windows.net",
            "aliases": [LOGIN, "login.windows.net", "login.microsoft.com", "sts.windows.net"],
        }],
    });
    json_reply(StatusCode::OK, &found)
}

fn configuration(tenant: &str) -> Reply {
    let base = format!("https://{LOGIN}/{tenant}");
    let found = json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    json_reply(StatusCode::OK, &found)
}

fn refused(status: StatusCode, error: &str, code: u32, description: &str) -> Reply {
    let refusal: Value = json!({
        "error": error,
        "error_description": description,
        "error_codes": [code],
    });
    json_reply(status, &refusal)
}
