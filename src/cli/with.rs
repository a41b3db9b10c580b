use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::server::{LogFormat, log_to_stderr};

use super::environment::Environment;
use super::serve::Served;
use super::{CliError, Context, Outcome};

/// Arguments of `atrest with`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest --dir work with -- python3 wrap.py
  atrest --dir work with --identity reader -- node list.js

The command's exit code is this one's; 128 and the signal's number when a signal ended it.")]
pub struct Args {
    #[command(flatten)]
    served: Served,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    // Its log would be mixed with what the command prints.
    log_to_stderr(LogFormat::Text, true);
    let any_port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let server = args.served.start(context, any_port)?;
    let environment = Environment::of(server.endpoints());
    let mut command = Command::new(&args.command[0]);
    command
        .args(&args.command[1..])
        .envs(environment.variables());
    let run = server.outlive(&mut command);
    server.stop();
    let status = run.map_err(|e| {
        CliError::new(
            format_args!("{}: {e}", args.command[0].display()),
            "name a program that can be run",
        )
    })?;
    let signal = || status.signal().map_or(1, |number| 128 + number);
    let code = status.code().unwrap_or_else(signal);
    Ok(Outcome::Command(u8::try_from(code).unwrap_or(1)))
}
