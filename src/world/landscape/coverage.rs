//! What exactly is protected by the customer's key: one row per resource, offer, add-in and service. A row says
//! what the documentation says *and* what is so now; the resources' own files say which key they are under.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::resource::Protection;
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::entities::{FinanceEnvironment, FinanceKind, PowerEnvironment, Tenant};
use super::link::tenant_of;
use super::products::{
    CLOUD_HOSTED, HR_STANDALONE, LCS, Product, ProductKind, Profile, RCS, Source, Support,
};
use super::state::KeyState;

/// Whether something is under the customer's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is.
    Covered,
    /// It is, and cannot be read: the key was pulled.
    Locked,
    /// Some of it is.
    Partial,
    /// It is not.
    NotCovered,
    /// No policy reaches it: it is not the provider's.
    Excluded,
    /// It was deleted.
    Deleted,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Covered => "covered",
            Self::Locked => "covered, locked",
            Self::Partial => "PARTIAL",
            Self::NotCovered => "not covered",
            Self::Excluded => "excluded",
            Self::Deleted => "deleted",
        })
    }
}

/// Whose key it is under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum CoveredBy {
    /// The customer's.
    Customer {
        /// Which version of it.
        key: String,
    },
    /// The provider's.
    Microsoft,
    /// Both: some of it the one, some the other.
    Both,
    /// Nobody's here.
    Nobody,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoverageRow {
    /// What it is about.
    pub subject: String,
    /// What kind of thing that is: `resource`, `offer`, `add-in`, `service`.
    pub kind: &'static str,
    /// Whether it is covered.
    pub verdict: Verdict,
    /// By whose key.
    pub protected: CoveredBy,
    /// Why, as a code.
    pub reason: &'static str,
    /// Why, in words.
    pub why: String,
    /// Where the documentation says so.
    pub source: &'static str,
    /// When it said so.
    pub as_of: &'static str,
    /// What was promised.
    pub promise: Option<&'static str>,
    /// Until when.
    pub promised_by: Option<&'static str>,
    /// Whether that date has passed.
    pub promise_is_stale: bool,
}

/// What is under which key in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The environment.
    pub environment: String,
    /// The Dataverse organisation, when there is one.
    pub power: Option<String>,
    /// The profile that its rows are of.
    pub profile: String,
    /// When it was looked at, by the landscape's clock.
    pub as_of: Timestamp,
    /// The environment's state.
    pub state: String,
    /// `covered` only when every row is.
    pub verdict: Verdict,
    /// The rows.
    pub rows: Vec<CoverageRow>,
}

struct Look<'a> {
    landscape: &'a Landscape<'a>,
    profile: Profile,
    now: Timestamp,
    power: Option<PowerEnvironment>,
    linked: bool,
}

impl Landscape<'_> {
    /// What is under which key in one environment, by its finance-and-operations or its Dataverse name.
    pub fn coverage(&self, environment: &str) -> Result<Coverage, WorldError> {
        let finance: Option<FinanceEnvironment> = self.store().read(|tx| tx.find(environment))?;
        if let Some(finance) = finance {
            let power = match finance.link.completed() {
                Some(power) => Some(self.get(power.as_str())?),
                None => None,
            };
            return self.coverage_of(Some(finance), power);
        }
        let power: PowerEnvironment = self.get(environment)?;
        let finance = match &power.linked {
            Some(finance) => Some(self.get(finance.as_str())?),
            None => None,
        };
        self.coverage_of(finance, Some(power))
    }

    /// The same for every environment.
    pub fn coverage_of_all(&self) -> Result<Vec<Coverage>, WorldError> {
        let (finances, mut powers) = self.store().read(|tx| {
            Ok((
                tx.all::<FinanceEnvironment>()?,
                tx.map::<PowerEnvironment>()?,
            ))
        })?;
        let mut all = Vec::new();
        for finance in finances {
            let power = finance
                .link
                .completed()
                .and_then(|power| powers.remove(power.as_str()));
            all.push(self.coverage_of(Some(finance), power)?);
        }
        for power in powers.into_values() {
            all.push(self.coverage_of(None, Some(power))?);
        }
        Ok(all)
    }

    fn coverage_of(
        &self,
        finance: Option<FinanceEnvironment>,
        power: Option<PowerEnvironment>,
    ) -> Result<Coverage, WorldError> {
        let look = Look {
            landscape: self,
            profile: self.profile()?,
            now: self.now()?,
            linked: power
                .as_ref()
                .is_some_and(|power| finance.is_none() || power.linked.is_some()),
            power,
        };
        let mut rows = Vec::new();
        if let Some(finance) = &finance {
            rows.extend(look.resources(&self.resources_of_finance(&finance.name), finance.kind)?);
        }
        if let Some(power) = &look.power {
            rows.extend(
                look.resources(&self.resources_at(&power.place()), FinanceKind::Production)?,
            );
        }
        if let Some(finance) = &finance {
            let tenant = self.store().read(|tx| tenant_of(tx, finance))?;
            look.products(finance, &tenant, &mut rows);
        }
        let services = look.power.iter().flat_map(|power| &power.services);
        for service in services {
            if let Some(product) = look.profile.product(service.as_str()) {
                rows.push(look.statement(
                    product,
                    product.name.into(),
                    Verdict::NotCovered,
                    "EXCEPTION",
                ));
            }
        }
        let state = match (&look.power, &finance) {
            (Some(power), _) => power.key.word().to_owned(),
            (None, Some(finance)) => format!("Microsoft-managed, {}", finance.link.word()),
            (None, None) => String::new(),
        };
        let name = finance.as_ref().map(|finance| finance.name.to_string());
        let power = look.power.as_ref().map(|power| power.name.to_string());
        Ok(Coverage {
            environment: name.or_else(|| power.clone()).unwrap_or_default(),
            power,
            profile: look.profile.to_string(),
            as_of: look.now,
            state,
            verdict: overall(&rows),
            rows,
        })
    }
}

/// What every row is; partial when they differ.
fn overall(rows: &[CoverageRow]) -> Verdict {
    let Some(first) = rows.first() else {
        return Verdict::NotCovered;
    };
    let none = |row: &CoverageRow| matches!(row.verdict, Verdict::NotCovered | Verdict::Excluded);
    match rows.iter().all(|row| row.verdict == first.verdict) {
        true => first.verdict,
        false if rows.iter().all(none) => Verdict::NotCovered,
        false => Verdict::Partial,
    }
}

impl Look<'_> {
    /// What is so of each resource: its files say which key they are under.
    fn resources(
        &self,
        addresses: &[ResourceAddress],
        kind: FinanceKind,
    ) -> Result<Vec<CoverageRow>, WorldError> {
        let workspace = self.landscape.workspace;
        let mut rows = Vec::new();
        for address in addresses {
            let version = workspace.key_version(address)?;
            let customers =
                version.filter(|version| version.vault != workspace.service_key().vault);
            let (verdict, protected, reason, why) =
                match (customers, self.power.as_ref().map(|p| &p.key)) {
                    (Some(key), Some(KeyState::Locked { trigger, .. })) => (
                        Verdict::Locked,
                        CoveredBy::Customer {
                            key: key.to_string(),
                        },
                        "LOCKED",
                        format!("under the customer's key, which cannot be used: {trigger}"),
                    ),
                    (Some(key), _) => (
                        Verdict::Covered,
                        CoveredBy::Customer {
                            key: key.to_string(),
                        },
                        "CUSTOMER_KEY",
                        "environment-specific, and under the policy's key".to_owned(),
                    ),
                    (None, state) => {
                        let (reason, why) = self.why_not(kind, state);
                        (Verdict::NotCovered, CoveredBy::Microsoft, reason, why)
                    }
                };
            let source = self.profile.source();
            rows.push(CoverageRow {
                subject: address.to_string(),
                kind: "resource",
                verdict,
                protected,
                reason,
                why,
                source: source.title,
                as_of: source.as_of,
                promise: None,
                promised_by: None,
                promise_is_stale: false,
            });
        }
        Ok(rows)
    }

    fn why_not(&self, kind: FinanceKind, state: Option<&KeyState>) -> (&'static str, String) {
        match (kind, state) {
            (FinanceKind::HrStandalone, _) => (
                "MIGRATE_FIRST",
                "Human Resources Standalone: migrate it first (`atrest env migrate`)".into(),
            ),
            (FinanceKind::CloudHosted, _) => (
                "CLOUD_HOSTED",
                "cloud-hosted: in the customer's own subscription, where no policy reaches".into(),
            ),
            (_, None) => (
                "NOT_INTEGRATED",
                "not integrated with the Power Platform: stays on the Microsoft-managed key".into(),
            ),
            (_, Some(KeyState::Mmk)) => ("NO_POLICY", "the environment has no policy".into()),
            (_, Some(KeyState::Partial { why, .. })) => (
                "PARTIAL_APPLY",
                format!("the policy failed half way: {why}"),
            ),
            (_, Some(other)) => ("UNDER_WAY", format!("the environment is {}", other.word())),
        }
    }

    fn products(&self, finance: &FinanceEnvironment, tenant: &Tenant, rows: &mut Vec<CoverageRow>) {
        let row = |id: &str| self.profile.product(id);
        let uses_rcs = |add_in: &str| self.profile.add_in(add_in).support == Support::UsesRcs;
        for offer in &finance.offers {
            let Some(product) = row(offer.as_str()) else {
                continue;
            };
            // Finance with RCS beside it is not all covered, whatever its environment is.
            let rcs_beside = offer.as_str() == "finance" && tenant.rcs;
            rows.push(self.product(product, product.name.into(), rcs_beside, finance));
        }
        for add_in in &finance.add_ins {
            let product = self.profile.add_in(add_in.as_str());
            let name = match product.name {
                "" => add_in.to_string(),
                name => name.to_owned(),
            };
            rows.push(self.product(product, name, false, finance));
        }
        let add_in_uses_rcs = finance
            .add_ins
            .iter()
            .any(|add_in| uses_rcs(add_in.as_str()));
        let has_finance = finance
            .offers
            .iter()
            .any(|offer| offer.as_str() == "finance");
        if let Some(product) = row(RCS)
            && tenant.rcs
            && (add_in_uses_rcs || has_finance)
        {
            rows.push(self.statement(product, product.name.into(), Verdict::NotCovered, "RCS"));
        }
        if let Some(product) = row(LCS) {
            rows.push(self.statement(
                product,
                product.name.into(),
                Verdict::NotCovered,
                "LCS_NEVER",
            ));
        }
        if let Some(product) = row(CLOUD_HOSTED)
            && finance.kind == FinanceKind::CloudHosted
        {
            rows.push(self.statement(
                product,
                product.name.into(),
                Verdict::Excluded,
                "CLOUD_HOSTED",
            ));
        }
    }

    /// What is said of a product, and what is so.
    fn product(
        &self,
        product: &Product,
        name: String,
        rcs_beside: bool,
        finance: &FinanceEnvironment,
    ) -> CoverageRow {
        let said = match product.support {
            Support::Supported if rcs_beside => (Verdict::Partial, "RCS"),
            Support::Supported => (Verdict::Covered, "CUSTOMER_KEY"),
            Support::Partial => (Verdict::Partial, "PARTIAL"),
            Support::UsesRcs => (Verdict::NotCovered, "RCS"),
            Support::NotSupported => (Verdict::NotCovered, "EXCEPTION"),
            Support::MigrateFirst => (Verdict::NotCovered, "MIGRATE_FIRST"),
            Support::Never => (Verdict::NotCovered, "LCS_NEVER"),
            Support::Excluded => (Verdict::Excluded, "CLOUD_HOSTED"),
        };
        let mut row = self.statement(product, name, said.0, said.1);
        if !matches!(said.0, Verdict::Covered | Verdict::Partial) || product.id == HR_STANDALONE {
            return row;
        }
        // What would be covered is so only as far as the environment is.
        let state = self
            .power
            .as_ref()
            .filter(|_| self.linked)
            .map(|power| &power.key);
        match state {
            Some(KeyState::Cmk { .. } | KeyState::Warning { .. }) => {}
            Some(KeyState::Locked { trigger, .. }) => {
                row.verdict = Verdict::Locked;
                row.reason = "LOCKED";
                row.why = format!("{}; locked: {trigger}", row.why);
            }
            Some(KeyState::Deleted { .. }) => row.verdict = Verdict::Deleted,
            other => {
                let (reason, why) = self.why_not(finance.kind, other);
                let partly = matches!(other, Some(KeyState::Partial { .. }));
                row.verdict = if partly {
                    Verdict::Partial
                } else {
                    Verdict::NotCovered
                };
                row.protected = if partly {
                    CoveredBy::Both
                } else {
                    CoveredBy::Microsoft
                };
                row.reason = reason;
                row.why = format!("{}; {why}", row.why);
            }
        }
        row
    }

    /// What is said of a product.
    fn statement(
        &self,
        product: &Product,
        subject: String,
        verdict: Verdict,
        reason: &'static str,
    ) -> CoverageRow {
        let Source { title, as_of } = product.source;
        CoverageRow {
            subject,
            kind: match product.kind {
                ProductKind::Offer => "offer",
                ProductKind::AddIn => "add-in",
                ProductKind::Service => "service",
            },
            verdict,
            protected: match verdict {
                Verdict::Covered | Verdict::Locked => self.customers_key(),
                Verdict::Partial => CoveredBy::Both,
                Verdict::NotCovered => CoveredBy::Microsoft,
                Verdict::Excluded | Verdict::Deleted => CoveredBy::Nobody,
            },
            reason,
            why: product.why.to_owned(),
            source: title,
            as_of,
            promise: product.promise.map(|promise| promise.text),
            promised_by: product.promise.and_then(|promise| promise.by),
            promise_is_stale: product
                .promise
                .is_some_and(|promise| promise.is_stale(self.now)),
        }
    }

    fn customers_key(&self) -> CoveredBy {
        let policy = self.power.as_ref().and_then(|power| power.key.policy());
        let policy =
            policy.and_then(|name| self.landscape.get::<super::Policy>(name.as_str()).ok());
        match policy.and_then(|policy| self.landscape.protection_by(&policy).ok()) {
            Some(Protection::CustomerManaged { key }) => CoveredBy::Customer {
                key: key.to_string(),
            },
            _ => CoveredBy::Microsoft,
        }
    }
}
