//! One request, bounded in time and length.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem, process};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::config::Config;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, AsSendBody, Body, Error, Proxy, Timeout};

use crate::crypto::SecretBytes;
use crate::vault::VaultError;

use super::RemoteOptions;

/// How long it may take to reach a server.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long a connection is kept that nobody uses: less than our server keeps one open.
const IDLE_TIME: Duration = Duration::from_secs(15);
/// Connections kept for the threads of a process.
const IDLE_MAX: usize = 8;
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 32 << 10;

/// Connections to one server, kept open between requests.
pub(super) struct Http {
    config: Config,
    /// The process that the connections are of, and they.
    held: Mutex<(u32, Agent)>,
}

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) secret_header: Option<(HeaderName, &'a [&'a [u8]])>,
    pub(super) content_type: &'static str,
    pub(super) body: Option<&'a [u8]>,
    /// The longest answer, in bytes.
    pub(super) limit: usize,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Keys are in some of them.
    pub(super) body: SecretBytes,
    pub(super) retry_after: Option<Duration>,
}

/// Why nothing came back.
pub(super) enum Failure {
    /// The request was never sent, and may be later.
    NotSent(String),
    /// It may have been carried out.
    Lost(String),
    /// No other try would end otherwise.
    Hopeless(String),
    /// There was an answer, which is none.
    Garbage(String),
}

/// The certificates that `options` trust.
pub(super) fn roots(options: &RemoteOptions) -> Result<RootCerts, VaultError> {
    let file = &options.ca_file;
    let bad = |why: &dyn std::fmt::Display| {
        VaultError::BadParameter(format!(
            "{}: {why}; name the certificate of the vault's server with --vault-ca or ATREST_VAULT_CA",
            file.display()
        ))
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| bad(&e))?;
    if found.is_empty() {
        return Err(bad(&"no certificate is in it"));
    }
    let certificates: Vec<_> = found
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

impl Http {
    pub(super) fn new(roots: &RootCerts, proxy: Option<&str>) -> Result<Self, VaultError> {
        let proxy = proxy.map(Proxy::new).transpose().map_err(|_| {
            VaultError::BadParameter(
                "HTTPS_PROXY is not a proxy's URL: give http://HOST:PORT".into(),
            )
        })?;
        let tls = TlsConfig::builder()
            .root_certs(roots.clone())
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_MAX)
            .max_idle_connections(IDLE_MAX)
            .max_idle_connections_per_host(IDLE_MAX)
            .max_idle_age(IDLE_TIME)
            .timeout_connect(Some(CONNECT_TIME))
            .user_agent(concat!("atrest/", env!("CARGO_PKG_VERSION")))
            .build();
        let held = Mutex::new((process::id(), config.new_agent()));
        Ok(Self { config, held })
    }

    /// The connections of this process. One that was forked must not go on with those of the other: both
    /// would seal different records under the same key and number. It leaves them open and alone, since
    /// even a farewell is a record.
    fn agent(&self) -> Agent {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process::id();
        if held.0 != process {
            let others = mem::replace(&mut *held, (process, self.config.new_agent()));
            mem::forget(others);
        }
        held.1.clone()
    }

    /// Sends `out` and waits for all of its answer, until `until` at the latest.
    pub(super) fn send(&self, out: &Outgoing<'_>, until: Instant) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let time = until.saturating_duration_since(begun);
        if time.is_zero() {
            return Err(Failure::NotSent("no time was left for the request".into()));
        }
        let failed = |error| failure(error, time);
        let mut response = self.run(out, time).map_err(failed)?;
        let headers = response.headers();
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| {
            let seconds = value.to_str().ok()?.parse().ok()?;
            Some(Duration::from_secs(seconds))
        });
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(out.limit as u64);
        Ok(Answer {
            status,
            body: SecretBytes::from_vec(body.read_to_vec().map_err(failed)?),
            retry_after,
        })
    }

    fn run(&self, out: &Outgoing<'_>, time: Duration) -> Result<Response<Body>, Error> {
        let mut request = Request::builder().method(out.method.clone()).uri(out.url);
        if let Some((name, value)) = &out.secret_header {
            let mut value =
                HeaderValue::from_bytes(&value.concat()).map_err(|e| Error::Http(e.into()))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let agent = self.agent();
        match out.body {
            None => agent.run(within(&agent, request.body(())?, time)),
            Some(body) => {
                let request = request.header(CONTENT_TYPE, out.content_type);
                agent.run(within(&agent, request.body(body)?, time))
            }
        }
    }
}

fn within<B: AsSendBody>(agent: &Agent, request: Request<B>, time: Duration) -> Request<B> {
    let config = agent.configure_request(request);
    config.timeout_global(Some(time)).build()
}

/// `Authorization`, for a request with a token.
pub(super) const BEARER: HeaderName = AUTHORIZATION;

fn failure(error: Error, time: Duration) -> Failure {
    match error {
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            Failure::NotSent("no connection in time".into())
        }
        Error::Timeout(_) => Failure::Lost(format!(
            "no answer within {:.1} seconds",
            time.as_secs_f64()
        )),
        Error::ConnectionFailed => Failure::NotSent("no connection".into()),
        Error::HostNotFound => Failure::NotSent(
            "no such host; HTTPS_PROXY leads to hosts that `atrest serve` simulates".into(),
        ),
        Error::Io(e) => match e.kind() {
            _ if e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Failure::Hopeless(format!("{e}: is ATREST_VAULT_CA its certificate?"))
            }
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Failure::NotSent(e.to_string()),
            _ => Failure::Lost(e.to_string()),
        },
        Error::Rustls(e) => Failure::Hopeless(format!("{e}: is ATREST_VAULT_CA its certificate?")),
        Error::ConnectProxyFailed(why) => {
            Failure::Hopeless(format!("the proxy did not lead there: {}", told(&why)))
        }
        Error::Protocol(_)
        | Error::BodyExceedsLimit(_)
        | Error::LargeResponseHeader(..)
        | Error::BodyStalled => Failure::Garbage(told(&error.to_string())),
        other => Failure::Hopeless(told(&other.to_string())),
    }
}

/// What somebody else said, fit to be shown: its first 300 characters, without control characters.
pub(super) fn told(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = printable.take(300).collect();
    short.split_whitespace().collect::<Vec<_>>().join(" ")
}
