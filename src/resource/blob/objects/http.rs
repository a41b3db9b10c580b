//! How requests for objects travel: over the same HTTP, TLS and runtime that the server is built on, rather than a
//! second client library with its own.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientConfigKey, ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind,
    HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Until a request has gone and its answer begins: a part of 64 MiB over 5 Mbit/s.
const ANSWER: Duration = Duration::from_secs(120);
/// Connections that nobody uses are closed after.
const IDLE: Duration = Duration::from_secs(60);

/// Where systems keep the certificates that they trust. `SSL_CERT_FILE` comes before them.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Connects with rustls over aws-lc, or without TLS where the environment says that it may (`AWS_ALLOW_HTTP`,
/// `AZURE_ALLOW_HTTP`, `GOOGLE_ALLOW_HTTP`).
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let may_be_plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let config = client_config().map_err(|source| object_store::Error::Generic {
            store: "TLS",
            source,
        })?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let builder = match may_be_plain.as_deref() {
            Some("true") => builder.https_or_http(),
            _ => builder.https_only(),
        };
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(Client<HttpsConnector<Tcp>, HttpRequestBody>);

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let answered = timeout(ANSWER, self.0.request(request));
        answered
            .map(|answered| match answered {
                Err(e) => Err(HttpError::new(HttpErrorKind::Timeout, e)),
                Ok(Err(e)) if e.is_connect() => Err(HttpError::new(HttpErrorKind::Connect, e)),
                Ok(Err(e)) => Err(HttpError::new(HttpErrorKind::Request, e)),
                Ok(Ok(answer)) => Ok(answer.map(|body| {
                    let interrupted = |e| HttpError::new(HttpErrorKind::Interrupted, e);
                    HttpResponseBody::new(body.map_err(interrupted))
                })),
            })
            .boxed()
    }
}

fn client_config() -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    let named = std::env::var_os("SSL_CERT_FILE");
    let mut places = named.iter().map(Path::new).chain(TRUSTED.map(Path::new));
    // Without any, nobody is trusted.
    if let Some(file) = places.find(|p| p.exists()) {
        let failed = |e| io::Error::other(format!("{}: {e}", file.display()));
        let certificates = CertificateDer::pem_file_iter(file).map_err(failed)?;
        // Of what the system trusts, some may be of a kind that is not understood here.
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
