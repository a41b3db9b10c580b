//! Encryption scopes: each with a key of its own, so that to take one away takes away what is under it and
//! nothing else.

#![allow(clippy::unwrap_used)]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/key_wrapper.rs"]
mod key_wrapper;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use accounts::{Fixture, bytes, name};
use atrest::base::KeyRef;
use atrest::resource::blob::{
    Attributes, Block, BlockId, Conditions, ContainerName, ContainerScope, Encryption, Layers,
    Pairs, ScopeName, StorageAccount, UnderKey,
};
use atrest::resource::{
    EncryptionMismatch, KeyLoss, ProtectedResource, Protection, ResourceError, Wrapper,
};
use atrest::vault::VaultError;
use key_wrapper::Meddled;

fn scope(name: &str) -> ScopeName {
    name.parse().unwrap()
}

/// An account with the scopes `payroll`, under the customer's key `payroll`, and `open`, under the service's.
fn scoped() -> (Fixture, [ScopeName; 2]) {
    let fixture = Fixture::protected();
    let customers = Protection::CustomerManaged {
        key: fixture.vault.add("payroll"),
    };
    let KeyRef { vault, .. } = customers.key().unwrap().clone();
    let service = Protection::ServiceManaged {
        key: KeyRef {
            vault,
            name: "service".parse().unwrap(),
        },
    };
    let names = [scope("payroll"), scope("open")];
    fixture
        .account
        .create_scope(&names[0], &customers, Layers::One)
        .unwrap();
    fixture
        .account
        .create_scope(&names[1], &service, Layers::One)
        .unwrap();
    (fixture, names)
}

fn put(
    account: &StorageAccount,
    blob: &str,
    data: &[u8],
    encryption: Encryption<'_>,
) -> Result<UnderKey, ResourceError> {
    let (path, any) = (name(blob), Conditions::default());
    let mut none = || Ok(Attributes::default());
    let put = account.put_with(
        &path,
        &mut &data[..],
        encryption,
        &any,
        &mut none,
        &mut |_| (),
    );
    Ok(put?.under)
}

fn unavailable<T>(result: Result<T, ResourceError>) {
    let refused = result.map(drop).unwrap_err();
    assert!(
        matches!(refused, ResourceError::KeyUnavailable { .. }),
        "{refused}"
    );
}

fn disabled<T>(result: Result<T, ResourceError>) {
    let refused = result.map(drop).unwrap_err();
    assert!(
        matches!(refused, ResourceError::ScopeDisabled(_)),
        "{refused}"
    );
}

#[test]
fn a_scopes_key_that_is_refused_takes_its_blobs_away_and_no_others() {
    let (fixture, [payroll, open]) = scoped();
    let account = &fixture.account;
    let data = bytes(70_000);
    put(account, "account", &data, Encryption::Unspecified).unwrap();
    put(account, "payroll", &data, Encryption::Scope(&payroll)).unwrap();
    put(account, "open", &data, Encryption::Scope(&open)).unwrap();
    let info = account.info(&name("payroll")).unwrap();
    assert_eq!(info.scope.as_ref(), Some(&payroll));
    let readable = |blobs: [bool; 3]| {
        for (blob, readable) in ["account", "payroll", "open"].into_iter().zip(blobs) {
            match readable {
                true => assert_eq!(fixture.get(blob).unwrap(), data, "{blob}"),
                false => unavailable(fixture.get(blob)),
            }
        }
    };
    readable([true, true, true]);
    fixture.vault.enable("payroll", false);
    readable([true, false, true]);
    unavailable(put(account, "new", b"x", Encryption::Scope(&payroll)));
    fixture.vault.enable("payroll", true);
    fixture.vault.enable("customer", false);
    readable([false, true, true]);
    fixture.vault.enable("customer", true);
    readable([true, true, true]);
}

#[test]
fn a_scope_that_is_disabled_refuses_at_once_also_who_read_under_it_a_moment_before() {
    let (fixture, [payroll, _]) = scoped();
    let account = &fixture.account;
    let data = bytes(4 << 20);
    put(account, "a", &data, Encryption::Scope(&payroll)).unwrap();
    put(account, "twin", &data, Encryption::Unspecified).unwrap();
    // Another process disables it in the middle of a transfer.
    let other = fixture.open().unwrap();
    let (none, any) = (Encryption::Unspecified, Conditions::default());
    for (blob, stops) in [("a", true), ("twin", false)] {
        other.enable_scope(&payroll, true).unwrap();
        let path = name(blob);
        let reader = account.reader(&path, none, &any, &mut |info| Ok(0..info.size));
        let mut got = 0;
        let mut sink = Counting {
            got: &mut got,
            then: &mut || drop(other.enable_scope(&payroll, false).unwrap()),
        };
        let read = reader.unwrap().read(&mut sink, &mut |_| ());
        match stops {
            true => {
                disabled(read);
                assert!(got < data.len());
            }
            false => read.unwrap(),
        }
    }
    disabled(fixture.get("a"));
    disabled(account.attributes(&name("a"), none, &any));
    disabled(account.set_metadata(&name("a"), &Pairs::new(), none, &any));
    disabled(put(account, "b", b"x", Encryption::Scope(&payroll)));
    // It is listed, and can be deleted.
    assert_eq!(account.blobs().unwrap().len(), 2);
    other.enable_scope(&payroll, true).unwrap();
    assert_eq!(fixture.get("a").unwrap(), data);
    other.enable_scope(&payroll, false).unwrap();
    account.delete(&name("a"), &any).unwrap();
}

struct Counting<'a> {
    got: &'a mut usize,
    then: &'a mut (dyn FnMut() + Send),
}

impl std::io::Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        *self.got += bytes.len();
        (self.then)();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_container_that_insists_on_its_scope_takes_no_blob_under_another_key() {
    let (fixture, [payroll, open]) = scoped();
    let (account, any) = (&fixture.account, &Conditions::default());
    let key = atrest::resource::blob::ProvidedKey::new(atrest::crypto::Secret::random());
    let made = |container: &str, only: bool| {
        let container: ContainerName = container.parse().unwrap();
        let scope = ContainerScope {
            name: payroll.clone(),
            only,
        };
        let made = account
            .create_container_under(&container, &Pairs::new(), Some(&scope))
            .unwrap();
        assert_eq!(made.scope, Some(scope));
        move |encryption: Encryption<'_>| {
            let path = atrest::resource::blob::BlobPath {
                container: container.clone(),
                name: "a".parse().unwrap(),
            };
            let mut none = || Ok(Attributes::default());
            let put = account.put_with(
                &path,
                &mut &b"x"[..],
                encryption,
                any,
                &mut none,
                &mut |_| (),
            );
            put.map(|info| info.scope)
        }
    };
    let any_scope = made("free", false);
    assert_eq!(
        any_scope(Encryption::Unspecified).unwrap(),
        Some(payroll.clone())
    );
    assert_eq!(
        any_scope(Encryption::Scope(&open)).unwrap(),
        Some(open.clone())
    );
    assert_eq!(any_scope(Encryption::Provided(&key)).unwrap(), None);
    let only = made("strict", true);
    assert_eq!(
        only(Encryption::Unspecified).unwrap(),
        Some(payroll.clone())
    );
    assert_eq!(
        only(Encryption::Scope(&payroll)).unwrap(),
        Some(payroll.clone())
    );
    for other in [Encryption::Scope(&open), Encryption::Provided(&key)] {
        let refused = only(other).unwrap_err();
        assert!(
            matches!(refused, ResourceError::ScopeForced(_)),
            "{refused}"
        );
    }
    let missing = ContainerScope {
        name: scope("missing"),
        only: false,
    };
    let container: ContainerName = "never".parse().unwrap();
    let made = account.create_container_under(&container, &Pairs::new(), Some(&missing));
    assert!(matches!(made, Err(ResourceError::NoScope(_))));
    assert!(
        account.container(&container).is_err(),
        "nothing is left of it"
    );
}

#[test]
fn blocks_and_changes_under_another_scope_are_refused() {
    let (fixture, [payroll, open]) = scoped();
    let (account, any) = (&fixture.account, Conditions::default());
    let (path, id) = (name("a"), BlockId::from_bytes(b"1").unwrap());
    let mismatch = |result: Result<(), ResourceError>| match result.unwrap_err() {
        ResourceError::Encryption { mismatch, .. } => {
            assert_eq!(mismatch, EncryptionMismatch::Other)
        }
        other => panic!("{other}"),
    };
    let payroll = Encryption::Scope(&payroll);
    account
        .put_block(&path, &id, &mut &b"x"[..], payroll, &mut || Ok(()))
        .unwrap();
    let commit = |encryption: Encryption<'_>| {
        let (list, said) = ([Block::Latest(id.clone())], Attributes::default());
        account
            .put_block_list(&path, &list, &said, encryption, &any)
            .map(drop)
    };
    mismatch(commit(Encryption::Scope(&open)));
    mismatch(commit(Encryption::Unspecified));
    commit(payroll).unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"x");
    mismatch(
        account
            .set_metadata(&path, &Pairs::new(), Encryption::Scope(&open), &any)
            .map(drop),
    );
    account
        .set_metadata(&path, &Pairs::new(), payroll, &any)
        .unwrap();
    account
        .set_metadata(&path, &Pairs::new(), Encryption::Unspecified, &any)
        .unwrap();
    assert_eq!(
        account
            .info(&path)
            .unwrap()
            .scope
            .as_ref()
            .unwrap()
            .as_str(),
        "payroll"
    );
}

#[test]
fn rewrap_of_a_scope_follows_its_key_and_touches_no_data() {
    let (mut fixture, [payroll, _]) = scoped();
    put(&fixture.account, "a", b"data", Encryption::Scope(&payroll)).unwrap();
    let version = |fixture: &Fixture| fixture.account.scope(&payroll).unwrap().key_version;
    let (before, extents) = (version(&fixture), fixture.extents());
    fixture.vault.add("payroll");
    let done = fixture.account.rewrap_scope(&payroll, None).unwrap();
    assert_eq!((done.from, done.bytes_rewritten), (before.to_string(), 768));
    assert_ne!(version(&fixture), before);
    fixture.vault.enable_version("payroll", 0, false);
    assert_eq!(fixture.get("a").unwrap(), b"data");
    // With the account, its scopes are wrapped anew, too.
    fixture.vault.add("payroll");
    let second = version(&fixture);
    let to = fixture.account.protection().clone();
    fixture.account.rewrap(&to).unwrap();
    assert_ne!(version(&fixture), second);
    // And by another key, which is then the one that counts.
    let customer = Protection::CustomerManaged {
        key: to.key().unwrap().clone(),
    };
    fixture
        .account
        .rewrap_scope(&payroll, Some(&customer))
        .unwrap();
    fixture.vault.enable("payroll", false);
    assert_eq!(fixture.get("a").unwrap(), b"data");
    assert_eq!(fixture.extents(), extents);
    let fixture = fixture.reopen().unwrap();
    assert_eq!(fixture.get("a").unwrap(), b"data");
}

/// One who has the service's key exchanges the envelopes of two scopes, or puts one of his own making there.
#[test]
fn a_scopes_envelope_is_no_other_scopes() {
    let (fixture, [payroll, open]) = scoped();
    put(&fixture.account, "a", b"data", Encryption::Scope(&payroll)).unwrap();
    let fixture = fixture.reopen().unwrap();
    fixture.tamper(
        "UPDATE scopes SET envelope = (SELECT envelope FROM scopes WHERE name = 'open') \
         WHERE name = 'payroll'",
    );
    let refused = fixture.get("a").unwrap_err();
    assert!(
        matches!(refused, ResourceError::Unauthentic { .. }),
        "{refused}"
    );
    put(&fixture.account, "b", b"data", Encryption::Scope(&open)).unwrap();
    assert_eq!(fixture.get("b").unwrap(), b"data");
}

/// Replaces the append blob at `log` by one under `scope` when it is first read from.
struct Replacing<'a> {
    account: &'a StorageAccount,
    encryption: Encryption<'a>,
    left: &'a [u8],
    done: bool,
}

impl std::io::Read for Replacing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !std::mem::replace(&mut self.done, true) {
            let (path, any) = (name("log"), Conditions::default());
            let said = Attributes::default();
            self.account
                .create_append_blob(&path, &said, self.encryption, &any)
                .unwrap();
        }
        self.left.read(buffer)
    }
}

#[test]
fn what_is_appended_while_a_blob_is_replaced_is_not_left_under_the_old_key_or_with_the_old_layers()
{
    let (fixture, _) = scoped();
    let account = &fixture.account;
    let [twice, once] = [scope("twice"), scope("once")];
    let key = Protection::CustomerManaged {
        key: fixture.vault.add("other"),
    };
    account.create_scope(&twice, &key, Layers::Two).unwrap();
    account.create_scope(&once, &key, Layers::One).unwrap();
    let (path, any) = (name("log"), Conditions::default());
    let unspecified = Encryption::Unspecified;
    let append = |by: Encryption<'_>| {
        let mut source = Replacing {
            account,
            encryption: by,
            left: b"a line",
            done: false,
        };
        let mut check = || Ok(());
        let at = Default::default();
        account.append(&path, &mut source, unspecified, &mut check, &at, &any)
    };
    let said = Attributes::default();
    for (before, now) in [
        (Encryption::Unspecified, Encryption::Scope(&twice)),
        (Encryption::Scope(&twice), Encryption::Unspecified),
        (Encryption::Unspecified, Encryption::Scope(&once)),
    ] {
        account
            .create_append_blob(&path, &said, before, &any)
            .unwrap();
        let refused = append(now).unwrap_err();
        assert!(matches!(refused, ResourceError::Busy { .. }), "{refused}");
        // Nothing of it is there, and what is appended next is read.
        append_to(account, &path);
        let mut read = Vec::new();
        account.get(&path, None, &mut read, &mut |_| ()).unwrap();
        assert_eq!(read, b"next");
        // One that is replaced under the same key is appended to.
        account.create_append_blob(&path, &said, now, &any).unwrap();
        append(now).unwrap();
        read.clear();
        account.get(&path, None, &mut read, &mut |_| ()).unwrap();
        assert_eq!(read, b"a line");
    }
    account.verify(&mut |_, _| ()).unwrap();
}

fn append_to(account: &StorageAccount, path: &atrest::resource::blob::BlobPath) {
    let (at, any) = (Default::default(), Conditions::default());
    let (mut source, mut check) = (&b"next"[..], || Ok(()));
    account
        .append(
            path,
            &mut source,
            Encryption::Unspecified,
            &mut check,
            &at,
            &any,
        )
        .unwrap();
}

#[test]
fn a_change_of_a_scopes_key_is_not_undone_by_a_rewrap_that_began_before() {
    let (fixture, [payroll, _]) = scoped();
    put(&fixture.account, "a", b"data", Encryption::Scope(&payroll)).unwrap();
    let new = Protection::CustomerManaged {
        key: fixture.vault.add("new"),
    };
    // Once the slow one has begun, another process puts the scope under another key.
    let (other, to, name_of_scope) = (fixture.open().unwrap(), new.clone(), payroll.clone());
    let begun = Arc::new(AtomicBool::new(false));
    let mut other = Some(other);
    let now = begun.clone();
    let meddled = Meddled::new(&fixture.vault, move |_| {
        if now.load(Ordering::Relaxed)
            && let Some(other) = other.take()
        {
            other.rewrap_scope(&name_of_scope, Some(&to)).unwrap();
        }
        Ok(())
    });
    let (id, protection) = (fixture.account.id(), fixture.account.protection().clone());
    let wrapper: Wrapper = meddled;
    let slow = StorageAccount::open(fixture.account.dir(), id, protection, &wrapper).unwrap();
    assert_ne!(slow.scope(&payroll).unwrap().protection, new);
    begun.store(true, Ordering::Relaxed);
    let rewrapped = slow.rewrap_scope(&payroll, None).unwrap();
    let after = slow.scope(&payroll).unwrap();
    assert_eq!(after.protection, new);
    assert_eq!(rewrapped.to, after.key_version.to_string());
    // The old key decides about nothing any more.
    fixture.vault.enable("payroll", false);
    assert_eq!(fixture.get("a").unwrap(), b"data");
    fixture.vault.enable("new", false);
    unavailable(fixture.get("a"));
}

#[test]
fn what_the_catalogs_key_is_lost_for_is_told_as_it_is_of_data() {
    let fixture = Fixture::protected();
    let refusing = Arc::new(AtomicBool::new(false));
    let now = refusing.clone();
    let wrapper: Wrapper =
        Meddled::new(&fixture.vault, move |_| match now.load(Ordering::Relaxed) {
            true => Err(VaultError::Sealed),
            false => Ok(()),
        });
    let (id, protection) = (fixture.account.id(), fixture.account.protection().clone());
    let account = StorageAccount::open(fixture.account.dir(), id, protection, &wrapper).unwrap();
    let list = || account.list(&ContainerName::default(), "");
    let lost = || match list() {
        Err(ResourceError::KeyUnavailable { loss, .. }) => loss,
        other => panic!("{other:?}"),
    };
    list().unwrap();
    fixture.vault.enable("service", false);
    assert_eq!(lost(), KeyLoss::Key);
    fixture.vault.enable("service", true);
    list().unwrap();
    refusing.store(true, Ordering::Relaxed);
    // The vault's revision moves, so that the lease asks.
    fixture.vault.add("other");
    assert_eq!(lost(), KeyLoss::Vault);
    refusing.store(false, Ordering::Relaxed);
    fixture.vault.add("other");
    list().unwrap();
}
