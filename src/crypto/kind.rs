use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::EncryptionAlgorithm;

/// What kind of key.
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
    /// A symmetric key of 128 bits.
    #[serde(rename = "oct-128")]
    Oct128,
    /// A symmetric key of 192 bits.
    #[serde(rename = "oct-192")]
    Oct192,
    /// A symmetric key of 256 bits.
    #[serde(rename = "oct-256")]
    Oct256,
    /// An elliptic curve key on P-256 (FIPS 186-5); about 128 bits.
    #[serde(rename = "ec-p256")]
    EcP256,
    /// On P-384; about 192 bits.
    #[serde(rename = "ec-p384")]
    EcP384,
    /// On P-521; about 256 bits.
    #[serde(rename = "ec-p521")]
    EcP521,
    /// On secp256k1 (SEC 2); about 128 bits.
    #[serde(rename = "ec-p256k")]
    EcP256K,
}

/// An elliptic curve. The names are those of Azure Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Curve {
    /// NIST P-256.
    #[serde(rename = "P-256")]
    P256,
    /// NIST P-384.
    #[serde(rename = "P-384")]
    P384,
    /// NIST P-521.
    #[serde(rename = "P-521")]
    P521,
    /// secp256k1.
    #[serde(rename = "P-256K")]
    P256K,
}

/// A family of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFamily {
    /// RSA: encrypts, wraps and signs.
    Rsa,
    /// Elliptic curve: signs.
    Ec(Curve),
    /// Symmetric: encrypts and wraps.
    Oct,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::Oct128,
        Self::Oct192,
        Self::Oct256,
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::EcP256K,
    ];

    /// Those that wrap a 256-bit data encryption key: a shorter symmetric key would be its weakest
    /// link, and an elliptic curve key does not wrap.
    pub const WRAPPING: [Self; 4] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Oct256];

    /// The family that it belongs to.
    pub fn family(self) -> KeyFamily {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => KeyFamily::Rsa,
            Self::Oct128 | Self::Oct192 | Self::Oct256 => KeyFamily::Oct,
            Self::EcP256 => KeyFamily::Ec(Curve::P256),
            Self::EcP384 => KeyFamily::Ec(Curve::P384),
            Self::EcP521 => KeyFamily::Ec(Curve::P521),
            Self::EcP256K => KeyFamily::Ec(Curve::P256K),
        }
    }

    /// RSA with a modulus of so many bits.
    pub fn rsa(bits: usize) -> Option<Self> {
        Self::of_size(bits, |kind| kind.family() == KeyFamily::Rsa)
    }

    /// Symmetric with so many bits.
    pub fn oct(bits: usize) -> Option<Self> {
        Self::of_size(bits, |kind| kind.family() == KeyFamily::Oct)
    }

    fn of_size(bits: usize, within: impl Fn(&Self) -> bool) -> Option<Self> {
        let mut kinds = Self::ALL.into_iter().filter(within);
        kinds.find(|kind| kind.bits() == bits)
    }

    /// Its size in bits: of the modulus, of the curve's field, or of the symmetric key.
    pub fn bits(self) -> usize {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::Oct128 => 128,
            Self::Oct192 => 192,
            Self::Oct256 | Self::EcP256 | Self::EcP256K => 256,
            Self::EcP384 => 384,
            Self::EcP521 => 521,
        }
    }

    /// The algorithm that a key of this kind wraps data encryption keys with; `None` when it does
    /// not ([`KeyKind::WRAPPING`]).
    pub fn wrap_algorithm(self) -> Option<WrapAlgorithm> {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Some(WrapAlgorithm::RsaOaep256),
            Self::Oct256 => Some(WrapAlgorithm::A256Kw),
            _ => None,
        }
    }

    /// Length of a wrapped data encryption key (256 bits), in bytes; `None` when a key of this
    /// kind wraps none.
    pub fn wrapped_len(self) -> Option<usize> {
        Some(match self.wrap_algorithm()? {
            WrapAlgorithm::RsaOaep256 => self.bits() / 8,
            WrapAlgorithm::A256Kw => 40,
        })
    }

    /// Security strength in bits, after NIST SP 800-57 part 1 revision 5, table 2.
    pub fn strength_bits(self) -> u32 {
        match self {
            Self::Rsa2048 => 112,
            Self::Rsa3072 | Self::Rsa4096 | Self::Oct128 | Self::EcP256 | Self::EcP256K => 128,
            Self::Oct192 | Self::EcP384 => 192,
            Self::Oct256 | Self::EcP521 => 256,
        }
    }
}

impl Curve {
    /// The kind of a key on this curve.
    pub fn kind(self) -> KeyKind {
        match self {
            Self::P256 => KeyKind::EcP256,
            Self::P384 => KeyKind::EcP384,
            Self::P521 => KeyKind::EcP521,
            Self::P256K => KeyKind::EcP256K,
        }
    }

    /// Length of a coordinate, in bytes.
    pub fn coordinate_len(self) -> usize {
        self.kind().bits().div_ceil(8)
    }
}

/// Texts for the variants of an enumeration, both ways; `$what` names it in errors.
macro_rules! names {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            const NAMES: &[(Self, &'static str)] = &[$((Self::$variant, $name)),+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                let named = Self::NAMES.iter().find(|(_, name)| *name == s);
                named.map(|(variant, _)| *variant).ok_or_else(|| {
                    let all: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
                    format!("{s:?} is no {}: expected one of {}", $what, all.join(", "))
                })
            }
        }
    };
}
pub(super) use names;

names!(
    KeyKind,
    "kind of key",
    Rsa2048 = "rsa-2048",
    Rsa3072 = "rsa-3072",
    Rsa4096 = "rsa-4096",
    Oct128 = "oct-128",
    Oct192 = "oct-192",
    Oct256 = "oct-256",
    EcP256 = "ec-p256",
    EcP384 = "ec-p384",
    EcP521 = "ec-p521",
    EcP256K = "ec-p256k",
);

names!(
    Curve,
    "curve",
    P256 = "P-256",
    P384 = "P-384",
    P521 = "P-521",
    P256K = "P-256K",
);

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

impl WrapAlgorithm {
    /// The same among the algorithms for keys of any length.
    pub fn general(self) -> EncryptionAlgorithm {
        match self {
            Self::RsaOaep256 => EncryptionAlgorithm::RsaOaep256,
            Self::A256Kw => EncryptionAlgorithm::A256Kw,
        }
    }
}

impl fmt::Display for WrapAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.general().name())
    }
}
