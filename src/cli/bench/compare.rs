use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::{self, BenchError, Comparison, Judged, Run, ratio_text, time_text};
use crate::cli::{CliError, Outcome, Output, table};

/// Arguments of `atrest bench compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compared is the ratio to the baseline of the same run; a baseline itself, and any absolute time, only when both
runs are of one machine. `slower` and `faster` are said of what differs by more than a twentieth, and so surely
that all of it together is wrong once in twenty comparisons (rank sums, corrected as Holm does).

Exit codes: 0 nothing is slower, 1 something is, 2 an error.")]
pub struct Args {
    /// The run before, in JSON
    before: PathBuf,

    /// The run after
    after: PathBuf,

    /// Print also what did not change
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &Args, output: Output) -> Result<Outcome, CliError> {
    let comparison = bench::compare(&read(&args.before)?, &read(&args.after)?);
    output.answer(&comparison, |text| print(&comparison, args.all, text))?;
    Ok(match comparison.count(Judged::Slower) {
        0 => Outcome::Holds,
        _ => Outcome::ClaimFails,
    })
}

fn read(path: &Path) -> Result<Run, BenchError> {
    let bad = |why: String| BenchError::Results {
        path: path.display().to_string(),
        why,
    };
    let text = fs::read(path).map_err(|e| bad(e.to_string()))?;
    let run: Run = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    match run.format {
        1 => Ok(run),
        other => Err(bad(format!(
            "results of format {other}, and this version knows 1"
        ))),
    }
}

fn print(comparison: &Comparison, all: bool, text: &mut String) -> std::fmt::Result {
    use std::fmt::Write;
    let shown = comparison
        .changes
        .iter()
        .filter(|c| all || c.judged != Judged::NoChangeSeen);
    let rows: Vec<Vec<String>> = shown
        .map(|c| {
            let value = |v: f64| match c.what == "time" {
                true => time_text(v),
                false => format!("{v:.3}"),
            };
            vec![
                c.id.clone(),
                value(c.before),
                value(c.after),
                ratio_text(c.change),
                format!("{:.4}", c.p),
                match c.judged {
                    Judged::Slower => "slower",
                    Judged::Faster => "faster",
                    Judged::NoChangeSeen => "no change seen",
                }
                .to_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["measurement", "before", "after", "change", "p", ""];
        text.push_str(&table(&header, &[1, 2, 3, 4], &rows));
    }
    let of = |judged| comparison.count(judged);
    writeln!(
        text,
        "{} slower, {} faster, {} without a change that was seen.",
        of(Judged::Slower),
        of(Judged::Faster),
        of(Judged::NoChangeSeen)
    )?;
    for (what, ids) in [("before", &comparison.missing), ("after", &comparison.new)] {
        if !ids.is_empty() {
            writeln!(text, "Only in the run {what}: {}", ids.join(", "))?;
        }
    }
    for doubt in &comparison.doubts {
        writeln!(text, "To be said against it: {doubt}")?;
    }
    Ok(())
}
