//! How much of a vault may be used in ten seconds, as Azure documents it
//! (learn.microsoft.com/azure/key-vault/general/service-limits): weighted transactions whose sum is
//! limited.
//!
//! What the documentation leaves open is chosen here: whether an interval slides ("in a given 10-second
//! interval": here each begins with the first transaction after the last one's end); which classes
//! share a sum (here those of the table's columns, with software and hardware keys in one); what symmetric
//! keys weigh (as RSA-2048), and an import (as its key's other transactions would: as one of
//! the rest, since its key is not there yet). A refused transaction does not count, as documented.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::crypto::{KeyFamily, KeyKind};
use crate::server::reply::{Reply, error_reply};
use crate::vault::{KeyVault, LocalVault};

use super::operation::Operation;
use super::route::Call;

const INTERVAL: SignedDuration = SignedDuration::from_secs(10);

/// Transactions whose sum is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    /// Creation and rotation of keys.
    KeyCreation,
    /// All else that is asked of a key.
    KeyUse,
    SecretCreation,
    /// Everything else, of secrets and of the vault.
    Other,
}

impl Class {
    /// What its transactions may weigh together in an interval.
    fn limit(self) -> u32 {
        match self {
            Self::KeyCreation => 20,
            Self::SecretCreation => 300,
            Self::KeyUse | Self::Other => 4000,
        }
    }
}

/// A transaction's class, and what it weighs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge(Class, u32);

impl Charge {
    fn creation(hsm: bool) -> Self {
        Self(Class::KeyCreation, if hsm { 2 } else { 1 })
    }

    fn key_use(kind: KeyKind, hsm: bool) -> Self {
        let software = match (kind.family(), kind.bits()) {
            (KeyFamily::Rsa, 4096) => 8,
            (KeyFamily::Rsa, 3072) => 4,
            _ => 1,
        };
        Self(Class::KeyUse, if hsm { 2 * software } else { software })
    }

    /// What `call` with `body` costs `vault`.
    pub(super) fn of(call: &Call, body: &[u8], vault: &LocalVault) -> Self {
        #[derive(Deserialize)]
        struct Asked {
            kty: String,
        }
        let bundle = || {
            let name = call.name.as_ref().filter(|_| call.operation.uses_a_key())?;
            vault.key(name, call.version).ok()
        };
        match call.operation {
            Operation::Create => {
                let asked = serde_json::from_slice::<Asked>(body);
                Self::creation(asked.is_ok_and(|asked| asked.kty.ends_with("-HSM")))
            }
            Operation::Rotate => Self::creation(bundle().is_some_and(|key| key.hsm)),
            Operation::SecretSet => Self(Class::SecretCreation, 1),
            _ => bundle().map_or(Self(Class::Other, 1), |key| {
                Self::key_use(key.kind, key.hsm)
            }),
        }
    }
}

/// The part of Azure's limits that is granted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottleScale(f64);

impl FromStr for ThrottleScale {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let scale = s.parse().ok();
        let fits = scale.filter(|scale: &f64| (0.0001..=1000.0).contains(scale));
        fits.map(Self).ok_or_else(|| {
            format!("{s:?} is no part of Azure's limits: expected a number from 0.0001 to 1000, as 1 or 0.01")
        })
    }
}

/// What was used of each vault in its interval.
pub(in crate::server) struct Throttle {
    scale: ThrottleScale,
    used: Mutex<HashMap<(String, Class), Used>>,
}

struct Used {
    since: Timestamp,
    weight: u32,
}

impl Throttle {
    pub(in crate::server) fn new(scale: ThrottleScale) -> Self {
        Self {
            scale,
            used: Mutex::default(),
        }
    }

    /// Counts a transaction of the vault named `vault`, or refuses it.
    pub(super) fn take(
        &self,
        vault: &str,
        charge: Charge,
        now: Timestamp,
    ) -> Result<(), Throttled> {
        let Charge(class, weight) = charge;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "4000 * 1000 fits"
        )]
        let limit = (f64::from(class.limit()) * self.scale.0).round() as u32;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry((vault.to_owned(), class)).or_insert(Used {
            since: now,
            weight: 0,
        });
        let passed = now.duration_since(used.since);
        // Also when the clock was set back.
        if !(SignedDuration::ZERO..INTERVAL).contains(&passed) {
            *used = Used {
                since: now,
                weight: 0,
            };
        }
        // What weighs more than all of a small limit gets an interval for itself.
        if used.weight != 0 && used.weight + weight > limit {
            let left = INTERVAL - now.duration_since(used.since);
            return Err(Throttled {
                seconds: (left.as_millis() + 999) / 1000,
            });
        }
        used.weight += weight;
        Ok(())
    }
}

/// Too much was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Throttled {
    /// Until the interval is over, rounded up.
    seconds: i128,
}

impl Throttled {
    /// Code and message are Azure's. Its answers may have no `Retry-After`; clients that are told none
    /// wait by their own rules.
    pub(super) fn reply(&self) -> Reply {
        let message = "Request was not processed because too many requests were received. \
                       Reason: VaultRequestTypeLimitReached";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let mut reply = error_reply(status, "Throttled", None, message);
        let seconds = HeaderValue::from_str(&self.seconds.to_string()).expect("digits");
        reply.headers_mut().insert(RETRY_AFTER, seconds);
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs_f64(1e9 + second)
    }

    fn fit(charge: Charge, scale: &str) -> u32 {
        let throttle = Throttle::new(scale.parse().unwrap());
        let taken = (0..).take_while(|_| throttle.take("v", charge, at(0.0)).is_ok());
        u32::try_from(taken.count()).unwrap()
    }

    #[test]
    fn a_client_that_fits_here_fits_in_azure() {
        use KeyKind::*;
        for (kind, software, hsm) in [
            (Rsa2048, 4000, 2000),
            (Rsa3072, 1000, 500),
            (Rsa4096, 500, 250),
            (EcP256, 4000, 2000),
            (EcP521, 4000, 2000),
        ] {
            assert_eq!(fit(Charge::key_use(kind, false), "1"), software, "{kind}");
            assert_eq!(fit(Charge::key_use(kind, true), "1"), hsm, "{kind}");
        }
        assert_eq!(fit(Charge::creation(false), "1"), 20);
        assert_eq!(fit(Charge::creation(true), "1"), 10);
        assert_eq!(fit(Charge(Class::SecretCreation, 1), "1"), 300);
        assert_eq!(fit(Charge(Class::Other, 1), "1"), 4000);
    }

    /// The example of Azure's page: 248 of one and 16 of the other.
    #[test]
    fn kinds_of_keys_share_one_sum() {
        let throttle = Throttle::new("1".parse().unwrap());
        let (large, small) = (
            Charge::key_use(KeyKind::Rsa4096, true),
            Charge::key_use(KeyKind::Rsa2048, true),
        );
        let take = |charge, times| (0..times).all(|_| throttle.take("v", charge, at(1.0)).is_ok());
        assert!(take(large, 248) && take(small, 16));
        assert!(!take(small, 1) && !take(Charge::key_use(KeyKind::EcP256, false), 1));
        assert!(take(Charge::creation(false), 20), "another class");
    }

    #[test]
    fn an_interval_ends_and_says_when() {
        let throttle = Throttle::new("0.0005".parse().unwrap());
        let one = Charge(Class::Other, 1);
        let take = |second| throttle.take("v", one, at(second)).map_err(|e| e.seconds);
        assert_eq!([take(0.0), take(9.0)], [Ok(()), Ok(())]);
        assert_eq!(take(9.2), Err(1));
        assert_eq!(take(9.999), Err(1));
        assert_eq!(take(10.0), Ok(()), "what was refused did not count");
        assert_eq!([take(10.5), take(10.5)], [Ok(()), Err(10)]);
        assert_eq!(
            take(-500.0),
            Ok(()),
            "a clock that was set back keeps nobody out"
        );
        assert_eq!(throttle.take("other", one, at(10.5)), Ok(()));
    }

    #[test]
    fn half_of_the_limits_is_the_older_documentation_and_none_is_nothing() {
        assert_eq!(fit(Charge::key_use(KeyKind::Rsa4096, true), "0.5"), 125);
        assert_eq!(fit(Charge::key_use(KeyKind::Rsa4096, true), "0.0001"), 1);
        for bad in ["0", "-1", "NaN", "inf", "1001", "", "a"] {
            assert!(bad.parse::<ThrottleScale>().is_err(), "{bad}");
        }
    }
}
