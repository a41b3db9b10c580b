//! Runs a target: its corpus first, then cases of a seed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use rusqlite::Connection;

use crate::corpus::{self, Entry};
use crate::files::{Layout, Scratch};
use crate::mutate::{Aim, Case, case};
use crate::oracle::Outcome;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What Rust's side and SQLite's take at most, in bytes, all targets together. Lengths that a file claims
/// go up to 2^32 and more.
const MOST_MEMORY: usize = 64 << 20;

/// A fuzz target.
pub struct Target<'a> {
    pub name: &'static str,
    pub aim: Aim,
    /// By how much the number of cases is multiplied.
    pub share: u64,
    /// Judges an input, whose files may be placed at a path; an error is a fault of the program.
    pub judge: &'a dyn Fn(&Entry, &Path) -> Result<Outcome, String>,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |n| n.parse().unwrap())
}

/// Runs a target that alters `within` of these files of a sealed database, also inside the units, and in
/// which old states must come up as well as the newest.
pub fn old_and_new(
    name: &'static str,
    files: &'static [usize],
    within: Range<usize>,
    judge: &dyn Fn(&Entry, &Path) -> Result<Outcome, String>,
) {
    let target = Target {
        name,
        aim: Aim {
            layout: Layout::Sealed,
            files,
            within,
            forge: true,
        },
        share: 1,
        judge,
    };
    let seen = target.run();
    assert!(seen.contains_key(&Outcome::Old) && seen.contains_key(&Outcome::New));
}

impl Target<'_> {
    pub fn corpus(&self) -> Vec<(String, Entry)> {
        corpus::load(self.name)
    }

    /// Returns what came of the inputs, which `--nocapture` shows.
    ///
    /// # Panics
    /// With the first fault that is found.
    pub fn run(&self) -> BTreeMap<Outcome, u64> {
        let limit = Connection::open_in_memory().unwrap();
        let limited = limit.pragma_update(None, "hard_heap_limit", MOST_MEMORY as i64);
        limited.unwrap();
        let dir = Scratch::new();
        let path = dir.db();
        let mut seen = BTreeMap::new();
        let mut count = |outcome| *seen.entry(outcome).or_insert(0) += 1;
        let corpus = self.corpus();
        for (name, entry) in &corpus {
            count(self.replay(name, entry, &path));
        }
        let entries: Vec<_> = corpus.into_iter().map(|(_, entry)| entry).collect();
        let seed = number("ATREST_TEST_SEED", 1);
        for at in 0..number("ATREST_TEST_FUZZ", 1500) * self.share {
            self.one(&entries, seed, at, &path).map(&mut count);
        }
        println!("{}: {seen:?}", self.name);
        seen
    }

    /// An entry of the corpus gives what its head says.
    fn replay(&self, name: &str, entry: &Entry, path: &Path) -> Outcome {
        let judged = self.judge(entry, path);
        let outcome = judged.unwrap_or_else(|fault| panic!("{} {name}: {fault}", self.name));
        if let Some(state) = entry.state {
            let known = entry.remembered.as_ref().map(|(newest, _)| {
                let is_newer = (*newest..crate::content::FORKED).contains(&state);
                if is_newer { Outcome::New } else { Outcome::Old }
            });
            assert_eq!(
                known.unwrap_or(Outcome::Old),
                outcome,
                "{} {name}",
                self.name
            );
        }
        outcome
    }

    fn one(&self, entries: &[Entry], seed: u64, at: u64, path: &Path) -> Option<Outcome> {
        let (mut runner, tree) = self.tree(seed, at);
        let outcome = Cell::new(None);
        let tried = runner.run_one(tree, |case| {
            let judged = self.judge(&case.apply(&self.aim, entries), path);
            outcome.set(Some(judged.map_err(TestCaseError::fail)?));
            Ok(())
        });
        if let Err(TestError::Fail(fault, case)) = tried {
            let input = case.apply(&self.aim, entries).to_bytes();
            let kept = kept(&format!("{}-{seed}-{at}", self.name));
            fs::write(&kept, input).unwrap();
            panic!(
                "{}, seed {seed}, case {at}: {fault}\n{case:?}\nThe input is {}; put it into tests/fuzz/corpus/{}",
                self.name,
                kept.display(),
                self.name,
            );
        }
        outcome.get()
    }

    /// A case, which the seed and its number give.
    fn tree(&self, seed: u64, at: u64) -> (TestRunner, impl ValueTree<Value = Case>) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&at.to_le_bytes());
        bytes[16..16 + self.name.len()].copy_from_slice(self.name.as_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config {
            failure_persistence: None,
            max_shrink_iters: 500,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let tree = case(&self.aim).new_tree(&mut runner).unwrap();
        (runner, tree)
    }

    /// The faults in so many cases, none of which is made smaller: for a control.
    pub fn faults(&self, entries: &[Entry], cases: u64) -> Vec<String> {
        let dir = Scratch::new();
        let path = dir.db();
        let cases = (0..cases).map(|at| self.tree(1, at).1.current());
        let judged = cases.map(|case| (self.judge)(&case.apply(&self.aim, entries), &path));
        judged.filter_map(Result::err).collect()
    }

    /// The input is on the disk before it is judged: a panic below SQLite ends the process.
    fn judge(&self, entry: &Entry, path: &Path) -> Result<Outcome, String> {
        let running = kept(&format!("{}-running-{}", self.name, std::process::id()));
        fs::write(&running, entry.to_bytes()).unwrap();
        MEMORY.reset_peak_usage();
        let judged = catch_unwind(AssertUnwindSafe(|| (self.judge)(entry, path)));
        let judged = judged.unwrap_or_else(|_| Err("a panic".to_owned()));
        fs::remove_file(running).unwrap();
        match MEMORY.peak_usage() {
            taken if taken > MOST_MEMORY => Err(format!("{taken} bytes of memory")),
            _ => judged,
        }
    }
}

/// Where an input is kept, under the directory of the build.
fn kept(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}
