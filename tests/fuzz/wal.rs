//! The write-ahead log, beside its main file.

use crate::content::{Content, FORK, FORKED};
use crate::corpus::Entry;
use crate::files::{Files, MAIN, Scratch, WAL};
use crate::lives::Life;
use crate::oracle;
use crate::run::old_and_new;

pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut life = Life::new();
    life.conn
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    life.commit();
    life.take("one_commit");
    // A copy goes on in a way of its own, in a log of the same generation.
    let copy = Scratch::new();
    life.last().files.place(&copy.db());
    let forked = oracle::open(&copy.db()).unwrap().connect().unwrap();
    forked.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    forked.execute_batch(FORK).unwrap();
    life.take("fork");
    *life.last() = Entry {
        files: Files::copy(&copy.db()),
        state: Some(FORKED),
        ..Entry::default()
    };
    life.commit();
    // A reader keeps the checkpoint from copying more than this.
    let reader = life.db.connect().unwrap();
    reader.execute_batch("BEGIN").unwrap();
    Content::read(&reader).unwrap();
    life.commit();
    life.take("three_commits");
    life.run("PRAGMA wal_checkpoint(PASSIVE)");
    life.take("copied_in_part");
    reader.execute_batch("COMMIT").unwrap();
    life.run("PRAGMA wal_checkpoint(PASSIVE)");
    life.take("copied");
    // The log begins anew, over frames of the one before.
    life.commit();
    life.take("begun_anew");
    let remembered = life.remember();
    life.commit();
    life.take("newer_than_remembered");
    drop(reader);
    life.entries(remembered)
}

#[test]
fn a_log_that_was_altered_gives_up_commits_from_its_end_and_only_to_a_reader_that_remembers_nothing()
 {
    old_and_new(
        "wal",
        &[WAL, WAL, WAL, WAL, MAIN],
        0..usize::MAX,
        &oracle::sealed,
    );
}
