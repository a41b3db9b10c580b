//! Many at once on one storage account: what was acknowledged is there, what was refused is not, and nobody
//! gets a blob that is of two.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use accounts::{Fixture, name};
use atrest::crypto::sha256;
use atrest::resource::blob::{
    Attributes, BlobPath, Block, BlockId, CHUNK_LEN, Conditions, Encryption, Matching,
    StorageAccount,
};
use atrest::resource::{ProtectedResource, ResourceError};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

const CLIENTS: u64 = 16;
const STEPS: usize = 40;

/// Data that says of itself whether it is whole: its SHA-256 comes first.
fn data(random: &mut StdRng) -> Vec<u8> {
    let len = match random.random_range(0..8) {
        0 => 0,
        1 => CHUNK_LEN,
        2 => random.random_range(CHUNK_LEN..3 * CHUNK_LEN),
        _ => random.random_range(1..9_000),
    };
    let mut body = vec![0; len];
    random.fill_bytes(&mut body);
    [&sha256(&[&body])[..], &body].concat()
}

fn assert_whole(data: &[u8]) {
    let (sum, body) = data.split_at(32);
    assert_eq!(sum, sha256(&[body]));
}

fn get(account: &StorageAccount, path: &BlobPath) -> Result<Vec<u8>, ResourceError> {
    let mut got = Vec::new();
    account.get(path, None, &mut got, &mut |_| ())?;
    Ok(got)
}

fn put_new(account: &StorageAccount, path: &BlobPath, data: &[u8]) -> Result<(), ResourceError> {
    let only_new = Conditions {
        if_none_match: Some(Matching::Any),
        ..Conditions::default()
    };
    let mut said = || Ok(Attributes::default());
    let (source, under) = (&mut &data[..], Encryption::default());
    let put = account.put_with(path, source, under, &only_new, &mut said, &mut |_| ());
    put.map(drop)
}

fn put_blocks(account: &StorageAccount, path: &BlobPath, data: &[u8]) {
    let pieces: Vec<&[u8]> = data.chunks(data.len().div_ceil(3)).collect();
    let mut blocks = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let id = BlockId::from_bytes(&[n as u8; 4]).unwrap();
        let under = Encryption::default();
        account
            .put_block(path, &id, &mut &piece[..], under, &mut || Ok(()))
            .unwrap();
        blocks.push(Block::Latest(id));
    }
    let (said, any) = (Attributes::default(), Conditions::default());
    account
        .put_block_list(path, &blocks, &said, Encryption::default(), &any)
        .unwrap();
}

/// One client: blobs of its own, of which it knows what they must hold, and blobs that all write.
fn client(account: &StorageAccount, number: u64) -> BTreeMap<String, Vec<u8>> {
    let mut random = StdRng::seed_from_u64(number);
    let mut own: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for _ in 0..STEPS {
        let blob = format!("own/{number}/{}", random.random_range(0..5));
        let shared = name(&format!("shared/{}", random.random_range(0..3)));
        let (path, new) = (name(&blob), data(&mut random));
        match random.random_range(0..8) {
            0 => put_blocks(account, &path, &new),
            1 => {
                // What is refused must take no other's put along.
                let put = put_new(account, &path, &new);
                assert_eq!(put.is_ok(), !own.contains_key(&blob));
                if put.is_err() {
                    continue;
                }
            }
            2 => {
                let removed = account.delete(&path, &Conditions::default());
                assert_eq!(removed.is_ok(), own.remove(&blob).is_some());
                continue;
            }
            3 | 4 => {
                account.put(&shared, &mut &new[..], &mut |_| ()).unwrap();
                continue;
            }
            5 => {
                match get(account, &shared) {
                    Ok(got) => assert_whole(&got),
                    Err(e) => assert!(matches!(e, ResourceError::NotFound(_)), "{e}"),
                }
                match own.get(&blob) {
                    Some(known) => assert_eq!(get(account, &path).unwrap(), *known),
                    None => assert!(get(account, &path).is_err()),
                }
                continue;
            }
            _ => drop(account.put(&path, &mut &new[..], &mut |_| ()).unwrap()),
        }
        own.insert(blob, new);
    }
    own
}

#[test]
fn sixteen_clients_at_once_lose_no_blob_and_get_no_mixture() {
    for fixture in [Fixture::protected(), Fixture::double(), Fixture::plain()] {
        let account = &fixture.account;
        let known: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || client(account, number)))
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let fixture = fixture.reopen().unwrap();
        let known: BTreeMap<_, _> = known.into_iter().flatten().collect();
        let mut found = BTreeMap::new();
        for blob in fixture.account.blobs().unwrap() {
            let data = get(&fixture.account, &blob.path()).unwrap();
            assert_whole(&data);
            if blob.name.as_str().starts_with("own/") {
                found.insert(blob.name.as_str().to_owned(), data);
            }
        }
        assert!(found == known, "{:?} and {:?}", found.keys(), known.keys());
        let mut progress = (0, 0);
        fixture
            .account
            .verify(&mut |done, total| {
                assert!(progress.0 <= done && done <= total);
                progress = (done, total);
            })
            .unwrap();
        assert_eq!(progress.0, progress.1);
        let named: usize = (fixture.account.blobs().unwrap().iter())
            .map(|b| usize::try_from(b.extents).unwrap())
            .sum();
        assert_eq!(fixture.places().len(), named, "what is not named is gone");
    }
}

#[test]
fn of_many_that_make_one_blob_at_once_one_does() {
    let fixture = Fixture::protected();
    let (account, start) = (&fixture.account, &Barrier::new(16));
    for round in 0..8 {
        let path = &name(&format!("round-{round}"));
        let made: usize = thread::scope(|scope| {
            let all: Vec<_> = (0..16_u8)
                .map(|number| {
                    scope.spawn(move || {
                        start.wait();
                        let put = put_new(account, path, &[number; 10]);
                        assert!(
                            matches!(put, Ok(()) | Err(ResourceError::Exists(_))),
                            "{put:?}"
                        );
                        put.is_ok()
                    })
                })
                .collect();
            all.into_iter()
                .map(|one| usize::from(one.join().unwrap()))
                .sum()
        });
        assert_eq!(made, 1);
    }
    assert_eq!(fixture.places().len(), 8);
}
