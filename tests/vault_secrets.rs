//! What a vault promises of secrets. Each refusal has an allowed twin.

#![allow(clippy::unwrap_used)]

#[path = "common/vault.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use atrest::base::{KeyName, ManualClock};
use atrest::crypto::SecretBytes;
use atrest::vault::{
    AuditFilter, LocalVault, Page, SecretBundle, SecretSpec, SecretUpdate, SecretVault, Tags,
    VaultError,
};
use common::{A_WEEK, days, name, new_vault, refused, start};

struct Subject {
    vault: LocalVault,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

fn subject() -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let (vault, clock) = new_vault(dir.path(), &A_WEEK);
    Subject { vault, clock, dir }
}

impl Subject {
    fn set(&self, secret: &str, value: &[u8]) -> Result<SecretBundle, VaultError> {
        let value = SecretBytes::from_vec(value.to_vec());
        self.vault
            .set_secret(&name(secret), &value, &SecretSpec::default())
    }

    fn value(&self, secret: &str) -> Result<Vec<u8>, VaultError> {
        let got = self.vault.secret(&name(secret), None)?;
        Ok(got.value.expose().to_vec())
    }

    fn operations(&self) -> Vec<(String, String)> {
        let all = self.vault.audit(&AuditFilter::default()).unwrap();
        let all = all.into_iter().skip(1);
        all.map(|r| (r.operation_name, r.result_signature))
            .collect()
    }
}

#[test]
fn a_secret_reads_back_version_by_version_and_each_reading_is_recorded() {
    let s = subject();
    let first = s.set("s", b"one").unwrap();
    let second = s.set("S", b"two").unwrap();
    assert_eq!(s.value("s").unwrap(), b"two");
    let old = s.vault.secret(&name("s"), Some(first.id.version)).unwrap();
    assert_eq!((old.value.expose(), &old.bundle), (&b"one"[..], &first));
    let versions = s.vault.secret_versions(&name("s"), Page::all()).unwrap();
    assert_eq!(versions, [first.clone(), second.clone()]);
    let listed = s.vault.secrets(Page::all()).unwrap();
    assert_eq!(listed, std::slice::from_ref(&second));
    refused(s.value("none"), "SecretNotFound");
    let done = |operation: &str, result: &str| (operation.to_owned(), result.to_owned());
    assert_eq!(
        s.operations(),
        [
            done("SecretSet", "OK"),
            done("SecretSet", "OK"),
            done("SecretGet", "OK"),
            done("SecretGet", "OK"),
            done("SecretGet", "SecretNotFound"),
        ]
    );
    let records = s.vault.audit(&AuditFilter::default()).unwrap();
    assert_eq!(records[3].kid.as_deref(), Some(&*second.id.to_string()));
    assert_eq!(records[4].kid.as_deref(), Some(&*first.id.to_string()));
    s.vault.verify_audit().unwrap();
}

#[test]
fn a_value_or_content_type_that_is_too_long_is_refused() {
    let s = subject();
    s.set("s", &[1; 25 * 1024]).unwrap();
    s.set("s", b"").unwrap();
    refused(s.set("s", &[1; 25 * 1024 + 1]), "BadParameter");
    let typed = |len: usize| {
        let spec = SecretSpec {
            content_type: Some("x".repeat(len)),
            ..SecretSpec::default()
        };
        let value = SecretBytes::from_vec(b"v".to_vec());
        s.vault.set_secret(&name("t"), &value, &spec)
    };
    typed(255).unwrap();
    refused(typed(256), "BadParameter");
}

#[test]
fn a_disabled_secret_is_not_read_and_dates_do_not_matter() {
    let s = subject();
    let made = s.set("s", b"value").unwrap();
    let tags = Tags::try_from(BTreeMap::from([("a".to_owned(), "b".to_owned())])).unwrap();
    let update = SecretUpdate {
        enabled: Some(false),
        expires: Some(Some(start() + days(1))),
        content_type: Some("text/plain".into()),
        tags: Some(tags.clone()),
        ..SecretUpdate::default()
    };
    let updated = s.vault.update_secret(&name("s"), None, &update).unwrap();
    assert_eq!(updated.id, made.id);
    assert_eq!(
        (updated.content_type.as_deref(), &updated.tags),
        (Some("text/plain"), &tags)
    );
    assert_eq!(s.vault.secrets(Page::all()).unwrap(), [updated]);
    refused(s.value("s"), "SecretDisabled");
    let enable = SecretUpdate {
        enabled: Some(true),
        ..SecretUpdate::default()
    };
    let kept = s.vault.update_secret(&name("s"), None, &enable).unwrap();
    assert_eq!(kept.attributes.expires, Some(start() + days(1)));
    s.clock.advance(days(2));
    assert_eq!(s.value("s").unwrap(), b"value");
    let cleared = SecretUpdate {
        expires: Some(None),
        ..SecretUpdate::default()
    };
    let cleared = s.vault.update_secret(&name("s"), None, &cleared).unwrap();
    assert_eq!(cleared.attributes.expires, None);
    let backwards = SecretUpdate {
        not_before: Some(Some(start() + days(2))),
        expires: Some(Some(start() + days(1))),
        ..SecretUpdate::default()
    };
    refused(
        s.vault.update_secret(&name("s"), None, &backwards),
        "BadParameter",
    );
}

#[test]
fn a_deleted_secret_keeps_its_name_and_comes_back_or_goes_for_good() {
    let s = subject();
    s.set("s", b"value").unwrap();
    refused(s.vault.recover_secret(&name("s")), "Conflict");
    refused(s.vault.purge_secret(&name("s")), "Conflict");
    let counted = || {
        let status = s.vault.status().unwrap();
        (status.secrets, status.deleted_secrets)
    };
    assert_eq!(counted(), (1, 0));
    let deleted = s.vault.delete_secret(&name("s")).unwrap();
    assert_eq!(counted(), (0, 1));
    assert_eq!(deleted.scheduled_purge, start() + days(7));
    let listed = s.vault.deleted_secrets(Page::all()).unwrap();
    assert_eq!(listed, std::slice::from_ref(&deleted));
    assert_eq!(s.vault.deleted_secret(&name("s")).unwrap(), deleted);
    refused(s.value("s"), "SecretNotFound");
    refused(s.set("s", b"other"), "Conflict");
    s.vault.recover_secret(&name("s")).unwrap();
    assert_eq!(s.value("s").unwrap(), b"value");
    refused(s.vault.deleted_secret(&name("s")), "SecretNotFound");

    s.vault.delete_secret(&name("s")).unwrap();
    s.vault.purge_secret(&name("s")).unwrap();
    s.set("s", b"new").unwrap();
    assert_eq!(s.value("s").unwrap(), b"new");
    // By itself, when the retention has passed.
    s.vault.delete_secret(&name("s")).unwrap();
    s.clock.advance(days(7));
    assert_eq!(s.vault.deleted_secrets(Page::all()).unwrap(), []);
    refused(s.vault.recover_secret(&name("s")), "SecretNotFound");
    let purged = s
        .operations()
        .into_iter()
        .filter(|(o, _)| o == "SecretPurge");
    assert_eq!(purged.filter(|(_, result)| result == "OK").count(), 2);
    s.vault.verify_audit().unwrap();
}

#[test]
fn purge_protection_holds_for_secrets() {
    let s = subject();
    s.set("s", b"value").unwrap();
    s.vault.enable_purge_protection().unwrap();
    s.vault.delete_secret(&name("s")).unwrap();
    refused(s.vault.purge_secret(&name("s")), "Forbidden");
    s.vault.recover_secret(&name("s")).unwrap();
}

#[test]
fn a_backup_restores_every_version_and_never_replaces_a_secret() {
    let s = subject();
    s.set("s", b"one").unwrap();
    s.set("s", b"two").unwrap();
    let before = s.vault.secret_versions(&name("s"), Page::all()).unwrap();
    let backup = s.vault.backup_secret(&name("s")).unwrap();
    assert!(!backup.windows(3).any(|w| w == b"two"));
    refused(s.vault.restore_secret(&backup), "Conflict");
    s.vault.delete_secret(&name("s")).unwrap();
    refused(s.vault.restore_secret(&backup), "Conflict");
    s.vault.purge_secret(&name("s")).unwrap();
    for at in [0, 8, 12, 28, 45, backup.len() - 1] {
        let mut altered = backup.clone();
        altered[at] ^= 1;
        refused(s.vault.restore_secret(&altered), "BadParameter");
    }
    s.vault.restore_secret(&backup).unwrap();
    assert_eq!(
        s.vault.secret_versions(&name("s"), Page::all()).unwrap(),
        before
    );
    assert_eq!(s.value("s").unwrap(), b"two");
}

#[test]
fn pages_of_secrets_show_each_once() {
    let s = subject();
    for n in 0..5 {
        s.set(&format!("secret-{n}"), b"v").unwrap();
    }
    let page = |after: Option<KeyName>| {
        s.vault
            .secrets(Page {
                after,
                limit: Some(2),
            })
            .unwrap()
    };
    let mut seen: Vec<KeyName> = Vec::new();
    loop {
        let found = page(seen.last().cloned());
        if found.is_empty() {
            break;
        }
        seen.extend(found.into_iter().map(|secret| secret.id.name));
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn no_byte_of_a_secret_lies_in_the_vaults_files() {
    let s = subject();
    let canary = b"canary-7f3a9c51-of-a-secret";
    s.set("s", canary).unwrap();
    assert_eq!(s.value("s").unwrap(), canary);
    let mut looked_at = 0;
    for entry in std::fs::read_dir(s.dir.path().join("vault")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(canary.len()).any(|w| w == canary));
        looked_at += bytes.len();
    }
    assert!(looked_at > 4096);
}
