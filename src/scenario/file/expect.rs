//! What is expected in a story. Nothing holds that proves nothing: what cannot be read must have been read at
//! the same place, or its twin be read there now. Over 400 lines because each word that expects something is here.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::types::ValueRef;

use crate::lab::{self, FiguresPair, Searcher, Selection};
use crate::scenario::ScenarioError;
use crate::scenario::figures::count;
use crate::scenario::measure::Difference;
use crate::scenario::teller::{Seen, Teller};
use crate::vault::AuditFilter;
use crate::world::{ResourceAddress, WhichVault};

use super::format::{
    Act, Attack, AttackVerdict, Audited, Cell, InCopy, Load, NotProtected, OnlyKeysChanged, Query,
    Readable, Refused, Then, Unreadable,
};
use super::held::{Held, code};
use super::load::{self, Party};
use super::names::twin;
use super::stage::{Known, Stage};

impl Stage {
    /// Looks whether an expectation is met; the claim goes to `teller` under `id`.
    ///
    /// # Errors
    /// When it could not be looked at.
    pub(super) fn expect(
        &mut self,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        match act {
            Act::Readable(readable) => self.readable(readable, act, id, teller),
            Act::Unreadable(unreadable) => self.unreadable(unreadable, act, id, teller),
            Act::Refused(refused) => return self.refused(refused, act, id, teller),
            Act::Query(query) => self.query(query, act, id, teller),
            Act::OnlyKeysChanged(changed) => {
                return self.only_keys_changed(changed, act, id, teller);
            }
            Act::Noise(noise) => return self.noise(noise, id, teller),
            Act::Audited(audited) => return self.audited(audited, act, id, teller),
            Act::NotProtected(declared) => self.not_protected(declared, id, teller),
            Act::Attack(attack) => return self.attack(attack, id, teller),
            Act::Load(load) => return self.load(load, act, id, teller),
            other => return self.expect_in_landscape(other, id, teller),
        }
        Ok(())
    }

    /// Reads a resource and compares it with what was written into it.
    fn read(&mut self, address: &ResourceAddress) -> (Result<(), ScenarioError>, Seen) {
        let read = Held::read(self.workspace(address), address);
        let known = (self.known.get_mut(&address.to_string())).expect("a resource that was made");
        let (held, loaded) = match read {
            Ok(read) => read,
            Err(e) => {
                let e = ScenarioError::from(e);
                let seen = Seen::new(false, format!("{address}: {e}"));
                return (Err(e), seen);
            }
        };
        let same = held.is_same(&known.held) && loaded >= known.loaded;
        known.seen_here |= same;
        let told = match same {
            true => format!("{address}: {}, as they were written", held.size()),
            false => format!(
                "{address}: opens, and holds other data than was written: {} and {} of a load, where {} and {} were",
                held.size(),
                count(loaded),
                known.held.size(),
                count(known.loaded)
            ),
        };
        (Ok(()), Seen::new(same, told))
    }

    fn readable(&mut self, readable: &Readable, act: &Act, id: &str, teller: &mut Teller<'_>) {
        let mut seen = Vec::new();
        let mut anything = false;
        for address in self.all(&readable.what) {
            anything |= !self.known[&address.to_string()].held.is_empty();
            seen.push(self.read(&address).1);
        }
        let text = readable.claim.clone().unwrap_or_else(|| act.told());
        let control = Seen::new(anything, "what was written holds something to compare");
        teller.compare(id, &text, together(seen), control);
    }

    fn unreadable(
        &mut self,
        unreadable: &Unreadable,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) {
        let (mut seen, mut controls) = (Vec::new(), Vec::new());
        for address in self.all(&unreadable.what) {
            controls.push(self.control(&address));
            let (opened, told) = self.read(&address);
            seen.push(match opened {
                Ok(()) => Seen::new(false, format!("{address} opens")),
                Err(e) => {
                    let code = code(&e);
                    let wanted = unreadable.code.as_ref().map(|code| code.0);
                    match wanted {
                        Some(wanted) if wanted != code => Seen::new(
                            false,
                            format!(
                                "{address}: refused with {code} instead of {wanted}: {}",
                                told.summary
                            ),
                        ),
                        _ => Seen::new(true, told.summary),
                    }
                }
            });
        }
        for told in &seen {
            teller.fact("Refused", super::brief(&told.summary));
        }
        let text = unreadable.claim.clone().unwrap_or_else(|| act.told());
        teller.compare(id, &text, together(seen), together(controls));
    }

    /// Why it means something that a resource cannot be read.
    fn control(&mut self, address: &ResourceAddress) -> Seen {
        if self.has_twin(address) {
            let twin = twin(address);
            return self.read(&twin).1;
        }
        match self.known[&address.to_string()].seen_here {
            true => Seen::new(true, format!("{address} was read here before")),
            false => Seen::new(
                false,
                format!(
                    "{address} was never read here, and has no twin: whether anything here can be read is not known; \
                     say `readable` of it before, or `twin: true` of what it comes from"
                ),
            ),
        }
    }

    fn refused(
        &mut self,
        refused: &Refused,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let text = refused.claim.clone().unwrap_or_else(|| act.told());
        let seen = match self.perform(&refused.act, teller) {
            Ok(()) => Seen::new(false, "it was done, not refused"),
            Err(e) if super::is_environments(&e) => return Err(e),
            Err(e) => {
                let code = code(&e);
                teller.fact("Refused", super::brief(&e.to_string()));
                match code == refused.code.0 {
                    true => Seen::new(true, e.to_string()),
                    false => Seen::new(
                        false,
                        format!("refused with {code} instead of {}: {e}", refused.code.0),
                    ),
                }
            }
        };
        teller.expect(id, &text, seen);
        Ok(())
    }

    fn query(&mut self, query: &Query, act: &Act, id: &str, teller: &mut Teller<'_>) {
        let address = self.resolve(&query.from.value.0);
        let text = query.claim.clone().unwrap_or_else(|| act.told());
        let seen = match self.rows(&address, &query.sql.value) {
            Err(e) => Seen::new(false, e.to_string()),
            Ok(rows) => {
                let told = |rows: &[Vec<Cell>]| format!("{rows:?}");
                match rows == query.rows {
                    true => Seen::new(true, format!("{} rows, as expected", rows.len())),
                    false => Seen::new(
                        false,
                        format!("it gives {}, and not {}", told(&rows), told(&query.rows)),
                    ),
                }
            }
        };
        teller.expect(id, &text, seen);
    }

    fn rows(&self, address: &ResourceAddress, sql: &str) -> Result<Vec<Vec<Cell>>, ScenarioError> {
        /// More are not worth comparing.
        const MOST: usize = 1000;
        let database = self.workspace(address).open_sql(address)?;
        let read = || {
            let conn =
                super::data::confined(database.connect()?).map_err(|e| database.explain(e))?;
            let mut all = Vec::new();
            let mut gather = || {
                let mut statement = conn.prepare(sql)?;
                let width = statement.column_count();
                let mut rows = statement.query(())?;
                while let Some(row) = rows.next()? {
                    let cells = (0..width).map(|at| row.get_ref(at).map(cell));
                    all.push(cells.collect::<Result<Vec<Cell>, _>>()?);
                    if all.len() > MOST {
                        break;
                    }
                }
                Ok(())
            };
            gather().map_err(|e| database.explain(e))?;
            Ok(all)
        };
        read()
    }

    fn only_keys_changed(
        &mut self,
        changed: &OnlyKeysChanged,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let mut seen = Vec::new();
        for address in self.all(&changed.what) {
            let live = self.workspace(&address).path(&address)?;
            let copy = &self.copies[&changed.since.value.0].stolen[&address.to_string()].path;
            let difference = Difference::between(&live, copy)?;
            let told = format!(
                "{} of {} bytes differ from {}; {} are data",
                count(difference.differing),
                count(difference.bytes),
                changed.since.value.0,
                count(difference.data_differing)
            );
            teller.fact(&self.label(&address), &told);
            let only = difference.differing > 0 && difference.data_differing == 0;
            seen.push(Seen::new(only, format!("{address}: {told}")));
        }
        let text = changed.claim.clone().unwrap_or_else(|| act.told());
        teller.expect(id, &text, together(seen));
        Ok(())
    }

    fn noise(
        &mut self,
        noise: &InCopy,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let lab = self.lab(&noise.copy.value.0, Some(self.all(&noise.what)))?;
        let searcher = Searcher::new(&lab.canaries)?;
        let stolen = self.copies[&noise.copy.value.0].dir.clone();
        for exhibit in &lab.exhibits {
            let pair = FiguresPair::take(exhibit, &stolen, &searcher)?;
            let tell = |figures: &lab::Figures| match figures.alarms() {
                alarms if alarms.is_empty() => "no detector fires".to_owned(),
                alarms => format!("these fire: {}", alarms.join(", ")),
            };
            let (plain, protected) = (&pair.plain.figures, &pair.protected.figures);
            teller.compare(
                &format!("{id}/{}", exhibit.name),
                &format!("To every detector the bytes of {} are noise", exhibit.name),
                Seen::new(protected.alarms().is_empty(), tell(protected)),
                Seen::new(!plain.alarms().is_empty(), tell(plain)),
            );
            teller.report().figures(pair);
        }
        Ok(())
    }

    fn audited(
        &mut self,
        audited: &Audited,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let which = audited.vault.as_ref().map(|v| v.value.0.clone());
        let which = match (&which, &audited.key) {
            (Some(which), _) => which.clone(),
            (None, Some(key)) => key.value.0.vault.clone(),
            (None, None) => WhichVault::Customer,
        };
        let vault = self.vault(&which)?;
        let summary = vault.verify_audit()?;
        let filter = AuditFilter {
            operation: Some(audited.operation.0),
            key: audited.key.as_ref().map(|key| key.value.0.key.clone()),
            failed: audited.refused.is_some(),
            ..AuditFilter::default()
        };
        let wanted = audited.refused.as_ref().map_or("OK", |code| code.0);
        let records = vault.audit(&filter)?;
        let fit = records
            .iter()
            .filter(|r| r.result_signature == wanted)
            .count() as u64;
        let told = format!(
            "{} with {wanted} {} times; the chain of {} records is whole",
            audited.operation.0,
            count(fit),
            count(summary.records)
        );
        teller.fact("Audit log", &told);
        teller.expect(id, &act.told(), Seen::new(fit >= audited.at_least, told));
        Ok(())
    }

    fn not_protected(&mut self, declared: &NotProtected, id: &str, teller: &mut Teller<'_>) {
        let all = self.all(&declared.readable);
        let seen = together(all.iter().map(|address| self.read(address).1).collect());
        match seen.ok {
            true => teller.not_protected(id, &declared.claim, seen.summary, &declared.because),
            false => {
                let text = format!("As declared: {} (not so)", declared.claim);
                teller.expect(id, &text, seen);
            }
        }
    }

    fn attack(
        &mut self,
        attack: &Attack,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let on = attack.on.as_ref().map(|on| self.all(on));
        let lab = self.lab(&attack.copy.value.0, on)?;
        let selection = Selection {
            only: attack.numbers.iter().map(|number| number.value).collect(),
            ..Selection::default()
        };
        let outcomes = lab::run(&lab, &selection, &|_, _, _| ());
        let verdicts: BTreeSet<lab::Verdict> = outcomes.iter().map(|o| o.verdict).collect();
        let wanted = |verdict: &lab::Verdict| match attack.verdict {
            AttackVerdict::Acceptable => verdict.is_acceptable(),
            AttackVerdict::Holds => *verdict == lab::Verdict::Holds,
            AttackVerdict::Fails => *verdict == lab::Verdict::Fails,
        };
        let tried = !outcomes.is_empty();
        if attack.verdict == AttackVerdict::Acceptable && tried {
            teller.attacks(outcomes);
            return Ok(());
        }
        let told: Vec<String> = outcomes
            .iter()
            .map(|o| {
                format!(
                    "attack {} on {}: {}",
                    o.attack,
                    o.exhibit.as_deref().unwrap_or("nothing"),
                    o.verdict
                )
            })
            .collect();
        let text = match attack.verdict {
            AttackVerdict::Fails => "Every one of these attacks succeeds",
            _ => "Every one of these attacks fails",
        };
        let seen = Seen::new(tried && verdicts.iter().all(wanted), told.join("; "));
        teller.expect(id, text, seen);
        Ok(())
    }

    fn load(
        &mut self,
        load: &Load,
        act: &Act,
        id: &str,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let all = self.all(&load.on);
        let within = load
            .within
            .as_ref()
            .map_or(Duration::ZERO, |within| within.0);
        // What is done meanwhile needs the stage, and so do the threads: they have the working directories.
        let sites: Vec<super::names::Site> =
            all.iter().map(|address| self.names.site(address)).collect();
        let threads =
            |n: &Option<super::at::At<u8>>, usual: u8| n.as_ref().map_or(usual, |n| n.value);
        let (readers, writers) = (
            threads(&load.readers, load::READERS),
            threads(&load.writers, load::WRITERS),
        );
        let world = self.world.clone();
        let strangers = self.strangers.clone();
        let parties: Vec<Party<'_>> = (all.iter().zip(&sites))
            .map(|(address, site)| Party {
                address: address.clone(),
                workspace: match site {
                    None => &world,
                    Some(stranger) => &strangers[stranger],
                },
                readers,
                writers,
                from: self.known[&address.to_string()].loaded,
            })
            .collect();
        let (loaded, ()) = load::run(&parties, within, || {
            load.during
                .iter()
                .try_for_each(|act| match act.value.is_expectation() {
                    true => {
                        let id = format!("{id}/line-{}", act.position.line);
                        self.expect(&act.value, &id, teller)
                    }
                    false => self.perform(&act.value, teller),
                })
        })?;
        for (label, text) in &loaded.facts {
            teller.fact(label, text);
        }
        for (address, written) in &loaded.written {
            if let Some(Known { loaded, .. }) = self.known.get_mut(&address.to_string()) {
                *loaded += written;
            }
        }
        let within = format!(
            "begun later than {} ms after the answer",
            within.as_millis()
        );
        let (text, seen) = match load.then {
            Then::Stopped => (
                format!("Under load: nothing {within} is done"),
                loaded.stopped,
            ),
            Then::GoesOn => (
                format!("Under load: everything {within} is done"),
                loaded.went_on,
            ),
        };
        let _ = act;
        teller.compare(id, &text, seen, loaded.before);
        Ok(())
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null(()),
        ValueRef::Integer(n) => Cell::Integer(n),
        ValueRef::Real(x) => Cell::Real(x),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Text(hex::encode(bytes)),
    }
}

/// All of them.
fn together(all: Vec<Seen>) -> Seen {
    let ok = !all.is_empty() && all.iter().all(|seen| seen.ok);
    let told: Vec<String> = all.into_iter().map(|seen| seen.summary).collect();
    Seen::new(ok, told.join("; "))
}
