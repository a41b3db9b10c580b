use std::collections::BTreeSet;

use askama::Template;

use super::units::{bytes, number, seconds};
use super::{Claim, ControlStatus, Looked, Report, chart, controls, svg};
use crate::envelope::ResourceKind;
use crate::lab::{Figures, LabError, PageKind, Verdict};

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    outcome: Summary,
    groups: Vec<Group<'a>>,
    pairs: Vec<Pair<'a>>,
    files: usize,
    stolen: String,
    attacks: usize,
    trials: String,
    legend: Vec<(&'static str, &'static str)>,
    bars: Vec<Bar<'a>>,
}

/// A step of the timeline: where its bar begins and how long it is, in percent of the whole.
struct Bar<'a> {
    title: &'a str,
    from: String,
    width: String,
    seconds: f64,
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
    /// In a few words, for the top of the page.
    short: &'static str,
    meaning: &'static str,
    claims: Vec<&'a Claim>,
}

struct Pair<'a> {
    name: &'a str,
    sentence: String,
    pictures: Vec<Picture>,
    rows: Vec<Row>,
}

/// The same picture of both copies.
struct Picture {
    title: &'static str,
    how: String,
    plain: String,
    protected: String,
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
        Ok(Pair {
            name: &pair.name,
            sentence: sentence(&pair.plain, &pair.protected),
            pictures: pictures(&pair.plain, &pair.protected)?,
            rows: rows(plain, protected),
        })
    });
    let attacks: BTreeSet<&str> = (report.claims.iter())
        .filter(|c| c.verdict != Verdict::NotTried)
        .filter_map(|c| c.id.split('/').next()?.strip_prefix("attack-"))
        .collect();
    let trials: u64 = report.claims.iter().map(|c| c.evidence.tally.trials).sum();
    let group = |&(verdict, class, short, meaning): &(Verdict, _, _, _)| Group {
        verdict,
        class,
        short,
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
        attacks: attacks.len(),
        trials: number(trials as f64),
        legend: legend(report),
        bars: bars(report),
    };
    page.render().map_err(|e| LabError::Report(e.to_string()))
}

/// In the order of the page: what is bad comes first.
const VERDICTS: [(Verdict, &str, &str, &str); 5] = [
    (
        Verdict::Fails,
        "fails",
        "the thief got what nobody should get",
        "The thief got what the claim says that nobody gets.",
    ),
    (
        Verdict::Inconclusive,
        "inconclusive",
        "it proves nothing",
        "The control did not succeed either, or the attack could not run: it proves nothing.",
    ),
    (
        Verdict::NotProtected,
        "open",
        "the thief succeeds: a known limit, with its reason",
        "The thief succeeds, and the design says so: a known limit, with its reason.",
    ),
    (
        Verdict::Holds,
        "holds",
        "the thief failed, and succeeded on the control",
        "The control succeeded, and the same failed on what is protected.",
    ),
    (
        Verdict::NotTried,
        "untried",
        "nothing is claimed",
        "Left out of this run. Nothing is claimed about them.",
    ),
];

fn summary(report: &Report) -> Summary {
    let good = report.exit_code() == 0;
    let (fails, limits) = (
        report.count(Verdict::Fails),
        report.count(Verdict::NotProtected),
    );
    let begins = |prefixes: &[&str]| {
        let any = |claim: &&Claim| prefixes.iter().any(|p| claim.id.starts_with(p));
        report.claims.iter().filter(any).collect::<Vec<_>>()
    };
    let bare = !begins(&controls::BARE).is_empty();
    // Only of a copy that was opened and searched without the key is it known that nothing reads it.
    let shut = |prefix| {
        let mut claims = begins(&[prefix]);
        claims.retain(|claim| claim.verdict != Verdict::NotTried);
        !claims.is_empty() && claims.iter().all(|c| c.verdict == Verdict::Holds)
    };
    let not_read = !report.thefts.is_empty() && shut("attack-1/") && shut("attack-2/");
    let all = limits == 0 && report.count(Verdict::NotTried) == 0;
    let mut text = match (fails, bare, good) {
        (1.., _, _) => format!("Protection failed: {fails} of the claims below do not hold."),
        (_, true, _) => {
            "Some of what was stolen is not protected, and can be read: see below.".to_owned()
        }
        (_, _, false) => "This run proves too little: see what is inconclusive below.".to_owned(),
        _ if not_read => {
            "Without the key, nothing that was tried could read what was stolen.".to_owned()
        }
        _ if all => "Every claim below holds.".to_owned(),
        _ => "What was tried holds.".to_owned(),
    };
    if good && !bare && limits > 0 {
        text.push_str(&format!(" Known limits: {limits}, listed below."));
    }
    Summary {
        good: good && !bare,
        text,
    }
}

/// What a thief sees of the pages, in a sentence.
fn sentence(plain: &Looked, protected: &Looked) -> String {
    let told = |looked: &Looked| {
        let profile = &looked.profile;
        let kinds = [
            (PageKind::Tree, "readable as tables and indexes"),
            (PageKind::Free, "free, with what was deleted from them"),
            (PageKind::Patterned, "patterned"),
            (PageKind::Zero, "zeros"),
            (PageKind::Header, "documented header"),
            (PageKind::Noise, "noise"),
        ];
        let seen = kinds
            .iter()
            .map(|(kind, what)| (profile.count(*kind), what));
        let seen: Vec<String> = seen
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{} {what}", number(n as f64)))
            .collect();
        let cells = match profile.pages_per_cell {
            1 => "pages".to_owned(),
            n => format!("squares of {n} pages each"),
        };
        format!(
            "of {} {cells}: {}",
            number(profile.kinds.len() as f64),
            seen.join(", ")
        )
    };
    format!(
        "Unprotected, {}. Protected, {}.",
        told(plain),
        told(protected)
    )
}

/// Every kind of page that occurs, with the colour's class.
fn legend(report: &Report) -> Vec<(&'static str, &'static str)> {
    const NAMES: [(PageKind, &str); 6] = [
        (PageKind::Tree, "plain: a table or index that SQLite reads"),
        (PageKind::Free, "plain: a free page, with deleted content"),
        (
            PageKind::Patterned,
            "plain: other content with a pattern (chi-square above 415)",
        ),
        (PageKind::Zero, "zeros"),
        (PageKind::Header, "documented header of a sealed file"),
        (
            PageKind::Noise,
            "sealed, or compressed: noise to chi-square",
        ),
    ];
    let occurs = |kind| {
        let mut both = report.figures.iter().flat_map(|p| [&p.plain, &p.protected]);
        both.any(|looked| looked.profile.count(kind) > 0)
    };
    let some = NAMES.into_iter().filter(|(kind, _)| occurs(*kind));
    some.map(|(kind, name)| (svg::class(kind), name)).collect()
}

fn pictures(plain: &Looked, protected: &Looked) -> Result<Vec<Picture>, LabError> {
    let top = chart::top(&plain.figures, &protected.figures);
    let entropy = |looked: &Looked| format!("{:.3}", looked.figures.entropy());
    Ok(vec![
        Picture {
            title: "Page map",
            how: "Each square is a page of 4 KiB, or several neighbours, in the order of the files: what somebody \
                  without a key takes it for."
                .to_owned(),
            plain: svg::map(&plain.profile),
            protected: svg::map(&protected.profile),
        },
        Picture {
            title: "Byte values",
            how: "Each bar is one of the 256 values that a byte can have, and shows how often it occurs. Text has \
                  favourites; noise has none. Bars that would leave the picture are cut."
                .to_owned(),
            plain: chart::distribution(&plain.figures, chart::PLAIN, top)?,
            protected: chart::distribution(&protected.figures, chart::PROTECTED, top)?,
        },
        Picture {
            title: "Entropy, page by page",
            how: format!(
                "How much a byte tells, of 8 bits at most. All bytes together: {} bits unprotected, {} protected. \
                 A page of noise has about 7.95: it is too short for more.",
                entropy(plain),
                entropy(protected)
            ),
            plain: svg::entropy(&plain.profile, "c-plain"),
            protected: svg::entropy(&protected.profile, "c-protected"),
        },
        Picture {
            title: "Chi-square, page by page",
            how: "How far the bytes of a page are from evenly spread; the scale is logarithmic. Noise lies about 255. \
                  Above the dashed line, 415, a page is flagged: noise gets there once in a billion pages."
                .to_owned(),
            plain: svg::chi_square(&plain.profile, "c-plain"),
            protected: svg::chi_square(&protected.profile, "c-protected"),
        },
    ])
}

fn bars(report: &Report) -> Vec<Bar<'_>> {
    let total: f64 = report.steps.iter().map(|s| s.seconds).sum();
    let share = |seconds: f64| 100.0 * seconds / total.max(f64::MIN_POSITIVE);
    let mut at = 0.0;
    let bar = |step: &'_ super::Step| {
        let from = share(at);
        at += step.seconds;
        (
            from,
            share(step.seconds).max(0.4).min(100.0 - from.min(99.6)),
        )
    };
    let spans: Vec<(f64, f64)> = report.steps.iter().map(bar).collect();
    let bars = report.steps.iter().zip(spans);
    bars.map(|(step, (from, width))| Bar {
        title: &step.title,
        from: format!("{from:.2}"),
        width: format!("{width:.2}"),
        seconds: step.seconds,
    })
    .collect()
}

/// The word for a status, and its class.
fn status(status: &ControlStatus) -> (&'static str, &'static str) {
    match status {
        ControlStatus::Supports => ("supports", "holds"),
        ControlStatus::Against => ("speaks against", "fails"),
        ControlStatus::Silent => ("nothing in this run", "untried"),
        ControlStatus::Never => ("never", "open"),
    }
}

/// What lies between the data encryption key and the bytes.
fn below(kind: &ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Sql => {
            "a key per writing session, from the data key and a random salt (HKDF-SHA-256)"
        }
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => {
            "a key per version of a blob, wrapped under the account's"
        }
    }
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
