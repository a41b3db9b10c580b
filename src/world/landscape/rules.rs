//! The rules of the landscape, as one table: each has an identifier, a condition and the code that the
//! user sees (docs/world.md). A rule that is broken is a [`Refusal`]; one that only warns is one, too.

use std::fmt;

use serde::{Serialize, Serializer};

/// Whether a rule refuses or warns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// What was asked for is not done.
    Refuses,
    /// It is done, and the user is told.
    Warns,
}

macro_rules! rules {
    ($($rule:ident = $id:literal, $code:literal, $condition:literal;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the table says it")]
        pub enum Rule {
            $($rule),*
        }

        impl Rule {
            /// Every one, in the order of docs/world.md.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// Its identifier in docs/world.md.
            pub fn id(self) -> &'static str {
                match self { $(Self::$rule => $id),* }
            }

            /// What the user sees first: `E_...` or `W_...`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$rule => $code),* }
            }

            /// When it applies.
            pub fn condition(self) -> &'static str {
                match self { $(Self::$rule => $condition),* }
            }
        }
    };
}

rules! {
    LinkTargetHasCmk = "I1", "E_LINK_TARGET_HAS_CMK", "the Power Platform environment of a new link already has a policy";
    LinkValidation = "I2", "E_LINK_VALIDATION", "the link's target lacks geography, D365 apps, an administrator with a licence, or 1 GB of capacity";
    LinkIrreversible = "I3", "E_LINK_IRREVERSIBLE", "a link is to be made twice, moved or removed";
    NotIntegrated = "I5", "E_NOT_INTEGRATED", "a policy is to reach an environment that is not integrated with the Power Platform";
    EnvironmentName = "I6", "E_ENV_NAME", "a policy is given the finance and operations name where it takes the Dataverse name";
    CloudHostedExcluded = "I7", "E_CLOUD_HOSTED_EXCLUDED", "a cloud-hosted environment is to be linked or put under a policy";
    VaultUnprotected = "P1", "E_VAULT_UNPROTECTED", "the vault has no soft-delete or no purge protection";
    KeyUnsupported = "P2", "E_KEY_UNSUPPORTED", "the key's type or size is not allowed";
    ProviderUnregistered = "P3", "E_RP_UNREGISTERED", "the subscription has not registered the Power Platform resource provider";
    Location = "P3", "E_LOCATION", "the policy's location is unknown, or the feature is not rolled out there";
    RegionMismatch = "P3", "E_REGION_MISMATCH", "the policy, its vault and the environment are not in one geography";
    Forbidden = "P4", "E_FORBIDDEN", "the caller lacks an administrator's role, or Reader on the policy";
    EnvironmentType = "P5", "E_ENV_TYPE", "the environment is a trial or one of Teams";
    NotManaged = "P5", "E_NOT_MANAGED", "the environment is no Managed Environment";
    Licence = "P5", "W_LICENCE", "the environment's users lack the licence";
    KeyAccess = "P6", "E_KEY_ACCESS", "the policy's identity lacks get, wrapKey or unwrapKey, or the vault does not answer it";
    NoSeparation = "P7", "W_NO_SEPARATION", "one principal makes the policy and adds the environment";
    VersionInUse = "R2", "W_VERSION_IN_USE", "a version is disabled that a data encryption key or a backup still needs";
    VersionDelete = "R3", "E_VERSION_DELETE_UNSUPPORTED", "a single version is to be deleted";
    Locked = "L2", "E_LOCKED", "an environment that is locked is to be used, restored, copied or taken from its policy";
    WrongKey = "L3", "E_WRONG_KEY", "an environment is to be unlocked with other key material";
    Gone = "L4", "E_ENV_DELETED", "the environment was deleted, since it was locked for too long";
    CmkMismatch = "B1", "E_CMK_MISMATCH", "a restore or a copy would cross from one key to another";
    ProtectorMissing = "B2", "E_PROTECTOR_MISSING", "a key version that a backup was written under is not available";
    NoKey = "B3", "E_NO_KEY", "a stolen copy is to be attached where its key is not";
    PurgeProtected = "X1", "E_PURGE_PROTECTED", "a vault or key is to be purged while it is under purge protection";
    GrantsLost = "X2", "W_GRANTS_LOST", "a deleted vault is recovered: its grants do not come back";
    NotApprover = "K1", "E_NOT_APPROVER", "a request is decided by somebody without the role";
    Expired = "K1", "E_EXPIRED", "a request is decided, or its access used, after its time";
    NotRevocable = "K2", "E_NOT_REVOCABLE", "an approved request is to be revoked";
    NoGrant = "K3", "E_NO_GRANT", "an engineer reads without an approved request for it";
    LockedDespiteApproval = "K4", "E_LOCKED", "an engineer reads with approval, and the environment is locked";
    NewProjects = "C1", "W_NO_NEW_PROJECTS", "a project is made in LCS after February 2026 (docs-2026-03)";
}

impl Rule {
    /// Whether it refuses or warns.
    pub fn severity(self) -> Severity {
        match self.code().starts_with('W') {
            true => Severity::Warns,
            false => Severity::Refuses,
        }
    }

    /// This rule, broken.
    pub(super) fn broken(self, detail: impl fmt::Display, next: impl fmt::Display) -> Refusal {
        Refusal {
            rule: self,
            detail: detail.to_string(),
            next: next.to_string(),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.id())
    }
}

/// A rule that was broken, or one that warns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which.
    pub rule: Rule,
    /// What is so.
    pub detail: String,
    /// What to do next.
    pub next: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, id) = (self.rule.code(), self.rule.id());
        write!(f, "{code} ({id}): {}; {}", self.detail, self.next)
    }
}

impl std::error::Error for Refusal {}

/// What was done, and what the user must be told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told<T> {
    /// What was done.
    #[serde(flatten)]
    pub value: T,
    /// Rules that warn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Refusal>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_rule_is_missing_from_the_document_or_stands_there_twice() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/world.md");
        let document = std::fs::read_to_string(path).unwrap();
        for rule in Rule::ALL {
            let row = format!("| {} | `{}` |", rule.id(), rule.code());
            assert_eq!(document.matches(&row).count(), 1, "{row}");
        }
        let pairs: BTreeSet<_> = Rule::ALL.iter().map(|r| (r.id(), r.code())).collect();
        assert_eq!(pairs.len(), Rule::ALL.len());
    }
}
