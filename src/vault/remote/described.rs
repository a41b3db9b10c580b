//! Keys as the API is told of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::crypto::{KeyEncryptionKey, KeyFamily, KeyKind, PrivateJwk};
use crate::vault::{KeySpec, KeyUpdate, Tags};

use super::wire::encoded;

/// What a new key shall be, or a change to one. Dates go in whole seconds.
#[derive(Default, Serialize)]
pub(super) struct KeyOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    kty: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<BTreeMap<&'static str, Zeroizing<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    attributes: AttributesOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Tags>,
}

/// A date that is left out stays; `null` removes it.
#[derive(Default, Serialize)]
struct AttributesOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<Option<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exportable: Option<bool>,
}

fn seconds(date: Option<Option<Timestamp>>) -> Option<Option<i64>> {
    date.map(|date| date.map(Timestamp::as_second))
}

fn kty(kind: KeyKind, hsm: bool) -> String {
    let kty = match kind.family() {
        KeyFamily::Rsa => "RSA",
        KeyFamily::Ec(_) => "EC",
        KeyFamily::Oct => "oct",
    };
    format!("{kty}{}", if hsm { "-HSM" } else { "" })
}

impl KeyOut {
    fn described(spec: &KeySpec) -> Self {
        Self {
            key_ops: Some(spec.operations.iter().map(ToString::to_string).collect()),
            attributes: AttributesOut {
                enabled: Some(spec.enabled),
                nbf: seconds(spec.not_before.map(Some)),
                exp: seconds(spec.expires.map(Some)),
                exportable: Some(spec.exportable),
            },
            tags: Some(spec.tags.clone()),
            ..Self::default()
        }
    }

    pub(super) fn create(spec: &KeySpec) -> Self {
        let kind = spec.kind;
        let (crv, size) = match kind.family() {
            KeyFamily::Ec(crv) => (Some(crv.name()), None),
            KeyFamily::Rsa | KeyFamily::Oct => (None, Some(kind.bits())),
        };
        Self {
            kty: Some(kty(kind, spec.hsm)),
            key_size: size,
            crv,
            ..Self::described(spec)
        }
    }

    pub(super) fn import(key: &KeyEncryptionKey, spec: &KeySpec) -> Self {
        let text = |text: String| Zeroizing::new(text);
        let mut jwk = key.with_jwk(|jwk| match jwk {
            PrivateJwk::Rsa {
                n,
                e,
                d,
                p,
                q,
                dp,
                dq,
                qi,
            } => {
                let parts = [n, e, d, p, q, dp, dq, qi].map(encoded);
                let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
                names.into_iter().zip(parts).collect::<BTreeMap<_, _>>()
            }
            PrivateJwk::Ec { crv, x, y, d } => [
                ("crv", text(crv.name().into())),
                ("x", encoded(x)),
                ("y", encoded(y)),
                ("d", encoded(d)),
            ]
            .into(),
            PrivateJwk::Oct { k } => [("k", encoded(k))].into(),
        });
        jwk.insert("kty", text(kty(key.kind(), spec.hsm)));
        Self {
            key: Some(jwk),
            ..Self::described(spec)
        }
    }

    pub(super) fn update(update: &KeyUpdate) -> Self {
        let names = |all: &Vec<_>| all.iter().map(ToString::to_string).collect();
        Self {
            key_ops: update.operations.as_ref().map(names),
            attributes: AttributesOut {
                enabled: update.enabled,
                nbf: seconds(update.not_before),
                exp: seconds(update.expires),
                exportable: None,
            },
            tags: update.tags.clone(),
            ..Self::default()
        }
    }
}
