//! SQLite leaves out the page that holds the bytes by which it locks a file, from 0x40000000 on: a hole
//! that is never written, or zeros. In a database that is larger than that it must not be taken for a page.

use atrest::resource::ProtectedResource;
use atrest::resource::sql::SqlDatabase;
use rusqlite::Connection;

use crate::work::{Work, address};

/// So many rows of a mebibyte: more than a gibibyte.
const ROWS: i64 = 1040;

fn sum(conn: &Connection) -> (i64, i64) {
    let sql = "SELECT count(*), sum(length(b) + a) FROM large";
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    conn.query_row(sql, (), pair).unwrap()
}

fn whole(database: &SqlDatabase, expected: (i64, i64)) {
    let conn = database.connect().unwrap();
    assert_eq!(sum(&conn), expected);
    let pages: i64 = conn
        .query_row("PRAGMA page_count", (), |row| row.get(0))
        .unwrap();
    assert!(pages > (1 << 30) / 65536 + 1, "{pages} pages");
    drop(conn);
    database.verify(&mut |_, _| ()).unwrap();
}

#[test]
fn a_database_over_a_gibibyte_is_written_converted_and_verified() {
    let work = Work::of_page_size(65536);
    let conn = work.open().connect().unwrap();
    conn.execute_batch("CREATE TABLE large (a INTEGER PRIMARY KEY, b BLOB)")
        .unwrap();
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO large SELECT i, zeroblob(1048576) FROM n";
    conn.execute(insert, [ROWS]).unwrap();
    let expected = sum(&conn);
    drop(conn);
    let to = work.protection();
    let sealed = work.reopen();
    sealed
        .encrypt_in_place(&address(), &to, &mut |_, _| ())
        .unwrap();
    whole(&work.open(), expected);
    // Behind the page that is left out, by a log and by a rollback journal.
    for mode in ["wal", "delete"] {
        let database = work.open();
        let conn = database.connect().unwrap();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        let update = "UPDATE large SET b = zeroblob(1048576) WHERE a > ?1";
        conn.execute(update, [ROWS - 3]).unwrap();
        drop(conn);
        whole(&database, expected);
    }
    sealed
        .change_key_in_place(&address(), &mut |_, _| ())
        .unwrap();
    whole(&work.open(), expected);
    sealed.decrypt_in_place(&address(), &mut |_, _| ()).unwrap();
    let plain = work.open();
    assert_eq!(sum(&plain.connect().unwrap()), expected);
    plain.verify(&mut |_, _| ()).unwrap();
}
