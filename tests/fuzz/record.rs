//! Freshness records, which lie in the header block.

use crate::corpus::Entry;
use crate::files::{BLOCK, JOURNAL, MAIN};
use crate::lives::Life;
use crate::oracle;
use crate::run::old_and_new;

pub fn entries() -> Vec<(&'static str, Entry)> {
    let mut life = Life::new();
    life.take("state_0");
    life.commit();
    life.take("state_1");
    let remembered = life.remember();
    life.take_within("towards_state_2");
    life.take("state_2");
    // What a cut leaves when the journal is gone before the last record is written.
    life.take_within("without_its_journal");
    let open = life.last();
    open.files.0[JOURNAL] = None;
    open.state = None;
    life.db.renew_freshness(1000).unwrap();
    life.take("renewed");
    life.entries(remembered)
}

#[test]
fn a_record_that_was_altered_or_put_back_never_makes_old_pages_the_newest() {
    old_and_new("record", &[MAIN], 0..BLOCK, &oracle::sealed);
}
