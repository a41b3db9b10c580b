//! The names of what is in a landscape, each a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::world::{BadAddress, Name};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Name);

        impl $name {
            /// As a name of the working directory.
            pub fn as_name(&self) -> &Name {
                &self.0
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<Name> for $name {
            fn from(name: Name) -> Self {
                Self(name)
            }
        }

        impl FromStr for $name {
            type Err = BadAddress;
            fn from_str(s: &str) -> Result<Self, BadAddress> {
                s.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

names! {
    /// A tenant.
    TenantName,
    /// A project of Lifecycle Services (LCS).
    ProjectName,
    /// An environment that runs finance and operations apps.
    FinanceName,
    /// A Power Platform environment: the name of its Dataverse organisation. This is the name that a policy takes.
    PowerName,
    /// An enterprise policy.
    PolicyName,
    /// Somebody who administers a tenant, or an engineer of the provider's.
    PersonName,
    /// A request of Customer Lockbox.
    RequestName,
    /// A backup of an environment.
    BackupName,
}
