//! Short blobs that are put at once share a file, and nothing else.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use accounts::{Fixture, bytes, name, put_at_once, put_bytes};
use atrest::base::ExtentId;
use atrest::lab::{CanarySet, Figures, Searcher, scan_copy};
use atrest::resource::blob::{
    Attributes, BlobReader, CHUNK_LEN, Conditions, Encryption, PackId, Slot,
};
use atrest::resource::{ProtectedResource, ResourceError};

const BLOBS: usize = 6;

/// Of different lengths, a whole chunk and none among them.
fn data(n: usize) -> Vec<u8> {
    let len = [CHUNK_LEN, 1, 0, 4096, 5000, CHUNK_LEN - 1][n % BLOBS];
    bytes(len).iter().map(|b| b ^ n as u8).collect()
}

fn blob(n: usize) -> String {
    format!("blob-{n}")
}

/// Blobs that share a pack.
fn put_all(fixture: &Fixture) {
    let all: Vec<_> = (0..BLOBS).map(|n| (blob(n), data(n))).collect();
    let all: Vec<_> = all.iter().map(|(name, data)| (&**name, &**data)).collect();
    put_at_once(&fixture.account, &all);
}

fn accounts() -> [Fixture; 3] {
    [Fixture::protected(), Fixture::double(), Fixture::plain()]
}

fn pack(fixture: &Fixture) -> PathBuf {
    let [pack] = &fixture.extents()[..] else {
        panic!("not one file: {:?}", fixture.extents());
    };
    let file = pack.file_name().unwrap().to_str().unwrap();
    file.parse::<PackId>().unwrap();
    pack.clone()
}

/// Which bytes of the pack are a blob's slot, by its length.
fn slot_of(fixture: &Fixture, n: usize) -> (Slot, Range<u64>) {
    let plain = fixture.account.envelope().is_none();
    let double = fixture.account.has_infrastructure_encryption();
    let len = data(n).len() as u64;
    let sealed = match (plain, double) {
        (true, _) => len,
        (false, false) => 128 + len + 16,
        (false, true) => 128 + len + 32,
    };
    let mut found = fixture
        .places()
        .into_iter()
        .filter(|(_, _, bytes)| bytes.end - bytes.start == sealed);
    let (id, _, bytes) = found.next().unwrap();
    assert!(found.next().is_none());
    (Slot::of(id).unwrap(), bytes)
}

fn check(fixture: &Fixture, but: &[usize]) {
    for n in (0..BLOBS).filter(|n| !but.contains(n)) {
        assert!(fixture.get(&blob(n)).unwrap() == data(n), "{}", blob(n));
    }
}

fn is_unauthentic<T>(read: Result<T, ResourceError>) -> bool {
    matches!(read, Err(ResourceError::Unauthentic { .. }))
}

#[test]
fn blobs_that_share_a_file_read_as_they_were_put() {
    for fixture in accounts() {
        put_all(&fixture);
        pack(&fixture);
        assert_eq!(fixture.places().len(), BLOBS);
        check(&fixture, &[]);
        let part = 1000..CHUNK_LEN as u64 - 7;
        let mut got = Vec::new();
        let range = Some(part.clone());
        (fixture.account)
            .get(&name(&blob(0)), range, &mut got, &mut |_| ())
            .unwrap();
        assert!(got == data(0)[1000..CHUNK_LEN - 7]);
        // One that is put alone has a file, and so has a long one.
        put_bytes(&fixture.account, "alone", b"alone");
        let long = bytes(CHUNK_LEN + 1);
        put_at_once(&fixture.account, &[("long", &long), ("other", b"short")]);
        assert_eq!(fixture.extents().len(), 3);
        let fixture = fixture.reopen().unwrap();
        check(&fixture, &[]);
        assert!(fixture.get("long").unwrap() == long);
        fixture.account.verify(&mut |_, _| ()).unwrap();
        assert_eq!(fixture.places().len(), BLOBS + 3, "opening removes nothing");
    }
}

#[test]
fn what_is_deleted_gives_its_room_back_and_its_neighbours_stay() {
    for fixture in accounts() {
        put_all(&fixture);
        let pack = pack(&fixture);
        let room = || fs::metadata(&pack).unwrap().blocks();
        let before = room();
        fixture
            .account
            .delete(&name(&blob(0)), &Conditions::default())
            .unwrap();
        assert!(
            room() + (CHUNK_LEN as u64 / 512) <= before,
            "{} of {before}",
            room()
        );
        assert_eq!(fixture.places().len(), BLOBS - 1);
        check(&fixture, &[0]);
        // Replaced by one with a file of its own.
        put_bytes(&fixture.account, &blob(5), b"new");
        assert_eq!(fixture.places().len(), BLOBS - 1);
        assert_eq!(fixture.get(&blob(5)).unwrap(), b"new");
        check(&fixture, &[0, 5]);
        for n in 1..BLOBS {
            fixture
                .account
                .delete(&name(&blob(n)), &Conditions::default())
                .unwrap();
        }
        assert!(fixture.extents().is_empty(), "{:?}", fixture.extents());
    }
}

#[test]
fn reader_of_a_blob_is_not_told_the_zeros_of_one_who_deletes_it() {
    for fixture in accounts() {
        put_all(&fixture);
        let under = Encryption::default();
        let reader: BlobReader<'_> = fixture
            .account
            .reader(&name(&blob(0)), under, &Conditions::default(), &mut |b| {
                Ok(0..b.size)
            })
            .unwrap();
        // By another process, as far as locks can tell.
        let other = fixture.open().unwrap();
        other
            .delete(&name(&blob(0)), &Conditions::default())
            .unwrap();
        // By one who opens the account and finds what nothing refers to.
        drop(fixture.open().unwrap());
        let mut got = Vec::new();
        reader.read(&mut got, &mut |_| ()).unwrap();
        assert!(got == data(0));
        drop(reader);
        assert!(matches!(
            fixture.get(&blob(0)),
            Err(ResourceError::NotFound(_))
        ));
        // Its room is given back with the next removal.
        assert_eq!(fixture.places().len(), BLOBS);
        other
            .delete(&name(&blob(1)), &Conditions::default())
            .unwrap();
        assert_eq!(fixture.places().len(), BLOBS - 2);
        check(&fixture, &[0, 1]);
    }
}

#[test]
fn room_that_a_dead_put_took_is_given_back_when_the_account_is_opened() {
    for fixture in accounts() {
        put_all(&fixture);
        let pack = pack(&fixture);
        // What a process leaves that dies between its write and its commit: as if the row had never been there.
        let (slot, place) = slot_of(&fixture, 5);
        let file = File::open(&pack).unwrap();
        let len = usize::try_from(
            slot.range().end.min(file.metadata().unwrap().len()) - slot.range().start,
        )
        .unwrap();
        let mut written = vec![0; len];
        FileExt::read_exact_at(&file, &mut written, slot.range().start).unwrap();
        fixture
            .account
            .delete(&name(&blob(5)), &Conditions::default())
            .unwrap();
        let again = OpenOptions::new().write(true).open(&pack).unwrap();
        FileExt::write_all_at(&again, &written, slot.range().start).unwrap();
        assert!(fixture.places().iter().any(|(_, _, bytes)| *bytes == place));
        let fixture = fixture.reopen().unwrap();
        assert_eq!(fixture.places().len(), BLOBS - 1);
        check(&fixture, &[5]);
        // And a pack of which nothing is referred to goes.
        for n in 0..BLOBS - 1 {
            fixture
                .account
                .delete(&name(&blob(n)), &Conditions::default())
                .unwrap();
        }
        fs::write(&pack, &written).unwrap();
        assert!(fixture.reopen().unwrap().extents().is_empty());
    }
}

#[test]
fn refused_put_leaves_nothing_in_the_pack_and_takes_no_neighbour_along() {
    for fixture in accounts() {
        put_all(&fixture);
        let both: [(&str, &[u8]); 2] = [("refused", b"refused"), ("meanwhile", b"of another")];
        put_at_once(&fixture.account, &both);
        assert_eq!(fixture.places().len(), BLOBS + 2);
        check(&fixture, &[]);
        assert_eq!(fixture.get("refused").unwrap(), b"quicker");
        assert_eq!(fixture.get("meanwhile").unwrap(), b"of another");
    }
}

#[test]
fn writer_whose_pack_another_removed_makes_a_new_one() {
    let fixture = Fixture::protected();
    put_all(&fixture);
    let first = pack(&fixture);
    let other = fixture.open().unwrap();
    for n in 0..BLOBS {
        other
            .delete(&name(&blob(n)), &Conditions::default())
            .unwrap();
    }
    assert!(!first.exists());
    put_all(&fixture);
    assert_ne!(pack(&fixture), first);
    let fixture = fixture.reopen().unwrap();
    check(&fixture, &[]);
}

#[test]
fn altered_slots_are_refused_and_the_others_read() {
    for fixture in [Fixture::protected(), Fixture::double()] {
        put_all(&fixture);
        let path = pack(&fixture);
        let good = fs::read(&path).unwrap();
        let (slot, place) = slot_of(&fixture, 4);
        let (other, _) = slot_of(&fixture, 3);
        let at = |n: u64| usize::try_from(n).unwrap();
        let start = at(slot.range().start);
        let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
        let mut altered = |what: String, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            assert!(bytes != good, "{what}");
            cases.push((what, bytes));
        };
        // Every byte of the head and of the extent's header, and some of its chunk.
        for n in (0..200).chain([at(place.end) - 1 - start]) {
            altered(format!("byte {n}"), &|bytes| bytes[start + n] ^= 0x40);
        }
        altered("given back".into(), &|bytes| {
            bytes[start..at(place.end)].fill(0);
        });
        altered("another extent in its place".into(), &|bytes| {
            let from = at(other.range().start);
            bytes.copy_within(from..from + 4096, start);
        });
        altered("another extent behind its head".into(), &|bytes| {
            let from = at(other.range().start);
            bytes.copy_within(from + 24..from + 4096, start + 24);
        });
        for (what, bytes) in cases {
            fs::write(&path, bytes).unwrap();
            assert!(is_unauthentic(fixture.get(&blob(4))), "{what}");
            assert!(
                is_unauthentic(fixture.account.verify(&mut |_, _| ())),
                "{what}"
            );
            check(&fixture, &[4]);
            fs::write(&path, &good).unwrap();
        }
        // Cut off within the last slot, or not there at all.
        let last = fixture
            .places()
            .into_iter()
            .map(|(_, _, bytes)| bytes.end)
            .max()
            .unwrap();
        assert_eq!(last, good.len() as u64);
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(is_unauthentic(fixture.account.verify(&mut |_, _| ())));
        fs::remove_file(&path).unwrap();
        for n in 0..BLOBS {
            assert!(is_unauthentic(fixture.get(&blob(n))));
        }
        fs::write(&path, &good).unwrap();
        fixture.account.verify(&mut |_, _| ()).unwrap();
        check(&fixture, &[]);
    }
}

#[test]
fn an_identifier_says_one_place() {
    let fixture = Fixture::protected();
    put_all(&fixture);
    let mut ends: Vec<(u64, u64)> = Vec::new();
    for (id, file, bytes) in fixture.places() {
        let slot = Slot::of(id).unwrap();
        assert_eq!(slot.extent(), id);
        assert!(file.ends_with(slot.pack.to_string()));
        assert!(slot.range().start < bytes.start && bytes.end <= slot.range().end);
        ends.push((slot.range().start, slot.range().end));
    }
    ends.sort_unstable();
    assert!(ends.windows(2).all(|two| two[0].1 <= two[1].0), "{ends:?}");
    put_bytes(&fixture.account, "alone", b"alone");
    let alone = |(id, _, _): &(ExtentId, PathBuf, Range<u64>)| Slot::of(*id).is_none();
    assert_eq!(
        fixture.places().iter().filter(|place| alone(place)).count(),
        1
    );
    for bad in [
        "",
        "95",
        "notes.txt",
        "15959595959595959595959595959595",
        "151515151515151515151515",
        "9595959595959595959595AB",
    ] {
        assert!(bad.parse::<PackId>().is_err(), "{bad}");
    }
}

/// What a thief's detectors see in the pack.
fn scanned(fixture: &Fixture, text: &str) -> Figures {
    let mut set = CanarySet::default();
    assert_eq!(set.plant([text]), 1);
    scan_copy(&pack(fixture), &Searcher::new(&set).unwrap(), &|_| ()).unwrap()
}

#[test]
fn detectors_take_neither_heads_nor_room_given_back_for_data_and_see_what_is_plain() {
    let text = "Kim Akers, IBAN NL91ABNA0417164300";
    let lines: Vec<u8> = (0..900)
        .flat_map(|n| format!("{n} {text}\n").into_bytes())
        .collect();
    for (fixture, alarms) in [
        (Fixture::protected(), false),
        (Fixture::double(), false),
        (Fixture::plain(), true),
    ] {
        let blobs: [(&str, &[u8]); 4] =
            [("a", &lines), ("b", &lines), ("c", b"short"), ("d", &lines)];
        put_at_once(&fixture.account, &blobs);
        fixture
            .account
            .delete(&name("b"), &Conditions::default())
            .unwrap();
        let seen = scanned(&fixture, text);
        assert_eq!(!seen.alarms().is_empty(), alarms, "{:?}", seen.alarms());
        let hits = seen.alarms().iter().any(|alarm| alarm.contains("canar"));
        assert_eq!(hits, alarms);
    }
}

#[test]
fn pack_that_a_linked_copy_shares_is_not_changed() {
    for fixture in accounts() {
        put_all(&fixture);
        let path = pack(&fixture);
        let good = fs::read(&path).unwrap();
        let backup = fixture.temp.path().join("backup");
        fs::hard_link(&path, &backup).unwrap();
        for n in 0..2 {
            fixture
                .account
                .delete(&name(&blob(n)), &Conditions::default())
                .unwrap();
        }
        let fixture = fixture.reopen().unwrap();
        assert!(fs::read(&backup).unwrap() == good);
        check(&fixture, &[0, 1]);
        // Its last blob goes, and the name with it; the writer does not go on in what only the copy has.
        put_all(&fixture);
        assert!(!path.exists());
        let written = pack(&fixture);
        let second = fixture.temp.path().join("second");
        fs::hard_link(&written, &second).unwrap();
        let other = fixture.open().unwrap();
        for n in 0..BLOBS {
            other
                .delete(&name(&blob(n)), &Conditions::default())
                .unwrap();
        }
        assert!(!written.exists());
        let kept = fs::read(&second).unwrap();
        put_all(&fixture);
        assert!(fs::read(&second).unwrap() == kept);
        check(&fixture.reopen().unwrap(), &[]);
    }
}

#[test]
fn link_in_the_place_of_a_pack_changes_nothing_where_it_leads() {
    let fixture = Fixture::protected();
    put_all(&fixture);
    let path = pack(&fixture);
    let elsewhere = fixture.temp.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let good = fs::read(&elsewhere).unwrap();
    fixture
        .account
        .delete(&name(&blob(0)), &Conditions::default())
        .unwrap();
    let fixture = fixture.reopen().unwrap();
    assert!(fs::read(&elsewhere).unwrap() == good);
    check(&fixture, &[0]);
}

#[test]
fn empty_pack_stays_while_somebody_writes_and_goes_afterwards() {
    let fixture = Fixture::protected();
    put_all(&fixture);
    let path = pack(&fixture);
    let (account, any) = (&fixture.account, Conditions::default());
    let mut said = || Ok(Attributes::default());
    let mut left: Vec<_> = (0..BLOBS).collect();
    let mut meanwhile = |_| {
        for n in left.drain(..) {
            account.delete(&name(&blob(n)), &any).unwrap();
        }
        assert!(path.exists(), "somebody may be about to write to it");
    };
    let (source, under) = (&mut &b"written"[..], Encryption::default());
    let other = name("other");
    let put = account.put_with(&other, source, under, &any, &mut said, &mut meanwhile);
    put.unwrap();
    assert!(!path.exists(), "it was looked at again when he had");
}

#[test]
fn two_who_have_the_account_open_write_to_packs_of_their_own() {
    let fixture = Fixture::protected();
    let other = fixture.open().unwrap();
    put_all(&fixture);
    let first = pack(&fixture);
    let good = fs::read(&first).unwrap();
    put_at_once(&other, &[("one", b"one"), ("two", b"two")]);
    assert_eq!(fixture.extents().len(), 2);
    assert!(fs::read(&first).unwrap() == good);
    check(&fixture, &[]);
    assert_eq!(fixture.get("two").unwrap(), b"two");
}
