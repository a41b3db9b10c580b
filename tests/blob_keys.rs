//! Keys that clients give with each request: without one's own, nobody reads a blob, also not who has the
//! customer's key; and without the customer's, it opens nothing.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::crypto::Secret;
use atrest::resource::blob::{
    AppendConditions, Attributes, BlobInfo, BlobStatus, Block, BlockId, CHUNK_LEN, Conditions,
    CopySource, Encryption, Pairs, ProvidedKey, StorageAccount, UnderKey,
};
use atrest::resource::{EncryptionMismatch, ProtectedResource, Protection, ResourceError, Wrapper};
use key_wrapper::{Asked, Meddled};

const METADATA: &str = "the-name-in-the-metadata";

fn provided() -> ProvidedKey {
    ProvidedKey::new(Secret::random())
}

fn put(account: &StorageAccount, blob: &str, data: &[u8], encryption: Encryption<'_>) {
    let any = Conditions::default();
    let mut said = || {
        Ok(Attributes {
            metadata: Pairs::from([("who".to_owned(), METADATA.to_owned())]),
            ..Attributes::default()
        })
    };
    let put = account.put_with(
        &name(blob),
        &mut &data[..],
        encryption,
        &any,
        &mut said,
        &mut |_| (),
    );
    put.unwrap();
}

fn get(
    account: &StorageAccount,
    blob: &str,
    encryption: Encryption<'_>,
) -> Result<Vec<u8>, ResourceError> {
    let any = Conditions::default();
    let reader = account.reader(&name(blob), encryption, &any, &mut |info| Ok(0..info.size))?;
    let mut got = Vec::new();
    reader.read(&mut got, &mut |_| ())?;
    Ok(got)
}

#[track_caller]
fn mismatch<T>(result: Result<T, ResourceError>, expected: EncryptionMismatch) {
    match result {
        Err(ResourceError::Encryption { mismatch, .. }) => assert_eq!(mismatch, expected),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn what_is_under_a_key_that_is_given_is_read_with_that_key_only() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    let (mine, other) = (provided(), provided());
    let (mine, other) = (Encryption::Provided(&mine), Encryption::Provided(&other));
    let none = Encryption::Unspecified;
    let data = bytes(CHUNK_LEN + 3);
    put(account, "given", &data, mine);
    put(account, "account", &data, none);
    assert_eq!(get(account, "given", mine).unwrap(), data);
    assert_eq!(get(account, "account", none).unwrap(), data);
    use EncryptionMismatch::{KeyNeeded, NoKeyUsed, Other};
    mismatch(get(account, "given", none), KeyNeeded);
    mismatch(get(account, "given", other), Other);
    mismatch(get(account, "account", mine), NoKeyUsed);
    let (path, pairs) = (name("given"), Pairs::new());
    for (encryption, why) in [(none, KeyNeeded), (other, Other)] {
        mismatch(account.attributes(&path, encryption, &any), why);
        mismatch(account.set_metadata(&path, &pairs, encryption, &any), why);
    }
    let (_, said) = account.attributes(&path, mine, &any).unwrap();
    assert_eq!(said.metadata["who"], METADATA);
    account.set_metadata(&path, &pairs, mine, &any).unwrap();
    assert_eq!(get(account, "given", mine).unwrap(), data);
    // What needs no key goes on without it: a list, which says which key it is; index tags; deletion.
    let Encryption::Provided(key) = mine else {
        unreachable!()
    };
    assert_eq!(
        account.info(&path).unwrap().under,
        UnderKey::Provided(*key.sha256())
    );
    assert_eq!(
        account.info(&name("account")).unwrap().under,
        UnderKey::Account
    );
    account.set_tags(&path, &Pairs::new(), &any).unwrap();
    // A put replaces it whole, under whichever key.
    put(account, "given", b"new", none);
    assert_eq!(get(account, "given", none).unwrap(), b"new");
    account.delete(&path, &any).unwrap();
}

#[test]
fn key_that_is_given_opens_nothing_once_the_customers_is_refused() {
    let fixture = Fixture::protected();
    let key = provided();
    let given = Encryption::Provided(&key);
    put(&fixture.account, "a", b"data", given);
    fixture.vault.enable("customer", false);
    let refused = get(&fixture.account, "a", given).unwrap_err();
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
    let any = Conditions::default();
    let mut none = || Ok(Attributes::default());
    let refused = fixture.account.put_with(
        &name("b"),
        &mut &b"x"[..],
        given,
        &any,
        &mut none,
        &mut |_| (),
    );
    assert!(matches!(refused, Err(ResourceError::KeyUnavailable { .. })));
    fixture.vault.enable("customer", true);
    assert_eq!(get(&fixture.account, "a", given).unwrap(), b"data");
}

/// A thief with both of the account's keys changes what the manifest says of its key, so that none is asked
/// for.
#[test]
fn manifest_that_hides_its_key_opens_without_it_no_more_than_before() {
    let fixture = Fixture::protected();
    let key = provided();
    put(&fixture.account, "a", b"data", Encryption::Provided(&key));
    put(&fixture.account, "twin", b"data", Encryption::Unspecified);
    // The 12th byte, and the 32 after the salt.
    let hide = "UPDATE blobs SET manifest = CAST(substr(manifest, 1, 11) || x'00' || \
                substr(manifest, 13, 36) || zeroblob(32) || substr(manifest, 81) AS BLOB)";
    fixture.tamper(&format!("{hide} WHERE name = 'twin'"));
    assert_eq!(
        fixture.get("twin").unwrap(),
        b"data",
        "the same change of nothing"
    );
    fixture.tamper(&format!("{hide} WHERE name = 'a'"));
    assert_eq!(
        fixture.account.info(&name("a")).unwrap().under,
        UnderKey::Account
    );
    let refused = fixture.get("a").unwrap_err();
    assert!(
        matches!(refused, ResourceError::Unauthentic { .. }),
        "{refused}"
    );
}

#[test]
fn key_that_is_given_is_in_no_file() {
    let fixture = Fixture::protected();
    let material = [0x5a_u8; 32];
    let key = ProvidedKey::new(Secret::copy_from(&material).unwrap());
    put(
        &fixture.account,
        "a",
        b"plaintext of the blob",
        Encryption::Provided(&key),
    );
    let holds = |needle: &[u8]| {
        let snapshot = fixture.snapshot();
        let mut files = snapshot.iter();
        files.any(|(_, bytes)| bytes.windows(needle.len()).any(|w| w == needle))
    };
    for needle in [
        &material[..],
        key.sha256(),
        b"plaintext of the blob",
        METADATA.as_bytes(),
    ] {
        assert!(!holds(needle));
    }
    // The same search finds what is there.
    assert!(holds(b"atrestBX"));
}

#[test]
fn blocks_under_different_keys_do_not_become_one_blob() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    let (mine, other) = (provided(), provided());
    let (mine, other) = (Encryption::Provided(&mine), Encryption::Provided(&other));
    let none = Encryption::Unspecified;
    let id = |n: u8| BlockId::from_bytes(&[n; 4]).unwrap();
    let stage = |n: u8, encryption: Encryption<'_>| {
        let put = account.put_block(
            &name("a"),
            &id(n),
            &mut &[n; 70_000][..],
            encryption,
            &mut || Ok(()),
        );
        put.unwrap()
    };
    let commit = |blocks: &[u8], encryption: Encryption<'_>| {
        let blocks: Vec<Block> = blocks.iter().map(|n| Block::Latest(id(*n))).collect();
        account.put_block_list(
            &name("a"),
            &blocks,
            &Attributes::default(),
            encryption,
            &any,
        )
    };
    use EncryptionMismatch::{KeyNeeded, NoKeyUsed, Other};
    stage(1, mine);
    stage(2, mine);
    mismatch(commit(&[1, 2], none), KeyNeeded);
    mismatch(commit(&[1, 2], other), Other);
    commit(&[1, 2], mine).unwrap();
    assert_eq!(
        get(account, "a", mine).unwrap(),
        [[1; 70_000], [2; 70_000]].concat()
    );
    stage(3, none);
    mismatch(commit(&[1, 3], mine), NoKeyUsed);
    mismatch(commit(&[1, 3], none), KeyNeeded);
    // All of it anew is no mixture.
    commit(&[3], none).unwrap();
    assert_eq!(get(account, "a", none).unwrap(), [3; 70_000]);
}

#[test]
fn block_list_is_told_without_any_key_of_the_customers() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    let key = provided();
    for (blob, encryption) in [
        ("a", Encryption::Unspecified),
        ("b", Encryption::Provided(&key)),
    ] {
        let ids: Vec<BlockId> = (1..=3)
            .map(|n| BlockId::from_bytes(&[n; 5]).unwrap())
            .collect();
        for (n, id) in (1..).zip(&ids) {
            let data = vec![0; n];
            account
                .put_block(&name(blob), id, &mut &data[..], encryption, &mut || Ok(()))
                .unwrap();
        }
        let list: Vec<Block> = [2, 0, 2].map(|n| Block::Uncommitted(ids[n].clone())).into();
        let said = Attributes::default();
        account
            .put_block_list(&name(blob), &list, &said, encryption, &any)
            .unwrap();
        let listed = || {
            let listed = account.block_list(&name(blob)).unwrap().committed;
            listed
                .into_iter()
                .map(|b| (b.id, b.size))
                .collect::<Vec<_>>()
        };
        let expected: Vec<_> = [2, 0, 2].map(|n| (ids[n].clone(), n as u64 + 1)).into();
        assert_eq!(listed(), expected);
        fixture.vault.enable("customer", false);
        assert_eq!(listed(), expected);
        fixture.vault.enable("customer", true);
    }
    // A list that was altered is found by a verification, as far as it can read.
    account.verify(&mut |_, _| ()).unwrap();
    fixture.tamper("UPDATE block_lists SET blocks = x'0105ffffffffffffff00'");
    let altered = account.verify(&mut |_, _| ()).unwrap_err();
    assert!(
        matches!(altered, ResourceError::Unauthentic { .. }),
        "{altered}"
    );
}

#[test]
fn rewrap_of_the_accounts_key_leaves_what_is_under_a_given_key_as_it_is() {
    let mut fixture = Fixture::protected();
    let key = provided();
    put(&fixture.account, "a", b"data", Encryption::Provided(&key));
    fixture.vault.add("customer");
    let to = fixture.account.protection().clone();
    fixture.account.rewrap(&to).unwrap();
    assert_eq!(
        get(&fixture.account, "a", Encryption::Provided(&key)).unwrap(),
        b"data"
    );
    // And a verification passes over what it cannot read.
    put_bytes(&fixture.account, "b", b"other");
    fixture.account.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn copy_and_snapshot_are_under_the_keys_that_were_asked_for_and_not_the_sources() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    let (mine, other) = (provided(), provided());
    let (mine, other) = (Encryption::Provided(&mine), Encryption::Provided(&other));
    let none = Encryption::Unspecified;
    let data = bytes(70_000);
    put(account, "a", &data, mine);
    let extents = fixture.extents();
    let copy = |encryption: Encryption<'_>, to: &str, under: Encryption<'_>| {
        let path = name("a");
        let source = CopySource {
            account,
            blob: (&path).into(),
            conditions: &any,
            encryption,
        };
        let mut said = |_: &BlobInfo, said: Attributes| Ok((said, BlobStatus::default()));
        account.copy(&source, &name(to), under, &any, &mut said)
    };
    mismatch(copy(none, "b", none), EncryptionMismatch::KeyNeeded);
    mismatch(copy(other, "b", other), EncryptionMismatch::Other);
    copy(mine, "b", none).unwrap();
    copy(mine, "c", other).unwrap();
    copy(mine, "d", mine).unwrap();
    for (blob, key) in [("b", none), ("c", other), ("d", mine)] {
        assert_eq!(get(account, blob, key).unwrap(), data, "{blob}");
    }
    mismatch(get(account, "c", mine), EncryptionMismatch::Other);
    // No byte was sealed anew: the same extents, their key wrapped otherwise.
    assert_eq!(fixture.extents(), extents);
    let path = name("a");
    mismatch(
        account.snapshot(&path, None, none, &any),
        EncryptionMismatch::KeyNeeded,
    );
    let taken = account.snapshot(&path, None, mine, &any).unwrap();
    assert_eq!(taken.under, account.info(&path).unwrap().under);
    put(account, "a", b"new", none);
    let at = taken.at(&path);
    let reader = account
        .reader(at, mine, &any, &mut |info| Ok(0..info.size))
        .unwrap();
    let mut got = Vec::new();
    reader.read(&mut got, &mut |_| ()).unwrap();
    assert_eq!(got, data);
    mismatch(
        account.attributes(at, none, &any),
        EncryptionMismatch::KeyNeeded,
    );
}

#[test]
fn block_appended_under_a_given_key_shares_none_with_a_copy_under_another() {
    let fixture = Fixture::protected();
    let (account, any) = (&fixture.account, Conditions::default());
    let key = provided();
    let (mine, none) = (Encryption::Provided(&key), Encryption::Unspecified);
    let append = |blob: &str, data: &[u8], encryption: Encryption<'_>| {
        let (anywhere, check) = (AppendConditions::default(), &mut || Ok(()));
        let to = name(blob);
        let appended = account.append(&to, &mut &data[..], encryption, check, &anywhere, &any);
        appended.unwrap();
    };
    // By the heads of the extents: under how many keys of generations they are.
    let keys = || {
        let heads = fixture.extents().into_iter();
        let all = heads.map(|path| std::fs::read(path).unwrap()[48..64].to_vec());
        all.collect::<std::collections::HashSet<_>>().len()
    };
    let said = Attributes::default();
    account
        .create_append_blob(&name("a"), &said, mine, &any)
        .unwrap();
    append("a", b"one", mine);
    let a = name("a");
    let source = CopySource {
        account,
        blob: (&a).into(),
        conditions: &any,
        encryption: mine,
    };
    let mut as_is = |of: &BlobInfo, said: Attributes| Ok((said, of.status.clone()));
    account
        .copy(&source, &name("b"), none, &any, &mut as_is)
        .unwrap();
    append("a", b"two", mine);
    // The copy is sealed anew, and so opens neither what it was made of nor what is appended to that.
    assert_eq!(keys(), 3, "the copy's manifest opens no later block");
    assert_eq!(get(account, "a", mine).unwrap(), b"onetwo");
    assert_eq!(get(account, "b", none).unwrap(), b"one");
    // The control: under the account key the blocks of a blob share one.
    append("b", b"three", none);
    append("b", b"four", none);
    assert_eq!(keys(), 4);
    assert_eq!(get(account, "b", none).unwrap(), b"onethreefour");
    account.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn plain_account_does_not_pretend_to_encrypt() {
    let fixture = Fixture::plain();
    let (key, any) = (provided(), Conditions::default());
    let mut none = || Ok(Attributes::default());
    let given = Encryption::Provided(&key);
    let put = (fixture.account).put_with(
        &name("a"),
        &mut &b"x"[..],
        given,
        &any,
        &mut none,
        &mut |_| (),
    );
    assert!(matches!(put, Err(ResourceError::Usage(_))));
    put_bytes(&fixture.account, "a", b"x");
    mismatch(
        get(&fixture.account, "a", given),
        EncryptionMismatch::NoKeyUsed,
    );
}

#[test]
fn account_that_was_put_under_another_key_is_not_put_back_by_a_rotation_that_began_before() {
    let customers = |key| Protection::CustomerManaged { key };
    // The first two: a rotation, and a change to a third key, which is the later one and stays.
    for (third, at_once) in [(false, true), (true, true), (false, false)] {
        let fixture = Fixture::protected();
        put_bytes(&fixture.account, "a", b"data");
        let old = fixture.account.protection().clone();
        let (new, last) = (fixture.vault.add("new"), fixture.vault.add("last"));
        let mut other = fixture.open().unwrap();
        let to = customers(new.clone());
        let change = move || drop(other.rewrap(&to).unwrap());
        // While a key is being wrapped, which an opening does not do.
        let mut change = at_once.then_some(change);
        let wrapper: Wrapper = Meddled::new(&fixture.vault, move |asked| {
            if asked == Asked::Wrap
                && let Some(mut change) = change.take()
            {
                change();
            }
            Ok(())
        });
        let (dir, id) = (fixture.account.dir(), fixture.account.id());
        let mut slow = StorageAccount::open(dir, id, old.clone(), &wrapper).unwrap();
        let to = match third {
            true => customers(last.clone()),
            false => old.clone(),
        };
        let done = slow.rewrap(&to).unwrap();
        // The control: where nobody else changed it, it is under what it was asked to be under.
        let expected = match (third, at_once) {
            (true, _) => customers(last),
            (false, true) => customers(new),
            (false, false) => old,
        };
        assert_eq!(*slow.protection(), expected);
        assert_eq!(*fixture.open().unwrap().protection(), expected);
        let envelope = slow.envelope().unwrap();
        assert_eq!(Some(&envelope.key.key()), expected.key());
        assert_eq!(done.to, envelope.key.to_string());
        // That key decides, and no other.
        let read = |account: &StorageAccount| get(account, "a", Encryption::Unspecified);
        for key in ["customer", "new", "last"] {
            fixture.vault.enable(key, false);
            let decides = expected.key().unwrap().name.to_string() == key;
            assert_eq!(read(&slow).is_err(), decides, "{key}");
            fixture.vault.enable(key, true);
        }
        assert_eq!(read(&slow).unwrap(), b"data");
        assert_eq!(read(&fixture.account).unwrap(), b"data");
    }
}

#[test]
fn rotations_at_once_lose_no_key_and_leave_the_account_under_the_newest() {
    let fixture = Fixture::protected();
    put_bytes(&fixture.account, "a", b"data");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut account = fixture.open().unwrap();
            let to = account.protection().clone();
            scope.spawn(move || {
                for _ in 0..5 {
                    match account.rewrap(&to) {
                        Ok(_) | Err(ResourceError::Busy { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            });
        }
    });
    let data = get(&fixture.open().unwrap(), "a", Encryption::Unspecified);
    assert_eq!(data.unwrap(), b"data");
}
