//! Golden vectors of the sealed SQLite file (docs/format.md). A vector is a main file, or a WAL or
//! journal to stand beside the main file of the vector that `beside` names. `expect` is what
//! opening and reading gives, `rows` the rows then read, `verify` what a verification says. `remembered` is
//! the position that somebody remembers of the file, and `check` what comparing them says.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::sqlite::{
    Freshness, KeySource, KeyUnavailable, PageSize, Position, SealedDatabase, SealedError,
};
use rusqlite::Connection;

const FILE: ResourceId = ResourceId::from_bytes([0xf1; 16]);
const DEK: [u8; 32] = [0xd1; 32];
const PAGE: usize = 512;
const BLOCK: usize = 4096;
const FRAME_HEADER: usize = 88;
const FRAME: usize = FRAME_HEADER + PAGE;

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
        Err(SealedError::Stale { .. }) => "stale",
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
        if let Some(side) = v.find("side") {
            // State 2: made from it; else it is made (byte 13 of the header).
            let ending = if v.body[13] == 2 { "db.old" } else { "db.new" };
            fs::write(path.with_extension(ending), hex::decode(side).unwrap()).unwrap();
        }
        let position = v.find("remembered").map(|remembered| {
            let bytes = hex::decode(remembered).unwrap().try_into().unwrap();
            Position::from_bytes(&bytes).unwrap()
        });
        let keys = Arc::new(Told {
            key: Secret::copy_from(&v.hex("dek")).unwrap(),
            remembered: position.as_ref().map(Position::version),
        });
        let opened = SealedDatabase::open(&path, v.get("file-id").parse().unwrap(), keys);
        let verified = match &opened {
            Ok(db) => word(&db.verify(&mut |_, _| ())),
            Err(_) => word(&opened),
        };
        assert_eq!(verified, v.get("verify"), "{}: verify", v.name);
        if let (Ok(db), Some(position)) = (&opened, &position) {
            let checked = word(&db.check_freshness(Some(position)));
            assert_eq!(checked, v.get("check"), "{}: check", v.name);
        }
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
        ("freshness_is_2", 14, 2),
        ("zeros_are_not_zero", 50, 1),
        ("zeros_at_the_end_are_not_zero", 910, 1),
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
        ("salt_bit_1_altered", last + PAGE - 20),
        ("page_tag_altered", last + PAGE - 1),
    ] {
        let mut bad = good.clone();
        bad[at] ^= if name == "salt_bit_1_altered" { 2 } else { 1 };
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

    // Freshness: the records, and old bytes put back.
    let records = records(&good);
    let altered = |records: &[usize]| {
        let mut bad = good.clone();
        records.iter().for_each(|at| bad[at + 20] ^= 1);
        bad
    };
    let newest = newest_altered(&good);
    write("newest_record_altered", "main", &reading, &newest);
    let stale = Expect::new("success", &read, "stale");
    write(
        "two_records_altered",
        "main",
        &stale,
        &altered(&records[..2]),
    );
    let none = Expect::new("success", &read, "unauthentic");
    write("all_records_altered", "main", &none, &altered(&records));

    // Two versions of one file, a fork of the older one, and what is remembered of each.
    let path = dir.path().join("f.db");
    let told = make(&path, FILE);
    let connection = told.connect().unwrap();
    fill(&connection, 1, 60);
    let older = fs::read(&path).unwrap();
    let (at_older, older_rows) = (told.position().unwrap(), rows(&told).unwrap());
    let update = "UPDATE t SET b = b || 'x'";
    connection.execute_batch(update).unwrap();
    let newer = fs::read(&path).unwrap();
    let (at_newer, newer_rows) = (told.position().unwrap(), rows(&told).unwrap());
    let fork_path = dir.path().join("fork.db");
    fs::write(&fork_path, &older).unwrap();
    let fork = open(&fork_path, FILE, &DEK).unwrap();
    fork.connect().unwrap().execute_batch(update).unwrap();
    let at_fork = fork.position().unwrap();
    let checked = |rows: &str, position: &Position, check| Expect {
        remembered: hex::encode(position.to_bytes()),
        check,
        ..Expect::new("success", rows, "success")
    };
    let expect = checked(&newer_rows, &at_newer, "success");
    write("file_is_what_is_remembered", "main", &expect, &newer);
    let expect = checked(&newer_rows, &at_older, "success");
    write("file_is_newer_than_remembered", "main", &expect, &newer);
    let expect = checked(&older_rows, &at_newer, "stale");
    write("file_is_older", "main", &expect, &older);
    let expect = checked(&newer_rows, &at_fork, "stale");
    write("file_is_a_fork", "main", &expect, &newer);
    // Without page 1 it looks like a database that is still empty.
    let cut = Expect {
        expect: "another error",
        verify: "stale",
        ..checked("", &at_newer, "stale")
    };
    write("all_pages_cut", "main", &cut, &newer[..BLOCK]);
    told.replace_key_slot(&[0xdd; 768]).unwrap();
    let expect = checked(&newer_rows, &told.position().unwrap(), "stale");
    write("header_is_older", "main", &expect, &newer);
    // The file says which version somebody was told of.
    let keys = Arc::new(Told {
        key: Secret::copy_from(&DEK).unwrap(),
        remembered: None,
    });
    let told = SealedDatabase::open(&path, FILE, keys).unwrap();
    for _ in 0..2 {
        told.connect().unwrap().execute_batch(update).unwrap();
    }
    let expect = checked(&rows(&told).unwrap(), &at_older, "stale");
    write(
        "memory_is_older",
        "main",
        &expect,
        &fs::read(&path).unwrap(),
    );
    let mut mixed = newer.clone();
    let at = newer.len() - 3 * PAGE;
    assert_ne!(older[at..at + PAGE], newer[at..at + PAGE]);
    mixed[at..at + PAGE].copy_from_slice(&older[at..at + PAGE]);
    let copy = dir.path().join("mixed.db");
    fs::write(&copy, &mixed).unwrap();
    let mixed_rows = rows(&open(&copy, FILE, &DEK).unwrap()).unwrap();
    let expect = Expect::new("success", &mixed_rows, "stale");
    write("page_is_older", "main", &expect, &mixed);

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
    // Without its journal, the record says that a transaction was under way.
    let copy = dir.path().join("copy.db");
    fs::write(&copy, &changed).unwrap();
    let mixed = rows(&open(&copy, FILE, &DEK).unwrap()).unwrap();
    write(
        "journal_deleted",
        "main",
        &Expect::new("success", &mixed, "stale"),
        &changed,
    );
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
    // The same journal, once its transaction is committed.
    changing.execute_batch("COMMIT").unwrap();
    let committed = Expect::new("success", &rows(&larger).unwrap(), "success");
    write(
        "good_after_a_transaction",
        "main",
        &committed,
        &fs::read(&path).unwrap(),
    );
    let beside = |main, expect: &Expect| Expect {
        beside: main,
        ..expect.clone()
    };
    write(
        "journal_of_an_earlier_transaction",
        "journal",
        &beside("good_after_a_transaction", &committed),
        &journal,
    );
    // And the record that says that the transaction is over is damaged, so that the one before it counts.
    let main = "record_of_the_end_altered";
    write(
        main,
        "main",
        &committed,
        &newest_altered(&fs::read(&path).unwrap()),
    );
    let over = checked(&committed.rows, &larger.position().unwrap(), "success");
    write(
        "journal_put_back_later",
        "journal",
        &beside(main, &over),
        &journal,
    );
    let unknown = beside(main, &reading_all);
    write(
        "journal_of_the_last_transaction",
        "journal",
        &unknown,
        &journal,
    );

    // As a crash leaves it once free pages were written over, of which no record is in the journal.
    changing
        .execute_batch("DELETE FROM t WHERE a > 50")
        .unwrap();
    let fewer = Expect::new("success", &rows(&larger).unwrap(), "success");
    changing
        .execute_batch("BEGIN; UPDATE t SET b = b || 'again'")
        .unwrap();
    for a in 200..208 {
        changing
            .execute("INSERT INTO t VALUES (?1, zeroblob(300))", [a])
            .unwrap();
    }
    let main = fs::read(&path).unwrap();
    fs::write(&copy, &main).unwrap();
    let mixed = open(&copy, FILE, &DEK).and_then(|db| rows(&db));
    let expect = Expect::new(word(&mixed), mixed.as_deref().unwrap_or(""), "stale");
    write("free_pages_written_over", "main", &expect, &main);
    let journal = fs::read(dir.path().join("j.db-journal")).unwrap();
    let whole = beside("free_pages_written_over", &fewer);
    write("journal_of_free_pages", "journal", &whole, &journal);
    changing.execute_batch("ROLLBACK").unwrap();

    // Three commits in the log, one frame each.
    let path = dir.path().join("v.db");
    let connection = db.connect().unwrap();
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
    // All three commits are remembered.
    let position = db.check_freshness(None).unwrap();
    let remembered = |rows: &str, check| Expect {
        beside: "wal_main",
        ..checked(rows, &position, check)
    };
    write("wal_good", "wal", &remembered(&states[2], "success"), &wal);
    let cut = &wal[..64 + FRAME];
    write("wal_cut", "wal", &remembered(&states[0], "stale"), cut);
    for (name, at, rows) in [
        ("wal_header_altered", 5, &read),
        ("wal_frame_header_altered", 64 + FRAME + 30, &states[0]),
        ("wal_page_altered", 64 + FRAME_HEADER + 9, &read),
        ("wal_last_frame_altered", wal.len() - FRAME + 3, &states[1]),
    ] {
        let mut bad = wal.clone();
        bad[at] ^= 1;
        write(name, "wal", &remembered(rows, "stale"), &bad);
    }
    let mut bad = wal.clone();
    let (first, second) = bad[64..64 + 2 * FRAME].split_at_mut(FRAME);
    first.swap_with_slice(second);
    write(
        "wal_frames_swapped",
        "wal",
        &remembered(&read, "stale"),
        &bad,
    );
}

/// Where the freshness records of a file lie, newest first.
fn records(main: &[u8]) -> [usize; 4] {
    let sequence = |at: usize| u64::from_le_bytes(main[at..at + 8].try_into().unwrap());
    let mut records = [1024, 1536, 3072, 3584];
    records.sort_by_key(|&at| std::cmp::Reverse(sequence(at)));
    records
}

fn newest_altered(main: &[u8]) -> Vec<u8> {
    let mut bad = main.to_vec();
    bad[records(main)[0] + 20] ^= 1;
    bad
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

/// A key with somebody who remembers what he is told.
struct Told {
    key: Secret<32>,
    remembered: Option<u64>,
}

impl KeySource for Told {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        self.key.check()
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        self.key.with_key(use_key)
    }

    fn anchor(&self, _: &Position) -> bool {
        true
    }

    fn remembered(&self) -> Result<Option<u64>, KeyUnavailable> {
        Ok(self.remembered)
    }
}

#[derive(Clone)]
struct Expect {
    expect: &'static str,
    rows: String,
    verify: &'static str,
    remembered: String,
    check: &'static str,
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
            remembered: String::new(),
            check: "",
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
    if !e.remembered.is_empty() {
        text += &format!("remembered: {}\ncheck: {}\n", e.remembered, e.check);
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
