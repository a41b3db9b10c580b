//! What every key vault promises, as functions over `&dyn KeyVault`: each runs here over a local
//! vault, and unchanged over a client of a server that keeps one.
//!
//! Over 400 lines because a promise that stands here holds for both, and one that stands elsewhere does
//! not.

#![allow(clippy::unwrap_used)]

#[path = "common/vault.rs"]
mod common;
#[path = "common/remote.rs"]
mod remote_vault;

use std::sync::atomic::Ordering;

use atrest::base::{KeyName, KeyRef, KeyVersionRef, ManualClock, VaultId};
use atrest::crypto::{KeyEncryptionKey, KeyKind, Secret, WrapAlgorithm};
use atrest::vault::{KeyOperation, KeySpec, KeyUpdate, KeyVault, Page, VaultError, WrappedKey};
use common::{A_WEEK, days, name, new_vault, refused, start};
use jiff::SignedDuration;
use remote_vault::InProcess;

/// A vault under examination: empty, with a retention of 7 days, without purge protection.
struct Subject<'a> {
    vault: &'a dyn KeyVault,
    clock: &'a ManualClock,
}

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(#[test] fn $name() { super::on_a_local_vault(super::$name) })*
        }

        mod remote {
            $(#[test] fn $name() { super::on_a_remote_vault(super::$name) })*
        }
    };
}

conformance! {
    a_wrapped_key_opens_again_and_nothing_else_does,
    a_key_of_another_vault_is_not_found,
    an_expired_key_still_unwraps_but_does_not_wrap,
    a_key_not_yet_valid_still_unwraps_but_does_not_wrap,
    a_disabled_key_does_nothing,
    an_operation_that_is_not_permitted_is_refused,
    creating_a_name_again_makes_a_version,
    names_differ_in_more_than_case,
    rotation_keeps_what_was_wrapped_before_readable,
    disabling_one_version_leaves_the_others,
    attributes_that_could_never_hold_are_refused,
    an_imported_key_opens_what_it_wrapped_outside,
    an_import_of_another_kind_than_said_is_refused,
    a_deleted_key_does_nothing_and_keeps_its_name,
    a_recovered_key_opens_what_it_wrapped,
    a_purged_key_is_gone_and_its_name_is_free,
    only_a_deleted_key_is_purged_or_recovered,
    the_retention_ends_by_itself,
    a_backup_restores_every_version_after_a_purge,
    a_backup_never_replaces_a_key,
    an_altered_backup_is_refused,
    every_right_that_changes_moves_the_revision,
    lists_show_live_and_deleted_keys_apart,
}

fn on_a_local_vault(test: fn(&Subject<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    let (vault, clock) = new_vault(dir.path(), &A_WEEK);
    test(&Subject {
        vault: &vault,
        clock: &clock,
    });
}

fn on_a_remote_vault(test: fn(&Subject<'_>)) {
    let served = InProcess::start(&A_WEEK, start());
    test(&Subject {
        vault: &served.vault(),
        clock: &served.clock,
    });
}

fn oct() -> KeySpec {
    KeySpec::new(KeyKind::Oct256)
}

fn dek() -> Secret<32> {
    Secret::copy_from(&[0x5a; 32]).unwrap()
}

impl Subject<'_> {
    fn create(&self, key: &str) -> KeyVersionRef {
        self.vault.create_key(&name(key), &oct()).unwrap().kid
    }

    fn wrap(&self, key: &str) -> Result<WrappedKey, VaultError> {
        let key = KeyRef {
            vault: self.vault.id(),
            name: name(key),
        };
        self.vault.wrap_key(&key, &dek())
    }

    fn unwrap(&self, wrapped: &WrappedKey) -> Result<(), VaultError> {
        let opened = self
            .vault
            .unwrap_key(&wrapped.key, wrapped.algorithm, &wrapped.bytes)?;
        assert!(opened.ct_eq(&dek()));
        Ok(())
    }

    fn update(&self, key: &str, update: KeyUpdate) -> Result<(), VaultError> {
        self.vault.update_key(&name(key), None, &update).map(drop)
    }
}

fn a_wrapped_key_opens_again_and_nothing_else_does(s: &Subject<'_>) {
    for kind in [KeyKind::Oct256, KeyKind::Rsa2048] {
        let key = format!("key-{kind}");
        s.vault
            .create_key(&name(&key), &KeySpec::new(kind))
            .unwrap();
        let wrapped = s.wrap(&key).unwrap();
        assert_eq!(wrapped.bytes.len(), kind.wrapped_len().unwrap());
        s.unwrap(&wrapped).unwrap();

        let mut flipped = wrapped.clone();
        flipped.bytes[7] ^= 1;
        refused(s.unwrap(&flipped), "UnwrapFailed");
        let mut cut = wrapped.clone();
        cut.bytes.pop();
        refused(s.unwrap(&cut), "UnwrapFailed");
        let mut other = wrapped;
        other.algorithm = match other.algorithm {
            WrapAlgorithm::A256Kw => WrapAlgorithm::RsaOaep256,
            WrapAlgorithm::RsaOaep256 => WrapAlgorithm::A256Kw,
        };
        refused(s.unwrap(&other), "UnwrapFailed");
    }
}

fn a_key_of_another_vault_is_not_found(s: &Subject<'_>) {
    s.create("k");
    let mut wrapped = s.wrap("k").unwrap();
    s.unwrap(&wrapped).unwrap();
    wrapped.key.vault = VaultId::from_bytes([7; 16]);
    refused(s.unwrap(&wrapped), "KeyNotFound");
    refused(s.vault.wrap_key(&wrapped.key.key(), &dek()), "KeyNotFound");
    refused(s.wrap("never-made"), "KeyNotFound");
}

fn an_expired_key_still_unwraps_but_does_not_wrap(s: &Subject<'_>) {
    let spec = KeySpec {
        expires: Some(start() + days(10)),
        ..oct()
    };
    s.vault.create_key(&name("k"), &spec).unwrap();
    let wrapped = s.wrap("k").unwrap();
    s.clock.advance(days(10));
    refused(s.wrap("k"), "Forbidden");
    s.unwrap(&wrapped).unwrap();
    s.update(
        "k",
        KeyUpdate {
            expires: Some(Some(start() + days(30))),
            ..Default::default()
        },
    )
    .unwrap();
    s.wrap("k").unwrap();
}

fn a_key_not_yet_valid_still_unwraps_but_does_not_wrap(s: &Subject<'_>) {
    s.create("k");
    let wrapped = s.wrap("k").unwrap();
    s.update(
        "k",
        KeyUpdate {
            not_before: Some(Some(start() + days(1))),
            ..Default::default()
        },
    )
    .unwrap();
    refused(s.wrap("k"), "Forbidden");
    s.unwrap(&wrapped).unwrap();
    s.clock.advance(days(1));
    s.wrap("k").unwrap();
}

fn a_disabled_key_does_nothing(s: &Subject<'_>) {
    s.create("k");
    let wrapped = s.wrap("k").unwrap();
    s.update(
        "k",
        KeyUpdate {
            enabled: Some(false),
            ..Default::default()
        },
    )
    .unwrap();
    refused(s.wrap("k"), "KeyDisabled");
    refused(s.unwrap(&wrapped), "KeyDisabled");
    s.update(
        "k",
        KeyUpdate {
            enabled: Some(true),
            ..Default::default()
        },
    )
    .unwrap();
    s.wrap("k").unwrap();
    s.unwrap(&wrapped).unwrap();
}

fn an_operation_that_is_not_permitted_is_refused(s: &Subject<'_>) {
    s.create("k");
    let wrapped = s.wrap("k").unwrap();
    let only = |operation| KeyUpdate {
        operations: Some(vec![operation]),
        ..Default::default()
    };
    s.update("k", only(KeyOperation::UnwrapKey)).unwrap();
    refused(s.wrap("k"), "Forbidden");
    s.unwrap(&wrapped).unwrap();
    s.update("k", only(KeyOperation::WrapKey)).unwrap();
    s.wrap("k").unwrap();
    refused(s.unwrap(&wrapped), "Forbidden");
}

fn creating_a_name_again_makes_a_version(s: &Subject<'_>) {
    let first = s.create("k");
    let old = s.wrap("k").unwrap();
    s.clock.advance(days(1));
    let second = s.create("k");
    assert_ne!(first.version, second.version);
    assert_eq!(s.wrap("k").unwrap().key, second);
    s.unwrap(&old).unwrap();
    let versions = s.vault.key_versions(&name("k"), Page::all()).unwrap();
    assert_eq!(
        versions.iter().map(|v| v.kid.clone()).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(versions[1].attributes.created, start() + days(1));
    assert_ne!(versions[0].thumbprint, versions[1].thumbprint);
}

fn names_differ_in_more_than_case(s: &Subject<'_>) {
    let key = s.create("Payroll");
    assert_eq!(s.vault.key(&name("pAYROLL"), None).unwrap().kid, key);
    s.vault.create_key(&name("payroll"), &oct()).unwrap();
    assert_eq!(s.vault.keys(Page::all()).unwrap().len(), 1);
    assert_eq!(
        s.vault.keys(Page::all()).unwrap()[0].kid.name.as_str(),
        "Payroll"
    );
}

fn rotation_keeps_what_was_wrapped_before_readable(s: &Subject<'_>) {
    let first = s
        .vault
        .create_key(&name("k"), &KeySpec::new(KeyKind::Rsa2048))
        .unwrap();
    let old = s.wrap("k").unwrap();
    let second = s.vault.rotate_key(&name("k")).unwrap();
    assert_eq!(second.kind, first.kind);
    assert_ne!(second.thumbprint, first.thumbprint);
    let new = s.wrap("k").unwrap();
    assert_eq!((&old.key, &new.key), (&first.kid, &second.kid));
    s.unwrap(&old).unwrap();
    s.unwrap(&new).unwrap();
    let crossed = WrappedKey {
        key: new.key,
        ..old
    };
    refused(s.unwrap(&crossed), "UnwrapFailed");
    refused(s.vault.rotate_key(&name("never-made")), "KeyNotFound");
}

fn disabling_one_version_leaves_the_others(s: &Subject<'_>) {
    let first = s.create("k");
    let old = s.wrap("k").unwrap();
    s.vault.rotate_key(&name("k")).unwrap();
    let disable = KeyUpdate {
        enabled: Some(false),
        ..Default::default()
    };
    s.vault
        .update_key(&name("k"), Some(first.version), &disable)
        .unwrap();
    refused(s.unwrap(&old), "KeyDisabled");
    let new = s.wrap("k").unwrap();
    s.unwrap(&new).unwrap();
}

fn attributes_that_could_never_hold_are_refused(s: &Subject<'_>) {
    let backwards = KeySpec {
        not_before: Some(start() + days(2)),
        expires: Some(start() + days(1)),
        ..oct()
    };
    refused(s.vault.create_key(&name("k"), &backwards), "BadParameter");
    let useless = KeySpec {
        operations: vec![],
        ..oct()
    };
    refused(s.vault.create_key(&name("k"), &useless), "BadParameter");
    refused(s.vault.key(&name("k"), None), "KeyNotFound");
    s.create("k");
    s.update(
        "k",
        KeyUpdate {
            expires: Some(Some(start() + days(1))),
            ..Default::default()
        },
    )
    .unwrap();
    let later = KeyUpdate {
        not_before: Some(Some(start() + days(1))),
        ..Default::default()
    };
    refused(s.update("k", later), "BadParameter");
}

fn an_imported_key_opens_what_it_wrapped_outside(s: &Subject<'_>) {
    for kind in [KeyKind::Oct256, KeyKind::Rsa2048] {
        let outside = KeyEncryptionKey::generate(kind);
        let copy = KeyEncryptionKey::from_secret_bytes(kind, &outside.to_secret_bytes()).unwrap();
        let key = format!("imported-{kind}");
        let bundle = s
            .vault
            .import_key(&name(&key), copy, &KeySpec::new(kind))
            .unwrap();
        assert_eq!(bundle.thumbprint, hex::encode(outside.thumbprint()));
        let bytes = outside.wrap(&dek()).unwrap();
        s.unwrap(&WrappedKey {
            key: bundle.kid,
            algorithm: kind.wrap_algorithm().unwrap(),
            bytes,
        })
        .unwrap();
    }
}

fn an_import_of_another_kind_than_said_is_refused(s: &Subject<'_>) {
    let material = KeyEncryptionKey::generate(KeyKind::Oct256);
    let spec = KeySpec::new(KeyKind::Rsa2048);
    refused(
        s.vault.import_key(&name("k"), material, &spec),
        "BadParameter",
    );
    refused(s.vault.key(&name("k"), None), "KeyNotFound");
}

fn a_deleted_key_does_nothing_and_keeps_its_name(s: &Subject<'_>) {
    s.create("k");
    let wrapped = s.wrap("k").unwrap();
    let deleted = s.vault.delete_key(&name("k")).unwrap();
    assert_eq!(deleted.deleted, start());
    assert_eq!(deleted.scheduled_purge, start() + days(7));
    refused(s.wrap("k"), "KeyNotFound");
    refused(s.unwrap(&wrapped), "KeyNotFound");
    refused(s.vault.key(&name("k"), None), "KeyNotFound");
    refused(s.vault.key_versions(&name("k"), Page::all()), "KeyNotFound");
    refused(s.vault.rotate_key(&name("k")), "KeyNotFound");
    refused(s.vault.backup_key(&name("k")), "KeyNotFound");
    refused(s.vault.delete_key(&name("k")), "KeyNotFound");
    refused(
        s.update(
            "k",
            KeyUpdate {
                enabled: Some(true),
                ..Default::default()
            },
        ),
        "KeyNotFound",
    );
    refused(s.vault.create_key(&name("K"), &oct()), "Conflict");
    s.create("another");
}

fn a_recovered_key_opens_what_it_wrapped(s: &Subject<'_>) {
    let kid = s.create("k");
    let wrapped = s.wrap("k").unwrap();
    s.vault.delete_key(&name("k")).unwrap();
    s.clock.advance(days(7) - SignedDuration::from_micros(1));
    refused(s.unwrap(&wrapped), "KeyNotFound");
    assert_eq!(s.vault.recover_key(&name("k")).unwrap().kid, kid);
    s.unwrap(&wrapped).unwrap();
    s.clock.advance(days(30));
    s.unwrap(&wrapped).unwrap();
}

fn a_purged_key_is_gone_and_its_name_is_free(s: &Subject<'_>) {
    s.create("k");
    let wrapped = s.wrap("k").unwrap();
    s.vault.delete_key(&name("k")).unwrap();
    s.vault.purge_key(&name("k")).unwrap();
    refused(s.unwrap(&wrapped), "KeyNotFound");
    refused(s.vault.recover_key(&name("k")), "KeyNotFound");
    s.create("k");
    refused(s.unwrap(&wrapped), "KeyNotFound");
}

fn only_a_deleted_key_is_purged_or_recovered(s: &Subject<'_>) {
    s.create("k");
    refused(s.vault.purge_key(&name("k")), "Conflict");
    refused(s.vault.recover_key(&name("k")), "Conflict");
    refused(s.vault.purge_key(&name("never-made")), "KeyNotFound");
    s.wrap("k").unwrap();
    s.vault.delete_key(&name("k")).unwrap();
    s.vault.purge_key(&name("k")).unwrap();
}

fn the_retention_ends_by_itself(s: &Subject<'_>) {
    s.create("read");
    s.create("used");
    let wrapped = s.wrap("used").unwrap();
    s.vault.delete_key(&name("read")).unwrap();
    s.vault.delete_key(&name("used")).unwrap();
    assert_eq!(s.vault.deleted_keys(Page::all()).unwrap().len(), 2);
    s.clock.advance(days(7));
    refused(s.unwrap(&wrapped), "KeyNotFound");
    refused(s.vault.recover_key(&name("used")), "KeyNotFound");
    assert_eq!(s.vault.deleted_keys(Page::all()).unwrap(), []);
    s.create("read");
}

fn a_backup_restores_every_version_after_a_purge(s: &Subject<'_>) {
    let spec = KeySpec {
        expires: Some(start() + days(90)),
        ..KeySpec::new(KeyKind::Rsa2048)
    };
    s.vault.create_key(&name("k"), &spec).unwrap();
    let old = s.wrap("k").unwrap();
    s.vault.create_key(&name("k"), &oct()).unwrap();
    let new = s.wrap("k").unwrap();
    let before = s.vault.key_versions(&name("k"), Page::all()).unwrap();
    let backup = s.vault.backup_key(&name("k")).unwrap();
    s.vault.delete_key(&name("k")).unwrap();
    s.vault.purge_key(&name("k")).unwrap();
    refused(s.unwrap(&old), "KeyNotFound");
    assert_eq!(s.vault.restore_key(&backup).unwrap(), before[1]);
    assert_eq!(
        s.vault.key_versions(&name("k"), Page::all()).unwrap(),
        before
    );
    s.unwrap(&old).unwrap();
    s.unwrap(&new).unwrap();
}

fn a_backup_never_replaces_a_key(s: &Subject<'_>) {
    s.create("k");
    let backup = s.vault.backup_key(&name("k")).unwrap();
    refused(s.vault.restore_key(&backup), "Conflict");
    s.vault.delete_key(&name("k")).unwrap();
    refused(s.vault.restore_key(&backup), "Conflict");
    s.vault.purge_key(&name("k")).unwrap();
    s.vault.restore_key(&backup).unwrap();
}

fn an_altered_backup_is_refused(s: &Subject<'_>) {
    s.create("k");
    let backup = s.vault.backup_key(&name("k")).unwrap();
    s.vault.delete_key(&name("k")).unwrap();
    s.vault.purge_key(&name("k")).unwrap();
    for at in 0..backup.len() {
        let mut altered = backup.clone();
        altered[at] ^= 1;
        refused(s.vault.restore_key(&altered), "BadParameter");
    }
    for len in [0, 1, 40, backup.len() - 1] {
        refused(s.vault.restore_key(&backup[..len]), "BadParameter");
    }
    refused(
        s.vault.restore_key(&[backup.as_slice(), &[0]].concat()),
        "BadParameter",
    );
    s.vault.restore_key(&backup).unwrap();
}

fn every_right_that_changes_moves_the_revision(s: &Subject<'_>) {
    let revision = s.vault.revision();
    let moved = |what: &str, change: &dyn Fn()| {
        let before = revision.load(Ordering::Acquire);
        change();
        assert_ne!(revision.load(Ordering::Acquire), before, "{what}");
    };
    moved("create", &|| drop(s.create("k")));
    let backup = s.vault.backup_key(&name("k")).unwrap();
    let disable = KeyUpdate {
        enabled: Some(false),
        ..Default::default()
    };
    moved("update", &|| s.update("k", disable.clone()).unwrap());
    moved("rotate", &|| drop(s.vault.rotate_key(&name("k")).unwrap()));
    moved("delete", &|| drop(s.vault.delete_key(&name("k")).unwrap()));
    moved("recover", &|| {
        drop(s.vault.recover_key(&name("k")).unwrap())
    });
    s.vault.delete_key(&name("k")).unwrap();
    moved("purge", &|| s.vault.purge_key(&name("k")).unwrap());
    moved("restore", &|| drop(s.vault.restore_key(&backup).unwrap()));
    s.vault.delete_key(&name("k")).unwrap();
    s.clock.advance(days(7));
    moved("the end of the retention", &|| {
        drop(s.vault.keys(Page::all()).unwrap())
    });
}

fn lists_show_live_and_deleted_keys_apart(s: &Subject<'_>) {
    for key in ["b", "A", "c"] {
        s.create(key);
        s.create(key);
    }
    s.vault.delete_key(&name("c")).unwrap();
    let names = |all: Vec<KeyName>| all.iter().map(KeyName::to_string).collect::<Vec<_>>();
    let live = s
        .vault
        .keys(Page::all())
        .unwrap()
        .into_iter()
        .map(|k| k.kid.name)
        .collect();
    let deleted = s
        .vault
        .deleted_keys(Page::all())
        .unwrap()
        .into_iter()
        .map(|k| k.bundle.kid.name)
        .collect();
    assert_eq!(names(live), ["A", "b"]);
    assert_eq!(names(deleted), ["c"]);
}
