//! Append blobs and leases: what was appended is there, once, where its writer was told, whatever happens
//! beside it; and nobody writes under another's lease.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::sync::Arc;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::base::ManualClock;
use atrest::resource::blob::{
    AppendConditions, Attributes, BlobInfo, BlobPath, Block, BlockId, CHUNK_LEN, Conditions,
    Encryption, Leasable, LeaseAction, LeaseId, LeaseState, Pairs, Refusal, Snapshots,
    StorageAccount,
};
use atrest::resource::{ProtectedResource, ResourceError};
use jiff::{SignedDuration, Timestamp};

fn create(account: &StorageAccount, blob: &str) -> BlobInfo {
    let (said, any) = (Attributes::default(), Conditions::default());
    account
        .create_append_blob(&name(blob), &said, Encryption::default(), &any)
        .unwrap()
}

fn append_at(
    account: &StorageAccount,
    blob: &str,
    data: &[u8],
    at: AppendConditions,
) -> Result<u64, ResourceError> {
    let any = Conditions::default();
    let appended = account.append(
        &name(blob),
        &mut &data[..],
        Encryption::default(),
        &mut || Ok(()),
        &at,
        &any,
    );
    appended.map(|(_, offset)| offset)
}

fn append(account: &StorageAccount, blob: &str, data: &[u8]) -> Result<u64, ResourceError> {
    append_at(account, blob, data, AppendConditions::default())
}

fn refused(result: Result<impl Sized, ResourceError>, with: Refusal) {
    match result.err() {
        Some(ResourceError::Refused(why)) => assert_eq!(why, with),
        other => panic!("{with:?}: {other:?}"),
    }
}

#[test]
fn blocks_lie_behind_each_other_in_the_order_in_which_they_were_told() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        create(&fixture.account, "log");
        assert_eq!(fixture.get("log").unwrap(), b"");
        let blocks = [b"one".to_vec(), bytes(2 * CHUNK_LEN + 1), b"three".to_vec()];
        let mut whole = Vec::new();
        for block in &blocks {
            assert_eq!(
                append(&fixture.account, "log", block).unwrap(),
                whole.len() as u64
            );
            whole.extend_from_slice(block);
        }
        let fixture = fixture.reopen().unwrap();
        assert!(fixture.get("log").unwrap() == whole);
        append(&fixture.account, "log", b"after").unwrap();
        whole.extend_from_slice(b"after");
        let mut got = Vec::new();
        let part = Some(whole.len() as u64 - 9..whole.len() as u64);
        fixture
            .account
            .get(&name("log"), part, &mut got, &mut |_| ())
            .unwrap();
        assert_eq!(got, b"hreeafter");
        assert_eq!(fixture.account.info(&name("log")).unwrap().extents, 4);
        fixture.account.verify(&mut |_, _| ()).unwrap();
        let any = Conditions::default();
        fixture.account.delete(&name("log"), &any).unwrap();
        assert!(fixture.extents().is_empty());
    }
}

#[test]
fn block_that_may_not_be_appended_leaves_nothing() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    create(account, "log");
    append(account, "log", b"four").unwrap();
    let at = |position, max_size| AppendConditions { position, max_size };
    refused(
        append_at(account, "log", b"x", at(Some(3), None)),
        Refusal::AppendPosition,
    );
    refused(
        append_at(account, "log", b"xx", at(None, Some(5))),
        Refusal::MaxBlobSize,
    );
    append_at(account, "log", b"y", at(Some(4), Some(5))).unwrap();
    let fails = &mut || Err(ResourceError::BadBlock("another digest".into()));
    let failed = account.append(
        &name("log"),
        &mut &b"z"[..],
        Encryption::default(),
        fails,
        &AppendConditions::default(),
        &any,
    );
    assert!(failed.is_err());
    put_bytes(account, "block", b"x");
    refused(append(account, "block", b"x"), Refusal::BlobType);
    assert!(matches!(
        append(account, "none", b"x"),
        Err(ResourceError::NotFound(_))
    ));
    let id = BlockId::from_bytes(b"1").unwrap();
    let path = name("log");
    refused(
        account.put_block(
            &path,
            &id,
            &mut &b"x"[..],
            Encryption::default(),
            &mut || Ok(()),
        ),
        Refusal::BlobType,
    );
    let list = [Block::Latest(id)];
    refused(
        account.put_block_list(
            &path,
            &list,
            &Attributes::default(),
            Encryption::default(),
            &any,
        ),
        Refusal::BlobType,
    );
    account
        .seal_append_blob(&path, &AppendConditions::default(), &any)
        .unwrap();
    refused(append(account, "log", b"x"), Refusal::Sealed);
    assert_eq!(fixture.get("log").unwrap(), b"foury");
    assert_eq!(fixture.extents().len(), 3);
}

#[test]
fn of_many_who_append_at_once_each_finds_his_block_where_he_was_told() {
    let fixture = Fixture::protected();
    create(&fixture.account, "log");
    // Two processes' worth: each has the account open for itself.
    let other = fixture.open().unwrap();
    let told: Vec<(u64, u8)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u8)
            .map(|n| {
                let account = if n % 2 == 0 { &fixture.account } else { &other };
                scope.spawn(move || {
                    let mut told = Vec::new();
                    while told.len() < 6 {
                        match append(account, "log", &[n; 10]) {
                            Ok(offset) => told.push((offset, n)),
                            Err(ResourceError::Busy { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                    told
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|w| w.join().unwrap())
            .collect()
    });
    let whole = fixture.get("log").unwrap();
    assert_eq!(whole.len(), 8 * 6 * 10);
    for (offset, n) in told {
        let at = usize::try_from(offset).unwrap();
        assert_eq!(whole[at..at + 10], [n; 10]);
    }
    fixture.account.verify(&mut |_, _| ()).unwrap();
    assert_eq!(fixture.places().len(), 48);
}

#[test]
fn metadata_that_is_set_while_blocks_are_appended_loses_none() {
    let fixture = Fixture::protected();
    let account = &fixture.account;
    create(account, "log");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..20_u8 {
                let pairs: Pairs = [("n".to_owned(), n.to_string())].into();
                while let Err(e) = account.set_metadata(
                    &name("log"),
                    &pairs,
                    Encryption::default(),
                    &Conditions::default(),
                ) {
                    assert!(matches!(e, ResourceError::Busy { .. }));
                }
            }
        });
        for n in 0..20_u8 {
            while let Err(e) = append(account, "log", &[n]) {
                assert!(matches!(e, ResourceError::Busy { .. }));
            }
        }
    });
    assert_eq!(fixture.get("log").unwrap(), (0..20).collect::<Vec<u8>>());
    let (_, said) = account
        .attributes(&name("log"), Encryption::default(), &Conditions::default())
        .unwrap();
    assert_eq!(said.metadata["n"], "19");
}

#[test]
fn snapshot_of_an_append_blob_ends_where_it_was_taken() {
    let fixture = Fixture::protected();
    let (account, any, path) = (&fixture.account, Conditions::default(), name("log"));
    create(account, "log");
    append(account, "log", b"one").unwrap();
    let taken = account
        .snapshot(&path, None, Encryption::default(), &any)
        .unwrap();
    append(account, "log", b"two").unwrap();
    let read = |info: &BlobInfo| {
        let mut got = Vec::new();
        let reader = account.reader(info.at(&path), Encryption::default(), &any, &mut |b| {
            Ok(0..b.size)
        });
        reader.unwrap().read(&mut got, &mut |_| ()).unwrap();
        got
    };
    assert_eq!(read(&taken), b"one");
    account
        .delete_with((&path).into(), Snapshots::Only, &any)
        .unwrap();
    assert_eq!(fixture.get("log").unwrap(), b"onetwo");
}

/// An account whose clock stands still until it is moved.
fn with_clock() -> (Fixture, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let fixture = Fixture::protected();
    let account = fixture.open().unwrap().with_clock(clock.clone());
    (Fixture { account, ..fixture }, clock)
}

fn lease_id(n: u8) -> LeaseId {
    format!("0000000{n}-0000-0000-0000-000000000000")
        .parse()
        .unwrap()
}

fn under(lease: Option<LeaseId>) -> Conditions {
    Conditions {
        lease,
        ..Conditions::default()
    }
}

type Write = fn(&StorageAccount, &BlobPath, &Conditions) -> Result<(), ResourceError>;

/// Everything that writes to a blob.
const WRITES: [(&str, Write); 7] = [
    ("put", |account, path, under| {
        let mut said = || Ok(Attributes::default());
        let put = account.put_with(
            path,
            &mut &b"x"[..],
            Encryption::default(),
            under,
            &mut said,
            &mut |_| (),
        );
        put.map(drop)
    }),
    ("block", |account, path, under| {
        let id = BlockId::from_bytes(b"1").unwrap();
        let check = &mut || Ok(());
        let put = account.put_block_under(
            path,
            &id,
            &mut &b"x"[..],
            Encryption::default(),
            check,
            under.lease,
        );
        put.map(drop)
    }),
    ("block list", |account, path, under| {
        let put = account.put_block_list(
            path,
            &[],
            &Attributes::default(),
            Encryption::default(),
            under,
        );
        put.map(drop)
    }),
    ("metadata", |account, path, under| {
        account
            .set_metadata(path, &Pairs::new(), Encryption::default(), under)
            .map(drop)
    }),
    ("properties", |account, path, under| {
        let set = account.set_properties(path, &Default::default(), under);
        set.map(drop)
    }),
    ("tags", |account, path, under| {
        account.set_tags(path, &Pairs::new(), under).map(drop)
    }),
    ("delete", |account, path, under| account.delete(path, under)),
];

#[test]
fn nothing_is_written_under_anothers_lease_until_it_ends() {
    let (fixture, clock) = with_clock();
    let (account, path) = (&fixture.account, name("a"));
    let blob = Leasable::Blob(&path);
    let any = Conditions::default();
    for (what, write) in WRITES {
        put_bytes(account, "a", b"data");
        let before = account.info(&path).unwrap();
        let taken = account.lease(
            blob,
            LeaseAction::Acquire {
                seconds: Some(15),
                proposed: Some(lease_id(1)),
            },
            &any,
        );
        // A lease is no new state of the blob.
        assert_eq!(taken.unwrap().etag, before.etag);
        assert_eq!(fixture.get("a").unwrap(), b"data");
        refused(write(account, &path, &any), Refusal::LeaseIdMissing);
        let wrong = under(Some(lease_id(2)));
        refused(write(account, &path, &wrong), Refusal::LeaseIdMismatch);
        refused(
            account
                .attributes(&path, Encryption::default(), &wrong)
                .map(drop),
            Refusal::LeaseIdMismatch,
        );
        assert_eq!(account.info(&path).unwrap().etag, before.etag, "{what}");
        let right = under(Some(lease_id(1)));
        write(account, &path, &right).unwrap();
        if what == "delete" {
            // It goes with the blob.
            put_bytes(account, "a", b"new");
            assert_eq!(account.info(&path).unwrap().lease, None);
            continue;
        }
        clock.advance(SignedDuration::from_secs(15));
        let state = |account: &StorageAccount| {
            let lease = account.info(&path).unwrap().lease;
            LeaseState::of(lease.as_ref(), account.now())
        };
        assert_eq!(state(account), LeaseState::Expired);
        refused(write(account, &path, &right), Refusal::LeaseLost);
        write(account, &path, &any).unwrap();
        let renewed = account.lease(blob, LeaseAction::Renew(lease_id(1)), &any);
        match what {
            // What makes no new state lets the lease be taken again.
            "block" | "tags" => {
                renewed.unwrap();
                account
                    .lease(blob, LeaseAction::Release(lease_id(1)), &any)
                    .unwrap();
            }
            _ => refused(renewed, Refusal::LeaseIdMismatchWithLeaseOperation),
        }
    }
}

#[test]
fn lease_outlives_the_process_and_the_content_but_not_the_container() {
    let (fixture, clock) = with_clock();
    let path = name("a");
    let any = Conditions::default();
    put_bytes(&fixture.account, "a", b"data");
    let forever = LeaseAction::Acquire {
        seconds: None,
        proposed: None,
    };
    let taken = fixture.account.lease(Leasable::Blob(&path), forever, &any);
    let id = taken.unwrap().id;
    let mut said = || Ok(Attributes::default());
    let put = fixture.account.put_with(
        &path,
        &mut &b"new"[..],
        Encryption::default(),
        &under(id),
        &mut said,
        &mut |_| (),
    );
    put.unwrap();
    clock.advance(SignedDuration::from_hours(100_000));
    let fixture = fixture.reopen().unwrap();
    let account = &fixture.account;
    refused(account.delete(&path, &any), Refusal::LeaseIdMissing);
    let container = &path.container;
    let on = Leasable::Container(container);
    let taken = account.lease(on, forever, &any).unwrap();
    refused(
        account.delete_container(container, &any),
        Refusal::LeaseIdMissing,
    );
    refused(
        account.delete_container(container, &under(id)),
        Refusal::ContainerLeaseIdMismatch,
    );
    account
        .delete_container(container, &under(taken.id))
        .unwrap();
    let made = account.create_container(container, &Pairs::new()).unwrap();
    assert_eq!(made.lease, None);
    put_bytes(account, "a", b"data");
    account.delete(&path, &any).unwrap();
}
