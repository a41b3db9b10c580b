use std::path::Path;

use crate::lab::{Control, Evidence, Exhibit, Lab, LabError};

use super::vault::Arm;

/// What an attempt to read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// An error, and nothing else.
    Refused(String),
    /// Data, as a hash that tells different data apart.
    Data(String),
}

/// An attack on one target while it goes on: each trial's reading is compared with the truth.
pub(super) struct Bout {
    evidence: Evidence,
    file: String,
    truth: String,
}

impl Bout {
    /// Against `path`, whose data, unaltered, reads as `truth`.
    pub(super) fn new(path: &Path, truth: &str) -> Self {
        Self {
            evidence: Evidence::default(),
            file: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            truth: truth.to_owned(),
        }
    }

    /// Counts a trial. Data other than the truth is a success of the attack.
    pub(super) fn record(
        &mut self,
        reading: Reading,
        offset: Option<u64>,
        what: impl FnOnce() -> String,
    ) {
        let tally = &mut self.evidence.tally;
        tally.trials += 1;
        match reading {
            Reading::Refused(error) => {
                tally.refused += 1;
                self.evidence.error(without_ids(&error));
            }
            Reading::Data(data) if data == self.truth => tally.harmless += 1,
            Reading::Data(_) => {
                tally.succeeded += 1;
                self.evidence.finding(self.file.clone(), offset, what());
            }
        }
    }

    /// Counts of the trials so far.
    pub(super) fn harmless(&self) -> u64 {
        self.evidence.tally.harmless
    }

    /// Whether a trial has succeeded.
    pub(super) fn succeeded(&self) -> bool {
        self.evidence.tally.succeeded > 0
    }

    /// Adds what another bout of the same attack saw.
    pub(super) fn merge(&mut self, other: Self) {
        self.evidence.tally.add(other.evidence.tally);
        for (error, count) in other.evidence.errors {
            self.evidence.errors_seen(error, count);
        }
        for finding in other.evidence.findings {
            self.evidence
                .finding(finding.file, finding.offset, finding.what);
        }
    }

    /// The evidence, with counts as its summary after `did`.
    pub(super) fn finish(mut self, did: &str) -> Evidence {
        let t = self.evidence.tally;
        let wrong = match t.succeeded {
            0 => "none succeeded".to_owned(),
            n => format!("{n} succeeded without an error"),
        };
        let harmless = match t.harmless {
            0 => String::new(),
            n => format!(", {n} changed nothing that is read"),
        };
        self.evidence.summary = format!(
            "{did}: {} trials, {} refused{harmless}, {wrong}.",
            t.trials, t.refused
        );
        self.evidence
    }
}

/// Runs `attack` on specimens that are protected as the exhibit is, and on plain ones, which
/// become the control; each time in a directory of its own.
pub(super) fn both_arms(
    lab: &Lab,
    exhibit: &Exhibit,
    attack: impl Fn(&Arm, &Path) -> Result<Evidence, LabError>,
) -> Result<Evidence, LabError> {
    let run = |arm: &Arm| {
        let dir = lab.scratch()?;
        attack(arm, dir.path())
    };
    let mut evidence = run(&Arm::like(&exhibit.protected))?;
    evidence.control = Some(control(run(&Arm::plain())?));
    Ok(evidence)
}

/// What an attack on a plain target says as a control.
pub(super) fn control(plain: Evidence) -> Control {
    Control {
        fired: plain.tally.succeeded > 0,
        summary: plain.summary,
        tally: plain.tally,
    }
}

/// An error's text without the scratch directory, which differs from run to run.
pub(super) fn error_text(error: &impl std::fmt::Display, dir: &Path) -> String {
    let mut text = error.to_string();
    for dir in [dir.canonicalize().ok(), Some(dir.to_owned())]
        .into_iter()
        .flatten()
    {
        text = text.replace(&format!("{}/", dir.display()), "");
    }
    text
}

/// Puts one word for every identifier, so that errors that differ in nothing else count as one.
fn without_ids(text: &str) -> String {
    let hex = |c: char| c.is_ascii_hexdigit();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(hex) {
        out.push_str(&rest[..start]);
        let run = rest[start..]
            .find(|c| !hex(c))
            .unwrap_or(rest.len() - start);
        let (digits, after) = rest[start..].split_at(run);
        out.push_str(if run == 32 { "(identifier)" } else { digits });
        rest = after;
    }
    out + rest
}
