//! The parts of a key as a JSON Web Key has them (RFC 7517, RFC 7518 section 6), as bytes: their
//! base64url is the caller's.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKey as RsaPublicKey, PublicKeyComponents};
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kek::signing_algorithm;
use super::{Curve, KeyEncryptionKey, KeyFamily, KeyKind, KeyMaterialError};

/// A private or symmetric key, part by part. Numbers are big-endian; leading zeros are allowed.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum PrivateJwk<'a> {
    /// `RSA`, with its primes.
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
        d: &'a [u8],
        p: &'a [u8],
        q: &'a [u8],
        dp: &'a [u8],
        dq: &'a [u8],
        qi: &'a [u8],
    },
    /// `EC`.
    Ec {
        crv: Curve,
        x: &'a [u8],
        y: &'a [u8],
        d: &'a [u8],
    },
    /// `oct`.
    Oct { k: &'a [u8] },
}

/// A public key, part by part. Numbers are big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum PublicJwk {
    /// `RSA`: without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// `EC`: each as long as [`Curve::coordinate_len`].
    Ec { crv: Curve, x: Vec<u8>, y: Vec<u8> },
}

/// A public key of a known kind. Serialized as the base64 of its DER, which is what stands in a PEM
/// block `PUBLIC KEY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(Vec<u8>);

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a public key")]
pub struct BadPublicKey;

impl PublicKey {
    /// From X.509 SubjectPublicKeyInfo, DER, which is not looked into.
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// As X.509 SubjectPublicKeyInfo, DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// Its parts; `None` when it is not a key of this kind.
    pub fn jwk(&self, kind: KeyKind) -> Option<PublicJwk> {
        match kind.family() {
            KeyFamily::Rsa => {
                let key = RsaPublicKey::from_der(&self.0).ok()?;
                Some(PublicJwk::Rsa {
                    n: key.modulus().big_endian_without_leading_zero().to_vec(),
                    e: key.exponent().big_endian_without_leading_zero().to_vec(),
                })
            }
            KeyFamily::Ec(crv) => {
                // SubjectPublicKeyInfo ends with the point: 4, x, y (RFC 5480, SEC 1).
                let len = crv.coordinate_len();
                let point = self.0.len().checked_sub(1 + 2 * len)?;
                let (tag, coordinates) = self.0[point..].split_first()?;
                let (x, y) = coordinates.split_at(len);
                (*tag == 4).then(|| PublicJwk::Ec {
                    crv,
                    x: x.to_vec(),
                    y: y.to_vec(),
                })
            }
            KeyFamily::Oct => None,
        }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = BadPublicKey;
    fn try_from(text: String) -> Result<Self, BadPublicKey> {
        STANDARD.decode(text).map(Self).map_err(|_| BadPublicKey)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        STANDARD.encode(key.0)
    }
}

impl KeyEncryptionKey {
    /// A private or symmetric key from its parts, which must fit together.
    ///
    /// # Errors
    /// [`KeyMaterialError`] alike for a size that is not offered and parts that do not fit.
    pub fn from_jwk(jwk: PrivateJwk<'_>) -> Result<Self, KeyMaterialError> {
        match jwk {
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
                let key = KeyPair::from_components(&KeyPairComponents {
                    public_key: PublicKeyComponents {
                        n: without_leading_zeros(n),
                        e: without_leading_zeros(e),
                    },
                    d,
                    p,
                    q,
                    dP: dp,
                    dQ: dq,
                    qInv: qi,
                })
                .map_err(|_| KeyMaterialError)?;
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyMaterialError)?;
                Self::from_pkcs8(der.as_ref())
            }
            PrivateJwk::Ec { crv, x, y, d } => {
                let len = crv.coordinate_len();
                let [x, y, d] = [x, y, d].map(|number| padded(number, len));
                let (x, y, d) = (x?, y?, d?);
                let point = [&[4][..], &x[..], &y[..]].concat();
                EcdsaKeyPair::from_private_key_and_public_key(signing_algorithm(crv), &d, &point)
                    .map(|key| Self::from_ec(crv, key))
                    .map_err(|_| KeyMaterialError)
            }
            PrivateJwk::Oct { k } => Self::from_oct(k),
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|b| **b == 0).count();
    &number[zeros..]
}

/// A number as exactly `len` bytes.
fn padded(number: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, KeyMaterialError> {
    let number = without_leading_zeros(number);
    let zeros = len.checked_sub(number.len()).ok_or(KeyMaterialError)?;
    let mut out = Zeroizing::new(vec![0; len]);
    out[zeros..].copy_from_slice(number);
    Ok(out)
}
