//! The command line: arguments become types here, each command is one function, and a result
//! becomes text, JSON and an exit code. Nothing below this layer prints.
//!
//! Exit codes: 0, it was done and every claim holds; 1, a claim fails; 2, an error. `with` ends as its
//! command does.

mod audit;
mod bench;
mod blob;
mod compare;
mod completions;
mod context;
mod demo;
mod environment;
mod error;
mod identity;
mod init;
mod key;
mod landscape;
mod man;
mod output;
mod protect;
mod protection;
mod prove;
mod report;
mod restore;
mod rewrap;
mod run;
mod serve;
mod sql;
mod status;
mod steal;
mod transcript;
mod unprotect;
mod vault;
mod vaults;
mod with;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::crypto::{Backend, KeyKind};

pub use context::Context;
pub(crate) use context::{VAULT_CA, VAULT_URL, passphrase_in};
pub use error::CliError;
pub use output::{Format, Output, Progress, table};

/// A kind of key that protects a resource, from its name.
fn wrapping_kind(name: &str) -> Result<KeyKind, String> {
    let wrapping = KeyKind::WRAPPING;
    wrapping
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| {
            let all = wrapping.map(KeyKind::name).join(", ");
            format!("{name:?} is no kind of key that wraps a resource's key: expected one of {all}")
        })
}

/// An encryption-at-rest simulator with a local key vault: shows, with real bytes, what
/// customer-managed keys do.
#[derive(Debug, Parser)]
#[command(name = "atrest", version = VERSION, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    /// The working directory; by default this one (for `demo`: a new one, which it names)
    #[arg(
        long,
        global = true,
        env = "ATREST_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    dir: Option<PathBuf>,

    /// Answer in JSON, for machines
    #[arg(long, global = true)]
    json: bool,

    /// Print no more than what was asked for: no notes, no progress bars
    #[arg(short, long, global = true)]
    quiet: bool,

    /// The library that computes AES-256-GCM: aws-lc-rs or aes-gcm; both give the same bytes
    #[arg(long, global = true, value_name = "LIBRARY", default_value_t = Backend::AwsLc)]
    backend: Backend,

    /// Read the customer vault's passphrase from the first line of FILE instead of asking for it
    #[arg(
        long,
        global = true,
        env = "ATREST_PASSPHRASE_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    passphrase_file: Option<PathBuf>,

    /// Ask the customer's vault through the server at URL, as an `atrest serve` elsewhere prints it,
    /// and leave its directory alone; empty: do not
    #[arg(
        long,
        global = true,
        env = context::VAULT_URL,
        hide_env_values = true,
        value_name = "URL"
    )]
    vault_url: Option<String>,

    /// The certificate that the server's must be signed by
    #[arg(
        long,
        global = true,
        env = context::VAULT_CA,
        hide_env_values = true,
        value_name = "FILE"
    )]
    vault_ca: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[cfg(not(feature = "sabotage"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");
#[cfg(feature = "sabotage")]
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " SABOTAGED: a build for tests, whose encryption can be broken on purpose; protect nothing with it"
);

const EXAMPLES: &str = "\
Examples:
  atrest demo                          steal a copy of made-up data, and prove what it is worth
  atrest demo --sql my.db --files doc  the same with your own data, which stays untouched
  atrest --dir work init               a working directory of your own
  atrest --dir work status             what is in it, and what protects it

Exit codes: 0 all is well and every claim holds, 1 a claim fails, 2 an error; of `with`: its command's.
While it runs, the program writes no core dumps: they could hold keys.";

#[derive(Debug, Subcommand)]
enum Command {
    /// The whole story: build, fill, steal a copy, attack it, rotate, disable, purge; with verdicts
    Demo(demo::Args),
    /// Run a scenario file: a world, what happens to it, and what is expected
    Run(run::Args),
    /// Make a working directory: vaults, a customer key, an environment
    Init(init::Args),
    /// Show the working directory: vaults, environments, resources, and what protects each
    Status(status::Args),
    /// The key vaults: create, list, status, seal, unseal, change of root key
    Vault(vault::Args),
    /// Keys: create, import, list, show, rotate, disable, enable, delete, recover, purge, backup, restore
    Key(key::Args),
    /// The audit records of the vaults
    Audit(audit::Args),
    /// SQL databases: create, import, exec, query, export, verify
    Sql(sql::Args),
    /// Blobs: put, get, list, delete, verify
    Blob(blob::Args),
    /// Put a resource under the customer's key
    Protect(protect::Args),
    /// Take a resource away from the customer's key
    Unprotect(unprotect::Args),
    /// Wrap data encryption keys anew, with the newest version of their key
    Rewrap(rewrap::Args),
    /// Copy everything that a thief of the disks would get
    Steal(steal::Args),
    /// Bring a copy back, here or into another environment
    Restore(restore::Args),
    /// Attack a stolen copy, and give a verdict per claim
    Prove(prove::Args),
    /// Evidence reports: verify
    Report(report::Args),
    /// Measure what encryption at rest costs on this machine, beside plain baselines
    Bench(bench::Args),
    /// Serve the customer's vault to Azure's client libraries, over HTTPS
    Serve(serve::Args),
    /// Run a command with such a server beside it
    With(with::Args),
    /// Tenants, the people in them, and which profile's rules hold
    Tenant(landscape::tenant::Args),
    /// Projects of Lifecycle Services (LCS)
    Project(landscape::project::Args),
    /// Environments: create, link, enable, back up, restore, copy; alone: the server's environment variables
    Env(environment::Args),
    /// Enterprise policies: create, grant, apply to environments, remove, revoke
    Policy(landscape::policy::Args),
    /// Offers and services: what is said of them, and which an environment has
    Offer(landscape::offer::Args),
    /// Add-ins, likewise
    Addin(landscape::addin::Args),
    /// What exactly the customer's key protects in an environment
    Coverage(landscape::coverage::Args),
    /// Customer Lockbox: request, approve, deny, read, audit
    Lockbox(landscape::lockbox::Args),
    /// The landscape's clock
    Clock(landscape::clock::Args),
    /// Who may use the server: add, grant, revoke, model, policy, list, remove
    Identity(identity::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print the manual page, or write one per command into a directory
    Man(man::Args),
}

/// What a command that did its work found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well: every claim holds, if any were made.
    Holds,
    /// At least one claim fails.
    ClaimFails,
    /// A command was run on the user's behalf, and ended with this exit code.
    Command(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Holds => Self::SUCCESS,
            Outcome::ClaimFails => Self::from(1),
            Outcome::Command(code) => Self::from(code),
        }
    }
}

/// Runs the program with `args` (its own name first) and reports to standard output and error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    forbid_core_dumps();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Fails when nobody reads it any more; there is nobody left to tell.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match run(&cli) {
        Ok(outcome) => outcome.into(),
        Err(e) => e.report(),
    }
}

fn run(cli: &Cli) -> Result<Outcome, CliError> {
    refuse_sabotage()?;
    crate::crypto::select_backend(cli.backend);
    let context = Context::new(
        cli.dir.clone(),
        cli.passphrase_file.clone(),
        Output::new(cli.json, cli.quiet),
    )
    .through(cli.vault_url.clone(), cli.vault_ca.clone());
    match &cli.command {
        Command::Demo(args) => demo::run(args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Init(args) => init::run(args, &context),
        Command::Status(args) => status::run(args, &context),
        Command::Vault(args) => vault::run(args, &context),
        Command::Key(args) => key::run(args, &context),
        Command::Audit(args) => audit::run(args, &context),
        Command::Sql(args) => sql::run(args, &context),
        Command::Blob(args) => blob::run(args, &context),
        Command::Protect(args) => protect::run(args, &context),
        Command::Unprotect(args) => unprotect::run(args, &context),
        Command::Rewrap(args) => rewrap::run(args, &context),
        Command::Steal(args) => steal::run(args, &context),
        Command::Restore(args) => restore::run(args, &context),
        Command::Prove(args) => prove::run(args, &context),
        Command::Report(args) => report::run(args, &context),
        Command::Bench(args) => bench::run(args, &context),
        Command::Serve(args) => serve::run(args, &context),
        Command::With(args) => with::run(args, &context),
        Command::Tenant(args) => landscape::tenant::run(args, &context),
        Command::Project(args) => landscape::project::run(args, &context),
        Command::Env(args) => environment::run(args, &context),
        Command::Policy(args) => landscape::policy::run(args, &context),
        Command::Offer(args) => landscape::offer::run(args, &context),
        Command::Addin(args) => landscape::addin::run(args, &context),
        Command::Coverage(args) => landscape::coverage::run(args, &context),
        Command::Lockbox(args) => landscape::lockbox::run(args, &context),
        Command::Clock(args) => landscape::clock::run(args, &context),
        Command::Identity(args) => identity::run(args, &context),
        Command::Completions(args) => completions::run(args, &context),
        Command::Man(args) => man::run(args, &context),
    }
}

/// An ordinary build is not broken on purpose, and says so rather than seem to be.
#[cfg(not(feature = "sabotage"))]
fn refuse_sabotage() -> Result<(), CliError> {
    use crate::base::sabotage::VARIABLE;
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        Some(_) => Err(CliError::new(
            format_args!("{VARIABLE} is set, and this build cannot be broken on purpose"),
            "unset it, or build with the feature `sabotage`",
        )),
    }
}

/// This build can be, and says so each time, also when quiet.
#[cfg(feature = "sabotage")]
fn refuse_sabotage() -> Result<(), CliError> {
    crate::base::sabotage::told();
    Ok(())
}

/// The command tree, for completions and manual pages.
fn command_tree() -> clap::Command {
    Cli::command()
}

/// A core dump would hold keys. The limit cannot be raised again by this process.
fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Lowering a limit is always allowed.
    let _ = setrlimit(Resource::Core, none);
}
