//! After a lock: each environment is enabled again, once the key that it is under can be used.

use crate::world::WorldError;

use super::Landscape;
use super::apply::under;
use super::eligible::{find_power, locked};
use super::entities::{Duty, Policy, PowerEnvironment};
use super::events::by_provider;
use super::health::other_material;
use super::names::{PersonName, PowerName};
use super::people::with_duty;
use super::state::{KeyState, SqlState};

impl Landscape<'_> {
    /// Enables a locked environment again. Each of its resources is opened before it counts as enabled.
    ///
    /// # Errors
    /// [`super::Rule::WrongKey`] with the expected thumbprint when the key of that name is another one;
    /// [`super::Rule::Locked`] while the key cannot be used.
    pub fn enable(
        &self,
        environment: &PowerName,
        by: &PersonName,
    ) -> Result<PowerEnvironment, WorldError> {
        let turn = self.begin()?;
        let enabled = self.enable_now(environment, by, turn.now);
        enabled.or_else(|e| self.refuse(&turn, by, "EnvironmentEnabled", environment, e))
    }

    fn enable_now(
        &self,
        environment: &PowerName,
        by: &PersonName,
        now: jiff::Timestamp,
    ) -> Result<PowerEnvironment, WorldError> {
        let power = self.store().read(|tx| {
            let power = find_power(tx, environment)?;
            with_duty(tx, by, &power.tenant, Duty::PowerAdmin)?;
            Ok(power)
        })?;
        let KeyState::Locked { policy, .. } = &power.key else {
            return Err(locked(&power));
        };
        let policy: Policy = self.get(policy.as_str())?;
        if self.trigger(&policy, now)?.is_some() {
            if let Some(wrong) = other_material(self, &policy)? {
                return Err(wrong.into());
            }
            return Err(locked(&power));
        }
        let healed = power.key.sql(now) == SqlState::AutoHeal;
        let mut enabled = power.clone();
        let to = self.protection_by(&policy)?;
        let addresses = self.resources_of(&power);
        let left = self.not_under(&addresses, |at| Some(&at.key()) == to.key())?;
        enabled.key = match left.first() {
            None => under(&power, &policy.name, now),
            // It failed before it was locked.
            Some(address) => KeyState::Partial {
                policy: policy.name.clone(),
                at: now,
                why: format!("{address}: not under the policy's key"),
            },
        };
        // Past the gate, which is closed until it is enabled: that the policy lets them through is known.
        let through = self.workspace.wrapper();
        for address in &addresses {
            self.workspace.check_access_through(address, &through)?;
        }
        let sql = match healed {
            true => "SQL databases healed by themselves",
            false => {
                "SQL databases were revalidated; settings that belonged to the lost key are gone"
            }
        };
        self.store().write(|tx| {
            tx.put(&enabled)?;
            let mut event = by_provider(now, "EnvironmentEnabled", environment, sql);
            event.actor = by.to_string();
            tx.record(&event)
        })?;
        Ok(enabled)
    }
}
