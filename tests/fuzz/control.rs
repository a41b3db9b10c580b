//! The control: the same edits and the same oracle on plain SQLite files. Where the sealed ones pass, these
//! must not.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::content::{COMMITS, Content, limit};
use crate::corpus::Entry;
use crate::files::{Files, JOURNAL, Layout, MAIN, PAGE, Scratch, WAL};
use crate::mutate::Aim;
use crate::oracle::{Concluded, Outcome, conclude};
use crate::run::Target;

/// The last state, which is remembered.
const NEWEST: usize = 2;

/// What is taken of a plain database in this mode.
fn entries(mode: &str) -> Vec<Entry> {
    let dir = Scratch::new();
    let path = dir.db();
    let conn = Connection::open(&path).unwrap();
    let sql =
        format!("PRAGMA page_size = {PAGE}; PRAGMA cache_size = 3; PRAGMA wal_autocheckpoint = 0");
    conn.execute_batch(&sql).unwrap();
    conn.pragma_update(None, "journal_mode", mode).unwrap();
    let mut taken = Vec::new();
    let mut take = || {
        let (files, remembered) = (Files::copy(&path), Some((NEWEST, [0; 80])));
        taken.push(Entry {
            files,
            remembered,
            ..Entry::default()
        });
    };
    for commit in &COMMITS[..=NEWEST] {
        conn.execute_batch("BEGIN").unwrap();
        conn.execute_batch(commit).unwrap();
        conn.cache_flush().unwrap();
        take();
        conn.execute_batch("COMMIT").unwrap();
        take();
    }
    taken
}

/// Plain SQLite verifies nothing and remembers nothing: to it, all is whole and fresh.
fn judge(entry: &Entry, path: &Path) -> Result<Outcome, String> {
    entry.files.place(path);
    let look = || {
        let mut conn = Connection::open(path).unwrap();
        limit(&mut conn).unwrap();
        (true, Content::read(&conn).ok())
    };
    let looks = [look(), look()];
    Ok(match conclude(entry, Some(NEWEST), &looks)? {
        Concluded::Outcome(outcome) => outcome,
        Concluded::State(_) => Outcome::New,
    })
}

fn faults(mode: &str, files: &'static [usize]) -> BTreeSet<&'static str> {
    let target = Target {
        name: "control",
        aim: Aim {
            layout: Layout::Plain,
            files,
            within: 0..usize::MAX,
            forge: false,
        },
        share: 1,
        judge: &judge,
    };
    let faults = target.faults(&entries(mode), 500);
    let kinds = ["nobody wrote", "read as no state", "passes for state"];
    let found = |kind: &&&str| faults.iter().any(|fault| fault.contains(**kind));
    kinds.iter().filter(found).copied().collect()
}

#[test]
fn an_oracle_that_finds_nothing_is_no_oracle_and_it_finds_what_plain_files_let_pass() {
    let all = ["nobody wrote", "read as no state", "passes for state"];
    assert_eq!(faults("delete", &[MAIN]), all.into());
    assert_eq!(faults("delete", &[JOURNAL, MAIN]), all.into());
    assert!(faults("wal", &[WAL]).contains("passes for state"));
}
