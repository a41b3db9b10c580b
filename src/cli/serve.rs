use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{SystemClock, VaultName, write_atomic};
use crate::crypto::random_bytes;
use crate::server::{
    EventsTo, Home, Injection, LogFormat, ServeOptions, Server, ThrottleScale, log_to_stderr,
};

use super::environment::Environment;
use super::{CliError, Context, Outcome};

/// Arguments of `atrest serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest --dir work serve                     at 127.0.0.1:8443, until it is interrupted
  eval \"$(atrest --dir work env)\"             in another terminal: leads clients there
  atrest --dir work serve --vault contoso     the customer's vault is contoso.vault.azure.net
  atrest serve --port 0 --ready-file ready    any free port; what `atrest env --json` prints is in the file

Failures on purpose, --inject OPERATION[@NAME]=[after-]FAULT[:RATE]:
  'unwrapKey=503:5%'                  one in twenty, before anything is done
  'wrapKey@payroll=after-reset:#10'   each tenth is done, and the connection closed without its answer
  '*=delay:200ms'                     every request, as long as it says (ms or s)
OPERATION is *, a name as in log and metrics (KeyUnwrap, SecretGet) or in a key's key_ops; FAULT a status
from 400 to 599, delay:TIME or reset. The log names what was injected, and metrics count it.

One port takes all: HTTPS for the vault, HTTP for the proxy (CONNECT) that leads clients to it under Azure's
host names, and the managed-identity endpoint. Whoever has an identity's secret or token can use the
vault as that identity may; keep the port on this machine.")]
pub struct Args {
    #[command(flatten)]
    served: Served,

    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,

    /// The port; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,

    /// Write FILE (as `atrest env --json` prints it) once connections are taken; remove it at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// What the log looks like
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: Log,
}

/// What is served, and to whom.
#[derive(Debug, clap::Args)]
pub struct Served {
    /// The customer's vault is NAME.vault.azure.net
    #[arg(long, value_name = "NAME", default_value = "customer")]
    vault: VaultName,

    /// The identity that clients without a secret of their own get tokens of
    #[arg(long, value_name = "NAME", default_value = "administrator")]
    identity: String,

    /// Serve the instance metadata endpoint too: it gives a token to every program on this machine
    #[arg(long)]
    imds: bool,

    /// INSECURE: take any bearer token for the administrator's
    #[arg(long)]
    insecure_any_token: bool,

    /// Serve storage accounts over plain HTTP, too, at http://127.0.0.1:PORT/ACCOUNT: loopback addresses only
    #[arg(long)]
    plain_http: bool,

    /// Refuse more than Azure's documented limits, or SCALE times as much, with status 429
    #[arg(
        long,
        value_name = "SCALE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1"
    )]
    throttle: Option<ThrottleScale>,

    /// Make requests fail on purpose: OPERATION[@NAME]=[after-]FAULT[:RATE], as 'unwrapKey=503:5%'; repeatable
    #[arg(long, value_name = "RULE")]
    inject: Vec<Injection>,

    /// Which of the requests fail: the same for the same number
    #[arg(long, value_name = "NUMBER", requires = "inject")]
    inject_seed: Option<u64>,

    /// Tell clients that ask where the time of a request went (docs/bench.md)
    #[arg(long, hide = true)]
    timing: bool,

    /// Tell what happens to keys and secrets, as CloudEvents: to a file, or to a webhook
    #[arg(long, value_name = "FILE|URL")]
    events: Option<EventsTo>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Log {
    Text,
    Json,
}

impl Served {
    /// Starts a server at `listen`.
    pub fn start(&self, context: &Context, listen: SocketAddr) -> Result<Server, CliError> {
        let seed = self.inject_seed;
        let seed = seed.unwrap_or_else(|| u64::from_le_bytes(random_bytes()));
        let options = ServeOptions {
            listen,
            vault: self.vault.clone(),
            identity: self.identity.clone(),
            imds: self.imds,
            any_token: self.insecure_any_token,
            plain_http: self.plain_http,
            throttle: self.throttle,
            inject: self.inject.clone(),
            inject_seed: seed,
            timing: self.timing,
            events: self.events.clone(),
        };
        context.insist_on_own_vault()?;
        let server = Server::start(context.workspace_here()?, &options, Arc::new(SystemClock))?;
        if self.insecure_any_token {
            context.output().warn(
                "INSECURE: any bearer token is taken for the administrator's, whoever made it.",
            );
        }
        if !self.inject.is_empty() {
            let again = format!(
                "Requests fail on purpose; the same ones do again with --inject-seed {seed}."
            );
            context.output().warn(&again);
        }
        Ok(server)
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let output = context.output();
    let format = match args.log {
        Log::Text => LogFormat::Text,
        Log::Json => LogFormat::Json,
    };
    log_to_stderr(format, output.is_quiet());
    let server = args
        .served
        .start(context, SocketAddr::new(args.listen, args.port))?;
    let home = Home::of(context.dir())?;
    let _announcement = server.endpoints().announce(&home)?;
    if !args.listen.is_loopback() {
        output.warn(
            "Other machines can reach this server: whoever has a client's secret or token can use the vault.",
        );
    }
    let environment = Environment::of(server.endpoints());
    let mut told = Ok(());
    let waited = server.wait_for_signal(|| {
        told = environment
            .print(output)
            .and_then(|()| match &args.ready_file {
                Some(file) => write_atomic(file, environment.json()?.as_bytes()).map_err(|e| {
                    CliError::at(file, e, "name a file in a directory that can be written to")
                }),
                None => Ok(()),
            });
        told.is_ok()
    });
    server.stop();
    if let (Some(file), Ok(())) = (&args.ready_file, &told) {
        let _ = std::fs::remove_file(file);
    }
    told?;
    waited.map_err(|e| CliError::new(e, "signals cannot be received on this system"))?;
    Ok(Outcome::Holds)
}
