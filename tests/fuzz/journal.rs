//! The rollback journal, beside its main file.

use crate::corpus::Entry;
use crate::files::{JOURNAL, MAIN};
use crate::lives::Life;
use crate::oracle;
use crate::run::old_and_new;

pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut life = Life::new();
    life.take("state_0");
    life.take_within("towards_state_1");
    life.conn
        .pragma_update(None, "journal_mode", "persist")
        .unwrap();
    life.take_within("towards_state_2");
    let remembered = life.remember();
    life.take("spent_journal");
    // Free pages are used again.
    life.take_within("towards_state_3");
    life.take_within("towards_state_4");
    life.commit();
    life.take("last_state");
    life.entries(remembered)
}

#[test]
fn a_journal_that_was_altered_or_is_old_never_undoes_a_commit_or_half_a_transaction() {
    old_and_new(
        "journal",
        &[JOURNAL, JOURNAL, JOURNAL, JOURNAL, MAIN],
        0..usize::MAX,
        &oracle::sealed,
    );
}
