//! What else went on while it was measured. A benchmark cannot silence its machine; it can say that
//! it was disturbed.

use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Ticks of `/proc/stat` in a second (USER_HZ, which Linux fixes to users at 100).
const TICKS: f64 = 100.0;
/// Of the machine's processor time, what other programs or the hypervisor may take unsaid.
const OTHERS: f64 = 0.05;
const STEAL: f64 = 0.01;
/// How far the fixed loop's time may move before the processor's speed is said to have changed.
const SPEED: f64 = 0.05;

/// What disturbed a run, and what did not.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conditions {
    /// Load averages of 1, 5 and 15 minutes before.
    pub load_before: [f64; 3],
    /// And after.
    pub load_after: [f64; 3],
    /// The part of the machine's processor time that other programs took.
    pub others: f64,
    /// The part that the hypervisor gave to others (steal).
    pub steal: f64,
    /// Nanoseconds of a fixed loop of arithmetic, the fastest of several, before each station and after the last: it
    /// moves with the processor's speed.
    pub pulse: Vec<f64>,
    /// What lay in the page cache when files were read.
    pub page_cache: String,
    /// In words, what is to be said against the run; empty for nothing.
    pub doubts: Vec<String>,
}

/// Watches from its making to [`Watch::end`].
pub(super) struct Watch {
    load: [f64; 3],
    at: Times,
    pulse: Vec<f64>,
}

/// Seconds of processor time since the machine was started.
#[derive(Clone, Copy)]
struct Times {
    busy: f64,
    steal: f64,
    all: f64,
    own: f64,
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self {
            load: load(),
            at: Times::now(),
            pulse: vec![],
        }
    }

    /// Between two stations.
    pub(super) fn feel(&mut self) {
        self.pulse.push(pulse());
    }

    pub(super) fn end(mut self, cold: bool) -> Conditions {
        self.feel();
        let now = Times::now();
        let all = (now.all - self.at.all).max(1e-9);
        let others = (now.busy - self.at.busy) - (now.own - self.at.own);
        let others = (others / all).clamp(0.0, 1.0);
        let steal = ((now.steal - self.at.steal) / all).clamp(0.0, 1.0);
        let mut doubts = vec![];
        if others > OTHERS {
            doubts.push(format!(
                "other programs took {:.0} % of the machine's processor time",
                100.0 * others
            ));
        }
        if steal > STEAL {
            doubts.push(format!(
                "the hypervisor gave {:.1} % of the processor time to others",
                100.0 * steal
            ));
        }
        let slowest = self.pulse.iter().copied().fold(0.0, f64::max);
        let fastest = self.pulse.iter().copied().fold(f64::MAX, f64::min);
        if slowest > fastest * (1.0 + SPEED) {
            doubts.push(format!(
                "a fixed loop took up to {:.0} % longer at one time than at another: the processor's speed \
                 changed, or it was shared",
                100.0 * (slowest / fastest - 1.0)
            ));
        }
        let page_cache = match cold {
            false => {
                "warm: files were written or read just before, and none was put out of the cache"
            }
            true => {
                "cold: files were synced and put out of the page cache (posix_fadvise) before each read; a disk's \
                 own cache, and a hypervisor's, were not"
            }
        };
        Conditions {
            load_before: self.load,
            load_after: load(),
            others,
            steal,
            pulse: self.pulse,
            page_cache: page_cache.to_owned(),
            doubts,
        }
    }
}

impl Times {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (busy, steal, all) = processors(&stat);
        let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            busy,
            steal,
            all,
            own: own_time(&own),
        }
    }
}

/// Seconds busy, stolen, and in all, of the first line of `/proc/stat` (proc(5)).
fn processors(stat: &str) -> (f64, f64, f64) {
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = (line.split_whitespace().skip(1))
        .map(|n| n.parse::<f64>().unwrap_or(0.0) / TICKS)
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is in user already.
    let at = |n: usize| ticks.get(n).copied().unwrap_or(0.0);
    let busy = at(0) + at(1) + at(2) + at(5) + at(6);
    (busy, at(7), busy + at(3) + at(4) + at(7))
}

/// Seconds of processor time of a process and the children that it has waited for, of
/// `/proc/PID/stat`.
fn own_time(stat: &str) -> f64 {
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(4);
    ticks.map(|n| n.parse::<f64>().unwrap_or(0.0)).sum::<f64>() / TICKS
}

/// The process's part of it without its children.
pub(super) fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2);
    ticks.map(|n| n.parse::<f64>().unwrap_or(0.0)).sum::<f64>() / TICKS
}

fn load() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(0.0));
    [(); 3].map(|()| numbers.next().unwrap_or(0.0))
}

/// Multiplications that wait for each other: no memory, no wide registers, nothing to do at once.
/// The fastest of several is what the processor's speed allows.
fn pulse() -> f64 {
    let once = || {
        let begun = Instant::now();
        let mut x = black_box(1_u64);
        for _ in 0..200_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        black_box(x);
        begun.elapsed().as_nanos() as f64
    };
    (0..8).map(|_| once()).fold(f64::MAX, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_take_is_told_from_what_is_idle() {
        let (busy, steal, all) = processors("cpu  100 0 50 800 25 25 25 50 0 0\ncpu0 1 1 1 1\n");
        assert_eq!((busy, steal, all), (2.0, 0.5, 10.75));
        let stat = "1 (a) b) S 1 1 1 0 -1 0 0 0 0 0 70 30 200 100 20 0";
        assert_eq!(own_time(stat), 4.0);
        assert_eq!(processors(""), (0.0, 0.0, 0.0));
    }
}
