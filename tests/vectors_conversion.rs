//! Writes the golden vectors of conversions (docs/format.md, "Conversions"), which tests/vectors_sqlite.rs
//! reads. `side` is the plain file beside the main one.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use atrest::base::ResourceId;
use atrest::crypto::Secret;
use atrest::sqlite::{
    Freshness, KEY_SLOT_LEN, KeySource, KeyUnavailable, PageSize, SealedDatabase, Succession,
    disown, reserve_for_seal,
};
use rusqlite::Connection;
use tempfile::TempDir;

const FILE: ResourceId = ResourceId::from_bytes([0xf1; 16]);
const SLOT: [u8; KEY_SLOT_LEN] = [0xee; KEY_SLOT_LEN];
const NEXT_SLOT: [u8; KEY_SLOT_LEN] = [0xef; KEY_SLOT_LEN];
const DEK: [u8; 32] = [0xd1; 32];
const NEXT_DEK: [u8; 32] = [0xd3; 32];
const PAGE: usize = 512;
const BLOCK: usize = 4096;

/// Has one key, and knows the next.
struct Keys(Mutex<[u8; 32]>);

impl KeySource for Keys {
    fn check(&self) -> Result<u64, KeyUnavailable> {
        Ok(u64::from(self.0.lock().unwrap()[0]))
    }

    fn with_key(&self, use_key: &mut dyn FnMut(&Secret<32>)) -> Result<(), KeyUnavailable> {
        let key = *self.0.lock().unwrap();
        use_key(&secret(&key));
        Ok(())
    }

    fn follow(&self, slot: &[u8; KEY_SLOT_LEN], succession: &dyn Succession) -> bool {
        let mut held = self.0.lock().unwrap();
        let follows = *slot == NEXT_SLOT && succession.links(&secret(&held), &secret(&NEXT_DEK));
        if follows {
            *held = NEXT_DEK;
        }
        follows
    }
}

fn secret(key: &[u8; 32]) -> Secret<32> {
    Secret::copy_from(key).unwrap()
}

fn keys() -> Arc<Keys> {
    Arc::new(Keys(Mutex::new(DEK)))
}

fn fill(connection: &Connection) {
    let rows = "CREATE TABLE t (a, b);
        WITH RECURSIVE c (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 30)
        INSERT INTO t SELECT x, 'row ' || x || hex(zeroblob(20)) FROM c";
    connection.execute_batch(rows).unwrap();
}

/// Seals the pages that it touches as the conversion under way leaves them.
fn touch(db: &SealedDatabase) {
    let touch = "UPDATE t SET b = b || 'touched' WHERE a < 4";
    db.connect().unwrap().execute_batch(touch).unwrap();
}

fn rows(db: &SealedDatabase) -> String {
    let sql = "SELECT count(*) || ' ' || coalesce(sum(length(b) * a), 0) FROM t";
    let conn = db.connect().unwrap();
    conn.query_row(sql, [], |r| r.get(0)).unwrap()
}

struct Vector<'a> {
    name: &'a str,
    dek: [u8; 32],
    /// What reading gives, and the rows; and what a verification says.
    expect: (&'a str, &'a str),
    verify: &'a str,
    side: Option<&'a [u8]>,
    body: &'a [u8],
}

fn write(vector: &Vector<'_>) {
    let (expect, rows) = vector.expect;
    let (verify, dek) = (vector.verify, hex::encode(vector.dek));
    let mut text = format!("expect: {expect}\nverify: {verify}\nfile: main\n");
    if !rows.is_empty() {
        writeln!(text, "rows: {rows}").unwrap();
    }
    writeln!(text, "file-id: {}\ndek: {dek}", hex::encode([0xf1; 16])).unwrap();
    if let Some(side) = vector.side {
        writeln!(text, "side: {}", hex::encode(side)).unwrap();
    }
    text.push('\n');
    let digits = hex::encode(vector.body);
    for line in digits.as_bytes().chunks(126) {
        writeln!(text, "{}", std::str::from_utf8(line).unwrap()).unwrap();
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sqlite");
    fs::write(dir.join(format!("{}.txt", vector.name)), text).unwrap();
}

#[test]
#[ignore = "writes vectors anew"]
fn write_the_vectors() {
    let dir = TempDir::new().unwrap();
    key_change(&dir.path().join("v.db"));
    encryption(dir.path());
    decryption(&dir.path().join("d.db"));
}

fn make(path: &Path) -> SealedDatabase {
    let page_size = PageSize::new(PAGE as u32).unwrap();
    let db = SealedDatabase::create(path, FILE, page_size, Freshness::Kept, &SLOT, keys());
    let db = db.unwrap();
    fill(&db.connect().unwrap());
    db
}

fn key_change(path: &Path) {
    let db = make(path);
    let before = fs::read(path).unwrap();
    db.begin_key_change(&NEXT_SLOT, &secret(&NEXT_DEK)).unwrap();
    touch(&db);
    let during = fs::read(path).unwrap();
    let read = rows(&db);
    let good = Vector {
        name: "key_is_being_changed",
        dek: NEXT_DEK,
        expect: ("success", &read),
        verify: "success",
        side: None,
        body: &during,
    };
    write(&good);
    for (name, at, value) in [
        ("parity_is_2", 15, 2),
        ("key_change_without_the_key_before", 13, 0),
    ] {
        let mut body = during.clone();
        (body[at], body[at + 2048]) = (value, value);
        write(&Vector {
            name,
            expect: ("format", ""),
            verify: "format",
            body: &body,
            ..good
        });
    }
    let mut body = during.clone();
    for at in [840, 840 + 2048] {
        body[at] ^= 1;
    }
    let refused = Vector {
        expect: ("unauthentic", ""),
        verify: "unauthentic",
        ..good
    };
    write(&Vector {
        name: "key_before_altered",
        body: &body,
        ..refused
    });
    write(&Vector {
        name: "key_is_the_one_before",
        dek: DEK,
        ..refused
    });
    db.convert(&mut |_, _| ()).unwrap();
    db.finish().unwrap();
    let after = fs::read(path).unwrap();
    write(&Vector {
        name: "key_is_changed",
        body: &after,
        ..good
    });
    let mut body = after.clone();
    body[after.len() - PAGE..].copy_from_slice(&before[before.len() - PAGE..]);
    write(&Vector {
        name: "page_of_the_key_before",
        body: &body,
        ..refused
    });
}

fn encryption(dir: &Path) {
    let (path, plain) = (dir.join("e.db"), dir.join("e.db.old"));
    let connection = Connection::open(&plain).unwrap();
    connection
        .pragma_update(None, "page_size", PAGE as i64)
        .unwrap();
    reserve_for_seal(&connection).unwrap();
    fill(&connection);
    drop(connection);
    let pages = fs::metadata(&plain).unwrap().len() / PAGE as u64;
    let page_size = PageSize::new(PAGE as u32).unwrap();
    SealedDatabase::create_over(&path, FILE, page_size, pages, &SLOT, keys()).unwrap();
    disown(&plain).unwrap();
    let db = SealedDatabase::open(&path, FILE, keys()).unwrap();
    touch(&db);
    let (during, side, read) = (
        fs::read(&path).unwrap(),
        fs::read(&plain).unwrap(),
        rows(&db),
    );
    let good = Vector {
        name: "being_encrypted",
        dek: DEK,
        expect: ("success", &read),
        verify: "success",
        side: Some(&side),
        body: &during,
    };
    write(&good);
    // A page that was sealed is taken away: what is read is the plain one, until it is verified.
    let mut body = during.clone();
    let mut after_the_first = body[BLOCK + PAGE..].chunks_mut(PAGE);
    let sealed = after_the_first.find(|page| **page != [0; PAGE]);
    sealed.unwrap().fill(0);
    fs::write(&path, &body).unwrap();
    let reread = rows(&db);
    write(&Vector {
        name: "being_encrypted_page_zeroed",
        expect: ("success", &reread),
        verify: "stale",
        body: &body,
        ..good
    });
    write(&Vector {
        name: "being_encrypted_without_the_plain_file",
        expect: ("format", ""),
        verify: "format",
        side: None,
        ..good
    });
}

fn decryption(path: &Path) {
    let db = make(path);
    db.begin_decryption().unwrap();
    touch(&db);
    let side = fs::read(path.with_extension("db.new")).unwrap();
    let good = Vector {
        name: "being_decrypted",
        dek: DEK,
        expect: ("success", &rows(&db)),
        verify: "success",
        side: Some(&side),
        body: &fs::read(path).unwrap(),
    };
    write(&good);
    db.convert(&mut |_, _| ()).unwrap();
    db.finish().unwrap();
    write(&Vector {
        name: "decrypted",
        expect: ("another error", ""),
        verify: "another error",
        body: &fs::read(path).unwrap(),
        ..good
    });
}
