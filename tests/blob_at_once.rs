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

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::base::{ResourceId, at_once};
use atrest::crypto::random_id;
use atrest::resource::blob::{
    Attributes, BlobInfo, CHUNK_LEN, Conditions, Encryption, Matching, PackId, StorageAccount,
    WrittenBlob,
};
use atrest::resource::{Protection, ResourceError, Wrapper};
use atrest::vault::Runner;
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

fn write(
    account: &StorageAccount,
    blob: &str,
    data: &[u8],
    conditions: &Conditions,
) -> Result<WrittenBlob, ResourceError> {
    let (mut source, under) = (data, Encryption::default());
    let mut said = || Ok(Attributes::default());
    account.write_blob(
        &name(blob),
        &mut source,
        under,
        conditions,
        &mut said,
        &mut |_| (),
    )
}

type Job = Box<dyn FnOnce() + Send>;
type Told = Arc<Mutex<Vec<(String, Result<BlobInfo, ResourceError>)>>>;

/// Jobs that are run when the test says so, and whatever was told.
#[derive(Default)]
struct Later {
    jobs: Arc<Mutex<Vec<Job>>>,
    told: Told,
}

impl Later {
    fn commit(&self, account: &Arc<StorageAccount>, blob: &str, written: WrittenBlob) {
        let jobs = self.jobs.clone();
        let run: Runner = Arc::new(move |job| jobs.lock().unwrap().push(job));
        let (told, blob) = (self.told.clone(), blob.to_owned());
        let tell = move |committed| told.lock().unwrap().push((blob, committed));
        account.commit_later(written, &run, Box::new(tell));
    }

    fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut *self.jobs.lock().unwrap())
    }

    fn run_jobs(&self) {
        loop {
            let jobs = self.take_jobs();
            if jobs.is_empty() {
                return;
            }
            jobs.into_iter().for_each(|job| job());
        }
    }

    /// What was told of each since this was last asked, by name: whether it was committed.
    fn told(&self) -> Vec<(String, bool)> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        told.into_iter()
            .map(|(b, done)| (b, done.is_ok()))
            .collect()
    }
}

fn shared(fixture: Fixture) -> (Arc<StorageAccount>, Fixture) {
    let again = fixture.open().unwrap();
    let account = Arc::new(fixture.account);
    let fixture = Fixture {
        account: again,
        vault: fixture.vault,
        temp: fixture.temp,
        store: fixture.store,
    };
    (account, fixture)
}

#[test]
fn put_that_may_not_wait_is_told_of_when_it_is_durable_and_not_before() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        let (account, fixture) = shared(fixture);
        let any = Conditions::default();
        let put_at_once = |blob| at_once(|| write(&account, blob, b"data", &any));
        // A file of its own would have to be made, and no pack is there.
        assert!(put_at_once("alone").is_none());
        assert!(!account.has_writers() && fixture.extents().is_empty());
        let others = [
            write(&account, "first", b"data", &any).unwrap(),
            write(&account, "second", b"data", &any).unwrap(),
        ];
        assert!(account.has_writers());
        let written = put_at_once("third").unwrap().unwrap();
        assert_eq!(fixture.places().len(), 3);

        let later = Later::default();
        later.commit(&account, "third", written);
        for (blob, written) in ["first", "second"].into_iter().zip(others) {
            later.commit(&account, blob, written);
        }
        let mut jobs = later.take_jobs();
        assert_eq!(jobs.len(), 1, "one leads");
        assert!(later.told().is_empty());
        let missing = fixture.get("third").unwrap_err();
        assert!(matches!(missing, ResourceError::NotFound(_)));
        jobs.pop().unwrap()();
        let all = ["third", "first", "second"];
        assert_eq!(later.told(), all.map(|blob| (blob.to_owned(), true)));
        assert!(!account.has_writers());
        let fixture = fixture.reopen().unwrap();
        for blob in all {
            assert_eq!(fixture.get(blob).unwrap(), b"data", "{blob}");
        }
        // The next ones find a leader again.
        later.commit(
            &account,
            "next",
            write(&account, "next", b"next", &any).unwrap(),
        );
        later.run_jobs();
        assert_eq!(later.told(), [("next".to_owned(), true)]);
        assert_eq!(fixture.get("next").unwrap(), b"next");
    }
}

#[test]
fn blob_that_is_refused_in_a_group_takes_no_other_along_and_leaves_nothing() {
    let (account, fixture) = shared(Fixture::protected());
    put_bytes(&account, "there", b"as it was");
    let new = Conditions {
        if_none_match: Some(Matching::Any),
        ..Conditions::default()
    };
    let any = Conditions::default();
    // Both are new when they are written, and one of them when they are committed.
    let puts = [
        ("one", b"first", &new),
        ("one", b"later", &new),
        ("there", b"again", &any),
        ("other", b"other", &any),
    ];
    let later = Later::default();
    for (blob, data, conditions) in puts {
        let written = write(&account, blob, data, conditions).unwrap();
        later.commit(&account, blob, written);
    }
    // Somebody else is quicker.
    let written = write(&account, "quick", b"mine", &new).unwrap();
    put_bytes(&fixture.account, "quick", b"his");
    later.commit(&account, "quick", written);
    later.run_jobs();
    let done = [
        ("one", true),
        ("one", false),
        ("there", true),
        ("other", true),
        ("quick", false),
    ];
    assert_eq!(later.told(), done.map(|(b, done)| (b.to_owned(), done)));
    for (blob, data) in [
        ("one", &b"first"[..]),
        ("there", b"again"),
        ("other", b"other"),
        ("quick", b"his"),
    ] {
        assert_eq!(fixture.get(blob).unwrap(), data, "{blob}");
    }
    assert_eq!(fixture.places().len(), 4, "what is not named is gone");
}

#[test]
fn blobs_whose_commit_nobody_runs_are_told_to_nobody_and_leave_nothing() {
    let (account, fixture) = shared(Fixture::protected());
    let any = Conditions::default();
    put_bytes(&account, "there", b"as it was");
    let later = Later::default();
    for blob in ["there", "new"] {
        let written = write(&account, blob, b"lost", &any).unwrap();
        later.commit(&account, blob, written);
    }
    assert!(account.has_writers());
    // As a runtime does that ends.
    drop(later.take_jobs());
    assert!(later.told().is_empty());
    assert!(!account.has_writers());
    assert_eq!(fixture.get("there").unwrap(), b"as it was");
    assert_eq!(fixture.places().len(), 1);
    let written = write(&account, "new", b"again", &any).unwrap();
    later.commit(&account, "new", written);
    later.run_jobs();
    assert_eq!(later.told(), [("new".to_owned(), true)]);
    assert_eq!(fixture.get("new").unwrap(), b"again");
}

#[test]
fn panic_of_one_who_is_told_keeps_nobody_waiting() {
    let (account, fixture) = shared(Fixture::protected());
    let any = Conditions::default();
    let later = Arc::new(Later::default());
    let first = write(&account, "first", b"first", &any).unwrap();
    let second = Mutex::new(Some(write(&account, "second", b"second", &any).unwrap()));
    let (also, of) = (later.clone(), account.clone());
    let tell = Box::new(move |committed: Result<BlobInfo, ResourceError>| {
        committed.unwrap();
        // It comes while the other leads.
        also.commit(&of, "second", second.lock().unwrap().take().unwrap());
        assert!(also.take_jobs().is_empty());
        panic!("on purpose");
    });
    let jobs = later.jobs.clone();
    let run: Runner = Arc::new(move |job| jobs.lock().unwrap().push(job));
    account.commit_later(first, &run, tell);
    let job = later.take_jobs().pop().unwrap();
    let led = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    assert!(led.is_err());
    assert!(later.told().is_empty());
    later.run_jobs();
    assert_eq!(later.told(), [("second".to_owned(), true)]);
    assert_eq!(fixture.get("first").unwrap(), b"first");
    assert_eq!(fixture.get("second").unwrap(), b"second");
    assert!(!account.has_writers());
}

#[test]
fn pack_that_was_emptied_while_a_put_was_under_way_goes_after_it() {
    let (account, fixture) = shared(Fixture::protected());
    let any = Conditions::default();
    let write = |blob: &str| write(&account, blob, b"data", &any).unwrap();
    let later = Later::default();
    let names = ["first", "second", "third"];
    let written: Vec<_> = names.iter().map(|blob| write(blob)).collect();
    for (blob, written) in names.iter().zip(written) {
        later.commit(&account, blob, written);
    }
    later.run_jobs();
    let packs = || {
        let mut files = fixture.extents();
        files.retain(|file| {
            file.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .parse::<PackId>()
                .is_ok()
        });
        files.len()
    };
    assert_eq!(packs(), 1);
    let last = write("last");
    for blob in names {
        account.delete(&name(blob), &any).unwrap();
    }
    assert_eq!(packs(), 1, "somebody may be about to write to it");
    later.commit(&account, "last", last);
    later.run_jobs();
    assert_eq!(packs(), 0);
    assert_eq!(fixture.get("last").unwrap(), b"data");
}
