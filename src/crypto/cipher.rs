//! Encryption and wrapping of bytes with a key of a vault.

use aws_lc_rs::aead::Aad;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey,
    PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::aes::{BLOCK_LEN, SEMIBLOCK_LEN};
use super::algorithm::Mode;
use super::stack::scrubbed;
use super::{
    EncryptionAlgorithm, KeyEncryptionKey, KeyKind, NONCE_LEN, SecretBytes, TAG_LEN, random_bytes,
};

/// Why a key does not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyUseError {
    /// A key of this kind does not know the algorithm, or not for this use.
    #[error("{algorithm} is not supported by a key of kind {kind} for this operation")]
    Algorithm {
        /// The key's kind.
        kind: KeyKind,
        /// The algorithm's name.
        algorithm: &'static str,
    },
    /// A parameter that this algorithm does not take, or not like this.
    #[error("{0}")]
    Parameter(&'static str),
    /// The value does not open under this key. Tells nothing more.
    #[error("the value does not open under this key")]
    Failed,
}

/// What goes with a value that is encrypted or decrypted. None by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct CipherParameters<'a> {
    /// The initialization vector: 16 bytes for CBC, 12 for GCM, which takes one for decryption
    /// only: a nonce of the caller's choice could come twice.
    pub iv: Option<&'a [u8]>,
    /// Additional authenticated data; GCM only.
    pub aad: Option<&'a [u8]>,
    /// The authentication tag, 16 bytes; decryption with GCM only.
    pub tag: Option<&'a [u8]>,
}

/// What encryption gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    /// The ciphertext: as long as the modulus (RSA), as the plaintext (GCM, CBC), or padded.
    pub value: Vec<u8>,
    /// The initialization vector that was used; GCM and CBC.
    pub iv: Option<Vec<u8>>,
    /// The authentication tag; GCM.
    pub tag: Option<Vec<u8>>,
}

impl Ciphertext {
    fn bare(value: Vec<u8>) -> Self {
        Self {
            value,
            iv: None,
            tag: None,
        }
    }
}

impl KeyEncryptionKey {
    /// Encrypts `plaintext`. GCM draws a random nonce: at most 2^32 encryptions under one key
    /// (NIST SP 800-38D, 8.3). CBC without an initialization vector draws one.
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`], also for key wrap; [`KeyUseError::Parameter`].
    pub fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<Ciphertext, KeyUseError> {
        let mode = self.mode(algorithm)?;
        if with.tag.is_some() {
            return Err(KeyUseError::Parameter("a tag is made, not given"));
        }
        match mode {
            Mode::Rsa15 | Mode::Oaep | Mode::Oaep256 => {
                with.none()?;
                self.rsa_encrypt(mode, plaintext).map(Ciphertext::bare)
            }
            Mode::Gcm if with.iv.is_some() => Err(KeyUseError::Parameter(
                "GCM draws its nonce itself; leave iv out",
            )),
            Mode::Gcm => {
                let nonce = random_bytes::<NONCE_LEN>();
                let mut value = plaintext.to_vec();
                let aad = Aad::from(with.aad.unwrap_or_default());
                let seal = || {
                    self.gcm_key()
                        .seal_in_place_separate_tag((&nonce).into(), aad, &mut value)
                };
                let tag = scrubbed(seal)
                    .map_err(|_| KeyUseError::Parameter("the value is too long for GCM"))?;
                Ok(Ciphertext {
                    value,
                    iv: Some(nonce.to_vec()),
                    tag: Some(tag.as_ref().to_vec()),
                })
            }
            Mode::Cbc | Mode::CbcPad => {
                with.no_aad()?;
                let iv: [u8; BLOCK_LEN] = match with.iv {
                    None => random_bytes(),
                    Some(iv) => iv.try_into().map_err(|_| BAD_IV)?,
                };
                let value = self.cbc_encrypt(mode, plaintext, iv)?;
                Ok(Ciphertext {
                    value,
                    iv: Some(iv.to_vec()),
                    tag: None,
                })
            }
            Mode::Kw => Err(self.unsupported(algorithm)),
        }
    }

    /// Decrypts what [`KeyEncryptionKey::encrypt`] gave.
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`], [`KeyUseError::Parameter`] for a missing or misplaced parameter,
    /// and [`KeyUseError::Failed`] alike for all else.
    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        with: CipherParameters<'_>,
    ) -> Result<SecretBytes, KeyUseError> {
        let mode = self.mode(algorithm)?;
        match mode {
            Mode::Rsa15 | Mode::Oaep | Mode::Oaep256 => {
                with.none()?;
                self.rsa_decrypt(mode, ciphertext)
            }
            Mode::Gcm => {
                let nonce: [u8; NONCE_LEN] = (with.iv.and_then(|iv| iv.try_into().ok())).ok_or(
                    KeyUseError::Parameter("GCM needs the iv of 12 bytes that encryption gave"),
                )?;
                let tag: [u8; TAG_LEN] = (with.tag.and_then(|tag| tag.try_into().ok())).ok_or(
                    KeyUseError::Parameter("GCM needs the tag of 16 bytes that encryption gave"),
                )?;
                let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
                let aad = Aad::from(with.aad.unwrap_or_default());
                let open = || {
                    self.gcm_key().open_separate_gather(
                        (&nonce).into(),
                        aad,
                        ciphertext,
                        &tag,
                        &mut out,
                    )
                };
                scrubbed(open).map_err(|_| KeyUseError::Failed)?;
                Ok(secret(&out))
            }
            Mode::Cbc | Mode::CbcPad => {
                with.no_aad()?;
                if with.tag.is_some() {
                    return Err(KeyUseError::Parameter("CBC takes no tag"));
                }
                let iv = (with.iv.and_then(|iv| iv.try_into().ok())).ok_or(BAD_IV)?;
                self.cbc_decrypt(mode, ciphertext, iv)
            }
            Mode::Kw => Err(self.unsupported(algorithm)),
        }
    }

    /// Wraps a key of any length that the algorithm takes: RSA up to the modulus less its padding,
    /// key wrap whole 64-bit words, at least two.
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`], also for GCM and CBC; [`KeyUseError::Parameter`].
    pub fn wrap_bytes(
        &self,
        algorithm: EncryptionAlgorithm,
        key: &[u8],
    ) -> Result<Vec<u8>, KeyUseError> {
        match self.mode(algorithm)? {
            Mode::Gcm | Mode::Cbc | Mode::CbcPad => Err(self.unsupported(algorithm)),
            Mode::Kw => {
                if key.len() < 2 * SEMIBLOCK_LEN || !key.len().is_multiple_of(SEMIBLOCK_LEN) {
                    return Err(KeyUseError::Parameter(
                        "key wrap takes a multiple of 8 bytes, at least 16",
                    ));
                }
                Ok(self.aes_wrap(key))
            }
            mode => self.rsa_encrypt(mode, key),
        }
    }

    /// Unwraps what [`KeyEncryptionKey::wrap_bytes`] gave.
    ///
    /// # Errors
    /// [`KeyUseError::Algorithm`]; [`KeyUseError::Failed`] alike for all else.
    pub fn unwrap_bytes(
        &self,
        algorithm: EncryptionAlgorithm,
        wrapped: &[u8],
    ) -> Result<SecretBytes, KeyUseError> {
        match self.mode(algorithm)? {
            Mode::Gcm | Mode::Cbc | Mode::CbcPad => Err(self.unsupported(algorithm)),
            Mode::Kw => self.aes_unwrap(wrapped),
            mode => self.rsa_decrypt(mode, wrapped),
        }
    }

    /// The algorithm's mode, when it is one for this kind of key.
    fn mode(&self, algorithm: EncryptionAlgorithm) -> Result<Mode, KeyUseError> {
        let (mode, kind) = algorithm.parts();
        let fits = match kind {
            Some(kind) => self.kind() == kind,
            None => self.rsa().is_some(),
        };
        match fits {
            true => Ok(mode),
            false => Err(self.unsupported(algorithm)),
        }
    }

    fn unsupported(&self, algorithm: EncryptionAlgorithm) -> KeyUseError {
        KeyUseError::Algorithm {
            kind: self.kind(),
            algorithm: algorithm.name(),
        }
    }

    fn rsa_encrypt(&self, mode: Mode, plaintext: &[u8]) -> Result<Vec<u8>, KeyUseError> {
        let key = self.rsa().expect("asked before").public_key();
        let mut out = vec![0; key.key_size_bytes()];
        let sealed = match oaep(mode) {
            None => Pkcs1PublicEncryptingKey::new(key)
                .and_then(|key| key.encrypt(plaintext, &mut out).map(|_| ())),
            Some(hash) => OaepPublicEncryptingKey::new(key)
                .and_then(|key| key.encrypt(hash, plaintext, &mut out, None).map(|_| ())),
        };
        sealed.map_err(|_| KeyUseError::Parameter("the value is too long for this key"))?;
        Ok(out)
    }

    fn rsa_decrypt(&self, mode: Mode, ciphertext: &[u8]) -> Result<SecretBytes, KeyUseError> {
        let key: PrivateDecryptingKey = self.rsa().expect("asked before").clone();
        let mut out = Zeroizing::new(vec![0; key.key_size_bytes()]);
        let plain = scrubbed(|| match oaep(mode) {
            None => Pkcs1PrivateDecryptingKey::new(key)
                .and_then(|key| Ok(&*key.decrypt(ciphertext, &mut out)?)),
            Some(hash) => OaepPrivateDecryptingKey::new(key)
                .and_then(|key| Ok(&*key.decrypt(hash, ciphertext, &mut out, None)?)),
        });
        plain.map(secret).map_err(|Unspecified| KeyUseError::Failed)
    }
}

const BAD_IV: KeyUseError = KeyUseError::Parameter("CBC needs an iv of 16 bytes");

impl CipherParameters<'_> {
    fn none(self) -> Result<(), KeyUseError> {
        match (self.iv, self.tag) {
            (None, None) => self.no_aad(),
            _ => Err(KeyUseError::Parameter("RSA takes no iv and no tag")),
        }
    }

    fn no_aad(self) -> Result<(), KeyUseError> {
        match self.aad {
            None => Ok(()),
            Some(_) => Err(KeyUseError::Parameter("only GCM takes aad")),
        }
    }
}

/// The hash of OAEP; `None` for PKCS #1 v1.5.
fn oaep(mode: Mode) -> Option<&'static OaepAlgorithm> {
    match mode {
        Mode::Oaep => Some(&OAEP_SHA1_MGF1SHA1),
        Mode::Oaep256 => Some(&OAEP_SHA256_MGF1SHA256),
        _ => None,
    }
}

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::from_vec(bytes.to_vec())
}
