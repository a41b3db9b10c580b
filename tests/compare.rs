//! The lab's attacks on other people's formats: what comes out is decided by what opens, reads and
//! verifies them, and the comparison can say the opposite of what one hopes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use atrest::lab::compare::{ComparedAttack, Ours, Plain, SqlCipher, Target, compare};
use atrest::lab::{Tally, Verdict};

fn plain(dir: &Path, name: &str) -> Plain {
    Plain {
        path: dir.join(name),
    }
}

/// The verdict of the attack of which `what` tells, on the target in this column.
fn verdict(all: &[ComparedAttack], what: &str, column: usize) -> Verdict {
    let attack = all.iter().find(|a| a.what.contains(what));
    attack.unwrap().results[column].verdict
}

#[test]
fn what_a_plain_database_falls_to_is_stopped_by_a_sealed_one_and_by_no_second_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    let (control, second) = (plain(dir.path(), "a.db"), plain(dir.path(), "b.db"));
    let ours = Ours::create(dir.path()).unwrap();
    let all = compare(&[&control, &second, &ours], 1).unwrap();
    let mut fell = 0;
    for attack in &all {
        let [control, second, ours] = &attack.results[..] else {
            panic!("three targets, three results");
        };
        assert_eq!(control.tally, second.tally, "the same choices for each");
        assert!(control.verdict != Verdict::Holds && second.verdict != Verdict::Holds);
        if control.verdict == Verdict::Fails {
            fell += 1;
            assert_eq!(
                ours.verdict,
                Verdict::Holds,
                "{}: {}",
                attack.what,
                ours.seen
            );
        }
        let Tally {
            trials,
            refused,
            harmless,
            succeeded,
        } = ours.tally;
        assert!(trials > 0 && succeeded == 0, "{}", attack.what);
        assert!(trials >= refused + harmless);
    }
    for journal in [
        "its rollback journal",
        "with the journal that it had",
        "the journal of a transaction under way",
        "an old rollback journal",
    ] {
        assert_eq!(verdict(&all, journal, 0), Verdict::Fails, "{journal}");
    }
    assert!(
        fell >= 15,
        "the plain database falls to nearly all: {all:#?}"
    );
}

/// Only what SQLCipher itself promises is expected of it; the rest is for the table to say.
#[test]
fn another_programs_format_is_judged_by_what_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let cipher = match SqlCipher::find(dir.path().join("c.db")) {
        Ok(cipher) => cipher,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    assert!(cipher.version().starts_with("SQLCipher"));
    let all = compare(&[&plain(dir.path(), "a.db"), &cipher], 1).unwrap();
    assert!(all.iter().all(|attack| attack.results[1].tally.trials > 0));
    for promised in [
        "without a key",
        "search its bytes for known texts",
        "search its write-ahead log for known texts",
        "search its rollback journal for known texts",
        "anything but noise",
        "flip bits",
    ] {
        assert_eq!(verdict(&all, promised, 1), Verdict::Holds, "{promised}");
    }
}
