use std::fs;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::logs::{self, Beside, LeftStates};
use super::{Compared, ComparedAttack, NoKey, Target, compared};
use crate::lab::{CanarySet, Control, Evidence, LabError, PAGE, Searcher, scan_copy};

/// A piece of the data that must not be found in the file.
pub(super) const CANARY: &str = "PAYROLL-7f3a91-CANARY, Kim Akers";
/// How many pages, and how many bytes, are tried of each kind of alteration.
const PAGES: usize = 8;
const FLIPS: usize = 48;

/// A database in its states: as it was, and as two owners went on with it, each from there.
pub(super) struct States {
    old: Vec<u8>,
    fork: Vec<u8>,
    live: Vec<u8>,
    /// What reading the live state gives.
    truth: String,
    /// The same database later, with a write-ahead log; and with a rollback journal.
    logs: LeftStates,
    journals: LeftStates,
}

/// Runs the attacks on each target. The first is the plain one, and the control of all: an attack that
/// it withstands proves nothing about the others.
///
/// # Errors
/// A target that cannot be set up, in its own words.
pub fn compare(targets: &[&dyn Target], seed: u64) -> Result<Vec<ComparedAttack>, LabError> {
    type Run = fn(&dyn Target, &States, &mut ChaCha8Rng) -> Result<Evidence, LabError>;
    const ATTACKS: [(u8, &str, Run); 16] = [
        (
            1,
            "open it without a key, and with a wrong one",
            without_key,
        ),
        (2, "search its bytes for known texts", search),
        (
            2,
            "search its write-ahead log for known texts",
            |target, states, _| logs::search(target, &states.logs),
        ),
        (
            2,
            "search its rollback journal for known texts",
            |target, states, _| logs::search(target, &states.journals),
        ),
        (2, "look for anything but noise", statistics),
        (4, "put one old page back", old_page),
        (5, "put the whole old file back", old_file),
        (
            5,
            "put the whole old file back, with the log that it had",
            |target, states, _| logs::old_file(target, &states.logs),
        ),
        (
            5,
            "put the whole old file back, with the journal that it had",
            |target, states, _| logs::old_file(target, &states.journals),
        ),
        (
            6,
            "put a page of a fork of it in, same key, same place",
            fork_page,
        ),
        (7, "swap pages, flip bits, zero a page", alter),
        (8, "cut the last page off, append pages", cut),
        (
            9,
            "cut, delete, reorder, alter its write-ahead log",
            |target, states, rng| logs::alter(target, &states.logs, rng),
        ),
        (
            9,
            "put an old write-ahead log beside it",
            |target, states, _| logs::old_beside(target, &states.logs),
        ),
        (
            10,
            "cut, delete, reorder, alter the journal of a transaction under way",
            |target, states, rng| logs::alter(target, &states.journals, rng),
        ),
        (
            10,
            "put an old rollback journal beside it",
            |target, states, _| logs::old_beside(target, &states.journals),
        ),
    ];
    let mut states = Vec::new();
    for target in targets {
        states.push(set_up(*target)?);
    }
    let mut all = Vec::new();
    for (number, what, run) in ATTACKS {
        let (mut results, mut control) = (Vec::<Compared>::new(), None);
        for (target, states) in targets.iter().zip(&states) {
            // The same choices for every target.
            let mut evidence = run(*target, states, &mut ChaCha8Rng::seed_from_u64(seed))?;
            logs::place(*target, &states.live, None)?;
            target.remember().map_err(failed(*target))?;
            let own = || Control {
                fired: evidence.tally.succeeded > 0,
                summary: evidence.summary.clone(),
                tally: evidence.tally,
            };
            let control = control.get_or_insert_with(own).clone();
            evidence.control = Some(control);
            results.push(compared(*target, evidence));
        }
        all.push(ComparedAttack {
            number,
            what,
            results,
        });
    }
    Ok(all)
}

fn set_up(target: &dyn Target) -> Result<States, LabError> {
    let failed = failed(target);
    let rows = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, memo TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
         FROM n WHERE i < 600) INSERT INTO t SELECT i, 'A ' || '{CANARY}, posting ' || (i * 7919) || \
         substr('.........................................', 1, 40 - length(i * 7919)) FROM n;"
    );
    let change = |to: &str| format!("UPDATE t SET memo = '{to} ' || substr(memo, 3);");
    target.exec(&rows).map_err(&failed)?;
    let old = bytes(target)?;
    target.exec(&change("B")).map_err(&failed)?;
    let fork = bytes(target)?;
    put(target, &old)?;
    target.accept().map_err(&failed)?;
    target.exec(&change("C")).map_err(&failed)?;
    let truth = target
        .read()
        .and_then(|rows| target.verify().map(|()| rows));
    let (live, truth) = (bytes(target)?, truth.map_err(&failed)?);
    let logs = LeftStates::of(target, Beside::Log)?;
    logs::place(target, &live, None)?;
    target.remember().map_err(&failed)?;
    let journals = LeftStates::of(target, Beside::Journal)?;
    logs::place(target, &live, None)?;
    target.remember().map_err(&failed)?;
    Ok(States {
        old,
        fork,
        live,
        truth,
        logs,
        journals,
    })
}

fn failed(target: &dyn Target) -> impl Fn(String) -> LabError {
    let name = target.name();
    move |e| LabError::Report(format!("{name}: {e}"))
}

fn bytes(target: &dyn Target) -> Result<Vec<u8>, LabError> {
    fs::read(target.file()).map_err(|e| LabError::io(&target.file(), e))
}

/// Puts the file's bytes in place. What lies beside it stays.
pub(super) fn put(target: &dyn Target, bytes: &[u8]) -> Result<(), LabError> {
    let file = target.file();
    fs::write(&file, bytes).map_err(|e| LabError::io(&file, e))
}

/// Puts altered bytes in place and reads and verifies them as the owner, with the key.
fn trial(
    target: &dyn Target,
    states: &States,
    altered: &[u8],
    evidence: &mut Evidence,
) -> Result<(), LabError> {
    put(target, altered)?;
    judge(target, &states.truth, evidence);
    Ok(())
}

/// Reads and verifies what is in place, as the owner, with the key, and counts what comes out.
pub(super) fn judge(target: &dyn Target, truth: &str, evidence: &mut Evidence) {
    let seen = target
        .read()
        .and_then(|rows| target.verify().map(|()| rows));
    let tally = &mut evidence.tally;
    tally.trials += 1;
    match seen {
        Err(error) => {
            tally.refused += 1;
            evidence.error(error);
        }
        Ok(rows) if rows == truth => tally.harmless += 1,
        Ok(_) => tally.succeeded += 1,
    }
}

pub(super) fn told(mut evidence: Evidence) -> Evidence {
    let t = evidence.tally;
    evidence.summary = format!(
        "{} tried: {} refused, {} without effect, {} taken for right",
        t.trials, t.refused, t.harmless, t.succeeded
    );
    evidence
}

fn without_key(
    target: &dyn Target,
    states: &States,
    _: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    for key in [NoKey::None, NoKey::Wrong] {
        let tally = &mut evidence.tally;
        tally.trials += 1;
        match target.read_without(key) {
            Ok(rows) if rows == states.truth => tally.succeeded += 1,
            Ok(_) => tally.harmless += 1,
            Err(error) => {
                tally.refused += 1;
                evidence.error(error);
            }
        }
    }
    let t = evidence.tally;
    evidence.summary = format!(
        "{} tried: {} refused, {} read",
        t.trials, t.refused, t.succeeded
    );
    Ok(evidence)
}

fn search(target: &dyn Target, _: &States, _: &mut ChaCha8Rng) -> Result<Evidence, LabError> {
    let mut canaries = CanarySet::default();
    canaries.plant([CANARY]);
    let figures = scan_copy(&target.file(), &Searcher::new(&canaries)?, &|_| ())?;
    let mut evidence = Evidence::of(format!("{} found", figures.canary_hits));
    evidence.tally.trials = 1;
    evidence.tally.succeeded = u64::from(figures.canary_hits > 0);
    Ok(evidence)
}

fn statistics(target: &dyn Target, _: &States, _: &mut ChaCha8Rng) -> Result<Evidence, LabError> {
    let figures = scan_copy(
        &target.file(),
        &Searcher::new(&CanarySet::default())?,
        &|_| (),
    )?;
    let alarms = figures.alarms();
    let mut evidence = Evidence::of(match alarms.is_empty() {
        true => "no detector raises an alarm".to_owned(),
        false => format!("alarms: {}", alarms.join(", ")),
    });
    evidence.tally.trials = 1;
    evidence.tally.succeeded = u64::from(!alarms.is_empty());
    Ok(evidence)
}

/// Each of some pages replaced by what `other` has in the same place.
fn replaced(
    target: &dyn Target,
    states: &States,
    other: &[u8],
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    for at in some_pages(target, states, rng) {
        let Some(page) = other.get(at..at + PAGE) else {
            continue;
        };
        if page != &states.live[at..at + PAGE] {
            let mut altered = states.live.clone();
            altered[at..at + PAGE].copy_from_slice(page);
            trial(target, states, &altered, &mut evidence)?;
        }
    }
    Ok(told(evidence))
}

/// Where some pages begin; never the first one, which holds the schema.
fn some_pages(target: &dyn Target, states: &States, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let first = target.header_len() + PAGE;
    let all: Vec<usize> = (first..states.live.len().saturating_sub(PAGE - 1))
        .step_by(PAGE)
        .collect();
    all.sample(rng, PAGES).copied().collect()
}

fn old_page(
    target: &dyn Target,
    states: &States,
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    replaced(target, states, &states.old, rng)
}

fn fork_page(
    target: &dyn Target,
    states: &States,
    rng: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    replaced(target, states, &states.fork, rng)
}

fn old_file(
    target: &dyn Target,
    states: &States,
    _: &mut ChaCha8Rng,
) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    trial(target, states, &states.old, &mut evidence)?;
    Ok(told(evidence))
}

fn alter(target: &dyn Target, states: &States, rng: &mut ChaCha8Rng) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    let pages = some_pages(target, states, rng);
    for pair in pages.chunks_exact(2) {
        let mut altered = states.live.clone();
        altered[pair[0]..pair[0] + PAGE].copy_from_slice(&states.live[pair[1]..pair[1] + PAGE]);
        altered[pair[1]..pair[1] + PAGE].copy_from_slice(&states.live[pair[0]..pair[0] + PAGE]);
        trial(target, states, &altered, &mut evidence)?;
    }
    for at in pages {
        let mut altered = states.live.clone();
        altered[at..at + PAGE].fill(0);
        trial(target, states, &altered, &mut evidence)?;
    }
    for _ in 0..FLIPS {
        let mut altered = states.live.clone();
        let at = rng.random_range(target.header_len()..altered.len());
        altered[at] ^= 1 << rng.random_range(0..8);
        trial(target, states, &altered, &mut evidence)?;
    }
    Ok(told(evidence))
}

fn cut(target: &dyn Target, states: &States, _: &mut ChaCha8Rng) -> Result<Evidence, LabError> {
    let mut evidence = Evidence::default();
    let live = &states.live;
    let last = &live[live.len() - PAGE..];
    for altered in [
        live[..live.len() - PAGE].to_vec(),
        [live, last].concat(),
        [&live[..], &[0; PAGE]].concat(),
    ] {
        trial(target, states, &altered, &mut evidence)?;
    }
    Ok(told(evidence))
}
