//! What the verification of an account passes over is told, and what others write meanwhile is not taken for
//! damage.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use accounts::{Fixture, bytes, name, put_bytes};
use atrest::crypto::Secret;
use atrest::resource::blob::{
    Attributes, Block, BlockId, Conditions, Encryption, Layers, LeftOut, ProvidedKey, ScopeName,
    StorageAccount, Unread,
};
use atrest::resource::{ProtectedResource, Protection, ResourceError, Verified};

fn put(account: &StorageAccount, blob: &str, data: &[u8], encryption: Encryption<'_>) {
    let any = Conditions::default();
    let mut none = || Ok(Attributes::default());
    account
        .put_with(
            &name(blob),
            &mut &data[..],
            encryption,
            &any,
            &mut none,
            &mut |_| (),
        )
        .unwrap();
}

fn block(number: u8) -> BlockId {
    BlockId::from_bytes(&[number]).unwrap()
}

fn stage(account: &StorageAccount, blob: &str, id: u8, data: &[u8], encryption: Encryption<'_>) {
    let (path, mut check) = (name(blob), || Ok(()));
    account
        .put_block(&path, &block(id), &mut &data[..], encryption, &mut check)
        .unwrap();
}

fn verify(account: &StorageAccount) -> Result<Verified, ResourceError> {
    let mut last = (0, 0);
    let verified = account.verify(&mut |done, total| {
        assert!(done <= total);
        last = (done, total);
    })?;
    assert_eq!(last.0, last.1, "the progress comes to its end");
    Ok(verified)
}

/// With the scope `payroll`, under the customer's key `payroll`.
fn scoped() -> (Fixture, ScopeName) {
    let fixture = Fixture::protected();
    let key = fixture.vault.add("payroll");
    let payroll: ScopeName = "payroll".parse().unwrap();
    (fixture.account)
        .create_scope(&payroll, &Protection::CustomerManaged { key }, Layers::One)
        .unwrap();
    (fixture, payroll)
}

#[test]
fn what_cannot_be_verified_is_counted_and_never_passed_over_in_silence() {
    let (fixture, payroll) = scoped();
    let account = &fixture.account;
    let own = ProvidedKey::new(Secret::random());
    let data = bytes(100_000);
    put(account, "plainly", &data, Encryption::Unspecified);
    assert_eq!(verify(account).unwrap().left_out, []);
    put(account, "own", &data, Encryption::Provided(&own));
    put(account, "own too", b"", Encryption::Provided(&own));
    stage(account, "own", 1, &data, Encryption::Provided(&own));
    put(account, "scoped", &data, Encryption::Scope(&payroll));
    stage(account, "staged", 1, &data, Encryption::Scope(&payroll));
    stage(account, "staged", 2, b"", Encryption::Scope(&payroll));
    let provided = LeftOut {
        why: Unread::CustomerProvidedKey,
        blobs: 2,
        blocks: 1,
    };
    let found = verify(account).unwrap();
    assert_eq!(found.left_out, std::slice::from_ref(&provided));
    // The scope's blob and blocks are read as long as it is enabled.
    account.enable_scope(&payroll, false).unwrap();
    let fewer = verify(account).unwrap();
    let disabled = LeftOut {
        why: Unread::ScopeDisabled {
            scope: payroll.clone(),
        },
        blobs: 1,
        blocks: 2,
    };
    assert_eq!(fewer.left_out.len(), 2);
    assert!(fewer.left_out.contains(&provided) && fewer.left_out.contains(&disabled));
    assert!(fewer.bytes < found.bytes);
    account.enable_scope(&payroll, true).unwrap();
    assert_eq!(verify(account).unwrap().left_out, [provided]);
}

#[test]
fn one_scopes_revoked_key_does_not_hide_what_is_left_of_the_account() {
    let (fixture, payroll) = scoped();
    let account = &fixture.account;
    let data = bytes(100_000);
    put(account, "scoped", &data, Encryption::Scope(&payroll));
    stage(account, "staged", 1, &data, Encryption::Scope(&payroll));
    let before = fixture.extents();
    put_bytes(account, "other", &data);
    let mut of_other = fixture.extents();
    of_other.retain(|path| !before.contains(path));
    assert_eq!(verify(account).unwrap().left_out, []);
    fixture.vault.enable("payroll", false);
    let verified = verify(account).unwrap();
    let [left] = &verified.left_out[..] else {
        panic!("{:?}", verified.left_out);
    };
    assert!(left.why.is_failure());
    assert!(matches!(&left.why, Unread::KeyUnavailable { scope, .. } if *scope == payroll));
    assert_eq!((left.blobs, left.blocks), (1, 1));
    // The rest is really read: damage to it is found.
    let good = fs::read(&of_other[0]).unwrap();
    let mut altered = good.clone();
    *altered.last_mut().unwrap() ^= 1;
    fs::write(&of_other[0], altered).unwrap();
    let error = verify_quietly(account).unwrap_err();
    assert!(
        matches!(error, ResourceError::Unauthentic { .. }),
        "{error}"
    );
    fs::write(&of_other[0], good).unwrap();
    fixture.vault.enable("payroll", true);
    assert_eq!(verify(account).unwrap().left_out, []);
    // Without the account's own key nothing can be said.
    fixture.vault.enable("customer", false);
    let error = verify_quietly(account).unwrap_err();
    assert!(
        matches!(error, ResourceError::KeyUnavailable { .. }),
        "{error}"
    );
}

fn verify_quietly(account: &StorageAccount) -> Result<Verified, ResourceError> {
    account.verify(&mut |_, _| ())
}

/// Replaces, removes, commits, and changes keys and scopes, until told to stop.
fn write_and_remove(fixture: &Fixture, payroll: &ScopeName, stop: &AtomicBool) {
    let account = fixture.open().unwrap();
    let own = ProvidedKey::new(Secret::random());
    let data = bytes(3_000);
    for round in 0_u8.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let encryption = match round % 3 {
            0 => Encryption::Unspecified,
            1 => Encryption::Provided(&own),
            _ => Encryption::Scope(payroll),
        };
        let blob = ["a", "b"][usize::from(round % 2)];
        put(&account, blob, &data, encryption);
        stage(&account, "c", 1, &data, encryption);
        let list = [Block::Uncommitted(block(1))];
        let (attributes, any) = (Attributes::default(), Conditions::default());
        account
            .put_block_list(&name("c"), &list, &attributes, encryption, &any)
            .unwrap();
        stage(&account, "d", 1, &data, encryption);
        account.enable_scope(payroll, false).unwrap();
        account.delete(&name("c"), &any).unwrap();
        account.enable_scope(payroll, true).unwrap();
        account.rewrap_scope(payroll, None).unwrap();
    }
}

#[test]
fn blobs_that_are_replaced_while_an_account_is_verified_are_not_taken_for_damage() {
    let (fixture, payroll) = scoped();
    let stop = AtomicBool::new(false);
    let (fixture, payroll, stop) = (&fixture, &payroll, &stop);
    for blob in 0..8 {
        put_bytes(&fixture.account, &format!("kept {blob}"), &bytes(10_000));
    }
    let kept = fixture.extents();
    thread::scope(|scope| {
        let writer = scope.spawn(|| write_and_remove(fixture, payroll, stop));
        let verifier = scope.spawn(|| {
            let whole = |_| verify(&fixture.account).map(drop);
            let sound = (0..60).try_for_each(whole);
            // What is damaged is found beside the same writers.
            let mut altered = fs::read(&kept[0]).unwrap();
            altered[200] ^= 1;
            fs::write(&kept[0], altered).unwrap();
            let damaged = verify_quietly(&fixture.account);
            stop.store(true, Ordering::Relaxed);
            (sound, damaged)
        });
        let (sound, damaged) = verifier.join().unwrap();
        writer.join().unwrap();
        sound.unwrap();
        let damaged = damaged.unwrap_err();
        assert!(
            matches!(damaged, ResourceError::Unauthentic { .. }),
            "{damaged}"
        );
    });
}
