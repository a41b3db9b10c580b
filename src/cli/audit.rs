use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::{KeyName, SystemClock};
use crate::vault::{
    AuditFilter, AuditOperation, AuditRecord, AuditSummary, LocalVault, RootKeyKind, RootKeySource,
    VaultError,
};
use crate::world::WhichVault;

use super::key::when;
use super::vault::{caller, open_vault};
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest audit list                            the newest 50 records
  atrest audit list --failed --since 2027-01-01
  atrest audit list --key payroll-key --operation KeyUnwrap --limit 1000
  atrest audit list --json | jq '.[].operationName'
  atrest audit verify                          is any record altered, missing or moved?

Every operation on a key, allowed or refused, is on disk in this log before it is answered. Reading
lists and attributes is not recorded. Note the head that verify prints somewhere else: it convicts
whoever puts back old copies of both vault.db and audit.anchor.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The vault: customer, provider, or one that `atrest vault create` made
    #[arg(long, value_name = "VAULT", default_value_t = WhichVault::Customer, global = true)]
    vault: WhichVault,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show records, the oldest first
    List(List),
    /// Follow the chain of records, and compare its anchor; exit code 1 when it is broken
    Verify,
    /// Accept that the anchor is lost or does not fit, and write it anew; the log records that
    Reanchor,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Not before this date (2027-01-31, midnight UTC) or time (2027-01-31T08:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<Timestamp>,
    /// Before this date or time
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<Timestamp>,
    /// One operation, such as KeyUnwrap
    #[arg(long, value_name = "OPERATION")]
    operation: Option<AuditOperation>,
    /// One key, whatever the version
    #[arg(long, value_name = "NAME")]
    key: Option<KeyName>,
    /// One caller
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Refusals only
    #[arg(long)]
    failed: bool,
    /// At most so many, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: u32,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(list) => run_list(list, &args.vault, context),
        Command::Verify => verify(&args.vault, context),
        Command::Reanchor => reanchor(&args.vault, context),
    }
}

fn run_list(list: &List, vault: &WhichVault, context: &Context) -> Result<Outcome, CliError> {
    let records = open_vault(context, vault)?.audit(&AuditFilter {
        since: list.since,
        until: list.until,
        operation: list.operation,
        key: list.key.clone(),
        identity: list.identity.clone(),
        failed: list.failed,
        limit: Some(list.limit),
    })?;
    context.output().answer(&records, |text| {
        let rows: Vec<_> = records.iter().map(row).collect();
        let header = ["NUMBER", "TIME", "OPERATION", "KEY", "RESULT", "IDENTITY"];
        match rows.is_empty() {
            true => writeln!(text, "No such records."),
            false => text.write_str(&table(&header, &[0], &rows)),
        }
    })?;
    Ok(Outcome::Holds)
}

fn row(record: &AuditRecord) -> Vec<String> {
    let kid = record.kid.as_deref().unwrap_or("-");
    // NAME/VERSION, the version by its first digits.
    let key = kid.split_once("/keys/").map_or(kid, |(_, key)| key);
    let key = match key.split_once('/') {
        Some((name, version)) => format!("{name}/{}", version.get(..8).unwrap_or(version)),
        None => key.to_owned(),
    };
    vec![
        record.number.to_string(),
        format!("{:.0}", record.time),
        record.operation_name.clone(),
        key,
        record.result_signature.clone(),
        record.identity.clone(),
    ]
}

#[derive(Serialize)]
struct Verified {
    holds: bool,
    #[serde(flatten)]
    summary: Option<AuditSummary>,
    why: Option<String>,
}

fn verify(vault: &WhichVault, context: &Context) -> Result<Outcome, CliError> {
    // A vault that is older than its anchor does not even open.
    let opened = context.workspace()?.vault(vault);
    let verified = opened.and_then(|vault| vault.verify_audit());
    let verified = match verified {
        Ok(summary) => Verified {
            holds: true,
            summary: Some(summary),
            why: None,
        },
        Err(e @ VaultError::Audit(_)) => Verified {
            holds: false,
            summary: None,
            why: Some(e.to_string()),
        },
        Err(e) => return Err(e.into()),
    };
    context
        .output()
        .answer(&verified, |text| match (&verified.summary, &verified.why) {
            (Some(summary), _) => {
                writeln!(
                    text,
                    "The chain holds: {} records, none altered, missing or moved.",
                    summary.records
                )?;
                writeln!(text, "  head      {}", summary.head)?;
                writeln!(text, "  anchored  {}", summary.anchored)
            }
            (None, why) => writeln!(text, "{}", why.as_deref().unwrap_or_default()),
        })?;
    Ok(if verified.holds {
        Outcome::Holds
    } else {
        Outcome::ClaimFails
    })
}

fn reanchor(vault: &WhichVault, context: &Context) -> Result<Outcome, CliError> {
    if *vault == WhichVault::Customer {
        context.insist_on_own_vault()?;
    }
    let workspace = context.workspace()?;
    workspace.identity_of(vault)?;
    let dir = vault.dir(workspace.dir());
    let root = match LocalVault::root_record(&dir)?.kind() {
        RootKeyKind::KeyFile => RootKeySource::KeyFile(vault.key_file(workspace.dir())),
        RootKeyKind::Passphrase { .. } => RootKeySource::Passphrase(context.passphrase(vault)?),
    };
    let vault = LocalVault::reanchor(&dir, &root, &caller(), Arc::new(SystemClock))?;
    let summary = vault.verify_audit()?;
    context.output().answer(&summary, |text| {
        writeln!(
            text,
            "A new anchor: {} records, the last of them tells of this.",
            summary.records
        )
    })?;
    Ok(Outcome::Holds)
}
