//! What the threat model calls "not protected" is not protected: an honest "no" is tested as well.

#![allow(clippy::unwrap_used)]

#[path = "common/keys.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod keys;

use std::fs;
use std::path::Path;

use atrest::base::ResourceId;
use atrest::crypto::random_id;
use atrest::resource::Wrapper;
use atrest::resource::sql::SqlDatabase;
use keys::TestVault;
use rusqlite::Connection;

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

/// What the shared-memory file says of the log: its salts, its number of frames, the pages in the
/// database, and the checksum of the last frame.
struct Index {
    frames: u32,
    pages: u32,
    checksum: [u32; 2],
    salts: [u8; 8],
}

fn read_index(database: &Path) -> Index {
    let shm = fs::read(database.with_extension("db-shm")).unwrap();
    let word = |at: usize| u32::from_le_bytes(shm[at..at + 4].try_into().unwrap());
    Index {
        frames: word(16),
        pages: word(20),
        checksum: [word(24), word(28)],
        salts: shm[32..40].try_into().unwrap(),
    }
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

/// While a sealed database with a write-ahead log is open, or after a crash, SQLite's shared-memory
/// file lies beside it, unsealed. It holds the checksum of the log's last frame, over plaintext.
/// Whoever knows all of the frames but a few digits can try them all.
#[test]
#[cfg(target_endian = "little")]
fn the_shared_memory_file_beside_a_log_gives_a_four_digit_number_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let plain = Connection::open(path("source.db")).unwrap();
    plain
        .execute_batch("CREATE TABLE t (pin INTEGER); INSERT INTO t VALUES (9999);")
        .unwrap();
    drop(plain);

    let vault = TestVault::new();
    let wrapper: Wrapper = vault.clone();
    let sealed = path("sealed.db");
    let database = SqlDatabase::create_from(
        &sealed,
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
    let index = read_index(&sealed);
    assert_eq!(index.frames, 1);

    // The thief's own instance of the application shows what the page looks like.
    let own = Connection::open(path("source.db")).unwrap();
    let target = format!("file:{}?reserve=32", path("own.db").display());
    own.execute("VACUUM INTO ?1", [target]).unwrap();
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

    let found: Vec<u16> = (1000..9999)
        .filter(|pin| {
            page[at..at + 2].copy_from_slice(&u16::to_be_bytes(*pin));
            last_checksum(&index, number, &page) == index.checksum
        })
        .collect();
    assert_eq!(found, [4821]);
    drop(live);
}
