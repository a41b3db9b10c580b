//! Power cuts while a database is converted in its place. A child does all that `atrest sql protect`,
//! `rekey` and `unprotect` do to a working directory, with ordinary transactions in between; what a disk may
//! hold of the whole directory (the vaults too) after a cut is built from the trace. The database must open
//! there and be what it was; its vault must not take it for an old one; and the conversion must go on to
//! the same end.
//!
//! `ATREST_TEST_CUTS` and `ATREST_TEST_SEED` as in `power_cut.rs`; `ATREST_TEST_CONVERTED=wal-512/300/7`
//! makes one image again.

use std::fs;

use atrest::sqlite::Conversion;
use rayon::prelude::*;

use crate::convert_life::{GOING_ON, LIFE, LIVE, PLANS, Plan, asked, open, open_sql};
use crate::convert_lived::{Converted, DISK};
use crate::disk::Disk;
use crate::life::say;
use crate::power_cut::{all_passed, number};
use crate::recording::Step;

#[test]
fn part_converts() {
    if let Some(life) = asked(LIFE) {
        life.live();
    }
}

/// Opens what a cut left, and goes on with what was under way.
#[test]
fn part_goes_on() {
    let Some(mut life) = asked(GOING_ON) else {
        return;
    };
    life.say_committed();
    life.commit();
    let under_way = open_sql(&open(&life.dir).unwrap()).unwrap().conversion();
    if let Some(which) = under_way.filter(|which| *which != Conversion::None) {
        life.end(which);
    }
    life.commit();
    say("closes");
}

#[test]
fn no_power_cut_while_a_database_is_converted_loses_a_commit_or_the_way_on() {
    let images = number("ATREST_TEST_CUTS", 100) as usize;
    let seed = number("ATREST_TEST_SEED", 1);
    if let Ok(image) = std::env::var("ATREST_TEST_CONVERTED") {
        return one_image(&image);
    }
    let all = of_lives(|life| {
        let swept = life.sweep(images, seed, &DISK)?;
        Ok(swept + life.sweep_names(20, &DISK)?)
    });
    assert!(all >= 400 || std::env::var_os("ATREST_TEST_CUTS").is_some());
}

#[test]
fn no_power_cut_while_an_interrupted_conversion_goes_on_is_worse_than_the_first() {
    let images = number("ATREST_TEST_CUTS", 100) as usize;
    of_lives(|life| life.sweep_going_on(images.div_ceil(20), 20));
}

/// Records the lives, and returns how many images of them passed.
fn of_lives(sweep: impl Fn(&Converted) -> Result<usize, String> + Sync) -> usize {
    let swept = PLANS
        .par_iter()
        .map(|plan| sweep(&Converted::record(*plan)));
    all_passed(swept.collect())
}

/// The checks see it when one file, or the names in the directory, are not synced though the disk says so.
#[test]
fn a_disk_that_lies_about_its_syncs_is_noticed_while_it_is_converted() {
    // The sealed file, and at the end the plain one, are made under the name `db.db.new`.
    let lies: [(&str, &[&str]); 5] = [
        ("delete-512", &["db.db.new"]),
        ("delete-512", &["sql/db.db-journal"]),
        ("delete-512", &["sql"]),
        ("wal-512", &["db.db.new"]),
        ("wal-512", &["sql/db.db-wal"]),
    ];
    lies.par_iter().for_each(|(plan, lies)| {
        let life = Converted::record(Plan::named(plan));
        let disk = Disk { lies, ..DISK };
        let is_named = |step: &Step| matches!(step, Step::Rename(_, to, _) if to == LIVE);
        let begun = life.recording.steps.iter().position(is_named).unwrap();
        let noticed = life.sweep_from(begun, 300, 1, &disk);
        println!("{plan} {lies:?}: {noticed:?}");
        assert!(noticed.is_err(), "{plan} {lies:?}");
    });
}

fn one_image(image: &str) {
    let parts: Vec<_> = image.split('/').collect();
    let [plan, cut, seed] = parts[..] else {
        panic!("PLAN/CUT/SEED")
    };
    let (cut, seed) = (cut.parse().unwrap(), seed.parse().unwrap());
    let converted = Converted::record(Plan::named(plan));
    for (at, step) in converted.recording.steps[..cut].iter().enumerate() {
        println!("{at:5} {}", converted.recording.describe(step));
    }
    println!("allowed: {:?}", converted.allowed(cut));
    let kept = tempfile::tempdir().unwrap().keep();
    let image = converted.recording.image(cut, seed, &DISK);
    for (name, bytes) in &image {
        fs::create_dir_all(kept.join(name).parent().unwrap()).unwrap();
        fs::write(kept.join(name), bytes).unwrap();
    }
    println!("the image is in {}", kept.display());
    converted.try_image(cut, seed, &DISK).unwrap();
}
