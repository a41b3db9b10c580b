//! What the vault remembers of a database: an old file, a shortened log, an old header or an old vault
//! is noticed when the database is opened; what happened honestly is not.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::base::SystemClock;
use atrest::crypto::KeyKind;
use atrest::resource::sql::SqlDatabase;
use atrest::resource::{ProtectedResource, Protection, ResourceError};
use atrest::sqlite::PageSize;
use atrest::vault::{FreshnessCheck, KeyVault, VaultSettings};
use atrest::world::{
    AskPassphrase, InitOptions, ResourceAddress, WhichVault, Workspace, WorldError,
};
use rusqlite::Connection;
use tempfile::TempDir;

const ADDRESS: &str = "production/sql/ledger";

/// A working directory with a database, and copies of both as they were at times.
struct Scene {
    dir: TempDir,
}

/// All files of a directory tree.
type Tree = Vec<(PathBuf, Vec<u8>)>;

impl Scene {
    fn new(mode: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions {
            environment: "production".parse().unwrap(),
            customer_key: Some(("customer-key".parse().unwrap(), KeyKind::Oct256)),
            passphrase: None,
            vault: VaultSettings::default(),
        };
        let workspace = Workspace::init(dir.path(), options, Arc::new(SystemClock)).unwrap();
        let protection = workspace.default_protection();
        let database = workspace
            .create_sql(&address(), protection, PageSize::DEFAULT)
            .unwrap();
        let conn = database.connect().unwrap();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        conn.execute_batch("CREATE TABLE t (a)").unwrap();
        drop((conn, database, workspace));
        Self { dir }
    }

    /// A process of its own, as far as what it remembers goes.
    fn workspace(&self) -> Workspace {
        let nobody: AskPassphrase = Arc::new(|_| Err("there is nobody to ask".into()));
        Workspace::open(self.dir.path(), nobody, Arc::new(SystemClock)).unwrap()
    }

    /// Opens the database, adds a row, and closes it.
    fn add(&self, value: i64) {
        let database = self.workspace().open_sql(&address()).unwrap();
        insert(&database.connect().unwrap(), value);
    }

    /// The rows, as a process that comes next reads them.
    fn rows(&self) -> Result<Vec<i64>, WorldError> {
        let database = self.workspace().open_sql(&address())?;
        Ok(rows(&database))
    }

    fn path(&self) -> PathBuf {
        self.workspace().path(&address()).unwrap()
    }

    fn files(&self) -> Tree {
        tree(self.path().parent().unwrap())
    }

    fn put_back(&self, files: &Tree) {
        restore(self.path().parent().unwrap(), files);
    }
}

fn address() -> ResourceAddress {
    ADDRESS.parse().unwrap()
}

fn insert(conn: &Connection, value: i64) {
    conn.execute("INSERT INTO t VALUES (?1)", [value]).unwrap();
}

fn rows(database: &SqlDatabase) -> Vec<i64> {
    let conn = database.connect().unwrap();
    let mut select = conn.prepare("SELECT a FROM t ORDER BY a").unwrap();
    let rows = select.query_map((), |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn tree(dir: &Path) -> Tree {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    files.map(|entry| read(entry.into_path())).collect()
}

fn restore(dir: &Path, files: &Tree) {
    for (path, _) in tree(dir) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
}

fn stale<T: std::fmt::Debug>(result: Result<T, WorldError>) -> String {
    match result {
        Err(WorldError::Resource(ResourceError::Stale { why, .. })) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_old_file_put_back_does_not_open() {
    for mode in ["delete", "wal"] {
        let scene = Scene::new(mode);
        scene.add(1);
        let old = scene.files();
        scene.add(2);
        let new = scene.files();
        assert_eq!(scene.rows().unwrap(), [1, 2]);
        scene.put_back(&old);
        assert!(stale(scene.rows()).contains("version"), "{mode}");
        scene.put_back(&new);
        assert_eq!(scene.rows().unwrap(), [1, 2], "{mode}");
    }
}

#[test]
fn a_fork_that_went_further_elsewhere_does_not_pass_for_the_file() {
    let scene = Scene::new("delete");
    scene.add(1);
    let old = scene.files();
    // Somebody who has the key, and no vault that remembers.
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("ledger.db");
    fs::write(&path, &old[0].1).unwrap();
    let workspace = scene.workspace();
    let (_, entry) = workspace.resource(&address()).unwrap();
    let wrapper = workspace.wrapper();
    let fork = SqlDatabase::open(&path, entry.id, entry.protection, &wrapper).unwrap();
    insert(&fork.connect().unwrap(), 666);
    assert_eq!(rows(&fork), [1, 666]);
    scene.add(2);
    let new = scene.files();
    fs::copy(&path, scene.path()).unwrap();
    assert!(stale(scene.rows()).contains("fork"));
    scene.put_back(&new);
    assert_eq!(scene.rows().unwrap(), [1, 2]);
}

/// The log as a killed process leaves it: its commits are remembered.
#[test]
fn a_log_that_was_cut_deleted_or_exchanged_is_noticed() {
    let scene = Scene::new("wal");
    scene.add(1);
    let database = scene.workspace().open_sql(&address()).unwrap();
    let conn = database.connect().unwrap();
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    insert(&conn, 2);
    let earlier = scene.files();
    insert(&conn, 3);
    // Commits are remembered within a second; a verification has the newest remembered at once.
    database.verify(&mut |_, _| ()).unwrap();
    let killed = scene.files();
    std::mem::forget(conn);
    std::mem::forget(database);

    let log = |files: &Tree| {
        files
            .iter()
            .position(|(path, _)| path.to_str().unwrap().ends_with("-wal"))
            .unwrap()
    };
    let at = log(&killed);
    let mut cut = killed.clone();
    let len = cut[at].1.len();
    cut[at].1.truncate(len - 10);
    let mut deleted = killed.clone();
    deleted.remove(at);
    let mut altered = killed.clone();
    altered[at].1[100] ^= 1;
    let mut exchanged = killed.clone();
    exchanged[at].1 = earlier[log(&earlier)].1.clone();
    let mut emptied = killed.clone();
    emptied[at].1.clear();
    for (what, files) in [
        ("cut", cut),
        ("deleted", deleted),
        ("altered", altered),
        ("exchanged", exchanged),
        ("emptied", emptied),
    ] {
        let copy = Scene {
            dir: copy_of(&scene),
        };
        copy.put_back(&moved(&files, &scene, &copy));
        let why = stale(copy.rows());
        assert!(why.contains("log"), "{what}: {why}");
        // Looking does not make it good.
        assert!(stale(copy.rows()).contains("log"), "{what}");
    }
    let copy = Scene {
        dir: copy_of(&scene),
    };
    copy.put_back(&moved(&killed, &scene, &copy));
    assert_eq!(copy.rows().unwrap(), [1, 2, 3]);
}

fn copy_of(scene: &Scene) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in walkdir::WalkDir::new(scene.dir.path()) {
        let entry = entry.unwrap();
        let to = dir
            .path()
            .join(entry.path().strip_prefix(scene.dir.path()).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir_all(to).unwrap(),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
    dir
}

fn moved(files: &Tree, from: &Scene, to: &Scene) -> Tree {
    let place = |path: &PathBuf| {
        to.dir
            .path()
            .join(path.strip_prefix(from.dir.path()).unwrap())
    };
    let files = files
        .iter()
        .filter(|(path, _)| !path.to_str().unwrap().ends_with("-shm"));
    files
        .map(|(path, bytes)| (place(path), bytes.clone()))
        .collect()
}

#[test]
fn a_header_from_before_a_rewrap_is_noticed() {
    let scene = Scene::new("delete");
    scene.add(1);
    let before = fs::read(scene.path()).unwrap();
    let workspace = scene.workspace();
    let vault = workspace.vault(&WhichVault::Customer).unwrap();
    vault.rotate_key(&"customer-key".parse().unwrap()).unwrap();
    let mut database = workspace.open_sql(&address()).unwrap();
    let protection = database.protection().clone();
    database.rewrap(&protection).unwrap();
    drop((database, workspace));
    let after = fs::read(scene.path()).unwrap();
    assert_eq!(scene.rows().unwrap(), [1]);
    fs::write(scene.path(), with_slots_of(&after, &before)).unwrap();
    assert!(stale(scene.rows()).contains("header"));
    fs::write(scene.path(), &after).unwrap();
    assert_eq!(scene.rows().unwrap(), [1]);
}

/// With it the key from before would count again.
#[test]
fn a_header_from_before_the_end_of_a_key_change_is_noticed() {
    let scene = Scene::new("delete");
    scene.add(1);
    let database = scene.workspace().open_sql(&address()).unwrap();
    database.begin_key_change().unwrap();
    database.convert(&mut |_, _| ()).unwrap();
    // What was committed until here is remembered.
    database.verify(&mut |_, _| ()).unwrap();
    let before = fs::read(scene.path()).unwrap();
    database.finish_conversion().unwrap();
    drop(database);
    let after = fs::read(scene.path()).unwrap();
    fs::write(scene.path(), with_slots_of(&after, &before)).unwrap();
    assert!(stale(scene.rows()).contains("header"));
    fs::write(scene.path(), &after).unwrap();
    assert_eq!(scene.rows().unwrap(), [1]);
}

/// The slots of the other header, the records as they are.
fn with_slots_of(file: &[u8], other: &[u8]) -> Vec<u8> {
    let mut mixed = file.to_vec();
    for slot in [0, 2048] {
        for part in [slot..slot + 1024, slot + 2016..slot + 2048] {
            mixed[part.clone()].copy_from_slice(&other[part]);
        }
    }
    mixed
}

/// A purged key lives in an old vault, put back together with its anchor. The database was told of
/// versions that this vault does not know.
#[test]
fn an_old_vault_put_back_is_noticed_by_the_databases_that_went_on() {
    let scene = Scene::new("delete");
    scene.add(1);
    let vault_dir = WhichVault::Customer.dir(scene.dir.path());
    let old_vault = tree(&vault_dir);
    scene.add(2);
    scene.add(3);
    let name = "customer-key".parse().unwrap();
    let new_vault = tree(&vault_dir);
    {
        let workspace = scene.workspace();
        let vault = workspace.vault(&WhichVault::Customer).unwrap();
        vault.delete_key(&name).unwrap();
        vault.purge_key(&name).unwrap();
    }
    assert!(scene.rows().is_err());
    restore(&vault_dir, &old_vault);
    assert!(stale(scene.rows()).contains("vault is an older one"));
    restore(&vault_dir, &new_vault);
    assert_eq!(scene.rows().unwrap(), [1, 2, 3]);
}

#[test]
fn what_was_put_back_on_purpose_is_accepted_once_and_goes_on() {
    let scene = Scene::new("delete");
    scene.add(1);
    let old = scene.files();
    scene.add(2);
    let new = scene.files();
    scene.put_back(&old);
    stale(scene.rows());
    scene.workspace().accept_sql(&address()).unwrap();
    assert_eq!(scene.rows().unwrap(), [1]);
    scene.add(3);
    assert_eq!(scene.rows().unwrap(), [1, 3]);
    // The file that was the newest before is of another branch now.
    scene.put_back(&new);
    stale(scene.rows());
}

#[test]
fn how_much_is_compared_is_what_was_chosen() {
    for (check, opens, verifies) in [
        (FreshnessCheck::Open, false, false),
        (FreshnessCheck::Verify, true, false),
        (FreshnessCheck::Off, true, true),
    ] {
        let scene = Scene::new("delete");
        scene.add(1);
        let old = scene.files();
        scene
            .workspace()
            .set_sql_freshness(&address(), check)
            .unwrap();
        scene.add(2);
        let database = scene.workspace().open_sql(&address()).unwrap();
        database.verify(&mut |_, _| ()).unwrap();
        drop(database);
        assert_eq!(
            scene.workspace().sql_freshness(&address()).unwrap(),
            Some(check)
        );
        scene.put_back(&old);
        let opened = scene.workspace().open_sql(&address());
        assert_eq!(opened.is_ok(), opens, "{check}");
        if let Ok(database) = opened {
            let verified = database.verify(&mut |_, _| ());
            assert_eq!(verified.is_ok(), verifies, "{check}: {verified:?}");
        }
    }
}

/// A copy that is restored beside the original has a history of its own, and so has the original.
#[test]
fn a_copy_that_was_restored_and_its_original_both_go_on() {
    let scene = Scene::new("delete");
    scene.add(1);
    let workspace = scene.workspace();
    let copy = copy_of(&scene);
    let other: ResourceAddress = "test/sql/ledger".parse().unwrap();
    workspace
        .restore(copy.path(), &"test".parse().unwrap(), &mut |_, _| ())
        .unwrap();
    for value in [2, 3] {
        scene.add(value);
        let database = scene.workspace().open_sql(&other).unwrap();
        insert(&database.connect().unwrap(), value * 100);
    }
    assert_eq!(scene.rows().unwrap(), [1, 2, 3]);
    let database = scene.workspace().open_sql(&other).unwrap();
    assert_eq!(rows(&database), [1, 200, 300]);
    drop(database);
    // In the copy's place the original is what was put back, and the other way round.
    let place = scene.workspace().path(&other).unwrap();
    fs::copy(scene.path(), place).unwrap();
    stale(scene.workspace().open_sql(&other).map(|_| ()));
}

/// Copied while its transaction was under way, put back later on; and the newest record, which says that
/// the transaction is over, damaged: the one before it says that it is being committed.
#[test]
fn a_journal_put_back_later_does_not_undo_its_transaction() {
    for live in [false, true] {
        let scene = Scene::new("delete");
        scene.add(1);
        let database = scene.workspace().open_sql(&address()).unwrap();
        let conn = database.connect().unwrap();
        conn.execute_batch("BEGIN").unwrap();
        insert(&conn, 2);
        conn.cache_flush().unwrap();
        let during = scene.files();
        conn.execute_batch("COMMIT").unwrap();
        let database = match live {
            true => Some(database),
            false => {
                drop((conn, database));
                None
            }
        };
        let path = scene.path();
        let mut main = fs::read(&path).unwrap();
        let newest = newest_record(&main);
        main[newest + 100] ^= 1;
        fs::write(&path, &main).unwrap();
        let mut during = during.iter();
        let is_journal = |name: &Path| name.to_str().unwrap().ends_with("-journal");
        let (name, journal) = during.find(|(name, _)| is_journal(name)).unwrap();
        fs::write(name, journal).unwrap();
        // Who remembers nothing takes it for the journal of a crash, and nothing tells otherwise.
        let copy = copy_of(&scene);
        let workspace = scene.workspace();
        let (_, entry) = workspace.resource(&address()).unwrap();
        let copied = copy
            .path()
            .join(path.strip_prefix(scene.dir.path()).unwrap());
        let vaults = workspace.wrapper();
        let forgetful = SqlDatabase::open(&copied, entry.id, entry.protection, &vaults).unwrap();
        assert_eq!(rows(&forgetful), [1]);
        if let Some(database) = database {
            assert_eq!(rows(&database), [1, 2]);
        }
        assert_eq!(scene.rows().unwrap(), [1, 2]);
        let opened = scene.workspace().open_sql(&address()).unwrap();
        opened.verify(&mut |_, _| ()).unwrap();
    }
}

/// An older file that came to stay, where openings are not compared: what the vault remembers is of other
/// transactions. A power cut within a commit, when a part of the pages was written, is mended.
#[test]
fn a_journal_counts_in_an_older_file_that_is_not_compared() {
    let scene = Scene::new("delete");
    scene.add(1);
    let old = scene.files();
    for value in 2..9 {
        scene.add(value);
    }
    let workspace = scene.workspace();
    workspace
        .set_sql_freshness(&address(), FreshnessCheck::Verify)
        .unwrap();
    drop(workspace);
    scene.put_back(&old);
    let before = fs::read(scene.path()).unwrap();
    let database = scene.workspace().open_sql(&address()).unwrap();
    let conn = database.connect().unwrap();
    conn.execute_batch("BEGIN").unwrap();
    insert(&conn, 9);
    conn.cache_flush().unwrap();
    let during = scene.files();
    conn.execute_batch("COMMIT").unwrap();
    drop((conn, database));
    let mut cut = fs::read(scene.path()).unwrap();
    let newest = newest_record(&cut);
    cut[newest + 100] ^= 1;
    cut[4096..8192].copy_from_slice(&before[4096..8192]);
    let mut files = during;
    let main = scene.path();
    let place = files.iter_mut().find(|(path, _)| *path == main).unwrap();
    place.1 = cut;
    scene.put_back(&files);
    assert_eq!(scene.rows().unwrap(), [1]);
    let database = scene.workspace().open_sql(&address()).unwrap();
    assert_eq!(rows(&database), [1]);
}

/// Closed while another process has the log open, which so stays: its last commit is remembered too.
#[test]
fn the_last_of_several_commits_in_a_log_is_remembered_when_the_database_is_closed() {
    let scene = Scene::new("wal");
    scene.add(1);
    let server = scene.workspace().open_sql(&address()).unwrap();
    let idle = server.connect().unwrap();
    idle.query_row("SELECT a FROM t", (), |_| Ok(())).unwrap();
    let database = scene.workspace().open_sql(&address()).unwrap();
    let conn = database.connect().unwrap();
    conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    insert(&conn, 2);
    let earlier = scene.files();
    insert(&conn, 3);
    drop((conn, database));
    let killed = scene.files();
    std::mem::forget((idle, server));
    let log = |files: &Tree| {
        let is_log = |(path, _): &(PathBuf, Vec<u8>)| path.to_str().unwrap().ends_with("-wal");
        files.iter().position(is_log).unwrap()
    };
    let mut exchanged = killed.clone();
    exchanged[log(&killed)].1 = earlier[log(&earlier)].1.clone();
    let opened = |files: &Tree| {
        let copy = Scene {
            dir: copy_of(&scene),
        };
        copy.put_back(&moved(files, &scene, &copy));
        copy.rows()
    };
    assert!(stale(opened(&exchanged)).contains("log"));
    assert_eq!(opened(&killed).unwrap(), [1, 2, 3]);
}

/// Moved to a key in the other vault while a server has it open: that vault hears of what the server
/// commits from then on.
#[test]
fn what_others_commit_after_a_change_of_vaults_is_remembered_by_the_new_one() {
    for mode in ["delete", "wal"] {
        let scene = Scene::new(mode);
        scene.add(1);
        let server = scene.workspace().open_sql(&address()).unwrap();
        let conn = server.connect().unwrap();
        let workspace = scene.workspace();
        let provider = Protection::ServiceManaged {
            key: workspace.service_key(),
        };
        workspace
            .set_protection(&address(), &provider, &mut |_, _| ())
            .unwrap();
        drop(workspace);
        let moved = scene.files();
        for value in [2, 3] {
            insert(&conn, value);
            server.verify(&mut |_, _| ()).unwrap();
        }
        insert(&conn, 4);
        drop((conn, server));
        let newest = scene.files();
        assert_eq!(scene.rows().unwrap(), [1, 2, 3, 4], "{mode}");
        scene.put_back(&moved);
        stale(scene.rows());
        scene.put_back(&newest);
        assert_eq!(scene.rows().unwrap(), [1, 2, 3, 4], "{mode}");
    }
}

/// Where the newest of the four freshness records lies (docs/format.md, "Freshness").
fn newest_record(main: &[u8]) -> usize {
    let number = |at: &usize| u64::from_le_bytes(main[*at..*at + 8].try_into().unwrap());
    [1024, 3072, 1536, 3584]
        .into_iter()
        .max_by_key(number)
        .unwrap()
}
