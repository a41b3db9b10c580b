//! The `sqlite3` shell.

use std::fs;
use std::path::Path;

use crate::work::{Said, Work, bytes_below, contains, shell, uri};

const CANARY: &str = "Canary in the ledger 7c1f";

fn says_nothing_wrong(said: &Said) {
    assert_eq!(said.err, "");
}

#[test]
fn what_the_shell_writes_is_not_lost_to_the_program_nor_the_other_way_round() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a, b)");
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        "INSERT INTO t VALUES (1, 'from the shell');",
        "CREATE INDEX i ON t (b);",
        &work.atrest_in_the_shell("sql exec ledger \"INSERT INTO t VALUES (2, 'from atrest')\""),
        "SELECT * FROM t ORDER BY a;",
        "PRAGMA integrity_check;",
    ]);
    says_nothing_wrong(&said);
    assert_eq!(said.out, "1|from the shell\n2|from atrest\nok\n");
    assert_eq!(
        work.query("ledger", "SELECT * FROM t ORDER BY b"),
        "2,\"from atrest\"\n1,\"from the shell\"\n"
    );
    work.ok(&["sql", "verify", "ledger"]);
}

/// Writes the canary to the database that `open` opens, and copies what is in `dir` while the
/// transaction has pages in the journal and in the file, or in the log.
fn copies_of_a_transaction(open: &str, dir: &Path, mode: &str, to: &Path) -> Vec<u8> {
    let copy = |n: u8| {
        let (dir, to) = (dir.display(), to.display());
        format!(".shell cp -r {dir} {to}/{n}")
    };
    fs::create_dir(to).unwrap();
    let insert =
        format!("INSERT INTO t SELECT value, '{CANARY}' || value FROM generate_series(1, 3000);");
    let said = shell(&[
        open,
        &format!("PRAGMA journal_mode = {mode};"),
        "PRAGMA cache_size = 5;",
        "CREATE TABLE t (a, b);",
        &insert,
        "BEGIN; UPDATE t SET a = a + 1;",
        &copy(1),
        "COMMIT;",
        &copy(2),
        "SELECT count(*) FROM t;",
    ]);
    says_nothing_wrong(&said);
    assert_eq!(said.out, format!("{mode}\n3000\n"));
    let beside = match mode {
        "wal" => "-wal",
        _ => "-journal",
    };
    let copied = walkdir::WalkDir::new(to.join("1")).into_iter();
    let names = copied.map(|f| f.unwrap().file_name().display().to_string());
    assert!(names.into_iter().any(|name| name.ends_with(beside)));
    bytes_below(to)
}

#[test]
fn nothing_that_the_shell_writes_lies_on_the_disk_in_plain() {
    for mode in ["delete", "wal"] {
        let (work, path) = Work::with_ledger();
        let open = format!(".open {}", uri(&path));
        let environments = work.dir().join("environments");
        let copies = copies_of_a_transaction(&open, &environments, mode, &work.beside("copies"));
        assert!(!contains(&copies, "Canary"), "{mode}");
        assert!(!contains(&copies, "SQLite format"), "{mode}");
        assert!(!contains(&bytes_below(&environments), "Canary"), "{mode}");

        // The same without the extension's VFS shows what would be found.
        let plain = work.beside("plain");
        fs::create_dir(&plain).unwrap();
        let open = format!(".open {}", plain.join("ledger.db").display());
        let copies = copies_of_a_transaction(&open, &plain, mode, &work.beside("plain-copies"));
        assert!(contains(&copies, CANARY), "{mode}");
    }
}

#[test]
fn a_shell_that_is_killed_leaves_what_the_program_can_roll_back() {
    let (work, path) = Work::with_ledger();
    work.exec("CREATE TABLE t (a, b)");
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        "PRAGMA cache_size = 5;",
        "INSERT INTO t SELECT value, zeroblob(500) FROM generate_series(1, 1000);",
        "BEGIN; UPDATE t SET a = -a;",
        ".shell kill -9 $PPID",
    ]);
    assert_eq!(said.out, "");
    let journal = path.with_extension("db-journal");
    assert!(
        fs::metadata(&journal).unwrap().len() > 512,
        "it was in the middle"
    );
    assert_eq!(
        work.query("ledger", "SELECT min(a), count(*) FROM t"),
        "1,1000\n"
    );
    assert!(!journal.exists());
}

#[test]
fn a_sealed_database_is_attached_to_a_plain_one_and_stays_sealed() {
    let (work, path) = Work::with_ledger();
    let plain = work.beside("plain.db");
    let said = shell(&[
        &format!(".open {}", plain.display()),
        &format!("ATTACH '{}' AS sealed;", uri(&path)),
        "BEGIN;",
        "CREATE TABLE public (a);",
        "CREATE TABLE sealed.secret (a);",
        "INSERT INTO public VALUES ('for everyone');",
        &format!("INSERT INTO sealed.secret VALUES ('{CANARY}');"),
        "COMMIT;",
        "SELECT * FROM public, sealed.secret;",
    ]);
    says_nothing_wrong(&said);
    assert_eq!(said.out, format!("for everyone|{CANARY}\n"));
    let beside = bytes_below(&work.beside(""));
    assert!(!contains(&beside, CANARY) && contains(&beside, "for everyone"));
    assert_eq!(
        work.query("ledger", "SELECT * FROM secret"),
        format!("\"{CANARY}\"\n")
    );
}

#[test]
fn a_plain_database_is_attached_to_a_sealed_one_only_when_it_is_said() {
    let (work, path) = Work::with_ledger();
    let plain = work.beside("plain.db");
    let attach = |name: String| format!("ATTACH '{name}' AS plain;");
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        "CREATE TABLE secret (a);",
        &attach(plain.display().to_string()),
        ".print refused",
        &attach(format!("file:{}?vfs=unix", plain.display())),
        "CREATE TABLE plain.public (a); INSERT INTO plain.public VALUES ('for everyone');",
        "SELECT * FROM plain.public;",
    ]);
    assert_eq!(said.out, "refused\nfor everyone\n");
    assert!(said.err.contains("in no working directory"), "{}", said.err);
    assert!(contains(&fs::read(plain).unwrap(), "for everyone"));
}

#[test]
fn another_extension_still_loads_into_a_connection_on_a_sealed_database() {
    let (_work, path) = Work::with_ledger();
    let again = format!(".load {}", crate::work::library().display());
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        &again,
        "SELECT 'still here';",
    ]);
    says_nothing_wrong(&said);
    assert_eq!(said.out, "still here\n");
    // What is no library is refused with the loader's words.
    let said = shell(&[
        &format!(".open {}", uri(&path)),
        ".load /nonexistent",
        "SELECT 1;",
    ]);
    assert!(said.err.contains("/nonexistent"), "{}", said.err);
    assert_eq!(said.out, "1\n");
}
