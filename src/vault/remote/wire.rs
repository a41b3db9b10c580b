//! Keys as the API tells them, parsed: nothing is taken for granted.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::base::{KeyName, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{Curve, KeyFamily, KeyKind, PublicJwk, PublicKey, SecretBytes, sha256};
use crate::vault::{DeletedKey, KeyAttributes, KeyBundle, Tags, VaultError, VaultSettings};

use super::http::Answer;

/// Bytes in base64url without padding (RFC 4648, section 5), as every byte string of the API.
pub(super) fn encoded(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes))
}

/// The public bytes of the field `name`.
pub(super) fn decoded(name: &str, text: &str) -> Result<Vec<u8>, VaultError> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_| bad(format!("{name} is not base64url without padding")))
}

/// The secret bytes of the field `name`.
pub(super) fn decoded_secret(name: &str, text: &str) -> Result<SecretBytes, VaultError> {
    decoded(name, text).map(SecretBytes::from_vec)
}

/// A body that is sent.
pub(super) fn json(body: &impl Serialize) -> SecretBytes {
    SecretBytes::from_vec(serde_json::to_vec(body).expect("it has a JSON form"))
}

/// The body of an answer. What is wrong with it is told without what is in it.
pub(super) fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, VaultError> {
    serde_json::from_slice(answer.body.expose()).map_err(|e| {
        let why = match e.classify() {
            serde_json::error::Category::Data => "a field is missing or of the wrong type",
            _ => "not JSON",
        };
        bad(format!("line {}, column {}: {why}", e.line(), e.column()))
    })
}

pub(super) fn bad(why: impl Into<String>) -> VaultError {
    VaultError::BadAnswer(why.into())
}

/// What the server tells of its vault.
pub(super) struct VaultIn {
    pub(super) id: VaultId,
    pub(super) settings: VaultSettings,
}

pub(super) fn vault(answer: &Answer) -> Result<VaultIn, VaultError> {
    #[derive(Deserialize)]
    struct Told {
        id: VaultId,
        #[serde(flatten)]
        settings: VaultSettings,
    }
    let Told { id, settings } = parse(answer)?;
    match (7..=90).contains(&settings.retention_days) {
        true => Ok(VaultIn { id, settings }),
        false => Err(bad("a retention outside 7 to 90 days")),
    }
}

#[derive(Deserialize)]
struct AttributesIn {
    enabled: bool,
    nbf: Option<i64>,
    exp: Option<i64>,
    created: i64,
    updated: i64,
    #[serde(default)]
    exportable: bool,
}

/// `KeyBundle`
#[derive(Deserialize)]
struct BundleIn {
    key: JwkIn,
    attributes: AttributesIn,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct JwkIn {
    kid: String,
    kty: String,
    key_ops: Vec<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// What the API does not tell of a symmetric key.
    atrest: Option<OctIn>,
}

#[derive(Deserialize)]
struct OctIn {
    kind: KeyKind,
    thumbprint: String,
}

/// A page of a list: names or versions, and whether there are more.
pub(super) struct PageIn<T> {
    pub(super) found: Vec<T>,
    pub(super) more: bool,
}

/// Reads the answers of one vault.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a> {
    /// `https://HOST[:PORT]`
    pub(super) base: &'a str,
    pub(super) vault: VaultId,
}

impl Wire<'_> {
    /// A key's identifier, which must be of the key that was asked for, and of the version when one was.
    pub(super) fn kid(
        &self,
        kid: &str,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<KeyVersionRef, VaultError> {
        let parsed = self.of_this_vault(kid, "keys").and_then(|rest| {
            let (name, version) = rest.split_once('/')?;
            Some((name.parse::<KeyName>().ok()?, version.parse().ok()?))
        });
        let Some((told, of)) = parsed else {
            return Err(bad("a key's identifier is none of this vault"));
        };
        match told == *name && version.is_none_or(|version| version == of) {
            true => Ok(KeyVersionRef {
                vault: self.vault,
                name: told,
                version: of,
            }),
            false => Err(bad(format!("it is about another key than {name}"))),
        }
    }

    fn of_this_vault<'t>(&self, id: &'t str, collection: &str) -> Option<&'t str> {
        let rest = id.strip_prefix(self.base)?.strip_prefix('/')?;
        rest.strip_prefix(collection)?.strip_prefix('/')
    }

    /// A key that was asked for by this name, and by this version when there is one.
    pub(super) fn bundle(
        &self,
        answer: &Answer,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<KeyBundle, VaultError> {
        self.read(parse(answer)?, name, version)
    }

    /// A key whose name only the vault knows.
    pub(super) fn any_bundle(&self, answer: &Answer) -> Result<KeyBundle, VaultError> {
        let told: BundleIn = parse(answer)?;
        let name = self.of_this_vault(&told.key.kid, "keys").and_then(|rest| {
            let (name, _) = rest.split_once('/')?;
            name.parse().ok()
        });
        let name: KeyName = name.ok_or_else(|| bad("a key's identifier is none of this vault"))?;
        self.read(told, &name, None)
    }

    fn read(
        &self,
        told: BundleIn,
        name: &KeyName,
        version: Option<KeyVersion>,
    ) -> Result<KeyBundle, VaultError> {
        let BundleIn {
            key,
            attributes,
            tags,
        } = told;
        let (kty, hsm) = match key.kty.strip_suffix("-HSM") {
            Some(kty) => (kty, true),
            None => (key.kty.as_str(), false),
        };
        let part = |name: &str, text: &Option<String>| {
            let text = text.as_deref();
            decoded(name, text.ok_or_else(|| bad(format!("{name} is missing")))?)
        };
        let (kind, public) = match kty {
            "RSA" => {
                let (n, e) = (part("n", &key.n)?, part("e", &key.e)?);
                let zeros = n.first().map_or(0, |first| first.leading_zeros() as usize);
                let kind = KeyKind::rsa(8 * n.len() - zeros);
                let kind = kind.ok_or_else(|| bad("an RSA key of a size that there is not"))?;
                (kind, Some(PublicJwk::Rsa { n, e }))
            }
            "EC" => {
                let crv: Option<Curve> = key.crv.as_deref().and_then(|crv| crv.parse().ok());
                let crv = crv.ok_or_else(|| bad("a curve that there is not"))?;
                let (x, y) = (part("x", &key.x)?, part("y", &key.y)?);
                (crv.kind(), Some(PublicJwk::Ec { crv, x, y }))
            }
            "oct" => {
                let told = key.atrest.as_ref();
                let told = told.filter(|told| told.kind.family() == KeyFamily::Oct);
                let kind = told.map(|told| told.kind);
                (kind.ok_or_else(|| bad("a symmetric key of no size"))?, None)
            }
            _ => return Err(bad("a key of a type that there is not")),
        };
        let public_key = public
            .map(|jwk| PublicKey::from_jwk(&jwk).ok_or_else(|| bad("a public key that is none")))
            .transpose()?;
        let thumbprint = match (&public_key, &key.atrest) {
            (Some(key), _) => hex::encode(sha256(&[key.der()])),
            (None, Some(told)) if hex::decode(&told.thumbprint).is_ok_and(|it| it.len() == 32) => {
                told.thumbprint.to_ascii_lowercase()
            }
            _ => return Err(bad("a symmetric key without a thumbprint")),
        };
        let operations = key.key_ops.iter().map(|text| text.parse());
        let operations = operations.collect::<Result<_, _>>();
        Ok(KeyBundle {
            kid: self.kid(&key.kid, name, version)?,
            kind,
            hsm,
            exportable: attributes.exportable,
            operations: operations.map_err(|_: String| bad("an operation that there is not"))?,
            attributes: attributes.read()?,
            tags: Tags::try_from(tags).map_err(|_| bad("tags that no key can have"))?,
            thumbprint,
            public_key,
        })
    }

    /// `DeletedKeyBundle`
    pub(super) fn deleted(
        &self,
        answer: &Answer,
        name: &KeyName,
    ) -> Result<DeletedKey, VaultError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Told {
            deleted_date: i64,
            scheduled_purge_date: i64,
            #[serde(flatten)]
            bundle: BundleIn,
        }
        let told: Told = parse(answer)?;
        Ok(DeletedKey {
            bundle: self.read(told.bundle, name, None)?,
            deleted: time(told.deleted_date)?,
            scheduled_purge: time(told.scheduled_purge_date)?,
        })
    }

    /// A page of a list: what stands behind `/keys/` in the identifiers, or behind the name there.
    pub(super) fn page<T: FromStr>(
        &self,
        answer: &Answer,
        name: Option<&KeyName>,
        at_most: usize,
    ) -> Result<PageIn<T>, VaultError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Told {
            value: Vec<Item>,
            next_link: Option<String>,
        }
        #[derive(Deserialize)]
        struct Item {
            kid: String,
        }
        let told: Told = parse(answer)?;
        if told.value.len() > at_most {
            return Err(bad("a page with more than was asked for"));
        }
        let read = |item: &Item| {
            let rest = self.of_this_vault(&item.kid, "keys")?;
            let last = match name {
                None => rest,
                Some(name) => {
                    let (told, version) = rest.split_once('/')?;
                    (told.parse::<KeyName>().ok()? == *name).then_some(version)?
                }
            };
            last.parse().ok()
        };
        let found: Option<Vec<T>> = told.value.iter().map(read).collect();
        Ok(PageIn {
            found: found.ok_or_else(|| bad("a list of what is none of this vault's keys"))?,
            more: told.next_link.is_some(),
        })
    }
}

impl AttributesIn {
    fn read(&self) -> Result<KeyAttributes, VaultError> {
        Ok(KeyAttributes {
            enabled: self.enabled,
            not_before: self.nbf.map(time).transpose()?,
            expires: self.exp.map(time).transpose()?,
            created: time(self.created)?,
            updated: time(self.updated)?,
        })
    }
}

fn time(seconds: i64) -> Result<Timestamp, VaultError> {
    Timestamp::from_second(seconds).map_err(|_| bad("a time that there is not"))
}
