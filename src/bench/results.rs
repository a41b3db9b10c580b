//! What a run gave, as it is written: JSON by docs/bench.schema.json, and CSV.

use serde::{Deserialize, Serialize};

use super::conditions::Conditions;
use super::machine::{Build, Machine};
use super::plan::Scale;

/// Version of the form that results are written in.
pub(super) const FORMAT: u32 = 1;

/// One run of `atrest bench`.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(title = "Results of `atrest bench`")]
pub struct Run {
    /// Version of this form: 1.
    pub format: u32,
    /// The command, as it was typed.
    pub command: String,
    /// How much was measured.
    pub scale: Scale,
    /// When it began (RFC 3339, UTC).
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Where.
    pub machine: Machine,
    /// With which program.
    pub build: Build,
    /// What else went on.
    pub conditions: Conditions,
    /// What was measured.
    pub stations: Vec<StationRun>,
}

impl Run {
    /// All measurements, in order.
    pub fn measurements(&self) -> impl Iterator<Item = &Measurement> {
        self.stations.iter().flat_map(|s| &s.measurements)
    }
}

/// What one station gave.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StationRun {
    /// Its name.
    pub station: String,
    /// What it measures.
    pub title: String,
    /// What has to be known to read the figures.
    pub notes: Vec<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes of plaintext.
    Bytes,
    /// Operations.
    Operations,
}

/// One thing measured: many samples of the time that one operation takes.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Measurement {
    /// `station/operation/subject`, then the size in bytes (`4096B`) and the threads (`2t`) where there are such.
    /// The same in each run.
    pub id: String,
    /// What is done.
    pub operation: String,
    /// To or by what: `plain`, `sealed`, a library.
    pub subject: String,
    /// Bytes of the unit or the object.
    pub size: Option<u64>,
    /// Threads that do it at once; each operation is one of one thread.
    pub threads: usize,
    /// What `work` counts.
    pub unit: Unit,
    /// Of that, in one operation; of all threads together in the time of one sample.
    pub work: f64,
    /// The time of one operation in each sample, in nanoseconds.
    pub samples: Vec<f64>,
    /// Operations in each sample.
    pub operations: u64,
    /// The median of `samples`, in nanoseconds, with its interval of 95 % by the bootstrap.
    pub time: Interval,
    /// `work` in a second, at the median.
    pub per_second: f64,
    /// To what it is compared, the most plain first; none for a baseline.
    pub ratios: Vec<Ratio>,
    /// Of single operations, where each was timed.
    pub latency: Option<Latency>,
    /// What is to be said against this figure; empty for nothing.
    pub doubts: Vec<String>,
}

/// Time to that of a baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ratio {
    /// The baseline's identifier.
    pub to: String,
    /// The ratio of the medians: 1.10 is a tenth slower. Both were sampled in turn.
    pub time: Interval,
}

/// A median, and between what it lies with a confidence of 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Half its width, as a part of its middle.
    pub fn spread(self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }
}

/// How long single operations took, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// Half took at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000; none of fewer than 1000.
    pub p999: Option<f64>,
    /// The longest.
    pub max: f64,
    /// What 0, 1, ... 100 of 100 took at most.
    pub percentiles: Vec<f64>,
}

/// The JSON Schema of [`Run`], as docs/bench.schema.json has it.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Run);
    let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    format!("{text}\n")
}

/// One line for each measurement (RFC 4180). Times in nanoseconds.
pub fn to_csv(run: &Run) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::Writer::from_writer(vec![]);
    out.write_record([
        "id",
        "station",
        "operation",
        "subject",
        "size",
        "threads",
        "ratio",
        "ratio_low",
        "ratio_high",
        "baseline",
        "ns",
        "ns_low",
        "ns_high",
        "per_second",
        "unit",
        "samples",
        "p50_ns",
        "p99_ns",
        "p999_ns",
        "doubts",
    ])?;
    for station in &run.stations {
        for m in &station.measurements {
            let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{n:.6}"));
            let (latency, ratio) = (m.latency.as_ref(), m.ratios.first());
            out.write_record([
                m.id.clone(),
                station.station.clone(),
                m.operation.clone(),
                m.subject.clone(),
                m.size.map_or(String::new(), |size| size.to_string()),
                m.threads.to_string(),
                number(ratio.map(|r| r.time.median)),
                number(ratio.map(|r| r.time.low)),
                number(ratio.map(|r| r.time.high)),
                ratio.map_or(String::new(), |r| r.to.clone()),
                number(Some(m.time.median)),
                number(Some(m.time.low)),
                number(Some(m.time.high)),
                number(Some(m.per_second)),
                match m.unit {
                    Unit::Bytes => "bytes",
                    Unit::Operations => "operations",
                }
                .to_owned(),
                m.samples.len().to_string(),
                number(latency.map(|l| l.p50)),
                number(latency.map(|l| l.p99)),
                number(latency.and_then(|l| l.p999)),
                m.doubts.join("; "),
            ])?;
        }
    }
    out.into_inner().map_err(|e| e.into_error().into())
}
