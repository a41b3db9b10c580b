//! The pictures of a report, in SVG.

use std::collections::BTreeMap;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

use super::results::{Measurement, Run};
use super::words::{size_text, time_text};

/// A picture for the page.
pub(super) struct Plot {
    pub(super) caption: &'static str,
    pub(super) explanation: &'static str,
    pub(super) svg: String,
    /// What each colour is.
    pub(super) key: Vec<(String, &'static str)>,
}

/// Those that the run has figures for.
pub(super) fn of(run: &Run) -> Result<Vec<Plot>, Box<dyn std::error::Error>> {
    let mut plots = vec![];
    for plot in [throughput, waterfall, latencies, scaling] {
        plots.extend(plot(run)?);
    }
    Ok(plots)
}

type Drawn = Result<Option<Plot>, Box<dyn std::error::Error>>;

// Colours as the page's style sheet knows them: it replaces each by its own, for light and dark.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const COLOURS: [(RGBColor, &str); 6] = [
    (RGBColor(3, 3, 3), "c3"),
    (RGBColor(4, 4, 4), "c4"),
    (RGBColor(5, 5, 5), "c5"),
    (RGBColor(6, 6, 6), "c6"),
    (RGBColor(7, 7, 7), "c7"),
    (RGBColor(8, 8, 8), "c8"),
];
const WIDTH: u32 = 640;
const HEIGHT: u32 = 300;

/// Lines through points, one colour each.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

fn lines_of<'a>(
    found: impl Iterator<Item = &'a Measurement>,
    name: impl Fn(&Measurement) -> String,
    point: impl Fn(&Measurement) -> (f64, f64),
) -> Lines {
    let mut lines = Lines::new();
    for m in found {
        lines.entry(name(m)).or_default().push(point(m));
    }
    lines.retain(|_, points| points.len() > 1);
    lines
}

fn throughput(run: &Run) -> Drawn {
    let wanted = |m: &&Measurement| {
        m.id.starts_with("aead/") && ["copy", "seal", "open"].contains(&m.operation.as_str())
    };
    let lines = lines_of(
        run.measurements().filter(wanted),
        |m| format!("{}, {}", m.operation, m.subject),
        |m| (m.size.unwrap_or(1) as f64, m.per_second / 1e9),
    );
    let axes = Axes {
        x: "bytes of a unit",
        y: "GB/s",
        x_text: &|x| size_text(x.round() as u64),
        log_x: true,
        log_y: true,
    };
    let plot = draw_lines(&lines, &axes)?;
    Ok(plot.map(|(svg, key)| Plot {
        caption: "AES-256-GCM by size and library",
        explanation: "One thread, buffers in the cache. Small units pay for the call, the nonce and the tag.",
        svg,
        key,
    }))
}

fn scaling(run: &Run) -> Drawn {
    let lines = lines_of(
        run.measurements()
            .filter(|m| m.id.starts_with("aead/parallel-seal/")),
        |m| m.subject.clone(),
        |m| (m.threads as f64, m.per_second / 1e9),
    );
    let axes = Axes {
        x: "threads",
        y: "GB/s",
        x_text: &|x| format!("{x:.0}"),
        log_x: false,
        log_y: false,
    };
    let plot = draw_lines(&lines, &axes)?;
    Ok(plot.map(|(svg, key)| Plot {
        caption: "Sealing by several threads at once",
        explanation: "All threads together, each with a key and buffers of its own.",
        svg,
        key,
    }))
}

fn latencies(run: &Run) -> Drawn {
    let wanted = |m: &&Measurement| m.id.starts_with("vault/") && m.latency.is_some();
    let mut lines = Lines::new();
    for m in run.measurements().filter(wanted) {
        let Some(latency) = &m.latency else { continue };
        let points = latency.percentiles.iter().enumerate();
        let points = points.map(|(of, ns)| (ns / 1e6, of as f64)).collect();
        lines.insert(format!("{}; {}", m.operation, m.subject), points);
    }
    let axes = Axes {
        x: "milliseconds",
        y: "% answered",
        x_text: &|x| match x {
            ..1.0 => format!("{x:.1}"),
            _ => format!("{x:.0}"),
        },
        log_x: true,
        log_y: false,
    };
    let plot = draw_lines(&lines, &axes)?;
    Ok(plot.map(|(svg, key)| Plot {
        caption: "Latency of the vault's server",
        explanation: "The part of the requests that was answered within a time. Each client waits for its answer before it asks again, so a \
                      server that stalls is asked less: these are not the latencies of requests that come at a fixed rate.",
        svg,
        key,
    }))
}

struct Axes<'a> {
    x: &'a str,
    y: &'a str,
    x_text: &'a dyn Fn(f64) -> String,
    log_x: bool,
    log_y: bool,
}

type Picture = Option<(String, Vec<(String, &'static str)>)>;

fn draw_lines(lines: &Lines, axes: &Axes<'_>) -> Result<Picture, Box<dyn std::error::Error>> {
    if lines.is_empty() {
        return Ok(None);
    }
    let points = || lines.values().flatten();
    let least = points().map(|p| p.0).fold(f64::MAX, f64::min);
    let most = points().map(|p| p.0).fold(0.0, f64::max);
    let top = points().map(|p| p.1).fold(0.0, f64::max) * 1.05;
    let bottom = if axes.log_y {
        points().map(|p| p.1).fold(f64::MAX, f64::min) / 1.2
    } else {
        0.0
    };
    let place = |x: f64| if axes.log_x { x.max(1e-9).log10() } else { x };
    let height = |y: f64| if axes.log_y { y.max(1e-9).log10() } else { y };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let text = ("sans-serif", 15).into_font().color(&INK);
        let ticks = Ticks {
            low: place(least),
            high: place(most),
            steps: match (axes.log_x, most > 300.0) {
                (false, _) => Steps::Whole,
                (true, true) => Steps::PowersOfTwo,
                (true, false) => Steps::PowersOfTen,
            },
        };
        let rise = Ticks {
            low: height(bottom),
            high: height(top),
            steps: match axes.log_y {
                true => Steps::PowersOfTen,
                false => Steps::Fifths,
            },
        };
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(ticks, rise)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .y_labels(5)
            .x_label_style(text.clone())
            .y_label_style(text.clone())
            .axis_desc_style(text)
            .x_desc(axes.x)
            .y_desc(axes.y)
            .x_label_formatter(&|&x| (axes.x_text)(if axes.log_x { 10_f64.powf(x) } else { x }))
            .y_label_formatter(&|&y| match if axes.log_y { 10_f64.powf(y) } else { y } {
                y if y >= 20.0 || top > 20.0 && !axes.log_y => format!("{y:.0}"),
                y if y < 0.095 && axes.log_y => format!("{y:.2}"),
                y => format!("{y:.1}"),
            })
            .draw()?;
        for (points, (colour, _)) in lines.values().zip(COLOURS) {
            let points = points.iter().map(|&(x, y)| (place(x), height(y)));
            chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
            if points.len() < 20 {
                chart.draw_series(points.map(|at| Circle::new(at, 3, colour.filled())))?;
            }
        }
        root.present()?;
    }
    let key = lines.keys().zip(COLOURS);
    let key = key
        .map(|(name, (_, class))| (name.clone(), class))
        .collect();
    Ok(Some((scaled(&svg), key)))
}

/// The page scales a picture; a fixed size would overflow narrow screens.
fn scaled(svg: &str) -> String {
    svg.replacen(&format!("width=\"{WIDTH}\" height=\"{HEIGHT}\" "), "", 1)
}

/// An axis that labels are put to at even places of its scale.
struct Ticks {
    low: f64,
    high: f64,
    steps: Steps,
}

enum Steps {
    Whole,
    Fifths,
    PowersOfTwo,
    PowersOfTen,
}

impl Ranged for Ticks {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value - self.low) / (self.high - self.low).max(1e-9);
        from + (part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let (low, high) = (self.low, self.high);
        let steps: Vec<f64> = match self.steps {
            Steps::Whole => (low.ceil() as i64..=high.floor() as i64)
                .map(|n| n as f64)
                .collect(),
            Steps::Fifths => (0..=5).map(|n| high / 1.05 / 5.0 * f64::from(n)).collect(),
            Steps::PowersOfTwo => (0..40).map(|n| f64::from(n * 2) * 2_f64.log10()).collect(),
            Steps::PowersOfTen => (-3..6)
                .flat_map(|power| [1.0_f64, 2.0, 5.0].map(|n| n.log10() + f64::from(power)))
                .collect(),
        };
        let within = |at: &f64| (low - 1e-9..=high + 1e-9).contains(at);
        steps.into_iter().filter(within).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// From copying a mebibyte to having it on the disk, sealed.
fn waterfall(run: &Run) -> Drawn {
    let nanoseconds = |found: Option<&Measurement>| {
        found.map(|m| m.time.median / (m.work / m.threads as f64) * f64::from(1 << 20))
    };
    let at = |id: &str| nanoseconds(run.measurements().find(|m| m.id == id));
    let largest = |beginning: &str| {
        let found = run.measurements().filter(|m| m.id.starts_with(beginning));
        nanoseconds(found.max_by_key(|m| m.size))
    };
    let bars: Vec<(&str, f64)> = [
        (
            "copy in the cache (64 KiB)",
            at("memory/copy/memory/65536B"),
        ),
        ("AES-CTR alone", at("memory/encrypt/aes-ctr/65536B")),
        ("GMAC alone", at("memory/authenticate/gmac/65536B")),
        ("AES-GCM, bare loop", at("aead/chunk/bare-aws-lc-rs/65536B")),
        ("chunks of a blob, sealed", at("aead/chunk/sealed/65536B")),
        ("copy of a file, synced", largest("blob/put/copy-and-sync/")),
        ("read, seal, write, sync: bare", largest("blob/put/bound/")),
        (
            "the same, in a catalog: bare",
            largest("blob/put/least-store/"),
        ),
        ("blob put, plain", largest("blob/put/plain/")),
        ("blob put, sealed", largest("blob/put/sealed/")),
    ]
    .into_iter()
    .filter_map(|(name, time)| Some((name, time?)))
    .collect();
    if bars.len() < 2 {
        return Ok(None);
    }
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        let text = ("sans-serif", 14).into_font().color(&INK);
        let (left, width) = (210, 320.0);
        let row = HEIGHT as i32 / bars.len() as i32;
        for (n, (name, time)) in bars.iter().enumerate() {
            let y = n as i32 * row + 4;
            let end = left + ((time / most) * width).round().max(1.0) as i32;
            let (colour, _) = COLOURS[usize::from(
                ["sealed", "seal,", "same,"]
                    .iter()
                    .any(|of| name.contains(of)),
            )];
            root.draw(&Rectangle::new(
                [(left, y), (end, y + row - 8)],
                colour.filled(),
            ))?;
            root.draw(&Text::new(*name, (4, y + row / 2 - 11), text.clone()))?;
            root.draw(&Text::new(
                time_text(*time),
                (end + 6, y + row / 2 - 11),
                text.clone(),
            ))?;
        }
        root.present()?;
    }
    Ok(Some(Plot {
        caption: "From copying one MiB to having it sealed on the disk",
        explanation: "Each bar is a measurement of its own, for one MiB of the largest object measured; none is a difference of others. AES-CTR and GMAC do not \
                      add up to AES-GCM, which interleaves them.",
        svg: scaled(&svg),
        key: vec![],
    }))
}
