//! The words of a scenario file: names and amounts, each with the rule that it must obey.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use crate::crypto::KeyKind;
use crate::vault::AuditOperation;
use crate::world::landscape::{
    Duty, FinanceKind, Permission, PowerKind, ProductId, Profile, Region, Rule,
};
use crate::world::{Name, NamedKey, ResourceAddress, WhichVault};

/// A type that is read from a text: with its name in the schema, what is shown there, and how it is read.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident($inner:ty): $about:literal, $read:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<$inner, String> = $read;
                read(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({ "type": "string", "description": $about })
            }
        }
    )*};
}

fn told<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|e: T::Err| e.to_string())
}

words! {
    /// A name.
    Label(Name): "A name: 1 to 63 lower-case letters, digits and hyphens", told;
    /// A key of the customer's.
    Key(NamedKey): "A key: KEY in the customer's vault, or VAULT/KEY", told;
    /// A vault.
    Vault(WhichVault): "A vault: `customer`, `provider`, or the name of a further one", told;
    /// A resource.
    Place(ResourceAddress):
        "A resource: sql/NAME or storage/NAME, with ENVIRONMENT/ before it where it is not at `home`",
        told;
    /// A kind of key.
    Kind(KeyKind): "A kind of key: rsa-2048, rsa-3072, rsa-4096 or oct-256", wrapping_kind;
    /// A length of time.
    Length(SignedDuration): "A length of time, as `90 days`, `8 hours` or `1h 30m`", length;
    /// A length of time on the machine's clock.
    Bound(Duration): "A length of time of at most a minute, as `0 s` or `500 ms`", bound;
    /// A point in time.
    Moment(Timestamp): "A point in time, as 2026-03-01T00:00:00Z", told;
    /// What is asked of a vault.
    Operation(AuditOperation): "An operation, as the audit log names it: KeyWrap, KeyUnwrap, KeyDelete, ...", operation;
    /// The code of a refusal.
    Code(&'static str): "The code of a refusal, as KeyDisabled, KeyNotFound, Forbidden, Unauthentic or Stale; or of a \
        landscape's rule, as E_LOCKED or W_VERSION_IN_USE", code;
    /// Where something is.
    Where(Region): "An Azure region, as westeurope, or a geography, as europe", told;
    /// A profile.
    ProfileWord(Profile): "Whose rules and statements hold: seed-2022-12 or docs-2026-03", told;
    /// A product.
    Product(ProductId): "An offer, an add-in or a service, as `atrest offer list` and `atrest addin list` name it", told;
    /// What an identity may do with a key.
    PermissionWord(Permission): "get, wrapKey or unwrapKey", told;
    /// A duty.
    DutyWord(Duty): "power-admin, vault-admin or lockbox-approver", duty;
    /// A kind of finance-and-operations environment.
    FinanceWord(FinanceKind): "production, sandbox, cloud-hosted or hr-standalone", spelled;
    /// A kind of Power Platform environment.
    PowerWord(PowerKind): "production, sandbox, trial or teams", spelled;
}

/// A word of the landscape's file.
fn spelled<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let quoted = serde_json::Value::String(text.to_owned());
    serde_json::from_value(quoted).map_err(|e| e.to_string())
}

fn duty(text: &str) -> Result<Duty, String> {
    match spelled(text)? {
        Duty::ProviderEngineer => {
            Err("an engineer of the provider's belongs to no tenant: say it in `engineers`".into())
        }
        duty => Ok(duty),
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The codes that refusals have: the vault's, and what resources and working directories say.
pub(super) const CODES: &[&str] = &[
    "Audit",
    "BadAnswer",
    "BadParameter",
    "Busy",
    "Conflict",
    "DecryptFailed",
    "Exists",
    "Forbidden",
    "Format",
    "Io",
    "KeyDisabled",
    "KeyNotFound",
    "KeyUnavailable",
    "NoResource",
    "NotAuthorized",
    "NotFound",
    "RootKey",
    "Sealed",
    "SecretDisabled",
    "SecretNotFound",
    "Sqlite",
    "Stale",
    "Store",
    "Unauthentic",
    "Unreachable",
    "UnwrapFailed",
    "Usage",
    "VaultNotFound",
];

fn code(text: &str) -> Result<&'static str, String> {
    let rules = Rule::ALL.iter().map(|rule| rule.code());
    one_of(
        "code of a refusal",
        CODES.iter().copied().chain(rules),
        text,
    )
}

fn operation(text: &str) -> Result<AuditOperation, String> {
    let names = AuditOperation::ALL.iter().map(|o| o.name());
    let name = one_of("operation of a vault", names, text)?;
    name.parse()
}

fn wrapping_kind(text: &str) -> Result<KeyKind, String> {
    let kind = KeyKind::WRAPPING
        .into_iter()
        .find(|kind| kind.name() == text);
    kind.ok_or_else(|| {
        let all = KeyKind::WRAPPING.map(KeyKind::name).join(", ");
        format!("no kind of key that wraps a resource's key {text:?}; there is {all}")
    })
}

fn one_of<'a>(
    what: &str,
    mut all: impl Iterator<Item = &'a str> + Clone,
    text: &str,
) -> Result<&'a str, String> {
    let found = all.clone().find(|one| *one == text);
    found.ok_or_else(|| match nearest(text, all.clone()) {
        Some(near) => format!("no {what} {text:?}; did you mean {near}?"),
        None => {
            let some: Vec<&str> = all.by_ref().take(12).collect();
            format!("no {what} {text:?}; there is {}", some.join(", "))
        }
    })
}

/// The name among `all` that `text` was meant to be, if one is near enough.
pub(super) fn nearest<'a>(text: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.55;
    let similar = |name: &str| {
        strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &text.to_lowercase())
    };
    all.map(|name| (similar(name), name))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

fn length(text: &str) -> Result<SignedDuration, String> {
    const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366 * 100);
    let bad = |_| format!("no length of time in days, hours or less {text:?}, as `90 days` is");
    let span: Span = text.parse().map_err(bad)?;
    let days = SpanRelativeTo::days_are_24_hours();
    let length = span.to_duration(days).map_err(bad)?;
    match length > SignedDuration::ZERO && length <= LONGEST {
        true => Ok(length),
        false => Err("a length of time must be more than nothing, and at most a century".into()),
    }
}

fn bound(text: &str) -> Result<Duration, String> {
    let bad = |e: jiff::Error| format!("no length of time, as `500 ms` is: {e}");
    let length: SignedDuration = text.parse().map_err(bad)?;
    let length = Duration::try_from(length).map_err(bad)?;
    match length <= Duration::from_secs(60) {
        true => Ok(length),
        false => Err("a bound of more than a minute proves little; give less".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_code_is_answered_with_the_one_that_was_meant() {
        let told = "KeyDisabeld".parse::<Code>().unwrap_err();
        assert!(told.contains("did you mean KeyDisabled?"), "{told}");
        let told = "zzz".parse::<Code>().unwrap_err();
        assert!(told.contains("there is Audit"), "{told}");
        assert!("rsa-1024".parse::<Kind>().is_err());
        assert!("KeyUnwarp".parse::<Operation>().is_err());
    }

    #[test]
    fn times_that_nobody_can_mean_are_refused() {
        for good in ["90 days", "8h", "1 day 12 hours", "28d"] {
            assert!(good.parse::<Length>().is_ok(), "{good}");
        }
        for bad in ["", "5", "-1 day", "0 days", "300 years", "1 month", "soon"] {
            assert!(bad.parse::<Length>().is_err(), "{bad}");
        }
        assert!("0 s".parse::<Bound>().is_ok() && "500ms".parse::<Bound>().is_ok());
        for bad in ["-1s", "2 minutes", "x"] {
            assert!(bad.parse::<Bound>().is_err(), "{bad}");
        }
    }
}
