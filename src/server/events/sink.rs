//! Where events go: a file, one in each line, or a webhook, one in each request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::server::ServerError;

/// How long a webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The content type of a CloudEvent in a request's body (CloudEvents HTTP binding 1.0, 3.2).
const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";

/// Where systems keep whom they trust: Debian and many others, Fedora.
const TRUSTED: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Where events are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventsTo {
    /// Appended, one JSON object in each line.
    File(PathBuf),
    /// Posted, each in a request: to https, or to http on this machine.
    Webhook(Uri),
}

impl FromStr for EventsTo {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if !s.contains("://") {
            return match s {
                "" => Err("expected a file or a URL".into()),
                path => Ok(Self::File(path.into())),
            };
        }
        let uri: Uri = s.parse().map_err(|e| format!("{s:?} is no URL: {e}"))?;
        let host = uri.host().unwrap_or_default();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let own = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") if !host.is_empty() => Ok(Self::Webhook(uri)),
            Some("http") if own => Ok(Self::Webhook(uri)),
            _ => Err(format!(
                "{s:?} is no webhook: expected an https URL, or an http one on this machine"
            )),
        }
    }
}

/// A destination, open.
pub(super) enum Sink {
    File(File),
    Webhook(Webhook),
}

pub(super) struct Webhook {
    uri: Uri,
    /// Of https.
    tls: Option<TlsConnector>,
}

impl Sink {
    pub(super) fn open(to: &EventsTo) -> Result<Self, ServerError> {
        match to {
            EventsTo::File(path) => {
                let opened = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o600)
                    .open(path);
                opened.map(Self::File).map_err(|e| ServerError::io(path, e))
            }
            EventsTo::Webhook(uri) => {
                let tls = match uri.scheme_str() {
                    Some("https") => Some(tls()?),
                    _ => None,
                };
                let uri = uri.clone();
                Ok(Self::Webhook(Webhook { uri, tls }))
            }
        }
    }

    /// Hands one event over, whole or not at all.
    pub(super) async fn send(&mut self, event: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let length = file.metadata()?.len();
                let written = file.write_all(&[event, b"\n"].concat());
                if written.is_err() {
                    file.set_len(length)?;
                }
                written
            }
            Self::Webhook(webhook) => {
                let posted = tokio::time::timeout(PATIENCE, webhook.post(event)).await;
                posted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

/// Trusts the certificates in the file that SSL_CERT_FILE names, or else whom the system trusts.
fn tls() -> Result<TlsConnector, ServerError> {
    let path = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let path = path.unwrap_or_else(|| {
        let found = TRUSTED.iter().find(|path| Path::new(path).exists());
        found.unwrap_or(&TRUSTED[0]).into()
    });
    let failed = |e: pem::Error| ServerError::io(&path, io::Error::other(e.to_string()));
    let certificates = CertificateDer::pem_file_iter(&path).map_err(failed)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(failed)?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(certificates).0 == 0 {
        let why = "no certificates to trust in it; name another file in SSL_CERT_FILE";
        return Err(ServerError::io(&path, io::Error::other(why)));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Webhook {
    async fn post(&self, event: &[u8]) -> io::Result<()> {
        let host = self.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let stream = TcpStream::connect((host, self.uri.port_u16().unwrap_or(usual))).await?;
        match &self.tls {
            None => self.post_over(stream, event).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                self.post_over(tls.connect(name, stream).await?, event)
                    .await
            }
        }
    }

    async fn post_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        event: &[u8],
    ) -> io::Result<()> {
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, CLOUD_EVENT)
            .body(Full::new(Bytes::copy_from_slice(event)))
            .map_err(io::Error::other)?;
        let answered = sender.send_request(request).await;
        connection.abort();
        let status = answered.map_err(io::Error::other)?.status();
        match status.is_success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("the webhook answered {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_leave_the_machine_encrypted_or_not_at_all() {
        for good in [
            "events.jsonl",
            "/var/log/events",
            "https://example.com/hook?a=b",
            "http://localhost:9000/",
            "http://127.0.0.1",
            "http://[::1]:1/x",
        ] {
            assert!(good.parse::<EventsTo>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://example.com/hook",
            "http://127.0.0.1.example.com/",
            "http://localhost@example.com/",
            "ftp://localhost/",
            "https://",
            "https:// /",
        ] {
            assert!(bad.parse::<EventsTo>().is_err(), "{bad}");
        }
    }
}
