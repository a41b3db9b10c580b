use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};

use crate::base::{Part, within};

use super::aead::zeroed_unless;
use super::{Nonce, Secret, Tag, TagMismatch};

/// A key for ChaCha20-Poly1305 (RFC 8439), ready: the second algorithm of what is sealed twice. It has nothing in
/// common with AES-256-GCM, neither the cipher nor the MAC.
pub struct ChaChaKey(LessSafeKey);

impl ChaChaKey {
    /// Takes `key` over.
    pub fn new(key: &Secret<32>) -> Self {
        within(Part::Derive, || {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose());
            Self(LessSafeKey::new(key.expect("the key has 32 bytes")))
        })
    }

    /// Seals `data` in place and returns the tag.
    ///
    /// # Panics
    /// When `data` is longer than the algorithm allows (256 GiB).
    pub fn seal_in_place(&self, nonce: &Nonce, aad: &[u8], data: &mut [u8]) -> Tag {
        within(Part::Aead, || {
            let tag = (self.0)
                .seal_in_place_separate_tag(nonce.into(), Aad::from(aad), data)
                .expect("length fits");
            tag.as_ref().try_into().expect("a tag has 16 bytes")
        })
    }

    /// Opens `data` in place. On a mismatch it is zeroed.
    pub fn open_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        data: &mut [u8],
        tag: &Tag,
    ) -> Result<(), TagMismatch> {
        let opened = within(Part::Aead, || {
            self.0
                .open_in_place_separate_tag(nonce.into(), Aad::from(aad), tag, data)
                .is_ok()
        });
        zeroed_unless(opened, data)
    }
}
