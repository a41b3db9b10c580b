//! Who asks, and whether he may.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use uuid::Uuid;

use super::access::{Assignment, Scope, Wanted};
use super::hosts::LOGIN;
use super::permission::{AccessPolicy, VaultPolicies};
use super::registry::Registry;
use super::reply::{Refusal, error_reply};
use super::role::DataAction;
use super::shared::Shared;
use super::token::BadToken;

/// Who asks.
pub(super) struct Caller {
    name: String,
    object_id: Uuid,
    client_id: Uuid,
    roles: Vec<Assignment>,
    /// In which the vaults' access policies are.
    registry: Arc<Registry>,
}

impl Caller {
    fn known(registry: &Arc<Registry>, object_id: Uuid) -> Option<Self> {
        let identity = registry.by_object(object_id)?;
        Some(Self {
            name: identity.name.clone(),
            object_id,
            client_id: identity.client_id,
            roles: identity.roles.clone(),
            registry: registry.clone(),
        })
    }

    /// The identity with this object id, as it is now; `None` when it was removed.
    pub(super) fn now(shared: &Shared, object_id: Uuid) -> Result<Option<Self>, Refusal> {
        let registry = shared.identities.now();
        let registry = registry.map_err(|e| Box::new(shared.failed(&e)))?;
        Ok(Self::known(&registry, object_id))
    }

    pub(super) fn object_id(&self) -> Uuid {
        self.object_id
    }

    /// What audit records tell of him: his name, object id and client id.
    pub(super) fn claims(&self) -> [String; 3] {
        let (oid, appid) = (self.object_id, self.client_id);
        [self.name.clone(), oid.to_string(), appid.to_string()]
    }

    /// As the log names him.
    pub(super) fn shown(&self) -> String {
        format!("{} (oid={})", self.name, self.object_id)
    }

    /// Whether one of his roles permits `action` everywhere: what lies in no vault has no other scope.
    pub(super) fn may(&self, action: DataAction) -> bool {
        let everywhere = |assigned: &&Assignment| assigned.scope == Scope::Everywhere;
        let mut roles = self.roles.iter().filter(everywhere);
        roles.any(|assigned| assigned.role.permits(action))
    }
}

/// Who asks, by the bearer token in `headers` for `audience` (RFC 6750), or the answer that tells a
/// client where to get one.
pub(super) fn authenticate(
    shared: &Shared,
    headers: &HeaderMap,
    audience: &str,
) -> Result<Caller, Refusal> {
    let registry = shared
        .identities
        .now()
        .map_err(|e| Box::new(shared.failed(&e)))?;
    let known = |object_id| Caller::known(&registry, object_id);
    let Some(token) = bearer(headers) else {
        let why = "AKV10000: Request is missing a Bearer token.".to_owned();
        return Err(challenge(shared, audience, BadToken(why)));
    };
    if shared.any_token {
        let administrator = registry.identities.first().map(|i| i.object_id);
        return administrator.and_then(known).ok_or_else(|| {
            challenge(
                shared,
                audience,
                BadToken("There is no administrator.".into()),
            )
        });
    }
    let claims = shared.tokens.check(token, audience, shared.clock.now());
    let claims = claims.map_err(|why| challenge(shared, audience, why))?;
    known(claims.oid).ok_or_else(|| removed(shared, audience))
}

fn removed(shared: &Shared, audience: &str) -> Refusal {
    let why = "The identity that the token was issued to was removed.".to_owned();
    challenge(shared, audience, BadToken(why))
}

/// Asks once more, after time has passed: a client sends the end of its request when it likes, and must
/// not do with it what it could when it began.
pub(super) fn authorize_still(
    shared: &Shared,
    caller: &Caller,
    audience: &str,
    wanted: &Wanted<'_>,
) -> Result<(), Refusal> {
    let now = shared.identities.now();
    let now = now.map_err(|e| Box::new(shared.failed(&e)))?;
    if Arc::ptr_eq(&now, &caller.registry) {
        return Ok(());
    }
    let caller = Caller::known(&now, caller.object_id);
    let caller = caller.ok_or_else(|| removed(shared, audience))?;
    authorize(shared, &caller, wanted)
}

/// Whether `caller` may do what is wanted: by his roles, or by the vault's access policies where it
/// has those.
pub(super) fn authorize(
    shared: &Shared,
    caller: &Caller,
    wanted: &Wanted<'_>,
) -> Result<(), Refusal> {
    let Caller {
        object_id,
        client_id,
        ..
    } = caller;
    let who = format!(
        "appid={client_id};oid={object_id};iss=https://sts.windows.net/{}/",
        shared.tokens.tenant()
    );
    let forbidden = |inner, message: &str| {
        let status = StatusCode::FORBIDDEN;
        Err(Box::new(error_reply(
            status,
            "Forbidden",
            Some(inner),
            message,
        )))
    };
    let Wanted { shown, path, .. } = wanted;
    let mut access = caller.registry.access_policies.iter();
    let access = access.find(|a| a.vault == *wanted.vault);
    if let Some(VaultPolicies { policies, .. }) = access {
        let of = |policy: &&AccessPolicy| policy.object_id == *object_id;
        if policies
            .iter()
            .filter(of)
            .any(|p| p.permits(wanted.permission))
        {
            return Ok(());
        }
        let message = format!(
            "The user, group or application '{who}' does not have {} permission on key vault \
             '{shown}'.",
            wanted.permission
        );
        return forbidden("ForbiddenByPolicy", &message);
    }
    if caller.roles.iter().any(|assigned| assigned.permits(wanted)) {
        return Ok(());
    }
    let message = format!(
        "Caller is not authorized to perform action on resource.\r\n\
         If role assignments, deny assignments or role definitions were changed recently, \
         please observe propagation time.\r\n\
         Caller: {who}\r\n\
         Action: '{}'\r\n\
         Resource: '{path}'\r\n\
         Assignment: (not found)\r\n\
         Vault: {shown}\r\n",
        wanted.action
    );
    forbidden("ForbiddenByRbac", &message)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn challenge(shared: &Shared, audience: &str, BadToken(why): BadToken) -> Refusal {
    let mut reply = error_reply(StatusCode::UNAUTHORIZED, "Unauthorized", None, &why);
    // Clients split at ", ": the parameters' order and the separator are part of the contract.
    let challenge = format!(
        "Bearer authorization=\"https://{LOGIN}/{}\", resource=\"{audience}\"",
        shared.tokens.tenant(),
    );
    let challenge = HeaderValue::from_str(&challenge).expect("ASCII");
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    Box::new(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_of_another_kind_is_no_token() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(of(&["bearer a.b.c"]).as_deref(), Some("a.b.c"));
        for values in [
            &[][..],
            &["Basic YTpi"],
            &["Bearer"],
            &["Bearera.b.c"],
            &["Bearer a", "Bearer b"],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }
}
