//! The parts of a key as a JSON Web Key has them (RFC 7517, RFC 7518 section 6), as bytes: their
//! base64url is the caller's.

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKey as RsaPublicKey, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED,
    ECDSA_P521_SHA512_FIXED, EcdsaKeyPair, ParsedPublicKey,
};
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

    /// From its parts; `None` when they are no key.
    pub fn from_jwk(jwk: &PublicJwk) -> Option<Self> {
        let der: PublicKeyX509Der<'_> = match jwk {
            PublicJwk::Rsa { n, e } => {
                let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
                PublicKeyComponents { n, e }.as_der().ok()?
            }
            PublicJwk::Ec { crv, x, y } => {
                let algorithm = match crv {
                    Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ECDSA_P384_SHA384_FIXED,
                    Curve::P521 => &ECDSA_P521_SHA512_FIXED,
                    Curve::P256K => &ECDSA_P256K1_SHA256_FIXED,
                };
                let point = [&[4][..], x, y].concat();
                ParsedPublicKey::new(algorithm, point).ok()?.as_der().ok()?
            }
        };
        Some(Self(der.as_ref().to_vec()))
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

    /// Shows its parts to `see`: for a vault elsewhere that is to have the key.
    pub fn with_jwk<T>(&self, see: impl FnOnce(PrivateJwk<'_>) -> T) -> T {
        let secret = self.to_secret_bytes();
        match self.kind().family() {
            KeyFamily::Rsa => see(rsa_parts(secret.expose()).expect("its own encoding")),
            KeyFamily::Oct => see(PrivateJwk::Oct { k: secret.expose() }),
            KeyFamily::Ec(crv) => {
                let key = self.ec().expect("a key on a curve");
                let d: EcPrivateKeyBin<'_> = key.private_key().as_be_bytes().expect("valid");
                let public = self.public_key().and_then(|key| key.jwk(self.kind()));
                let Some(PublicJwk::Ec { x, y, .. }) = public else {
                    unreachable!("the public half of a key on a curve is a point")
                };
                see(PrivateJwk::Ec {
                    crv,
                    x: &x,
                    y: &y,
                    d: d.as_ref(),
                })
            }
        }
    }
}

/// The private parts of an RSA key, where they lie in its PKCS#8.
fn rsa_parts(pkcs8: &[u8]) -> Option<PrivateJwk<'_>> {
    let info = pkcs8::PrivateKeyInfoRef::try_from(pkcs8).ok()?;
    let key = pkcs1::RsaPrivateKeyRef::try_from(info.private_key.as_bytes()).ok()?;
    Some(PrivateJwk::Rsa {
        n: key.modulus.as_bytes(),
        e: key.public_exponent.as_bytes(),
        d: key.private_exponent.as_bytes(),
        p: key.prime1.as_bytes(),
        q: key.prime2.as_bytes(),
        dp: key.exponent1.as_bytes(),
        dq: key.exponent2.as_bytes(),
        qi: key.coefficient.as_bytes(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves for another vault and comes in there is the same key, and its public half is the
    /// same text.
    #[test]
    fn a_key_survives_its_parts() {
        for kind in KeyKind::ALL {
            let key = KeyEncryptionKey::generate(kind);
            let again = key.with_jwk(KeyEncryptionKey::from_jwk).unwrap();
            assert_eq!(again.kind(), kind);
            assert_eq!(again.thumbprint(), key.thumbprint(), "{kind}");
            if let Some(public) = key.public_key() {
                let parts = public.jwk(kind).unwrap();
                assert_eq!(PublicKey::from_jwk(&parts), Some(public), "{kind}");
            }
        }
    }

    #[test]
    fn parts_that_are_no_point_and_no_modulus_are_no_key() {
        for crv in [Curve::P256, Curve::P384, Curve::P521, Curve::P256K] {
            let len = crv.coordinate_len();
            for (x, y) in [(len, len), (len - 1, len), (len, 0), (0, 0), (len + 1, len)] {
                let (x, y) = (vec![1; x], vec![1; y]);
                assert_eq!(PublicKey::from_jwk(&PublicJwk::Ec { crv, x, y }), None);
            }
        }
        for (n, e) in [(vec![], vec![1, 0, 1]), (vec![0; 256], vec![1, 0, 1])] {
            assert_eq!(PublicKey::from_jwk(&PublicJwk::Rsa { n, e }), None);
        }
    }
}
