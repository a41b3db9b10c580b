//! A storage account whose extents are objects in an object store: what it has put is there, and what it has not is
//! neither there nor half there, whatever the store does.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::resource::blob::{Conditions, StorageAccount};
use atrest::resource::{ProtectedResource, ResourceError};

use crate::accounts::{Fixture, bytes, name, put_bytes};
use crate::faulty_store::{Fault, FaultyStore};

const MIB: usize = 1 << 20;

fn fixture(store: &FaultyStore, protected: bool) -> Fixture {
    Fixture::over(Arc::new(store.clone()), protected).unwrap()
}

/// Those of extents.
fn extents(store: &FaultyStore) -> Vec<(String, Vec<u8>)> {
    let mut objects = store.objects();
    objects.retain(|(name, _)| !name.ends_with("/writer"));
    objects
}

fn put(account: &StorageAccount, blob: &str, data: &[u8]) -> Result<(), ResourceError> {
    let put = account.put(&name(blob), &mut &data[..], &mut |_| ());
    put.map(drop)
}

fn verify(account: &StorageAccount) -> Result<(), ResourceError> {
    account.verify(&mut |_, _| ()).map(drop)
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(target).unwrap(),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn what_is_put_is_there_again_and_nothing_of_it_is_here() {
    for protected in [true, false] {
        let store = FaultyStore::new();
        let fixture = fixture(&store, protected);
        let lens = [0, 1, 65_536, 65_537, MIB, 9 * MIB + 5];
        for len in lens {
            put_bytes(&fixture.account, &len.to_string(), &bytes(len));
        }
        assert_eq!(extents(&store).len(), lens.len());
        assert!(fixture.extents().is_empty());
        let fixture = fixture.reopen().unwrap();
        for len in lens {
            assert!(
                fixture.get(&len.to_string()).unwrap() == bytes(len),
                "{len}"
            );
        }
        verify(&fixture.account).unwrap();
        let needle = &bytes(MIB)[..64];
        let clear = |data: &[u8]| data.windows(64).any(|w| w == needle);
        assert_eq!(
            extents(&store).iter().any(|(_, data)| clear(data)),
            !protected
        );
        let other = fixture.open().unwrap();
        for len in lens {
            put_bytes(&other, &len.to_string(), b"new");
        }
        assert_eq!(
            extents(&store).len(),
            lens.len(),
            "what was replaced is gone"
        );
        for len in lens {
            let any = Conditions::default();
            fixture
                .account
                .delete(&name(&len.to_string()), &any)
                .unwrap();
        }
        assert!(extents(&store).is_empty());
    }
}

#[test]
fn a_range_asks_for_its_chunks_only() {
    let store = FaultyStore::new();
    let fixture = fixture(&store, true);
    put_bytes(&fixture.account, "a", &bytes(10 * MIB));
    store.reads();
    let mut got = Vec::new();
    let range = 3_000_000..3_000_010;
    let read = fixture
        .account
        .get(&name("a"), Some(range), &mut got, &mut |_| ());
    read.unwrap();
    assert_eq!(got, bytes(10 * MIB)[3_000_000..3_000_010]);
    let asked: u64 = store.reads().iter().map(|(_, r)| r.end - r.start).sum();
    assert!(asked < 2 * 65_536, "{asked}");
    let mut all = Vec::new();
    (fixture.account.get(&name("a"), None, &mut all, &mut |_| ())).unwrap();
    assert!(all == bytes(10 * MIB));
    assert_eq!(
        store.reads().len(),
        2,
        "the header, and all chunks in one request"
    );
}

/// The process, or the network, dies at each change in turn of putting a blob over another.
#[test]
fn a_put_that_dies_at_any_step_leaves_the_old_blob_or_the_new() {
    for len in [MIB, 17 * MIB] {
        let (old, new) = (bytes(100_000), bytes(len));
        for fault in [Fault::Cut, Fault::CutAfter, Fault::Refused] {
            for at in 0.. {
                let store = FaultyStore::new();
                let fixture = fixture(&store, true);
                put_bytes(&fixture.account, "a", &old);
                store.fail(at, fault);
                let put = put(&fixture.account, "a", &new);
                let happened = store.failed();
                store.heal();
                let fixture = fixture.reopen().unwrap();
                let got = fixture.get("a").unwrap();
                match put {
                    Ok(()) => assert!(got == new, "{len} {fault:?} {at}"),
                    Err(_) => assert!(got == old, "{len} {fault:?} {at}"),
                }
                verify(&fixture.account).unwrap();
                assert_eq!(
                    extents(&store).len(),
                    1,
                    "garbage is collected: {len} {fault:?} {at}"
                );
                if !happened {
                    assert!(at >= 2, "put and removal are changes");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_store_that_lies_about_what_it_kept_is_found_out() {
    // A short one is one change; of a long one the second is its first part, the fourth its completion.
    for (len, at) in [(MIB, 0), (17 * MIB, 1), (17 * MIB, 4)] {
        for fault in [Fault::Forgotten, Fault::Torn] {
            if (at, fault) == (4, Fault::Torn) {
                continue;
            }
            for protected in [true, false] {
                let store = FaultyStore::new();
                let fixture = fixture(&store, protected);
                put_bytes(&fixture.account, "good", b"good");
                store.fail(at, fault);
                put(&fixture.account, "a", &bytes(len)).unwrap();
                store.heal();
                let fixture = fixture.reopen().unwrap();
                let unauthentic =
                    |e: &ResourceError| matches!(e, ResourceError::Unauthentic { .. });
                let got = fixture.get("a");
                assert!(
                    got.as_ref().is_err_and(unauthentic),
                    "{len} {at} {fault:?} {protected}"
                );
                assert!(verify(&fixture.account).is_err_and(|e| unauthentic(&e)));
                assert_eq!(fixture.get("good").unwrap(), b"good");
            }
        }
    }
}

#[test]
fn objects_that_were_altered_exchanged_or_cut_are_refused() {
    let store = FaultyStore::new();
    let fixture = fixture(&store, true);
    put_bytes(&fixture.account, "a", &bytes(3 * MIB));
    put_bytes(&fixture.account, "b", &bytes(3 * MIB));
    let before = extents(&store);
    let [(one, first), (two, second)] = &before[..] else {
        panic!("two extents");
    };
    let refused = |how: &str| {
        let refused = |blob| matches!(fixture.get(blob), Err(ResourceError::Unauthentic { .. }));
        assert!(refused("a") || refused("b"), "{how}");
        assert!(verify(&fixture.account).is_err(), "{how}");
        store.set(one, first.clone());
        store.set(two, second.clone());
        verify(&fixture.account).unwrap();
    };
    for at in [0, 40, 70_000, first.len() - 1] {
        let mut altered = first.clone();
        altered[at] ^= 1;
        store.set(one, altered);
        refused("altered");
    }
    store.set(one, second.clone());
    refused("exchanged");
    for left in [0, 1, 64, 65_536, first.len() - 1] {
        store.set(one, first[..left].to_vec());
        refused("cut");
    }
    store.set(one, [&first[..], b"x"].concat());
    refused("longer");
    store.remove(one);
    refused("removed");
}

#[test]
fn an_answer_that_ends_early_gives_no_byte_that_is_not_authentic() {
    let store = FaultyStore::new();
    let fixture = fixture(&store, true);
    let data = bytes(3 * MIB);
    put_bytes(&fixture.account, "a", &data);
    for after in [0, 10, 100_000, 2_000_000] {
        store.cut_answers(after);
        let mut got = Vec::new();
        let read = fixture.account.get(&name("a"), None, &mut got, &mut |_| ());
        assert!(read.is_err(), "{after}");
        assert!(data.starts_with(&got));
        store.heal();
        assert!(fixture.get("a").unwrap() == data);
    }
}

/// Two that think that the same objects are theirs would remove each other's.
#[test]
fn a_copy_of_an_account_neither_reads_nor_removes_the_objects_of_the_one_it_was_copied_from() {
    let store = FaultyStore::new();
    let fixture = fixture(&store, true);
    put_bytes(&fixture.account, "a", b"before the copy");
    let copied = fixture.temp.path().join("copied");
    copy(fixture.account.dir(), &copied);
    put_bytes(&fixture.account, "b", b"after the copy");
    let before = store.objects();
    let refused = fixture.open_at(&copied).map(drop).unwrap_err();
    assert!(
        matches!(&refused, ResourceError::Usage(why) if why.contains("blob claim")),
        "{refused}"
    );
    assert_eq!(store.objects(), before);
    fixture.open().unwrap();
    // Moved for good: then the place that they were moved from is refused.
    let place = fixture.temp.path().join("moved");
    copy(fixture.account.dir(), &place);
    let (id, protection) = (fixture.account.id(), fixture.account.protection().clone());
    let mut connect = fixture.connect();
    StorageAccount::claim(&place, id, protection, &fixture.wrapper(), &mut connect).unwrap();
    let moved = fixture.open_at(&place).unwrap();
    verify(&moved).unwrap();
    assert!(matches!(fixture.open(), Err(ResourceError::Usage(_))));
}

#[test]
fn an_account_that_cannot_reach_its_store_is_not_made() {
    let store = FaultyStore::new();
    store.fail(0, Fault::Cut);
    let made = Fixture::over(Arc::new(store.clone()), true);
    assert!(matches!(made, Err(ResourceError::Io { .. })));
    store.heal();
    assert!(store.objects().is_empty());
    fixture(&store, true);
}

#[test]
fn a_store_that_is_out_of_reach_is_an_error_and_loses_nothing() {
    let store = FaultyStore::new();
    let fixture = fixture(&store, true);
    put_bytes(&fixture.account, "a", b"one");
    store.fail(0, Fault::Cut);
    assert!(put(&fixture.account, "b", b"two").is_err());
    assert!(matches!(fixture.get("a"), Err(ResourceError::Io { .. })));
    assert!(matches!(fixture.open(), Err(ResourceError::Io { .. })));
    // What needs the catalog only goes on.
    assert_eq!(fixture.account.blobs().unwrap().len(), 1);
    store.heal();
    assert_eq!(fixture.get("a").unwrap(), b"one");
}

#[test]
fn objects_of_another_account_at_the_same_place_are_let_be() {
    let store = FaultyStore::new();
    let one = fixture(&store, true);
    put_bytes(&one.account, "a", b"one");
    let two = fixture(&store, true);
    put_bytes(&two.account, "a", b"two");
    let (one, two) = (one.reopen().unwrap(), two.reopen().unwrap());
    assert_eq!(
        (one.get("a").unwrap(), two.get("a").unwrap()),
        (b"one".into(), b"two".into())
    );
    assert_eq!(extents(&store).len(), 2);
}
