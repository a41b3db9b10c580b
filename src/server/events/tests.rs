//! What is told of a vault, and when.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use jiff::SignedDuration;

use super::watch::{FILE, Told};
use crate::base::{Clock, KeyName, ManualClock};
use crate::crypto::{KeyKind, SecretBytes};
use crate::server::{AccessPolicy, Home, KeyPermission, ServerError};
use crate::vault::{
    KeySpec, KeyUpdate, KeyVault, LocalVault, RootKeySource, RotationPolicy, SecretSpec,
    SecretUpdate, SecretVault, VaultSettings,
};

struct Watched {
    vault: LocalVault,
    clock: Arc<ManualClock>,
    told: Told,
    _temp: tempfile::TempDir,
}

impl Watched {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap()));
        let root = RootKeySource::KeyFile(temp.path().join("root.key"));
        let settings = VaultSettings::default();
        let dir = temp.path().join("vault");
        let vault = LocalVault::create(&dir, &root, &settings, clock.clone()).unwrap();
        Self {
            vault,
            clock,
            told: Told::nothing(),
            _temp: temp,
        }
    }

    fn days(&self, days: i64) {
        self.clock.advance(SignedDuration::from_hours(24 * days));
    }

    /// What is told now; also after a restart nothing of it is told again.
    fn look(&mut self) -> Vec<String> {
        let now = self.clock.now();
        let events = self.told.of("customer").look(&self.vault, now).unwrap();
        self.told = serde_json::from_slice(&self.told.to_json()).unwrap();
        let mut again = self.told.clone();
        assert_eq!(again.of("customer").look(&self.vault, now).unwrap(), []);
        events
            .iter()
            .map(|e| format!("{} {}", e.kind(), e.name))
            .collect()
    }

    fn create(&self, name: &str, spec: &KeySpec) {
        self.vault.create_key(&name.parse().unwrap(), spec).unwrap();
    }

    fn expiring(&self, days: i64) -> KeySpec {
        KeySpec {
            expires: Some(self.clock.now() + SignedDuration::from_hours(24 * days)),
            ..KeySpec::new(KeyKind::EcP256)
        }
    }
}

#[test]
fn a_key_that_is_about_to_expire_is_told_once_and_its_end_too() {
    let mut watched = Watched::new();
    assert!(watched.look().is_empty());
    watched.create("k", &watched.expiring(90));
    assert_eq!(
        watched.look(),
        ["Microsoft.KeyVault.KeyNewVersionCreated k"]
    );
    watched.days(59);
    assert!(watched.look().is_empty());
    watched.days(1);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.KeyNearExpiry k"]);
    watched.days(29);
    assert!(watched.look().is_empty());
    watched.days(1);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.KeyExpired k"]);
    // Another date, another end.
    let later = KeyUpdate {
        expires: Some(watched.expiring(10).expires),
        ..KeyUpdate::default()
    };
    watched
        .vault
        .update_key(&"k".parse().unwrap(), None, &later)
        .unwrap();
    assert_eq!(watched.look(), ["Microsoft.KeyVault.KeyNearExpiry k"]);
    watched.days(400);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.KeyExpired k"]);
}

#[test]
fn a_look_that_failed_half_way_tells_nothing_and_hides_nothing() {
    let mut watched = Watched::new();
    watched.create("old", &watched.expiring(400));
    let before = watched.told.of("customer").clone();
    watched
        .vault
        .seal(SecretBytes::from_vec(b"correct horse battery".to_vec()))
        .unwrap();
    let now = watched.clock.now();
    assert!(
        watched
            .told
            .of("customer")
            .look(&watched.vault, now)
            .is_err()
    );
    assert_eq!(*watched.told.of("customer"), before);
}

#[test]
fn a_policy_says_when_its_key_is_told_and_rotations_are_told_without_anybody_asking() {
    use crate::vault::RotationTrigger::TimeAfterCreate;
    let mut watched = Watched::new();
    let name = "k".parse().unwrap();
    watched.create("k", &watched.expiring(100));
    watched.create("unpoliced", &watched.expiring(100));
    assert!(watched.look().is_empty(), "they were there before");
    let policy = RotationPolicy {
        rotate: Some(TimeAfterCreate("P80D".parse().unwrap())),
        notify_before_expiry: Some("P60D".parse().unwrap()),
        expiry: Some("P100D".parse().unwrap()),
        ..RotationPolicy::default()
    };
    watched.vault.set_rotation_policy(&name, &policy).unwrap();
    watched.days(40);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.KeyNearExpiry k"]);
    watched.days(40);
    assert_eq!(
        watched.look(),
        [
            "Microsoft.KeyVault.KeyNewVersionCreated k",
            "Microsoft.KeyVault.KeyNearExpiry unpoliced",
        ]
    );
}

#[test]
fn what_happened_while_nobody_looked_is_told_afterwards() {
    let mut watched = Watched::new();
    let spec = KeySpec::new(KeyKind::EcP256);
    let name: KeyName = "Old".parse().unwrap();
    watched.create("Old", &spec);
    watched.create("gone", &spec);
    assert!(watched.look().is_empty());
    watched.create("old", &spec);
    watched.create("old", &spec);
    watched.create("brief", &spec);
    let off = KeyUpdate {
        enabled: Some(false),
        ..KeyUpdate::default()
    };
    watched.vault.update_key(&name, None, &off).unwrap();
    for name in ["brief", "gone"] {
        watched.vault.delete_key(&name.parse().unwrap()).unwrap();
    }
    watched.vault.purge_key(&"gone".parse().unwrap()).unwrap();
    let told = watched.look();
    assert_eq!(
        told,
        [
            "Microsoft.KeyVault.KeyNewVersionCreated Old",
            "Microsoft.KeyVault.KeyNewVersionCreated Old",
            "Microsoft.KeyVault.KeyNewVersionCreated brief",
            "Atrest.KeyVault.KeyDeleted brief",
            "Atrest.KeyVault.KeyDeleted gone",
        ]
    );
    watched.create("gone", &spec);
    watched
        .vault
        .recover_key(&"brief".parse().unwrap())
        .unwrap();
    assert_eq!(
        watched.look(),
        ["Microsoft.KeyVault.KeyNewVersionCreated gone"]
    );
    watched
        .vault
        .update_key(&"gone".parse().unwrap(), None, &off)
        .unwrap();
    assert_eq!(watched.look(), ["Atrest.KeyVault.KeyDisabled gone"]);
    watched.vault.delete_key(&name).unwrap();
    assert_eq!(watched.look(), ["Atrest.KeyVault.KeyDeleted Old"]);
}

#[test]
fn secrets_are_told_as_keys_are() {
    let mut watched = Watched::new();
    watched.look();
    let name = "s".parse().unwrap();
    let value = || SecretBytes::from_vec(b"value".to_vec());
    let spec = SecretSpec {
        expires: watched.expiring(31).expires,
        ..SecretSpec::default()
    };
    watched.vault.set_secret(&name, &value(), &spec).unwrap();
    assert_eq!(
        watched.look(),
        ["Microsoft.KeyVault.SecretNewVersionCreated s"]
    );
    watched.days(1);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.SecretNearExpiry s"]);
    watched.days(30);
    assert_eq!(watched.look(), ["Microsoft.KeyVault.SecretExpired s"]);
    let off = SecretUpdate {
        enabled: Some(false),
        ..SecretUpdate::default()
    };
    watched.vault.update_secret(&name, None, &off).unwrap();
    assert_eq!(watched.look(), ["Atrest.KeyVault.SecretDisabled s"]);
    watched.vault.delete_secret(&name).unwrap();
    assert_eq!(watched.look(), ["Atrest.KeyVault.SecretDeleted s"]);
}

#[test]
fn somebody_who_may_do_more_or_less_than_before_is_told_each_time_and_once() {
    let mut told = Told::nothing();
    let mut look = |keys: Option<&[KeyPermission]>| {
        let policy = keys.map(|keys| AccessPolicy {
            object_id: uuid::Uuid::nil(),
            keys: keys.to_vec(),
            secrets: vec![],
        });
        let policies = policy.map(|policy| vec![("somebody".to_owned(), policy)]);
        let event = told.of("customer").look_at_access(policies)?;
        told = serde_json::from_slice(&told.to_json()).unwrap();
        Some(event.cloud_event(
            "customer",
            "customer.vault.azure.net",
            "2026-01-01T00:00:00Z".parse().unwrap(),
        ))
    };
    assert_eq!(look(None), None, "how it was at first");
    let mut ids = BTreeSet::new();
    for keys in [
        Some(KeyPermission::ALL),
        Some(&KeyPermission::ALL[1..]),
        None,
        Some(KeyPermission::ALL),
    ] {
        let event = look(keys).unwrap();
        assert_eq!(event["type"], "Microsoft.KeyVault.VaultAccessPolicyChanged");
        assert_eq!(event["subject"], "customer");
        assert_eq!(event["data"]["Id"], "https://customer.vault.azure.net");
        assert_eq!(event["data"]["ObjectType"], "Vault");
        assert!(ids.insert(event["id"].to_string()));
        assert_eq!(look(keys), None, "told again");
    }
}

/// docs/format.md, "Server".
#[test]
fn what_was_told_is_refused_when_it_is_not_what_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let home = Home::of(temp.path()).unwrap();
    let good = r#"{"version":1,"vaults":{"customer":{"vault":"000102030405060708090a0b0c0d0e0f","keys":{"k":{"version":"0f0e0d0c0b0a09080706050403020100","enabled":true,"deleted":false,"near_expiry":"2026-01-01T00:00:00Z","expired":null}},"secrets":{},"access":{"sha256":"00","changes":1}}}}"#;
    let read = |text: &str| {
        fs::write(home.file(FILE), text).unwrap();
        Told::read(&home)
    };
    assert_eq!(read(good).unwrap().to_json(), good.as_bytes());
    // As builds wrote it that did not tell of access.
    read(&good.replace(",\"access\":{\"sha256\":\"00\",\"changes\":1}", "")).unwrap();
    let newer = good.replace("\"version\":1", "\"version\":2,\"more\":1");
    assert!(matches!(
        read(&newer),
        Err(ServerError::Newer { version: 2, .. })
    ));
    for bad in [
        String::new(),
        good.replace("\"version\":1", "\"version\":0"),
        good.replace("\"secrets\"", "\"more\":1,\"secrets\""),
        good.replace("\"enabled\":true,", ""),
        good.replace(",\"changes\":1", ""),
        good.replace("\"changes\"", "\"more\":1,\"changes\""),
        good.replace("0001", "x001"),
        good.replace("2026-01-01", "2026-13-01"),
    ] {
        assert!(
            matches!(read(&bad), Err(ServerError::Malformed { .. })),
            "{bad}"
        );
    }
    fs::remove_file(home.file(FILE)).unwrap();
    assert_eq!(Told::read(&home).unwrap(), Told::nothing());
}
