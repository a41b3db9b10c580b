//! Keys with which an identity signs in its own name
//! (learn.microsoft.com/rest/api/storageservices/get-user-delegation-key).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::crypto::hmac_verify;
use crate::resource::ResourceError;
use crate::resource::blob::StorageAccount;
use crate::server::auth::Caller;
use crate::server::reply::Reply;
use crate::server::shared::Shared;

use super::Admitted;
use super::access::By;
use super::fault::Fault;
use super::out::Out;
use super::sas::time;
use super::xml::{self, Document};

/// How long a key is valid at most (the service's limit).
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whose key it is, and from when until when: all that the key is derived from.
pub(super) struct Delegation<'a> {
    pub(super) object_id: &'a str,
    pub(super) tenant: &'a str,
    pub(super) start: &'a str,
    pub(super) expiry: &'a str,
    pub(super) service: &'a str,
    pub(super) version: &'a str,
}

impl Delegation<'_> {
    fn statement(&self) -> String {
        let all = [
            self.object_id,
            self.tenant,
            self.start,
            self.expiry,
            self.service,
            self.version,
        ];
        all.join("\n")
    }

    /// Whether `signature` is that of `message` by this delegation's key.
    pub(super) fn verify(
        &self,
        account: &StorageAccount,
        message: &str,
        signature: &str,
    ) -> Result<Result<(), Fault>, ResourceError> {
        let key = account.delegation_key(&self.statement())?;
        let signature = STANDARD.decode(signature).ok();
        let signature: Option<[u8; 32]> = signature.and_then(|bytes| bytes.try_into().ok());
        let good = signature.is_some_and(|mac| hmac_verify(&key, &[message.as_bytes()], &mac));
        Ok(match good {
            true => Ok(()),
            false => Err(Fault::authentication()),
        })
    }

    /// Whose it is, if it is valid now and he is still there. What he may no more, it does not allow.
    pub(super) fn caller(&self, shared: &Shared, now: Timestamp) -> Result<Caller, Fault> {
        let refused = Fault::authentication;
        let (start, expiry) = time(self.start)
            .zip(time(self.expiry))
            .ok_or_else(refused)?;
        let valid = start <= now && now < expiry && self.service == "b";
        if !valid || self.tenant != shared.tokens.tenant().to_string() {
            return Err(refused());
        }
        let object_id: Uuid = self.object_id.parse().map_err(|_| refused())?;
        let caller = Caller::now(shared, object_id).map_err(|_| refused())?;
        caller.ok_or_else(refused)
    }
}

/// Get User Delegation Key.
pub(super) fn issue(shared: &Shared, asked: &Admitted, body: &[u8]) -> Result<Reply, Fault> {
    let By::Token(object_id) = asked.access.by else {
        let why = "Only authentication scheme Bearer is supported.";
        return Err(Fault::forbidden("AuthenticationFailed", why));
    };
    let bad = |name| {
        let why = format!("The value of {name} is not a time, or is not one that is allowed.");
        Fault::bad("InvalidXmlNodeValue", why)
    };
    let (mut start, mut expiry) = (None, None);
    xml::read(body, &mut |path, text| {
        match path {
            ["KeyInfo", "Start"] => start = Some(text.trim().to_owned()),
            ["KeyInfo", "Expiry"] => expiry = Some(text.trim().to_owned()),
            ["KeyInfo"] => {}
            _ => return None,
        }
        Some(())
    })?;
    let now = shared.clock.now();
    let start = match start {
        None => now,
        Some(text) => time(&text).ok_or_else(|| bad("Start"))?,
    };
    let expiry = expiry.and_then(|text| time(&text));
    let expiry = expiry.filter(|expiry| {
        *expiry > now && *expiry > start && expiry.duration_since(now) <= LIFE_MAX
    });
    let expiry = expiry.ok_or_else(|| bad("Expiry"))?;
    let shown = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (object_id, tenant) = (object_id.to_string(), shared.tokens.tenant().to_string());
    let (start, expiry) = (shown(start), shown(expiry));
    let version = super::version(&asked.head)?;
    let delegation = Delegation {
        object_id: &object_id,
        tenant: &tenant,
        start: &start,
        expiry: &expiry,
        service: "b",
        version,
    };
    let key = asked.account.delegation_key(&delegation.statement());
    let key = key.map_err(|e| Fault::of(&e, true, false))?;
    let mut document = Document::new();
    document.open("UserDelegationKey");
    for (name, value) in [
        ("SignedOid", object_id.as_str()),
        ("SignedTid", &tenant),
        ("SignedStart", &start),
        ("SignedExpiry", &expiry),
        ("SignedService", "b"),
        ("SignedVersion", version),
        ("Value", &STANDARD.encode(key.expose())),
    ] {
        document.text(name, value);
    }
    document.close("UserDelegationKey");
    Ok(Out::xml(document.finish()).done())
}
