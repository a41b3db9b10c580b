//! Stored access policies of a container, as XML.

use crate::resource::blob::AccessPolicy;

use super::fault::Fault;
use super::sas::time;
use super::xml::{self, Document};

/// The most policies of a container, and the longest name of one (the service's limits).
const POLICIES_MAX: usize = 5;
const ID_MAX: usize = 64;

pub(super) fn document(policies: &[AccessPolicy]) -> Vec<u8> {
    let mut document = Document::new();
    document.open("SignedIdentifiers");
    for policy in policies {
        document.open("SignedIdentifier");
        document.text("Id", &policy.id);
        document.open("AccessPolicy");
        for (name, value) in [
            ("Start", &policy.start),
            ("Expiry", &policy.expiry),
            ("Permission", &policy.permission),
        ] {
            if let Some(value) = value {
                document.text(name, value);
            }
        }
        document.close("AccessPolicy");
        document.close("SignedIdentifier");
    }
    document.close("SignedIdentifiers");
    document.finish()
}

/// What Set Container ACL sends.
pub(super) fn read(body: &[u8]) -> Result<Vec<AccessPolicy>, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let mut all: Vec<AccessPolicy> = Vec::new();
    let mut now = AccessPolicy::default();
    xml::read(body, &mut |path, text| {
        let text = text.trim();
        let kept = || Some(text.to_owned()).filter(|text| !text.is_empty());
        match path {
            ["SignedIdentifiers"] | ["SignedIdentifiers", "SignedIdentifier", "AccessPolicy"] => {}
            ["SignedIdentifiers", "SignedIdentifier"] => all.push(std::mem::take(&mut now)),
            ["SignedIdentifiers", "SignedIdentifier", "Id"] => now.id = text.to_owned(),
            [
                "SignedIdentifiers",
                "SignedIdentifier",
                "AccessPolicy",
                name,
            ] => match *name {
                "Start" => now.start = kept(),
                "Expiry" => now.expiry = kept(),
                "Permission" => now.permission = kept(),
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    })?;
    let is_time = |text: &Option<String>| text.as_deref().is_none_or(|text| time(text).is_some());
    let fits = |policy: &AccessPolicy| {
        let letters = policy.permission.as_deref().unwrap_or_default();
        (1..=ID_MAX).contains(&policy.id.chars().count())
            && is_time(&policy.start)
            && is_time(&policy.expiry)
            && letters.bytes().all(|b| b.is_ascii_lowercase())
    };
    let mut ids: Vec<&str> = all.iter().map(|policy| policy.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    match all.len() <= POLICIES_MAX && ids.len() == all.len() && all.iter().all(fits) {
        true => Ok(all),
        false => Err(Fault::bad(
            "InvalidXmlNodeValue",
            "A container has at most five policies, each with a name of its own, times and letters.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_come_back_as_they_were_written() {
        let policies = [
            AccessPolicy {
                id: "a & b".into(),
                start: Some("2026-01-01".into()),
                expiry: Some("2026-02-01T00:00:00.0000000Z".into()),
                permission: Some("rl".into()),
            },
            AccessPolicy {
                id: "empty".into(),
                ..AccessPolicy::default()
            },
        ];
        assert_eq!(read(&document(&policies)).unwrap(), policies);
        assert_eq!(read(b"").unwrap(), []);
        let with = |change: &dyn Fn(&mut AccessPolicy)| {
            let mut policy = policies[0].clone();
            change(&mut policy);
            read(&document(&[policy]))
        };
        assert!(with(&|_| ()).is_ok());
        assert!(with(&|p| p.start = Some("soon".into())).is_err());
        assert!(with(&|p| p.permission = Some("R".into())).is_err());
        assert!(with(&|p| p.id = "x".repeat(65)).is_err());
        assert!(read(&document(&[policies[0].clone(), policies[0].clone()])).is_err());
        assert!(read(b"<SignedIdentifiers><Other/></SignedIdentifiers>").is_err());
    }
}
