//! Snapshots and copies: what was taken reads as it did whatever becomes of the blob, nothing of it is
//! removed while anything refers to it, nothing is left when nothing does, and none passes for another.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::resource::blob::{
    Attributes, BlobAt, BlobInfo, BlobPath, BlobStatus, Block, BlockId, CHUNK_LEN, Conditions,
    CopySource, Encryption, Matching, Pairs, Refusal, Snapshot, Snapshots, StorageAccount, Tier,
};
use atrest::resource::{ProtectedResource, ResourceError};

fn pairs(key: &str, value: &str) -> Pairs {
    [(key.to_owned(), value.to_owned())].into()
}

fn take(account: &StorageAccount, blob: &str) -> Snapshot {
    let taken = account.snapshot(
        &name(blob),
        None,
        Encryption::default(),
        &Conditions::default(),
    );
    taken.unwrap().snapshot.unwrap()
}

fn at(path: &BlobPath, snapshot: Snapshot) -> BlobAt<'_> {
    BlobAt {
        path,
        snapshot: Some(snapshot),
    }
}

fn read(account: &StorageAccount, blob: BlobAt<'_>) -> Result<Vec<u8>, ResourceError> {
    let mut got = Vec::new();
    let reader = account.reader(
        blob,
        Encryption::default(),
        &Conditions::default(),
        &mut |blob| Ok(0..blob.size),
    )?;
    reader.read(&mut got, &mut |_| ())?;
    Ok(got)
}

fn same(_: &BlobInfo, said: Attributes) -> Result<(Attributes, BlobStatus), ResourceError> {
    Ok((said, BlobStatus::default()))
}

fn copy(
    from: &StorageAccount,
    source: BlobAt<'_>,
    into: &StorageAccount,
    to: &str,
) -> Result<BlobInfo, ResourceError> {
    let any = Conditions::default();
    let source = CopySource {
        account: from,
        blob: source,
        conditions: &any,
        encryption: Encryption::default(),
    };
    into.copy(&source, &name(to), Encryption::default(), &any, &mut same)
}

fn refused(result: Result<impl Sized, ResourceError>, with: Refusal) {
    match result.err() {
        Some(ResourceError::Refused(why)) => assert_eq!(why, with),
        other => panic!("{with:?}: {other:?}"),
    }
}

#[test]
fn snapshot_reads_as_the_blob_did_whatever_becomes_of_it() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        let (any, path) = (Conditions::default(), name("a"));
        let first = bytes(2 * CHUNK_LEN + 7);
        put_bytes(&fixture.account, "a", &first);
        (fixture.account)
            .set_metadata(&path, &pairs("state", "first"), Encryption::default(), &any)
            .unwrap();
        let before = fixture.snapshot();
        let one = take(&fixture.account, "a");
        // No byte of an extent was written.
        for extent in fixture.extents() {
            assert!(before.contains(&(extent.clone(), std::fs::read(&extent).unwrap())));
        }
        let own =
            fixture
                .account
                .snapshot(&path, Some(&pairs("own", "1")), Encryption::default(), &any);
        let own = own.unwrap().snapshot.unwrap();
        assert!(own > one);
        put_bytes(&fixture.account, "a", b"second");
        let two = take(&fixture.account, "a");
        let fixture = fixture.reopen().unwrap();
        let account = &fixture.account;
        let check = |snapshot, content: &[u8], metadata: &Pairs| {
            assert!(read(account, at(&path, snapshot)).unwrap() == content);
            let (info, said) = account
                .attributes(at(&path, snapshot), Encryption::default(), &any)
                .unwrap();
            assert_eq!(info.snapshot, Some(snapshot));
            assert_eq!(said.metadata, *metadata);
        };
        check(one, &first, &pairs("state", "first"));
        check(own, &first, &pairs("own", "1"));
        check(two, b"second", &Pairs::new());
        account.verify(&mut |_, _| ()).unwrap();
        assert_eq!(account.list(&path.container, "").unwrap().len(), 1);
        let all: Vec<_> = account
            .blobs()
            .unwrap()
            .iter()
            .map(|b| b.snapshot)
            .collect();
        assert_eq!(all, [Some(one), Some(own), Some(two), None]);
        // A list goes on between two of them.
        let mut rest = Vec::new();
        let walked = account.walk(&path.container, "", ("a", Some(own)), true, &mut |blob| {
            rest.push(blob.snapshot);
            true
        });
        walked.unwrap();
        assert_eq!(rest, [Some(two), None]);
        refused(account.delete(&path, &any), Refusal::SnapshotsPresent);
        account
            .delete_with(at(&path, own), Snapshots::Refuse, &any)
            .unwrap();
        assert!(matches!(
            read(account, at(&path, own)),
            Err(ResourceError::NotFound(_))
        ));
        check(one, &first, &pairs("state", "first"));
        account
            .delete_with((&path).into(), Snapshots::Only, &any)
            .unwrap();
        assert_eq!(fixture.get("a").unwrap(), b"second");
        assert_eq!(fixture.extents().len(), 1);
        take(account, "a");
        account
            .delete_with((&path).into(), Snapshots::Include, &any)
            .unwrap();
        assert!(account.blobs().unwrap().is_empty());
        assert!(fixture.extents().is_empty());
    }
}

#[test]
fn copy_within_an_account_shares_the_bytes_and_outlives_its_source() {
    for fixture in [Fixture::protected(), Fixture::plain()] {
        let (account, any, path) = (&fixture.account, Conditions::default(), name("a"));
        let parts = [bytes(CHUNK_LEN + 3), b"tail".to_vec()];
        for (n, part) in (0..).zip(&parts) {
            let id = BlockId::from_bytes(&[n]).unwrap();
            account
                .put_block(
                    &path,
                    &id,
                    &mut &part[..],
                    Encryption::default(),
                    &mut || Ok(()),
                )
                .unwrap();
        }
        let list = [0, 1, 0].map(|n| Block::Latest(BlockId::from_bytes(&[n]).unwrap()));
        let said = Attributes {
            metadata: pairs("k", "v"),
            ..Attributes::default()
        };
        account
            .put_block_list(&path, &list, &said, Encryption::default(), &any)
            .unwrap();
        let whole = [&parts[0][..], &parts[1], &parts[0]].concat();
        let before = fixture.extents();
        let copied = copy(account, (&path).into(), account, "b").unwrap();
        assert_eq!(copied.size, whole.len() as u64);
        assert_eq!(fixture.extents().len(), before.len());
        assert!(fixture.get("b").unwrap() == whole);
        let (_, of_copy) = account
            .attributes(&name("b"), Encryption::default(), &any)
            .unwrap();
        assert_eq!(of_copy.metadata, said.metadata);
        // The blocks went with it.
        let blocks = account.block_list(&name("b")).unwrap();
        assert_eq!(blocks.committed.len(), 3);
        // Onto itself, and of a snapshot.
        let taken = take(account, "a");
        copy(account, (&path).into(), account, "a").unwrap();
        put_bytes(account, "a", b"other");
        copy(account, at(&path, taken), account, "c").unwrap();
        account
            .delete_with((&path).into(), Snapshots::Include, &any)
            .unwrap();
        account.delete(&name("c"), &any).unwrap();
        account.verify(&mut |_, _| ()).unwrap();
        let fixture = fixture.reopen().unwrap();
        assert!(fixture.get("b").unwrap() == whole);
        assert_eq!(fixture.extents().len(), 2);
        fixture.account.delete(&name("b"), &any).unwrap();
        assert!(fixture.extents().is_empty());
    }
}

#[test]
fn copy_from_another_account_is_sealed_under_keys_of_its_own() {
    let (from, into) = (Fixture::protected(), Fixture::protected());
    let path = name("a");
    let content = bytes(3 * CHUNK_LEN + 1);
    put_bytes(&from.account, "a", &content);
    copy(&from.account, (&path).into(), &into.account, "b").unwrap();
    assert!(into.get("b").unwrap() == content);
    let sealed = |fixture: &Fixture| std::fs::read(&fixture.extents()[0]).unwrap();
    let (theirs, ours) = (sealed(&from), sealed(&into));
    assert_eq!(theirs.len(), ours.len());
    // Header and chunks: nothing but the constant fields is the same.
    assert_ne!(theirs[16..128], ours[16..128]);
    for (a, b) in theirs[128..].chunks(64).zip(ours[128..].chunks(64)) {
        assert_ne!(a, b);
    }
    // What cannot be read is not copied in part.
    let mut altered = theirs.clone();
    let at = altered.len() - 20;
    altered[at] ^= 1;
    std::fs::write(&from.extents()[0], &altered).unwrap();
    let failed = copy(&from.account, (&path).into(), &into.account, "b");
    assert!(matches!(failed, Err(ResourceError::Unauthentic { .. })));
    assert!(into.get("b").unwrap() == content);
    assert_eq!(into.extents().len(), 1);
    into.account.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn copy_whose_source_is_not_as_asked_changes_nothing() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    put_bytes(account, "a", b"a");
    put_bytes(account, "b", b"b");
    let a = name("a");
    refused(
        copy(account, (&name("none")).into(), account, "b"),
        Refusal::SourceMissing,
    );
    let other = Conditions {
        if_match: Some(Matching::Tags(vec!["0x1".into()])),
        ..Conditions::default()
    };
    let mut source = CopySource {
        account,
        blob: (&a).into(),
        conditions: &other,
        encryption: Encryption::default(),
    };
    let copied = account.copy(&source, &name("b"), Encryption::default(), &any, &mut same);
    refused(copied, Refusal::SourceConditionNotMet);
    source.conditions = &any;
    let copied = account.copy(
        &source,
        &name("b"),
        Encryption::default(),
        &other,
        &mut same,
    );
    assert!(matches!(copied, Err(ResourceError::ConditionNotMet { .. })));
    assert_eq!(fixture.get("b").unwrap(), b"b");
    account
        .copy(&source, &name("b"), Encryption::default(), &any, &mut same)
        .unwrap();
    assert_eq!(fixture.get("b").unwrap(), b"a");
}

#[test]
fn snapshot_does_not_pass_for_the_blob_or_for_another_snapshot() {
    // Rows of the catalog are moved about by one who has the service's key.
    let fixture = Fixture::protected();
    let path = name("a");
    put_bytes(&fixture.account, "a", b"old");
    let one = take(&fixture.account, "a");
    put_bytes(&fixture.account, "a", b"new");
    let two = take(&fixture.account, "a");
    let [first, second] = [one.micros(), two.micros()];
    fixture.tamper("UPDATE blobs SET snapshot = 1 WHERE snapshot = 9223372036854775807");
    fixture.tamper(&format!(
        "UPDATE blobs SET snapshot = 9223372036854775807 WHERE snapshot = {first}"
    ));
    fixture.tamper(&format!(
        "UPDATE blobs SET snapshot = {first} WHERE snapshot = {second}"
    ));
    let fixture = fixture.reopen().unwrap();
    let one_for_two = read(&fixture.account, at(&path, one));
    for moved in [fixture.get("a"), one_for_two] {
        assert!(matches!(moved, Err(ResourceError::Unauthentic { .. })));
    }
    fixture.tamper(&format!(
        "UPDATE blobs SET snapshot = {second} WHERE snapshot = {first}"
    ));
    assert_eq!(read(&fixture.account, at(&path, two)).unwrap(), b"new");
}

#[test]
fn snapshot_copy_and_tier_need_the_customers_key_and_deletion_does_not() {
    let fixture = Fixture::protected();
    let any = Conditions::default();
    put_bytes(&fixture.account, "a", b"a");
    take(&fixture.account, "a");
    let cool = |account: &StorageAccount| account.set_tier((&name("a")).into(), Tier::Cool, &any);
    cool(&fixture.account).unwrap();
    fixture.vault.enable("customer", false);
    let fixture = fixture.reopen().unwrap();
    let account = &fixture.account;
    let a = name("a");
    let no_key = |e: ResourceError| assert!(matches!(e, ResourceError::KeyUnavailable { .. }));
    no_key(
        account
            .snapshot(&a, None, Encryption::default(), &any)
            .unwrap_err(),
    );
    no_key(copy(account, (&a).into(), account, "b").unwrap_err());
    no_key(cool(account).unwrap_err());
    assert_eq!(account.blobs().unwrap().len(), 2);
    account
        .delete_with((&a).into(), Snapshots::Include, &any)
        .unwrap();
    assert!(fixture.extents().is_empty());
}

#[test]
fn account_that_takes_over_another_keeps_snapshots_blocks_and_what_they_share() {
    for (from, into) in [
        (Fixture::plain(), Fixture::protected()),
        (Fixture::protected(), Fixture::plain()),
    ] {
        let (any, path) = (Conditions::default(), name("a"));
        for (n, part) in [(0, bytes(CHUNK_LEN + 3)), (1, b"tail".to_vec())] {
            let id = BlockId::from_bytes(&[n]).unwrap();
            let put = (from.account).put_block(
                &path,
                &id,
                &mut &part[..],
                Encryption::default(),
                &mut || Ok(()),
            );
            put.unwrap();
        }
        let list = [0, 1].map(|n| Block::Latest(BlockId::from_bytes(&[n]).unwrap()));
        let said = Attributes {
            metadata: pairs("k", "v"),
            tags: pairs("t", "1"),
            ..Attributes::default()
        };
        (from.account)
            .put_block_list(&path, &list, &said, Encryption::default(), &any)
            .unwrap();
        let taken = take(&from.account, "a");
        copy(&from.account, (&path).into(), &from.account, "b").unwrap();
        put_bytes(&from.account, "a", b"new");
        let log = name("log");
        (from.account)
            .create_append_blob(&log, &Attributes::default(), Encryption::default(), &any)
            .unwrap();
        let append = |account: &StorageAccount, data: &[u8]| {
            let anywhere = Default::default();
            let done = account.append(
                &log,
                &mut &data[..],
                Encryption::default(),
                &mut || Ok(()),
                &anywhere,
                &any,
            );
            done.unwrap();
        };
        append(&from.account, b"one");
        into.account
            .take_over(&from.account, &mut |_, _| ())
            .unwrap();
        let into = into.reopen().unwrap();
        let account = &into.account;
        let old = read(&from.account, at(&path, taken)).unwrap();
        assert!(read(account, at(&path, taken)).unwrap() == old);
        assert!(into.get("b").unwrap() == old);
        assert_eq!(into.get("a").unwrap(), b"new");
        let (info, said) = account
            .attributes(at(&path, taken), Encryption::default(), &any)
            .unwrap();
        assert_eq!(
            (said.metadata, info.tags),
            (pairs("k", "v"), pairs("t", "1"))
        );
        assert_eq!(account.block_list(&name("b")).unwrap().committed.len(), 2);
        assert_eq!(into.extents().len(), from.extents().len());
        append(account, b"two");
        assert_eq!(into.get("log").unwrap(), b"onetwo");
        account.verify(&mut |_, _| ()).unwrap();
    }
}
