//! How the rows of a coverage report come about: what is said, and what is so.

use jiff::Timestamp;

use crate::base::KeyRef;
use crate::world::{ResourceAddress, WorldError};

use super::Landscape;
use super::coverage::{CoverageRow, CoveredBy, Verdict};
use super::entities::{FinanceEnvironment, FinanceKind, Policy, PowerEnvironment, Tenant};
use super::products::{CLOUD_HOSTED, HR_STANDALONE, LCS, Product, Profile, RCS, Source, Support};
use super::state::KeyState;

/// A look at one environment.
pub(super) struct Look<'a> {
    pub(super) landscape: &'a Landscape<'a>,
    pub(super) profile: Profile,
    pub(super) now: Timestamp,
    pub(super) power: Option<PowerEnvironment>,
    pub(super) linked: bool,
}

impl Look<'_> {
    /// What is so of each resource: its files say which key they are under.
    pub(super) fn resources(
        &self,
        addresses: &[ResourceAddress],
        kind: FinanceKind,
    ) -> Result<Vec<CoverageRow>, WorldError> {
        let workspace = self.landscape.workspace;
        let own = self.policys_key();
        let mut rows = Vec::new();
        for address in addresses {
            let version = workspace.key_version(address)?;
            let is_sealed = version.is_some();
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
                    (Some(key), _) if Some(key.key()) != own => (
                        Verdict::Partial,
                        CoveredBy::Customer {
                            key: key.to_string(),
                        },
                        "OTHER_KEY",
                        "under a key that is not its policy's: no policy governs it".to_owned(),
                    ),
                    (Some(key), _) => (
                        Verdict::Covered,
                        CoveredBy::Customer {
                            key: key.to_string(),
                        },
                        "CUSTOMER_KEY",
                        "environment-specific, and under the policy's key".to_owned(),
                    ),
                    (None, _) if !is_sealed => (
                        Verdict::NotCovered,
                        CoveredBy::Nobody,
                        "NOT_ENCRYPTED",
                        "not encrypted, or its header names no key: nobody's key protects it"
                            .to_owned(),
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

    pub(super) fn products(
        &self,
        finance: &FinanceEnvironment,
        tenant: &Tenant,
        rows: &mut Vec<CoverageRow>,
    ) {
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
                // Of what is covered in part, the rest is open still: it is not locked as a whole.
                if row.verdict == Verdict::Covered {
                    row.verdict = Verdict::Locked;
                }
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
    pub(super) fn statement(
        &self,
        product: &Product,
        subject: String,
        verdict: Verdict,
        reason: &'static str,
    ) -> CoverageRow {
        let Source { title, as_of } = product.source;
        CoverageRow {
            subject,
            kind: product.kind.word(),
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
        self.policys_key()
            .map_or(CoveredBy::Microsoft, |key| CoveredBy::Customer {
                key: key.to_string(),
            })
    }

    fn policys_key(&self) -> Option<KeyRef> {
        let name = self.power.as_ref()?.key.policy()?;
        let policy: Policy = self.landscape.get(name.as_str()).ok()?;
        let protection = self.landscape.protection_by(&policy).ok()?;
        protection.key().cloned()
    }
}
