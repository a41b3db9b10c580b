//! What a thief or a fault does to an account's files is refused, with one error for every cause.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;
use std::path::{Path, PathBuf};

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::crypto::Secret;
use atrest::envelope::{Envelope, ResourceKind};
use atrest::resource::blob::{AccountHeader, CHUNK_LEN, ExtentHeader, StorageAccount};
use atrest::resource::{ProtectedResource, ResourceError};

const SEALED_CHUNK: usize = CHUNK_LEN + 16;

/// The file that `put` made.
fn put_extent(fixture: &Fixture, blob: &str, data: &[u8]) -> PathBuf {
    let before = fixture.extents();
    put_bytes(&fixture.account, blob, data);
    let mut new = fixture.extents();
    new.retain(|path| !before.contains(path));
    new.remove(0)
}

fn is_unauthentic(error: &ResourceError) -> bool {
    matches!(error, ResourceError::Unauthentic { .. })
}

/// Asserts that the blob reads as `data`, and with `altered` in its extent's place is refused, by
/// get and by verify, and that what came out before was a prefix of whole chunks.
fn refused(fixture: &Fixture, blob: &str, data: &[u8], extent: &Path, altered: &[u8], what: &str) {
    let good = fs::read(extent).unwrap();
    assert!(fixture.get(blob).unwrap() == data, "{what}: control");
    fs::write(extent, altered).unwrap();
    let mut got = Vec::new();
    let error = fixture
        .account
        .get(&name(blob), None, &mut got, &mut |_| ())
        .unwrap_err();
    assert!(is_unauthentic(&error), "{what}: {error}");
    assert!(
        data.starts_with(&got) && got.len() % CHUNK_LEN == 0,
        "{what}"
    );
    assert!(got.len() < data.len() || data.is_empty(), "{what}");
    let error = fixture.account.verify(&mut |_, _| ()).unwrap_err();
    assert!(is_unauthentic(&error), "{what}: {error}");
    fs::write(extent, good).unwrap();
}

#[test]
fn every_flipped_byte_is_refused() {
    let fixture = Fixture::protected();
    for data in [&b""[..], b"a small blob"] {
        let extent = put_extent(&fixture, "a", data);
        let good = fs::read(&extent).unwrap();
        assert_eq!(good.len(), ExtentHeader::LEN + data.len() + 16);
        for at in 0..good.len() {
            let mut altered = good.clone();
            altered[at] ^= 0x40;
            refused(
                &fixture,
                "a",
                data,
                &extent,
                &altered,
                &format!("byte {at}"),
            );
        }
    }
}

#[test]
fn every_cut_and_every_extension_is_refused() {
    let fixture = Fixture::protected();
    let data = b"a small blob";
    let extent = put_extent(&fixture, "a", data);
    let good = fs::read(&extent).unwrap();
    for len in 0..good.len() {
        refused(
            &fixture,
            "a",
            data,
            &extent,
            &good[..len],
            &format!("cut to {len}"),
        );
    }
    for more in [1, 16, 17, SEALED_CHUNK] {
        let longer = [&good[..], &vec![0; more]].concat();
        refused(
            &fixture,
            "a",
            data,
            &extent,
            &longer,
            &format!("{more} more"),
        );
    }
}

/// The header and the sealed chunks.
fn parts(extent: &[u8]) -> Vec<Vec<u8>> {
    let (header, chunks) = extent.split_at(ExtentHeader::LEN);
    let chunks = chunks.chunks(SEALED_CHUNK).map(<[u8]>::to_vec);
    [header.to_vec()].into_iter().chain(chunks).collect()
}

#[test]
fn chunks_swapped_repeated_dropped_or_appended_are_refused() {
    let fixture = Fixture::protected();
    let data = bytes(3 * CHUNK_LEN + 100);
    let extent = put_extent(&fixture, "a", &data);
    let good = parts(&fs::read(&extent).unwrap());
    assert_eq!(good.len(), 5);
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(&str, Change); 9] = [
        ("first two swapped", |p| p.swap(1, 2)),
        ("inner and last swapped", |p| p.swap(3, 4)),
        ("one repeated in place of the next", |p| p[2] = p[1].clone()),
        ("one inserted again", |p| p.insert(2, p[1].clone())),
        ("first dropped", |p| drop(p.remove(1))),
        ("inner one dropped", |p| drop(p.remove(2))),
        ("last dropped", |p| drop(p.pop())),
        ("last one appended again", |p| p.push(p[4].clone())),
        ("an inner one appended", |p| p.push(p[1].clone())),
    ];
    for (what, change) in changes {
        let mut altered = good.clone();
        change(&mut altered);
        refused(&fixture, "a", &data, &extent, &altered.concat(), what);
    }
}

#[test]
fn chunk_of_another_blob_or_of_an_older_version_is_refused() {
    let fixture = Fixture::protected();
    let data = bytes(2 * CHUNK_LEN);
    let old = fs::read(put_extent(&fixture, "a", &data)).unwrap();
    let other = fs::read(put_extent(&fixture, "b", &data)).unwrap();
    let extent = put_extent(&fixture, "a", &data);
    let good = parts(&fs::read(&extent).unwrap());
    for (what, from) in [("older version", old), ("other blob", other)] {
        let from = parts(&from);
        for part in 0..3 {
            assert_ne!(good[part], from[part], "equal data never seals alike");
            let mut altered = good.clone();
            altered[part] = from[part].clone();
            refused(&fixture, "a", &data, &extent, &altered.concat(), what);
        }
        refused(&fixture, "a", &data, &extent, &from.concat(), what);
    }
}

#[test]
fn extent_that_went_missing_is_refused() {
    let fixture = Fixture::protected();
    let extent = put_extent(&fixture, "a", b"data");
    assert_eq!(fixture.get("a").unwrap(), b"data");
    fs::remove_file(extent).unwrap();
    assert!(is_unauthentic(&fixture.get("a").unwrap_err()));
}

#[test]
fn account_header_flipped_or_cut_is_refused() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"data");
    let fixture = fixture.reopen().unwrap();
    let header = fixture.account.dir().join("account.atrest");
    let good = fs::read(&header).unwrap();
    let read = || -> Result<Vec<u8>, ResourceError> {
        let mut got = Vec::new();
        let account = fixture.open()?;
        account.get(&name("a"), None, &mut got, &mut |_| ())?;
        Ok(got)
    };
    for at in (0..good.len()).step_by(5) {
        let mut altered = good.clone();
        altered[at] ^= 0x01;
        fs::write(&header, altered).unwrap();
        let error = read().unwrap_err();
        // A changed key name or version is asked for at the vault, which has none such.
        assert!(
            is_unauthentic(&error)
                || matches!(
                    error,
                    ResourceError::Format { .. } | ResourceError::KeyUnavailable { .. }
                ),
            "byte {at}: {error}"
        );
    }
    for len in [0, 1, 16, 784, good.len() - 1] {
        fs::write(&header, &good[..len]).unwrap();
        let error = read().unwrap_err();
        assert!(
            matches!(error, ResourceError::Format { .. }),
            "cut to {len}: {error}"
        );
    }
    fs::write(&header, &good).unwrap();
    assert_eq!(read().unwrap(), b"data");
}

#[test]
fn header_of_another_account_is_refused() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"data");
    let twin = tempfile::tempdir().unwrap();
    let (wrapper, service) = (fixture.wrapper(), fixture.vault.add("service"));
    let other = StorageAccount::create(
        twin.path(),
        atrest::base::ResourceId::from_bytes([7; 16]),
        fixture.account.protection().clone(),
        Some(&service),
        &wrapper,
    )
    .unwrap();
    fixture.open().unwrap();
    let theirs = other.dir().join("account.atrest");
    fs::copy(theirs, fixture.account.dir().join("account.atrest")).unwrap();
    assert!(is_unauthentic(&fixture.open().map(|_| ()).unwrap_err()));
}

#[test]
fn account_key_of_another_making_is_refused() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"data");
    let path = fixture.account.dir().join("account.atrest");
    let good = fs::read(&path).unwrap();
    let header = AccountHeader::parse(&good).unwrap();
    let forge = |key: &Secret<32>| {
        let (id, to) = (fixture.account.id(), header.account.key.key());
        let kind = ResourceKind::Storage;
        let account = Envelope::seal(&*fixture.vault, &to, kind, id, key).unwrap();
        let catalog = header.catalog.clone();
        fs::write(&path, AccountHeader { account, catalog }.to_bytes()).unwrap();
    };
    let put = |account: &StorageAccount| {
        let put = account.put(&name("b"), &mut &b"x"[..], &mut |_| ());
        put.map(|_| ())
    };
    // The same key in an envelope of the thief's making does no harm.
    let key = header
        .account
        .open(&*fixture.vault, ResourceKind::Storage, fixture.account.id());
    forge(&key.unwrap());
    put(&fixture.open().unwrap()).unwrap();
    forge(&Secret::random());
    assert!(is_unauthentic(&put(&fixture.open().unwrap()).unwrap_err()));
    // Nor does an account that is open already take it over when its lease ends.
    fixture.vault.enable("customer", false);
    put(&fixture.account).unwrap_err();
    fixture.vault.enable("customer", true);
    fs::write(&path, good).unwrap();
    put(&fixture.account).unwrap();
}
