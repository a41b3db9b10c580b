//! Rotation policies as JSON.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::vault::{Period, RotationPolicy, RotationTrigger, VaultError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyIn {
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
}

fn bad(why: impl ToString) -> VaultError {
    VaultError::BadParameter(why.to_string())
}

fn period(text: Option<&String>) -> Result<Option<Period>, VaultError> {
    let given = text.filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(bad)).transpose()
}

impl PolicyIn {
    pub(super) fn policy(&self) -> Result<RotationPolicy, VaultError> {
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
}

/// `KeyRotationPolicy`, of the key at `key_url`.
pub(super) fn policy_out(key_url: &str, policy: &RotationPolicy) -> Value {
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
