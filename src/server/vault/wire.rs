//! Keys as JSON, on their way in, and what secrets share with them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::crypto::{Curve, KeyEncryptionKey, KeyKind, PrivateJwk, SecretBytes};
use crate::vault::{KeyOperation, KeySpec, KeyUpdate, Tags, VaultError};

pub(super) fn bad(why: impl Into<String>) -> VaultError {
    VaultError::BadParameter(why.into())
}

/// Bytes in base64url without padding (RFC 4648, section 5), as every byte string of the API.
pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of the field `name`.
pub(super) fn decoded(name: &str, text: &str) -> Result<SecretBytes, VaultError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map(SecretBytes::from_vec);
    bytes.map_err(|_| bad(format!("{name} is not base64url without padding.")))
}

/// A field that may be missing (`None`), `null` (`Some(None)`), or there.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Attributes that a client sets; times in seconds since 1970.
#[derive(Default, Deserialize)]
pub(super) struct AttributesIn {
    pub(super) enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    exp: Option<Option<i64>>,
    exportable: Option<bool>,
}

/// A date as a change has it: left alone, removed, or set.
type Date = Option<Option<Timestamp>>;

impl AttributesIn {
    /// Not before, and expires.
    pub(super) fn dates(&self) -> Result<(Date, Date), VaultError> {
        let time = |name: &str, given: Option<Option<i64>>| {
            let parse = |time: Option<i64>| time.map(Timestamp::from_second).transpose();
            let parsed = given.map(parse).transpose();
            parsed.map_err(|_| bad(format!("{name} is no time in seconds since 1970.")))
        };
        Ok((time("nbf", self.nbf)?, time("exp", self.exp)?))
    }
}

/// The names and values that a client gives.
pub(super) fn tags(given: Option<&BTreeMap<String, String>>) -> Result<Option<Tags>, VaultError> {
    given.cloned().map(Tags::try_from).transpose()
}

/// What a new key and a new version of one have in common.
#[derive(Deserialize)]
pub(super) struct Described {
    key_ops: Option<Vec<String>>,
    attributes: Option<AttributesIn>,
    tags: Option<BTreeMap<String, String>>,
    release_policy: Option<Value>,
}

impl Described {
    fn operations(&self) -> Result<Option<Vec<KeyOperation>>, VaultError> {
        let parse = |ops: &Vec<String>| ops.iter().map(|o| o.parse()).collect::<Result<_, _>>();
        self.key_ops.as_ref().map(parse).transpose().map_err(bad)
    }

    fn no_release(&self) -> Result<(), VaultError> {
        match self.release_policy {
            None => Ok(()),
            Some(_) => Err(bad("release_policy: the release of keys is not simulated.")),
        }
    }

    fn spec(&self, kind: KeyKind, hsm: bool) -> Result<KeySpec, VaultError> {
        let none = AttributesIn::default();
        let attributes = self.attributes.as_ref().unwrap_or(&none);
        if self.release_policy.is_some() && attributes.exportable != Some(true) {
            let why = "AKV.SKR.1005: Non-exportable keys must not have release policy.";
            return Err(bad(why));
        }
        self.no_release()?;
        let (not_before, expires) = attributes.dates()?;
        let operations = self.operations()?;
        Ok(KeySpec {
            operations: operations.unwrap_or_else(|| KeyOperation::usual(kind)),
            enabled: attributes.enabled.unwrap_or(true),
            not_before: not_before.flatten(),
            expires: expires.flatten(),
            exportable: attributes.exportable.unwrap_or(false),
            hsm,
            tags: tags(self.tags.as_ref())?.unwrap_or_default(),
            ..KeySpec::new(kind)
        })
    }

    /// What PATCH changes.
    pub(super) fn update(&self) -> Result<KeyUpdate, VaultError> {
        self.no_release()?;
        let none = AttributesIn::default();
        let attributes = self.attributes.as_ref().unwrap_or(&none);
        let (not_before, expires) = attributes.dates()?;
        Ok(KeyUpdate {
            enabled: attributes.enabled,
            not_before,
            expires,
            operations: self.operations()?,
            tags: tags(self.tags.as_ref())?,
        })
    }
}

/// `kty`, and whether it ends in `-HSM`.
fn key_type(kty: &str) -> (&str, bool) {
    match kty.strip_suffix("-HSM") {
        Some(kty) => (kty, true),
        None => (kty, false),
    }
}

fn unknown_type(kty: &str) -> VaultError {
    bad(format!(
        "kty {kty:?} is none of RSA, RSA-HSM, EC, EC-HSM, oct, oct-HSM."
    ))
}

/// The body of a create.
#[derive(Deserialize)]
pub(super) struct CreateIn {
    kty: String,
    key_size: Option<usize>,
    crv: Option<String>,
    public_exponent: Option<u64>,
    #[serde(flatten)]
    described: Described,
}

impl CreateIn {
    pub(super) fn spec(&self) -> Result<KeySpec, VaultError> {
        if self.public_exponent.is_some_and(|e| e != 65537) {
            return Err(bad("public_exponent: keys are made with 65537 only."));
        }
        let (kty, hsm) = key_type(&self.kty);
        let size = |default| self.key_size.unwrap_or(default);
        let kind = match kty {
            "RSA" => KeyKind::rsa(size(2048)).ok_or("RSA keys have 2048, 3072 or 4096 bits."),
            "oct" => KeyKind::oct(size(256)).ok_or("oct keys have 128, 192 or 256 bits."),
            "EC" => {
                let crv = self.crv.as_deref().unwrap_or("P-256");
                Ok(crv.parse::<Curve>().map_err(bad)?.kind())
            }
            _ => return Err(unknown_type(&self.kty)),
        };
        let kind = kind.map_err(|why| bad(format!("key_size: {why}")))?;
        self.described.spec(kind, hsm)
    }
}

/// A key that comes in (RFC 7517, RFC 7518 section 6).
#[derive(Deserialize)]
struct JwkIn {
    kty: String,
    crv: Option<String>,
    #[serde(flatten)]
    parts: BTreeMap<String, Value>,
    key_ops: Option<Vec<String>>,
}

impl JwkIn {
    fn part(&self, name: &str) -> Result<SecretBytes, VaultError> {
        let text = self.parts.get(name).and_then(Value::as_str);
        decoded(
            name,
            text.ok_or_else(|| bad(format!("key.{name} is missing.")))?,
        )
    }

    fn key(&self) -> Result<(KeyEncryptionKey, bool), VaultError> {
        let (kty, hsm) = key_type(&self.kty);
        let made = match kty {
            "RSA" => {
                let [n, e, d, p, q, dp, dq, qi] =
                    ["n", "e", "d", "p", "q", "dp", "dq", "qi"].map(|name| self.part(name));
                let (n, e, d, p, q) = (n?, e?, d?, p?, q?);
                let (dp, dq, qi) = (dp?, dq?, qi?);
                KeyEncryptionKey::from_jwk(PrivateJwk::Rsa {
                    n: n.expose(),
                    e: e.expose(),
                    d: d.expose(),
                    p: p.expose(),
                    q: q.expose(),
                    dp: dp.expose(),
                    dq: dq.expose(),
                    qi: qi.expose(),
                })
            }
            "EC" => {
                let crv = self
                    .crv
                    .as_deref()
                    .ok_or_else(|| bad("key.crv is missing."))?;
                let crv = crv.parse().map_err(bad)?;
                let (x, y, d) = (self.part("x")?, self.part("y")?, self.part("d")?);
                KeyEncryptionKey::from_jwk(PrivateJwk::Ec {
                    crv,
                    x: x.expose(),
                    y: y.expose(),
                    d: d.expose(),
                })
            }
            "oct" => {
                let k = self.part("k")?;
                KeyEncryptionKey::from_jwk(PrivateJwk::Oct { k: k.expose() })
            }
            _ => return Err(unknown_type(&self.kty)),
        };
        let key = made.map_err(|e| bad(format!("key: {e}.")))?;
        Ok((key, hsm))
    }
}

/// The body of an import.
#[derive(Deserialize)]
pub(super) struct ImportIn {
    #[serde(rename = "Hsm", alias = "hsm", default)]
    hsm: Option<bool>,
    key: JwkIn,
    #[serde(flatten)]
    described: Described,
}

impl ImportIn {
    pub(super) fn key(mut self) -> Result<(KeyEncryptionKey, KeySpec), VaultError> {
        let (key, hsm) = self.key.key()?;
        // Clients put the operations into the key.
        self.described.key_ops = self.described.key_ops.or(self.key.key_ops.take());
        let hsm = hsm || self.hsm.unwrap_or(false);
        let spec = self.described.spec(key.kind(), hsm)?;
        Ok((key, spec))
    }
}

/// The body of encrypt, decrypt, wrap, unwrap, sign and verify.
#[derive(Deserialize)]
pub(super) struct UseIn {
    pub(super) alg: String,
    value: Option<Zeroizing<String>>,
    digest: Option<String>,
    iv: Option<String>,
    aad: Option<String>,
    tag: Option<String>,
}

impl UseIn {
    pub(super) fn value(&self) -> Result<SecretBytes, VaultError> {
        let value = self
            .value
            .as_ref()
            .ok_or_else(|| bad("value is missing."))?;
        decoded("value", value)
    }

    pub(super) fn digest(&self) -> Result<SecretBytes, VaultError> {
        let digest = self
            .digest
            .as_ref()
            .ok_or_else(|| bad("digest is missing."))?;
        decoded("digest", digest)
    }

    /// Initialization vector, additional data and tag.
    pub(super) fn parameters(&self) -> Result<[Option<Vec<u8>>; 3], VaultError> {
        let public = |name: &str, field: &Option<String>| -> Result<_, VaultError> {
            let bytes = field
                .as_ref()
                .map(|text| URL_SAFE_NO_PAD.decode(text))
                .transpose();
            bytes.map_err(|_| bad(format!("{name} is not base64url without padding.")))
        };
        Ok([
            public("iv", &self.iv)?,
            public("aad", &self.aad)?,
            public("tag", &self.tag)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Some JSON, mostly with the fields that are looked for.
    fn body() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("RSA".to_owned()),
            Just("EC-HSM".to_owned()),
            Just("oct".to_owned()),
            Just("P-256".to_owned()),
            Just("wrapKey".to_owned()),
            "[A-Za-z0-9_=+/-]{0,40}",
            ".{0,8}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(2048)),
            text.prop_map(Value::from),
        ];
        let fields = [
            "kty",
            "key_size",
            "crv",
            "public_exponent",
            "key_ops",
            "attributes",
            "tags",
            "key",
            "n",
            "e",
            "d",
            "p",
            "q",
            "dp",
            "dq",
            "qi",
            "k",
            "x",
            "y",
            "exp",
            "nbf",
            "enabled",
            "alg",
            "value",
        ];
        leaf.prop_recursive(3, 48, 8, move |inner| {
            let name = proptest::sample::select(fields.to_vec()).prop_map(str::to_owned);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..10)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// Whatever a client sends as a body, each reader of it ends in a result.
        #[test]
        fn no_body_panics(body in body()) {
            let read = |body: &Value| body.to_string().into_bytes();
            let bytes = read(&body);
            let _ = serde_json::from_slice::<CreateIn>(&bytes).map(|b| b.spec().is_ok());
            let _ = serde_json::from_slice::<ImportIn>(&bytes).map(|b| b.key().is_ok());
            let _ = serde_json::from_slice::<Described>(&bytes).map(|b| b.update().is_ok());
            let _ = serde_json::from_slice::<UseIn>(&bytes).map(|b| b.parameters().is_ok());
        }

        #[test]
        fn bytes_survive_their_text_and_other_texts_are_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            at in any::<proptest::sample::Index>(),
        ) {
            let text = encoded(&bytes);
            let read = decoded("value", &text).unwrap();
            prop_assert_eq!(read.expose(), &bytes[..]);
            for foreign in ['=', '+', '/', ' ', '\n', 'ä'] {
                let mut text = text.clone();
                text.insert(at.index(text.len() + 1), foreign);
                prop_assert!(decoded("value", &text).is_err(), "{}", text);
            }
        }
    }
}
