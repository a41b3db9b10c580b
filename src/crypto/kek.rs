use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use serde::{Deserialize, Serialize};

use super::{Secret, SecretBytes, sha256};

/// What kind of key encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// RSA with a 2048-bit modulus; about 112 bits of strength (NIST SP 800-57 part 1, table 2).
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with a 3072-bit modulus; about 128 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with a 4096-bit modulus; about 140 bits, of which 128 are claimed here.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// A symmetric key of 256 bits.
    #[serde(rename = "oct-256")]
    Oct256,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Oct256];

    /// The algorithm that a key of this kind wraps with.
    pub fn wrap_algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Oct256 => WrapAlgorithm::A256Kw,
            _ => WrapAlgorithm::RsaOaep256,
        }
    }

    /// Security strength in bits, after NIST SP 800-57 part 1 revision 5, table 2.
    pub fn strength_bits(self) -> u32 {
        match self {
            Self::Rsa2048 => 112,
            Self::Rsa3072 | Self::Rsa4096 => 128,
            Self::Oct256 => 256,
        }
    }

    /// Length of a wrapped 256-bit key, in bytes.
    pub fn wrapped_len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::Oct256 => 40,
        }
    }

    fn rsa_size(self) -> Option<KeySize> {
        match self {
            Self::Rsa2048 => Some(KeySize::Rsa2048),
            Self::Rsa3072 => Some(KeySize::Rsa3072),
            Self::Rsa4096 => Some(KeySize::Rsa4096),
            Self::Oct256 => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::Oct256 => "oct-256",
        })
    }
}

impl FromStr for KeyKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|k| k.to_string() == s);
        kind.ok_or_else(|| {
            format!("{s:?} is no kind of key: expected rsa-2048, rsa-3072, rsa-4096 or oct-256")
        })
    }
}

/// How a data encryption key is wrapped. The names are those of RFC 7518 and Azure Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WrapAlgorithm {
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017).
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
    /// AES key wrap with a 256-bit key (RFC 3394, NIST SP 800-38F).
    #[serde(rename = "A256KW")]
    A256Kw,
}

impl fmt::Display for WrapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::A256Kw => "A256KW",
        })
    }
}

/// The wrapped key does not open under this key. Bare on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key does not open under this key")]
pub struct UnwrapFailed;

/// The bytes are no key of the kinds that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a usable key: expected an RSA private key of 2048, 3072 or 4096 bits as PKCS#8, or 32 bytes for oct-256"
)]
pub struct KeyMaterialError;

/// A key encryption key in the clear: lives in the vault only.
pub struct KeyEncryptionKey(Material);

enum Material {
    Rsa(KeyKind, Box<PrivateDecryptingKey>),
    Oct(Secret<32>),
}

impl KeyEncryptionKey {
    /// A new random key.
    pub fn generate(kind: KeyKind) -> Self {
        Self(match kind.rsa_size() {
            Some(size) => Material::Rsa(
                kind,
                Box::new(PrivateDecryptingKey::generate(size).expect("RSA generation succeeds")),
            ),
            None => Material::Oct(Secret::random()),
        })
    }

    /// An RSA private key from PKCS#8 (RFC 5958), DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyMaterialError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| KeyMaterialError)?;
        let kind = match key.key_size_bits() {
            2048 => KeyKind::Rsa2048,
            3072 => KeyKind::Rsa3072,
            4096 => KeyKind::Rsa4096,
            _ => return Err(KeyMaterialError),
        };
        Ok(Self(Material::Rsa(kind, Box::new(key))))
    }

    /// A symmetric key from its 32 bytes.
    pub fn from_oct(bytes: &[u8]) -> Result<Self, KeyMaterialError> {
        let secret = Secret::copy_from(bytes).ok_or(KeyMaterialError)?;
        Ok(Self(Material::Oct(secret)))
    }

    /// Reads what [`KeyEncryptionKey::to_secret_bytes`] wrote.
    pub fn from_secret_bytes(kind: KeyKind, bytes: &SecretBytes) -> Result<Self, KeyMaterialError> {
        let key = match kind {
            KeyKind::Oct256 => Self::from_oct(bytes.expose())?,
            _ => Self::from_pkcs8(bytes.expose())?,
        };
        if key.kind() == kind {
            Ok(key)
        } else {
            Err(KeyMaterialError)
        }
    }

    /// The private key as PKCS#8, or the 32 bytes of a symmetric one: for sealing in the vault.
    pub fn to_secret_bytes(&self) -> SecretBytes {
        SecretBytes::from_vec(match &self.0 {
            Material::Rsa(_, key) => {
                let der: Pkcs8V1Der<'_> = key.as_der().expect("a valid key encodes");
                der.as_ref().to_vec()
            }
            Material::Oct(secret) => secret.expose().to_vec(),
        })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Material::Rsa(kind, _) => *kind,
            Material::Oct(_) => KeyKind::Oct256,
        }
    }

    /// The public key as X.509 SubjectPublicKeyInfo, DER; `None` for a symmetric key.
    pub fn public_der(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Material::Rsa(_, key) => {
                let der: PublicKeyX509Der<'_> =
                    key.public_key().as_der().expect("a valid key encodes");
                Some(der.as_ref().to_vec())
            }
            Material::Oct(_) => None,
        }
    }

    /// SHA-256 of the public key's DER, or a one-way name of a symmetric key (SHA-256 of a wrapped
    /// block of zeros).
    pub fn thumbprint(&self) -> [u8; 32] {
        match self.public_der() {
            Some(der) => sha256(&[&der]),
            None => sha256(&[&self.wrap(&Secret::init_with(|_| ()))]),
        }
    }

    /// Wraps a data encryption key with the algorithm of [`KeyKind::wrap_algorithm`].
    pub fn wrap(&self, dek: &Secret<32>) -> Vec<u8> {
        let mut out = vec![0; self.kind().wrapped_len()];
        let len = match &self.0 {
            Material::Rsa(_, key) => OaepPublicEncryptingKey::new(key.public_key())
                .and_then(|k| {
                    let sealed =
                        k.encrypt(&OAEP_SHA256_MGF1SHA256, dek.expose(), &mut out, None)?;
                    Ok(sealed.len())
                })
                .expect("32 bytes fit into every RSA size offered"),
            Material::Oct(secret) => AesKek::new(&AES_256, secret.expose())
                .and_then(|k| k.wrap(dek.expose(), &mut out).map(|w| w.len()))
                .expect("32 bytes are a valid input of AES key wrap"),
        };
        debug_assert_eq!(len, out.len());
        out
    }

    /// Unwraps a data encryption key.
    ///
    /// # Errors
    /// [`UnwrapFailed`] for each cause alike: a wrong algorithm, length, key or integrity check.
    pub fn unwrap(
        &self,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, UnwrapFailed> {
        if algorithm != self.kind().wrap_algorithm() || wrapped.len() != self.kind().wrapped_len() {
            return Err(UnwrapFailed);
        }
        // Both libraries want an output buffer larger than the key; it is wiped on drop.
        let mut out = zeroize::Zeroizing::new([0; 512]);
        let plain = match &self.0 {
            Material::Rsa(_, key) => OaepPrivateDecryptingKey::new((**key).clone()).and_then(|k| {
                Ok(&*k.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut out[..], None)?)
            }),
            Material::Oct(secret) => AesKek::new(&AES_256, secret.expose())
                .and_then(|k| Ok(&*k.unwrap(wrapped, &mut out[..])?)),
        };
        plain.ok().and_then(Secret::copy_from).ok_or(UnwrapFailed)
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEncryptionKey({}, redacted)", self.kind())
    }
}
