use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::base::{KeyRef, KeyVersion, KeyVersionRef, VaultId};
use crate::crypto::{KeyEncryptionKey, KeyKind, WrapAlgorithm};
use crate::vault::{VaultError, WrappedKey};

/// A vault with one key. What another process does to it does not move its revision.
struct OneKey {
    kek: KeyEncryptionKey,
    enabled: Mutex<bool>,
    /// A name of the key under which it is refused.
    refused: Mutex<Option<&'static str>>,
    /// How long it takes to answer, and the clock that tells.
    takes: Mutex<Duration>,
    elapsed: Arc<Mutex<Duration>>,
    revision: Arc<AtomicU64>,
    asked: AtomicUsize,
}

impl OneKey {
    fn set_enabled(&self, enabled: bool) {
        self.set_enabled_elsewhere(enabled);
        self.revision.fetch_add(1, Ordering::Release);
    }

    fn set_enabled_elsewhere(&self, enabled: bool) {
        *self.enabled.lock().unwrap() = enabled;
    }

    fn version() -> KeyVersionRef {
        KeyVersionRef {
            vault: VaultId::from_bytes([1; 16]),
            name: "k".parse().unwrap(),
            version: KeyVersion::from_bytes([2; 16]),
        }
    }
}

impl KeyWrapper for OneKey {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        Ok(WrappedKey {
            key: KeyVersionRef {
                name: key.name.clone(),
                ..Self::version()
            },
            algorithm: WrapAlgorithm::A256Kw,
            bytes: self.kek.wrap(dek).unwrap(),
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.elapsed.lock().unwrap() += *self.takes.lock().unwrap();
        let refused = *self.refused.lock().unwrap() == Some(key.name.as_str());
        if refused || !*self.enabled.lock().unwrap() {
            return Err(VaultError::KeyDisabled(key.to_string()));
        }
        let opened = self.kek.unwrap(algorithm, wrapped);
        opened.map_err(|_| VaultError::UnwrapFailed)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }
}

struct Fixture {
    vault: Arc<OneKey>,
    lease: Lease,
}

impl Fixture {
    fn new() -> Self {
        let elapsed = Arc::new(Mutex::new(Duration::ZERO));
        let vault = Arc::new(OneKey {
            kek: KeyEncryptionKey::generate(KeyKind::Oct256),
            enabled: Mutex::new(true),
            refused: Mutex::default(),
            takes: Mutex::default(),
            elapsed: elapsed.clone(),
            revision: Arc::default(),
            asked: AtomicUsize::new(0),
        });
        let (kind, id) = (ResourceKind::Sql, ResourceId::from_bytes([3; 16]));
        let key = OneKey::version().key();
        let envelope = Envelope::seal(&*vault, &key, kind, id, &Secret::random()).unwrap();
        let monotonic =
            Box::new(move || u64::try_from(elapsed.lock().unwrap().as_nanos()).unwrap());
        let lease = Lease::acquire_by(monotonic, envelope, kind, id, vault.clone()).unwrap();
        Self { vault, lease }
    }

    fn wait(&self, by: Duration) {
        *self.vault.elapsed.lock().unwrap() += by;
    }

    fn asked(&self) -> usize {
        self.vault.asked.load(Ordering::Relaxed)
    }

    /// An envelope of the lease's key, or of another one, by the vault's key under another name.
    fn rewrapped(&self, name: &str, dek: Option<&Secret<32>>) -> Envelope {
        let mut key = OneKey::version().key();
        key.name = name.parse().unwrap();
        let (kind, id) = (ResourceKind::Sql, ResourceId::from_bytes([3; 16]));
        let seal = |dek: &Secret<32>| Envelope::seal(&*self.vault, &key, kind, id, dek);
        match dek {
            Some(dek) => seal(dek).unwrap(),
            None => self.lease.with_key(seal).unwrap().unwrap(),
        }
    }

    /// Follows what the file has, which is given.
    fn following(self) -> (Self, Arc<Mutex<Option<Envelope>>>) {
        let file = Arc::new(Mutex::new(None));
        let read = file.clone();
        let newest: Newest = Box::new(move || Option::clone(&read.lock().unwrap()));
        let lease = self.lease.following(newest);
        (Self { lease, ..self }, file)
    }

    fn holds_a_key(&self) -> bool {
        self.lease.read().unwrap().held.is_ok()
    }
}

#[test]
fn a_key_disabled_in_this_process_stops_at_the_next_check() {
    let f = Fixture::new();
    assert_eq!(f.lease.check().unwrap(), 0);
    f.vault.set_enabled(false);
    let refused = f.lease.check().unwrap_err();
    assert!(refused.to_string().contains("KeyDisabled"), "{refused}");
    assert!(f.lease.with_key(|_| ()).is_err());
}

#[test]
fn a_refusal_wipes_the_key_and_makes_derived_keys_stale() {
    let f = Fixture::new();
    assert!(f.holds_a_key());
    f.vault.set_enabled(false);
    assert!(f.lease.check().is_err());
    assert!(!f.holds_a_key());
    f.vault.set_enabled(true);
    assert_eq!(f.lease.check().unwrap(), 1);
    // Refused twice in a row, it was lost once.
    f.vault.set_enabled(false);
    assert!(f.lease.check().is_err());
    f.wait(LEASE_INTERVAL);
    assert!(f.lease.check().is_err());
    f.vault.set_enabled(true);
    assert_eq!(f.lease.check().unwrap(), 2);
}

#[test]
fn a_key_enabled_again_works_again_with_the_same_key() {
    let f = Fixture::new();
    let fingerprint = |key: &Secret<32>| crate::crypto::hmac_sha256(key, &[]);
    let before = f.lease.with_key(fingerprint).unwrap();
    f.vault.set_enabled(false);
    assert!(f.lease.with_key(fingerprint).is_err());
    f.vault.set_enabled(true);
    assert_eq!(f.lease.with_key(fingerprint).unwrap(), before);
}

#[test]
fn a_change_by_another_process_is_seen_within_the_interval() {
    let f = Fixture::new();
    f.vault.set_enabled_elsewhere(false);
    f.wait(STANDS - Duration::from_nanos(1));
    assert!(
        f.lease.check().is_ok(),
        "not asked yet: the interval is what it costs"
    );
    f.wait(Duration::from_nanos(1));
    assert!(f.lease.check().is_err());

    f.vault.set_enabled_elsewhere(true);
    assert!(f.lease.check().is_err());
    f.wait(LEASE_INTERVAL);
    assert!(f.lease.check().is_ok());
}

#[test]
fn the_key_that_another_process_put_it_under_is_the_one_that_stops_it() {
    let (f, file) = Fixture::new().following();
    let new = f.rewrapped("new", None);
    *file.lock().unwrap() = Some(new.clone());
    *f.vault.refused.lock().unwrap() = Some("new");
    f.wait(STANDS - Duration::from_nanos(1));
    assert!(f.lease.check().is_ok(), "not asked yet");
    f.wait(Duration::from_nanos(1));
    assert!(f.lease.check().is_err());
    assert!(!f.holds_a_key());

    *f.vault.refused.lock().unwrap() = None;
    f.wait(LEASE_INTERVAL);
    assert!(f.lease.check().is_ok());
    assert_eq!(f.lease.envelope(), new);
    // What it was under before counts for nothing.
    *f.vault.refused.lock().unwrap() = Some("k");
    f.wait(LEASE_INTERVAL);
    assert!(f.lease.check().is_ok());
}

#[test]
fn an_envelope_of_another_key_is_not_followed() {
    let (f, file) = Fixture::new().following();
    let fingerprint = |key: &Secret<32>| crate::crypto::hmac_sha256(key, &[]);
    let used = f.lease.envelope();
    let before = f.lease.with_key(fingerprint).unwrap();
    *file.lock().unwrap() = Some(f.rewrapped("new", Some(&Secret::random())));
    f.wait(LEASE_INTERVAL);
    assert_eq!(f.lease.with_key(fingerprint).unwrap(), before);
    assert_eq!(f.lease.envelope(), used);
    // Nor does it keep the key from being revoked.
    *f.vault.refused.lock().unwrap() = Some("k");
    f.wait(LEASE_INTERVAL);
    assert!(f.lease.check().is_err());
}

#[test]
fn the_vault_is_not_asked_for_every_page() {
    let f = Fixture::new();
    let asked = f.asked();
    (0..1000).for_each(|_| f.lease.with_key(|_| ()).unwrap());
    assert_eq!(f.asked(), asked);
    f.wait(LEASE_INTERVAL);
    (0..1000).for_each(|_| f.lease.with_key(|_| ()).unwrap());
    assert_eq!(f.asked(), asked + 1);
    // Nor by those who try again and again after a refusal.
    f.vault.set_enabled(false);
    (0..1000).for_each(|_| assert!(f.lease.check().is_err()));
    assert_eq!(f.asked(), asked + 2);
}

/// Each would wait for as long as the vault needs to be given up.
#[test]
fn a_refusal_that_came_late_is_not_asked_for_again_by_all_who_waited() {
    let f = Fixture::new();
    let asked = f.asked();
    *f.vault.takes.lock().unwrap() = 5 * LEASE_INTERVAL;
    f.vault.set_enabled_elsewhere(false);
    f.wait(LEASE_INTERVAL);
    (0..100).for_each(|_| assert!(f.lease.check().is_err()));
    assert_eq!(f.asked(), asked + 1);
    f.wait(LEASE_INTERVAL);
    f.vault.set_enabled_elsewhere(true);
    f.lease.check().unwrap();
    assert_eq!(f.asked(), asked + 2);
}

#[test]
fn an_answer_that_came_late_is_not_taken_for_a_new_one() {
    let f = Fixture::new();
    f.wait(LEASE_INTERVAL);
    let asked = f.asked();
    *f.vault.takes.lock().unwrap() = 5 * LEASE_INTERVAL;
    f.lease.check().unwrap();
    // It was asked for five intervals ago.
    f.lease.check().unwrap();
    assert_eq!(f.asked(), asked + 2);
}
