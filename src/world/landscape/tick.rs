//! What takes effect by the clock: integrations end, versions are picked up, locks take hold and end in
//! deletion, requests expire.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::world::{Kind, WorldError};

use super::Landscape;
use super::apply::is_under;
use super::clock;
use super::entities::{Backup, FinanceEnvironment, Policy, PowerEnvironment, PowerKind, Tenant};
use super::events::{by_provider, forget_old_records};
use super::link::LINK_TAKES;
use super::lockbox::{RequestStatus, SWITCHING};
use super::state::{KeyState, Link, LockboxSwitch};
use super::store::Tx;

/// The setting for how long SQL databases take to pick up a new version, in minutes.
const SQL_PICK_UP: &str = "sql-pick-up-minutes";
/// Its usual value.
const SQL_PICK_UP_MINUTES: i64 = 60;
/// And its largest: a week.
const SQL_PICK_UP_MOST: i64 = 7 * 24 * 60;
/// How long everything else takes: storage follows daily, the Power Platform within a day.
const PICK_UP: SignedDuration = SignedDuration::from_hours(24);
/// How long the version before must stay enabled.
pub(super) const OLD_VERSION_STAYS: SignedDuration = SignedDuration::from_hours(28 * 24);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How many days are looked at one by one when the clock is moved.
const DAYS_ONE_BY_ONE: i64 = 400;

/// What moving the clock did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advanced {
    /// The time before.
    pub from: Timestamp,
    /// The time now.
    pub to: Timestamp,
    /// What took effect in between, oldest first.
    pub happened: Vec<super::Event>,
}

impl PowerKind {
    /// How long after it was locked an environment is deleted.
    pub fn deleted_after(self) -> SignedDuration {
        SignedDuration::from_hours(
            24 * match self {
                Self::Production => 30,
                _ => 7,
            },
        )
    }
}

impl Landscape<'_> {
    /// Moves the clock on. Whatever is due on the way takes effect at its time.
    ///
    /// # Errors
    /// [`WorldError::Usage`] for a span that is negative, or leads beyond the calendar.
    pub fn advance(&self, by: SignedDuration) -> Result<Advanced, WorldError> {
        let turn = self.begin()?;
        let from = turn.now;
        let beyond =
            || WorldError::Usage("the clock only goes on, and not beyond the calendar".into());
        if by.is_negative() {
            return Err(beyond());
        }
        let to = from.checked_add(by).map_err(|_| beyond())?;
        if to > clock::latest() {
            return Err(beyond());
        }
        let events = |this: &Self| this.store().read(|tx| tx.events());
        let before = events(self)?.last().map_or(0, |(seq, _)| *seq);
        let step = DAY.max(by / i32::try_from(DAYS_ONE_BY_ONE).expect("it is small"));
        let mut at = from;
        while at < to {
            let next = at.checked_add(step).map_or(to, |next| next.min(to));
            at = self.next_due(at)?.map_or(next, |due| due.min(next));
            self.store().write(|tx| clock::set(tx, at))?;
            self.settle_time(at)?;
        }
        let happened = events(self)?.into_iter().filter(|(seq, _)| *seq > before);
        Ok(Advanced {
            from,
            to,
            happened: happened.map(|(_, event)| event).collect(),
        })
    }

    /// Sets how long SQL databases take to pick up a new version: pages disagree on it.
    ///
    /// # Errors
    /// [`WorldError::Usage`] for more than a week.
    pub fn set_sql_pick_up(&self, minutes: u32) -> Result<(), WorldError> {
        if i64::from(minutes) > SQL_PICK_UP_MOST {
            return Err(WorldError::Usage(format!(
                "a new version is picked up within a week: {SQL_PICK_UP_MOST} minutes at most"
            )));
        }
        let _turn = self.begin()?;
        self.store()
            .write(|tx| tx.set(SQL_PICK_UP, &minutes.to_string()))
    }

    /// How long SQL databases take to pick up a new version.
    pub fn sql_pick_up(&self) -> Result<SignedDuration, WorldError> {
        let text = self.store().read(|tx| tx.setting(SQL_PICK_UP))?;
        let minutes = text
            .and_then(|text| text.parse().ok())
            .unwrap_or(SQL_PICK_UP_MINUTES)
            .clamp(0, SQL_PICK_UP_MOST);
        Ok(SignedDuration::from_mins(minutes))
    }

    /// Lets take effect what is due at `now`.
    pub(super) fn settle_time(&self, now: Timestamp) -> Result<(), WorldError> {
        self.settle_links(now)?;
        self.settle_lockbox(now)?;
        for policy in self.all::<Policy>()? {
            self.settle_policy(&policy, now)?;
        }
        self.delete_what_was_locked_too_long(now)?;
        self.forget_old_backups(now)?;
        self.store().write(|tx| forget_old_records(tx, now))
    }

    /// Locks every environment of a policy whose key cannot be used any more; notes that it can be used again;
    /// picks up a new version.
    fn settle_policy(&self, policy: &Policy, now: Timestamp) -> Result<(), WorldError> {
        if policy.versions.values().all(|known| !known.in_use) {
            return Ok(());
        }
        match (self.trigger(policy, now)?, policy.unhealthy_since) {
            (Some(trigger), _) => self.store().write(|tx| lock_all(tx, policy, &trigger, now)),
            (None, Some(_)) => self.store().write(|tx| note_access(tx, policy, now)),
            (None, None) => self.pick_up(policy, now),
        }
    }

    /// Puts under the newest version what is due for it.
    fn pick_up(&self, policy: &Policy, now: Timestamp) -> Result<(), WorldError> {
        let newest = self.newest(policy)?;
        let version = newest.kid.version;
        let text = version.to_string();
        // What was locked or failed while the version was picked up, or was restored since, follows, too.
        let mut used = policy.versions.iter().filter(|(_, known)| known.in_use);
        let behind = used.any(|(at, _)| *at != text);
        let current = policy.current == Some(version);
        let attributes = &newest.attributes;
        let usable = attributes.enabled && attributes.not_before.is_none_or(|at| at <= now);
        if !usable || (current && !behind) {
            return Ok(());
        }
        let (sql, rest) = self.pick_up_times(newest.attributes.created)?;
        if now < sql {
            return Ok(());
        }
        let fails = |why: String| {
            let event = by_provider(now, "KeyPickUpFailed", &policy.name, why);
            self.store().write(|tx| tx.record_once(&event))
        };
        let allowed = self.allowed_keys()?;
        if !allowed.iter().any(|kind| kind == newest.kind.name()) {
            let (key, kind) = (&policy.key, newest.kind.name());
            return fails(format!(
                "the newest version of {key} is {kind}: not allowed (P2)"
            ));
        }
        let powers = self.all::<PowerEnvironment>()?;
        let under =
            |power: &&PowerEnvironment| is_under(power) && power.key.policy() == Some(&policy.name);
        let powers: Vec<_> = powers.iter().filter(under).collect();
        let mut due = Vec::new();
        for power in &powers {
            let finance = power.linked.as_ref().map(|finance| finance.as_name());
            let addresses = self.resources_of(power).into_iter();
            due.extend(addresses.filter(|address| {
                let is_tde = address.kind == Kind::Sql && address.environment.as_ref() == finance;
                now >= if is_tde { sql } else { rest }
            }));
        }
        let left = self.not_under(&due, |at| at.version == version)?;
        if !left.is_empty() {
            self.use_version(&policy.name, &newest)?;
            let to = self.protection_by(policy)?;
            let moved = self.workspace.move_all(&left, &to, &|_| ())?;
            self.look_at_versions(&policy.name)?;
            // It hinders nothing else, and is tried again.
            if let Some(failed) = moved.into_iter().find_map(|moved| moved.result.err()) {
                return fails(failed.to_string());
            }
        }
        if now < rest || current {
            return Ok(());
        }
        self.store().write(|tx| {
            let mut policy: Policy = tx.get(policy.name.as_str())?;
            policy.current = Some(version);
            tx.put(&policy)?;
            for power in powers {
                let detail = format_args!("version {}", text.get(..8).unwrap_or(&text));
                tx.record(&by_provider(
                    now,
                    "CMK-Renewed environment",
                    &power.name,
                    detail,
                ))?;
            }
            Ok(())
        })
    }

    fn pick_up_times(&self, created: Timestamp) -> Result<(Timestamp, Timestamp), WorldError> {
        Ok((
            clock::after(created, self.sql_pick_up()?),
            clock::after(created, PICK_UP),
        ))
    }

    fn delete_what_was_locked_too_long(&self, now: Timestamp) -> Result<(), WorldError> {
        let locked = self.store().read(|tx| tx.powers_in(["locked"]))?;
        for mut power in locked {
            let KeyState::Locked { policy, since, .. } = &power.key else {
                continue;
            };
            let at = clock::after(*since, power.kind.deleted_after());
            if at > now {
                continue;
            }
            self.remove_backups_of(&power.name)?;
            let mut places = vec![power.place()];
            places.extend(power.linked.iter().map(|finance| finance.as_name().clone()));
            self.workspace.remove_places(&places)?;
            let (policy, linked) = (policy.clone(), power.linked.clone());
            power.key = KeyState::Deleted {
                policy: policy.clone(),
                at,
            };
            self.store().write(|tx| {
                tx.put(&power)?;
                if let Some(finance) = &linked {
                    let mut finance: FinanceEnvironment = tx.get(finance.as_str())?;
                    finance.deleted = Some(at);
                    tx.put(&finance)?;
                }
                tx.record(&by_provider(
                    at,
                    "EnvironmentDeleted",
                    &power.name,
                    "locked for too long; with its backups",
                ))
            })?;
            self.look_at_versions(&policy)?;
        }
        Ok(())
    }

    fn settle_lockbox(&self, now: Timestamp) -> Result<(), WorldError> {
        self.store().write(|tx| {
            for mut tenant in tx.all::<Tenant>()? {
                let LockboxSwitch::Enabling { since } = tenant.lockbox else {
                    continue;
                };
                let at = clock::after(since, SWITCHING);
                if at <= now {
                    tenant.lockbox = LockboxSwitch::On;
                    tx.put(&tenant)?;
                    tx.record(&by_provider(at, "LockboxPolicyChanged", &tenant.name, "on"))?;
                }
            }
            for mut request in tx.requests_open()? {
                let (state, operation, at) = match &request.state {
                    RequestStatus::ActionNeeded if request.expires <= now => {
                        let at = request.expires;
                        (RequestStatus::Expired { at }, "LockboxRequestUpdated", at)
                    }
                    RequestStatus::Approved { by, until, .. } if *until <= now => {
                        let (by, at) = (by.clone(), *until);
                        (RequestStatus::Ended { by, at }, "LockboxAccessEnded", at)
                    }
                    _ => continue,
                };
                tx.record(&by_provider(at, operation, &request.name, state.word()))?;
                request.state = state;
                tx.put(&request)?;
            }
            Ok(())
        })
    }

    fn lockbox_due(&self) -> Result<Vec<Timestamp>, WorldError> {
        let mut due = Vec::new();
        for tenant in self.all::<Tenant>()? {
            if let LockboxSwitch::Enabling { since } = tenant.lockbox {
                due.push(clock::after(since, SWITCHING));
            }
        }
        for request in self.store().read(|tx| tx.requests_open())? {
            match request.state {
                RequestStatus::ActionNeeded => due.push(request.expires),
                RequestStatus::Approved { until, .. } => due.push(until),
                _ => {}
            }
        }
        Ok(due)
    }

    /// The next time after `after` at which something is due.
    fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>, WorldError> {
        let mut due = self.lockbox_due()?;
        let begun = self.store().read(|tx| tx.links_begun(Timestamp::MAX))?;
        for finance in begun {
            if let Link::InProgress { started, .. } = finance.link {
                due.push(clock::after(started, LINK_TAKES));
            }
        }
        let locked = self.store().read(|tx| tx.powers_in(["locked"]))?;
        for power in locked {
            if let KeyState::Locked { since, .. } = power.key {
                due.push(clock::after(since, power.kind.deleted_after()));
            }
        }
        due.extend(
            self.all::<Backup>()?
                .into_iter()
                .map(|backup| backup.expires),
        );
        for policy in self.all::<Policy>()? {
            let Ok(vault) = self.vault_of(&policy) else {
                continue;
            };
            for bundle in vault
                .key_versions(&policy.key, crate::vault::Page::all())
                .unwrap_or_default()
            {
                due.extend(bundle.attributes.expires);
                due.extend(bundle.attributes.not_before);
                let (sql, rest) = self.pick_up_times(bundle.attributes.created)?;
                due.extend([sql, rest]);
            }
        }
        Ok(due.into_iter().filter(|at| *at > after).min())
    }
}

fn of_policy(tx: &Tx<'_>, policy: &Policy) -> Result<Vec<PowerEnvironment>, WorldError> {
    let all = tx.all::<PowerEnvironment>()?.into_iter();
    Ok(all
        .filter(|power| power.key.policy() == Some(&policy.name))
        .collect())
}

fn lock_all(tx: &Tx<'_>, policy: &Policy, trigger: &str, now: Timestamp) -> Result<(), WorldError> {
    for mut power in of_policy(tx, policy)? {
        let since = match &power.key {
            KeyState::Deleted { .. } | KeyState::Locked { restored: None, .. } => continue,
            // It was never enabled again: the days go on.
            KeyState::Locked { since, .. } => *since,
            _ => now,
        };
        power.key = KeyState::Locked {
            policy: policy.name.clone(),
            since,
            trigger: trigger.to_owned(),
            restored: None,
        };
        tx.put(&power)?;
        tx.record(&by_provider(now, "EnvironmentLocked", &power.name, trigger))?;
    }
    if policy.unhealthy_since.is_none() {
        let mut policy: Policy = tx.get(policy.name.as_str())?;
        policy.unhealthy_since = Some(now);
        tx.put(&policy)?;
    }
    Ok(())
}

fn note_access(tx: &Tx<'_>, policy: &Policy, now: Timestamp) -> Result<(), WorldError> {
    for mut power in of_policy(tx, policy)? {
        if let KeyState::Locked { restored, .. } = &mut power.key {
            restored.get_or_insert(now);
            tx.put(&power)?;
            tx.record(&by_provider(
                now,
                "KeyAccessRestored",
                &power.name,
                "waits to be enabled",
            ))?;
        }
    }
    let mut policy: Policy = tx.get(policy.name.as_str())?;
    policy.unhealthy_since = None;
    tx.put(&policy)
}
