//! What exactly is protected by the customer's key: one row per resource, offer, add-in and service. A row says
//! what the documentation says *and* what is so now; the resources' own files say which key they are under.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::world::WorldError;

use super::Landscape;
use super::entities::{Entity, FinanceEnvironment, FinanceKind, PowerEnvironment};
use super::link::tenant_of;
use super::look::Look;
use super::pulled::Tried;

/// Whether something is under the customer's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What opens with the customer's keys pulled, where it was tried ([`Landscape::prove`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Vec<Tried>>,
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
        let power: Option<PowerEnvironment> = self.store().read(|tx| tx.find(environment))?;
        let power = power.ok_or_else(|| WorldError::NoEntity {
            kind: "environment",
            name: environment.to_owned(),
            listed_by: PowerEnvironment::LISTED_BY,
        })?;
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
            pulled: None,
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
