use std::fmt;
use std::str::FromStr;

use super::kind::names;
use super::{Curve, KeyKind};

/// How a key encrypts, or wraps a key of any length. The names are those of RFC 7518 and Azure
/// Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionAlgorithm {
    /// RSAES-PKCS1-v1_5 (RFC 8017). Whoever may decrypt with it and sees failures can use the key
    /// to decrypt other values (Bleichenbacher): for old data only.
    Rsa15,
    /// RSAES-OAEP with SHA-1 and MGF1-SHA-1 (RFC 8017).
    RsaOaep,
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256.
    RsaOaep256,
    /// AES-128-GCM (NIST SP 800-38D).
    A128Gcm,
    /// AES-192-GCM.
    A192Gcm,
    /// AES-256-GCM.
    A256Gcm,
    /// AES-128-CBC (NIST SP 800-38A) without padding. Not authenticated.
    A128Cbc,
    /// AES-192-CBC without padding. Not authenticated.
    A192Cbc,
    /// AES-256-CBC without padding. Not authenticated.
    A256Cbc,
    /// AES-128-CBC with PKCS #7 padding. Not authenticated: failures are a padding oracle.
    A128CbcPad,
    /// AES-192-CBC with PKCS #7 padding. Not authenticated.
    A192CbcPad,
    /// AES-256-CBC with PKCS #7 padding. Not authenticated.
    A256CbcPad,
    /// AES key wrap with a 128-bit key (RFC 3394).
    A128Kw,
    /// AES key wrap with a 192-bit key.
    A192Kw,
    /// AES key wrap with a 256-bit key.
    A256Kw,
}

/// What an [`EncryptionAlgorithm`] is built from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Rsa15,
    Oaep,
    Oaep256,
    Gcm,
    Cbc,
    CbcPad,
    Kw,
}

names!(
    EncryptionAlgorithm,
    "encryption algorithm",
    Rsa15 = "RSA1_5",
    RsaOaep = "RSA-OAEP",
    RsaOaep256 = "RSA-OAEP-256",
    A128Gcm = "A128GCM",
    A192Gcm = "A192GCM",
    A256Gcm = "A256GCM",
    A128Cbc = "A128CBC",
    A192Cbc = "A192CBC",
    A256Cbc = "A256CBC",
    A128CbcPad = "A128CBCPAD",
    A192CbcPad = "A192CBCPAD",
    A256CbcPad = "A256CBCPAD",
    A128Kw = "A128KW",
    A192Kw = "A192KW",
    A256Kw = "A256KW",
);

impl EncryptionAlgorithm {
    /// Its mode, and the kind of key that it needs (`None`: RSA of any size).
    pub(super) fn parts(self) -> (Mode, Option<KeyKind>) {
        use KeyKind::{Oct128, Oct192, Oct256};
        match self {
            Self::Rsa15 => (Mode::Rsa15, None),
            Self::RsaOaep => (Mode::Oaep, None),
            Self::RsaOaep256 => (Mode::Oaep256, None),
            Self::A128Gcm => (Mode::Gcm, Some(Oct128)),
            Self::A192Gcm => (Mode::Gcm, Some(Oct192)),
            Self::A256Gcm => (Mode::Gcm, Some(Oct256)),
            Self::A128Cbc => (Mode::Cbc, Some(Oct128)),
            Self::A192Cbc => (Mode::Cbc, Some(Oct192)),
            Self::A256Cbc => (Mode::Cbc, Some(Oct256)),
            Self::A128CbcPad => (Mode::CbcPad, Some(Oct128)),
            Self::A192CbcPad => (Mode::CbcPad, Some(Oct192)),
            Self::A256CbcPad => (Mode::CbcPad, Some(Oct256)),
            Self::A128Kw => (Mode::Kw, Some(Oct128)),
            Self::A192Kw => (Mode::Kw, Some(Oct192)),
            Self::A256Kw => (Mode::Kw, Some(Oct256)),
        }
    }
}

/// How a key signs a digest. The names are those of RFC 7518, RFC 8812 and Azure Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and a salt as long as the digest (RFC 8017).
    Ps256,
    /// With SHA-384.
    Ps384,
    /// With SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5).
    Es256,
    /// On P-384 with SHA-384.
    Es384,
    /// On P-521 with SHA-512.
    Es512,
    /// On secp256k1 with SHA-256 (RFC 8812).
    Es256K,
}

names!(
    SignatureAlgorithm,
    "signature algorithm",
    Rs256 = "RS256",
    Rs384 = "RS384",
    Rs512 = "RS512",
    Ps256 = "PS256",
    Ps384 = "PS384",
    Ps512 = "PS512",
    Es256 = "ES256",
    Es384 = "ES384",
    Es512 = "ES512",
    Es256K = "ES256K",
);

impl SignatureAlgorithm {
    /// The length of the digest that it signs, in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es256K => 32,
            Self::Rs384 | Self::Ps384 | Self::Es384 => 48,
            Self::Rs512 | Self::Ps512 | Self::Es512 => 64,
        }
    }

    /// The curve that it needs; `None` for RSA.
    pub fn curve(self) -> Option<Curve> {
        match self {
            Self::Es256 => Some(Curve::P256),
            Self::Es384 => Some(Curve::P384),
            Self::Es512 => Some(Curve::P521),
            Self::Es256K => Some(Curve::P256K),
            _ => None,
        }
    }
}
