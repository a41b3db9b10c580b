//! AES with a symmetric key of a vault, in each of its modes.

use aes_kw::KwAes192;
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use zeroize::Zeroizing;

use super::algorithm::Mode;
use super::stack::scrubbed;
use super::{KeyEncryptionKey, KeyKind, KeyUseError, SecretBytes};

/// Length of an initialization vector of CBC, in bytes: one block.
pub(super) const BLOCK_LEN: usize = 16;
/// What key wrap adds, and the unit of its input, in bytes (RFC 3394).
pub(super) const SEMIBLOCK_LEN: usize = 8;

impl KeyEncryptionKey {
    pub(super) fn gcm_key(&self) -> LessSafeKey {
        let algorithm = match self.kind() {
            KeyKind::Oct128 => &AES_128_GCM,
            KeyKind::Oct192 => &AES_192_GCM,
            _ => &AES_256_GCM,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, self.oct().expose()).expect("the key's length"))
    }

    fn cbc_key(&self) -> UnboundCipherKey {
        let algorithm = match self.kind() {
            KeyKind::Oct128 => &AES_128,
            KeyKind::Oct192 => &AES_192,
            _ => &AES_256,
        };
        UnboundCipherKey::new(algorithm, self.oct().expose()).expect("the key's length")
    }

    pub(super) fn cbc_encrypt(
        &self,
        mode: Mode,
        plaintext: &[u8],
        iv: [u8; BLOCK_LEN],
    ) -> Result<Vec<u8>, KeyUseError> {
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        // Room for the padding: growing would leave a copy of the plaintext behind.
        let mut value = Vec::with_capacity(plaintext.len() + BLOCK_LEN);
        value.extend_from_slice(plaintext);
        if mode != Mode::CbcPad && !value.len().is_multiple_of(BLOCK_LEN) {
            return Err(KeyUseError::Parameter(
                "CBC without padding takes a multiple of 16 bytes; CBCPAD pads",
            ));
        }
        let sealed: Result<_, Unspecified> = scrubbed(|| match mode {
            Mode::CbcPad => PaddedBlockEncryptingKey::cbc_pkcs7(self.cbc_key())
                .and_then(|key| key.less_safe_encrypt(&mut value, context)),
            _ => EncryptingKey::cbc(self.cbc_key())
                .and_then(|key| key.less_safe_encrypt(&mut value, context)),
        });
        sealed.map_err(|_| KeyUseError::Parameter("the value is too long for CBC"))?;
        Ok(value)
    }

    pub(super) fn cbc_decrypt(
        &self,
        mode: Mode,
        ciphertext: &[u8],
        iv: [u8; BLOCK_LEN],
    ) -> Result<SecretBytes, KeyUseError> {
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        let mut value = Zeroizing::new(ciphertext.to_vec());
        let plain: Result<&mut [u8], Unspecified> = scrubbed(|| match mode {
            Mode::CbcPad => PaddedBlockDecryptingKey::cbc_pkcs7(self.cbc_key())
                .and_then(|key| key.decrypt(&mut value, context)),
            _ if !value.len().is_multiple_of(BLOCK_LEN) => Err(Unspecified),
            _ => {
                DecryptingKey::cbc(self.cbc_key()).and_then(|key| key.decrypt(&mut value, context))
            }
        });
        plain
            .map(|plain| SecretBytes::from_vec(plain.to_vec()))
            .map_err(|_| KeyUseError::Failed)
    }

    /// AES key wrap (RFC 3394) of a valid input.
    pub(super) fn aes_wrap(&self, key: &[u8]) -> Vec<u8> {
        let mut out = vec![0; key.len() + SEMIBLOCK_LEN];
        scrubbed(|| match self.kind() {
            KeyKind::Oct192 => self.kw_192().wrap_key(key, &mut out).map(|_| ()).ok(),
            _ => self.aes_kek().wrap(key, &mut out).map(|_| ()).ok(),
        })
        .expect("whole 64-bit words, at least two, are a valid input");
        out
    }

    /// Unwraps what [`KeyEncryptionKey::aes_wrap`] gave.
    pub(super) fn aes_unwrap(&self, wrapped: &[u8]) -> Result<SecretBytes, KeyUseError> {
        let mut out = Zeroizing::new(vec![0; wrapped.len()]);
        let plain = scrubbed(|| match self.kind() {
            KeyKind::Oct192 => {
                // The library wants exactly the room that it needs.
                let len = wrapped.len().checked_sub(SEMIBLOCK_LEN);
                len.filter(|len| *len >= 2 * SEMIBLOCK_LEN)
                    .and_then(|len| self.kw_192().unwrap_key(wrapped, &mut out[..len]).ok())
            }
            _ => (self.aes_kek().unwrap(wrapped, &mut out).ok()).map(|plain| &*plain),
        });
        let plain = plain.ok_or(KeyUseError::Failed)?;
        Ok(SecretBytes::from_vec(plain.to_vec()))
    }

    fn aes_kek(&self) -> AesKek {
        let algorithm = match self.kind() {
            KeyKind::Oct128 => &key_wrap::AES_128,
            _ => &key_wrap::AES_256,
        };
        AesKek::new(algorithm, self.oct().expose()).expect("the key's length")
    }

    fn kw_192(&self) -> KwAes192 {
        use aes_kw::KeyInit;
        KwAes192::new_from_slice(self.oct().expose()).expect("the key has 24 bytes")
    }
}
