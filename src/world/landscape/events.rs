//! The landscape's audit records: who did what to which environment, policy or request, and how it ended.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::world::WorldError;

use super::Landscape;
use super::clock;
use super::store::Tx;

/// How long records of Customer Lockbox are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// An audit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, by the landscape's clock.
    pub time: Timestamp,
    /// Who; the provider's own doings are `provider`.
    pub actor: String,
    /// What was done: `CMK-Renewed environment`, `LockboxRequestCreated`, ...
    pub operation: String,
    /// To what.
    pub subject: String,
    /// `ok`, or the code of the rule that refused it.
    pub outcome: String,
    /// More, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Which records; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Whose name of the operation begins so.
    pub operation: Option<String>,
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// At or after.
    pub since: Option<Timestamp>,
}

impl EventFilter {
    fn takes(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let begins = |wanted: &String| event.operation.starts_with(wanted.as_str());
        self.operation.as_ref().is_none_or(begins)
            && is(&self.actor, &event.actor)
            && is(&self.subject, &event.subject)
            && self.since.is_none_or(|since| event.time >= since)
    }
}

impl Landscape<'_> {
    /// The audit records that `filter` takes, oldest first.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, WorldError> {
        let all = self.store().read(|tx| tx.events())?;
        let events = all.into_iter().map(|(_, event)| event);
        Ok(events.filter(|event| filter.takes(event)).collect())
    }
}

/// A record of what the provider does by itself.
pub(super) fn by_provider(
    time: Timestamp,
    operation: &str,
    subject: impl ToString,
    detail: impl ToString,
) -> Event {
    Event {
        time,
        actor: "provider".into(),
        operation: operation.into(),
        subject: subject.to_string(),
        outcome: "ok".into(),
        detail: detail.to_string(),
    }
}

/// Forgets records of Customer Lockbox after their time.
pub(super) fn forget_old_records(tx: &Tx<'_>, now: Timestamp) -> Result<(), WorldError> {
    for (seq, event) in tx.lockbox_events()? {
        if clock::after(event.time, KEPT) < now {
            tx.forget_event(seq)?;
        }
    }
    Ok(())
}
