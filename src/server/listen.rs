//! Connections: one port for all. The first byte tells TLS (0x16, a handshake record: RFC 8446, 5.1)
//! from HTTP; HTTP may ask for a tunnel (CONNECT), which ends in this same process.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::world::{VaultKind, WhichVault};

use super::blob::Address;
use super::hosts::{HostPort, Service, vault_host};
use super::reply::{Injected, Reply, RequestId, Reset, error_reply, whole};
use super::shared::{Answer, Shared};
use super::{ServerError, blob, control, login, timing, vault};

/// Open connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to begin, to finish its TLS handshake, and to send a request's head. A
/// connection on which nothing was asked for that long is closed.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes.
const HEAD_MAX: usize = 32 << 10;
/// The content type of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What serves connections.
pub(super) struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) tls: TlsAcceptor,
    /// Nothing once the server stops.
    pub(super) graceful: Mutex<Option<GracefulShutdown>>,
    /// Tells connections over plain HTTP, whose upgrades the other cannot watch, to end.
    pub(super) stop: watch::Sender<bool>,
}

/// What is known of a connection.
#[derive(Clone)]
struct Peer {
    address: IpAddr,
    /// The host that TLS was asked for, when it was asked for one.
    sni: Option<String>,
    _open: Arc<Open>,
}

/// Held for as long as a connection is open, also by its tunnel and by what it asked for.
struct Open {
    connections: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(connections: Gauge, permit: OwnedSemaphorePermit) -> Self {
        connections.inc();
        Self {
            connections,
            _permit: permit,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// Accepts connections, for ever.
pub(super) async fn accept(listener: TcpListener, front: Arc<Front>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = free.clone().acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                let front = front.clone();
                tokio::spawn(async move { front.connection(stream, address, permit).await });
            }
            Err(cause) => {
                // Out of descriptors, most likely: others must close first.
                tracing::warn!(%cause, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Front {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let _ = stream.set_nodelay(true);
        let connections = self.shared.metrics.connections.clone();
        let peer = Peer {
            address: address.ip(),
            sni: None,
            _open: Arc::new(Open::new(connections, permit)),
        };
        let mut first = [0];
        match timeout(PATIENCE, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => self.over_tls(stream, peer).await,
            Ok(Ok(1)) => self.over_http(stream, peer).await,
            _ => {}
        }
    }

    async fn over_http(self: Arc<Self>, stream: TcpStream, peer: Peer) {
        let front = self.clone();
        let service = service_fn(move |request| {
            let (front, peer) = (front.clone(), peer.clone());
            async move { front.finish_plain(peer, request).await }
        });
        let connection = http().serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection.with_upgrades());
        let mut stop = self.stop.subscribe();
        // How a client goes away is its own affair.
        tokio::select! {
            _ = &mut connection => return,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn over_tls(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
    ) {
        let stream = match timeout(PATIENCE, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(cause)) => {
                tracing::info!(%cause, "a TLS handshake failed: does the client trust ca.pem?");
                return;
            }
            Err(_) => return,
        };
        let sni = stream.get_ref().1.server_name().map(str::to_owned);
        let peer = Peer { sni, ..peer };
        let front = self.clone();
        let service = service_fn(move |request| {
            let (front, peer) = (front.clone(), peer.clone());
            async move { front.finish_secure(peer, request).await }
        });
        let connection = http().serve_connection(TokioIo::new(stream), service);
        if let Some(watcher) = self.watcher() {
            let _ = watcher.watch(connection).await;
        }
    }

    /// Sees to it that a stop waits for the answer under way, and closes the connection then.
    fn watcher(&self) -> Option<Watcher> {
        let graceful = self.graceful.lock().unwrap_or_else(PoisonError::into_inner);
        graceful.as_ref().map(GracefulShutdown::watcher)
    }

    /// Waits for the answers under way; connections that come later are closed at once.
    pub(super) async fn finish(&self) {
        let graceful = {
            let mut graceful = self.graceful.lock().unwrap_or_else(PoisonError::into_inner);
            graceful.take()
        };
        self.stop.send_replace(true);
        if let Some(graceful) = graceful {
            graceful.shutdown().await;
        }
        self.stop.closed().await;
    }

    /// A request over plain HTTP.
    fn plain(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Reply {
        let begun = Instant::now();
        if request.method() == Method::CONNECT {
            return self.tunnel(peer, request);
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = control::answer(&self.shared, peer.address, &request);
        self.finished("http", "-", &method, &path, answer, begun)
    }

    /// A request over plain HTTP that is no operation of a storage account, or, where those are served
    /// over it, one in a task of its own, as over TLS.
    async fn finish_plain(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> Result<Reply, Infallible> {
        let account = match self.shared.plain_http && peer.address.is_loopback() {
            true => control::storage_account(&request),
            false => None,
        };
        let Some(account) = account else {
            return Ok(self.plain(peer, request));
        };
        let front = self.clone();
        let done = tokio::spawn(async move {
            let begun = Instant::now();
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let origin = blob::Origin::plain(peer.address);
            let address = Address::InPath(account);
            let answer = blob::answer(&front.shared, &address, origin, request).await;
            front.finished("blob", "-", &method, &path, answer, begun)
        });
        Ok(done.await.unwrap_or_else(|panicked| {
            let cause = ServerError::Usage(panicked.to_string());
            self.shared.failed(&cause)
        }))
    }

    /// CONNECT: the tunnel's other end is this server, or there is none.
    fn tunnel(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Reply {
        let asked = request.uri().to_string();
        if HostPort::parse(&asked)
            .and_then(|host| host.proxied())
            .is_none()
        {
            self.shared.metrics.refused_hosts.inc();
            tracing::warn!(host = %asked, "CONNECT to a host that is not simulated was refused");
            let why = "This proxy leads to the simulated hosts only: NAME.vault.azure.net, \
                       NAME.managedhsm.azure.net, NAME.blob.core.windows.net and \
                       login.microsoftonline.com, at port 443. Add others to NO_PROXY.";
            return error_reply(StatusCode::FORBIDDEN, "Forbidden", None, why);
        }
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(PATIENCE, hyper::upgrade::on(request)).await {
                self.over_tls(TokioIo::new(stream), peer).await;
            }
        });
        whole("")
    }

    /// A request over TLS, in a task of its own: it is finished, counted and logged, and keeps its
    /// turn, also when the client goes away; and a panic is an answer.
    async fn finish_secure(
        self: Arc<Self>,
        peer: Peer,
        mut request: Request<Incoming>,
    ) -> Result<Reply, Reset> {
        request.extensions_mut().insert(peer.address);
        let front = self.clone();
        let times = self.shared.timing.then(|| timing::asks(request.headers()));
        let done =
            tokio::spawn(async move { timing::told(times, front.secure(&peer, request)).await })
                .await;
        let reply = done.unwrap_or_else(|panicked| {
            let cause = ServerError::Usage(panicked.to_string());
            self.shared.failed(&cause)
        });
        match reply.extensions().get::<Reset>() {
            Some(reset) => Err(reset.clone()),
            None => Ok(reply),
        }
    }

    /// A request over TLS, by its host.
    async fn secure(&self, peer: &Peer, request: Request<Incoming>) -> Reply {
        let begun = Instant::now();
        let shared = &self.shared;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let host = HostPort::of(&request);
        let shown = host.as_ref().map(|host| host.host.clone());
        let shown = shown.unwrap_or_else(|| "-".into());
        let misdirected = |why: &str| {
            let status = StatusCode::MISDIRECTED_REQUEST;
            Answer::new("Misdirected", error_reply(status, "BadRequest", None, why))
        };
        let (service, answer) = match host.as_ref().map(|host| (host, host.service())) {
            Some((host, _)) if peer.sni.as_ref().is_some_and(|sni| *sni != host.host) => (
                "other",
                misdirected("The request's host is not the one that TLS was asked for."),
            ),
            Some((_, Some(Service::Login))) => ("login", login::answer(shared, request).await),
            Some((host, Some(Service::Direct))) => match blob::in_path(&request) {
                Some(name) => {
                    let address = Address::InPath(name);
                    (
                        "blob",
                        blob::answer(shared, &address, blob::Origin::tls(peer.address), request)
                            .await,
                    )
                }
                None => {
                    let (of, kind) = (WhichVault::Customer, VaultKind::Vault);
                    (
                        "vault",
                        vault::answer(shared, host, of, kind, request).await,
                    )
                }
            },
            Some((host, Some(Service::Vault(kind, name)))) => match shared.vault_named(kind, &name)
            {
                Some(of) => (
                    "vault",
                    vault::answer(shared, host, of, kind, request).await,
                ),
                None => {
                    let status = StatusCode::NOT_FOUND;
                    let why = no_vault(shared, kind, &name);
                    let reply = error_reply(status, "VaultNotFound", None, &why);
                    ("vault", Answer::new("UnknownVault", reply))
                }
            },
            Some((_, Some(Service::Blob(name)))) => {
                let address = Address::Host(name);
                (
                    "blob",
                    blob::answer(shared, &address, blob::Origin::tls(peer.address), request).await,
                )
            }
            _ => (
                "other",
                misdirected("The server does not answer for this host."),
            ),
        };
        self.finished(service, &shown, &method, &path, answer, begun)
    }

    /// Counts and logs an answer. Queries, headers and bodies never reach the log.
    fn finished(
        &self,
        service: &'static str,
        host: &str,
        method: &Method,
        path: &str,
        answer: Answer,
        begun: Instant,
    ) -> Reply {
        let Answer {
            operation,
            mut reply,
            caller,
        } = answer;
        let took = begun.elapsed();
        let status = reply.status().as_u16();
        self.shared
            .metrics
            .answered(service, operation, status, took);
        let given = reply.extensions_mut().remove::<RequestId>();
        let id = given.unwrap_or_else(RequestId::new).0.to_string();
        tracing::info!(
            service,
            host,
            %method,
            path,
            operation,
            status,
            caller = caller.as_deref().unwrap_or("-"),
            injected = Injected::shown(&reply),
            microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            request = %id,
            "answered"
        );
        if let Ok(id) = HeaderValue::from_str(&id) {
            let name = HeaderName::from_static("x-ms-request-id");
            reply.headers_mut().insert(name, id);
        }
        reply
    }
}

fn no_vault(shared: &Shared, kind: VaultKind, name: &str) -> String {
    match kind {
        VaultKind::ManagedHsm => format!(
            "There is no managed HSM {name} here; make one with \
             `atrest vault create NAME --managed-hsm`."
        ),
        VaultKind::Vault => format!(
            "There is no vault {name} here. The customer's vault is https://{}; \
             give it another name with `atrest serve --vault NAME`, or make a further \
             vault with `atrest vault create NAME`.",
            vault_host(kind, shared.vault.as_str())
        ),
    }
}

fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_MAX);
    builder
}
