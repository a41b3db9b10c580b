use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::{KeyName, SystemClock};
use crate::vault::{
    AuditEvent, AuditFilter, AuditOperation, AuditRecord, AuditSummary, KeyVault, LocalVault,
    RootKeyKind, RootKeySource, VaultError,
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
  atrest audit list --follow                   new records as they come, until it is interrupted
  atrest audit list --jsonl > log.jsonl        the whole log, each record as Azure's AuditEvent
  atrest audit verify                          is any record altered, missing or moved?

Every operation on a key, allowed or refused, is on disk in this log before it is answered, and so is every
request to the vault through `atrest serve`. Commands that read lists and attributes are not recorded. Note the head that verify prints somewhere else: it convicts
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
    /// One secret, whatever the version
    #[arg(long, value_name = "NAME")]
    secret: Option<KeyName>,
    /// One caller, by name, object id or client id
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Requests from one address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Requests that were answered with one status of HTTP
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// One request, by its x-ms-request-id, or the x-ms-client-request-id that it came with
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Refusals only
    #[arg(long)]
    failed: bool,
    /// At most so many, the newest [default: 50; with --jsonl all]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
    /// Go on with new records as they come, whoever makes them
    #[arg(long)]
    follow: bool,
    /// One JSON object a line, in the shape of Azure's AuditEvent
    #[arg(long)]
    jsonl: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::List(list) => run_list(list, &args.vault, context),
        Command::Verify => verify(&args.vault, context),
        Command::Reanchor => reanchor(&args.vault, context),
    }
}

/// How many records are read at once: a log may be longer than the memory.
const PAGE: u32 = 1000;
/// How often it is looked for new records.
const INTERVAL: Duration = Duration::from_millis(200);
/// So many of the newest records are shown when nothing is said.
const NEWEST: u32 = 50;

fn run_list(list: &List, vault: &WhichVault, context: &Context) -> Result<Outcome, CliError> {
    let vault = open_vault(context, vault)?;
    let filter = AuditFilter {
        since: list.since,
        until: list.until,
        operation: list.operation,
        key: list.key.clone(),
        secret: list.secret.clone(),
        identity: list.identity.clone(),
        address: list.address,
        http_status: list.status,
        correlation_id: list.correlation_id.clone(),
        failed: list.failed,
        limit: list.limit.or((!list.jsonl).then_some(NEWEST)),
    };
    if list.jsonl || list.follow {
        return stream(list, &vault, &filter, context);
    }
    let records = vault.audit(&filter)?;
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

/// Prints records a page at a time, and with `--follow` those that come.
fn stream(
    list: &List,
    vault: &LocalVault,
    filter: &AuditFilter,
    context: &Context,
) -> Result<Outcome, CliError> {
    if context.output().is_json() && !list.jsonl {
        return Err(CliError::new(
            "--follow prints no JSON array, which would have no end",
            "give --jsonl in place of --json",
        ));
    }
    let mut after = vault.audit_start(filter)?;
    loop {
        let page = vault.audit_after(filter, after, PAGE)?;
        let mut text = String::new();
        for record in &page.records {
            if list.jsonl {
                let event = AuditEvent::of(record, vault.id());
                text += &serde_json::to_string(&event).map_err(|e| CliError::output(e.into()))?;
            } else if let [number, time, operation, key, result, identity] = &row(record)[..] {
                text += &format!(
                    "{number:>6}  {time:20}  {operation:20}  {key:24}  {result:12}  {identity}"
                );
            }
            text.push('\n');
        }
        context.output().raw(text.as_bytes())?;
        if page.through == after || page.records.is_empty() {
            if !list.follow {
                return Ok(Outcome::Holds);
            }
            std::thread::sleep(INTERVAL);
        }
        after = page.through;
    }
}

fn row(record: &AuditRecord) -> Vec<String> {
    let kid = record.kid.as_deref().unwrap_or("-");
    // NAME/VERSION, the version by its first digits.
    let named = kid
        .split_once("/keys/")
        .or_else(|| kid.split_once("/secrets/"));
    let key = named.map_or(kid, |(_, name)| name);
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
