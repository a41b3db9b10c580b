//! The main file: pages and their trailers.

use std::fs;

use crate::content::{FORK, FORKED};
use crate::corpus::Entry;
use crate::files::{BLOCK, Files, MAIN, Scratch};
use crate::lives::Life;
use crate::oracle;
use crate::run::old_and_new;

pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut life = Life::new();
    life.take("state_0");
    life.commit();
    life.take("state_1");
    let fork = Scratch::new();
    let path = fork.db();
    fs::copy(life.path(), &path).unwrap();
    let forked = oracle::open(&path).unwrap();
    forked.connect().unwrap().execute_batch(FORK).unwrap();
    life.commit();
    life.take("fork");
    *life.last() = Entry {
        files: Files::copy(&path),
        state: Some(FORKED),
        ..Entry::default()
    };
    life.take("state_2");
    life.commit();
    life.take("state_3");
    let remembered = life.remember();
    life.run("VACUUM");
    life.take("vacuumed");
    life.commit();
    life.take("state_4");
    // Without page 1 it looks like a database that is still empty.
    life.take("cut_before_page_1");
    let cut = life.last();
    cut.files.0[MAIN].as_mut().unwrap().truncate(BLOCK);
    cut.state = None;
    life.entries(remembered)
}

#[test]
fn pages_that_were_altered_moved_or_are_old_never_pass_for_the_newest_state() {
    old_and_new("page", &[MAIN], BLOCK..usize::MAX, &oracle::sealed);
}
