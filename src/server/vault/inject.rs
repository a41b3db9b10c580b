//! Failures on purpose, for whoever tests how his own software takes them. Whatever is injected is named in
//! the log and counted; nothing is ever done by half: a fault is before an operation, and then nothing
//! was done, and the vault's audit log has the refusal; or after it, and then all of it was, and only its
//! answer is lost.

use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::base::KeyName;
use crate::server::metrics::Metrics;
use crate::server::reply::{Injected, Reply, Reset, error_reply, text_reply};

use super::operation::Operation;
use super::route::Call;

/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(600);

/// What goes wrong, and when: `OPERATION[@NAME]=[after-]FAULT[:RATE]`.
///
/// - OPERATION is `*`, an operation as log and metrics name it (`KeyUnwrap`, `SecretGet`), or as a key's
///   `key_ops` do (`unwrapKey`); with `@NAME`, of this key or secret only.
/// - FAULT is a status (400 to 599), `delay:TIME` (`200ms`, `3s`), or `reset`: the connection is closed.
///   With `after-` it comes once the operation is done.
/// - RATE is `P%` or `#N`, each Nth time; always without it.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// As it was given.
    text: String,
    operation: Option<Operation>,
    name: Option<KeyName>,
    after: bool,
    fault: Fault,
    rate: Rate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Status(StatusCode),
    Delay(Duration),
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    Always,
    /// From 0 to 1.
    Probability(f64),
    Every(u64),
}

impl FromStr for Injection {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (target, rest) = s
            .split_once('=')
            .ok_or("expected OPERATION=FAULT, as in 'unwrapKey=503:5%'")?;
        let (operation, name) = match target.split_once('@') {
            Some((operation, name)) => (operation, Some(name.parse().map_err(|e| format!("{e}"))?)),
            None => (target, None),
        };
        let operation = match operation {
            "*" => None,
            named => Some(named.parse()?),
        };
        let (after, rest) = match rest.strip_prefix("after-") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (rest, rate) = match rest.rsplit_once(':') {
            Some((fault, rate)) if rate.contains(['%', '#']) => (fault, rate.parse()?),
            _ => (rest, Rate::Always),
        };
        Ok(Self {
            text: s.to_owned(),
            operation,
            name,
            after,
            fault: rest.parse()?,
            rate,
        })
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if s == "reset" {
            return Ok(Self::Reset);
        }
        if let Some(time) = s.strip_prefix("delay:") {
            let (digits, unit) =
                time.split_at(time.trim_end_matches(|c: char| !c.is_ascii_digit()).len());
            let count = digits
                .parse::<u64>()
                .ok()
                .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            let delay = match (count, unit) {
                (Some(count), "ms") => Some(Duration::from_millis(count)),
                (Some(count), "s") => Some(Duration::from_secs(count)),
                _ => None,
            };
            let fits = delay.filter(|delay| *delay <= DELAY_MAX);
            return fits.map(Self::Delay).ok_or_else(|| {
                format!("{time:?} is no delay: expected milliseconds or seconds, as 200ms or 3s, at most 600s")
            });
        }
        let status = s.parse().ok().filter(|status| (400..=599).contains(status));
        let status = status.and_then(|status: u16| StatusCode::from_u16(status).ok());
        status.map(Self::Status).ok_or_else(|| {
            format!("{s:?} is no fault: expected a status from 400 to 599, delay:TIME or reset")
        })
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{s:?} is no rate: expected a percentage above 0 as 5%, or #N for each Nth time"
            )
        };
        if let Some(percent) = s.strip_suffix('%') {
            let percent = percent.parse::<f64>().ok();
            let fits = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
            return fits
                .map(|percent| Self::Probability(percent / 100.0))
                .ok_or_else(bad);
        }
        let every = s.strip_prefix('#').and_then(|n| n.parse().ok());
        every.filter(|n| *n > 0).map(Self::Every).ok_or_else(bad)
    }
}

/// What is injected into a server's answers.
pub(in crate::server) struct Injections(Vec<Rule>);

struct Rule {
    injection: Injection,
    drawn: Mutex<Drawn>,
}

struct Drawn {
    random: ChaCha8Rng,
    asked: u64,
}

impl Injections {
    /// The same seed gives the same choices to the same requests in the same order.
    pub(in crate::server) fn new(injections: &[Injection], seed: u64) -> Self {
        let rule = |(stream, injection): (u64, &Injection)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(stream);
            Rule {
                injection: injection.clone(),
                drawn: Mutex::new(Drawn { random, asked: 0 }),
            }
        };
        Self((0..).zip(injections).map(rule).collect())
    }

    /// What befalls `call`, before and after it is done.
    pub(super) fn befall(&self, call: &Call) -> (Befallen<'_>, Befallen<'_>) {
        let all: Vec<_> = self.0.iter().filter(|rule| rule.strikes(call)).collect();
        let (after, before) = all
            .into_iter()
            .map(|rule| &rule.injection)
            .partition(|i| i.after);
        (Befallen(before), Befallen(after))
    }
}

impl Rule {
    fn strikes(&self, call: &Call) -> bool {
        let Injection {
            operation,
            name,
            rate,
            ..
        } = &self.injection;
        let named = |asked: &KeyName| name.as_ref().is_none_or(|name| name == asked);
        let concerned = operation.is_none_or(|operation| operation == call.operation)
            && call.name.as_ref().map_or(name.is_none(), named);
        if !concerned {
            return false;
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.asked += 1;
        match *rate {
            Rate::Always => true,
            Rate::Probability(p) => drawn.random.random_bool(p),
            Rate::Every(n) => drawn.asked.is_multiple_of(n),
        }
    }
}

/// The faults that one request meets at one moment, in the order in which they were given.
#[derive(Debug, PartialEq)]
pub(super) struct Befallen<'a>(Vec<&'a Injection>);

impl Befallen<'_> {
    /// Waits out the delays, up to a fault that makes the answer; without one, nothing is given, and `marks`
    /// names what happened.
    pub(super) async fn happen(
        &self,
        operation: Operation,
        metrics: &Metrics,
        marks: &mut Injected,
    ) -> Option<Reply> {
        for injection in &self.0 {
            metrics.injected(operation.audited().name(), injection.fault.name());
            marks.add(&injection.text);
            match injection.fault {
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                Fault::Status(status) => return Some(injected(status, &injection.text)),
                Fault::Reset => {
                    // What the log says of it, as some servers do: no answer.
                    let status = StatusCode::from_u16(444).expect("it has three digits");
                    let mut reply = text_reply(status, "");
                    reply.extensions_mut().insert(Reset);
                    return Some(reply);
                }
            }
        }
        None
    }
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Delay(_) => "delay",
            Self::Reset => "reset",
        }
    }
}

/// An error of Azure's shape whose message says where it comes from.
fn injected(status: StatusCode, by: &str) -> Reply {
    let code = match status {
        StatusCode::BAD_REQUEST => "BadParameter".to_owned(),
        StatusCode::TOO_MANY_REQUESTS => "Throttled".to_owned(),
        _ => status
            .canonical_reason()
            .unwrap_or("Error")
            .replace(' ', ""),
    };
    let message = format!("Injected by the server's option --inject {by}");
    let mut reply = error_reply(status, &code, None, &message);
    if status == StatusCode::TOO_MANY_REQUESTS {
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: Operation, name: &str) -> Call {
        Call {
            operation,
            name: Some(name.parse().unwrap()),
            version: None,
        }
    }

    fn struck(rules: &[&str], seed: u64, operation: Operation, name: &str) -> Vec<bool> {
        let rules: Vec<Injection> = rules.iter().map(|r| r.parse().unwrap()).collect();
        let injections = Injections::new(&rules, seed);
        let call = call(operation, name);
        (0..1000)
            .map(|_| injections.befall(&call).0 != Befallen(vec![]))
            .collect()
    }

    #[test]
    fn a_rule_that_means_nothing_is_refused_and_not_ignored() {
        for good in [
            "unwrapKey=503:5%",
            "KeyUnwrap=503",
            "secretget@password=after-reset:#2",
            "*=delay:200ms",
            "*=after-delay:600s:0.5%",
            "sign@payroll=429:100%",
        ] {
            assert!(good.parse::<Injection>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "503",
            "unwrapKey",
            "unwrapKey=",
            "nothing=503",
            "*=200",
            "*=600",
            "*=503:",
            "*=503:0%",
            "*=503:101%",
            "*=503:NaN%",
            "*=503:5",
            "*=503:#0",
            "*=503:#-1",
            "*=delay",
            "*=delay:5",
            "*=delay:-5ms",
            "*=delay:601s",
            "*=delay:5h",
            "*=close",
            "*@=503",
            "*@a b=503",
            "unwrapKey=503:5%:5%",
        ] {
            assert!(bad.parse::<Injection>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_seed_fails_the_same_requests() {
        let run = |seed| {
            struck(
                &["*=delay:1ms:1%", "unwrapKey=503:5%"],
                seed,
                Operation::Unwrap,
                "k",
            )
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let count = run(1).into_iter().filter(|struck| *struck).count();
        assert!((30..90).contains(&count), "{count}");
        let every = struck(&["sign=reset:#10"], 0, Operation::Sign, "k");
        let at: Vec<_> = (0..30).filter(|i| every[*i]).collect();
        assert_eq!(at, [9, 19, 29]);
    }

    #[test]
    fn what_no_rule_names_never_fails() {
        let none = |rule, operation, name| !struck(&[rule], 0, operation, name).contains(&true);
        assert!(none("unwrapKey=503", Operation::Wrap, "k"));
        assert!(none("*@other=503", Operation::Wrap, "k"));
        assert!(!none("*@k=503", Operation::Wrap, "k"));
        assert!(!none("*@K=503", Operation::Wrap, "k"), "names ignore case");
        let list = Call {
            operation: Operation::List,
            name: None,
            version: None,
        };
        let of = |rule: &str| Injections::new(&[rule.parse().unwrap()], 0);
        assert_eq!(of("*@k=503").befall(&list).0, Befallen(vec![]));
        assert_ne!(of("*=503").befall(&list).0, Befallen(vec![]));
        let (before, after) = (of("*=after-503"), of("*=503"));
        assert_eq!(before.befall(&list).0, Befallen(vec![]));
        assert_eq!(after.befall(&list).1, Befallen(vec![]));
    }
}
