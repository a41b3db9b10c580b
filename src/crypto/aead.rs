use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};

use crate::base::sabotage::{Sabotage, broken};
use crate::base::{Part, within};

use super::Secret;

/// Length of a nonce, in bytes (NIST SP 800-38D, 96 bits).
pub const NONCE_LEN: usize = 12;
/// Length of a tag, in bytes (128 bits; shorter ones are not offered).
pub const TAG_LEN: usize = 16;

/// A nonce; unique under its key, which is the caller's whole duty.
pub type Nonce = [u8; NONCE_LEN];
/// An authentication tag.
pub type Tag = [u8; TAG_LEN];

/// The tag does not fit. Bare on purpose: a failed tag tells nothing about why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct TagMismatch;

/// Which library computes AES-256-GCM. Both give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `aws-lc-rs`: assembly for AES-NI, VAES and Arm; the default.
    AwsLc,
    /// `aes-gcm`: pure Rust.
    AesGcm,
}

impl Backend {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::AwsLc, Self::AesGcm];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsLc => "aws-lc-rs",
            Self::AesGcm => "aes-gcm",
        })
    }
}

impl FromStr for Backend {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|b| b.to_string() == s)
            .ok_or_else(|| format!("{s:?} is no backend: expected aws-lc-rs or aes-gcm"))
    }
}

static SELECTED: OnceLock<Backend> = OnceLock::new();

/// Chooses the backend for the whole process. The first choice or use stands.
pub fn select_backend(backend: Backend) {
    let _ = SELECTED.set(backend);
}

/// The backend in use.
pub fn backend() -> Backend {
    *SELECTED.get_or_init(|| Backend::AwsLc)
}

/// A key for AES-256-GCM, expanded and ready.
pub struct AeadKey(Inner);

enum Inner {
    AwsLc(LessSafeKey),
    AesGcm(Box<aes_gcm::Aes256Gcm>),
}

impl AeadKey {
    /// Expands `key` for the selected backend.
    pub fn new(key: &Secret<32>) -> Self {
        Self::with_backend(backend(), key)
    }

    /// Expands `key` for `backend`.
    pub fn with_backend(backend: Backend, key: &Secret<32>) -> Self {
        within(Part::Derive, || {
            Self(match backend {
                Backend::AwsLc => Inner::AwsLc(LessSafeKey::new(
                    UnboundKey::new(&AES_256_GCM, key.expose()).expect("the key has 32 bytes"),
                )),
                Backend::AesGcm => {
                    Inner::AesGcm(Box::new(aes_gcm::Aes256Gcm::new(key.expose().into())))
                }
            })
        })
    }

    /// Seals `plain` into `sealed`, of the same length, and returns the tag.
    ///
    /// # Panics
    /// When the lengths differ, or `plain` is longer than GCM allows (64 GiB).
    pub fn seal(&self, nonce: &Nonce, aad: &[u8], plain: &[u8], sealed: &mut [u8]) -> Tag {
        assert_eq!(plain.len(), sealed.len());
        if broken(Sabotage::IdentityCipher) {
            sealed.copy_from_slice(plain);
            return [0; TAG_LEN];
        }
        within(Part::Aead, || match &self.0 {
            Inner::AwsLc(key) => {
                let mut tag = [0; TAG_LEN];
                key.seal_out_of_place_scatter(
                    nonce.into(),
                    Aad::from(aad),
                    plain,
                    sealed,
                    &[],
                    &mut tag,
                )
                .expect("lengths fit");
                tag
            }
            Inner::AesGcm(key) => {
                let buffer = InOutBuf::new(plain, sealed).expect("lengths fit");
                key.encrypt_inout_detached(nonce.into(), aad, buffer)
                    .expect("lengths fit")
                    .into()
            }
        })
    }

    /// Seals `data` in place and returns the tag.
    ///
    /// # Panics
    /// When `data` is longer than GCM allows (64 GiB).
    pub fn seal_in_place(&self, nonce: &Nonce, aad: &[u8], data: &mut [u8]) -> Tag {
        if broken(Sabotage::IdentityCipher) {
            return [0; TAG_LEN];
        }
        within(Part::Aead, || match &self.0 {
            Inner::AwsLc(key) => {
                let tag = key
                    .seal_in_place_separate_tag(nonce.into(), Aad::from(aad), data)
                    .expect("length fits");
                tag.as_ref().try_into().expect("a tag has 16 bytes")
            }
            Inner::AesGcm(key) => key
                .encrypt_inout_detached(nonce.into(), aad, data.into())
                .expect("length fits")
                .into(),
        })
    }

    /// Opens `sealed` into `plain`, of the same length. On a mismatch `plain` is zeroed: no byte
    /// that was not authenticated leaves.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        sealed: &[u8],
        tag: &Tag,
        plain: &mut [u8],
    ) -> Result<(), TagMismatch> {
        assert_eq!(plain.len(), sealed.len());
        if broken(Sabotage::IdentityCipher) || broken(Sabotage::TagIgnored) {
            // In counter mode sealing and opening are the same, but for the tag.
            self.seal(nonce, aad, sealed, plain);
            return Ok(());
        }
        let opened = within(Part::Aead, || match &self.0 {
            Inner::AwsLc(key) => key
                .open_separate_gather(nonce.into(), Aad::from(aad), sealed, tag, plain)
                .is_ok(),
            Inner::AesGcm(key) => {
                let buffer = InOutBuf::new(sealed, &mut *plain).expect("lengths fit");
                key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
                    .is_ok()
            }
        });
        zeroed_unless(opened, plain)
    }

    /// Opens `data` in place. On a mismatch it is zeroed.
    pub fn open_in_place(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        data: &mut [u8],
        tag: &Tag,
    ) -> Result<(), TagMismatch> {
        if broken(Sabotage::IdentityCipher) || broken(Sabotage::TagIgnored) {
            self.seal_in_place(nonce, aad, data);
            return Ok(());
        }
        let opened = within(Part::Aead, || match &self.0 {
            Inner::AwsLc(key) => key
                .open_in_place_separate_tag(nonce.into(), Aad::from(aad), tag, data)
                .is_ok(),
            Inner::AesGcm(key) => key
                .decrypt_inout_detached(nonce.into(), aad, (&mut *data).into(), tag.into())
                .is_ok(),
        });
        zeroed_unless(opened, data)
    }
}

/// No byte that was not authenticated leaves.
pub(super) fn zeroed_unless(opened: bool, data: &mut [u8]) -> Result<(), TagMismatch> {
    match opened {
        true => Ok(()),
        false => {
            data.fill(0);
            Err(TagMismatch)
        }
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(redacted)")
    }
}
