use std::fmt;
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PrivateDecryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};

use super::{
    Curve, EncryptionAlgorithm, KeyFamily, KeyKind, KeyUseError, PublicKey, Secret, SecretBytes,
    WrapAlgorithm, sha256,
};

/// The wrapped key does not open under this key. Bare on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key does not open under this key")]
pub struct UnwrapFailed;

/// The bytes are no key of the kinds that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a usable key: expected an RSA private key of 2048, 3072 or 4096 bits, an elliptic curve private key on P-256, P-384, P-521 or secp256k1, or 16, 24 or 32 bytes of a symmetric one"
)]
pub struct KeyMaterialError;

/// A key in the clear: lives in the vault only. RSA and symmetric ones wrap and encrypt, RSA and
/// elliptic curve ones sign.
pub struct KeyEncryptionKey(Material);

enum Material {
    Rsa {
        kind: KeyKind,
        decrypting: Box<PrivateDecryptingKey>,
        /// The same key as the library wants it for signatures; parsed when it first signs.
        signing: OnceLock<Box<RsaKeyPair>>,
    },
    Ec(Curve, Box<EcdsaKeyPair>),
    Oct(KeyKind, SecretBytes),
}

impl KeyEncryptionKey {
    /// A new random key.
    pub fn generate(kind: KeyKind) -> Self {
        match kind.family() {
            KeyFamily::Rsa => {
                let size = match kind {
                    KeyKind::Rsa2048 => KeySize::Rsa2048,
                    KeyKind::Rsa3072 => KeySize::Rsa3072,
                    _ => KeySize::Rsa4096,
                };
                let key = PrivateDecryptingKey::generate(size).expect("RSA generation succeeds");
                Self::from_rsa(kind, key)
            }
            KeyFamily::Ec(curve) => {
                let key = EcdsaKeyPair::generate(signing_algorithm(curve));
                Self::from_ec(curve, key.expect("EC generation succeeds"))
            }
            KeyFamily::Oct => Self(Material::Oct(kind, SecretBytes::random(kind.bits() / 8))),
        }
    }

    /// An RSA or elliptic curve private key from PKCS#8 (RFC 5958), DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyMaterialError> {
        if let Ok(key) = PrivateDecryptingKey::from_pkcs8(der) {
            let kind = KeyKind::rsa(key.key_size_bits()).ok_or(KeyMaterialError)?;
            return Ok(Self::from_rsa(kind, key));
        }
        let curves = [Curve::P256, Curve::P384, Curve::P521, Curve::P256K];
        let parsed = curves.into_iter().find_map(|curve| {
            let key = EcdsaKeyPair::from_pkcs8(signing_algorithm(curve), der).ok()?;
            Some(Self::from_ec(curve, key))
        });
        parsed.ok_or(KeyMaterialError)
    }

    /// A symmetric key from its 16, 24 or 32 bytes.
    pub fn from_oct(bytes: &[u8]) -> Result<Self, KeyMaterialError> {
        let kind = KeyKind::oct(8 * bytes.len()).ok_or(KeyMaterialError)?;
        let secret = SecretBytes::from_vec(bytes.to_vec());
        Ok(Self(Material::Oct(kind, secret)))
    }

    fn from_rsa(kind: KeyKind, key: PrivateDecryptingKey) -> Self {
        Self(Material::Rsa {
            kind,
            decrypting: Box::new(key),
            signing: OnceLock::new(),
        })
    }

    pub(super) fn from_ec(curve: Curve, key: EcdsaKeyPair) -> Self {
        Self(Material::Ec(curve, Box::new(key)))
    }

    /// Reads what [`KeyEncryptionKey::to_secret_bytes`] wrote.
    pub fn from_secret_bytes(kind: KeyKind, bytes: &SecretBytes) -> Result<Self, KeyMaterialError> {
        let key = match kind.family() {
            KeyFamily::Oct => Self::from_oct(bytes.expose())?,
            KeyFamily::Rsa | KeyFamily::Ec(_) => Self::from_pkcs8(bytes.expose())?,
        };
        if key.kind() == kind {
            Ok(key)
        } else {
            Err(KeyMaterialError)
        }
    }

    /// The private key as PKCS#8, or the bytes of a symmetric one: for sealing in the vault.
    pub fn to_secret_bytes(&self) -> SecretBytes {
        SecretBytes::from_vec(match &self.0 {
            Material::Rsa { decrypting, .. } => {
                let der: Pkcs8V1Der<'_> = decrypting.as_der().expect("a valid key encodes");
                der.as_ref().to_vec()
            }
            Material::Ec(_, key) => {
                let der = key.to_pkcs8v1().expect("a valid key encodes");
                der.as_ref().to_vec()
            }
            Material::Oct(_, secret) => secret.expose().to_vec(),
        })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Material::Rsa { kind, .. } | Material::Oct(kind, _) => *kind,
            Material::Ec(curve, _) => curve.kind(),
        }
    }

    /// The public key; `None` for a symmetric key.
    pub fn public_key(&self) -> Option<PublicKey> {
        let der: PublicKeyX509Der<'_> = match &self.0 {
            Material::Rsa { decrypting, .. } => decrypting.public_key().as_der(),
            Material::Ec(_, key) => key.public_key().as_der(),
            Material::Oct(..) => return None,
        }
        .expect("a valid key encodes");
        Some(PublicKey::from_der(der.as_ref().to_vec()))
    }

    /// SHA-256 of the public key's DER, or a one-way name of a symmetric key (SHA-256 of a wrapped
    /// block of zeros).
    pub fn thumbprint(&self) -> [u8; 32] {
        match self.public_key() {
            Some(key) => sha256(&[key.der()]),
            None => sha256(&[&self.aes_wrap(&[0; 32])]),
        }
    }

    /// Wraps a data encryption key with the algorithm of [`KeyKind::wrap_algorithm`].
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`] when a key of this kind wraps none.
    pub fn wrap(&self, dek: &Secret<32>) -> Result<Vec<u8>, KeyUseError> {
        let algorithm = self.kind().wrap_algorithm();
        let algorithm = algorithm.map_or(EncryptionAlgorithm::A256Kw, WrapAlgorithm::general);
        self.wrap_bytes(algorithm, dek.expose())
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
        let kind = self.kind();
        if Some(algorithm) != kind.wrap_algorithm() || Some(wrapped.len()) != kind.wrapped_len() {
            return Err(UnwrapFailed);
        }
        let plain = self.unwrap_bytes(algorithm.general(), wrapped);
        let plain = plain.map_err(|_| UnwrapFailed)?;
        Secret::copy_from(plain.expose()).ok_or(UnwrapFailed)
    }

    pub(super) fn rsa(&self) -> Option<&PrivateDecryptingKey> {
        match &self.0 {
            Material::Rsa { decrypting, .. } => Some(decrypting),
            _ => None,
        }
    }

    pub(super) fn rsa_signing(&self) -> Option<&RsaKeyPair> {
        match &self.0 {
            Material::Rsa {
                decrypting,
                signing,
                ..
            } => Some(signing.get_or_init(|| {
                let der: Pkcs8V1Der<'_> = decrypting.as_der().expect("a valid key encodes");
                Box::new(RsaKeyPair::from_pkcs8(der.as_ref()).expect("the same key"))
            })),
            _ => None,
        }
    }

    pub(super) fn ec(&self) -> Option<&EcdsaKeyPair> {
        match &self.0 {
            Material::Ec(_, key) => Some(key),
            _ => None,
        }
    }

    /// A symmetric key, whose kind was asked before.
    pub(super) fn oct(&self) -> &SecretBytes {
        match &self.0 {
            Material::Oct(_, secret) => secret,
            _ => unreachable!("the kind was asked before"),
        }
    }
}

/// How a key on `curve` signs: with the curve's own hash, r and s at their full length.
pub(super) fn signing_algorithm(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        Curve::P256K => &ECDSA_P256K1_SHA256_FIXED_SIGNING,
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyEncryptionKey({}, redacted)", self.kind())
    }
}
