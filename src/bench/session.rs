//! The engine: cases that are compared take turns, sample by sample, so that whatever the machine
//! does meanwhile meets all of them.

use std::time::{Duration, Instant};

use super::BenchError;
use super::conditions::Watch;
use super::machine::{Build, Machine};
use super::plan::Plan;
use super::results::{FORMAT, Interval, Latency, Measurement, Ratio, Run, StationRun, Unit};
use super::stations::Station;
use super::stats;

/// An interval wider than this, each way, as a part of its middle, is called wide.
const WIDE: f64 = 0.05;

/// Nanoseconds of single operations.
pub(super) type Latencies = Vec<f64>;

/// Does so many operations; returns how long they took. Where single ones are timed, their times are
/// pushed.
pub(super) type Body<'a> = Box<dyn FnMut(u64, &mut Latencies) -> Result<Duration, BenchError> + 'a>;

/// What is measured.
pub(super) struct About {
    operation: String,
    subject: String,
    size: Option<u64>,
    threads: usize,
    unit: Unit,
    work: f64,
    baselines: Vec<usize>,
}

impl About {
    /// `subject`'s `operation`.
    pub(super) fn new(operation: &str, subject: impl ToString) -> Self {
        Self {
            operation: operation.to_owned(),
            subject: subject.to_string(),
            size: None,
            threads: 1,
            unit: Unit::Operations,
            work: 1.0,
            baselines: vec![],
        }
    }

    /// Each operation is on so many bytes, which are what is counted.
    pub(super) fn bytes(self, size: u64) -> Self {
        Self {
            size: Some(size),
            unit: Unit::Bytes,
            work: size as f64,
            ..self
        }
    }

    /// Each operation is so many of what its name says.
    pub(super) fn times(self, work: f64) -> Self {
        Self { work, ..self }
    }

    /// Each operation is done by so many threads at once.
    pub(super) fn threads(self, threads: usize) -> Self {
        Self {
            threads,
            work: self.work * threads as f64,
            ..self
        }
    }

    /// Compared with the case `at` of the same group; the first said comes first.
    pub(super) fn against(mut self, at: usize) -> Self {
        self.baselines.push(at);
        self
    }

    /// How it is sampled.
    pub(super) fn by(self, body: Body<'_>) -> Case<'_> {
        Case {
            about: self,
            least: 1,
            most: u64::MAX,
            time: None,
            body,
        }
    }

    fn id(&self, station: &str) -> String {
        let mut id = format!("{station}/{}/{}", self.operation, self.subject);
        if let Some(size) = self.size {
            id = format!("{id}/{size}B");
        }
        if self.threads > 1 {
            id = format!("{id}/{}t", self.threads);
        }
        id.replace(' ', "-")
    }
}

/// What is measured, and how it is done.
pub(super) struct Case<'a> {
    about: About,
    least: u64,
    most: u64,
    time: Option<Duration>,
    body: Body<'a>,
}

impl Case<'_> {
    /// Once in each sample: what takes long, or prepares itself.
    pub(super) fn once(self) -> Self {
        self.at_most(1)
    }

    /// Not more than so many operations in a sample.
    pub(super) fn at_most(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// So many operations in a sample, however long they take.
    pub(super) fn exactly(self, count: u64) -> Self {
        Self {
            least: count,
            most: count,
            ..self
        }
    }

    /// A sample takes about so long.
    pub(super) fn lasting(self, time: Duration) -> Self {
        Self {
            time: Some(time),
            ..self
        }
    }
}

/// The samples of one case.
#[derive(Clone, Default)]
pub(super) struct Taken {
    /// Nanoseconds of one operation.
    pub(super) samples: Vec<f64>,
    /// Operations in each.
    pub(super) operations: u64,
    pub(super) latencies: Latencies,
}

/// A body that does `work` again and again.
pub(super) fn looped<'a>(mut work: impl FnMut() -> Result<(), BenchError> + 'a) -> Body<'a> {
    Box::new(move |operations, _| {
        let begun = Instant::now();
        for _ in 0..operations {
            work()?;
        }
        Ok(begun.elapsed())
    })
}

/// The same for what cannot fail.
pub(super) fn plainly<'a>(mut work: impl FnMut() + 'a) -> Body<'a> {
    Box::new(move |operations, _| {
        let begun = Instant::now();
        for _ in 0..operations {
            work();
        }
        Ok(begun.elapsed())
    })
}

/// The same, each operation timed by itself.
pub(super) fn each<'a>(mut work: impl FnMut() -> Result<(), BenchError> + 'a) -> Body<'a> {
    timed(move || {
        let begun = Instant::now();
        work()?;
        Ok(begun.elapsed())
    })
}

/// `work` says how long the part of it took that is measured.
pub(super) fn timed<'a>(mut work: impl FnMut() -> Result<Duration, BenchError> + 'a) -> Body<'a> {
    Box::new(move |operations, latencies| {
        let mut all = Duration::ZERO;
        for _ in 0..operations {
            let took = work()?;
            latencies.push(took.as_nanos() as f64);
            all += took;
        }
        Ok(all)
    })
}

/// A station at work.
pub(super) struct Session<'p> {
    pub(super) plan: &'p Plan,
    station: &'static str,
    progress: &'p mut dyn FnMut(&str, f64),
    notes: Vec<String>,
    measurements: Vec<Measurement>,
}

impl Session<'_> {
    /// What has to be known to read the figures.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes the samples of `cases`, in turn.
    pub(super) fn measure(&mut self, cases: Vec<Case<'_>>) -> Result<(), BenchError> {
        self.measure_so_often(self.plan.samples(), cases)
    }

    /// The same, with another number of samples.
    pub(super) fn measure_so_often(
        &mut self,
        samples: usize,
        mut cases: Vec<Case<'_>>,
    ) -> Result<(), BenchError> {
        // Whatever happens the first time, and only then, happens here.
        let time = self.plan.sample_time();
        let mut taken = vec![Taken::default(); cases.len()];
        for (case, taken) in cases.iter_mut().zip(&mut taken) {
            taken.operations = fitting(case, case.time.unwrap_or(time))?;
        }
        for round in 0..samples {
            for turn in 0..cases.len() {
                // Each goes first as often as the others.
                let at = (round + turn) % cases.len();
                let Taken {
                    samples,
                    operations,
                    latencies,
                } = &mut taken[at];
                let took = (cases[at].body)(*operations, latencies)?;
                samples.push(took.as_nanos() as f64 / *operations as f64);
            }
            self.progress((round + 1) as f64 / samples as f64);
        }
        let cases: Vec<About> = cases.into_iter().map(|case| case.about).collect();
        self.conclude(&cases, &taken);
        Ok(())
    }

    pub(super) fn progress(&mut self, done: f64) {
        (self.progress)(self.station, done);
    }

    /// Makes results of samples that were taken in turn.
    pub(super) fn conclude(&mut self, cases: &[About], taken: &[Taken]) {
        let ids: Vec<String> = cases.iter().map(|case| case.id(self.station)).collect();
        for (at, (case, taken_here)) in cases.iter().zip(taken).enumerate() {
            let samples = &taken_here.samples;
            let time = stats::of_median(samples);
            let ratio = |&to: &usize| Ratio {
                to: ids[to].clone(),
                time: stats::of_paired_ratio(samples, &taken[to].samples),
            };
            let ratios: Vec<Ratio> = case.baselines.iter().map(ratio).collect();
            self.measurements.push(Measurement {
                id: ids[at].clone(),
                operation: case.operation.clone(),
                subject: case.subject.clone(),
                size: case.size,
                threads: case.threads,
                unit: case.unit,
                work: case.work,
                samples: samples.clone(),
                operations: taken_here.operations,
                time,
                per_second: case.work / time.median * 1e9,
                doubts: doubts(time, ratios.first()),
                ratios,
                latency: latency(&taken_here.latencies),
            });
        }
    }
}

fn doubts(time: Interval, ratio: Option<&Ratio>) -> Vec<String> {
    let wide = |what: &str, spread: f64| {
        (spread > WIDE).then(|| format!("wide interval: {what} +/- {:.0} %", 100.0 * spread))
    };
    let ratio = ratio.and_then(|ratio| wide("ratio", ratio.time.spread()));
    wide("time", time.spread())
        .into_iter()
        .chain(ratio)
        .collect()
}

/// How many operations fill a sample's time; found by doing them, which warms everything up.
fn fitting(case: &mut Case<'_>, time: Duration) -> Result<u64, BenchError> {
    let mut operations = 1;
    let mut thrown_away = vec![];
    loop {
        let took = (case.body)(operations, &mut thrown_away)?;
        thrown_away.clear();
        if operations >= case.most {
            return Ok(case.most);
        }
        if took * 4 >= time {
            let fit = operations as f64 * time.as_secs_f64() / took.as_secs_f64().max(1e-9);
            return Ok((fit.round() as u64).clamp(case.least, case.most));
        }
        operations = (operations * 4).min(case.most);
    }
}

fn latency(latencies: &[f64]) -> Option<Latency> {
    if latencies.is_empty() {
        return None;
    }
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |of: f64| stats::quantile(&sorted, of);
    Some(Latency {
        count: sorted.len() as u64,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: (sorted.len() >= 1000).then(|| at(0.999)),
        max: at(1.0),
        percentiles: (0..=100).map(|of| at(f64::from(of) / 100.0)).collect(),
    })
}

/// Runs `stations`, one after the other. `progress` is told a station's name, and how much of what it
/// does now is done.
pub fn run(
    stations: &[&'static Station],
    plan: &Plan,
    progress: &mut dyn FnMut(&str, f64),
) -> Result<Run, BenchError> {
    let (began, begun) = (jiff::Timestamp::now(), Instant::now());
    let mut watch = Watch::begin();
    let (machine, build) = (Machine::here(&plan.dir), Build::this());
    let mut runs = vec![];
    for station in stations {
        watch.feel();
        progress(station.name, 0.0);
        let mut session = Session {
            plan,
            station: station.name,
            progress: &mut *progress,
            notes: vec![],
            measurements: vec![],
        };
        (station.run)(&mut session)?;
        if station.on_disk && machine.is_memory() {
            session.note(
                "The directory lies in memory: a sync costs nothing there, and what a disk costs is not in these figures.",
            );
        }
        runs.push(StationRun {
            station: station.name.to_owned(),
            title: station.title.to_owned(),
            notes: session.notes,
            measurements: session.measurements,
        });
    }
    let mut conditions = watch.end(plan.cold);
    conditions.doubts.extend(build.doubts());
    Ok(Run {
        format: FORMAT,
        command: plan.command.clone(),
        scale: plan.scale,
        began: began.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: begun.elapsed().as_secs_f64(),
        machine,
        build,
        conditions,
        stations: runs,
    })
}
