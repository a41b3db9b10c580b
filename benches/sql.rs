//! One round of the SQL workload on one subject, for benches/peers/, which compares with other programs:
//! `SUBJECT ROWS [WORK]` prints seconds, in lines of a name, a tab and a number. SUBJECT is `plain`, or a
//! backend and `kept` or `not-kept`: `aes-gcm/kept`. `atrest bench sql` measures the same work, beside plain SQLite only.
#![allow(clippy::unwrap_used)]

use std::env;
use std::process::exit;
use std::sync::Arc;

use atrest::base::ResourceId;
use atrest::bench::{WORK, work};
use atrest::crypto::{Secret, random_id, select_backend};
use atrest::sqlite::{Freshness, KEY_SLOT_LEN, PageSize, SealedDatabase};
use rusqlite::Connection;

fn main() {
    // Cargo adds `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        [subject, rows] => round(subject, rows, None),
        [subject, rows, work] if WORK.contains(&work) => round(subject, rows, Some(work)),
        _ => None,
    };
    if done.is_none() {
        eprintln!(
            "expected: SUBJECT ROWS [WORK]; WORK is one of: {}",
            WORK.join(", ")
        );
        exit(2);
    }
}

fn round(subject: &str, rows: &str, only: Option<&str>) -> Option<()> {
    let rows = rows.parse().ok()?;
    let freshness = match subject.split_once('/') {
        None if subject == "plain" => None,
        None => return None,
        Some((backend, freshness)) => {
            select_backend(backend.parse().ok()?);
            match freshness {
                "kept" => Some(Freshness::Kept),
                "not-kept" => Some(Freshness::NotKept),
                _ => return None,
            }
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let sealed = freshness.map(|freshness| {
        let file = random_id(ResourceId::from_bytes);
        let key = Arc::new(Secret::<32>::random());
        let (size, slot) = (PageSize::DEFAULT, [0; KEY_SLOT_LEN]);
        SealedDatabase::create(&path, file, size, freshness, &slot, key).unwrap()
    });
    let connect = || match &sealed {
        Some(database) => Ok(database.connect().unwrap()),
        None => Connection::open(&path),
    };
    println!("version\tSQLite {}", rusqlite::version());
    let taken = work(&connect, &path, rows, only, &|| ()).unwrap();
    taken.lines().iter().for_each(|line| println!("{line}"));
    Some(())
}
