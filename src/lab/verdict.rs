use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What came out of an attack, or of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The attack succeeded on the plain twin and failed on the protected copy.
    Holds,
    /// The attack succeeded on the protected copy.
    Fails,
    /// The attack succeeded, and the design says that it does: declared, with the reason.
    NotProtected,
    /// The attack did not succeed on the plain twin either, or could not run: it proves nothing.
    Inconclusive,
    /// The attack is known, and this run left it out.
    NotTried,
}

impl Verdict {
    /// Whether a run that holds this verdict may still exit with 0.
    pub fn is_acceptable(self) -> bool {
        !matches!(self, Self::Fails | Self::Inconclusive)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds => "holds",
            Self::Fails => "fails",
            Self::NotProtected => "not protected",
            Self::Inconclusive => "inconclusive",
            Self::NotTried => "left out",
        })
    }
}

/// What an attack did, counted: each trial ends in exactly one of the three other numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Alterations made, or ways tried.
    pub trials: u64,
    /// Refused with an error.
    pub refused: u64,
    /// Not refused, and what was read is exactly the data that was written.
    pub harmless: u64,
    /// The attack succeeded: data was read that should not be, or wrong data was taken for right.
    pub succeeded: u64,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.trials += other.trials;
        self.refused += other.refused;
        self.harmless += other.harmless;
        self.succeeded += other.succeeded;
    }
}

/// One thing that was seen, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The file, relative to the copy.
    pub file: String,
    /// Byte offset in it, where there is one.
    pub offset: Option<u64>,
    /// What was seen.
    pub what: String,
}

/// What the same attack did to the plain twin: the positive control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Whether the attack succeeded there, as it must.
    pub fired: bool,
    /// What came out, in one sentence.
    pub summary: String,
    /// Counts.
    pub tally: Tally,
}

/// What a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What came out, in one sentence.
    pub summary: String,
    /// Counts.
    pub tally: Tally,
    /// What was seen and where; at most [`Evidence::MAX_FINDINGS`], the counts are complete.
    pub findings: Vec<Finding>,
    /// Error texts seen, and how often each.
    pub errors: BTreeMap<String, u64>,
    /// The positive control, where there is one.
    pub control: Option<Control>,
    /// Why the design does not stop it, for [`Verdict::NotProtected`] and [`Verdict::NotTried`].
    pub reason: Option<String>,
}

impl Evidence {
    /// How many findings are kept.
    pub const MAX_FINDINGS: usize = 50;
    /// How many different error texts are kept.
    const MAX_ERRORS: usize = 20;

    /// Evidence that is one sentence.
    pub fn of(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            ..Self::default()
        }
    }

    /// Counts an error text. Past [`Evidence::MAX_ERRORS`] different ones they share one entry.
    pub fn error(&mut self, text: String) {
        self.errors_seen(text, 1);
    }

    /// Counts an error text that was seen `count` times.
    pub(super) fn errors_seen(&mut self, text: String, count: u64) {
        let known = self.errors.contains_key(&text) || self.errors.len() < Self::MAX_ERRORS;
        let entry = if known { text } else { "(others)".to_owned() };
        *self.errors.entry(entry).or_default() += count;
    }

    /// Keeps a finding, while there is room.
    pub fn finding(
        &mut self,
        file: impl Into<String>,
        offset: Option<u64>,
        what: impl Into<String>,
    ) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(Finding {
                file: file.into(),
                offset,
                what: what.into(),
            });
        }
    }

    /// The verdict that the counts and the control give: an attack that did not succeed on the
    /// twin proves nothing.
    pub fn verdict(&self) -> Verdict {
        match &self.control {
            _ if self.tally.succeeded > 0 => Verdict::Fails,
            Some(control) if control.fired && self.tally.trials > 0 => Verdict::Holds,
            _ => Verdict::Inconclusive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(succeeded: u64, fired: bool) -> Evidence {
        Evidence {
            tally: Tally {
                trials: 3,
                refused: 3 - succeeded,
                harmless: 0,
                succeeded,
            },
            control: Some(Control {
                fired,
                ..Control::default()
            }),
            ..Evidence::default()
        }
    }

    #[test]
    fn an_attack_that_spares_the_twin_never_proves_that_protection_holds() {
        assert_eq!(evidence(0, true).verdict(), Verdict::Holds);
        assert_eq!(evidence(0, false).verdict(), Verdict::Inconclusive);
        assert_eq!(Evidence::of("nothing ran").verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn an_attack_that_succeeded_fails_whatever_the_control_says() {
        assert_eq!(evidence(1, true).verdict(), Verdict::Fails);
        assert_eq!(evidence(1, false).verdict(), Verdict::Fails);
    }
}
