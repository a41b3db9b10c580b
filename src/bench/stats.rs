//! The few statistics that a benchmark needs. Nothing is assumed of how times are distributed:
//! medians, percentile bootstrap (Efron and Tibshirani, 1993, chapter 13), rank sums by permutation.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::results::Interval;

/// Draws of each bootstrap.
const DRAWS: usize = 2000;
/// Permutations of each test; the least p that it can give is one over this and one.
const PERMUTATIONS: usize = 20_000;
/// Of an interval.
const CONFIDENCE: f64 = 0.95;

/// The middle of `values`, or the mean of the two in the middle. Of none: not a number.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => sorted[half - 1].midpoint(sorted[half]),
        _ => sorted[half],
    }
}

/// What the share `of` of `sorted` stays below or at (nearest rank).
pub(super) fn quantile(sorted: &[f64], of: f64) -> f64 {
    let rank = (of * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

/// The median with its interval.
pub(super) fn of_median(samples: &[f64]) -> Interval {
    interval(median(samples), samples.len(), |draw| {
        let values: Vec<f64> = draw.iter().map(|&at| samples[at]).collect();
        median(&values)
    })
}

/// The middle half of what is sorted.
pub(super) fn middle_half<T>(sorted: &[T]) -> &[T] {
    let quarter = sorted.len() / 4;
    &sorted[quarter..sorted.len() - quarter]
}

/// The mean of the middle half: as deaf to wild samples as the median, and sums of means are means of sums.
pub(super) fn middle(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = middle_half(&sorted);
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// The ratio of the medians of what was sampled in turn: rounds are drawn, not samples, so that
/// what slowed a whole round down slows both.
pub(super) fn of_paired_ratio(candidate: &[f64], baseline: &[f64]) -> Interval {
    of_paired(candidate, baseline, median)
}

/// The same of the means of the middle halves.
pub(super) fn of_paired_middles(candidate: &[f64], baseline: &[f64]) -> Interval {
    of_paired(candidate, baseline, middle)
}

fn of_paired(candidate: &[f64], baseline: &[f64], middle: fn(&[f64]) -> f64) -> Interval {
    let rounds = candidate.len().min(baseline.len());
    let (candidate, baseline) = (&candidate[..rounds], &baseline[..rounds]);
    interval(middle(candidate) / middle(baseline), rounds, |draw| {
        let of = |samples: &[f64]| {
            let values: Vec<f64> = draw.iter().map(|&at| samples[at]).collect();
            middle(&values)
        };
        of(candidate) / of(baseline)
    })
}

/// The ratio of the medians of two runs: each is drawn for itself.
pub(super) fn of_ratio(after: &[f64], before: &[f64]) -> Interval {
    let mut random = seeded();
    let mut draw = |samples: &[f64]| {
        let values: Vec<f64> = (0..samples.len())
            .map(|_| samples[random.random_range(0..samples.len())])
            .collect();
        median(&values)
    };
    let ratios = (0..DRAWS).map(|_| draw(after) / draw(before)).collect();
    between(median(after) / median(before), ratios)
}

fn interval(middle: f64, rounds: usize, of: impl Fn(&[usize]) -> f64) -> Interval {
    let mut random = seeded();
    let mut draw = vec![0; rounds];
    let values = (0..DRAWS)
        .map(|_| {
            draw.fill_with(|| random.random_range(0..rounds));
            of(&draw)
        })
        .collect();
    between(middle, values)
}

fn between(middle: f64, mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Interval {
        median: middle,
        low: quantile(&values, outside).min(middle),
        high: quantile(&values, 1.0 - outside).max(middle),
    }
}

/// How probable it is that two sets of samples whose order means nothing have ranks that lie at least as
/// far apart: Wilcoxon's rank sum, by permutation, on both sides. Ranks, and not medians: of two sets that lie wholly apart
/// half of all permutations have medians that lie as far apart.
pub(super) fn permutation_test(a: &[f64], b: &[f64]) -> f64 {
    let mut all = ranks(&[a, b].concat());
    let expected = a.len() as f64 * (all.len() + 1) as f64 / 2.0;
    let apart = |ranks: &[f64]| (ranks.iter().sum::<f64>() - expected).abs();
    let found = apart(&all[..a.len()]);
    let mut random = seeded();
    let mut as_far = 0;
    for _ in 0..PERMUTATIONS {
        // Fisher and Yates, as far as the first set goes.
        for at in 0..a.len() {
            let other = random.random_range(at..all.len());
            all.swap(at, other);
        }
        as_far += usize::from(apart(&all[..a.len()]) >= found);
    }
    (as_far + 1) as f64 / (PERMUTATIONS + 1) as f64
}

/// Of each value, 1 for the least; those that are equal share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let same = values.iter().filter(|other| *other == value).count();
        below as f64 + (same + 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// Which of many tests count, when all of them together shall be wrong once in twenty (Holm, 1979).
pub(super) fn holm(p: &[f64]) -> Vec<bool> {
    const TOGETHER: f64 = 0.05;
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut counts = vec![false; p.len()];
    for (rank, at) in order.into_iter().enumerate() {
        if p[at] > TOGETHER / (p.len() - rank) as f64 {
            break;
        }
        counts[at] = true;
    }
    counts
}

/// The same draws each time: the same samples give the same interval.
fn seeded() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples around `middle`, a hundredth apart.
    fn around(middle: f64, seed: u64, count: usize) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count)
            .map(|_| middle * (1.0 + (random.random::<f64>() - 0.5) / 50.0))
            .collect()
    }

    #[test]
    fn one_wild_sample_does_not_move_a_result() {
        let mut samples = around(100.0, 1, 15);
        let calm = of_median(&samples);
        samples[3] = 1e9;
        let wild = of_median(&samples);
        assert!((wild.median / calm.median - 1.0).abs() < 0.01);
        assert!(wild.high < 110.0, "{wild:?}");
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.99), 4.0);
    }

    #[test]
    fn an_interval_holds_what_is_true_nineteen_times_of_twenty() {
        let holds = (0..200).filter(|&seed| {
            let interval = of_median(&around(50.0, seed, 21));
            (interval.low..=interval.high).contains(&50.0)
        });
        let holds = holds.count();
        assert!((175..=200).contains(&holds), "{holds} of 200");
    }

    /// What slows rounds down as a whole widens absolute times, and not the ratio.
    #[test]
    fn a_slow_round_does_not_blur_a_ratio() {
        let slow = |at: usize| if at.is_multiple_of(3) { 2.0 } else { 1.0 };
        let base: Vec<f64> = (0..12).map(|at| 10.0 * slow(at)).collect();
        let twice: Vec<f64> = base.iter().map(|time| 2.0 * time).collect();
        let ratio = of_paired_ratio(&twice, &base);
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
        assert!(of_ratio(&twice, &base).high > 2.5);
    }

    /// A control on both sides: the same twice is no change, a tenth is one.
    #[test]
    fn chance_is_not_called_a_change_and_a_change_not_chance() {
        let p: Vec<f64> = (0..40)
            .map(|at| permutation_test(&around(10.0, at, 12), &around(10.0, at + 100, 12)))
            .collect();
        assert!(!holm(&p).contains(&true), "{p:?}");
        let p = permutation_test(&around(10.0, 1, 12), &around(11.0, 2, 12));
        assert!(p < 0.001, "{p}");
        // All of one set are equal, and so are all of the other.
        assert!(permutation_test(&[1.0; 12], &[1.2; 12]) < 0.001);
        assert_eq!(permutation_test(&[1.0; 12], &[1.0; 12]), 1.0);
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [2.5, 1.0, 2.5]);
        assert_eq!(holm(&[0.001, 0.9, 0.02]), [true, false, true]);
        assert_eq!(holm(&[0.02, 0.03, 0.04]), [false; 3]);
    }
}
