//! Two processes at once, or two threads that stand for them: nobody's data is lost.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use atrest::base::SystemClock;
use atrest::resource::Protection;
use atrest::resource::blob::{BlobName, BlobPath};
use atrest::sqlite::PageSize;
use atrest::vault::VaultSettings;
use atrest::world::{AskPassphrase, InitOptions, ResourceAddress, Workspace, WorldError};

fn init(dir: &Path) -> Result<Workspace, WorldError> {
    let options = InitOptions {
        environment: "production".parse().unwrap(),
        customer_key: Some((
            "customer-key".parse().unwrap(),
            atrest::crypto::KeyKind::Oct256,
        )),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    Workspace::init(dir, options, Arc::new(SystemClock))
}

fn open(dir: &Path) -> Result<Workspace, WorldError> {
    let ask: AskPassphrase = Arc::new(|_| Err("no passphrase".to_owned()));
    Workspace::open(dir, ask, Arc::new(SystemClock))
}

#[test]
fn of_two_who_make_one_working_directory_the_second_does_not_destroy_the_first() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let start = Barrier::new(2);
        let made = thread::scope(|scope| {
            let run = || {
                start.wait();
                init(dir.path()).is_ok()
            };
            let both = [scope.spawn(run), scope.spawn(run)];
            both.map(|thread| thread.join().unwrap())
        });
        assert_eq!(
            made.iter().filter(|ok| **ok).count(),
            1,
            "one is told that it made it"
        );
        let workspace = open(dir.path()).unwrap();
        workspace
            .vault(&atrest::world::WhichVault::Customer)
            .unwrap();
        workspace
            .vault(&atrest::world::WhichVault::Provider)
            .unwrap();
    }
}

/// Changes the protection of a database while another handle commits to it, and counts.
fn commits_survive(wal: bool, protect: bool) {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path()).unwrap();
    let (from, to) = match protect {
        true => (Protection::Plain, workspace.default_protection()),
        false => (workspace.default_protection(), Protection::Plain),
    };
    let address: ResourceAddress = "production/sql/finance".parse().unwrap();
    let database = workspace
        .create_sql(&address, from, PageSize::DEFAULT)
        .unwrap();
    let conn = database.connect().unwrap();
    let mode = if wal { "wal" } else { "delete" };
    conn.pragma_update(None, "journal_mode", mode).unwrap();
    conn.execute_batch("CREATE TABLE t (n)").unwrap();
    drop((conn, database));

    let other = workspace.open_sql(&address).unwrap();
    let mut committed = 0;
    let done = workspace.set_protection(&address, &to, &mut |_, _| {
        // Another program, at any moment of the change.
        let conn = other.connect().unwrap();
        conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        committed += i64::from(conn.execute("INSERT INTO t VALUES (1)", ()).is_ok());
    });
    let count = |conn: rusqlite::Connection| {
        conn.query_row("SELECT count(*) FROM t", (), |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let database = workspace.open_sql(&address).unwrap();
    assert_eq!(count(database.connect().unwrap()), committed, "{done:?}");
    drop((other, database));

    // With nobody else there it is done, and in the mode that it was in.
    workspace
        .set_protection(&address, &to, &mut |_, _| ())
        .unwrap();
    let conn = workspace.open_sql(&address).unwrap().connect().unwrap();
    let kept: String = conn
        .query_row("PRAGMA journal_mode", (), |row| row.get(0))
        .unwrap();
    assert_eq!((kept.as_str(), count(conn)), (mode, committed));
}

#[test]
fn a_row_committed_while_a_database_is_being_protected_is_not_lost() {
    for wal in [false, true] {
        commits_survive(wal, true);
    }
}

#[test]
fn a_row_committed_while_a_database_is_being_unprotected_is_not_lost() {
    for wal in [false, true] {
        commits_survive(wal, false);
    }
}

#[test]
fn a_blob_put_while_its_account_is_being_protected_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let workspace = init(dir.path()).unwrap();
    let address: ResourceAddress = "production/storage/documents".parse().unwrap();
    let account = workspace
        .create_storage(&address, Protection::Plain)
        .unwrap();
    let name = |n: usize| BlobPath::in_default(BlobName::parse(&format!("blob-{n}")).unwrap());
    account
        .put(&name(0), &mut &b"first"[..], &mut |_| ())
        .unwrap();
    drop(account);

    let mut put = 1;
    let done = workspace.set_protection(&address, &workspace.default_protection(), &mut |_, _| {
        let other = workspace.open_storage(&address).unwrap();
        let made = other.put(&name(put), &mut &b"another"[..], &mut |_| ());
        put += usize::from(made.is_ok());
    });
    let account = workspace.open_storage(&address).unwrap();
    assert_eq!(account.blobs().unwrap().len(), put, "{done:?}");
    drop(account);
    workspace
        .set_protection(&address, &workspace.default_protection(), &mut |_, _| ())
        .unwrap();
    let account = workspace.open_storage(&address).unwrap();
    assert_eq!(account.blobs().unwrap().len(), put);
}
