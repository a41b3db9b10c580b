//! One round of the workload on one subject, `SUBJECT ROWS [WORK]`: seconds, in lines of a name, a tab and a
//! number. Keys are raw, so that none is derived in the time that is measured.

#[path = "../../../src/bench/workload.rs"]
mod workload;

use std::env;
use std::process::exit;

use rusqlite::Connection;

use workload::WORK;

/// 32 bytes; what they are does not matter to the time.
const KEY: &str = "2f7b0c6d9e81a4533c1df08b72e6459a0b94d6cf183e75a2609c47e1d85bf302";

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let subject = args.first().map_or("", String::as_str);
    let settings = match subject {
        "plain" => String::new(),
        "sqlcipher" => format!("PRAGMA key = \"x'{KEY}'\";"),
        "chacha20" | "aegis" => format!("PRAGMA cipher = {subject}; PRAGMA key = 'raw:{KEY}';"),
        _ => {
            eprintln!("expected: plain|sqlcipher|chacha20|aegis [ROWS [WORK]]");
            exit(2);
        }
    };
    let rows = args
        .get(1)
        .map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    let work = args.get(2).map(String::as_str);
    assert!(
        work.is_none_or(|work| WORK.contains(&work)),
        "one of {WORK:?}"
    );

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let connect = || {
        let connection = Connection::open(&path)?;
        connection.execute_batch(&settings)?;
        Ok(connection)
    };
    println!("version\t{}", version(&connect().unwrap()));
    let taken = workload::run(&connect, &path, rows, work, &|| ()).unwrap();
    // A plain file, made by a build that has no cipher, would otherwise be measured as a fast one.
    let plain = std::fs::read(&path)
        .unwrap()
        .starts_with(b"SQLite format 3\0");
    assert_eq!(
        plain,
        subject == "plain",
        "the cipher is not what was asked for"
    );
    taken.lines().iter().for_each(|line| println!("{line}"));
}

/// Of SQLite and of the program that encrypts.
fn version(connection: &Connection) -> String {
    let ask = |sql: &str| {
        let answer = connection.query_row(sql, (), |row| row.get::<_, String>(0));
        answer.map_or(String::new(), |version| format!(", {version}"))
    };
    let name = match cfg!(feature = "sqlcipher") {
        true => ask("PRAGMA cipher_version").replace(", ", ", SQLCipher "),
        false => ask("SELECT sqlite3mc_version()"),
    };
    format!(
        "SQLite {}{name}{}",
        rusqlite::version(),
        ask("PRAGMA cipher_provider_version")
    )
}
