//! A right that is taken away at the server reaches a resource in another process: the key's lease asks
//! again when its interval has passed, and an answer that does not come is a refusal.
//!
//! No time is measured here. What is waited for comes, or the test fails after a minute.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::envelope::{Envelope, EnvelopeError, Lease, ResourceKind};
use atrest::vault::{KeyVault, KeyWrapper, RemoteOptions, RemoteVault};
use rustix::process::Signal;

use crate::client::{Served, atrest};
use crate::uses::{as_identity, options};

const FOR_EVER: Duration = Duration::from_secs(60);

fn lease(options: &RemoteOptions) -> Lease {
    let vault = RemoteVault::open(options).unwrap();
    let key = vault
        .key(&"customer-key".parse().unwrap(), None)
        .unwrap()
        .kid
        .key();
    let (kind, id) = (ResourceKind::Sql, ResourceId::from_bytes([3; 16]));
    let wrapper: Arc<dyn KeyWrapper> = Arc::new(vault);
    let envelope = Envelope::seal(&*wrapper, &key, kind, id, &Secret::random()).unwrap();
    Lease::acquire(envelope, kind, id, wrapper).unwrap()
}

fn refused(lease: &Lease) -> Arc<EnvelopeError> {
    let end = Instant::now() + FOR_EVER;
    loop {
        match lease.with_key(|_| ()) {
            Err(refused) => return refused,
            Ok(()) => assert!(Instant::now() < end, "the key is used for ever"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn healed(lease: &Lease) {
    let end = Instant::now() + FOR_EVER;
    while let Err(refused) = lease.with_key(|_| ()) {
        assert!(Instant::now() < end, "it does not heal: {refused}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn ok(served: &Served, args: &[&str]) {
    let ran = atrest(served.dir.path(), args).output().unwrap();
    assert!(ran.status.success(), "{args:?}: {ran:?}");
}

#[test]
fn a_key_disabled_or_deleted_at_the_server_stops_and_heals() {
    let served = Served::new(&[]);
    let lease = lease(&options(&served));
    for (take, give, why) in [
        ("disable", "enable", "KeyDisabled"),
        ("delete", "recover", "was deleted; recover it"),
    ] {
        lease.with_key(|_| ()).unwrap();
        ok(&served, &["key", take, "customer-key"]);
        let refused = refused(&lease).to_string();
        assert!(refused.contains(why), "{refused}");
        ok(&served, &["key", give, "customer-key"]);
        healed(&lease);
    }
}

#[test]
fn an_identity_that_is_removed_stops() {
    let served = Served::new(&[]);
    let role = "Key Vault Crypto Service Encryption User";
    let lease = lease(&as_identity(&served, "app", role));
    lease.with_key(|_| ()).unwrap();
    ok(&served, &["identity", "remove", "app"]);
    let why = refused(&lease).to_string();
    assert!(why.contains("does not let this client"), "{why}");
}

#[test]
fn a_vault_that_is_sealed_stops_and_heals() {
    let served = Served::new(&[]);
    let lease = lease(&options(&served));
    lease.with_key(|_| ()).unwrap();
    let words = served.dir.path().join("words");
    std::fs::write(&words, "correct horse battery\n").unwrap();
    let words = words.to_str().unwrap();
    ok(&served, &["vault", "seal", "--new-passphrase-file", words]);
    let why = refused(&lease).to_string();
    assert!(why.contains("the vault is sealed"), "{why}");
    ok(&served, &["vault", "unseal", "--passphrase-file", words]);
    healed(&lease);
}

#[test]
fn a_server_that_is_gone_stops_and_one_in_its_place_heals() {
    let mut served = Served::new(&[]);
    let lease = lease(&options(&served));
    lease.with_key(|_| ()).unwrap();
    served.kill();
    let why = refused(&lease).to_string();
    assert!(why.contains("cannot be reached"), "{why}");
    let port = served.address.port().to_string();
    let dir = std::mem::replace(&mut served.dir, tempfile::tempdir().unwrap());
    let _again = Served::at(dir, &["--port", &port]);
    healed(&lease);
}

/// A process that is stopped keeps its connections, and answers nothing.
#[test]
fn a_server_that_hangs_holds_nobody_for_ever() {
    let served = Served::new(&[]);
    let lease = lease(&options(&served));
    lease.with_key(|_| ()).unwrap();
    served.signal(Signal::STOP);
    // Many threads wait, and none of them waits for each other's waiting.
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let why = refused(&lease).to_string();
                assert!(why.contains("cannot be reached"), "{why}");
            });
        }
    });
    assert!(begun.elapsed() < FOR_EVER);
    served.signal(Signal::CONT);
    healed(&lease);
}
