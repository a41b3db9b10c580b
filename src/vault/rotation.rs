//! When keys are rotated by themselves: the policy of a key, and the times that follow from it.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::{KeyAttributes, VaultError};

/// A length of calendar time in years, months, weeks and days (ISO 8601: `P90D`, `P1Y6M`), counted in
/// UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    years: u16,
    months: u16,
    weeks: u16,
    days: u16,
}

/// The text is no period.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no period: expected years, months, weeks and days as in P90D or P1Y6M (ISO 8601), at most 100 years"
)]
pub struct BadPeriod(String);

impl Period {
    /// The most that the parts of a period may add up to, in days: 100 years.
    const MAX_DAYS: u32 = 36_500;

    fn of_days(days: u16) -> Self {
        Self {
            years: 0,
            months: 0,
            weeks: 0,
            days,
        }
    }

    /// How long it is in days, with years of 365 and months of 30: for comparison with bounds.
    fn about_days(self) -> u32 {
        let [years, months, weeks, days] =
            [self.years, self.months, self.weeks, self.days].map(u32::from);
        365 * years + 30 * months + 7 * weeks + days
    }

    fn span(self) -> Span {
        Span::new()
            .years(self.years)
            .months(self.months)
            .weeks(self.weeks)
            .days(self.days)
    }

    /// The time so long after `time`; the end of time when that is later.
    pub fn after(self, time: Timestamp) -> Timestamp {
        let moved = time
            .to_zoned_datetime(TimeZone::UTC)
            .checked_add(self.span());
        moved.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
    }

    /// The time so long before `time`; the beginning of time when that is earlier.
    pub fn before(self, time: Timestamp) -> Timestamp {
        let moved = time
            .to_zoned_datetime(TimeZone::UTC)
            .checked_sub(self.span());
        moved.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P")?;
        let parts = [
            (self.years, 'Y'),
            (self.months, 'M'),
            (self.weeks, 'W'),
            (self.days, 'D'),
        ];
        let given = parts.into_iter().filter(|(count, _)| *count != 0);
        given
            .into_iter()
            .try_for_each(|(count, unit)| write!(f, "{count}{unit}"))
    }
}

impl FromStr for Period {
    type Err = BadPeriod;
    fn from_str(s: &str) -> Result<Self, BadPeriod> {
        let bad = || BadPeriod(s.chars().take(64).collect());
        // The library reads more than ISO 8601: "90d", "3 months ago".
        if !s
            .bytes()
            .all(|b| b.is_ascii_digit() || b"PYMWD".contains(&b))
        {
            return Err(bad());
        }
        let span: Span = s.parse().map_err(|_| bad())?;
        let part = |count: i64| u16::try_from(count).map_err(|_| bad());
        let period = Self {
            years: part(span.get_years().into())?,
            months: part(span.get_months().into())?,
            weeks: part(span.get_weeks().into())?,
            days: part(span.get_days().into())?,
        };
        let fits = (1..=Self::MAX_DAYS).contains(&period.about_days());
        // No hours and less: then the parts are the whole.
        let whole = period.span().fieldwise() == span.fieldwise();
        if fits && whole {
            Ok(period)
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for Period {
    type Error = BadPeriod;
    fn try_from(s: String) -> Result<Self, BadPeriod> {
        s.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

/// When a version is followed by a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationTrigger {
    /// So long after it was made.
    TimeAfterCreate(Period),
    /// So long before it expires; a version without that date is not rotated.
    TimeBeforeExpiry(Period),
}

/// When a key is rotated by itself, and what its new versions get. Azure Key Vault's
/// `lifetimeActions` are `rotate` and `notify`, at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationPolicy {
    /// When a new version is made; never when `None`.
    pub rotate: Option<RotationTrigger>,
    /// So long before a version expires its owner wants to be told; `atrest serve --events` does.
    pub notify_before_expiry: Option<Period>,
    /// New versions made by a rotation expire so long after they are made.
    pub expiry: Option<Period>,
    /// When the policy was first set; `None` for the default one.
    pub created: Option<Timestamp>,
    /// When it was last set.
    pub updated: Option<Timestamp>,
}

impl Default for RotationPolicy {
    /// What a key has when none was set: a notification 30 days before its expiry, no rotation.
    fn default() -> Self {
        Self {
            rotate: None,
            notify_before_expiry: Some(Period::of_days(30)),
            expiry: None,
            created: None,
            updated: None,
        }
    }
}

impl RotationPolicy {
    /// Refuses what Azure Key Vault's documentation excludes: new versions that expire within 28
    /// days, and rotations less than 7 days after a version is made or before it expires.
    pub(super) fn check(&self) -> Result<(), VaultError> {
        let bad = |why: &str| Err(VaultError::BadParameter(why.into()));
        let expiry = self.expiry.map(Period::about_days);
        if expiry.is_some_and(|days| days < 28) {
            return bad("the expiry time is too short: give at least 28 days (P28D)");
        }
        match self.rotate {
            Some(
                RotationTrigger::TimeAfterCreate(period)
                | RotationTrigger::TimeBeforeExpiry(period),
            ) if period.about_days() < 7 => {
                bad("a rotation within 7 days of creation or expiry: give at least P7D")
            }
            Some(RotationTrigger::TimeBeforeExpiry(_)) if expiry.is_none() => {
                bad("a rotation before expiry needs an expiry time: give one")
            }
            Some(
                RotationTrigger::TimeAfterCreate(period)
                | RotationTrigger::TimeBeforeExpiry(period),
            ) if expiry.is_some_and(|days| period.about_days() + 7 > days) => {
                bad("the rotation must lie 7 days or more from both creation and expiry")
            }
            _ => Ok(()),
        }
    }

    /// When a key whose newest version has these attributes is due. A disabled version is not
    /// rotated: the new one would be enabled, and undo what its owner did.
    pub(super) fn due(&self, newest: &KeyAttributes) -> Option<Timestamp> {
        match self.rotate? {
            _ if !newest.enabled => None,
            RotationTrigger::TimeAfterCreate(period) => Some(period.after(newest.created)),
            RotationTrigger::TimeBeforeExpiry(period) => Some(period.before(newest.expires?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_that_is_none_or_too_long_is_refused() {
        for good in ["P90D", "P1Y6M", "P2W", "P100Y"] {
            assert_eq!(good.parse::<Period>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "P",
            "90D",
            "P0D",
            "-P90D",
            "PT48H",
            "P1DT1H",
            "P101Y",
            "P1.5D",
            "P-1D",
            "90d",
            "p90d",
            "3 months",
            "1y6mo",
            "+P90D",
            "90 days ago",
        ] {
            assert!(bad.parse::<Period>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_month_after_the_end_of_january_is_the_end_of_february() {
        let january: Timestamp = "2027-01-31T12:00:00Z".parse().unwrap();
        let month: Period = "P1M".parse().unwrap();
        assert_eq!(month.after(january).to_string(), "2027-02-28T12:00:00Z");
        assert_eq!(month.before(january).to_string(), "2026-12-31T12:00:00Z");
    }
}
