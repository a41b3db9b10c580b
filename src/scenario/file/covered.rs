//! What is expected of a landscape: coverage, states, warnings, audit records.

use crate::scenario::ScenarioError;
use crate::scenario::figures::{count, things};
use crate::scenario::teller::{Seen, Teller};
use crate::world::landscape::{EventFilter, PowerEnvironment};

use super::format::Act;
use super::format_landscape::{Covered, InState, Recorded, State, Warned};
use super::held::code;
use super::names::joined;
use super::stage::Stage;

impl Covered {
    pub(super) fn told(&self) -> String {
        let claim = || format!("What is covered in {} is as expected", self.environment.0);
        self.claim.clone().unwrap_or_else(claim)
    }
}

impl Stage {
    /// Looks whether an expectation of the landscape is met.
    ///
    /// # Errors
    /// When it could not be looked at.
    pub(super) fn expect_in_landscape(
        &mut self,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let seen = match act {
            Act::Warned(warned) => self.warned(warned, teller)?,
            Act::Coverage(covered) => self.covered(covered, teller)?,
            Act::State(state) => self.state(state)?,
            Act::Recorded(recorded) => self.recorded(recorded)?,
            other => panic!("{} is done, not expected", other.told()),
        };
        teller.expect(id, &act.told(), seen);
        Ok(())
    }

    fn warned(&mut self, warned: &Warned, teller: &mut Teller<'_>) -> Result<Seen, ScenarioError> {
        if let Err(e) = self.perform(&warned.act, teller) {
            return match super::is_environments(&e) {
                true => Err(e),
                false => Ok(Seen::new(false, format!("refused with {}: {e}", code(&e)))),
            };
        }
        let mut all = self.warnings.iter();
        Ok(match all.find(|w| w.rule.code() == warned.code.0) {
            Some(warning) => Seen::new(true, warning.to_string()),
            None => {
                let told = joined(self.warnings.iter().map(ToString::to_string));
                Seen::new(false, format!("it was done; warnings: {told}"))
            }
        })
    }

    fn covered(&self, covered: &Covered, teller: &mut Teller<'_>) -> Result<Seen, ScenarioError> {
        let coverage = self.landscape()?.coverage(covered.environment.0.as_str())?;
        let mut wrong = Vec::new();
        if coverage.verdict != covered.verdict {
            wrong.push(format!("in all it is {}", coverage.verdict));
        }
        let row = |subject: &str| coverage.rows.iter().find(|row| row.subject == subject);
        let missing = |subject: &str| {
            let all = joined(coverage.rows.iter().map(|row| row.subject.clone()));
            format!("no row {subject:?}; there are {all}")
        };
        for (subject, wanted) in &covered.rows {
            match row(subject) {
                None => wrong.push(missing(subject)),
                Some(row) if row.verdict != *wanted => {
                    wrong.push(format!("{subject} is {}: {}", row.verdict, row.why));
                }
                Some(_) => {}
            }
        }
        for subject in &covered.stale {
            match row(subject) {
                None => wrong.push(missing(subject)),
                Some(row) if !row.promise_is_stale => {
                    let promise = row.promise.unwrap_or("nothing");
                    wrong.push(format!("{subject} is promised, and not stale: {promise}"));
                }
                Some(_) => {}
            }
        }
        for row in &coverage.rows {
            let stale = if row.promise_is_stale { ", STALE" } else { "" };
            let told = format!("{}: {} ({}{stale})", row.subject, row.verdict, row.reason);
            teller.fact("Coverage", told);
        }
        Ok(match wrong.is_empty() {
            true => {
                let rows = things(coverage.rows.len() as u64, "row");
                Seen::new(true, format!("{}, of {rows}", coverage.verdict))
            }
            false => Seen::new(false, wrong.join("; ")),
        })
    }

    fn state(&self, wanted: &InState) -> Result<Seen, ScenarioError> {
        let name = wanted.environment.0.as_str();
        let power: PowerEnvironment = self.landscape()?.get(name)?;
        let told = format!("{name} is {}", power.key.word());
        Ok(Seen::new(State::from(&power.key) == wanted.is, told))
    }

    fn recorded(&self, recorded: &Recorded) -> Result<Seen, ScenarioError> {
        let events = self.landscape()?.events(&EventFilter {
            operation: Some(recorded.operation.clone()),
            actor: recorded.actor.as_ref().map(|actor| actor.0.to_string()),
            ..EventFilter::default()
        })?;
        let outcome = recorded.refused.as_ref().map_or("ok", |code| code.0);
        let fit = events.iter().filter(|event| event.outcome == outcome);
        let fit = fit.count() as u64;
        let told = format!("{} with {outcome} {} times", recorded.operation, count(fit));
        Ok(Seen::new(fit >= recorded.at_least, told))
    }
}
