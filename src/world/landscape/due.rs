//! What is under way, and what is due by the clock, found by indexes: what a command costs before it does anything
//! does not grow with the number of environments.

use jiff::Timestamp;
use rusqlite::ToSql;

use crate::world::WorldError;

use super::entities::{Backup, FinanceEnvironment, PowerEnvironment};
use super::lockbox::LockboxRequest;
use super::names::PowerName;
use super::store::Tx;

/// They follow from the rows, and are made where a file has none. Each query names its index: SQLite, which knows nothing of
/// how many rows there are of a kind, would walk over all of a kind instead. Times are compared by their whole seconds, which sort
/// as text; the rest is for whoever asks.
pub(super) const INDEXES: &str = "
CREATE INDEX IF NOT EXISTS link_started ON entity(substr(body ->> '$.link.started', 1, 19))
    WHERE kind = 'finance' AND body ->> '$.link.state' = 'in-progress';
CREATE INDEX IF NOT EXISTS link_power ON entity(body ->> '$.link.power')
    WHERE kind = 'finance' AND body ->> '$.link.state' = 'in-progress';
CREATE INDEX IF NOT EXISTS power_key ON entity(body ->> '$.key.state', body ->> '$.key.policy')
    WHERE kind = 'power';
CREATE INDEX IF NOT EXISTS backup_expires ON entity(substr(body ->> '$.expires', 1, 19))
    WHERE kind = 'backup';
CREATE INDEX IF NOT EXISTS lockbox_open ON entity(name)
    WHERE kind = 'lockbox' AND body ->> '$.state.status' IN ('action-needed', 'approved');
CREATE INDEX IF NOT EXISTS event_lockbox ON event(seq)
    WHERE substr(body ->> '$.operation', 1, 7) = 'Lockbox';
";

/// The whole seconds of a time, as they begin its text.
fn seconds(at: Timestamp) -> String {
    at.to_string().chars().take(19).collect()
}

impl Tx<'_> {
    /// The integrations that began until `at`.
    pub(super) fn links_begun(
        &self,
        until: Timestamp,
    ) -> Result<Vec<FinanceEnvironment>, WorldError> {
        self.bodies(
            "SELECT body FROM entity INDEXED BY link_started
             WHERE kind = 'finance' AND body ->> '$.link.state' = 'in-progress'
               AND substr(body ->> '$.link.started', 1, 19) <= ?1
             ORDER BY substr(body ->> '$.link.started', 1, 19), name",
            &[&seconds(until)],
        )
    }

    /// The environment that is being integrated with `power`.
    pub(super) fn being_linked_with(
        &self,
        power: &PowerName,
    ) -> Result<Vec<FinanceEnvironment>, WorldError> {
        self.bodies(
            "SELECT body FROM entity INDEXED BY link_power
             WHERE kind = 'finance' AND body ->> '$.link.state' = 'in-progress'
               AND body ->> '$.link.power' = ?1",
            &[&power.as_str()],
        )
    }

    /// The Power Platform environments whose keys are in one of these states, as the store calls them.
    pub(super) fn powers_in<const N: usize>(
        &self,
        states: [&str; N],
    ) -> Result<Vec<PowerEnvironment>, WorldError> {
        let sql = format!(
            "SELECT body FROM entity INDEXED BY power_key
             WHERE kind = 'power' AND body ->> '$.key.state' IN ({}) ORDER BY name",
            ["?"; N].join(", ")
        );
        self.bodies(&sql, &states.each_ref().map(|state| state as &dyn ToSql))
    }

    /// The backups whose time is over at `now`.
    pub(super) fn backups_expired(&self, now: Timestamp) -> Result<Vec<Backup>, WorldError> {
        let mut found: Vec<Backup> = self.bodies(
            "SELECT body FROM entity INDEXED BY backup_expires
             WHERE kind = 'backup' AND substr(body ->> '$.expires', 1, 19) <= ?1",
            &[&seconds(now)],
        )?;
        found.retain(|backup| backup.expires <= now);
        Ok(found)
    }

    /// The requests of Customer Lockbox that time can change.
    pub(super) fn requests_open(&self) -> Result<Vec<LockboxRequest>, WorldError> {
        self.bodies(
            "SELECT body FROM entity INDEXED BY lockbox_open
             WHERE kind = 'lockbox' AND body ->> '$.state.status' IN ('action-needed', 'approved')
             ORDER BY name",
            &[],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ManualClock;
    use crate::vault::VaultSettings;
    use crate::world::landscape::entities::{FinanceKind, Project};
    use crate::world::landscape::state::Link;
    use crate::world::landscape::{Landscape, Profile, Start};
    use crate::world::{InitOptions, Workspace};

    const ENVIRONMENTS: usize = 240;
    const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A landscape whose environments are rows only.
    fn fill(landscape: &Landscape<'_>) {
        let tenant: crate::world::landscape::TenantName = "contoso".parse().unwrap();
        landscape.create_tenant(&tenant).unwrap();
        let project = Project {
            name: "erp".parse().unwrap(),
            tenant: tenant.clone(),
            created: at("2026-01-01T00:00:00Z"),
        };
        let region: crate::world::landscape::Region = "westeurope".parse().unwrap();
        let write = |tx: &Tx<'_>| {
            tx.add(&project)?;
            for n in 0..ENVIRONMENTS {
                tx.add(&FinanceEnvironment {
                    name: format!("env-{n}").parse().unwrap(),
                    project: project.name.clone(),
                    kind: FinanceKind::Production,
                    region: region.clone(),
                    link: Link::None,
                    offers: Default::default(),
                    add_ins: Default::default(),
                    deleted: None,
                })?;
                let name = format!("org-{n}").parse().unwrap();
                tx.add(&PowerEnvironment::usual(
                    name,
                    tenant.clone(),
                    region.clone(),
                ))?;
            }
            Ok(())
        };
        landscape.store().write(write).unwrap();
    }

    fn most_and_least(steps: &[u64]) -> (u64, u64) {
        (*steps.iter().max().unwrap(), *steps.iter().min().unwrap())
    }

    #[test]
    fn the_thousandth_integration_does_not_walk_over_the_nine_hundred_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions {
            environment: "aside".parse().unwrap(),
            customer_key: None,
            passphrase: None,
            vault: VaultSettings::default(),
        };
        let clock = Arc::new(ManualClock::new(at("2026-03-15T12:00:00.5Z")));
        let workspace = Workspace::init(dir.path(), options, clock).unwrap();
        let start = Start::At(at("2026-03-15T12:00:00Z"));
        let landscape = Landscape::create(&workspace, Profile::Seed2022, start).unwrap();
        fill(&landscape);
        let admin = "contoso-admin".parse().unwrap();
        let steps = landscape.store().count_steps();
        let link = |n: usize| {
            let before = steps.load(std::sync::atomic::Ordering::SeqCst);
            let (finance, power) = (format!("env-{n}"), format!("org-{n}"));
            let (finance, power) = (finance.parse().unwrap(), power.parse().unwrap());
            landscape.link(&finance, &power, &admin).unwrap();
            steps.load(std::sync::atomic::Ordering::SeqCst) - before
        };
        // While all of them are under way, and while most are completed.
        let half = ENVIRONMENTS / 2;
        let first: Vec<_> = (0..half).map(link).collect();
        landscape.advance(DAY).unwrap();
        let then: Vec<_> = (half..ENVIRONMENTS).map(link).collect();
        landscape.advance(DAY).unwrap();
        let all = landscape.all::<FinanceEnvironment>().unwrap();
        assert!(all.iter().all(|finance| finance.link.completed().is_some()));
        let (most, least) = most_and_least(&[first, then].concat());
        // Steps of SQLite's machine, all statements of a command together.
        assert!(most <= least + least / 10, "{least} to {most} steps");
        // The same machine, walking: the measure sees what it is there to see.
        let before = steps.load(std::sync::atomic::Ordering::SeqCst);
        landscape.all::<FinanceEnvironment>().unwrap();
        let walk = steps.load(std::sync::atomic::Ordering::SeqCst) - before;
        assert!(walk > ENVIRONMENTS as u64, "{walk}");
    }

    #[test]
    fn what_is_due_within_a_second_is_not_taken_for_due_before_it() {
        let due = "2026-03-15T12:00:00.25Z".parse::<Timestamp>().unwrap();
        for (now, is_due) in [
            ("2026-03-15T12:00:00Z", false),
            ("2026-03-15T12:00:00.2Z", false),
            ("2026-03-15T12:00:00.25Z", true),
            ("2026-03-15T12:00:00.3Z", true),
            ("2026-03-15T12:00:01Z", true),
        ] {
            let now = at(now);
            assert_eq!(due <= now, is_due);
            assert!(seconds(due) <= seconds(now));
        }
        assert!(seconds(at("2026-03-15T11:59:59.9Z")) < seconds(due));
    }
}
