//! What a conversion leaves, and what it refuses.

use std::fs;

use atrest::resource::sql::content_hash;
use atrest::resource::{ProtectedResource, Protection};
use atrest::sqlite::{Conversion, SealedDatabase};
use atrest::world::Workspace;
use rusqlite::Connection;

use crate::work::{Work, address, twin};

const SECRET: &[u8] = b"a secret of row";

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

/// Begins a conversion and leaves it at the first word of progress, as a crash would.
pub fn begun(work: &Work, convert: impl FnOnce(&Workspace, &mut dyn FnMut(u64, u64))) {
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        convert(&work.reopen(), &mut |_, _| panic!("left"));
    }));
    assert!(left.is_err(), "it was to be left in the middle");
}

#[test]
fn what_is_encrypted_in_place_never_had_a_plain_byte_in_its_file() {
    let work = Work::new(false);
    let plain = fs::read(work.file()).unwrap();
    assert!(holds_secret(&plain), "else this test finds nothing");
    let to = work.protection();
    let mut seen = 0;
    let looks = &mut |_, _| {
        assert!(!holds_secret(&fs::read(work.file()).unwrap()));
        seen += 1;
    };
    let done = work
        .reopen()
        .encrypt_in_place(&address(), &to, looks)
        .unwrap();
    assert!(seen > 1);
    assert!(
        !done.room_was_made,
        "a database of ours has room for the seal"
    );
    assert_eq!(done.plain_bytes_deleted, Some(plain.len() as u64));
    assert!(!holds_secret(&fs::read(work.file()).unwrap()));
    assert_eq!(work.left_over(), [""; 0]);
}

#[test]
fn a_file_of_the_stock_program_is_encrypted_in_place_too() {
    let work = Work::new(false);
    fs::remove_file(work.file()).unwrap();
    let plain = Connection::open(work.file()).unwrap();
    plain.execute_batch(crate::work::ROWS).unwrap();
    drop(plain);
    let done = work
        .reopen()
        .encrypt_in_place(&address(), &work.protection(), &mut |_, _| ())
        .unwrap();
    assert!(done.room_was_made);
    work.holds(&content_hash(&twin()).unwrap());
}

#[test]
fn who_still_has_the_plain_file_open_does_not_go_on_reading_it() {
    let work = Work::new(false);
    // In this process, where it is not looked for.
    let stale = Connection::open(work.file()).unwrap();
    let count = "SELECT count(*) FROM t";
    stale.query_row(count, (), |_| Ok(())).unwrap();
    work.reopen()
        .encrypt_in_place(&address(), &work.protection(), &mut |_, _| ())
        .unwrap();
    stale.query_row(count, (), |_| Ok(())).unwrap_err();
}

#[test]
fn the_key_before_opens_nothing_once_it_was_changed() {
    let work = Work::new(true);
    let before = fs::read(work.file()).unwrap();
    work.reopen()
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap();
    let after = fs::read(work.file()).unwrap();
    // With the whole header block of before, the pages of after are another key's.
    let mixed = [&before[..4096], &after[4096..]].concat();
    fs::write(work.file(), &mixed).unwrap();
    assert!(work.reopen().open_sql(&address()).is_err());
    // And no page is what it was.
    for (old, new) in before[4096..].chunks(4096).zip(after[4096..].chunks(4096)) {
        assert_ne!(old, new);
    }
    fs::write(work.file(), &after).unwrap();
    work.holds(&content_hash(&twin()).unwrap());
}

#[test]
fn a_page_of_before_the_change_of_the_key_is_refused_when_it_is_put_back() {
    let work = Work::new(true);
    let before = fs::read(work.file()).unwrap();
    work.reopen()
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap();
    let mut after = fs::read(work.file()).unwrap();
    after[3 * 4096..4 * 4096].copy_from_slice(&before[3 * 4096..4 * 4096]);
    fs::write(work.file(), &after).unwrap();
    let database = work.open();
    assert!(database.verify(&mut |_, _| ()).is_err());
}

#[test]
fn an_unfinished_conversion_says_what_it_is_and_refuses_others() {
    let work = Work::new(false);
    let to = work.protection();
    begun(&work, |workspace, progress| {
        let _ = workspace.encrypt_in_place(&address(), &to, progress);
    });
    assert_eq!(work.left_over(), ["db.db.old"]);
    let workspace = work.reopen();
    workspace
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap_err();
    workspace
        .decrypt_in_place(&address(), &mut |_, _| ())
        .unwrap_err();
    workspace
        .set_protection(&address(), &Protection::Plain, &mut |_, _| ())
        .unwrap_err();
    work.holds(&content_hash(&twin()).unwrap());
    // The plain file is part of it.
    let hidden = work.file().with_extension("hidden");
    let old = work.file().with_extension("db.old");
    fs::rename(&old, &hidden).unwrap();
    work.reopen().open_sql(&address()).map(|_| ()).unwrap_err();
    fs::rename(&hidden, &old).unwrap();
    let done = work
        .reopen()
        .encrypt_in_place(&address(), &to, &mut |_, _| ());
    assert!(done.unwrap().resumed);
    work.holds(&content_hash(&twin()).unwrap());
    assert_eq!(work.left_over(), [""; 0]);
}

#[test]
fn an_old_header_does_not_bring_a_conversion_back() {
    let work = Work::new(true);
    begun(&work, |workspace, progress| {
        let _ = workspace.change_key_in_place(&address(), progress);
    });
    let during = fs::read(work.file()).unwrap();
    work.reopen()
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap();
    let after = fs::read(work.file()).unwrap();
    fs::write(work.file(), [&during[..4096], &after[4096..]].concat()).unwrap();
    let refused = work.reopen().open_sql(&address()).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("not fresh"), "{refused}");
    fs::write(work.file(), &after).unwrap();
    work.holds(&content_hash(&twin()).unwrap());
    assert_eq!(SealedDatabase::key_slots(&work.file()).unwrap().len(), 2);
}

#[test]
fn the_view_shows_the_states_by_the_numbers_and_names_of_azure_sql() {
    let work = Work::new(false);
    let to = work.protection();
    // In a process of its own: the view shows all that a process has open.
    let row = || {
        let sql = "SELECT encryption_state, encryption_state_desc, percent_complete,
            encryption_scan_state, encryptor_type FROM sys_dm_database_encryption_keys";
        let rows = work.run(&["--json", "sql", "query", "db", sql]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
        let [row] = &rows[..] else {
            panic!("one database is open: {rows:?}")
        };
        let state = row["encryption_state"].as_i64().unwrap();
        let percent = row["percent_complete"].as_f64().unwrap();
        assert_eq!(row["encryptor_type"], "ASYMMETRIC KEY");
        assert_eq!(row["encryption_scan_state"], if state == 3 { 4 } else { 2 });
        // What is left in the middle is neither at its start nor at its end.
        assert_eq!(percent > 0.0 && percent < 100.0, state != 3);
        (
            state,
            row["encryption_state_desc"].as_str().unwrap().to_owned(),
        )
    };
    begun(&work, |workspace, progress| {
        let _ = workspace.encrypt_in_place(&address(), &to, progress);
    });
    assert_eq!(row(), (2, "ENCRYPTION_IN_PROGRESS".into()));
    work.reopen()
        .encrypt_in_place(&address(), &to, &mut |_, _| ())
        .unwrap();
    assert_eq!(row(), (3, "ENCRYPTED".into()));
    begun(&work, |workspace, progress| {
        let _ = workspace.change_key_in_place(&address(), progress);
    });
    assert_eq!(row().0, 4);
    work.reopen()
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap();
    assert_eq!(row().0, 3);
}

#[test]
fn what_one_writes_first_while_it_is_decrypted_the_other_does_not_overwrite() {
    let work = Work::new(true);
    let (one, other) = (work.open(), work.open());
    one.begin_decryption().unwrap();
    let conns = [&one, &other].map(|database| database.connect().unwrap());
    let count = |n: usize| -> i64 {
        let sql = "SELECT count(*) FROM t WHERE b LIKE 'writer %'";
        conns[n].query_row(sql, (), |row| row.get(0)).unwrap()
    };
    // Twice: the second time what is known of the file is asked for only.
    for n in [0, 1, 0, 1] {
        assert_eq!(count(n), 0);
    }
    for n in 0..6 {
        let sql = format!("INSERT INTO t (b) VALUES ('writer {n}')");
        conns[n % 2].execute_batch(&sql).unwrap();
        for conn in [0, 1] {
            assert_eq!(count(conn), n as i64 + 1);
        }
    }
}

/// SQLite cuts the file after a commit. A crash before that leaves pages behind the last one.
#[test]
fn pages_that_a_crash_left_behind_the_last_one_do_not_keep_a_conversion_from_its_end() {
    for protected in [false, true] {
        let work = Work::new(protected);
        let long = fs::read(work.file()).unwrap();
        work.open()
            .connect()
            .unwrap()
            .execute_batch("DELETE FROM t WHERE a % 2; VACUUM")
            .unwrap();
        let expected = {
            let conn = work.open().connect().unwrap();
            content_hash(&conn).unwrap()
        };
        let leave_them = |work: &Work| {
            let mut bytes = fs::read(work.file()).unwrap();
            assert!(bytes.len() < long.len());
            bytes.extend_from_slice(&long[bytes.len()..]);
            fs::write(work.file(), bytes).unwrap();
        };
        leave_them(&work);
        let workspace = work.reopen();
        match protected {
            false => workspace.encrypt_in_place(&address(), &work.protection(), &mut |_, _| ()),
            true => workspace.change_key_in_place(&address(), &mut |_, _| ()),
        }
        .unwrap();
        assert!(fs::read(work.file()).unwrap().len() < long.len());
        work.holds(&expected);
        leave_them(&work);
        work.reopen()
            .decrypt_in_place(&address(), &mut |_, _| ())
            .unwrap();
        work.holds(&expected);
    }
}

/// The first slot that says that the encryption is over is written in two parts.
#[test]
fn half_a_header_slot_does_not_pass_for_the_end_of_an_encryption() {
    let work = Work::new(false);
    let to = work.protection();
    begun(&work, |workspace, progress| {
        let _ = workspace.encrypt_in_place(&address(), &to, progress);
    });
    let during = fs::read(work.file()).unwrap();
    work.reopen()
        .encrypt_in_place(&address(), &to, &mut |_, _| ())
        .unwrap();
    let after = fs::read(work.file()).unwrap();
    let at = |bytes: &[u8]| {
        fs::write(work.file(), bytes).unwrap();
        SealedDatabase::conversion_at(&work.file()).unwrap()
    };
    assert_eq!(at(&during), Conversion::Encryption);
    assert_eq!(at(&after), Conversion::None);
    for slot in [0, 2048] {
        let mut torn = during.clone();
        torn[slot..slot + 1024].copy_from_slice(&after[slot..slot + 1024]);
        assert_eq!(at(&torn), Conversion::Encryption);
    }
}
