//! The transcript of the demo and of scenarios: steps, facts and verdicts as text of at most 100 columns.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::builder::styling::{AnsiColor, Style};

use crate::lab::{self, Claim, Verdict};
use crate::scenario::{Audience, Ran, ScenarioError};

use super::{CliError, Context, Outcome, Output, Progress};

const WIDTH: usize = 100;
/// Width of a fact's label.
const LABEL: usize = 21;
/// Width of a verdict.
const VERDICT: usize = 15;

/// Has a story told in the directory `dir`, which is taken away again, if nobody named it and it is empty, when
/// the story cannot be told.
pub(super) fn told(
    context: &Context,
    dir: &Path,
    story: impl FnOnce(&mut dyn Audience) -> Result<Ran, ScenarioError>,
) -> Result<Outcome, CliError> {
    let mut transcript = Transcript::new(context.output());
    let ran = story(&mut transcript);
    transcript.done();
    let ran = ran.inspect_err(|_| {
        if context.dir_given().is_none() {
            let _ = std::fs::remove_dir(dir);
        }
    })?;
    match context.output().is_json() {
        true => context.output().answer(&ran.report, |_| Ok(()))?,
        false => transcript.end(&ran)?,
    }
    Ok(match ran.report.exit_code() {
        0 => Outcome::Holds,
        _ => Outcome::ClaimFails,
    })
}

/// Writes a transcript to standard output, while it runs.
struct Transcript {
    output: Output,
    colours: bool,
    progress: Option<(&'static str, Progress)>,
    /// Each claim's verdict, for the end.
    verdicts: Vec<(Verdict, String)>,
    left_out: Vec<String>,
    /// The first failure to write; told at the end.
    failed: Option<io::Error>,
}

impl Transcript {
    fn new(output: Output) -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            output,
            colours,
            progress: None,
            verdicts: Vec::new(),
            left_out: Vec::new(),
            failed: None,
        }
    }

    /// Takes a progress bar away.
    fn done(&mut self) {
        self.progress = None;
    }

    /// What it all came to.
    ///
    /// # Errors
    /// The first failure to write, except that nobody read on.
    fn end(mut self, ran: &Ran) -> Result<(), CliError> {
        let Ran {
            report,
            written,
            signed,
        } = ran;
        self.step("Verdicts");
        for (verdict, id) in std::mem::take(&mut self.verdicts) {
            self.verdict(verdict, &id);
        }
        let left_out = std::mem::take(&mut self.left_out);
        if !left_out.is_empty() {
            let text = format!("attacks {}", left_out.join(", "));
            self.verdict(Verdict::NotTried, &text);
        }
        let count = |verdict| report.count(verdict);
        let sum = format!(
            "{} hold, {} fail, {} inconclusive, {} declared not protected, {} left out",
            count(Verdict::Holds),
            count(Verdict::Fails),
            count(Verdict::Inconclusive),
            count(Verdict::NotProtected),
            count(Verdict::NotTried),
        );
        self.step("Report");
        self.fact("Claims", &sum);
        self.fact("For people", &written.html.display().to_string());
        self.fact("For machines", &written.json.display().to_string());
        self.fact("JUnit XML", &written.junit.display().to_string());
        let by = format!(
            "{}, by the key {}",
            signed.path.display(),
            signed.thumbprint
        );
        self.fact("Signature", &by);
        match self.failed {
            Some(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CliError::output(e)),
            _ => Ok(()),
        }
    }

    fn print(&mut self, text: &str) {
        self.done();
        if self.failed.is_none() && !self.output.is_json() {
            let mut out = io::stdout().lock();
            let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            self.failed = written.err();
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        match self.colours {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    fn verdict(&mut self, verdict: Verdict, text: &str) {
        let word = self.styled(style(verdict), &format!("{verdict:<VERDICT$}"));
        let text = wrapped(text, 2 + VERDICT);
        self.print(&format!("  {word}{text}\n"));
    }
}

impl Audience for Transcript {
    fn step(&mut self, title: &str) {
        let title = self.styled(Style::new().bold(), title);
        self.print(&format!("\n{title}\n"));
    }

    fn fact(&mut self, label: &str, text: &str) {
        // A longer label keeps its distance; the text is indented as all others are.
        let label = format!("{label:<width$} ", width = LABEL - 1);
        let begins = 2 + label.chars().count();
        let label = self.styled(Style::new().dimmed(), &label);
        let text = wrapped_from(text, begins, 2 + LABEL);
        self.print(&format!("  {label}{text}\n"));
    }

    fn claim(&mut self, claim: &Claim) {
        self.verdicts.push((claim.verdict, claim.id.clone()));
        self.verdict(claim.verdict, &claim.text);
        let evidence = &claim.evidence;
        let why = match claim.verdict {
            Verdict::Fails => Some(evidence.summary.clone()),
            Verdict::NotProtected => evidence.reason.clone(),
            Verdict::Inconclusive => evidence.control.as_ref().map(|c| c.summary.clone()),
            Verdict::Holds | Verdict::NotTried => None,
        };
        if let Some(why) = why {
            let indent = 2 + VERDICT;
            self.print(&format!("{:indent$}{}\n", "", wrapped(&why, indent)));
        }
    }

    fn attack(&mut self, outcomes: &[lab::Outcome], verdict: Verdict) {
        let Some(first) = outcomes.first() else {
            return;
        };
        if verdict == Verdict::NotTried {
            self.left_out.push(first.attack.to_string());
            return;
        }
        let mut tally = lab::Tally::default();
        outcomes.iter().for_each(|o| tally.add(o.evidence.tally));
        let text = format!(
            "Attack {}: {} ({} tried, {} succeeded)",
            first.attack, first.name, tally.trials, tally.succeeded
        );
        self.verdicts
            .push((verdict, format!("attack-{}", first.attack)));
        self.verdict(verdict, &text);
        for (what, who) in remarks(outcomes) {
            let indent = 2 + VERDICT;
            let text = wrapped(&format!("{}: {what}", who.join(" and ")), indent);
            self.print(&format!("{:indent$}{text}\n", ""));
        }
    }

    fn progress(&mut self, what: &'static str, done: u64, total: u64) {
        let shown = self
            .progress
            .as_ref()
            .is_some_and(|(shown, _)| *shown == what);
        if !shown {
            self.progress = Some((what, self.output.progress(what)));
        }
        if let Some((_, bar)) = &self.progress {
            bar.set(done, total);
        }
    }
}

/// What there is to say of outcomes that do not hold, and of which resources it is to be said.
fn remarks(outcomes: &[lab::Outcome]) -> Vec<(String, Vec<&str>)> {
    let mut remarks: Vec<(String, Vec<&str>)> = Vec::new();
    for outcome in outcomes {
        let why = match outcome.verdict {
            Verdict::Holds | Verdict::NotTried => continue,
            Verdict::NotProtected => outcome.evidence.reason.as_ref(),
            Verdict::Fails | Verdict::Inconclusive => None,
        };
        let why = why.unwrap_or(&outcome.evidence.summary);
        let what = match &outcome.part {
            Some(part) => format!("{part}: {why}"),
            None => why.clone(),
        };
        let who = outcome.exhibit.as_deref().unwrap_or("no resource");
        match remarks.iter_mut().find(|(known, _)| *known == what) {
            Some((_, all)) => all.push(who),
            None => remarks.push((what, vec![who])),
        }
    }
    remarks
}

fn style(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Holds => AnsiColor::Green,
        Verdict::Fails => AnsiColor::Red,
        Verdict::NotProtected | Verdict::Inconclusive => AnsiColor::Yellow,
        Verdict::NotTried => return Style::new().dimmed(),
    };
    colour.on_default().bold()
}

/// `text` broken at spaces into lines that end before [`WIDTH`] when each but the first is
/// indented, and the first begins, at column `indent`. A longer word stays whole, and so do spaces
/// at the beginning.
fn wrapped(text: &str, indent: usize) -> String {
    wrapped_from(text, indent, indent)
}

/// The same where the first line begins at another column.
fn wrapped_from(text: &str, first: usize, indent: usize) -> String {
    let body = text.trim_start();
    let mut out = text[..text.len() - body.len()].to_owned();
    let (indent, first) = (indent + out.len(), first + out.len());
    let mut column = first;
    for (at, word) in body.split(' ').enumerate() {
        let len = word.chars().count();
        if at > 0 {
            if column + 1 + len > WIDTH {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                out.push(' ');
                column += 1;
            }
        }
        out.push_str(word);
        column += len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_only_and_stays_within_the_width() {
        assert_eq!(wrapped("  a  b", 10), "  a  b");
        let long = wrapped(&"four ".repeat(60), 20);
        assert!(long.lines().count() > 3 && long.lines().all(|l| l.chars().count() <= WIDTH));
        let path = format!("/{}", "x".repeat(200));
        assert_eq!(wrapped(&path, 20), path);
    }
}
