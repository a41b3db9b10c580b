use serde::{Deserialize, Serialize};

use super::ScopeName;

/// Why some of an account is not read when the account is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Unread {
    /// It is under keys that clients give with each request, and that are kept nowhere.
    CustomerProvidedKey,
    /// It is under an encryption scope that is disabled.
    ScopeDisabled {
        /// Which.
        scope: ScopeName,
    },
    /// It is under an encryption scope whose key cannot be used.
    KeyUnavailable {
        /// Which.
        scope: ScopeName,
        /// What the vault says.
        reason: String,
    },
}

impl Unread {
    /// Whether somebody who verifies an account expects it to be read.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::KeyUnavailable { .. })
    }

    /// Whether both are one cause, whatever the vault said each time.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::KeyUnavailable { scope, .. },
                Self::KeyUnavailable {
                    scope: other_scope, ..
                },
            ) => scope == other_scope,
            _ => self == other,
        }
    }
}

/// How much of an account was not read when the account was verified. Nothing is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Why.
    #[serde(flatten)]
    pub why: Unread,
    /// Blobs and snapshots.
    pub blobs: u64,
    /// Blocks that are not committed.
    pub blocks: u64,
}

impl LeftOut {
    /// One blob or snapshot.
    pub(super) fn blob(why: Unread) -> Self {
        Self {
            why,
            blobs: 1,
            blocks: 0,
        }
    }

    /// One block.
    pub(super) fn block(why: Unread) -> Self {
        Self {
            why,
            blobs: 0,
            blocks: 1,
        }
    }

    /// Counts it with what `all` has of the same cause.
    pub(super) fn add_to(self, all: &mut Vec<Self>) {
        match all.iter_mut().find(|other| other.why.is_same(&self.why)) {
            Some(other) => {
                other.blobs += self.blobs;
                other.blocks += self.blocks;
            }
            None => all.push(self),
        }
    }
}
