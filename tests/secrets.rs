//! What may never happen to key bytes: printed, copied, serialized, compared in variable time.
//!
//! That a secret is wiped when it is dropped is not tested: the test would have to read memory that
//! was given back, which safe Rust cannot do. The `Drop` of each type calls `zeroize`.

#![allow(clippy::unwrap_used)]

use std::fmt::{Display, LowerHex, UpperHex};

use atrest::crypto::{
    AeadKey, Backend, KeyEncryptionKey, KeyKind, PrivateJwk, Secret, SecretBytes,
};
use atrest::envelope::Lease;
use atrest::vault::{RootKeySource, SecretValue, StoredSecret, StoredVersion};
use serde::{Serialize, de::DeserializeOwned};
use static_assertions::assert_not_impl_any;

macro_rules! assert_kept {
    ($($secret:ty),*) => {$(
        assert_not_impl_any!($secret: Clone, Copy, Display, LowerHex, UpperHex);
        assert_not_impl_any!($secret: Serialize, DeserializeOwned);
        // Each would be a second door to the bytes, or a comparison in variable time.
        assert_not_impl_any!($secret: AsRef<[u8]>, std::ops::Deref, std::borrow::Borrow<[u8]>);
        assert_not_impl_any!($secret: PartialEq, std::hash::Hash, Default);
    )*};
}

assert_kept!(
    Secret<16>,
    Secret<32>,
    SecretBytes,
    AeadKey,
    KeyEncryptionKey,
    Lease
);
assert_not_impl_any!(RootKeySource: Clone, Copy, Display, Serialize, DeserializeOwned, PartialEq);
// No `Debug` at all: there is nothing to say.
assert_not_impl_any!(RootKeySource: std::fmt::Debug);
assert_not_impl_any!(Lease: std::fmt::Debug);
assert_not_impl_any!(PrivateJwk<'static>: std::fmt::Debug, Serialize, DeserializeOwned, PartialEq);
assert_not_impl_any!(SecretValue: Clone, Display, Serialize, DeserializeOwned, PartialEq);
assert_not_impl_any!(StoredSecret: Clone, std::fmt::Debug, Serialize, DeserializeOwned, PartialEq);
assert_not_impl_any!(StoredVersion: Clone, std::fmt::Debug, Serialize, DeserializeOwned, PartialEq);

/// Both forms of `Debug`, also inside of something else.
fn printed(secret: &dyn std::fmt::Debug) -> [String; 3] {
    [
        format!("{secret:?}"),
        format!("{secret:#?}"),
        format!("{:?}", Some(secret)),
    ]
}

#[test]
fn debug_never_prints_a_key() {
    let key = [0xde, 0xad, 0xbe, 0xef].repeat(8);
    let secret = Secret::<32>::copy_from(&key).unwrap();
    let bytes = SecretBytes::from_vec(b"hunter2".to_vec());
    assert_eq!(printed(&secret)[0], "Secret<32>(redacted)");
    assert_eq!(printed(&bytes)[0], "SecretBytes(redacted)");
    assert_eq!(bytes.expose(), b"hunter2");

    let kek = KeyEncryptionKey::from_oct(&key).unwrap();
    assert_eq!(printed(&kek)[0], "KeyEncryptionKey(oct-256, redacted)");
    for backend in Backend::ALL {
        let aead = AeadKey::with_backend(backend, &secret);
        assert_eq!(printed(&aead)[0], "AeadKey(redacted)");
    }
    // The same bytes as hexadecimal, as a list of numbers, and a passphrase as it is.
    let all = [printed(&secret), printed(&bytes), printed(&kek)]
        .concat()
        .join(" ")
        .to_lowercase();
    for telling in ["dead", "222", "173", "hunter"] {
        assert!(!all.contains(telling), "{all}");
        assert!(format!("{key:02x?} {key:?} deadbeef hunter2").contains(telling));
    }
}

#[test]
fn debug_never_prints_an_rsa_key() {
    let kek = KeyEncryptionKey::generate(KeyKind::Rsa2048);
    assert_eq!(format!("{kek:?}"), "KeyEncryptionKey(rsa-2048, redacted)");
    assert_eq!(
        format!("{:?}", kek.to_secret_bytes()),
        "SecretBytes(redacted)"
    );
}

#[test]
fn errors_say_nothing_of_the_key() {
    let secret = SecretBytes::from_vec(b"not a PKCS#8 document: hunter2".to_vec());
    let error = KeyEncryptionKey::from_secret_bytes(KeyKind::Rsa2048, &secret).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter"));
}
