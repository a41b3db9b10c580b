//! `atrest env` alone, and the lines that `atrest serve` prints: what leads clients to the server.

use std::fmt::Write;

use serde_json::json;
use zeroize::Zeroizing;

use crate::server::{Endpoints, Home};

use super::landscape::environment::{self, Command};
use super::{CliError, Context, Outcome, Output};

/// Arguments of `atrest env`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  atrest env create prod --project erp                  a finance and operations environment
  atrest env create-power org-prod --tenant contoso     a Power Platform environment
  atrest env link prod org-prod
  eval \"$(atrest --dir work env)\"                       sh, bash, zsh
  atrest --dir work env --powershell | Invoke-Expression

Alone, it prints the variables of the server that runs. They lead HTTPS of programs started from this shell through the proxy, which knows simulated hosts
only: add others to NO_PROXY. This program uses the customer's vault through the server then, unless it is
told --vault-url= (empty). IDENTITY_HEADER is a secret."
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// For sh, bash, zsh: the default
    #[arg(long, conflicts_with = "powershell")]
    shell: bool,

    /// For PowerShell
    #[arg(long)]
    powershell: bool,
}

/// The variables of a server.
pub struct Environment {
    vault_url: String,
    ca_file: String,
    tenant: String,
    variables: Vec<(&'static str, Zeroizing<String>)>,
}

impl Environment {
    pub fn of(endpoints: &Endpoints) -> Self {
        Self {
            vault_url: endpoints.vault_url.clone(),
            ca_file: endpoints.ca_file.display().to_string(),
            tenant: endpoints.tenant.to_string(),
            variables: endpoints.variables(),
        }
    }

    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// As a line of JSON.
    pub fn json(&self) -> Result<String, CliError> {
        let variables: serde_json::Map<_, _> = self
            .variables()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        Ok(format!("{}\n", self.object(variables)))
    }

    fn object(&self, variables: serde_json::Map<String, serde_json::Value>) -> serde_json::Value {
        json!({
            "vault_url": self.vault_url,
            "ca_file": self.ca_file,
            "tenant": self.tenant,
            "variables": variables,
        })
    }

    fn shell(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.variables() {
            let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
        }
        text
    }

    fn powershell(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.variables() {
            let _ = writeln!(text, "$env:{name} = '{}'", value.replace('\'', "''"));
        }
        text
    }

    /// What `atrest serve` prints when it is ready: to be pasted, or in JSON one line.
    pub fn print(&self, output: Output) -> Result<(), CliError> {
        if output.is_json() {
            return output.raw(self.json()?.as_bytes());
        }
        let text = format!(
            "The customer's vault is {}\nTrust {}\nUse it from another shell, after:\n\n{}\nready\n",
            self.vault_url,
            self.ca_file,
            self.shell()
        );
        output.raw(text.as_bytes())
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if let Some(command) = &args.command {
        return environment::run(command, context);
    }
    let home = Home::of(context.workspace_here()?.dir())?;
    let endpoints = Endpoints::announced(&home)?.ok_or_else(|| {
        CliError::new(
            "no server serves this working directory",
            "start one with `atrest serve`, or run a command with `atrest with -- COMMAND`",
        )
    })?;
    let environment = Environment::of(&endpoints);
    let text = match (context.output().is_json(), args.powershell) {
        (true, _) => environment.json()?,
        (false, true) => environment.powershell(),
        (false, false) => environment.shell(),
    };
    context.output().raw(text.as_bytes())?;
    Ok(Outcome::Holds)
}
