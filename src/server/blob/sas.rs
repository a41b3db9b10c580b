//! Shared access signatures: what an account's key allows whoever has the URL
//! (learn.microsoft.com/rest/api/storageservices, create-service-sas, create-user-delegation-sas and
//! create-account-sas).

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use jiff::civil::Date;

use super::call::{Call, Need};
use super::delegation::Delegation;
use super::fault::Fault;
use super::head::Head;
use crate::resource::blob::AccessPolicy;

/// From here on the string to sign has the form that is spoken here.
const OLDEST: Date = Date::constant(2018, 11, 9);
/// From here on an encryption scope is part of it.
const WITH_SCOPE: Date = Date::constant(2020, 12, 6);

/// From here on who is to use a delegation's signature is part of it.
const WITH_AGENT: Date = Date::constant(2020, 2, 10);
const WITH_DELEGATED_USER: Date = Date::constant(2025, 7, 5);
/// From here on what else it binds.
const WITH_BINDINGS: Date = Date::constant(2026, 4, 6);
/// What a delegation's signature has in the place of a policy's name.
const DELEGATED: [&str; 11] = [
    "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid", "skdutid", "sduoid",
];

/// A signature as the query has it, not checked yet.
pub(super) struct Sas<'a> {
    head: &'a Head,
    version: Date,
    signature: &'a str,
}

impl<'a> Sas<'a> {
    /// The signature of a request, if it has one.
    pub(super) fn of(head: &'a Head) -> Result<Option<Self>, Fault> {
        let Some(signature) = head.query("sig")? else {
            return Ok(None);
        };
        let version = head.query("sv")?.and_then(day);
        let version = version.filter(|version| *version >= OLDEST);
        let sas = Self {
            head,
            version: version.ok_or_else(Fault::authentication)?,
            signature,
        };
        for (name, what) in [
            ("suoid", "signatures for another identity"),
            ("skdutid", "signatures for another identity"),
            ("sduoid", "signatures for another identity"),
            ("srh", "signatures that bind headers"),
            ("srq", "signatures that bind the query"),
        ] {
            if !sas.get(name)?.is_empty() {
                return Err(Fault::not_here(what));
            }
        }
        Ok(Some(sas))
    }

    fn get(&self, name: &str) -> Result<&'a str, Fault> {
        Ok(self.head.query(name)?.unwrap_or_default())
    }

    /// The policy of the container that it names.
    pub(super) fn policy(&self) -> Result<Option<&'a str>, Fault> {
        Ok(Some(self.get("si")?).filter(|id| !id.is_empty()))
    }

    /// The delegation by whose key it was signed.
    pub(super) fn delegation(&self) -> Result<Option<Delegation<'a>>, Fault> {
        if self.get("skoid")?.is_empty() || self.is_of_account()? {
            return Ok(None);
        }
        Ok(Some(Delegation {
            object_id: self.get("skoid")?,
            tenant: self.get("sktid")?,
            start: self.get("skt")?,
            expiry: self.get("ske")?,
            service: self.get("sks")?,
            version: self.get("skv")?,
        }))
    }

    /// Whether it is one of the account, not of a blob or container.
    pub(super) fn is_of_account(&self) -> Result<bool, Fault> {
        Ok(self.head.query("ss")?.is_some())
    }

    /// The signature, in base64.
    pub(super) fn signature(&self) -> &str {
        self.signature
    }

    /// What was signed, if it was for `call` on the account `account`.
    pub(super) fn string_to_sign(&self, account: &str, call: &Call) -> Result<String, Fault> {
        let values = |names: &[&str]| {
            let values = names.iter().map(|name| self.get(name));
            values.collect::<Result<Vec<_>, _>>().map(|v| v.join("\n"))
        };
        let scope: &[&str] = match self.version >= WITH_SCOPE {
            true => &["ses"],
            false => &[],
        };
        if self.is_of_account()? {
            let all = [&["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"], scope].concat();
            return Ok(format!("{account}\n{}\n", values(&all)?));
        }
        let resource = match (self.get("sr")?, call) {
            ("c", Call::Container(_, container)) => format!("/blob/{account}/{container}"),
            ("c", Call::Blob(_, path)) => format!("/blob/{account}/{}", path.container),
            ("b", Call::Blob(_, path)) => format!("/blob/{account}/{path}"),
            ("bs", Call::Blob(_, path)) if !self.get("snapshot")?.is_empty() => {
                format!("/blob/{account}/{path}")
            }
            _ => return Err(mismatch("ResourceType", "resource types")),
        };
        let before = values(&["sp", "st", "se"])?;
        let by: &[&str] = match self.delegation()? {
            None => &["si"],
            Some(_) if self.version < WITH_AGENT => &DELEGATED[..6],
            Some(_) if self.version < WITH_DELEGATED_USER => &DELEGATED[..9],
            Some(_) => &DELEGATED,
        };
        let binds: &[&str] = match self.delegation()? {
            Some(_) if self.version >= WITH_BINDINGS => &["srh", "srq"],
            _ => &[],
        };
        // A container's is for its snapshots, too; a blob's is for none of them.
        let snapshot = match self.get("sr")? {
            "c" => "",
            _ => self.get("snapshot")?,
        };
        let between = format!("{}\n{snapshot}", values(&["sip", "spr", "sv", "sr"])?);
        let by = values(by)?;
        let after = [scope, binds, &["rscc", "rscd", "rsce", "rscl", "rsct"]];
        let after = values(&after.concat())?;
        Ok(format!("{before}\n{resource}\n{by}\n{between}\n{after}"))
    }

    /// Whether an authentic signature allows what needs `need`, now, from there. `Ok(true)` when only
    /// something new may be made.
    pub(super) fn allows(
        &self,
        need: &Need,
        now: Timestamp,
        policy: Option<&AccessPolicy>,
    ) -> Result<bool, Fault> {
        let said = |name: &str| {
            let stored = policy.and_then(|policy| match name {
                "st" => policy.start.as_deref(),
                "se" => policy.expiry.as_deref(),
                _ => policy.permission.as_deref(),
            });
            match (self.get(name)?, stored.unwrap_or_default()) {
                (own, "") => Ok(own.to_owned()),
                ("", stored) => Ok(stored.to_owned()),
                // What the policy says is not to be said again.
                _ => Err(Fault::authentication()),
            }
        };
        let time = |name: &str| match said(name)?.as_str() {
            "" => Ok(None),
            text => time(text).map(Some).ok_or_else(Fault::authentication),
        };
        let begun = time("st")?.is_none_or(|start| start <= now);
        // It must say when it ends.
        let ended = time("se")?.is_none_or(|end| end <= now);
        if !begun || ended {
            return Err(Fault::authentication());
        }
        match self.get("spr")? {
            "" | "https,http" => {}
            "https" if self.head.origin.over_tls => {}
            "https" => {
                let why =
                    "This request is not authorized to perform this operation using this protocol.";
                return Err(Fault::forbidden("AuthorizationProtocolMismatch", why));
            }
            _ => return Err(Fault::authentication()),
        }
        let from = self.get("sip")?;
        if !from.is_empty() && !holds(from, self.head.origin.address) {
            let why =
                "This request is not authorized to perform this operation using this source IP.";
            return Err(Fault::forbidden("AuthorizationSourceIPMismatch", why));
        }
        if self.is_of_account()? {
            if !self.get("ss")?.contains('b') {
                return Err(mismatch("Service", "services"));
            }
            if !self.get("srt")?.contains(need.level) {
                return Err(mismatch("ResourceType", "resource types"));
            }
        } else if !need.by_service {
            return Err(mismatch("ResourceType", "resource types"));
        }
        let given = said("sp")?;
        match need.letters.chars().find(|letter| given.contains(*letter)) {
            Some(letter) => Ok(letter == 'c'),
            None => Err(permission_mismatch()),
        }
    }
}

/// The encryption scope that a request's signature binds. One of an older version binds none: what its query says
/// of it, anybody may have added.
pub(super) fn scope(head: &Head) -> Result<Option<&str>, Fault> {
    let version = match head.query("sig")? {
        Some(_) => head.query("sv")?.and_then(day),
        None => None,
    };
    match version.is_some_and(|version| version >= WITH_SCOPE) {
        true => Ok(head.query("ses")?.filter(|scope| !scope.is_empty())),
        false => Ok(None),
    }
}

/// One may not do this.
pub(super) fn permission_mismatch() -> Fault {
    let why = "This request is not authorized to perform this operation using this permission.";
    Fault::forbidden("AuthorizationPermissionMismatch", why)
}

fn mismatch(what: &str, whats: &str) -> Fault {
    let code = match what {
        "Service" => "AuthorizationServiceMismatch",
        _ => "AuthorizationResourceTypeMismatch",
    };
    let why =
        format!("This request is not authorized to perform this operation using these {whats}.");
    Fault::forbidden(code, why)
}

/// A time of a signature or policy: to the second or fraction of it, to the minute, or a day.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    match day(text) {
        Some(day) => format!("{day}T00:00:00Z").parse().ok(),
        None => text.parse().ok(),
    }
}

/// A day and nothing more: a time without a zone begins with one, too.
fn day(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok()).flatten()
}

/// Whether an address, or a range `FIRST-LAST` of them, holds `peer`.
fn holds(range: &str, peer: IpAddr) -> bool {
    let IpAddr::V4(peer) = peer.to_canonical() else {
        return false;
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&peer),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_outside_its_range_is_refused() {
        let peer: IpAddr = "10.0.0.7".parse().unwrap();
        for range in ["10.0.0.7", "10.0.0.1-10.0.0.7", "10.0.0.7-10.0.0.9"] {
            assert!(holds(range, peer), "{range}");
        }
        for range in [
            "10.0.0.8",
            "10.0.0.8-10.0.0.9",
            "10.0.0.9-10.0.0.1",
            "x",
            "",
            "10.0.0.7-",
        ] {
            assert!(!holds(range, peer), "{range}");
        }
        assert!(!holds("10.0.0.7", "::1".parse().unwrap()));
    }

    #[test]
    fn time_that_is_none_is_not_taken_for_one() {
        for text in [
            "2026-01-02",
            "2026-01-02T00:00Z",
            "2026-01-02T00:00:00Z",
            "2026-01-02T00:00:00.0000000Z",
        ] {
            assert_eq!(time(text), "2026-01-02T00:00:00Z".parse().ok(), "{text}");
        }
        for text in ["", "tomorrow", "2026-13-01", "2026-01-02T00:00:00"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
