//! Starting and stopping.

use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::base::{Clock, SystemClock, VaultName};
use crate::world::{VaultKind, WhichVault, Workspace};

use super::authority::{Authority, Leaves};
use super::blob::Storage;
use super::events::Events;
use super::hosts::vault_host;
use super::listen::{Front, accept};
use super::metrics::Metrics;
use super::shared::Shared;
use super::timing::carried;
use super::token::Tokens;
use super::vault::{self, Injection, Injections, Strangers, Throttle, ThrottleScale};
use super::{Endpoints, EventsTo, Home, Identities, ServerError};

/// Threads that wait for the vault, at most.
const BLOCKING_MAX: usize = 64;
/// How long a stop waits for the answers under way.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Blobs that are read keep up to 64 files open each, beside the connections: as many as the system allows.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    // Up to the maximum it is always allowed; where it is not, the usual number must do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 for any free one.
    pub listen: SocketAddr,
    /// The name by which clients know the customer's vault.
    pub vault: VaultName,
    /// The name of the identity whose tokens the managed-identity endpoint gives.
    pub identity: String,
    /// Whether to serve the instance metadata endpoint, which asks for no secret.
    pub imds: bool,
    /// Whether to take every bearer token for the administrator's.
    pub any_token: bool,
    /// Whether to serve storage accounts over plain HTTP, too, to clients on this machine.
    pub plain_http: bool,
    /// How much of Azure's limits is granted in ten seconds; everything when `None`.
    pub throttle: Option<ThrottleScale>,
    /// Failures on purpose.
    pub inject: Vec<Injection>,
    /// Which of the requests that could fail do.
    pub inject_seed: u64,
    /// Whether clients that ask are told where the time of a request went.
    pub timing: bool,
    /// Where to tell what happens to keys and secrets.
    pub events: Option<EventsTo>,
}

/// A server that runs, in threads of its own, until it is stopped or dropped.
pub struct Server {
    runtime: Runtime,
    endpoints: Endpoints,
    front: Arc<Front>,
    accepting: tokio::task::JoinHandle<()>,
    /// Tells events until it is notified.
    telling: Option<(Arc<Notify>, tokio::task::JoinHandle<()>)>,
}

impl Server {
    /// Starts it. The customer's vault is opened first, and each other that takes a passphrase: later
    /// nobody is asked. Tokens live by `clock`.
    ///
    /// # Errors
    /// The vault's, those of the server's files, and an address that cannot be listened on.
    pub fn start(
        workspace: Workspace,
        options: &ServeOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServerError> {
        if options.plain_http && !options.listen.ip().is_loopback() {
            return Err(ServerError::Usage(format!(
                "plain HTTP is for programs on this machine; it is not served at {}: listen on 127.0.0.1",
                options.listen.ip()
            )));
        }
        allow_many_files();
        workspace.vault(&WhichVault::Customer)?;
        let further: Result<WhichVault, _> = options.vault.as_str().parse();
        if let Ok(further @ WhichVault::Further(_)) = further
            && workspace.vault_kind(&further).is_some()
        {
            return Err(ServerError::Usage(format!(
                "{further} is another of the vaults; serve the customer's under a name of its own"
            )));
        }
        for (vault, cause) in workspace.ask_no_more() {
            tracing::warn!(%vault, %cause, "a vault cannot be opened, and is refused as sealed");
        }
        let home = Home::of(workspace.dir())?;
        let identities = Identities::open(&home)?;
        let registry = identities.now()?;
        if registry.by_name(&options.identity).is_none() {
            return Err(ServerError::Usage(format!(
                "no identity {}; `atrest identity list` lists them",
                options.identity
            )));
        }
        let events = options.events.as_ref();
        let events = events.map(|to| Events::open(&home, to)).transpose()?;
        // Clients look at certificates by their own clock.
        let wall: Arc<dyn Clock> = Arc::new(SystemClock);
        let authority = Authority::open(&home, wall.now())?;
        let ca_file = authority.file();
        let ca_file = ca_file
            .canonicalize()
            .map_err(|e| ServerError::io(ca_file, e))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Leaves::new(authority, wall)));

        use_huge_pages(false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("atrest-server")
            .max_blocking_threads(BLOCKING_MAX)
            .build()
            .map_err(|e| ServerError::io("threads".as_ref(), e))?;
        let failed = |source| ServerError::Listen {
            address: options.listen.to_string(),
            source,
        };
        let listener = runtime
            .block_on(TcpListener::bind(options.listen))
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let endpoints = Endpoints {
            address,
            vault_url: format!(
                "https://{}",
                vault_host(VaultKind::Vault, options.vault.as_str())
            ),
            ca_file,
            identity_header: registry.identity_header.clone(),
            tenant: registry.tenant,
        };
        let handle = runtime.handle().clone();
        let front = Arc::new(Front {
            tls: TlsAcceptor::from(Arc::new(config)),
            graceful: Mutex::new(Some(GracefulShutdown::new())),
            stop: watch::Sender::new(false),
            shared: Arc::new(Shared {
                workspace,
                port: address.port(),
                vault: options.vault.clone(),
                tokens: Tokens::open(&home, registry.tenant)?,
                identities,
                managed_identity: options.identity.clone(),
                imds: options.imds,
                any_token: options.any_token,
                plain_http: options.plain_http,
                throttle: options.throttle.map(Throttle::new),
                injections: Injections::new(&options.inject, options.inject_seed),
                clock,
                metrics: Metrics::new(),
                runner: Arc::new(move |job| drop(handle.spawn_blocking(carried(job)))),
                timing: options.timing,
                strangers: Strangers::new(),
                storage: Storage::new(runtime.handle().clone()),
                generating: Semaphore::new(processors),
            }),
        });
        let telling = events.map(|events| {
            let stop = Arc::new(Notify::new());
            let telling = events.run(front.shared.clone(), stop.clone());
            (stop, runtime.spawn(telling))
        });
        let accepting = runtime.spawn(accept(listener, front.clone()));
        Ok(Self {
            runtime,
            endpoints,
            front,
            accepting,
            telling,
        })
    }

    /// What a client must be told.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Waits until the process is asked to stop (SIGINT, SIGTERM), unless `ready` says not to: it is
    /// called when neither ends the process at once any more.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn wait_for_signal(&self, ready: impl FnOnce() -> bool) -> std::io::Result<()> {
        self.runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            if ready() {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            Ok(())
        })
    }

    /// Runs `command` and waits for its end. A SIGINT is left to the command, which gets one too when
    /// it comes from the terminal; a SIGTERM is passed on to it.
    ///
    /// # Errors
    /// The command cannot be run.
    pub fn outlive(&self, command: &mut Command) -> std::io::Result<ExitStatus> {
        self.runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            // A process inherits it.
            use_huge_pages(true);
            let child = command.spawn();
            use_huge_pages(false);
            let mut child = child?;
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let mut ended = tokio::task::spawn_blocking(move || child.wait());
            loop {
                tokio::select! {
                    status = &mut ended => return status.map_err(std::io::Error::other)?,
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {
                        if let Some(pid) = pid {
                            let _ = kill_process(pid, Signal::TERM);
                        }
                    }
                }
            }
        })
    }

    /// Stops: takes no more connections, finishes the answers under way, and tells the last events.
    pub fn stop(self) {
        self.accepting.abort();
        let finished = self
            .runtime
            .block_on(async { tokio::time::timeout(STOP_MAX, self.front.finish()).await });
        if finished.is_err() {
            tracing::warn!("stopped, although some answers were not finished");
        }
        if let Some((stop, telling)) = self.telling {
            stop.notify_one();
            let told = self
                .runtime
                .block_on(async { tokio::time::timeout(STOP_MAX, telling).await });
            if told.is_err() {
                tracing::warn!("stopped, although some events were not told");
            }
        }
        vault::record_strangers_left_out(&self.front.shared);
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// What the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object in each line.
    Json,
}

/// Sends the log of this process to standard error. Once for a process; later calls do nothing.
pub fn log_to_stderr(format: LogFormat, quiet: bool) {
    let level = match quiet {
        true => tracing::Level::WARN,
        false => tracing::Level::INFO,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// Each of the server's many threads has a heap of its own, of which a huge page makes 2 MiB resident for a buffer
/// of 64 KiB. A kernel that has none refuses, which is as good.
fn use_huge_pages(allowed: bool) {
    let _ = disable_transparent_huge_pages(!allowed);
}
