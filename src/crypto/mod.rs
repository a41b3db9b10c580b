//! Authenticated encryption, key wrap, key derivation and secrets. No primitive is written here:
//! AES-256-GCM comes from `aws-lc-rs` or `aes-gcm` ([`Backend`]), RSA-OAEP-256 and AES key wrap
//! from `aws-lc-rs`, HKDF and hashes from RustCrypto, randomness from the operating system.

mod aead;
mod kdf;
mod kek;
mod passphrase;
mod random;
mod secret;

pub use aead::{AeadKey, Backend, NONCE_LEN, Nonce, TAG_LEN, Tag, TagMismatch};
pub use aead::{backend, select_backend};
pub use kdf::{Label, derive, hmac_sha256, hmac_verify, sha256};
pub use kek::{KeyEncryptionKey, KeyKind, KeyMaterialError, UnwrapFailed, WrapAlgorithm};
pub use passphrase::{PassphraseParams, stretch};
pub use random::{random_bytes, random_id};
pub use secret::{Secret, SecretBytes};
