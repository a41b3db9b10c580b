//! Old bytes put back: a verification notices them, and no crash looks like them. Each attack is
//! made on a file that keeps no freshness record too, where it must succeed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use atrest::crypto::Secret;
use atrest::resource::sql::{Content, content_hash};
use atrest::sqlite::{
    Freshness, KeySource, KeyUnavailable, PageSize, Position, SealedDatabase, SealedError,
};
use rusqlite::Connection;

use crate::fixture::{
    FILE, Files, SLOT, Scratch, connect_empty, get, key, open, run, scratch, set_journal,
};

const PAGE: usize = 1024;
const TABLE: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, b BLOB);
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
        INSERT INTO t SELECT i, 0, zeroblob(300) FROM n";
const CHANGE: &str = "UPDATE t SET v = v + 1, b = randomblob(300)";

fn make(freshness: Freshness) -> (Scratch, Connection) {
    let dir = scratch();
    let (path, size) = (dir.path().join("db"), PageSize::new(PAGE as u32).unwrap());
    let db = SealedDatabase::create(&path, FILE, size, freshness, &SLOT, key()).unwrap();
    let conn = db.connect().unwrap();
    run(&conn, "PRAGMA cache_size = 5");
    run(&conn, TABLE);
    (dir, conn)
}

fn copy(dir: &Scratch) -> Files {
    Files::copy(&dir.path().join("db"))
}

/// What a verification of the files says, and what is then read.
fn judge(files: &Files) -> (Result<(), SealedError>, Content) {
    let (_dir, path) = files.place();
    let db = open(&path).unwrap();
    let verified = verify(&path);
    (verified, content_hash(&db.connect().unwrap()).unwrap())
}

fn verify(path: &Path) -> Result<(), SealedError> {
    open(path)?.verify(&mut |_, _| ()).map(drop)
}

fn is_stale(verified: &Result<(), SealedError>) -> bool {
    matches!(verified, Err(SealedError::Stale { .. }))
}

#[test]
fn an_old_page_put_back_is_noticed() {
    for mode in ["delete", "wal"] {
        for freshness in [Freshness::Kept, Freshness::NotKept] {
            let (dir, conn) = make(freshness);
            set_journal(&conn, mode);
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            run(&conn, checkpoint);
            let old = copy(&dir);
            run(&conn, CHANGE);
            run(&conn, checkpoint);
            let new = copy(&dir);
            assert!(judge(&new).0.is_ok(), "{mode}");
            let (mut tried, mut noticed) = (0, 0);
            for at in (4096..old.main.len()).step_by(PAGE) {
                let page = at..at + PAGE;
                if old.main[page.clone()] == new.main[page.clone()] {
                    continue;
                }
                let mut mixed = new.clone();
                mixed.main[page.clone()].copy_from_slice(&old.main[page]);
                tried += 1;
                let (_dir, path) = mixed.place();
                noticed += usize::from(is_stale(&verify(&path)));
            }
            let expected = if freshness == Freshness::Kept {
                tried
            } else {
                0
            };
            assert_eq!(noticed, expected, "{mode}");
            assert!(tried > 50, "{mode}");
        }
    }
}

#[test]
fn a_page_of_a_fork_is_noticed() {
    let (dir, conn) = make(Freshness::Kept);
    let common = copy(&dir);
    run(&conn, CHANGE);
    let (_fork, path) = common.place();
    run(&open(&path).unwrap().connect().unwrap(), CHANGE);
    let (ours, theirs) = (copy(&dir), Files::copy(&path));
    assert!(judge(&ours).0.is_ok() && judge(&theirs).0.is_ok());
    for at in (4096..ours.main.len()).step_by(PAGE).skip(1) {
        let mut mixed = ours.clone();
        mixed.main[at..at + PAGE].copy_from_slice(&theirs.main[at..at + PAGE]);
        let (_dir, path) = mixed.place();
        let expected = ours.main[at..at + PAGE] != theirs.main[at..at + PAGE];
        assert_eq!(is_stale(&verify(&path)), expected, "{at}");
    }
}

#[test]
fn a_journal_of_an_earlier_transaction_rolls_nothing_back() {
    for freshness in [Freshness::Kept, Freshness::NotKept] {
        let (dir, conn) = make(freshness);
        let mut journals = Vec::new();
        for _ in 0..3 {
            run(&conn, "BEGIN");
            run(&conn, CHANGE);
            conn.cache_flush().unwrap();
            journals.push(copy(&dir).journal.unwrap());
            run(&conn, "COMMIT");
        }
        let content = content_hash(&conn).unwrap();
        for journal in &journals {
            let planted = Files {
                journal: Some(journal.clone()),
                ..copy(&dir)
            };
            let (verified, read) = judge(&planted);
            assert!(verified.is_ok());
            assert_eq!(read == content, freshness == Freshness::Kept);
        }
    }
}

/// The last transaction's journal too, at the only moment at which it must be accepted still.
#[test]
fn a_journal_counts_until_its_transaction_is_committed_and_no_longer() {
    let (dir, conn) = make(Freshness::Kept);
    let before = content_hash(&conn).unwrap();
    run(&conn, "BEGIN");
    run(&conn, CHANGE);
    conn.cache_flush().unwrap();
    let during = copy(&dir);
    run(&conn, "COMMIT");
    let after = content_hash(&conn).unwrap();
    let (verified, read) = judge(&during);
    assert!(verified.is_ok() && read == before);
    let planted = Files {
        journal: during.journal,
        ..copy(&dir)
    };
    let (verified, read) = judge(&planted);
    assert!(verified.is_ok() && read == after);
}

#[test]
fn a_transaction_whose_journal_was_taken_away_is_noticed() {
    for freshness in [Freshness::Kept, Freshness::NotKept] {
        let (dir, conn) = make(freshness);
        run(&conn, "BEGIN");
        run(&conn, CHANGE);
        conn.cache_flush().unwrap();
        let during = copy(&dir);
        let (_dir, path) = during.place();
        assert!(verify(&path).is_ok());
        for journal in [None, Some(vec![0; 5000])] {
            let (_dir, path) = Files {
                journal,
                ..during.clone()
            }
            .place();
            assert_eq!(is_stale(&verify(&path)), freshness == Freshness::Kept);
        }
    }
}

/// A rolled back transaction leaves the file as it was: to the byte, but for its record.
#[test]
fn what_a_rollback_brings_back_is_what_was_there() {
    let (dir, conn) = make(Freshness::Kept);
    let before = copy(&dir);
    run(&conn, "BEGIN");
    run(&conn, CHANGE);
    conn.cache_flush().unwrap();
    let during = copy(&dir);
    assert!(during.main[4096..] != before.main[4096..]);
    run(&conn, "ROLLBACK");
    let after = copy(&dir);
    assert!(after.main[4096..] == before.main[4096..]);
    // After a crash too.
    let (_dir, path) = during.place();
    content_hash(&open(&path).unwrap().connect().unwrap()).unwrap();
    assert!(fs::read(&path).unwrap()[4096..] == before.main[4096..]);
    verify(&path).unwrap();
}

/// A checkpoint that is made again after a crash gives the pages that it gave before.
#[test]
fn a_checkpoint_made_twice_writes_the_same_pages() {
    let (dir, conn) = make(Freshness::Kept);
    set_journal(&conn, "wal");
    run(&conn, "PRAGMA wal_autocheckpoint = 0");
    run(&conn, CHANGE);
    let logged = copy(&dir);
    run(&conn, "PRAGMA wal_checkpoint");
    let once = copy(&dir);
    assert!(once.main[4096..] != logged.main[4096..]);
    for files in [logged, once.clone()] {
        let (_dir, path) = files.place();
        let again = open(&path).unwrap().connect().unwrap();
        run(&again, "PRAGMA wal_checkpoint");
        assert!(Files::copy(&path).main[4096..] == once.main[4096..]);
        verify(&path).unwrap();
    }
}

/// Killed at any moment of a transaction that takes free pages: what the journal says of these counts as
/// far as its records do.
#[test]
fn a_crash_while_free_pages_are_taken_raises_no_alarm() {
    for mode in ["delete", "persist"] {
        let (dir, conn) = make(Freshness::Kept);
        set_journal(&conn, mode);
        run(&conn, "DELETE FROM t WHERE id > 60");
        let before = content_hash(&conn).unwrap();
        assert!(judge(&copy(&dir)).0.is_ok());
        run(&conn, "BEGIN");
        run(&conn, CHANGE);
        for id in 1000..1040 {
            let insert = format!("INSERT INTO t VALUES ({id}, 0, zeroblob(300))");
            run(&conn, &insert);
            let (verified, read) = judge(&copy(&dir));
            assert!(read == before, "{mode} {id}");
            assert!(verified.is_ok(), "{mode} {id}: {verified:?}");
        }
        run(&conn, "COMMIT");
        assert!(judge(&copy(&dir)).0.is_ok());
    }
}

/// The trunks of the list of free pages are not used from the first one on where pages are moved.
#[test]
fn a_crash_while_pages_are_moved_raises_no_alarm() {
    let dir = scratch();
    let (path, size) = (dir.path().join("db"), PageSize::new(512).unwrap());
    let db = SealedDatabase::create(&path, FILE, size, Freshness::Kept, &SLOT, key()).unwrap();
    let conn = connect_empty(&db, 2);
    run(&conn, "PRAGMA cache_size = 5");
    run(&conn, &TABLE.replace("i < 200", "i < 600"));
    run(&conn, "DELETE FROM t WHERE id % 3 > 0 AND id < 500");
    let before = content_hash(&conn).unwrap();
    assert!(get::<i64>(&conn, "PRAGMA freelist_count") > 250);
    run(&conn, "BEGIN");
    run(&conn, "UPDATE t SET v = v + 1");
    for step in 0..30 {
        run(&conn, "PRAGMA incremental_vacuum(3)");
        let (verified, read) = judge(&copy(&dir));
        assert!(read == before, "{step}");
        assert!(verified.is_ok(), "{step}: {verified:?}");
    }
    run(&conn, "COMMIT");
    assert!(judge(&copy(&dir)).0.is_ok());
}

/// A connection that keeps its lock goes on from one transaction to the next without giving it back.
#[test]
fn a_journal_taken_away_after_a_rollback_is_noticed() {
    for locking in ["NORMAL", "EXCLUSIVE"] {
        let (dir, conn) = make(Freshness::Kept);
        run(&conn, &format!("PRAGMA locking_mode = {locking}"));
        for end in ["ROLLBACK", "COMMIT"] {
            run(&conn, "BEGIN");
            run(&conn, CHANGE);
            conn.cache_flush().unwrap();
            run(&conn, end);
            run(&conn, "BEGIN");
            run(&conn, CHANGE);
            conn.cache_flush().unwrap();
            let during = copy(&dir);
            run(&conn, "COMMIT");
            let open_and_compare = |files: &Files| {
                let (_dir, path) = files.place();
                open(&path)?.check_freshness(None).map(drop)
            };
            assert!(open_and_compare(&during).is_ok(), "{locking} {end}");
            let journal = None;
            let compared = open_and_compare(&Files { journal, ..during });
            assert!(is_stale(&compared), "{locking} {end}: {compared:?}");
        }
    }
}

/// Who is told of positions, and looks at the database himself each time.
struct Keeper {
    key: Arc<dyn KeySource>,
    other: Mutex<Connection>,
    saw: Mutex<Vec<i64>>,
}

impl KeySource for Keeper {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        self.key.check()
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        self.key.with_key(use_key)
    }

    fn anchor(&self, _position: &Position) -> bool {
        let other = self.other.lock().unwrap();
        self.saw
            .lock()
            .unwrap()
            .push(get(&other, "SELECT max(id) FROM t"));
        true
    }
}

/// A process that is killed before others see its commit in the log leaves frames that the next one writes
/// over: to have told of them would be a false alarm.
#[test]
fn a_commit_in_the_log_is_told_of_when_others_see_it() {
    for locking in ["NORMAL", "EXCLUSIVE"] {
        let (dir, conn) = make(Freshness::Kept);
        set_journal(&conn, "wal");
        drop(conn);
        let path = dir.path().join("db");
        let keeper = Arc::new(Keeper {
            key: key(),
            other: Mutex::new(open(&path).unwrap().connect().unwrap()),
            saw: Mutex::default(),
        });
        let db = SealedDatabase::open(&path, FILE, keeper.clone()).unwrap();
        let conn = db.connect().unwrap();
        if locking == "EXCLUSIVE" {
            // Nobody else sees anything: it tells of what it knows.
            *keeper.other.lock().unwrap() = conn_to_nothing();
        }
        run(&conn, &format!("PRAGMA locking_mode = {locking}"));
        run(&conn, "INSERT INTO t VALUES (1000, 0, NULL)");
        assert_eq!(*keeper.saw.lock().unwrap(), [1000], "{locking}");
    }
}

fn conn_to_nothing() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    run(&conn, "CREATE TABLE t (id); INSERT INTO t VALUES (1000)");
    conn
}
