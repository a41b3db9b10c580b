//! Who asks, and whether he may.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::AUTHORIZATION;
use uuid::Uuid;

use crate::crypto::hmac_verify_bytes;
use crate::resource::ResourceError;
use crate::resource::blob::{AccessPolicy, Conditions, ContainerName, StorageAccount};
use crate::server::auth::authenticate;
use crate::server::hosts::LOGIN;
use crate::server::shared::Shared;
use crate::server::token::STORAGE_AUDIENCE;

use super::call::{Call, Need};
use super::fault::Fault;
use super::head::Head;
use super::sas::{Sas, permission_mismatch};
use super::shared_key::{is_fresh, string_to_sign};

/// Who may do what he asks for.
pub(super) struct Access {
    /// As the log names him.
    pub(super) who: String,
    /// Whether he may only make what is not there yet.
    pub(super) only_new: bool,
    /// By what he showed that he may.
    pub(super) by: By,
    /// Whether the query may say other properties than the blob's (`rsct` and its like): they are signed.
    pub(super) overrides: bool,
}

/// What shows that a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Key,
    Signature,
    /// Of the identity with this object id.
    Token(Uuid),
}

impl Access {
    fn full(who: String, by: By) -> Self {
        Self {
            who,
            by,
            only_new: false,
            overrides: false,
        }
    }
}

/// Whether who sent `head` may do `call` on the account `name`.
pub(super) fn access(
    shared: &Shared,
    name: &str,
    account: &Arc<StorageAccount>,
    head: &Head,
    call: &Call,
) -> Result<Access, Fault> {
    let of = |e: ResourceError| Fault::of(&e, false, false);
    let signed = |message: &str, signature: &str| {
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| Fault::authentication())?;
        let keys = account.access_keys().map_err(of)?;
        let by = keys
            .iter()
            .position(|key| hmac_verify_bytes(key, message.as_bytes(), &signature));
        by.map(|at| at + 1).ok_or_else(Fault::authentication)
    };
    let now = shared.clock.now();
    let of_tags = call.need_of_tags(head)?;
    let Some(authorization) = head.header(AUTHORIZATION.as_str())? else {
        let Some(sas) = Sas::of(head)? else {
            let why = "Server failed to authenticate the request. Please refer to the information in \
                       the www-authenticate header.";
            return Err(Fault::challenge(
                "NoAuthenticationInformation",
                why,
                challenge(shared),
            ));
        };
        let message = sas.string_to_sign(name, call)?;
        let mut needs = vec![call.need()];
        needs.extend(of_tags);
        let who = match sas.delegation()? {
            None => {
                let by = signed(&message, sas.signature())?;
                format!("a shared access signature by key{by}")
            }
            Some(delegation) => {
                delegation
                    .verify(account, &message, sas.signature())
                    .map_err(of)??;
                let caller = delegation.caller(shared, now)?;
                if !needs.iter().all(|need| caller.may(need.action)) {
                    return Err(permission_mismatch());
                }
                format!("a shared access signature of {}", caller.shown())
            }
        };
        let policy = match (sas.policy()?, call) {
            (None, _) => None,
            // Only a service's signature covers its name.
            (Some(_), _) if sas.is_of_account()? || sas.delegation()?.is_some() => {
                return Err(Fault::authentication());
            }
            (Some(id), Call::Container(_, container)) => policy(account, container, id)?,
            (Some(id), Call::Blob(_, path)) => policy(account, &path.container, id)?,
            (Some(_), Call::Account(_)) => return Err(Fault::authentication()),
        };
        let mut only_new = false;
        for (at, need) in needs.iter().enumerate() {
            let is_new = sas.allows(need, now, policy.as_ref())?;
            only_new |= at == 0 && is_new;
        }
        return Ok(Access {
            who,
            by: By::Signature,
            only_new,
            overrides: !sas.is_of_account()?,
        });
    };
    match authorization.split_once(' ') {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case("sharedkey") => {
            let (of, signature) = shown.split_once(':').ok_or_else(Fault::authentication)?;
            if of != name || !is_fresh(head, now) {
                return Err(Fault::authentication());
            }
            let message = string_to_sign(name, head).ok_or_else(Fault::authentication)?;
            let by = signed(&message, signature)?;
            Ok(Access::full(format!("key{by} of {name}"), By::Key))
        }
        // A token is good for more than this request: it is not taken from where others could read it.
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") && head.origin.over_tls => {
            let caller = authenticate(shared, &head.headers, STORAGE_AUDIENCE).map_err(|_| {
                let why = "Server failed to authenticate the request. Please refer to the \
                           information in the www-authenticate header.";
                Fault::challenge("InvalidAuthenticationInfo", why, challenge(shared))
            })?;
            let may = |need: &Need| caller.may(need.action);
            match may(&call.need()) && of_tags.as_ref().is_none_or(may) {
                true => Ok(Access::full(caller.shown(), By::Token(caller.object_id()))),
                false => Err(permission_mismatch()),
            }
        }
        _ => Err(Fault::authentication()),
    }
}

/// The policy `id` of a container; a signature that names one that is not there is worth nothing.
fn policy(
    account: &StorageAccount,
    container: &ContainerName,
    id: &str,
) -> Result<Option<AccessPolicy>, Fault> {
    let found = account.policies(container, &Conditions::default());
    let (_, policies) = match found {
        Err(ResourceError::NoContainer(_)) => return Err(Fault::authentication()),
        found => found.map_err(|e| Fault::of(&e, false, false))?,
    };
    let found = policies.into_iter().find(|policy| policy.id == id);
    found.map(Some).ok_or_else(Fault::authentication)
}

fn challenge(shared: &Shared) -> String {
    format!(
        "Bearer authorization_uri=https://{LOGIN}/{}/oauth2/authorize resource_id={STORAGE_AUDIENCE}",
        shared.tokens.tenant()
    )
}
