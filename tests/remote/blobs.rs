//! Blobs whose key is in a vault elsewhere, in a process that has them open while the right to the key is
//! taken away there.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use atrest::base::SystemClock;
use atrest::resource::blob::{BlobPath, Conditions, ContainerName, Encryption, StorageAccount};
use atrest::resource::{KeyLoss, ResourceError};
use atrest::world::{AskPassphrase, Workspace};

use crate::client::atrest;
use crate::command_line::Elsewhere;
use crate::uses::as_identity;

fn get(account: &StorageAccount, path: &BlobPath) -> Result<Vec<u8>, ResourceError> {
    let mut got = Vec::new();
    account.get(path, None, &mut got, &mut |_| ())?;
    Ok(got)
}

fn put(account: &StorageAccount, path: &BlobPath) -> Result<(), ResourceError> {
    let put = account.put(path, &mut &b"Dear Sir"[..], &mut |_| ());
    put.map(drop)
}

/// Waits until the answer is what `wanted` says of it.
fn await_answer<T>(ask: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "it does not come");
        thread::sleep(Duration::from_millis(20));
    }
}

fn lost<T>(answer: Result<T, ResourceError>) -> KeyLoss {
    match answer.map(drop) {
        Err(ResourceError::KeyUnavailable { loss, .. }) => loss,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_right_that_is_taken_away_at_a_vault_elsewhere_takes_blobs_that_are_open_here() {
    let e = Elsewhere::new();
    e.ok(&["blob", "create", "letters"]);
    const ROLE: &str = "Key Vault Crypto Service Encryption User";
    let there = |args: &[&str]| {
        let ran = atrest(e.served.dir.path(), args).output().unwrap();
        assert!(ran.status.success(), "{args:?}: {ran:?}");
    };
    let options = as_identity(&e.served, "app", ROLE);
    let nobody: AskPassphrase = Arc::new(|_| Err("there is nobody to ask".into()));
    let workspace = Workspace::open(&e.work(), nobody, Arc::new(SystemClock)).unwrap();
    let workspace = workspace.through(options);
    let account = workspace.open_storage(&"storage/letters".parse().unwrap());
    let account = account.unwrap();
    let path = BlobPath::in_default("letter".parse().unwrap());
    let other = BlobPath::in_default("other".parse().unwrap());
    put(&account, &path).unwrap();
    assert_eq!(get(&account, &path).unwrap(), b"Dear Sir");
    let refused = || {
        let answer = await_answer(|| get(&account, &path), Result::is_err);
        assert_eq!(lost(answer), KeyLoss::Access);
        assert_eq!(lost(put(&account, &other)), KeyLoss::Access);
        let any = Conditions::default();
        let said = account.attributes(&path, Encryption::default(), &any);
        assert_eq!(lost(said), KeyLoss::Access);
        // What needs the provider's key only goes on.
        let listed = account.list(&ContainerName::default(), "").unwrap();
        assert_eq!(listed.len(), 1);
    };
    there(&["identity", "revoke", "app", "--role", ROLE]);
    refused();
    there(&["identity", "grant", "app", "--role", ROLE]);
    await_answer(|| get(&account, &path), Result::is_ok).unwrap();
    put(&account, &path).unwrap();
    assert_eq!(get(&account, &path).unwrap(), b"Dear Sir");
    // Removed, it is nobody: another of its name is another.
    there(&["identity", "remove", "app"]);
    refused();
    there(&["identity", "add", "app", "--role", ROLE]);
    refused();
    account.delete(&path, &Conditions::default()).unwrap();
}
