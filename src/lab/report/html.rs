use askama::Template;

use super::{Claim, Report, chart};
use crate::lab::{Figures, LabError, Verdict};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    outcome: Summary,
    groups: Vec<Group<'a>>,
    pairs: Vec<Pair<'a>>,
    files: usize,
    stolen: String,
}

/// The sentence at the top.
struct Summary {
    good: bool,
    text: String,
}

/// The claims that have one verdict.
struct Group<'a> {
    verdict: Verdict,
    class: &'static str,
    meaning: &'static str,
    claims: Vec<&'a Claim>,
}

struct Pair<'a> {
    name: &'a str,
    plain_chart: String,
    protected_chart: String,
    rows: Vec<Row>,
}

struct Row {
    what: &'static str,
    plain: String,
    protected: String,
    noise: &'static str,
}

/// The page.
pub(super) fn render(report: &Report) -> Result<String, LabError> {
    let pairs = report.figures.iter().map(|pair| {
        let (plain, protected) = (&pair.plain.figures, &pair.protected.figures);
        let top = chart::top(plain, protected);
        Ok(Pair {
            name: &pair.name,
            plain_chart: chart::distribution(plain, chart::PLAIN, top)?,
            protected_chart: chart::distribution(protected, chart::PROTECTED, top)?,
            rows: rows(plain, protected),
        })
    });
    let group = |&(verdict, class, meaning): &(Verdict, _, _)| Group {
        verdict,
        class,
        meaning,
        claims: report
            .claims
            .iter()
            .filter(|c| c.verdict == verdict)
            .collect(),
    };
    let page = Page {
        report,
        outcome: summary(report),
        groups: VERDICTS.iter().map(group).collect(),
        pairs: pairs.collect::<Result<_, LabError>>()?,
        files: report.thefts.iter().map(|t| t.manifest.files.len()).sum(),
        stolen: bytes(report.thefts.iter().map(|t| t.manifest.bytes()).sum()),
    };
    page.render().map_err(|e| LabError::Report(e.to_string()))
}

/// In the order of the page: what is bad comes first.
const VERDICTS: [(Verdict, &str, &str); 5] = [
    (
        Verdict::Fails,
        "fails",
        "The thief got what the claim says that nobody gets.",
    ),
    (
        Verdict::Inconclusive,
        "inconclusive",
        "The attack did not succeed on the unprotected twin either, or could not run: it proves nothing.",
    ),
    (
        Verdict::NotProtected,
        "open",
        "The thief succeeds, and the design says so: a known limit, with its reason.",
    ),
    (
        Verdict::Holds,
        "holds",
        "The attack succeeded on the unprotected twin and failed on the protected copy.",
    ),
    (
        Verdict::NotTried,
        "untried",
        "Known attacks that this version does not carry out yet. Nothing is claimed about them.",
    ),
];

fn summary(report: &Report) -> Summary {
    let good = report.exit_code() == 0;
    let (fails, limits) = (
        report.count(Verdict::Fails),
        report.count(Verdict::NotProtected),
    );
    let text = match (fails, good, limits) {
        (1.., _, _) => format!("Protection failed: {fails} of the claims below do not hold."),
        (_, false, _) => "This run proves too little: see what is inconclusive below.".to_owned(),
        (_, true, 0) => "Without the key, what was stolen is of no use.".to_owned(),
        (_, true, 1) => {
            "Without the key, what was stolen is of no use. Someone who can also write \
                         to the disk has one known way left, listed below."
                .to_owned()
        }
        (_, true, _) => format!(
            "Without the key, what was stolen is of no use. Known limits: {limits}, listed below."
        ),
    };
    Summary { good, text }
}

fn rows(plain: &Figures, protected: &Figures) -> Vec<Row> {
    let row = |what, noise, of: &dyn Fn(&Figures) -> String| Row {
        what,
        plain: of(plain),
        protected: of(protected),
        noise,
    };
    vec![
        row("Bytes", "", &|f| bytes(f.bytes)),
        row("of these, in documented headers", "", &|f| {
            bytes(f.documented)
        }),
        row("Known texts found", "0", &|f| f.canary_hits.to_string()),
        row("File structures found", "0", &|f| {
            f.structures.values().sum::<u64>().to_string()
        }),
        row("Entropy, bits per byte", "8.000", &|f| {
            format!("{:.3}", f.entropy())
        }),
        row("Chi-square of all bytes", "about 255, below 415", &|f| {
            number(f.chi_square())
        }),
        row("4 KiB pages with chi-square above 415", "0", &|f| {
            format!("{} of {}", f.pages_flagged, f.pages)
        }),
        row("Highest chi-square of a page", "below 415", &|f| {
            number(f.worst_page)
        }),
        row("Size after deflate", "100 %", &|f| {
            format!("{:.1} %", 100.0 * f.deflate_ratio())
        }),
        row("Repeated 16-byte blocks", "0", &|f| {
            format!("{} of {}", f.blocks_repeated, f.blocks)
        }),
        row("Neighbouring units under one keystream", "0", &|f| {
            format!("{} of {}", f.pairs_flagged, f.pairs)
        }),
        row(
            "Detectors that raise an alarm",
            "none",
            &|f| match f.alarms() {
                none if none.is_empty() => "none".to_owned(),
                alarms => alarms.join(", "),
            },
        ),
    ]
}

/// To the nearest integer, with commas between thousands.
fn number(x: f64) -> String {
    let digits = format!("{x:.0}");
    let first = match digits.len() % 3 {
        0 => 3.min(digits.len()),
        n => n,
    };
    let (mut out, mut rest) = (digits[..first].to_owned(), &digits[first..]);
    while !rest.is_empty() {
        out = format!("{out},{}", &rest[..3]);
        rest = &rest[3..];
    }
    out
}

fn bytes(n: u64) -> String {
    let x = n as f64;
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} kB", x / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", x / 1e6),
        _ => format!("{:.1} GB", x / 1e9),
    }
}

fn seconds(s: &f64) -> String {
    match s {
        ..1.0 => format!("{:.0} ms", s * 1000.0),
        _ => format!("{s:.1} s"),
    }
}
