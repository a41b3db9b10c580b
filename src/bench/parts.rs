//! Adding up: one operation as a whole and in parts, in turn, until it is known whether the parts make the whole.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::base::{Part, Recorded, record, within};

use super::results::Interval;
use super::{BenchError, stats};

/// How far the parts may be from the whole.
const ADDS_UP: f64 = 0.10;
/// Rounds are taken until the sum is known this well, as a part of the whole.
const STEADY: f64 = 0.02;

/// One part of an operation.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// What is done.
    pub part: String,
    /// How long, in nanoseconds, for one operation.
    pub ns: f64,
    /// How often in one operation.
    pub times: f64,
}

/// Whether the parts are the whole, within a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddsUp {
    /// They are: all of the sum's interval lies there.
    Yes,
    /// They are not: all of it lies elsewhere.
    No,
    /// The machine was too disturbed to tell.
    NotKnown,
}

impl AddsUp {
    /// Of the sum as a part of the whole.
    fn of(sum: Interval) -> Self {
        let bounds = 1.0 - ADDS_UP..=1.0 + ADDS_UP;
        if bounds.contains(&sum.low) && bounds.contains(&sum.high) {
            Self::Yes
        } else if sum.high < *bounds.start() || sum.low > *bounds.end() {
            Self::No
        } else {
            Self::NotKnown
        }
    }
}

/// A whole and its parts.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// What was done.
    pub operation: String,
    /// The time of one (mean of the middle half of the rounds), measured without a look inside, in nanoseconds.
    pub whole_ns: f64,
    /// Its parts, the largest first.
    pub parts: Vec<Share>,
    /// Their sum.
    pub sum_ns: f64,
    /// Their sum as a part of the whole.
    pub of_whole: Interval,
    /// Whether that is all of it.
    pub adds_up: AddsUp,
    /// Rounds that were taken.
    pub rounds: usize,
    /// What has to be known to read it.
    pub notes: Vec<String>,
}

/// What one round found.
pub(super) struct Round {
    /// Nanoseconds of all its operations, measured without a look inside.
    pub whole: f64,
    /// As many with a look inside.
    pub recorded: Recorded,
    /// Nanoseconds of a part of theirs that cannot be looked into, and is measured beside.
    pub beside: f64,
}

/// Rounds of so many operations.
pub(super) struct Rounds {
    taken: Vec<Round>,
    operations: f64,
    /// What it costs to look, in nanoseconds, once in each round.
    looks: Vec<f64>,
}

impl Rounds {
    /// Takes rounds: `least` of them, and then until the sum of the parts is known well or `most` is over. The one
    /// before them, which is thrown away, warms up. `round` is told its number.
    pub(super) fn take(
        operations: u32,
        least: usize,
        most: Duration,
        mut round: impl FnMut(usize) -> Result<Round, BenchError>,
    ) -> Result<Self, BenchError> {
        let begun = Instant::now();
        let mut rounds = Self {
            taken: vec![],
            operations: f64::from(operations),
            looks: vec![],
        };
        round(0)?;
        loop {
            rounds.taken.push(round(rounds.taken.len())?);
            rounds.looks.push(cost_of_a_look());
            let enough = rounds.taken.len() >= least;
            if enough && (begun.elapsed() > most || rounds.of_whole().spread() <= STEADY) {
                return Ok(rounds);
            }
        }
    }

    /// What the looks of a round cost is not the operation's.
    fn sums(&self) -> Vec<f64> {
        let look = stats::median(&self.looks);
        let sum = |round: &Round| {
            let looks = round.recorded.counts.iter().sum::<u64>() as f64;
            let times = round.recorded.times.iter().sum::<Duration>();
            times.as_nanos() as f64 - looks * look + round.beside
        };
        self.taken.iter().map(sum).collect()
    }

    fn wholes(&self) -> Vec<f64> {
        self.taken.iter().map(|round| round.whole).collect()
    }

    /// The sum of the parts as a part of the whole.
    fn of_whole(&self) -> Interval {
        stats::of_paired_middles(&self.sums(), &self.wholes())
    }

    /// The mean of each part over the middle half of the rounds, by their sums: medians of parts would not add up.
    fn parts(&self, beside: &str) -> Vec<Share> {
        let sums = self.sums();
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|&a, &b| sums[a].total_cmp(&sums[b]));
        let middle = stats::middle_half(&order);
        let look = stats::median(&self.looks);
        let mean = |of: &dyn Fn(&Round) -> f64| {
            let sum: f64 = middle.iter().map(|&at| of(&self.taken[at])).sum();
            sum / middle.len() as f64 / self.operations
        };
        let mut parts = vec![Share {
            part: beside.to_owned(),
            ns: mean(&|round| round.beside),
            times: 1.0,
        }];
        parts.extend(Part::ALL.into_iter().map(|part| {
            let times = mean(&|round| round.recorded.counts[part as usize] as f64);
            let ns = mean(&|round| round.recorded.times[part as usize].as_nanos() as f64);
            Share {
                part: name(part).to_owned(),
                ns: (ns - times * look).max(0.0),
                times,
            }
        }));
        parts.retain(|share| share.ns > 0.0);
        parts.sort_by(|a, b| b.ns.total_cmp(&a.ns));
        parts
    }

    /// What came of it; `beside` is the name of the part that was measured beside.
    pub(super) fn explained(
        &self,
        operation: String,
        beside: &str,
        notes: Vec<String>,
    ) -> Explained {
        let parts = self.parts(beside);
        let of_whole = self.of_whole();
        Explained {
            operation,
            whole_ns: stats::middle(&self.wholes()) / self.operations,
            sum_ns: parts.iter().map(|share| share.ns).sum(),
            parts,
            of_whole,
            adds_up: AddsUp::of(of_whole),
            rounds: self.taken.len(),
            notes,
        }
    }
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Rest => "everything else in this program",
        Part::Sqlite => "SQLite's own work",
        Part::SealedFile => "sealed files: pages, journals, logs, freshness",
        Part::Aead => "AES-256-GCM",
        Part::Derive => "key derivation and expansion",
        Part::Right => "who asks, by his token, and whether he may",
        Part::Wrap => "what is computed with the vault's key",
        Part::Audit => "the audit record: made, authenticated, inserted",
        Part::System => "system calls and copies out of the mapping",
        Part::Sync => "waiting for the disk (sync)",
        Part::Wait => "waiting for the other thread, or on the way to it",
    }
}

/// What one part that is recorded and does nothing takes, in nanoseconds: the median of short turns, since a turn
/// during which another program runs says nothing.
fn cost_of_a_look() -> f64 {
    const LOOKS: u32 = 200;
    let turn = |_| {
        let begun = Instant::now();
        record(|| (0..LOOKS).for_each(|_| within(Part::Aead, || ())));
        begun.elapsed().as_nanos() as f64 / f64::from(LOOKS)
    };
    stats::median(&(0..21).map(turn).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of ten operations whose parts are these, and the whole 1000 ns each.
    fn round(aead: f64, system: f64, beside: f64, looks: u64) -> Round {
        let mut recorded = record(|| ()).1;
        recorded.times = Default::default();
        recorded.times[Part::Aead as usize] = Duration::from_nanos((aead * 10.0) as u64);
        recorded.times[Part::System as usize] = Duration::from_nanos((system * 10.0) as u64);
        recorded.counts[Part::Aead as usize] = looks * 10;
        Round {
            whole: 10_000.0,
            recorded,
            beside: beside * 10.0,
        }
    }

    fn rounds(taken: Vec<Round>, look: f64) -> Rounds {
        Rounds {
            looks: vec![look; taken.len()],
            taken,
            operations: 10.0,
        }
    }

    /// A control on both sides: a sum that is nearly a tenth off is said to add up, and one that is off by more is not.
    #[test]
    fn parts_that_miss_more_than_a_tenth_are_not_said_to_add_up() {
        for (parts, adds_up) in [
            ([400.0, 600.0], AddsUp::Yes),
            ([400.0, 505.0], AddsUp::Yes),
            ([400.0, 695.0], AddsUp::Yes),
            ([400.0, 495.0], AddsUp::No),
            ([400.0, 705.0], AddsUp::No),
        ] {
            let taken = (0..10).map(|_| round(parts[0], parts[1], 0.0, 0));
            let told = rounds(taken.collect(), 0.0).explained(String::new(), "", vec![]);
            assert_eq!(told.adds_up, adds_up, "{parts:?}");
            assert_eq!((told.whole_ns, told.sum_ns), (1000.0, parts[0] + parts[1]));
            assert!((told.of_whole.median * told.whole_ns - told.sum_ns).abs() < 1e-6);
            assert_eq!(told.parts.len(), 2);
        }
    }

    /// A sum that is a tenth off in some rounds and right in others proves nothing, whatever its middle.
    #[test]
    fn a_disturbed_machine_gives_no_verdict() {
        let at = |n: usize| {
            round(
                if n.is_multiple_of(2) { 500.0 } else { 780.0 },
                300.0,
                0.0,
                0,
            )
        };
        let told = rounds((0..10).map(at).collect(), 0.0).explained(String::new(), "", vec![]);
        assert_eq!(told.adds_up, AddsUp::NotKnown, "{:?}", told.of_whole);
        // A control: a round that is wild does not blur all the others.
        let at = |n: usize| round(if n == 4 { 90_000.0 } else { 700.0 }, 300.0, 0.0, 0);
        let told = rounds((0..20).map(at).collect(), 0.0).explained(String::new(), "", vec![]);
        assert_eq!(told.adds_up, AddsUp::Yes, "{:?}", told.of_whole);
        assert_eq!(told.sum_ns, 1000.0);
    }

    #[test]
    fn what_looking_costs_is_no_part_and_what_is_measured_beside_is_one() {
        let taken = (0..10).map(|_| round(700.0, 100.0, 300.0, 2));
        let told = rounds(taken.collect(), 50.0).explained(String::new(), "beside", vec![]);
        let of = |name: &str| {
            let found = told.parts.iter().find(|share| share.part == name);
            found.map(|share| (share.ns, share.times))
        };
        assert_eq!(of("AES-256-GCM"), Some((600.0, 2.0)));
        assert_eq!(of("beside"), Some((300.0, 1.0)));
        assert_eq!(told.sum_ns, 1000.0);
        assert_eq!(told.adds_up, AddsUp::Yes);
    }

    #[test]
    fn rounds_go_on_until_the_sum_is_known_or_the_time_is_over() {
        let always = Duration::from_secs(3600);
        let steady = Rounds::take(10, 5, always, |_| Ok(round(600.0, 400.0, 0.0, 0)));
        assert_eq!(steady.unwrap().taken.len(), 5);
        let unsteady = |n: usize| Ok(round(100.0 * (n % 8) as f64, 400.0, 0.0, 0));
        let over = Rounds::take(10, 5, Duration::ZERO, unsteady);
        assert_eq!(over.unwrap().taken.len(), 5);
        // What becomes steady is waited for.
        let late = |n: usize| match n {
            0..8 => Ok(round(100.0 * n as f64, 400.0, 0.0, 0)),
            _ => Ok(round(600.0, 400.0, 0.0, 0)),
        };
        let late = Rounds::take(10, 5, always, late).unwrap();
        assert!((9..200).contains(&late.taken.len()), "{}", late.taken.len());
    }
}
