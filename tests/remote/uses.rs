//! What the client says of a vault is what the vault says of itself.

use std::env;
use std::process::Command;
use std::sync::atomic::Ordering;

use atrest::base::{EpochId, KeyName, VaultId};
use atrest::crypto::{
    CipherParameters, EncryptionAlgorithm, KeyEncryptionKey, KeyKind, Secret, SignatureAlgorithm,
    sha256,
};
use atrest::sqlite::Position;
use atrest::vault::{
    Credential, Cryptography, Epoch, EpochKeeper, FreshnessCheck, KeyOperation, KeySpec, KeyUpdate,
    KeyVault, KeyWrapper, Page, RemoteOptions, RemoteVault, RotationPolicy, RotationTrigger,
    VaultError, VaultSettings,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::client::{Served, atrest};
use crate::in_process::{InProcess, direct, secret};

const A_WEEK: VaultSettings = VaultSettings {
    retention_days: 7,
    purge_protection: false,
};

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

/// The vault of a server in another process, as `atrest env` leads to it.
pub fn options(served: &Served) -> RemoteOptions {
    let variable = |name: &str| served.told["variables"][name].as_str().map(Into::into);
    let url = served.told["vault_url"].as_str().unwrap();
    RemoteOptions::from_variables(url, Some(&served.ca_file()), &variable).unwrap()
}

/// The same by a new identity with this role.
pub fn as_identity(served: &Served, identity: &str, role: &str) -> RemoteOptions {
    let args = ["--json", "identity", "add", identity, "--role", role];
    let added = atrest(served.dir.path(), &args).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    let told: Value = serde_json::from_slice(&added.stdout).unwrap();
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    RemoteOptions {
        credential: Credential::ClientSecret {
            tenant: text("AZURE_TENANT_ID"),
            client: text("AZURE_CLIENT_ID"),
            secret: secret(&text("AZURE_CLIENT_SECRET")),
        },
        ..options(served)
    }
}

#[test]
fn a_key_is_told_as_the_vault_itself_tells_it() {
    let served = InProcess::start(&A_WEEK, start());
    for vault in [
        served.vault(),
        RemoteVault::open(&direct(served.server.endpoints())).unwrap(),
    ] {
        assert_eq!(vault.id(), served.local.id());
        assert_eq!(vault.settings().unwrap(), served.local.settings().unwrap());
    }
    let vault = served.vault();
    for (number, kind) in KeyKind::ALL.into_iter().enumerate() {
        let key = name(&format!("made-{kind}"));
        let spec = KeySpec {
            expires: Some("2027-01-01T00:00:00Z".parse().unwrap()),
            hsm: number % 2 == 0,
            exportable: number % 3 == 0,
            tags: [("a".to_owned(), "b".to_owned())]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>()
                .try_into()
                .unwrap(),
            ..KeySpec::new(kind)
        };
        if kind == KeyKind::Rsa4096 {
            continue; // Only slower.
        }
        let made = vault.create_key(&key, &spec).unwrap();
        assert_eq!(made, served.local.key(&key, None).unwrap(), "{kind}");
        let outside = KeyEncryptionKey::generate(kind);
        let print = hex::encode(outside.thumbprint());
        let key = name(&format!("came-{kind}"));
        let made = vault
            .import_key(&key, outside, &KeySpec::new(kind))
            .unwrap();
        assert_eq!(made, served.local.key(&key, None).unwrap(), "{kind}");
        assert_eq!(made.thumbprint, print, "{kind}");
    }
    // More than a page.
    for number in 0..30 {
        let spec = KeySpec::new(KeyKind::Oct256);
        vault.create_key(&name("many"), &spec).unwrap();
        vault
            .create_key(&name(&format!("n{number}")), &spec)
            .unwrap();
    }
    let all = |vault: &dyn KeyVault| {
        let versions = |page| vault.key_versions(&name("many"), page).unwrap();
        let whole = versions(Page::all());
        let after = Some(whole[3].kid.version);
        let part = versions(Page {
            after,
            limit: Some(7),
        });
        (vault.keys(Page::all()).unwrap(), whole, part)
    };
    assert_eq!(all(&vault), all(&served.local));
    vault.delete_key(&name("many")).unwrap();
    let deleted = vault.deleted_keys(Page::all()).unwrap();
    assert_eq!(deleted, served.local.deleted_keys(Page::all()).unwrap());
    assert_eq!(deleted.len(), 1);
}

#[test]
fn a_rotation_policy_is_set_and_read() {
    let served = InProcess::start(&A_WEEK, start());
    let vault = served.vault();
    let key = name("k");
    vault
        .create_key(&key, &KeySpec::new(KeyKind::Oct256))
        .unwrap();
    assert_eq!(
        vault.rotation_policy(&key).unwrap(),
        RotationPolicy::default()
    );
    let policy = RotationPolicy {
        rotate: Some(RotationTrigger::TimeBeforeExpiry("P30D".parse().unwrap())),
        expiry: Some("P1Y".parse().unwrap()),
        ..RotationPolicy::default()
    };
    let set = vault.set_rotation_policy(&key, &policy).unwrap();
    assert_eq!(set, served.local.rotation_policy(&key).unwrap());
    assert_eq!(set, vault.rotation_policy(&key).unwrap());
    assert_eq!(set.created, Some(start()));
}

#[test]
fn a_refusal_keeps_its_meaning() {
    let protected = VaultSettings {
        purge_protection: true,
        ..A_WEEK
    };
    let served = InProcess::start(&protected, start());
    let vault = served.vault();
    let key = name("k");
    let spec = KeySpec::new(KeyKind::Oct256);
    let kid = vault.create_key(&key, &spec).unwrap().kid;
    let dek = Secret::random();
    vault.wrap_key(&kid.key(), &dek).unwrap();
    let both = |ask: &dyn Fn(&dyn KeyVault) -> VaultError, kind: fn(&VaultError) -> bool| {
        let (local, remote) = (ask(&served.local), ask(&vault));
        assert!(kind(&local) && kind(&remote), "{local:?} {remote:?}");
        (local.to_string(), remote.to_string())
    };
    let only = KeyUpdate {
        operations: Some(vec![KeyOperation::UnwrapKey]),
        ..KeyUpdate::default()
    };
    vault.update_key(&key, None, &only).unwrap();
    let wrap = |v: &dyn KeyVault| v.wrap_key(&kid.key(), &dek).map(drop).unwrap_err();
    let (_, why) = both(&wrap, |e| matches!(e, VaultError::Forbidden { .. }));
    assert!(why.contains("does not permit wrapKey"), "{why}");
    let off = KeyUpdate {
        enabled: Some(false),
        ..KeyUpdate::default()
    };
    vault.update_key(&key, None, &off).unwrap();
    let told = both(&wrap, |e| matches!(e, VaultError::KeyDisabled(_)));
    assert_eq!(told.0, told.1);
    let purge = |v: &dyn KeyVault| v.purge_key(&key).unwrap_err();
    let recover = |v: &dyn KeyVault| v.recover_key(&key).map(drop).unwrap_err();
    for ask in [&purge as &dyn Fn(&dyn KeyVault) -> VaultError, &recover] {
        let told = both(ask, |e| matches!(e, VaultError::NotDeleted(_)));
        assert_eq!(told.0, told.1);
    }
    vault.delete_key(&key).unwrap();
    let told = both(&wrap, |e| matches!(e, VaultError::KeyDeleted { .. }));
    assert_eq!(told.0, told.1);
    let told = both(&purge, |e| matches!(e, VaultError::PurgeProtected { .. }));
    assert_eq!(told.0, told.1);
    let create = |v: &dyn KeyVault| v.create_key(&key, &spec).map(drop).unwrap_err();
    let told = both(&create, |e| {
        matches!(e, VaultError::DeletedButRecoverable { .. })
    });
    assert_eq!(told.0, told.1);
    let never = |v: &dyn KeyVault| v.rotate_key(&name("never")).map(drop).unwrap_err();
    let told = both(&never, |e| matches!(e, VaultError::KeyNotFound(_)));
    assert_eq!(told.0, told.1);
}

#[test]
fn what_keys_do_elsewhere_is_what_they_do_here() {
    let served = InProcess::start(&A_WEEK, start());
    let vault = served.vault();
    let all = |kind| KeySpec {
        operations: KeyOperation::usual(kind),
        ..KeySpec::new(kind)
    };
    let (oct, rsa, ec) = (name("oct"), name("rsa"), name("ec"));
    for (key, kind) in [
        (&oct, KeyKind::Oct256),
        (&rsa, KeyKind::Rsa2048),
        (&ec, KeyKind::EcP256),
    ] {
        vault.create_key(key, &all(kind)).unwrap();
    }
    let kid = |key| served.local.key(key, None).unwrap().kid;
    let gcm = EncryptionAlgorithm::A256Gcm;
    let with = CipherParameters {
        aad: Some(b"aad"),
        ..CipherParameters::default()
    };
    let sealed = vault.encrypt(&oct, None, gcm, b"text", with).unwrap();
    assert_eq!(sealed.kid, kid(&oct));
    let opening = CipherParameters {
        iv: sealed.value.iv.as_deref(),
        tag: sealed.value.tag.as_deref(),
        ..with
    };
    for cryptography in [&vault as &dyn Cryptography, &served.local] {
        let opened = cryptography.decrypt(&oct, None, gcm, &sealed.value.value, opening);
        assert_eq!(opened.unwrap().value.expose(), b"text");
        let other = CipherParameters {
            aad: None,
            ..opening
        };
        let refused = cryptography.decrypt(&oct, None, gcm, &sealed.value.value, other);
        assert_eq!(refused.unwrap_err().code(), "DecryptFailed");
        let none = CipherParameters::default();
        let refused = cryptography.decrypt(&oct, None, gcm, b"", none);
        assert_eq!(refused.unwrap_err().code(), "BadParameter");

        let oaep = EncryptionAlgorithm::RsaOaep;
        let wrapped = cryptography.wrap_bytes(&rsa, None, oaep, b"key").unwrap();
        let version = Some(wrapped.kid.version);
        let opened = vault
            .unwrap_bytes(&rsa, version, oaep, &wrapped.value)
            .unwrap();
        assert_eq!(
            (opened.value.expose(), opened.kid),
            (&b"key"[..], kid(&rsa))
        );
        let refused = cryptography.unwrap_bytes(&rsa, version, oaep, &[0; 256]);
        assert_eq!(refused.unwrap_err().code(), "UnwrapFailed");

        let digest = sha256(&[b"signed"]);
        let es = SignatureAlgorithm::Es256;
        let signed = cryptography.sign(&ec, None, es, &digest).unwrap();
        let verify = |digest: &[u8], version| {
            let verified = vault
                .verify(&ec, version, es, digest, &signed.value)
                .unwrap();
            assert_eq!(verified.kid, kid(&ec));
            verified.value
        };
        assert!(verify(&digest, None) && verify(&digest, Some(signed.kid.version)));
        assert!(!verify(&[0; 32], None));

        assert_eq!(cryptography.random_bytes(128).unwrap().expose().len(), 128);
        for count in [0, 129] {
            let refused = cryptography.random_bytes(count);
            assert_eq!(refused.unwrap_err().code(), "BadParameter");
        }
    }
}

#[test]
fn what_is_remembered_of_a_file_only_goes_forward_unless_it_is_set() {
    let served = InProcess::start(&A_WEEK, start());
    let vault = served.vault();
    let (id, file) = (vault.id(), EpochId::from_bytes([5; 16]));
    let at = |version: u8| {
        let mut bytes = [0; Position::LEN];
        (bytes[0], bytes[8]) = (1, version);
        Position::from_bytes(&bytes).unwrap()
    };
    let kept = |keeper: &dyn EpochKeeper| keeper.epoch(id, file).unwrap();
    assert_eq!((kept(&vault), kept(&served.local)), (None, None));
    let epoch = |check, version| Epoch {
        check,
        position: Some(at(version)),
    };
    vault.advance_epoch(id, file, &at(3)).unwrap();
    assert_eq!(kept(&vault), Some(epoch(FreshnessCheck::Open, 3)));
    vault.advance_epoch(id, file, &at(2)).unwrap();
    assert_eq!(kept(&vault), Some(epoch(FreshnessCheck::Open, 3)));
    vault
        .set_epoch(id, file, &epoch(FreshnessCheck::Verify, 1))
        .unwrap();
    assert_eq!(kept(&vault), Some(epoch(FreshnessCheck::Verify, 1)));
    assert_eq!(kept(&served.local), kept(&vault));
    let other = VaultId::from_bytes([0; 16]);
    assert_eq!(vault.epoch(other, file).unwrap_err().code(), "KeyNotFound");
}

/// Set for the process that is to watch its revision.
const WATCHES: &str = "ATREST_TEST_REVISION";

#[test]
fn a_change_through_the_client_is_seen_by_this_process_at_once() {
    if env::var_os(WATCHES).is_some() {
        return watch_the_revision();
    }
    // A process has one revision for all its vaults, which other tests move: this one has a process to
    // itself.
    let test = "uses::a_change_through_the_client_is_seen_by_this_process_at_once";
    let alone = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(WATCHES, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    let why = String::from_utf8_lossy(&alone.stderr);
    assert!(alone.status.success(), "{said}{why}");
    assert!(said.contains("1 passed"), "it did not run: {said}{why}");
}

fn watch_the_revision() {
    // The server is another process: nothing but the client moves this one's revision.
    let served = Served::new(&[]);
    let vault = RemoteVault::open(&options(&served)).unwrap();
    let revision = vault.revision();
    let moved = |what: &str, change: &dyn Fn()| {
        let before = revision.load(Ordering::Acquire);
        change();
        assert_ne!(revision.load(Ordering::Acquire), before, "{what}");
    };
    let key = name("k");
    let oct = KeySpec::new(KeyKind::Oct256);
    moved("create", &|| drop(vault.create_key(&key, &oct).unwrap()));
    let backup = vault.backup_key(&key).unwrap();
    let off = KeyUpdate {
        enabled: Some(false),
        ..KeyUpdate::default()
    };
    moved("update", &|| {
        drop(vault.update_key(&key, None, &off).unwrap())
    });
    moved("rotate", &|| drop(vault.rotate_key(&key).unwrap()));
    moved("import", &|| {
        let outside = KeyEncryptionKey::generate(KeyKind::Oct256);
        drop(vault.import_key(&name("other"), outside, &oct).unwrap());
    });
    moved("delete", &|| drop(vault.delete_key(&key).unwrap()));
    moved("recover", &|| drop(vault.recover_key(&key).unwrap()));
    vault.delete_key(&key).unwrap();
    moved("purge", &|| vault.purge_key(&key).unwrap());
    moved("restore", &|| drop(vault.restore_key(&backup).unwrap()));
    let before = revision.load(Ordering::Acquire);
    vault.key(&key, None).unwrap();
    assert_eq!(
        revision.load(Ordering::Acquire),
        before,
        "a look changes nothing"
    );
}

#[test]
fn a_key_of_another_vault_is_not_asked_for() {
    let mut served = Served::new(&[]);
    let vault = RemoteVault::open(&options(&served)).unwrap();
    let mut key = vault.key(&name("customer-key"), None).unwrap().kid;
    let wrapped = vault.wrap_key(&key.key(), &Secret::random()).unwrap();
    vault
        .unwrap_key(&key, wrapped.algorithm, &wrapped.bytes)
        .unwrap();
    key.vault = VaultId::from_bytes([7; 16]);
    let refused = vault.unwrap_key(&key, wrapped.algorithm, &wrapped.bytes);
    assert_eq!(refused.unwrap_err().code(), "KeyNotFound");
    let refused = vault.wrap_key(&key.key(), &Secret::random());
    assert_eq!(refused.unwrap_err().code(), "KeyNotFound");
    served.stop();
    let log = served.log();
    let count = |operation: &str| log.lines().filter(|l| l.contains(operation)).count();
    assert_eq!(
        (count("\"KeyUnwrap\""), count("\"KeyWrap\"")),
        (1, 1),
        "{log}"
    );
}

#[test]
fn a_role_permits_what_it_needs_and_no_more() {
    let served = Served::new(&[]);
    let open =
        |identity: &str, role: &str| RemoteVault::open(&as_identity(&served, identity, role));
    let file = EpochId::from_bytes([5; 16]);
    let epoch = Epoch {
        check: FreshnessCheck::Open,
        position: None,
    };
    let service = open("service", "Key Vault Crypto Service Encryption User").unwrap();
    let key = service.key(&name("customer-key"), None).unwrap().kid;
    let wrapped = service.wrap_key(&key.key(), &Secret::random()).unwrap();
    service
        .unwrap_key(&wrapped.key, wrapped.algorithm, &wrapped.bytes)
        .unwrap();
    service.set_epoch(key.vault, file, &epoch).unwrap();
    assert_eq!(service.epoch(key.vault, file).unwrap(), Some(epoch.clone()));
    let refused = |result: Result<(), VaultError>| {
        let refused = result.unwrap_err();
        assert_eq!(refused.code(), "NotAuthorized", "{refused}");
        assert!(
            refused.to_string().contains("permits Microsoft.KeyVault/"),
            "{refused}"
        );
    };
    refused(service.rotate_key(&key.name).map(drop));
    refused(service.random_bytes(1).map(drop));
    let reader = open("reader", "Key Vault Reader").unwrap();
    refused(reader.epoch(key.vault, file).map(drop));
    refused(reader.set_epoch(key.vault, file, &epoch));
    let unwrapped = reader.unwrap_key(&wrapped.key, wrapped.algorithm, &wrapped.bytes);
    refused(unwrapped.map(drop));
    refused(open("secrets", "Key Vault Secrets User").map(drop));
}

#[test]
fn nobody_without_an_identity_is_let_in() {
    let served = Served::new(&[]);
    let good = options(&served);
    assert!(RemoteVault::open(&good).is_ok());
    let endpoint = served.told["variables"]["IDENTITY_ENDPOINT"]
        .as_str()
        .unwrap();
    let wrong = RemoteOptions {
        credential: Credential::ManagedIdentity {
            endpoint: endpoint.to_owned(),
            header: secret("wrong"),
        },
        ..good.clone()
    };
    let registered = as_identity(&served, "app", "Key Vault Crypto User");
    assert!(RemoteVault::open(&registered).is_ok());
    let Credential::ClientSecret { tenant, client, .. } = registered.credential else {
        unreachable!()
    };
    let guessed = RemoteOptions {
        credential: Credential::ClientSecret {
            tenant,
            client,
            secret: secret("guessed"),
        },
        ..good
    };
    for options in [wrong, guessed] {
        let refused = RemoteVault::open(&options).map(drop).unwrap_err();
        assert_eq!(refused.code(), "NotAuthorized", "{refused}");
        assert!(!refused.to_string().contains("guessed"), "{refused}");
    }
}
