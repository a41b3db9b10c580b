//! What `vfs=atrest` must not open, or not show.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::work::{Said, Work, shell, uri};

/// What the shell says of the database with this URI, which it must not open.
fn refused(uri: &str) -> String {
    let Said { out, err } = shell(&[&format!(".open '{uri}'"), "SELECT count(*) FROM t;"]);
    assert_eq!(out, "", "{uri}");
    err
}

#[test]
fn a_plain_file_is_never_passed_through_as_if_it_were_sealed() {
    let (work, path) = Work::with_ledger();
    let content = "CREATE TABLE t (a); INSERT INTO t VALUES (1)";
    work.exec(content);
    work.ok(&["sql", "create", "twin", "--plain"]);
    work.ok(&["sql", "exec", "twin", content]);
    let twin = work.sql("twin");
    let stray = work.sql("stray");
    let outside = work.beside("outside.db");
    fs::copy(&twin, &stray).unwrap();
    fs::copy(&twin, &outside).unwrap();
    // Each is a good database, for who opens it as what it is.
    for plain in [&twin, &stray, &outside] {
        let said = shell(&[&format!(".open {}", plain.display()), "SELECT a FROM t;"]);
        assert_eq!((said.out.as_str(), said.err.as_str()), ("1\n", ""));
    }
    for (plain, why, code) in [
        (&twin, "not protected", "file is not a database"),
        (
            &stray,
            "no SQL database of the working directory",
            "unable to open",
        ),
        (&outside, "in no working directory", "unable to open"),
    ] {
        let said = refused(&uri(plain));
        assert!(said.contains(why) && said.contains(code), "{said}");
    }
    let said = shell(&[&format!(".open {}", uri(&path)), "SELECT a FROM t;"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("1\n", ""));
    // Somebody puts a plain file in the sealed one's place.
    fs::copy(&twin, &path).unwrap();
    let said = refused(&uri(&path));
    assert!(said.contains("not a sealed SQLite file"), "{said}");
    assert!(said.contains("file is not a database"), "{said}");
}

#[test]
fn a_database_that_is_not_there_is_not_made() {
    let (work, path) = Work::with_ledger();
    let missing = work.sql("missing");
    refused(&uri(&missing));
    assert!(!missing.exists());
    // Listed, but its file is gone.
    fs::remove_file(&path).unwrap();
    refused(&uri(&path));
    assert!(!path.exists());
}

#[test]
fn a_number_in_the_uri_does_not_lead_to_the_vaults_own_file() {
    let (work, path) = Work::with_ledger();
    let vault = work.dir().join("customer/vault.db");
    assert!(vault.exists());
    for token in 0..20 {
        let said = shell(&[
            // The vault is open in this process while the ledger is.
            &format!(".open {}", uri(&path)),
            "SELECT 'open';",
            &format!("ATTACH '{}&atrest={token}' AS vault;", uri(&vault)),
            "SELECT count(*) FROM vault.sqlite_schema;",
        ]);
        assert_eq!(said.out, "open\n", "{token}");
        assert!(said.err.contains("no SQL database"), "{}", said.err);
    }
}

#[test]
fn an_altered_page_is_not_shown() {
    let (work, path) = Work::with_ledger();
    let content = "CREATE TABLE t (a); INSERT INTO t VALUES (1)";
    work.exec(content);
    let lines = [&format!(".open {}", uri(&path)), "SELECT a FROM t;"];
    assert_eq!(shell(&lines).out, "1\n");
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let at = 4096 + 2 * 4096 - 100;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    let said = shell(&lines);
    assert_eq!(said.out, "");
    assert!(said.err.contains("not authentic"), "{}", said.err);
    file.write_all_at(&byte, at).unwrap();
    assert_eq!(shell(&lines).out, "1\n");
}

/// What the shell commits is told to the vault as what the program commits is.
#[test]
fn an_older_copy_put_back_is_refused_also_when_only_the_shell_wrote() {
    let (work, path) = Work::with_ledger();
    let open = format!(".open {}", uri(&path));
    let say = |sql: &str| shell(&[&open, sql]);
    say("CREATE TABLE t (a); INSERT INTO t VALUES (1);");
    let older = fs::read(&path).unwrap();
    say("INSERT INTO t VALUES (2);");
    let newer = fs::read(&path).unwrap();
    fs::write(&path, older).unwrap();
    let said = say("SELECT count(*) FROM t;");
    assert_eq!(said.out, "");
    assert!(said.err.contains("not fresh"), "{}", said.err);
    assert!(!work.atrest(&["sql", "verify", "ledger"]).status.success());
    fs::write(&path, newer).unwrap();
    assert_eq!(say("SELECT count(*) FROM t;").out, "2\n");
}
