//! Where a client gets its access tokens: a managed identity's endpoint, or the token service by a
//! client's secret (RFC 6749, 4.4).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use ureq::http::Method;
use ureq::http::header::HeaderName;
use ureq::tls::RootCerts;
use zeroize::Zeroizing;

use crate::crypto::SecretBytes;
use crate::vault::VaultError;

use super::client::Patience;
use super::http::{Answer, Failure, Http, Outgoing, told};
use super::options::endpoint;
use super::{Credential, RemoteOptions};

/// What tokens are for.
const RESOURCE: &str = "https://vault.azure.net";
const LOGIN: &str = "https://login.microsoftonline.com";
/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 << 10;
/// The longest token, in bytes: more than a server takes in a head.
const TOKEN_MAX: usize = 16 << 10;
/// A token is replaced so long before it expires, or in the last half of its life.
const AHEAD: Duration = Duration::from_secs(300);
/// No token is kept longer.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// The tokens of one client.
pub(super) struct Tokens {
    http: Http,
    credential: Credential,
    /// For errors.
    vault: String,
    held: Mutex<Option<Held>>,
}

struct Held {
    token: Arc<SecretBytes>,
    until: Instant,
}

/// What both kinds of endpoint answer; one writes numbers as texts.
#[derive(Deserialize)]
struct Granted {
    access_token: Zeroizing<String>,
    expires_in: Value,
}

#[derive(Deserialize)]
struct Denied {
    error_description: Option<String>,
    message: Option<String>,
}

impl Tokens {
    pub(super) fn new(
        options: &RemoteOptions,
        roots: &RootCerts,
        vault: &str,
    ) -> Result<Self, VaultError> {
        let proxy = match &options.credential {
            Credential::ManagedIdentity { endpoint: url, .. } => {
                endpoint(url)?;
                None
            }
            Credential::ClientSecret { tenant, .. } => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
                if tenant.is_empty() || !tenant.bytes().all(plain) {
                    let why = "AZURE_TENANT_ID is not a tenant's identifier";
                    return Err(VaultError::BadParameter(why.into()));
                }
                options.proxy.as_deref()
            }
        };
        Ok(Self {
            http: Http::new(roots, proxy)?,
            credential: options.credential.clone(),
            vault: vault.to_owned(),
            held: Mutex::new(None),
        })
    }

    /// A token that is valid for a while. The many who need one wait for one request, each as long as it
    /// has time.
    pub(super) fn get(&self, until: Instant) -> Result<Arc<SecretBytes>, VaultError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(held) if Instant::now() < held.until => Ok(held.token.clone()),
            _ => {
                let new = self.fetch(until)?;
                let token = new.token.clone();
                *held = Some(new);
                Ok(token)
            }
        }
    }

    /// The vault does not take this one.
    pub(super) fn forget(&self, token: &Arc<SecretBytes>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(&held.token, token))
        {
            *held = None;
        }
    }

    fn fetch(&self, until: Instant) -> Result<Held, VaultError> {
        let mut patience = Patience::until(until);
        loop {
            let asked = Instant::now();
            let (again, why) = match self.request(patience.one_try(until)) {
                Ok(answer) if answer.status == 200 => return self.granted(&answer, asked),
                Ok(answer) if matches!(answer.status, 429 | 503) => {
                    match patience.wait(answer.retry_after) {
                        true => continue,
                        false => return Err(self.denied(&answer)),
                    }
                }
                Ok(answer) => return Err(self.denied(&answer)),
                Err(Failure::NotSent(why) | Failure::Lost(why)) => (true, why),
                Err(Failure::Hopeless(why)) => (false, why),
                Err(Failure::Garbage(why)) => return Err(bad_answer(&why)),
            };
            if !again || !patience.wait(None) {
                return Err(VaultError::Unreachable {
                    vault: self.vault.clone(),
                    why: format!("no access token for it, {}", told(&why)),
                });
            }
        }
    }

    fn request(&self, until: Instant) -> Result<Answer, Failure> {
        match &self.credential {
            Credential::ManagedIdentity { endpoint, header } => {
                let mark = if endpoint.contains('?') { '&' } else { '?' };
                let query = form_urlencoded::Serializer::new(String::new())
                    .append_pair("api-version", "2019-08-01")
                    .append_pair("resource", RESOURCE)
                    .finish();
                let out = Outgoing {
                    method: Method::GET,
                    url: &format!("{endpoint}{mark}{query}"),
                    secret_header: Some((
                        HeaderName::from_static("x-identity-header"),
                        &[header.expose()],
                    )),
                    content_type: "",
                    body: None,
                    limit: ANSWER_MAX,
                };
                self.http.send(&out, until)
            }
            Credential::ClientSecret {
                tenant,
                client,
                secret,
            } => {
                let secret = Zeroizing::new(String::from_utf8_lossy(secret.expose()).into_owned());
                let form = form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "client_credentials")
                    .append_pair("client_id", client)
                    .append_pair("client_secret", &secret)
                    .append_pair("scope", &format!("{RESOURCE}/.default"))
                    .finish();
                let form = Zeroizing::new(form);
                let out = Outgoing {
                    method: Method::POST,
                    url: &format!("{LOGIN}/{tenant}/oauth2/v2.0/token"),
                    secret_header: None,
                    content_type: "application/x-www-form-urlencoded",
                    body: Some(form.as_bytes()),
                    limit: ANSWER_MAX,
                };
                self.http.send(&out, until)
            }
        }
    }

    fn granted(&self, answer: &Answer, asked: Instant) -> Result<Held, VaultError> {
        let unusable = |_| bad_answer("no token is in the answer to the request for one");
        let granted: Granted = serde_json::from_slice(answer.body.expose()).map_err(unusable)?;
        let seconds = match &granted.expires_in {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let lifetime = Duration::from_secs(seconds.unwrap_or(0)).min(LIFETIME_MAX);
        let token = granted.access_token.as_bytes();
        let fits = (1..=TOKEN_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
        if !fits || lifetime.is_zero() {
            return Err(bad_answer("the token that it gave cannot be used"));
        }
        Ok(Held {
            token: Arc::new(SecretBytes::from_vec(token.to_vec())),
            until: asked + (lifetime / 2).max(lifetime.saturating_sub(AHEAD)),
        })
    }

    fn denied(&self, answer: &Answer) -> VaultError {
        let said: Option<Denied> = serde_json::from_slice(answer.body.expose()).ok();
        let said = said.and_then(|denied| denied.error_description.or(denied.message));
        let why = said.map_or_else(|| format!("HTTP status {}", answer.status), |it| told(&it));
        VaultError::NotAuthorized {
            vault: self.vault.clone(),
            why: format!("no access token was given: {why}"),
        }
    }
}

fn bad_answer(why: &str) -> VaultError {
    VaultError::BadAnswer(format!("the token service: {why}"))
}
