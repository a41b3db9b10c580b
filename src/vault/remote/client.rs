//! A request to the vault with a token, repeated where that is safe, and never for ever.

use std::time::{Duration, Instant};

use ureq::http::Method;

use crate::crypto::{SecretBytes, random_bytes};
use crate::vault::VaultError;

use super::RemoteOptions;
use super::http::{Answer, BEARER, Failure, Http, Outgoing, roots, told};
use super::options::base;
use super::refusal::Refusal;
use super::tokens::Tokens;

/// How long a call to a vault behind a server may take, its token and its repetitions included. Making a
/// key and listing keys may take two minutes.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// An RSA-4096 key may take seconds, and wait for others that are being made.
const LONG_TIME: Duration = Duration::from_secs(120);
/// One try of several.
const TRY_TIME: Duration = Duration::from_secs(3);
/// How often a request is sent at most.
const TRIES: u32 = 5;
/// The pause after the first try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest answer, in bytes: a page of 25 keys with all the tags that there may be.
pub(super) const ANSWER_MAX: usize = 1 << 20;

/// The API's version that is spoken.
const API_VERSION: &str = "api-version=7.4";

/// What is asked.
pub(super) struct Ask {
    pub(super) method: Method,
    /// Path, without the version.
    pub(super) path: String,
    /// More parameters, encoded.
    pub(super) query: Option<String>,
    pub(super) body: Option<SecretBytes>,
    /// Whether twice does what once does.
    pub(super) repeatable: bool,
    pub(super) limit: usize,
    pub(super) until: Instant,
}

impl Ask {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            repeatable: method == Method::GET,
            body: (!matches!(method, Method::GET | Method::DELETE))
                .then(|| SecretBytes::from_vec(Vec::new())),
            method,
            path: path.into(),
            query: None,
            limit: ANSWER_MAX,
            until: Instant::now() + REQUEST_TIMEOUT,
        }
    }

    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(super) fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    pub(super) fn with(mut self, body: SecretBytes) -> Self {
        self.body = Some(body);
        self
    }

    /// Doing it twice does what doing it once does.
    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(super) fn until(mut self, until: Instant) -> Self {
        self.until = until;
        self
    }

    /// A key is made.
    pub(super) fn long(self) -> Self {
        self.until(long())
    }

    fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{API_VERSION}&{query}", self.path),
            None => format!("{}?{API_VERSION}", self.path),
        }
    }
}

/// When what takes long must be done.
pub(super) fn long() -> Instant {
    Instant::now() + LONG_TIME
}

/// A vault's server, and the tokens that it wants.
pub(super) struct Client {
    http: Http,
    tokens: Tokens,
    base: String,
}

impl Client {
    pub(super) fn new(options: &RemoteOptions) -> Result<Self, VaultError> {
        let (base, direct) = base(&options.url)?;
        let roots = roots(options)?;
        let proxy = options.proxy.as_deref();
        Ok(Self {
            http: Http::new(&roots, proxy.filter(|_| !direct))?,
            tokens: Tokens::new(options, &roots, &base)?,
            base,
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Any answer but one that says to try later.
    ///
    /// # Errors
    /// [`VaultError::Unreachable`], [`VaultError::BadAnswer`], and those of the token.
    pub(super) fn ask(&self, ask: &Ask) -> Result<Answer, VaultError> {
        let url = format!("{}{}", self.base, ask.target());
        let mut patience = Patience::until(ask.until);
        let mut renewed = false;
        loop {
            // Who makes a key has long; those who wait behind him for the token have not.
            let soon = ask.until.min(Instant::now() + REQUEST_TIMEOUT);
            let token = self.tokens.get(soon)?;
            let out = Outgoing {
                method: ask.method.clone(),
                url: &url,
                secret_header: Some((BEARER, &[b"Bearer ", token.expose()])),
                content_type: "application/json",
                body: ask.body.as_ref().map(SecretBytes::expose),
                limit: ask.limit,
            };
            let failed = match self.http.send(&out, patience.one_try(ask.until)) {
                Ok(answer) if answer.status == 401 && !renewed => {
                    // It may have been taken away, or the server's clock is ahead.
                    self.tokens.forget(&token);
                    renewed = true;
                    continue;
                }
                Ok(answer) => {
                    let refusal = Refusal::of(&answer);
                    match refusal.is_for_now() && patience.wait(answer.retry_after) {
                        true => continue,
                        false => return Ok(answer),
                    }
                }
                Err(failed) => failed,
            };
            let (again, why) = match failed {
                Failure::NotSent(why) => (true, why),
                Failure::Lost(why) => (ask.repeatable, why),
                Failure::Hopeless(why) => (false, why),
                Failure::Garbage(why) => {
                    return Err(VaultError::BadAnswer(format!("{}: {why}", self.base)));
                }
            };
            if !again || !patience.wait(None) {
                return Err(VaultError::Unreachable {
                    vault: self.base.clone(),
                    why: told(&why),
                });
            }
        }
    }
}

/// What is left of the tries and the time of a call.
pub(super) struct Patience {
    until: Instant,
    tries: u32,
    pause: Duration,
}

impl Patience {
    pub(super) fn until(until: Instant) -> Self {
        Self {
            until,
            tries: TRIES,
            pause: PAUSE,
        }
    }

    /// When a try that begins now is given up. What takes long is tried once.
    pub(super) fn one_try(&self, until: Instant) -> Instant {
        let now = Instant::now();
        match until.saturating_duration_since(now) > REQUEST_TIMEOUT {
            true => until,
            false => until.min(now + TRY_TIME),
        }
    }

    /// Waits before another try, at least as long as was asked for; `false` when there is none.
    pub(super) fn wait(&mut self, at_least: Option<Duration>) -> bool {
        self.tries -= 1;
        // Half of it is chance, so that those who failed together do not come back together.
        let [chance] = random_bytes::<1>();
        let pause = self.pause / 2 + self.pause * u32::from(chance) / 512;
        let pause = pause.max(at_least.unwrap_or_default());
        self.pause *= 2;
        let left = self.until.saturating_duration_since(Instant::now());
        if self.tries == 0 || pause >= left {
            return false;
        }
        std::thread::sleep(pause);
        true
    }
}
