//! A thread that serves many connections tries to answer at once. Were it to wait for one account's vault there, all of
//! them would.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use accounts::{bytes, name, put_bytes};
use atrest::base::{ResourceId, at_once};
use atrest::crypto::random_id;
use atrest::resource::blob::{CHUNK_LEN, Conditions, Encryption, StorageAccount};
use atrest::resource::{Protection, ResourceError, Wrapper};
use key_wrapper::{Asked, Meddled, MemoryVault};

/// What a vault waits for while it is shut.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    /// How many ever came, and how many wait.
    asked: AtomicUsize,
    waiting: AtomicUsize,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let shut = self.shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

fn get(account: &StorageAccount) -> Result<Vec<u8>, ResourceError> {
    let (blob, any) = (name("blob"), Conditions::default());
    let encryption = Encryption::Unspecified;
    let reader = account.reader(&blob, encryption, &any, &mut |info| Ok(0..info.size))?;
    let mut got = Vec::new();
    reader.read_pieces(&mut |piece| {
        got.extend_from_slice(piece.as_ref());
        Ok(())
    })?;
    Ok(got)
}

#[test]
fn vault_that_does_not_answer_stops_nobody_who_must_not_wait() {
    let vault = MemoryVault::new();
    let (key, service) = (vault.add("customer"), vault.add("service"));
    let gate = Arc::new(Gate::default());
    let wrapper: Wrapper = {
        let gate = gate.clone();
        Meddled::new(&vault, move |asked| {
            if asked == Asked::Unwrap {
                gate.pass();
            }
            Ok(())
        })
    };
    let temp = tempfile::tempdir().unwrap();
    let (dir, id) = (
        temp.path().join("account"),
        random_id(ResourceId::from_bytes),
    );
    let protection = Protection::CustomerManaged { key };
    let account = StorageAccount::create(&dir, id, protection, Some(&service), &wrapper).unwrap();
    let data = bytes(CHUNK_LEN + 3);
    put_bytes(&account, "blob", &data);
    let at_once = || at_once(|| get(&account));

    // The key is at hand: whether a lease ran out meanwhile is the clock's affair, so as often as it takes.
    let answered = |end: Instant| {
        while Instant::now() < end {
            if let Some(got) = at_once() {
                return got.unwrap() == data;
            }
            assert_eq!(get(&account).unwrap(), data);
        }
        false
    };
    let soon = || Instant::now() + Duration::from_secs(60);
    assert!(answered(soon()));

    // Something changed in the vault: it must be asked, and is not from here.
    gate.set(true);
    vault.add("another");
    let before = gate.asked.load(Ordering::SeqCst);
    assert!(at_once().is_none());
    assert_eq!(gate.asked.load(Ordering::SeqCst), before);

    thread::scope(|scope| {
        // Another thread asks, holding what it holds meanwhile.
        let other = scope.spawn(|| get(&account));
        while gate.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert!(at_once().is_none());
        assert!(!other.is_finished());
        gate.set(false);
        assert_eq!(other.join().unwrap().unwrap(), data);
    });
    assert!(answered(soon()), "it is at hand again");

    // A key that was taken away gives nothing here either.
    vault.enable("customer", false);
    assert!(at_once().is_none());
    let refused = get(&account).unwrap_err();
    assert!(matches!(refused, ResourceError::KeyUnavailable { .. }));
    assert!(at_once().is_none());
}
