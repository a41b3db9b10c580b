//! Authenticated encryption, key wrap, key derivation and secrets. No primitive is written here:
//! AES-256-GCM of what the program seals comes from `aws-lc-rs` or `aes-gcm` ([`Backend`]), ChaCha20-Poly1305 and all that
//! a vault's keys do from `aws-lc-rs` (AES-192 key wrap from `aes-kw`), HKDF and hashes from RustCrypto,
//! randomness from the operating system.

mod aead;
mod aes;
mod algorithm;
mod chacha;
mod cipher;
mod jwk;
mod kdf;
mod kek;
mod kind;
mod passphrase;
mod random;
mod secret;
mod signing;
mod stack;

pub use aead::{AeadKey, Backend, NONCE_LEN, Nonce, TAG_LEN, Tag, TagMismatch};
pub use aead::{backend, select_backend};
pub use algorithm::{EncryptionAlgorithm, SignatureAlgorithm};
pub use chacha::ChaChaKey;
pub use cipher::{CipherParameters, Ciphertext, KeyUseError};
pub use jwk::{BadPublicKey, PrivateJwk, PublicJwk, PublicKey};
pub use kdf::{
    Label, derive, derive_from_both, hmac_sha256, hmac_verify, hmac_verify_bytes, sha256,
};
pub use kek::{KeyEncryptionKey, KeyMaterialError, UnwrapFailed};
pub use kind::{Curve, KeyFamily, KeyKind, WrapAlgorithm};
pub use passphrase::{PassphraseParams, stretch};
pub use random::{random_bytes, random_id};
pub use secret::{Secret, SecretBytes};
