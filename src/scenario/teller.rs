use std::time::Instant;

use crate::lab::{Claim, Control, Evidence, Outcome, Report, Step, Verdict};

use super::ScenarioError;

/// Who watches the demo while it runs.
pub trait Audience {
    /// A step begins.
    fn step(&mut self, title: &str);

    /// Something that was done or seen, with its figure.
    fn fact(&mut self, label: &str, text: &str);

    /// A claim, and what came out.
    fn claim(&mut self, claim: &Claim);

    /// What an attack of the lab came to, over all resources and parts.
    fn attack(&mut self, outcomes: &[Outcome], verdict: Verdict);

    /// How far something long is, in whatever it is counted.
    fn progress(&mut self, what: &'static str, done: u64, total: u64);
}

/// Tells the audience and fills the report.
pub(in crate::scenario) struct Teller<'a> {
    report: Report,
    audience: &'a mut dyn Audience,
    lines: Vec<String>,
    /// Where in a file it stands what is claimed now.
    place: Option<String>,
}

impl<'a> Teller<'a> {
    pub(in crate::scenario) fn new(report: Report, audience: &'a mut dyn Audience) -> Self {
        Self {
            report,
            audience,
            lines: Vec::new(),
            place: None,
        }
    }

    /// Runs a step. An error in it is a claim that fails, and the next step still runs.
    pub(in crate::scenario) fn step(
        &mut self,
        title: &str,
        run: impl FnOnce(&mut Self) -> Result<(), ScenarioError>,
    ) {
        if let Err(e) = self.try_step(title, run) {
            let number = title.split('.').next().unwrap_or(title);
            self.claim(Claim {
                id: format!("step-{number}"),
                text: format!("Step {number} runs to its end"),
                verdict: Verdict::Fails,
                evidence: Evidence::of(e.to_string()),
            });
        }
    }

    /// Runs a step whose errors end the demo.
    pub(in crate::scenario) fn try_step<T>(
        &mut self,
        title: &str,
        run: impl FnOnce(&mut Self) -> Result<T, ScenarioError>,
    ) -> Result<T, ScenarioError> {
        let started = Instant::now();
        self.audience.step(title);
        let result = run(self);
        self.report.step(Step {
            title: title.to_owned(),
            lines: std::mem::take(&mut self.lines),
            seconds: started.elapsed().as_secs_f64(),
        });
        result
    }

    pub(in crate::scenario) fn fact(&mut self, label: &str, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.audience.fact(label, text);
        self.lines.push(format!("{label}: {text}"));
    }

    /// Says where in a file it stands what is claimed from now on.
    pub(in crate::scenario) fn at(&mut self, place: String) {
        self.place = Some(place);
    }

    pub(in crate::scenario) fn claim(&mut self, mut claim: Claim) {
        if let Some(place) = &self.place
            && !claim.verdict.is_acceptable()
        {
            let evidence = &mut claim.evidence;
            evidence.summary = format!("{place}: {}", evidence.summary);
            if let Some(control) = &mut evidence.control {
                control.summary = format!("{place}: {}", control.summary);
            }
        }
        self.audience.claim(&claim);
        self.report.claim(claim);
    }

    /// Claims that something went as it must here, and the other way on the twin.
    pub(in crate::scenario) fn compare(&mut self, id: &str, text: &str, seen: Seen, control: Seen) {
        let Seen { ok, summary } = seen;
        let verdict = match (ok, control.ok) {
            (false, _) => Verdict::Fails,
            (true, true) => Verdict::Holds,
            (true, false) => Verdict::Inconclusive,
        };
        self.claim(Claim {
            id: id.to_owned(),
            text: text.to_owned(),
            verdict,
            evidence: Evidence {
                summary,
                control: Some(Control {
                    fired: control.ok,
                    summary: control.summary,
                    ..Control::default()
                }),
                ..Evidence::default()
            },
        });
    }

    /// Claims that something went as it must; what that is worth, the code or the data says that was seen.
    pub(in crate::scenario) fn expect(&mut self, id: &str, text: &str, seen: Seen) {
        let verdict = match seen.ok {
            true => Verdict::Holds,
            false => Verdict::Fails,
        };
        self.claim(Claim {
            id: id.to_owned(),
            text: text.to_owned(),
            verdict,
            evidence: Evidence::of(seen.summary),
        });
    }

    /// Claims what could not be tried any more.
    pub(in crate::scenario) fn not_tried(&mut self, id: &str, text: &str, why: &str) {
        self.claim(Claim {
            id: id.to_owned(),
            text: text.to_owned(),
            verdict: Verdict::NotTried,
            evidence: Evidence {
                reason: Some(why.to_owned()),
                ..Evidence::of(why)
            },
        });
    }

    /// Says what protection does not do, with what was seen of it.
    pub(in crate::scenario) fn not_protected(
        &mut self,
        id: &str,
        text: &str,
        seen: String,
        reason: &str,
    ) {
        self.claim(Claim {
            id: id.to_owned(),
            text: text.to_owned(),
            verdict: Verdict::NotProtected,
            evidence: Evidence {
                summary: seen,
                reason: Some(reason.to_owned()),
                ..Evidence::default()
            },
        });
    }

    /// Outcomes of the lab, in the order of the attacks.
    pub(in crate::scenario) fn attacks(&mut self, outcomes: Vec<Outcome>) {
        for attack in outcomes.chunk_by(|a, b| a.attack == b.attack) {
            let verdict = worst(attack);
            self.audience.attack(attack, verdict);
            self.lines
                .push(format!("Attack {}: {verdict}", attack[0].attack));
        }
        for outcome in outcomes {
            self.report.claim(outcome);
        }
    }

    pub(in crate::scenario) fn progress(&mut self, what: &'static str, done: u64, total: u64) {
        self.audience.progress(what, done, total);
    }

    pub(in crate::scenario) fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    pub(in crate::scenario) fn finish(self) -> Report {
        self.report
    }
}

/// The verdict that decides over several.
fn worst(outcomes: &[Outcome]) -> Verdict {
    let order = [
        Verdict::Fails,
        Verdict::Inconclusive,
        Verdict::NotProtected,
        Verdict::Holds,
    ];
    let seen = |verdict: &Verdict| outcomes.iter().any(|o| o.verdict == *verdict);
    order.into_iter().find(seen).unwrap_or(Verdict::NotTried)
}

/// Whether something went as it must, and what was seen.
pub(in crate::scenario) struct Seen {
    pub(in crate::scenario) ok: bool,
    pub(in crate::scenario) summary: String,
}

impl Seen {
    pub(in crate::scenario) fn new(ok: bool, summary: impl Into<String>) -> Self {
        Self {
            ok,
            summary: summary.into(),
        }
    }

    /// That all of these were refused, as they must be; with their reasons.
    pub(in crate::scenario) fn refused<T, E: std::fmt::Display>(
        tried: impl IntoIterator<Item = (String, Result<T, E>)>,
    ) -> Self {
        let (mut ok, mut parts) = (true, Vec::new());
        for (what, result) in tried {
            match result {
                Ok(_) => {
                    ok = false;
                    parts.push(format!("{what}: not refused"));
                }
                Err(e) => parts.push(format!("{what}: {e}")),
            }
        }
        Self::new(ok, parts.join("; "))
    }

    /// That all of these went well.
    pub(in crate::scenario) fn worked<T, E: std::fmt::Display>(
        tried: impl IntoIterator<Item = (String, Result<T, E>)>,
    ) -> Self {
        let (mut ok, mut parts) = (true, Vec::new());
        for (what, result) in tried {
            match result {
                Ok(_) => parts.push(format!("{what}: works")),
                Err(e) => {
                    ok = false;
                    parts.push(format!("{what}: {e}"));
                }
            }
        }
        Self::new(ok, parts.join("; "))
    }

    /// Both.
    pub(in crate::scenario) fn and(self, other: Self) -> Self {
        Self::new(
            self.ok && other.ok,
            format!("{}; {}", self.summary, other.summary),
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::lab::ReportMeta;

    struct Nobody;

    impl Audience for Nobody {
        fn step(&mut self, _title: &str) {}
        fn fact(&mut self, _label: &str, _text: &str) {}
        fn claim(&mut self, _claim: &Claim) {}
        fn attack(&mut self, _outcomes: &[Outcome], _verdict: Verdict) {}
        fn progress(&mut self, _what: &'static str, _done: u64, _total: u64) {}
    }

    fn told(tell: impl FnOnce(&mut Teller<'_>)) -> Report {
        let mut nobody = Nobody;
        let meta = ReportMeta {
            title: String::new(),
            command: String::new(),
            generated: Timestamp::UNIX_EPOCH,
            seed: 0,
            parameters: Default::default(),
        };
        let mut teller = Teller::new(Report::new(meta), &mut nobody);
        tell(&mut teller);
        teller.finish()
    }

    #[test]
    fn a_step_that_ends_with_an_error_is_a_claim_that_fails_and_the_next_one_runs() {
        let good = || Seen::new(true, "");
        let error = || ScenarioError::input("x".as_ref(), "gone");
        let report = told(|t| {
            t.step("4. Broken", |_| Err(error()));
            t.step("5. Whole", |t| {
                t.compare("after", "the next step runs", good(), good());
                Ok(())
            });
        });
        let verdicts: Vec<_> = report
            .claims()
            .iter()
            .map(|c| (&*c.id, c.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [("step-4", Verdict::Fails), ("after", Verdict::Holds)]
        );
        assert_eq!(report.claims()[0].evidence.summary, "x: gone");
        assert_eq!(report.exit_code(), 1);
    }

    #[test]
    fn nothing_holds_without_its_control_and_nothing_hides_a_failure() {
        for (ok, control, verdict) in [
            (true, true, Verdict::Holds),
            (true, false, Verdict::Inconclusive),
            (false, true, Verdict::Fails),
            (false, false, Verdict::Fails),
        ] {
            let report = told(|t| t.compare("x", "x", Seen::new(ok, ""), Seen::new(control, "")));
            assert_eq!(report.claims()[0].verdict, verdict);
        }
        let mixed = [("a".to_owned(), Err("no")), ("b".to_owned(), Ok(()))];
        assert!(!Seen::refused(mixed.clone()).ok && !Seen::worked(mixed).ok);
    }
}
