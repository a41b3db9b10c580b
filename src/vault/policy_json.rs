//! Rotation policies in the JSON of Azure Key Vault's API, both ways: the server of a vault and the
//! client of one read and write the same.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Period, RotationPolicy, RotationTrigger, VaultError};

/// `KeyRotationPolicy`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyJson {
    lifetime_actions: Option<Vec<ActionIn>>,
    attributes: Option<AttributesIn>,
}

#[derive(Deserialize)]
struct ActionIn {
    trigger: TriggerIn,
    action: TypeIn,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TriggerIn {
    time_after_create: Option<String>,
    time_before_expiry: Option<String>,
}

#[derive(Deserialize)]
struct TypeIn {
    #[serde(rename = "type")]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttributesIn {
    expiry_time: Option<String>,
    created: Option<i64>,
    updated: Option<i64>,
}

fn bad(why: impl ToString) -> VaultError {
    VaultError::BadParameter(why.to_string())
}

fn period(text: Option<&String>) -> Result<Option<Period>, VaultError> {
    let given = text.filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(bad)).transpose()
}

impl PolicyJson {
    /// The policy that a client wants; when it was set is the vault's to say.
    ///
    /// # Errors
    /// [`VaultError::BadParameter`].
    pub fn wanted(&self) -> Result<RotationPolicy, VaultError> {
        let expiry = self
            .attributes
            .as_ref()
            .and_then(|a| a.expiry_time.as_ref());
        let mut policy = RotationPolicy {
            rotate: None,
            notify_before_expiry: None,
            expiry: period(expiry)?,
            created: None,
            updated: None,
        };
        for action in self.lifetime_actions.iter().flatten() {
            let after = period(action.trigger.time_after_create.as_ref())?;
            let before = period(action.trigger.time_before_expiry.as_ref())?;
            let trigger = match (after, before) {
                (Some(period), None) => RotationTrigger::TimeAfterCreate(period),
                (None, Some(period)) => RotationTrigger::TimeBeforeExpiry(period),
                _ => {
                    return Err(bad(
                        "A trigger is either timeAfterCreate or timeBeforeExpiry.",
                    ));
                }
            };
            let name = action.action.name.to_ascii_lowercase();
            match (name.as_str(), trigger) {
                ("rotate", trigger) if policy.rotate.is_none() => policy.rotate = Some(trigger),
                ("notify", RotationTrigger::TimeBeforeExpiry(period))
                    if policy.notify_before_expiry.is_none() =>
                {
                    policy.notify_before_expiry = Some(period);
                }
                _ => {
                    return Err(bad(
                        "lifetimeActions: at most one Rotate, and one Notify with timeBeforeExpiry.",
                    ));
                }
            }
        }
        Ok(policy)
    }

    /// The policy that a vault tells of, with its times.
    pub(super) fn told(&self) -> Result<RotationPolicy, VaultError> {
        let time = |seconds: Option<i64>| seconds.map(Timestamp::from_second).transpose();
        let attributes = self.attributes.as_ref();
        Ok(RotationPolicy {
            created: time(attributes.and_then(|a| a.created)).map_err(bad)?,
            updated: time(attributes.and_then(|a| a.updated)).map_err(bad)?,
            ..self.wanted()?
        })
    }
}

/// `KeyRotationPolicy`, of the key at `key_url`.
pub fn policy_json(key_url: &str, policy: &RotationPolicy) -> Value {
    let action =
        |name: &str, trigger: Value| json!({ "trigger": trigger, "action": { "type": name } });
    let rotate = policy.rotate.map(|trigger| match trigger {
        RotationTrigger::TimeAfterCreate(period) => {
            action("Rotate", json!({ "timeAfterCreate": period.to_string() }))
        }
        RotationTrigger::TimeBeforeExpiry(period) => {
            action("Rotate", json!({ "timeBeforeExpiry": period.to_string() }))
        }
    });
    let notify = policy
        .notify_before_expiry
        .map(|period| action("Notify", json!({ "timeBeforeExpiry": period.to_string() })));
    let actions: Vec<_> = rotate.into_iter().chain(notify).collect();
    let mut attributes = json!({});
    if let Some(period) = policy.expiry {
        attributes["expiryTime"] = period.to_string().into();
    }
    for (name, time) in [("created", policy.created), ("updated", policy.updated)] {
        if let Some(time) = time {
            attributes[name] = time.as_second().into();
        }
    }
    json!({
        "id": format!("{key_url}/rotationpolicy"),
        "lifetimeActions": actions,
        "attributes": attributes,
    })
}
