//! The libraries by themselves, in the loops that this program's own paths are held against. The one
//! place above `crypto` that names them: a bound must not run through what it bounds.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::crypto::{TAG_LEN, random_bytes};

/// AES-256-GCM by aws-lc-rs: one key, a counted nonce.
pub(super) struct Gcm {
    key: LessSafeKey,
    count: u64,
}

impl Gcm {
    pub(super) fn new() -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &random_bytes::<32>()).expect("32 bytes");
        Self {
            key: LessSafeKey::new(key),
            count: 0,
        }
    }

    fn nonce(&mut self) -> [u8; 12] {
        self.count += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.count.to_le_bytes());
        nonce
    }

    /// Seals `plain` into `sealed`, which is a tag longer.
    pub(super) fn seal(&mut self, aad: &[u8], plain: &[u8], sealed: &mut [u8]) {
        let nonce = self.nonce();
        let (body, tag) = sealed.split_at_mut(plain.len());
        self.key
            .seal_out_of_place_scatter((&nonce).into(), Aad::from(aad), plain, body, &[], tag)
            .expect("lengths fit");
    }

    /// GMAC: authenticates `data` and encrypts nothing. GHASH over all of it, and one block of AES.
    pub(super) fn authenticate(&mut self, data: &[u8]) -> [u8; TAG_LEN] {
        let nonce = self.nonce();
        let tag = self
            .key
            .seal_in_place_separate_tag((&nonce).into(), Aad::from(data), &mut [])
            .expect("lengths fit");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }
}

/// AES-256 in counter mode by aws-lc-rs, without authentication.
pub(super) struct Ctr {
    key: EncryptingKey,
    count: u64,
}

impl Ctr {
    pub(super) fn new() -> Self {
        let key = UnboundCipherKey::new(&AES_256, &random_bytes::<32>()).expect("32 bytes");
        Self {
            key: EncryptingKey::ctr(key).expect("AES has this mode"),
            count: 0,
        }
    }

    pub(super) fn encrypt(&mut self, data: &mut [u8]) {
        self.count += 1;
        let mut start = [0; 16];
        start[..8].copy_from_slice(&self.count.to_be_bytes());
        let start = EncryptionContext::Iv128(FixedLength::from(start));
        self.key.less_safe_encrypt(data, start).expect("any length");
    }
}
