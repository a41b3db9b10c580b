//! Properties of the primitives as atrest calls them, on random input.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use atrest::crypto::{AeadKey, Backend, KeyEncryptionKey, KeyKind, Nonce, Secret, Tag};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// 0 to 70000 bytes; half of the time within two bytes of a border at which an implementation
/// changes its ways: AES blocks, the 8 or 16 of them that are done at once, pages, chunks.
fn length() -> impl Strategy<Value = usize> {
    let borders = vec![
        0, 16, 32, 64, 96, 128, 256, 512, 1024, 4064, 4096, 8192, 16384, 65536,
    ];
    let border = proptest::sample::select(borders);
    prop_oneof![
        (border, 0..5_usize).prop_map(|(at, by)| (at + by).saturating_sub(2)),
        0..70_000_usize,
    ]
}

/// Cheap bytes that are not all alike: shrinking each of 70000 random bytes would take for ever.
fn data() -> impl Strategy<Value = Vec<u8>> {
    (length(), any::<u64>()).prop_map(|(len, seed)| {
        let mut state = seed | 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    })
}

fn secret(bytes: [u8; 32]) -> Secret<32> {
    Secret::copy_from(&bytes).unwrap()
}

fn sealed(key: &AeadKey, nonce: &Nonce, aad: &[u8], plain: &[u8]) -> (Vec<u8>, Tag) {
    let mut out = vec![0xaa; plain.len()];
    let tag = key.seal(nonce, aad, plain, &mut out);
    (out, tag)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_backend_opens_what_the_other_seals(
        key in any::<[u8; 32]>(),
        nonce in any::<Nonce>(),
        aad in vec(any::<u8>(), 0..200),
        plain in data(),
    ) {
        let keys = Backend::ALL.map(|b| AeadKey::with_backend(b, &secret(key)));
        let both = keys.each_ref().map(|k| sealed(k, &nonce, &aad, &plain));
        prop_assert!(both[0] == both[1], "the backends seal differently");
        for key in &keys {
            let mut in_place = plain.clone();
            let tag = key.seal_in_place(&nonce, &aad, &mut in_place);
            prop_assert!((in_place, tag) == both[0], "in place and apart differ");

            let (sealed, tag) = &both[0];
            let mut opened = vec![0xaa; sealed.len()];
            prop_assert_eq!(key.open(&nonce, &aad, sealed, tag, &mut opened), Ok(()));
            prop_assert!(opened == plain);
            let mut in_place = sealed.clone();
            prop_assert_eq!(key.open_in_place(&nonce, &aad, &mut in_place, tag), Ok(()));
            prop_assert!(in_place == plain);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused_and_nothing_leaves(
        key in any::<[u8; 32]>(),
        nonce in any::<Nonce>(),
        aad in vec(any::<u8>(), 0..200),
        plain in data(),
        at in any::<Index>(),
        bit in 0..8_u32,
    ) {
        for backend in Backend::ALL {
            let key = AeadKey::with_backend(backend, &secret(key));
            let (sealed, tag) = sealed(&key, &nonce, &aad, &plain);
            let mut intact = sealed.clone();
            prop_assert_eq!(key.open_in_place(&nonce, &aad, &mut intact, &tag), Ok(()));
            for part in 0..4 {
                let mut parts = [&sealed[..], &tag, &nonce, &aad].map(<[u8]>::to_vec);
                if parts[part].is_empty() {
                    continue;
                }
                let len = parts[part].len();
                parts[part][at.index(len)] ^= 1 << bit;
                let [sealed, tag, nonce, aad] = &parts;
                let tag: &Tag = tag[..].try_into().unwrap();
                let nonce: &Nonce = nonce[..].try_into().unwrap();

                let mut opened = vec![0xaa; sealed.len()];
                prop_assert!(key.open(nonce, aad, sealed, tag, &mut opened).is_err());
                prop_assert!(opened.iter().all(|&b| b == 0), "unauthenticated bytes left");
                let mut in_place = sealed.clone();
                prop_assert!(key.open_in_place(nonce, aad, &mut in_place, tag).is_err());
                prop_assert!(in_place.iter().all(|&b| b == 0), "unauthenticated bytes left");
            }
        }
    }

    #[test]
    fn another_key_is_refused(key in any::<[u8; 32]>(), plain in data(), bit in 0..256_usize) {
        let mut other = key;
        other[bit / 8] ^= 1 << (bit % 8);
        for backend in Backend::ALL {
            let (right, wrong) = (secret(key), secret(other));
            let right = AeadKey::with_backend(backend, &right);
            let wrong = AeadKey::with_backend(backend, &wrong);
            let (mut data, tag) = sealed(&right, &[0; 12], b"", &plain);
            prop_assert!(wrong.open_in_place(&[0; 12], b"", &mut data.clone(), &tag).is_err());
            prop_assert!(right.open_in_place(&[0; 12], b"", &mut data, &tag).is_ok());
        }
    }
}

/// One key of each kind, and one more to be wrong with: RSA keys take long to generate.
static KEKS: LazyLock<[[KeyEncryptionKey; 2]; 4]> = LazyLock::new(|| {
    KeyKind::WRAPPING.map(|kind| [(); 2].map(|()| KeyEncryptionKey::generate(kind)))
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_a_key_wraps_that_key_alone_unwraps(
        dek in any::<[u8; 32]>(),
        at in any::<Index>(),
        bit in 0..8_u32,
    ) {
        let dek = secret(dek);
        for [kek, other] in KEKS.iter() {
            let (kind, algorithm) = (kek.kind(), kek.kind().wrap_algorithm().unwrap());
            let wrapped = kek.wrap(&dek).unwrap();
            prop_assert_eq!(wrapped.len(), kind.wrapped_len().unwrap());
            prop_assert!(kek.unwrap(algorithm, &wrapped).is_ok_and(|back| back.ct_eq(&dek)));
            prop_assert!(other.unwrap(algorithm, &wrapped).is_err(), "{kind}: another key");

            let mut altered = wrapped.clone();
            altered[at.index(wrapped.len())] ^= 1 << bit;
            prop_assert!(kek.unwrap(algorithm, &altered).is_err(), "{kind}: one bit");
            let cut = at.index(wrapped.len());
            prop_assert!(kek.unwrap(algorithm, &wrapped[..cut]).is_err(), "{kind}: cut");
            prop_assert!(kek.unwrap(algorithm, &[&wrapped[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn no_bytes_make_unwrap_panic(bytes in vec(any::<u8>(), 0..600)) {
        for [kek, _] in KEKS.iter() {
            prop_assert!(kek.unwrap(kek.kind().wrap_algorithm().unwrap(), &bytes).is_err());
        }
        prop_assert!(KeyEncryptionKey::from_pkcs8(&bytes).is_err());
    }

    #[test]
    fn symmetric_keys_have_128_192_or_256_bits(bytes in vec(any::<u8>(), 0..40)) {
        let is_one = [16, 24, 32].contains(&bytes.len());
        prop_assert_eq!(KeyEncryptionKey::from_oct(&bytes).is_ok(), is_one);
    }
}

#[test]
fn a_key_that_was_stored_and_read_back_is_the_same_key() {
    let dek = Secret::random();
    for [kek, other] in KEKS.iter() {
        let stored = kek.to_secret_bytes();
        let back = KeyEncryptionKey::from_secret_bytes(kek.kind(), &stored).unwrap();
        assert_eq!(back.thumbprint(), kek.thumbprint());
        assert_eq!(back.public_key(), kek.public_key());
        assert_ne!(other.thumbprint(), kek.thumbprint());
        let wrapped = kek.wrap(&dek).unwrap();
        assert!(
            back.unwrap(kek.kind().wrap_algorithm().unwrap(), &wrapped)
                .unwrap()
                .ct_eq(&dek)
        );
        for kind in KeyKind::ALL.into_iter().filter(|k| *k != kek.kind()) {
            assert!(
                KeyEncryptionKey::from_secret_bytes(kind, &stored).is_err(),
                "{kind}"
            );
        }
    }
}

#[test]
fn an_algorithm_of_another_kind_of_key_is_refused() {
    use atrest::crypto::WrapAlgorithm::{A256Kw, RsaOaep256};

    for [kek, _] in KEKS.iter() {
        let wrapped = kek.wrap(&Secret::random()).unwrap();
        let right = kek.kind().wrap_algorithm().unwrap();
        let wrong = if right == A256Kw { RsaOaep256 } else { A256Kw };
        assert!(kek.unwrap(right, &wrapped).is_ok());
        assert!(kek.unwrap(wrong, &wrapped).is_err());
    }
}
