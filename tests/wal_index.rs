//! Nothing of a write-ahead log lies beside it but the log: its index, in which SQLite keeps page
//! numbers and a checksum over plaintext, is in memory only.

#![allow(clippy::unwrap_used)]

#[path = "common/keys.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod keys;

use std::fs;
use std::path::{Path, PathBuf};

use atrest::base::ResourceId;
use atrest::crypto::random_id;
use atrest::resource::Wrapper;
use atrest::resource::sql::SqlDatabase;
use atrest::sqlite::discard_shared_memory;
use keys::TestVault;
use rusqlite::Connection;
use tempfile::TempDir;

const PAGE: usize = 4096;

/// SQLite's checksum of its write-ahead log (its file format, section 4.2), on a little-endian
/// machine.
fn checksum(bytes: &[u8], [mut a, mut b]: [u32; 2]) -> [u32; 2] {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| u32::from_le_bytes(pair[at..at + 4].try_into().unwrap());
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    [a, b]
}

/// What an index of a log says of it: its salts, its number of frames, the pages in the database,
/// and the checksum of the last frame.
struct Index {
    frames: u32,
    pages: u32,
    checksum: [u32; 2],
    salts: [u8; 8],
}

/// Reads a file as an index; `None` when it is none.
fn read_index(path: &Path) -> Option<Index> {
    let shm = fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(shm[at..at + 4].try_into().unwrap());
    (shm.len() >= 136 && word(0) == 3_007_000).then(|| Index {
        frames: word(16),
        pages: word(20),
        checksum: [word(24), word(28)],
        salts: shm[32..40].try_into().unwrap(),
    })
}

fn last_checksum(index: &Index, page_number: u32, page: &[u8]) -> [u32; 2] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0x377f_0682_u32.to_be_bytes());
    header[4..8].copy_from_slice(&3_007_000_u32.to_be_bytes());
    header[8..12].copy_from_slice(&(PAGE as u32).to_be_bytes());
    header[16..].copy_from_slice(&index.salts);
    let after_header = checksum(&header, [0, 0]);
    let frame = [page_number.to_be_bytes(), index.pages.to_be_bytes()].concat();
    checksum(page, checksum(&frame, after_header))
}

/// All four-digit numbers that fit the index, when all else of the log's one page is known.
fn guess(dir: &TempDir, index: &Index) -> Vec<u16> {
    let path = |name: &str| dir.path().join(name);
    // The thief's own instance of the application shows what the page looks like.
    let source = Connection::open(path("source.db")).unwrap();
    let target = format!("file:{}?reserve=32", path("own.db").display());
    source.execute("VACUUM INTO ?1", [target]).unwrap();
    let own = Connection::open(path("own.db")).unwrap();
    own.pragma_update(None, "journal_mode", "wal").unwrap();
    own.execute("UPDATE t SET pin = 1000", ()).unwrap();
    let log = fs::read(path("own.db-wal")).unwrap();
    let frame = &log[32..32 + 24 + PAGE];
    let number = u32::from_be_bytes(frame[..4].try_into().unwrap());
    let (mut page, known) = (frame[24..].to_vec(), 1000_u16.to_be_bytes());
    let at: Vec<_> = (0..PAGE - 1)
        .filter(|&at| page[at..at + 2] == known)
        .collect();
    let [at] = at[..] else { panic!("{at:?}") };
    let fits = |pin: &u16| {
        page[at..at + 2].copy_from_slice(&u16::to_be_bytes(*pin));
        last_checksum(index, number, &page) == index.checksum
    };
    (1000..9999).filter(fits).collect()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A plain database's index, or any that lies on the disk, gives a number of four digits away.
#[test]
#[cfg(target_endian = "little")]
fn the_index_of_an_open_log_is_not_where_a_thief_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let plain = Connection::open(path("source.db")).unwrap();
    plain
        .execute_batch("CREATE TABLE t (pin INTEGER); INSERT INTO t VALUES (9999);")
        .unwrap();
    drop(plain);
    let vault = TestVault::new();
    let wrapper: Wrapper = vault.clone();
    let sealed_dir = tempfile::tempdir().unwrap();
    let database = SqlDatabase::create_from(
        &sealed_dir.path().join("sealed.db"),
        random_id(ResourceId::from_bytes),
        vault.protection(),
        &wrapper,
        &path("source.db"),
        &mut |_, _| (),
    )
    .unwrap();
    let live = database.connect().unwrap();
    live.pragma_update(None, "journal_mode", "wal").unwrap();
    live.execute("UPDATE t SET pin = 4821", ()).unwrap();

    // What lies beside the log is the name of a place in memory, and no index.
    let beside = files_in(sealed_dir.path());
    assert_eq!(beside.len(), 3, "{beside:?}");
    assert!(beside.iter().all(|file| read_index(file).is_none()));
    let signpost = fs::read_to_string(sealed_dir.path().join("sealed.db-shm")).unwrap();
    let place = Path::new("/dev/shm").join(signpost);
    assert!(place.starts_with("/dev/shm") && place.is_dir());

    // The control: from the index in memory the number is found at once.
    let index = read_index(&place.join("db-shm")).unwrap();
    assert_eq!(index.frames, 1);
    assert_eq!(guess(&dir, &index), [4821]);

    drop(live);
    assert!(!place.exists(), "the last connection leaves nothing");
    assert_eq!(files_in(sealed_dir.path()).len(), 1);
}

/// Two connections of a process, and the next ones after a crash, use the same place; a signpost that
/// leads elsewhere is not followed.
#[test]
fn a_signpost_leads_nowhere_but_to_its_own_database() {
    let dir = tempfile::tempdir().unwrap();
    let vault = TestVault::new();
    let wrapper: Wrapper = vault.clone();
    let path = dir.path().join("sealed.db");
    let id = random_id(ResourceId::from_bytes);
    let size = atrest::sqlite::PageSize::DEFAULT;
    let database = SqlDatabase::create(&path, id, size, vault.protection(), &wrapper).unwrap();
    let signpost = dir.path().join("sealed.db-shm");
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    for planted in [
        "",
        "nonsense",
        "atrest-../../../../../../tmp/aaaaaaaaaaaaaaaaa",
        "atrest-00000000000000000000000000000000",
        elsewhere.path().file_name().unwrap().to_str().unwrap(),
    ] {
        fs::write(&signpost, planted).unwrap();
        let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
        one.pragma_update(None, "journal_mode", "wal").unwrap();
        one.execute_batch("CREATE TABLE IF NOT EXISTS t (a); INSERT INTO t VALUES (1)")
            .unwrap();
        other.execute("INSERT INTO t VALUES (2)", ()).unwrap();
        let place = fs::read_to_string(&signpost).unwrap();
        assert_ne!(place, planted);
        assert!(Path::new("/dev/shm").join(place).join("db-shm").exists());
    }
    assert_eq!(files_in(elsewhere.path()).len(), 0);
}

/// The places of the database's index in memory, by the link that leads back to it.
fn places_of(database: &Path) -> Vec<PathBuf> {
    let mut places = files_in(Path::new("/dev/shm"));
    places.retain(|place| fs::read_link(place.join("db")).is_ok_and(|to| to == database));
    places
}

/// SQLite leaves the index beside a log that it does not copy into the file as it closes.
#[test]
fn who_only_looks_leaves_no_index_behind_and_takes_none_away() {
    let dir = tempfile::tempdir().unwrap();
    let vault = TestVault::new();
    let wrapper: Wrapper = vault.clone();
    let (path, id) = (
        dir.path().join("sealed.db"),
        random_id(ResourceId::from_bytes),
    );
    let size = atrest::sqlite::PageSize::DEFAULT;
    let made = SqlDatabase::create(&path, id, size, vault.protection(), &wrapper).unwrap();
    let live = made.connect().unwrap();
    live.pragma_update(None, "journal_mode", "wal").unwrap();
    live.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    // As a crash leaves it: with a log.
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().canonicalize().unwrap().join("sealed.db");
    let log = copy.path().join("sealed.db-wal");
    fs::copy(made.path(), &path).unwrap();
    fs::copy(dir.path().join("sealed.db-wal"), &log).unwrap();
    let len = fs::metadata(&log).unwrap().len();
    let open = || SqlDatabase::open(&path, id, vault.protection(), &wrapper).unwrap();
    let left = || (files_in(copy.path()).len(), places_of(&path).len());

    let database = open();
    assert_eq!(left(), (2, 0), "after a look");
    assert_eq!(fs::metadata(&log).unwrap().len(), len);

    // Beside another one, in this process or not, a look leaves the place alone.
    let other = open();
    let (one, two) = (database.connect().unwrap(), other.connect().unwrap());
    for conn in [&one, &two] {
        conn.execute("INSERT INTO t VALUES (2)", ()).unwrap();
    }
    let place = places_of(&path);
    drop(two);
    drop(open());
    assert_eq!((place.len(), places_of(&path)), (1, place));
    one.execute("INSERT INTO t VALUES (3)", ()).unwrap();
    let count: i64 = one
        .query_row("SELECT count(*) FROM t", (), |row| row.get(0))
        .unwrap();
    assert_eq!(count, 4);
    drop(one);
    assert_eq!(left(), (1, 0), "after the last");
}

/// A database that is replaced or removed after a crash takes its place in memory along, and no other's.
#[test]
fn what_a_crash_left_in_memory_goes_with_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let (database, signpost) = (root.join("sealed.db"), root.join("sealed.db-shm"));
    fs::write(&database, "").unwrap();
    let place = Path::new("/dev/shm").join(format!("atrest-{:032x}", u128::MAX - 4711));
    let leave = |target: &Path| {
        let _ = fs::remove_dir_all(&place);
        atrest::base::create_dir_private(&place).unwrap();
        std::os::unix::fs::symlink(target, place.join("db")).unwrap();
        fs::write(place.join("db-shm"), "index").unwrap();
        fs::write(&signpost, place.file_name().unwrap().to_str().unwrap()).unwrap();
    };
    leave(&database);
    let used = fs::File::open(&signpost).unwrap();
    used.lock_shared().unwrap();
    discard_shared_memory(&database);
    assert!(
        place.exists() && signpost.exists(),
        "another process uses it"
    );
    used.unlock().unwrap();
    discard_shared_memory(&database);
    assert!(!place.exists() && !signpost.exists());
    leave(&root.join("another.db"));
    discard_shared_memory(&database);
    assert!(place.exists(), "it is another database's");
    fs::remove_dir_all(&place).unwrap();
}
