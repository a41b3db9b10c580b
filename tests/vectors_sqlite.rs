//! Golden vectors of the sealed SQLite file (docs/format.md). A vector is a main file, or a WAL or
//! journal to stand beside the main file of the vector that `beside` names. `expect` is what
//! opening and reading gives, `rows` the rows then read, `verify` what a verification says.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::sqlite::{Freshness, PageSize, SealedDatabase, SealedError};
use rusqlite::Connection;

const FILE: ResourceId = ResourceId::from_bytes([0xf1; 16]);
const DEK: [u8; 32] = [0xd1; 32];
const PAGE: usize = 512;
const BLOCK: usize = 4096;
const FRAME: usize = 56 + PAGE;

fn open(path: &Path, file: ResourceId, dek: &[u8]) -> Result<SealedDatabase, SealedError> {
    SealedDatabase::open(path, file, Arc::new(Secret::<32>::copy_from(dek).unwrap()))
}

fn rows(db: &SealedDatabase) -> Result<String, SealedError> {
    let sql = "SELECT count(*) || ' ' || coalesce(sum(length(b) * a), 0) FROM t";
    db.connect()?
        .query_row(sql, [], |r| r.get(0))
        .map_err(|e| db.explain(e))
}

fn word<T>(result: &Result<T, SealedError>) -> &'static str {
    match result {
        Ok(_) => "success",
        Err(SealedError::Format { .. }) => "format",
        Err(SealedError::Unauthentic { .. }) => "unauthentic",
        Err(_) => "another error",
    }
}

#[test]
fn what_a_reader_must_reject_is_rejected_and_what_it_must_read_is_read() {
    let vectors = common::vectors("sqlite");
    let mains: HashMap<_, _> = vectors.iter().map(|v| (v.name.clone(), &v.body)).collect();
    for v in &vectors {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.db");
        match v.get("file") {
            "main" => fs::write(&path, &v.body).unwrap(),
            kind => {
                fs::write(&path, mains[v.get("beside")]).unwrap();
                fs::write(dir.path().join(format!("v.db-{kind}")), &v.body).unwrap();
            }
        }
        let opened = open(&path, v.get("file-id").parse().unwrap(), &v.hex("dek"));
        let verified = match &opened {
            Ok(db) => word(&db.verify(&mut |_, _| ())),
            Err(_) => word(&opened),
        };
        assert_eq!(verified, v.get("verify"), "{}: verify", v.name);
        let read = opened.and_then(|db| rows(&db));
        assert_eq!(word(&read), v.get("expect"), "{}", v.name);
        if let Ok(read) = read {
            assert_eq!(read, v.get("rows"), "{}", v.name);
        }
    }
}

/// Writes the vectors anew. What it writes differs each time, in salts and nonces: the files that
/// are kept were written once.
#[test]
#[ignore = "writes tests/vectors/sqlite anew"]
fn write_the_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.db");
    let db = make(&path, FILE);
    let connection = db.connect().unwrap();
    fill(&connection, 1, 30);
    let good = fs::read(&path).unwrap();
    let read = rows(&db).unwrap();
    let reading = Expect::new("success", &read, "success");
    write("good", "main", &reading, &good);

    for (name, at, value) in [
        ("magic_is_wrong", 0, b'A'),
        ("version_is_0", 8, 0),
        ("version_is_2", 8, 2),
        ("cipher_is_2", 10, 2),
        ("page_size_is_256", 11, 8),
        ("reserve_is_0", 12, 0),
        ("state_is_not_zero", 13, 3),
        ("zeros_are_not_zero", 50, 1),
        ("zeros_at_the_end_are_not_zero", 900, 1),
    ] {
        let mut bad = good.clone();
        (bad[at], bad[at + 2048]) = (value, value);
        write(name, "main", &Expect::refused("format"), &bad);
    }
    let refused = Expect::refused("unauthentic");
    let header = Expect {
        file: ResourceId::from_bytes([0xf2; 16]),
        ..Expect::refused("unauthentic")
    };
    write("file_id_is_another", "main", &header, &good);
    let header = Expect {
        dek: [0xd2; 32],
        ..Expect::refused("unauthentic")
    };
    write("key_is_another", "main", &header, &good);
    for (name, at) in [
        ("mac_altered", 2047),
        ("key_slot_altered", 70),
        ("both_slots_altered", 33),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad[at + 2048] ^= 1;
        write(name, "main", &refused, &bad);
    }
    for (name, at) in [("first_slot_torn", 1024), ("second_slot_torn", 3072)] {
        let mut torn = good.clone();
        torn[at..at + 1024].fill(0x55);
        write(name, "main", &reading, &torn);
    }
    let last = good.len() - PAGE;
    let page = |n: usize| BLOCK + (n - 1) * PAGE;
    for (name, at) in [
        ("page_ciphertext_altered", last + 17),
        ("page_nonce_altered", last + PAGE - 32),
        ("page_salt_altered", last + PAGE - 19),
        ("salt_bit_0_is_set", last + PAGE - 20),
        ("page_tag_altered", last + PAGE - 1),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        write(name, "main", &refused, &bad);
    }
    let mut bad = good.clone();
    bad.copy_within(page(2)..page(3), page(3));
    bad[page(2)..page(3)].copy_from_slice(&good[page(3)..page(4)]);
    write("pages_swapped", "main", &refused, &bad);
    let mut bad = good.clone();
    bad[last..].fill(0);
    write("page_zeroed", "main", &refused, &bad);
    write(
        "last_page_cut",
        "main",
        &Expect::new("unauthentic", "", "unauthentic"),
        &good[..last],
    );
    write(
        "cut_within_the_last_page",
        "main",
        &Expect::new("unauthentic", "", "unauthentic"),
        &good[..last + 100],
    );
    let other = make(
        &dir.path().join("other.db"),
        ResourceId::from_bytes([0xf3; 16]),
    );
    fill(&other.connect().unwrap(), 1, 30);
    let mut bad = good.clone();
    bad[page(2)..].copy_from_slice(&fs::read(dir.path().join("other.db")).unwrap()[page(2)..]);
    write("page_of_another_file", "main", &refused, &bad);

    // A hot journal beside a file that a transaction had begun to change.
    let path = dir.path().join("j.db");
    let larger = make(&path, FILE);
    let changing = larger.connect().unwrap();
    fill(&changing, 1, 150);
    let reading_all = Expect::new("success", &rows(&larger).unwrap(), "success");
    let before = fs::read(&path).unwrap();
    write("good_before_a_transaction", "main", &reading_all, &before);
    changing
        .execute_batch("PRAGMA cache_size=2; BEGIN; UPDATE t SET b = b || 'changed';")
        .unwrap();
    let changed = fs::read(&path).unwrap();
    let journal = fs::read(dir.path().join("j.db-journal")).unwrap();
    assert_ne!(changed, before);
    // Without its journal nothing tells that a transaction was under way: that takes freshness.
    let copy = dir.path().join("copy.db");
    fs::write(&copy, &changed).unwrap();
    let mixed = rows(&open(&copy, FILE, &DEK).unwrap()).unwrap();
    let deleted = Expect::new("success", &mixed, "success");
    write("journal_deleted", "main", &deleted, &changed);
    let beside = Expect {
        beside: "journal_deleted",
        ..Expect::new("success", &reading_all.rows, "success")
    };
    write("journal_good", "journal", &beside, &journal);
    let mut bad = journal.clone();
    bad[3] ^= 1;
    let beside = Expect {
        beside: "good_before_a_transaction",
        ..Expect::new("success", &reading_all.rows, "success")
    };
    write("journal_altered", "journal", &beside, &bad);
    let path = dir.path().join("v.db");

    // Three commits in the log, one frame each.
    let sql = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0";
    connection.execute_batch(sql).unwrap();
    let wal = dir.path().join("v.db-wal");
    let mut states = vec![];
    for commit in [31, 32, 33] {
        fill(&connection, commit, commit);
        let len = fs::read(&wal).unwrap().len();
        assert_eq!(len, 64 + (states.len() + 1) * FRAME);
        states.push(rows(&db).unwrap());
    }
    let wal = fs::read(&wal).unwrap();
    write("wal_main", "main", &reading, &fs::read(&path).unwrap());
    let beside = |rows: &str, verify: &'static str| Expect {
        beside: "wal_main",
        ..Expect::new("success", rows, verify)
    };
    write("wal_good", "wal", &beside(&states[2], "success"), &wal);
    let cut = &wal[..64 + FRAME];
    write("wal_cut", "wal", &beside(&states[0], "success"), cut);
    for (name, at, rows, verify) in [
        ("wal_header_altered", 5, &read, "unauthentic"),
        ("wal_page_altered", 64 + 56 + 9, &read, "unauthentic"),
        (
            "wal_last_frame_altered",
            wal.len() - FRAME + 3,
            &states[1],
            "success",
        ),
    ] {
        let mut bad = wal.clone();
        bad[at] ^= 1;
        write(name, "wal", &beside(rows, verify), &bad);
    }
    let mut bad = wal.clone();
    let (first, second) = bad[64..64 + 2 * FRAME].split_at_mut(FRAME);
    first.swap_with_slice(second);
    let swapped = beside(&read, "unauthentic");
    write("wal_frames_swapped", "wal", &swapped, &bad);
}

fn make(path: &Path, file: ResourceId) -> SealedDatabase {
    let keys = Arc::new(Secret::<32>::copy_from(&DEK).unwrap());
    let page = PageSize::new(PAGE as u32).unwrap();
    let db = SealedDatabase::create(path, file, page, Freshness::Kept, &[0xee; 768], keys).unwrap();
    let sql = "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)";
    db.connect().unwrap().execute_batch(sql).unwrap();
    db
}

fn fill(connection: &Connection, from: i64, to: i64) {
    let sql = "WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
        INSERT INTO t SELECT i, printf('row %d of the sealed file', i) FROM n";
    connection.execute(sql, [from, to]).unwrap();
}

struct Expect {
    expect: &'static str,
    rows: String,
    verify: &'static str,
    beside: &'static str,
    file: ResourceId,
    dek: [u8; 32],
}

impl Expect {
    fn new(expect: &'static str, rows: &str, verify: &'static str) -> Self {
        Self {
            expect,
            rows: rows.to_owned(),
            verify,
            beside: "",
            file: FILE,
            dek: DEK,
        }
    }

    fn refused(expect: &'static str) -> Self {
        Self::new(expect, "", expect)
    }
}

fn write(name: &str, file: &str, e: &Expect, body: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sqlite");
    fs::create_dir_all(&dir).unwrap();
    let mut text = format!("expect: {}\nverify: {}\nfile: {file}\n", e.expect, e.verify);
    if !e.beside.is_empty() {
        text += &format!("beside: {}\n", e.beside);
    }
    if !e.rows.is_empty() {
        text += &format!("rows: {}\n", e.rows);
    }
    text += &format!("file-id: {}\ndek: {}\n\n", e.file, hex::encode(e.dek));
    for line in hex::encode(body).as_bytes().chunks(128) {
        text += std::str::from_utf8(line).unwrap();
        text.push('\n');
    }
    fs::write(dir.join(format!("{name}.txt")), text).unwrap();
}
