//! What a thief may do to the files: each change is refused, or leaves exactly the right data.

use std::fs;

use atrest::resource::sql::{Content, content_hash};
use atrest::sqlite::{Freshness, SealedDatabase, SealedError};

use crate::fixture::{
    FILE, Files, Fixture, HEADER_LEN, SLOT, create, key, open, run, scratch, set_journal,
};

const PAGE: usize = 512;

/// A small database with inner pages, overflow pages and an index, and what it holds.
fn small() -> (Files, Content) {
    let f = Fixture::new(PAGE as u32);
    let conn = f.connect();
    run(
        &conn,
        "CREATE TABLE t (a, b); CREATE INDEX i ON t (a);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12)
            INSERT INTO t SELECT 'row ' || i, zeroblob(i * 20) FROM n;
         INSERT INTO t VALUES ('long', zeroblob(1000))",
    );
    let content = content_hash(&conn).unwrap();
    drop(conn);
    f.db.verify(&mut |_, _| ()).unwrap();
    (Files::copy(&f.path("db")), content)
}

/// Opens, verifies and reads the whole: `Some` when nothing complains.
fn accepted(files: &Files) -> Option<Content> {
    let (_dir, path) = files.place();
    let db = open(&path).ok()?;
    let verified = db.verify(&mut |_, _| ());
    let read = db.connect().ok().and_then(|conn| content_hash(&conn).ok());
    verified.ok()?;
    read
}

fn with_main(main: Vec<u8>) -> Files {
    Files {
        main,
        ..Files::default()
    }
}

fn page(number: usize) -> std::ops::Range<usize> {
    HEADER_LEN + (number - 1) * PAGE..HEADER_LEN + number * PAGE
}

#[test]
fn no_flipped_bit_in_any_page_goes_unseen() {
    let (files, content) = small();
    assert!(accepted(&files) == Some(content));
    let pages = (files.main.len() - HEADER_LEN) / PAGE;
    assert!(pages >= 8 && (files.main.len() - HEADER_LEN).is_multiple_of(PAGE));
    for at in HEADER_LEN..files.main.len() {
        let mut main = files.main.clone();
        main[at] ^= 1 << (at % 8);
        let (_dir, path) = with_main(main).place();
        let db = open(&path).unwrap();
        let e = db.verify(&mut |_, _| ()).expect_err("accepted");
        assert!(matches!(e, SealedError::Unauthentic { .. }), "{at}: {e}");
    }
}

/// Each page matters to some query: none is skipped because nothing refers to it.
#[test]
fn a_page_that_is_not_authentic_is_an_error_to_whoever_reads_it_and_to_nobody_else() {
    let (files, content) = small();
    let pages = (files.main.len() - HEADER_LEN) / PAGE;
    let mut refused = 0;
    for number in 1..=pages {
        let mut main = files.main.clone();
        main[page(number).start + 100] ^= 1;
        let (_dir, path) = with_main(main).place();
        let db = open(&path).unwrap();
        let conn = db.connect().unwrap();
        match content_hash(&conn).map_err(|e| db.explain(e)) {
            Ok(read) => assert!(read == content),
            Err(SealedError::Unauthentic { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        // The connection lives on when the page is whole again.
        fs::write(&path, &files.main).unwrap();
        assert!(content_hash(&conn).unwrap() == content, "{number}");
    }
    assert!(refused * 2 > pages);
}

#[test]
fn no_flipped_bit_in_the_header_opens_as_anything_else() {
    let (files, content) = small();
    // Between the slots and their MACs lie the freshness records, which have tags of their own.
    let slot = |at: &usize| !(1024..2016).contains(&(at % (HEADER_LEN / 2)));
    let (mut tried, mut refused) = (0, 0);
    for at in (0..HEADER_LEN).filter(slot) {
        tried += 1;
        let mut main = files.main.clone();
        main[at] ^= 1 << (at % 8);
        // One half is damaged: the other one opens.
        assert!(
            accepted(&with_main(main.clone())) == Some(content.clone()),
            "{at}"
        );
        // Both are: nothing does.
        let other = (at + HEADER_LEN / 2) % HEADER_LEN;
        main[other] ^= 1 << (at % 8);
        let (_dir, path) = with_main(main).place();
        match open(&path) {
            Err(SealedError::Unauthentic { .. } | SealedError::Format { .. }) => refused += 1,
            Err(e) => panic!("{at}: {e}"),
            Ok(_) => panic!("{at} accepted"),
        }
    }
    assert_eq!((tried, refused), (2 * (1024 + 32), tried));
}

/// An altered record is none: the one before it counts, and never says what nobody wrote.
#[test]
fn no_flipped_bit_in_a_freshness_record_passes_for_another_state() {
    let (files, content) = small();
    let (mut good, mut stale) = (0, 0);
    for at in (1024..2016).chain(3072..4064) {
        let mut main = files.main.clone();
        main[at] ^= 1 << (at % 8);
        let (_dir, path) = with_main(main).place();
        let db = open(&path).unwrap();
        assert!(
            content_hash(&db.connect().unwrap()).unwrap() == content,
            "{at}"
        );
        match db.verify(&mut |_, _| ()) {
            Ok(_) => good += 1,
            Err(SealedError::Stale { .. }) => stale += 1,
            Err(e) => panic!("{at}: {e}"),
        }
    }
    // The newest says "settled", the one before it "committing", with the same sum.
    assert_eq!((good, stale), (2 * (2016 - 1024), 0));
    // Without both, what is left says that a transaction is under way.
    let mut main = files.main.clone();
    let sequence = |at: usize| u64::from_le_bytes(main[at..at + 8].try_into().unwrap());
    let mut places = [1024, 1536, 3072, 3584];
    places.sort_by_key(|&at| std::cmp::Reverse(sequence(at)));
    for at in &places[..2] {
        main[at + 8] ^= 1;
    }
    let (_dir, path) = with_main(main).place();
    let verified = open(&path).unwrap().verify(&mut |_, _| ());
    assert!(
        matches!(verified, Err(SealedError::Stale { .. })),
        "{verified:?}"
    );
}

#[test]
fn a_header_with_one_damaged_half_is_mended_by_the_next_rewrap() {
    let (files, content) = small();
    for half in [0, HEADER_LEN / 2] {
        let mut main = files.main.clone();
        main[half..half + HEADER_LEN / 2].fill(0x11);
        let (_dir, path) = with_main(main).place();
        let db = open(&path).unwrap();
        assert!(db.replace_key_slot(&[0x77; SLOT.len()]).unwrap() <= HEADER_LEN as u64);
        assert!(content_hash(&db.connect().unwrap()).unwrap() == content);
        let slots = SealedDatabase::key_slots(&path).unwrap();
        assert!(slots == [[0x77; SLOT.len()]; 2]);
        let after = fs::read(&path).unwrap();
        assert!(after[HEADER_LEN..] == files.main[HEADER_LEN..]);
    }
}

#[test]
fn pages_that_were_swapped_blanked_cut_or_added_are_refused() {
    let (files, content) = small();
    let (main, pages) = (&files.main, (files.main.len() - HEADER_LEN) / PAGE);
    assert!(accepted(&files) == Some(content.clone()));
    let refuse = |main: Vec<u8>, what: String| {
        assert!(accepted(&with_main(main)).is_none(), "{what}");
    };
    for a in 1..=pages {
        for b in a + 1..=pages {
            let mut swapped = main.clone();
            swapped[page(a)].copy_from_slice(&main[page(b)]);
            swapped[page(b)].copy_from_slice(&main[page(a)]);
            refuse(swapped, format!("pages {a} and {b} swapped"));
        }
        for filler in [0, 0xff] {
            let mut blank = main.clone();
            blank[page(a)].fill(filler);
            refuse(blank, format!("page {a} blanked"));
        }
        let mut zeroed_trailer = main.clone();
        zeroed_trailer[page(a).end - 32..page(a).end].fill(0);
        refuse(zeroed_trailer, format!("trailer of page {a} zeroed"));
        let mut gone = main.clone();
        gone.drain(page(a));
        refuse(gone, format!("page {a} taken out"));
    }
    for cut in 0..main.len() - HEADER_LEN {
        if cut % 37 == 0 || (cut % PAGE) < 2 {
            let end = HEADER_LEN + cut;
            let (_dir, path) = with_main(main[..end].to_vec()).place();
            let read = open(&path).and_then(|db| {
                let conn = db.connect()?;
                content_hash(&conn).map_err(|e| db.explain(e))
            });
            assert!(
                read.is_ok_and(|r| r != content) == (cut < PAGE),
                "cut to {end}"
            );
        }
    }
    for added in [
        vec![0; PAGE],
        main[page(2)].to_vec(),
        main[page(pages)].to_vec(),
    ] {
        refuse([main.clone(), added].concat(), "a page added".to_owned());
    }
}

#[test]
fn a_page_of_another_database_is_refused_even_under_the_same_key() {
    let (files, content) = small();
    let dir = scratch();
    let path = dir.path().join("other");
    let other_id = atrest::base::ResourceId::from_bytes([8; 16]);
    let size = atrest::sqlite::PageSize::new(PAGE as u32).unwrap();
    let other =
        SealedDatabase::create(&path, other_id, size, Freshness::Kept, &SLOT, key()).unwrap();
    run(
        &other.connect().unwrap(),
        "CREATE TABLE t (a, b); CREATE INDEX i ON t (a)",
    );
    let foreign = fs::read(&path).unwrap();
    assert!(accepted(&files) == Some(content));
    for number in 1..=3 {
        let mut main = files.main.clone();
        main[page(number)].copy_from_slice(&foreign[page(number)]);
        assert!(accepted(&with_main(main)).is_none(), "{number}");
    }
    // Nor does the whole file pass for the other one.
    assert!(matches!(
        SealedDatabase::open(&path, FILE, key()).err(),
        Some(SealedError::Unauthentic { .. })
    ));
    assert!(SealedDatabase::open(&path, other_id, key()).is_ok());
}

#[test]
fn no_flipped_byte_in_the_log_gives_a_state_that_was_not_committed() {
    let f = Fixture::new(PAGE as u32);
    let conn = f.connect();
    run(&conn, "CREATE TABLE t (a); INSERT INTO t VALUES ('zero')");
    set_journal(&conn, "wal");
    run(&conn, "PRAGMA wal_autocheckpoint = 0");
    let mut states = vec![content_hash(&conn).unwrap()];
    for text in ["one", "two"] {
        run(
            &conn,
            &format!("INSERT INTO t VALUES ('{text}'), (zeroblob(300))"),
        );
        states.push(content_hash(&conn).unwrap());
    }
    let files = Files::copy(&f.path("db"));
    let wal = files.wal.clone().unwrap();
    assert!(files.read().unwrap() == states[2]);
    let frame = PAGE + 24 + 32;
    for at in 0..wal.len() {
        let mut altered = wal.clone();
        altered[at] ^= 1 << (at % 8);
        let altered = Files {
            wal: Some(altered),
            ..files.clone()
        };
        match altered.read() {
            Ok(read) => assert!(states[..2].contains(&read), "{at}"),
            Err(SealedError::Unauthentic { .. }) => (),
            Err(e) => panic!("{at}: {e}"),
        }
    }
    // Frames that change places, repeat, or come from the log of another generation.
    let frames = (wal.len() - 64) / frame;
    assert!(frames >= 4);
    let at = |n: usize| 64 + n * frame..64 + (n + 1) * frame;
    for a in 0..frames {
        for b in 0..frames {
            let mut moved = wal.clone();
            moved[at(a)].copy_from_slice(&wal[at(b)]);
            let moved = Files {
                wal: Some(moved),
                ..files.clone()
            };
            let read = moved.read().unwrap();
            assert!(
                states.contains(&read) && (a == b) == (read == states[2]),
                "{a} {b}"
            );
        }
    }
}

/// A journal that was altered can still stop the rollback halfway, since SQLite must take it for one
/// that a power cut tore: rows of the transaction that was not committed then stay. What it cannot
/// do is bring in a value that never was.
#[test]
fn an_altered_journal_brings_in_no_value_that_never_was() {
    let f = Fixture::new(PAGE as u32);
    let conn = f.connect();
    run(
        &conn,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6)
            INSERT INTO t SELECT i, printf('old%397d', i) FROM n",
    );
    run(&conn, "BEGIN; UPDATE t SET a = printf('new%397d', id)");
    conn.cache_flush().unwrap();
    let hot = Files::copy(&f.path("db"));
    let rows = |files: &Files| -> Result<Vec<bool>, SealedError> {
        let (_dir, path) = files.place();
        let db = open(&path)?;
        let conn = db.connect()?;
        let mut rows = conn
            .prepare("SELECT a FROM t ORDER BY id")
            .map_err(|e| db.explain(e))?;
        let rows = rows
            .query_map((), |row| row.get::<_, String>(0))
            .map_err(|e| db.explain(e))?;
        let rows = rows.enumerate().map(|(i, row)| {
            let (row, id) = (row.map_err(|e| db.explain(e))?, i + 1);
            let (old, new) = (format!("old{id:397}"), format!("new{id:397}"));
            assert!(row == old || row == new, "{row}");
            Ok(row == old)
        });
        rows.collect()
    };
    assert_eq!(rows(&hot).unwrap(), [true; 6]);
    assert_eq!(rows(&with_main(hot.main.clone())).unwrap(), [false; 6]);
    let journal = hot.journal.clone().unwrap();
    let chunk = 512 + 32;
    let try_journal = |journal: Vec<u8>| match rows(&Files {
        journal: Some(journal),
        ..hot.clone()
    }) {
        Ok(rows) => assert_eq!(rows.len(), 6),
        Err(SealedError::Unauthentic { .. }) => (),
        Err(e) => panic!("{e}"),
    };
    for at in (0..journal.len()).step_by(3) {
        let mut altered = journal.clone();
        altered[at] ^= 0x80;
        try_journal(altered);
    }
    let chunks = journal.len() / chunk;
    assert!(chunks > 5);
    for a in 0..chunks {
        for b in 0..chunks {
            let mut moved = journal.clone();
            moved.copy_within(b * chunk..(b + 1) * chunk, a * chunk);
            try_journal(moved);
        }
    }
}

#[test]
fn what_is_no_sealed_file_is_said_to_be_none() {
    let dir = scratch();
    let path = dir.path().join("db");
    let plain = rusqlite::Connection::open(&path).unwrap();
    run(
        &plain,
        "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(9000))",
    );
    drop(plain);
    let not_sealed = |what: &str| match open(&path).err() {
        Some(e @ SealedError::Format { .. }) => {
            assert!(
                e.to_string().contains("not a sealed SQLite file"),
                "{what}: {e}"
            )
        }
        other => panic!("{what}: {other:?}"),
    };
    not_sealed("a plain database");
    for len in [0, 1, 100, 4095, 4096, 10000] {
        fs::write(&path, vec![0x33; len]).unwrap();
        not_sealed("noise");
    }
    fs::remove_file(&path).unwrap();
    create(&path, 4096);
    open(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..4095]).unwrap();
    not_sealed("a header that was cut");
}
