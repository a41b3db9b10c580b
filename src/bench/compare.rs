//! Two runs beside each other. What is compared first is the ratio to the baseline that was sampled in
//! the same run: it means the same on another machine, and under another load.

use std::collections::BTreeMap;

use serde::Serialize;

use super::results::{Interval, Measurement, Run};
use super::stats;

/// What may change unsaid, however sure it is: runs differ by this for no reason.
const SMALL: f64 = 0.05;

/// What became of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    /// Surely slower, by more than runs differ for no reason.
    Slower,
    /// Surely faster.
    Faster,
    /// Neither; that is not to say that they are the same.
    NoChangeSeen,
}

/// One measurement in both runs.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Which.
    pub id: String,
    /// What is compared: `ratio to ID`, or `time`.
    pub what: String,
    /// Its median before.
    pub before: f64,
    /// Its median after.
    pub after: f64,
    /// After to before: 1.10 is a tenth slower.
    pub change: Interval,
    /// How probable so large a difference is by chance alone (permutation test).
    pub p: f64,
    /// What that makes of it.
    pub judged: Judged,
}

/// Two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What both have, in the order of the first.
    pub changes: Vec<Change>,
    /// Only in the first.
    pub missing: Vec<String>,
    /// Only in the second.
    pub new: Vec<String>,
    /// What is to be said against the comparison.
    pub doubts: Vec<String>,
}

impl Comparison {
    /// How many came out so.
    pub fn count(&self, judged: Judged) -> usize {
        self.changes.iter().filter(|c| c.judged == judged).count()
    }
}

/// Compares `after` with `before`.
pub fn compare(before: &Run, after: &Run) -> Comparison {
    let of = |run| -> BTreeMap<String, Vec<f64>> {
        let run: &Run = run;
        run.measurements()
            .map(|m| (m.id.clone(), m.samples.clone()))
            .collect()
    };
    let (old, new) = (of(before), of(after));
    let same_machine = before.machine == after.machine;
    let mut changes = vec![];
    for m in before.measurements() {
        let Some(then) = after.measurements().find(|then| then.id == m.id) else {
            continue;
        };
        let base = m.ratios.first().map(|r| &r.to);
        let base = base.filter(|to| then.ratios.first().is_some_and(|r| r.to == **to));
        // A file that was cut may lack what its ratios are to.
        let base = base.filter(|to| old.contains_key(*to) && new.contains_key(*to));
        let (what, a, b) = match base {
            Some(to) => (
                format!("ratio to {to}"),
                ratios(m, &old[to]),
                ratios(then, &new[to]),
            ),
            // A baseline by itself is the machine, not the program: to be compared on one machine only.
            None if same_machine => ("time".to_owned(), m.samples.clone(), then.samples.clone()),
            None => continue,
        };
        changes.push(Change {
            id: m.id.clone(),
            what,
            before: stats::median(&a),
            after: stats::median(&b),
            change: stats::of_ratio(&b, &a),
            p: stats::permutation_test(&a, &b),
            judged: Judged::NoChangeSeen,
        });
    }
    let p: Vec<f64> = changes.iter().map(|change| change.p).collect();
    for (change, counts) in changes.iter_mut().zip(stats::holm(&p)) {
        change.judged = match change.change {
            c if counts && c.low > 1.0 && c.median > 1.0 + SMALL => Judged::Slower,
            c if counts && c.high < 1.0 && c.median < 1.0 / (1.0 + SMALL) => Judged::Faster,
            _ => Judged::NoChangeSeen,
        };
    }
    let only = |here: &BTreeMap<String, Vec<f64>>, there: &BTreeMap<String, Vec<f64>>| {
        let ids = here.keys().filter(|id| !there.contains_key(*id));
        ids.cloned().collect()
    };
    Comparison {
        changes,
        missing: only(&old, &new),
        new: only(&new, &old),
        doubts: doubts(before, after),
    }
}

/// Round by round, as they were sampled.
fn ratios(m: &Measurement, baseline: &[f64]) -> Vec<f64> {
    let rounds = m.samples.iter().zip(baseline);
    rounds.map(|(own, base)| own / base).collect()
}

fn doubts(before: &Run, after: &Run) -> Vec<String> {
    let mut doubts = vec![];
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            doubts.push(format!("{what}: {a} before, {b} after"));
        }
    };
    let (a, b) = (&before.machine, &after.machine);
    differ("another processor", &a.processor, &b.processor);
    differ("another system", &a.system, &b.system);
    differ("another file system", &a.file_system, &b.file_system);
    differ("features", &a.features.join(" "), &b.features.join(" "));
    let (a, b) = (&before.build, &after.build);
    differ("profile", &a.profile, &b.profile);
    differ("compiler", &a.rustc, &b.rustc);
    differ("backend", &a.backend, &b.backend);
    if before.machine != after.machine {
        doubts
            .push("not the same machine: baselines and absolute times are not compared".to_owned());
    }
    for (which, run) in [("before", before), ("after", after)] {
        doubts.extend(
            run.conditions
                .doubts
                .iter()
                .map(|why| format!("{which}: {why}")),
        );
    }
    doubts
}
