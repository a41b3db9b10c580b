//! Envelopes: the golden vectors, and what must not happen when one is sealed or rewrapped.
//! Over 400 lines because the generator of the vectors is beside their reader.
//!
//! The headers of a vector are the resource that the reader opens (`kind`, `resource`), what its
//! vault holds (`key` and, where a downgrade is tried, `older-key`: version, kind, key), and the
//! data encryption key of a success.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use atrest::base::{KeyName, KeyRef, KeyVersion, KeyVersionRef, ResourceId, VaultId};
use atrest::crypto::{KeyEncryptionKey, KeyKind, Secret, SecretBytes, WrapAlgorithm};
use atrest::envelope::{Envelope, EnvelopeError, FormatError, ResourceKind};
use atrest::vault::{KeyWrapper, VaultError, WrappedKey};
use common::{Vector, vectors};

const VAULT: VaultId = VaultId::from_bytes([0x11; 16]);
const RESOURCE: ResourceId = ResourceId::from_bytes([0x33; 16]);
const NAME: &str = "customer-key";

/// Versions of one key, newest first.
struct TestVault(Vec<(KeyVersion, KeyEncryptionKey)>);

impl TestVault {
    fn key() -> KeyRef {
        let name: KeyName = NAME.parse().unwrap();
        KeyRef { vault: VAULT, name }
    }

    fn new(kinds: &[KeyKind]) -> Self {
        let versions = (0x20..).map(|n| KeyVersion::from_bytes([n; 16]));
        let keys = kinds.iter().map(|kind| KeyEncryptionKey::generate(*kind));
        Self(versions.zip(keys).collect())
    }

    fn of(vector: &Vector) -> Self {
        let keys = ["key", "older-key"].into_iter().filter_map(|header| {
            let words: Vec<_> = vector.find(header)?.split(' ').collect();
            let [version, kind, material] = words[..] else {
                panic!("{header}")
            };
            let material = SecretBytes::from_vec(hex::decode(material).unwrap());
            let key = KeyEncryptionKey::from_secret_bytes(kind.parse().unwrap(), &material);
            Some((version.parse().unwrap(), key.unwrap()))
        });
        Self(keys.collect())
    }

    fn headers(&self) -> String {
        let lines = ["key", "older-key"]
            .iter()
            .zip(&self.0)
            .map(|(header, (version, key))| {
                let material = hex::encode(key.to_secret_bytes().expose());
                format!("{header}: {version} {} {material}\n", key.kind())
            });
        lines.collect()
    }

    fn wrap(&self, version: usize, dek: &Secret<32>) -> WrappedKey {
        let (version, key) = &self.0[version];
        let KeyRef { vault, name } = Self::key();
        let version = *version;
        WrappedKey {
            key: KeyVersionRef {
                vault,
                name,
                version,
            },
            algorithm: key.kind().wrap_algorithm().unwrap(),
            bytes: key.wrap(dek).unwrap(),
        }
    }
}

impl KeyWrapper for TestVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        assert_eq!(*key, Self::key());
        Ok(self.wrap(0, dek))
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let version = self
            .0
            .iter()
            .find(|(v, _)| key.key() == Self::key() && *v == key.version);
        let Some((_, kek)) = version else {
            return Err(VaultError::KeyNotFound(key.to_string()));
        };
        kek.unwrap(algorithm, wrapped)
            .map_err(|_| VaultError::UnwrapFailed)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        Arc::default()
    }
}

fn kind(text: &str) -> ResourceKind {
    serde_json::from_value(text.into()).unwrap()
}

/// What a reader answers: `success`, or the word for its refusal.
fn answer(
    vault: &dyn KeyWrapper,
    kind: ResourceKind,
    resource: ResourceId,
    bytes: &[u8; Envelope::LEN],
) -> Result<Secret<32>, &'static str> {
    let envelope = Envelope::parse(bytes).map_err(|e| match e {
        FormatError::Magic => "not-an-envelope",
        FormatError::Version(_) => "newer-version",
        FormatError::Field(_) => "malformed",
    })?;
    assert_eq!(
        envelope.to_bytes(),
        *bytes,
        "two sequences of bytes for one envelope"
    );
    envelope.open(vault, kind, resource).map_err(|e| match e {
        EnvelopeError::Mismatch => "mismatch",
        EnvelopeError::Vault(VaultError::KeyNotFound(_)) => "key-not-found",
        EnvelopeError::Vault(VaultError::UnwrapFailed) => "unwrap-failed",
        other => panic!("{other}"),
    })
}

#[test]
fn every_vector_is_answered_as_it_expects() {
    let mut opened = 0;
    for vector in vectors("envelope") {
        let vault = TestVault::of(&vector);
        let resource = vector.get("resource").parse().unwrap();
        let bytes = vector.body[..].try_into().unwrap();
        match answer(&vault, kind(vector.get("kind")), resource, bytes) {
            Ok(dek) => {
                assert_eq!(vector.get("expect"), "success", "{}", vector.name);
                assert_eq!(dek.expose()[..], vector.hex("dek"), "{}", vector.name);
                opened += 1;
            }
            Err(refusal) => assert_eq!(vector.get("expect"), refusal, "{}", vector.name),
        }
    }
    // Each kind of key, and each kind of resource.
    assert_eq!(opened, 6);
}

#[test]
fn every_altered_byte_of_an_envelope_is_refused() {
    for vector in vectors("envelope")
        .iter()
        .filter(|v| v.get("expect") == "success")
    {
        let (vault, kind) = (TestVault::of(vector), kind(vector.get("kind")));
        let intact: [u8; Envelope::LEN] = vector.body[..].try_into().unwrap();
        assert!(answer(&vault, kind, RESOURCE, &intact).is_ok());
        for at in 0..intact.len() {
            let mut altered = intact;
            altered[at] ^= 1 << (at % 8);
            assert!(
                answer(&vault, kind, RESOURCE, &altered).is_err(),
                "{}: {at}",
                vector.name
            );
        }
    }
}

/// Gives what it is told, whatever it is asked.
struct FaultyVault {
    vault: TestVault,
    fault: fn(&mut WrappedKey),
    unwraps: bool,
}

impl KeyWrapper for FaultyVault {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        let mut wrapped = self.vault.wrap_key(key, dek)?;
        (self.fault)(&mut wrapped);
        Ok(wrapped)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        if !self.unwraps && key.version == self.vault.0[0].0 {
            return Err(VaultError::KeyDisabled(key.to_string()));
        }
        self.vault.unwrap_key(key, algorithm, wrapped)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.vault.revision()
    }
}

#[test]
fn an_answer_that_would_make_an_unreadable_envelope_is_refused() {
    type Fault = fn(&mut WrappedKey);
    let faults: [(Fault, bool); 6] = [
        (|_| (), true),
        (|w| w.bytes.push(0), false),
        (|w| w.bytes.clear(), false),
        (|w| w.bytes = vec![0; 70_000], false),
        (|w| w.algorithm = WrapAlgorithm::RsaOaep256, false),
        (|w| w.key.name = "another".parse().unwrap(), false),
    ];
    for (at, (fault, good)) in faults.into_iter().enumerate() {
        let vault = TestVault::new(&[KeyKind::Oct256]);
        let vault = FaultyVault {
            vault,
            fault,
            unwraps: true,
        };
        let dek = Secret::random();
        let sealed = Envelope::seal(&vault, &TestVault::key(), ResourceKind::Sql, RESOURCE, &dek);
        match sealed {
            Ok(envelope) => assert!(good && Envelope::parse(&envelope.to_bytes()).is_ok()),
            Err(e) => assert!(!good && matches!(e, VaultError::BadAnswer(_)), "{at}: {e}"),
        }
    }
}

#[test]
fn a_rewrap_that_could_not_be_undone_is_refused() {
    let two = || TestVault::new(&[KeyKind::Oct256, KeyKind::Oct256]);
    let rewrap = |fault: fn(&mut WrappedKey), unwraps| {
        let vault = FaultyVault {
            vault: two(),
            fault,
            unwraps,
        };
        let dek = Secret::random();
        let old = envelope_bytes(&vault.vault, 1, &dek, |_| ());
        let old = Envelope::parse(&old).unwrap();
        let new = old.rewrap(&vault, &TestVault::key());
        assert!(
            old.open(&vault, ResourceKind::Sql, RESOURCE).is_ok(),
            "the old one is still good"
        );
        new
    };
    let new = rewrap(|_| (), true).unwrap();
    assert_eq!(new.key.version, KeyVersion::from_bytes([0x20; 16]));
    assert!(
        rewrap(|_| (), false).is_err(),
        "the new version wraps, but may not unwrap"
    );
    assert!(
        rewrap(|w| w.bytes[7] ^= 1, true).is_err(),
        "what it wrapped does not unwrap"
    );
}

/// An envelope under a version of a vault's key, altered, its MAC made before the alteration.
fn envelope_bytes(
    vault: &TestVault,
    version: usize,
    dek: &Secret<32>,
    alter: impl FnOnce(&mut [u8; Envelope::LEN]),
) -> [u8; Envelope::LEN] {
    let one = |v: &(KeyVersion, KeyEncryptionKey)| {
        let key = KeyEncryptionKey::from_secret_bytes(v.1.kind(), &v.1.to_secret_bytes());
        TestVault(vec![(v.0, key.unwrap())])
    };
    let vault = one(&vault.0[version]);
    let key = TestVault::key();
    let sealed = Envelope::seal(&vault, &key, ResourceKind::Sql, RESOURCE, dek).unwrap();
    let mut bytes = sealed.to_bytes();
    alter(&mut bytes);
    bytes
}

/// Writes `tests/vectors/envelope` anew, with new keys: `cargo test --test vectors_envelope --
/// --ignored`. For a change of the format only.
#[test]
#[ignore = "replaces the golden vectors"]
fn write_the_vectors() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/envelope");
    fs::create_dir_all(dir).unwrap();
    let write = |name: &str, expect: &str, kind: &str, more: &str, bytes: &[u8]| {
        let hex = hex::encode(bytes);
        let lines: Vec<_> = hex
            .as_bytes()
            .chunks(96)
            .map(|l| str::from_utf8(l).unwrap())
            .collect();
        let text = format!(
            "expect: {expect}\nkind: {kind}\nresource: {RESOURCE}\n{more}\n{}\n",
            lines.join("\n")
        );
        fs::write(format!("{dir}/{name}.txt"), text).unwrap();
    };
    let dek = Secret::<32>::random();
    let dek_header = format!("dek: {}\n", hex::encode(dek.expose()));

    for key_kind in KeyKind::WRAPPING {
        let vault = TestVault::new(&[key_kind]);
        let bytes = envelope_bytes(&vault, 0, &dek, |_| ());
        let headers = vault.headers() + &dek_header;
        write(
            &format!("key_{key_kind}").replace('-', "_"),
            "success",
            "sql",
            &headers,
            &bytes,
        );
    }
    let vault = TestVault::new(&[KeyKind::Oct256]);
    let headers = vault.headers();
    for name in ["storage", "storage-catalog"] {
        let key = TestVault::key();
        let sealed = Envelope::seal(&vault, &key, kind(name), RESOURCE, &dek).unwrap();
        let file = format!("resource_{name}").replace('-', "_");
        write(
            &file,
            "success",
            name,
            &(headers.clone() + &dek_header),
            &sealed.to_bytes(),
        );
    }

    type Alter = fn(&mut [u8; Envelope::LEN]);
    let altered: [(&str, &str, Alter); 34] = [
        ("magic_altered", "not-an-envelope", |b| b[7] ^= 1),
        ("magic_absent", "not-an-envelope", |b| b[..8].fill(0)),
        ("version_0", "malformed", |b| b[8] = 0),
        ("version_2", "newer-version", |b| b[8] = 2),
        ("version_257", "newer-version", |b| b[9] = 1),
        ("algorithm_0", "malformed", |b| b[10] = 0),
        ("algorithm_3", "malformed", |b| b[10] = 3),
        ("kind_0", "malformed", |b| b[11] = 0),
        ("kind_5", "malformed", |b| b[11] = 5),
        ("wrapped_length_0", "malformed", |b| b[12] = 0),
        ("wrapped_length_39", "malformed", |b| b[12] = 39),
        ("wrapped_length_of_another_algorithm", "malformed", |b| {
            b[12..14].copy_from_slice(&[0, 1])
        }),
        ("wrapped_length_65535", "malformed", |b| {
            b[12..14].fill(0xff)
        }),
        ("name_length_0", "malformed", |b| b[14] = 0),
        ("name_length_128", "malformed", |b| b[14] = 128),
        ("name_length_255", "malformed", |b| b[14] = 255),
        ("name_too_short_for_its_bytes", "malformed", |b| b[14] -= 1),
        ("name_too_long_for_its_bytes", "malformed", |b| b[14] += 1),
        ("name_with_a_slash", "malformed", |b| b[64] = b'/'),
        ("name_not_utf_8", "malformed", |b| b[64] = 0xff),
        ("name_in_another_case", "mismatch", |b| b[64] = b'C'),
        ("name_of_another_key", "key-not-found", |b| b[64] = b'd'),
        ("reserved_byte_15", "malformed", |b| b[15] = 1),
        ("reserved_after_name", "malformed", |b| b[191] = 1),
        ("reserved_after_wrapped_key", "malformed", |b| {
            b[192 + 40] = 1
        }),
        ("reserved_before_mac", "malformed", |b| b[735] = 1),
        ("vault_altered", "key-not-found", |b| b[32] ^= 1),
        ("key_version_unknown", "key-not-found", |b| b[48] ^= 1),
        ("wrapped_key_altered", "unwrap-failed", |b| b[192] ^= 1),
        ("wrapped_key_truncated", "unwrap-failed", |b| {
            b[192 + 39] = 0
        }),
        ("mac_altered", "mismatch", |b| b[767] ^= 1),
        ("mac_zero", "mismatch", |b| b[736..].fill(0)),
        ("resource_of_another", "mismatch", |b| b[16] ^= 1),
        ("kind_of_another", "mismatch", |b| b[11] = 2),
    ];
    for (name, expect, alter) in altered {
        let bytes = envelope_bytes(&vault, 0, &dek, alter);
        write(name, expect, "sql", &headers, &bytes);
    }

    // Another resource's envelope, its fields made to fit this one.
    let key = TestVault::key();
    let other = ResourceId::from_bytes([0x44; 16]);
    let sealed = Envelope::seal(&vault, &key, ResourceKind::Sql, other, &dek).unwrap();
    let mut bytes = sealed.to_bytes();
    bytes[16..32].copy_from_slice(RESOURCE.as_bytes());
    write("resource_made_to_fit", "mismatch", "sql", &headers, &bytes);
    let sealed = Envelope::seal(&vault, &key, ResourceKind::Storage, RESOURCE, &dek).unwrap();
    let mut bytes = sealed.to_bytes();
    bytes[11] = 1;
    write("kind_made_to_fit", "mismatch", "sql", &headers, &bytes);

    // Another data encryption key, wrapped by someone who may wrap.
    let bytes = envelope_bytes(&vault, 0, &dek, |b| {
        b[192..232].copy_from_slice(&vault.wrap(0, &Secret::random()).bytes);
    });
    write(
        "wrapped_key_of_another",
        "mismatch",
        "sql",
        &headers,
        &bytes,
    );

    // The same data encryption key as an older version wrapped it, the MAC still the newer one's.
    let downgrade = |older: KeyKind, name: &str| {
        let vault = TestVault::new(&[KeyKind::Rsa2048, older]);
        let old = envelope_bytes(&vault, 1, &dek, |_| ());
        let bytes = envelope_bytes(&vault, 0, &dek, |b| {
            b[10..736].copy_from_slice(&old[10..736])
        });
        write(name, "mismatch", "sql", &vault.headers(), &bytes);
        vault
    };
    downgrade(KeyKind::Rsa2048, "key_version_downgraded");
    let vault = downgrade(KeyKind::Oct256, "algorithm_downgraded");
    // Only the name of the version is the older one's.
    let bytes = envelope_bytes(&vault, 0, &dek, |b| b[48..64].fill(0x21));
    write(
        "key_version_of_another",
        "unwrap-failed",
        "sql",
        &vault.headers(),
        &bytes,
    );
    let bytes = envelope_bytes(&vault, 0, &dek, |b| b[192 + 255] ^= 1);
    write(
        "wrapped_key_altered_rsa",
        "unwrap-failed",
        "sql",
        &vault.headers(),
        &bytes,
    );
}
