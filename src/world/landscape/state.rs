//! The states of links, keys and Customer Lockbox.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::names::{PolicyName, PowerName};

/// The integration of a finance-and-operations environment with the Power Platform: one to one, and for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Link {
    /// There is none.
    #[default]
    None,
    /// It is being made.
    InProgress {
        /// With which environment.
        power: PowerName,
        /// Since when.
        started: Timestamp,
    },
    /// It is there.
    Completed {
        /// With which environment.
        power: PowerName,
        /// Since when.
        since: Timestamp,
    },
    /// It was not made; it can be resumed.
    Failed {
        /// With which environment.
        power: PowerName,
        /// When it failed.
        at: Timestamp,
        /// Why.
        why: String,
    },
}

impl Link {
    /// The environment that it leads to, when it is there.
    pub fn completed(&self) -> Option<&PowerName> {
        match self {
            Self::Completed { power, .. } => Some(power),
            _ => None,
        }
    }

    /// As the portal calls it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "not integrated",
            Self::InProgress { .. } => "in progress",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Whose key an environment is under, and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyState {
    /// Under the service-managed key.
    Mmk,
    /// Its stores are being moved to the policy's key; the environment is disabled.
    Applying {
        /// The policy.
        policy: PolicyName,
        /// Since when.
        started: Timestamp,
    },
    /// All of it is under the policy's key.
    Cmk {
        /// The policy.
        policy: PolicyName,
        /// Since when.
        since: Timestamp,
    },
    /// All stores are, a service of it is not.
    Warning {
        /// The policy.
        policy: PolicyName,
        /// Since when.
        since: Timestamp,
        /// Which service.
        what: String,
    },
    /// Some stores are not: it failed half way, and can be resumed.
    Partial {
        /// The policy.
        policy: PolicyName,
        /// When.
        at: Timestamp,
        /// Which, and why.
        why: String,
    },
    /// Its stores are being moved back to the service-managed key.
    Reverting {
        /// The policy that it leaves.
        policy: PolicyName,
        /// Since when.
        started: Timestamp,
    },
    /// The key cannot be used: offline, and deleted in the end.
    Locked {
        /// The policy.
        policy: PolicyName,
        /// Since when.
        since: Timestamp,
        /// What locked it.
        trigger: String,
        /// When the key could be used again; the environment still waits to be enabled.
        restored: Option<Timestamp>,
    },
    /// Deleted with its data, since it was locked for too long.
    Deleted {
        /// The policy that it was under.
        policy: PolicyName,
        /// When.
        at: Timestamp,
    },
}

impl KeyState {
    /// The policy that governs it.
    pub fn policy(&self) -> Option<&PolicyName> {
        match self {
            Self::Mmk => None,
            Self::Applying { policy, .. }
            | Self::Cmk { policy, .. }
            | Self::Warning { policy, .. }
            | Self::Partial { policy, .. }
            | Self::Reverting { policy, .. }
            | Self::Locked { policy, .. }
            | Self::Deleted { policy, .. } => Some(policy),
        }
    }

    /// As the admin centre calls it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Mmk => "Microsoft-managed",
            Self::Applying { .. } => "Encrypting",
            Self::Cmk { .. } => "Encrypted",
            Self::Warning { .. } => "Warning",
            Self::Partial { .. } => "Failed",
            Self::Reverting { .. } => "Reverting",
            Self::Locked { .. } => "Locked",
            Self::Deleted { .. } => "Deleted",
        }
    }
}

/// What Azure SQL says of a database whose protector cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SqlState {
    /// In use.
    Online,
    /// The key is refused, and not all connections noticed yet.
    Losing,
    /// Connections are refused; it can only be dropped.
    Inaccessible,
    /// The key was back within half an hour: it heals by itself within the hour.
    AutoHeal,
    /// The key was away for longer: the administrator revalidates it, and settings are lost.
    NeedsRevalidation,
}

/// How long until every connection is refused.
pub const SQL_LOSING: SignedDuration = SignedDuration::from_mins(10);
/// Within this time a database heals by itself.
pub const SQL_GRACE: SignedDuration = SignedDuration::from_mins(30);

impl KeyState {
    /// The state of the environment's SQL databases at `now`.
    pub fn sql(&self, now: Timestamp) -> SqlState {
        match self {
            Self::Locked {
                since,
                restored: None,
                ..
            } => match now.duration_since(*since) < SQL_LOSING {
                true => SqlState::Losing,
                false => SqlState::Inaccessible,
            },
            Self::Locked {
                since,
                restored: Some(restored),
                ..
            } => match restored.duration_since(*since) <= SQL_GRACE {
                true => SqlState::AutoHeal,
                false => SqlState::NeedsRevalidation,
            },
            Self::Deleted { .. } => SqlState::Inaccessible,
            _ => SqlState::Online,
        }
    }
}

/// What Azure Storage says of an account whose key may not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum StorageState {
    /// In use.
    Ok,
    /// Every request for what is under the key is answered 403, at once.
    Forbidden,
}

impl KeyState {
    /// The state of the environment's storage accounts.
    pub fn storage(&self) -> StorageState {
        match self {
            Self::Locked { .. } | Self::Deleted { .. } => StorageState::Forbidden,
            _ => StorageState::Ok,
        }
    }
}

/// A tenant's switch of Customer Lockbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LockboxSwitch {
    /// Requests need no approval of the customer's.
    #[default]
    Off,
    /// It was switched on, and takes effect within a day.
    Enabling {
        /// When it was switched on.
        since: Timestamp,
    },
    /// Requests need approval.
    On,
}
