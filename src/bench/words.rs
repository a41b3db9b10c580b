//! Figures as people read them. Ratios stand before absolute times.

use super::results::{Interval, Measurement, StationRun, Unit};

/// The columns of [`table_rows`].
pub const COLUMNS: [&str; 6] = [
    "operation",
    "subject",
    "size",
    "times baseline",
    "time",
    "a second",
];

/// The measurements of a station in the columns [`COLUMNS`]; a `~` marks what [`Measurement::doubts`] says.
pub fn table_rows(station: &StationRun) -> Vec<[String; 6]> {
    let all = &station.measurements;
    let is_baseline = |m: &Measurement| {
        let mut ratios = all.iter().flat_map(|other| &other.ratios);
        ratios.any(|ratio| ratio.to == m.id)
    };
    all.iter().map(|m| table_row(m, is_baseline(m))).collect()
}

fn table_row(m: &Measurement, is_baseline: bool) -> [String; 6] {
    let doubt = if m.doubts.is_empty() { "" } else { " ~" };
    let ratios: Vec<String> = (m.ratios.iter()).map(|r| ratio_text(r.time)).collect();
    let subject = match m.threads {
        1 => m.subject.clone(),
        threads => format!("{}, {threads} threads", m.subject),
    };
    let tail = match &m.latency {
        Some(latency) if latency.count >= 100 => format!("; p99 {}", time_text(latency.p99)),
        _ => String::new(),
    };
    [
        m.operation.clone(),
        subject,
        m.size.map_or(String::new(), size_text),
        match (ratios.is_empty(), is_baseline) {
            (true, true) => format!("baseline{doubt}"),
            (true, false) => format!("none{doubt}"),
            (false, _) => format!("{}{doubt}", ratios.join("; ")),
        },
        format!(
            "{} [{} {}]{tail}",
            time_text(m.time.median),
            time_text(m.time.low),
            time_text(m.time.high)
        ),
        rate_text(m),
    ]
}

/// A ratio and its interval.
pub fn ratio_text(ratio: Interval) -> String {
    let digits = if ratio.median < 10.0 { 2 } else { 0 };
    let Interval { median, low, high } = ratio;
    format!("{median:.digits$} [{low:.digits$} {high:.digits$}]")
}

/// Bytes, in powers of 1024.
pub(super) fn size_text(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A time of so many nanoseconds, with three digits.
pub fn time_text(ns: f64) -> String {
    let (value, unit) = match ns {
        ..1e3 => (ns, "ns"),
        ..1e6 => (ns / 1e3, "µs"),
        ..1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

fn rate_text(m: &Measurement) -> String {
    match (m.unit, m.per_second) {
        (Unit::Bytes, rate) if rate >= 1e9 => format!("{:.2} GB", rate / 1e9),
        (Unit::Bytes, rate) => format!("{:.1} MB", rate / 1e6),
        (Unit::Operations, rate) if rate >= 1e4 => format!("{:.0} k", rate / 1e3),
        (Unit::Operations, rate) => format!("{rate:.1}"),
    }
}
