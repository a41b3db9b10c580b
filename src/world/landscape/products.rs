//! What the documentation says of offers, add-ins and services, in two profiles: the article of December
//! 2022, and the pages of March 2026. Each row has its source, its date, and what was promised in it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::{BadAddress, Name};

/// Which set of statements holds in a landscape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The article "Manage your encryption keys for data at rest" (preview), December 2022.
    #[default]
    Seed2022,
    /// The pages as they were in March 2026.
    Docs2026,
}

impl Profile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Seed2022, Self::Docs2026];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Seed2022 => "seed-2022-12",
            Self::Docs2026 => "docs-2026-03",
        })
    }
}

impl FromStr for Profile {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|profile| profile.to_string() == s);
        found.ok_or_else(|| format!("{s:?} is no profile: expected seed-2022-12 or docs-2026-03"))
    }
}

/// The name of an offer, an add-in or a service: `finance`, `tax-calculation`, `flows`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(Name);

impl ProductId {
    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ProductId {
    type Err = BadAddress;
    fn from_str(s: &str) -> Result<Self, BadAddress> {
        s.parse().map(Self)
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductKind {
    /// An application.
    Offer,
    /// Something that is installed in an environment beside its applications.
    AddIn,
    /// A service of the provider's that an environment uses.
    Service,
}

impl ProductKind {
    /// As it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::AddIn => "add-in",
            Self::Service => "service",
        }
    }
}

/// What the documentation says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// All environment-specific resources are under the policy's key.
    Supported,
    /// Some of its data is.
    Partial,
    /// It keeps data in the Regulatory Configuration Service, which is not.
    UsesRcs,
    /// It is not.
    NotSupported,
    /// It is not before it was migrated to a finance-and-operations environment.
    MigrateFirst,
    /// It never is.
    Never,
    /// It lies in the customer's own subscription, where no policy reaches.
    Excluded,
}

/// Where a statement is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The page.
    pub title: &'static str,
    /// When it said so.
    pub as_of: &'static str,
}

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// In which words.
    pub text: &'static str,
    /// The last moment at which it could be kept; none when no date was given.
    pub by: Option<&'static str>,
}

impl Promise {
    /// Whether its date has passed at `now`.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let by = self.by.and_then(|by| by.parse::<Timestamp>().ok());
        by.is_some_and(|by| by <= now)
    }
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its name here.
    pub id: &'static str,
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: ProductKind,
    /// What is said.
    pub support: Support,
    /// In words.
    pub why: &'static str,
    /// Where.
    pub source: Source,
    /// What was promised.
    pub promise: Option<Promise>,
}

const SEED: Source = Source {
    title: "Manage your encryption keys for data at rest (preview)",
    as_of: "2022-12",
};
const DOCS: Source = Source {
    title: "Manage your customer-managed encryption key, and the pages around it",
    as_of: "2026-03",
};
const LATE_2023: Promise = Promise {
    text: "support is planned for late 2023",
    by: Some("2024-01-01T00:00:00Z"),
};
const SOME_DAY: Promise = Promise {
    text: "support may be announced",
    by: None,
};

const fn row(
    id: &'static str,
    name: &'static str,
    kind: ProductKind,
    support: Support,
    why: &'static str,
    source: Source,
    promise: Option<Promise>,
) -> Product {
    Product {
        id,
        name,
        kind,
        support,
        why,
        source,
        promise,
    }
}

/// The name of the Regulatory Configuration Service's row.
pub(super) const RCS: &str = "rcs";
/// The name of Lifecycle Services' row.
pub(super) const LCS: &str = "lcs";
/// The name of the row of Human Resources Standalone.
pub(super) const HR_STANDALONE: &str = "human-resources-standalone";
/// What it becomes when it is migrated.
pub(super) const HUMAN_RESOURCES: &str = "human-resources";
/// The service that leaves an environment in the state Warning.
pub(super) const FLOWS: &str = "flows";
/// Cloud-hosted environments.
pub(super) const CLOUD_HOSTED: &str = "cloud-hosted";

use ProductKind::{AddIn, Offer, Service};
use Support::{Excluded, MigrateFirst, Never, NotSupported, Partial, Supported, UsesRcs};

const SPECIFIC: &str = "all environment-specific resources are supported";
const NEVER: &str = "file assets, methodologies, task recorder data and project metadata are never under customer keys";

#[rustfmt::skip]
static SEED_2022: &[Product] = &[
    row("supply-chain", "Dynamics 365 Supply Chain Management", Offer, Supported, SPECIFIC, SEED, None),
    row(HUMAN_RESOURCES, "Dynamics 365 Human Resources (finance and operations environment)", Offer, Supported, SPECIFIC, SEED, None),
    row("finance", "Dynamics 365 Finance", Offer, Supported, "all environment-specific resources are supported; data in RCS, if it is used beside it, is not", SEED, None),
    row(HR_STANDALONE, "Human Resources Standalone", Offer, MigrateFirst, "not compliant; migrate it with the migration tooling to a finance and operations environment, then a policy can be used", SEED, None),
    row("tax-calculation", "Tax Calculation", AddIn, UsesRcs, "uses RCS, which does not support the enforcement of customer-managed keys", SEED, Some(LATE_2023)),
    row("electronic-invoicing", "Electronic Invoicing", AddIn, UsesRcs, "uses RCS, which does not support the enforcement of customer-managed keys", SEED, Some(LATE_2023)),
    row(RCS, "Regulatory Configuration Service (RCS)", Service, NotSupported, "does not support the enforcement of customer-managed keys", SEED, Some(LATE_2023)),
    row(LCS, "Lifecycle Services (LCS)", Service, Never, NEVER, SEED, Some(SOME_DAY)),
    row(CLOUD_HOSTED, "Cloud-hosted environment", Service, Excluded, "not integrated with a policy: it lies in the customer's own subscription", SEED, None),
];

#[rustfmt::skip]
static DOCS_2026: &[Product] = &[
    row("supply-chain", "Dynamics 365 Supply Chain Management", Offer, Supported, SPECIFIC, DOCS, None),
    row(HUMAN_RESOURCES, "Dynamics 365 Human Resources (finance and operations environment)", Offer, Supported, SPECIFIC, DOCS, None),
    row("finance", "Dynamics 365 Finance", Offer, Supported, "all environment-specific resources are supported; data in RCS, if it is used beside it, is not", DOCS, None),
    row("commerce", "Dynamics 365 Commerce", Offer, Partial, "the headquarters' resources are supported; the scale units' data is not all", DOCS, None),
    row("demand-planning", "Demand planning", Offer, Partial, "some of its data is kept outside the environment-specific resources", DOCS, None),
    row(HR_STANDALONE, "Human Resources Standalone", Offer, MigrateFirst, "not compliant; migrate it to a finance and operations environment, then a policy can be used", DOCS, None),
    row("tax-calculation", "Tax Calculation", AddIn, UsesRcs, "used RCS, which was retired without support for customer-managed keys", DOCS, Some(LATE_2023)),
    row("electronic-invoicing", "Electronic Invoicing", AddIn, UsesRcs, "used RCS, which was retired without support for customer-managed keys", DOCS, Some(LATE_2023)),
    row(RCS, "Regulatory Configuration Service (RCS)", Service, NotSupported, "was retired without support for customer-managed keys", DOCS, Some(LATE_2023)),
    row(LCS, "Lifecycle Services (LCS)", Service, Never, NEVER, DOCS, Some(SOME_DAY)),
    row(CLOUD_HOSTED, "Cloud-hosted environment", Service, Excluded, "excluded: it lies in the customer's own subscription, where the customer encrypts it", DOCS, None),
    row(FLOWS, "Power Automate flows", Service, NotSupported, "an exception: stays under the Microsoft-managed key, and leaves the environment in the state Warning", DOCS, None),
    row("connections", "Connections of Power Apps and Power Automate", Service, NotSupported, "an exception: stays under the Microsoft-managed key", DOCS, None),
    row("maker-content", "Maker content", Service, NotSupported, "an exception: stays under the Microsoft-managed key", DOCS, None),
    row("solution-checker", "Solution checker", Service, NotSupported, "an exception: stays under the Microsoft-managed key", DOCS, None),
];

/// What holds for an add-in that no row names.
#[rustfmt::skip]
static UNLISTED: [Product; 2] = [
    row("", "", AddIn, Supported, "an add-in that is not listed supports the policy", SEED, None),
    row("", "", AddIn, Supported, "an add-in that is not listed supports the policy", DOCS, None),
];

impl Product {
    /// Whether it is a service of which a Power Platform environment says that it runs there. What the provider keeps
    /// beside any environment is not.
    pub fn runs_in_an_environment(&self) -> bool {
        self.kind == Service && ![RCS, LCS, CLOUD_HOSTED].contains(&self.id)
    }
}

impl Profile {
    /// Its rows.
    pub fn products(self) -> &'static [Product] {
        match self {
            Self::Seed2022 => SEED_2022,
            Self::Docs2026 => DOCS_2026,
        }
    }

    /// The row of that name.
    pub fn product(self, id: &str) -> Option<&'static Product> {
        self.products().iter().find(|product| product.id == id)
    }

    /// The row of an add-in; what is not listed supports the policy.
    pub(super) fn add_in(self, id: &str) -> &'static Product {
        let listed = self.product(id).filter(|product| product.kind == AddIn);
        listed.unwrap_or(&UNLISTED[self as usize])
    }

    /// Where it is said of environments that their resources are moved.
    pub(super) fn source(self) -> Source {
        match self {
            Self::Seed2022 => SEED,
            Self::Docs2026 => DOCS,
        }
    }
}
