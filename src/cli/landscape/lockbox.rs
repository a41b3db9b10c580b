use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::base::write_atomic;
use crate::resource::blob::{BlobName, BlobPath};
use crate::world::ResourceAddress;
use crate::world::landscape::{
    Decision, EventFilter, LockboxRequest, NewRequest, PersonName, PowerName, RequestName,
    RequestStatus, Tenant, TenantName,
};

use super::{EVENT_HEADER, caught_up, event_row, joined, lines, list, time, workspace};
use crate::cli::{CliError, Context, Outcome};

/// Arguments of `atrest lockbox`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest lockbox enable contoso                      takes effect within a day
  atrest lockbox request org-prod --engineer sam --internal-approver kim --ticket 2401-7 --reason 'corrupt index'
  atrest lockbox approve lb-00001 --as contoso-approver
  atrest lockbox read sam prod/sql/axdb 'SELECT count(*) FROM t'
  atrest lockbox list --status 'Action needed'
  atrest lockbox audit --export audit.jsonl

No request, no access; an approval opens nothing that is locked; what is approved ends after its hours.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Switch it on for a tenant
    Enable {
        /// The tenant
        tenant: TenantName,
    },
    /// Switch it off
    Disable {
        /// The tenant
        tenant: TenantName,
    },
    /// Request access for an engineer of the provider's
    Request(Request),
    /// Approve a request
    Approve(Decide),
    /// Deny a request
    Deny(Decide),
    /// Refused: an approval ends by itself
    Revoke(Decide),
    /// List the requests
    List {
        /// Only those: Action needed, Approved, Denied, Expired or Access ended
        #[arg(long, value_name = "STATUS", value_parser = status)]
        status: Option<&'static str>,
        /// Only those for this environment
        #[arg(long, value_name = "ENVIRONMENT")]
        environment: Option<PowerName>,
        /// Only those of this engineer
        #[arg(long, value_name = "ENGINEER")]
        engineer: Option<PersonName>,
    },
    /// Show one
    Show {
        /// The request
        request: RequestName,
    },
    /// Read as an engineer: a SQL statement's first value, or a blob
    Read {
        /// The engineer
        engineer: PersonName,
        /// The resource
        address: ResourceAddress,
        /// A SELECT statement, or a blob's name
        what: String,
    },
    /// List or export the audit records
    Audit {
        /// Only operations whose names begin so
        #[arg(long, value_name = "OPERATION", default_value = "Lockbox")]
        operation: String,
        /// Only of this actor
        #[arg(long, value_name = "PERSON")]
        actor: Option<String>,
        /// Only of this subject
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        /// Only from this date or time on
        #[arg(long, value_name = "WHEN", value_parser = crate::cli::key::when)]
        since: Option<Timestamp>,
        /// Write them to FILE, a line of JSON each
        #[arg(long, value_name = "FILE")]
        export: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Request {
    /// The environment, by its Dataverse name
    environment: PowerName,
    /// The engineer
    #[arg(long, value_name = "ENGINEER")]
    engineer: PersonName,
    /// Who approved it on the provider's side
    #[arg(long, value_name = "ENGINEER")]
    internal_approver: PersonName,
    /// The support request
    #[arg(long, value_name = "ID", default_value = "")]
    ticket: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// A resource to be read; by default every one of the environment; may be given again
    #[arg(long = "scope", value_name = "ADDRESS")]
    scope: Vec<ResourceAddress>,
    /// For how many hours
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    hours: u8,
}

#[derive(Debug, clap::Args)]
struct Decide {
    /// The request
    request: RequestName,
    /// In whose name; by default TENANT-approver
    #[arg(long = "as", value_name = "PERSON")]
    by: Option<PersonName>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let output = context.output();
    let approver = |decide: &Decide| match &decide.by {
        Some(by) => Ok::<_, CliError>(by.clone()),
        None => {
            let request: LockboxRequest = landscape.get(decide.request.as_str())?;
            Ok(format!("{}-approver", request.tenant).parse()?)
        }
    };
    let request = match &args.command {
        Command::Enable { tenant } | Command::Disable { tenant } => {
            let on = matches!(args.command, Command::Enable { .. });
            let changed: Tenant = landscape.set_lockbox(tenant, on)?;
            output.answer(&changed, |text| {
                lines(
                    text,
                    &[(
                        "Customer Lockbox",
                        if on { "on within a day" } else { "off" }.to_owned(),
                    )],
                )
            })?;
            return Ok(Outcome::Holds);
        }
        Command::Request(request) => landscape.request_access(&NewRequest {
            environment: request.environment.clone(),
            engineer: request.engineer.clone(),
            internal_approver: request.internal_approver.clone(),
            support_request: request.ticket.clone(),
            reason: request.reason.clone(),
            scope: request.scope.clone(),
            hours: request.hours,
        })?,
        Command::Approve(decide) => {
            landscape.decide(&decide.request, Decision::Approve, &approver(decide)?)?
        }
        Command::Deny(decide) => {
            landscape.decide(&decide.request, Decision::Deny, &approver(decide)?)?
        }
        Command::Revoke(decide) => {
            landscape.revoke_access(&decide.request, &approver(decide)?)?;
            landscape.get(decide.request.as_str())?
        }
        Command::Show { request } => landscape.get(request.as_str())?,
        Command::List {
            status,
            environment,
            engineer,
        } => {
            let mut all = landscape.all::<LockboxRequest>()?;
            all.retain(|request| {
                status
                    .as_ref()
                    .is_none_or(|status| request.state.word() == *status)
                    && environment
                        .as_ref()
                        .is_none_or(|e| request.environment == *e)
                    && engineer.as_ref().is_none_or(|e| request.engineer == *e)
            });
            let row = |request: &LockboxRequest| {
                vec![
                    request.name.to_string(),
                    request.support_request.clone(),
                    request.environment.to_string(),
                    request.engineer.to_string(),
                    request.state.word().to_owned(),
                    time(request.requested),
                    time(request.expires),
                    access_until(request),
                ]
            };
            let header = [
                "request",
                "ticket",
                "environment",
                "engineer",
                "status",
                "requested",
                "expires",
                "access until",
            ];
            list(output, &all, &header, row)?;
            return Ok(Outcome::Holds);
        }
        Command::Read {
            engineer,
            address,
            what,
        } => {
            let read = match address.kind {
                crate::world::Kind::Sql => {
                    read_sql(&landscape.open_sql_for(engineer, address)?, what)?
                }
                crate::world::Kind::Storage => {
                    let account = landscape.open_storage_for(engineer, address)?;
                    let name: BlobName =
                        what.parse().map_err(|e| CliError::new(e, "name a blob"))?;
                    let mut bytes = Vec::new();
                    account.get(&BlobPath::in_default(name), None, &mut bytes, &mut |_| ())?;
                    bytes
                }
            };
            output.raw(&read)?;
            return Ok(Outcome::Holds);
        }
        Command::Audit {
            operation,
            actor,
            subject,
            since,
            export,
        } => {
            let filter = EventFilter {
                operation: Some(operation.clone()),
                actor: actor.clone(),
                subject: subject.clone(),
                since: *since,
            };
            let events = landscape.events(&filter)?;
            let Some(file) = export else {
                list(output, &events, &EVENT_HEADER, event_row)?;
                return Ok(Outcome::Holds);
            };
            if fs::symlink_metadata(file).is_ok() {
                return Err(CliError::at(file, "exists already", "name a new file"));
            }
            let mut text = String::new();
            for event in &events {
                text.push_str(&serde_json::to_string(event).unwrap_or_default());
                text.push('\n');
            }
            write_atomic(file, text.as_bytes())
                .map_err(|e| CliError::at(file, e, "name a new file"))?;
            output.note(&format!("{}: {} records", file.display(), events.len()));
            return Ok(Outcome::Holds);
        }
    };
    output.answer(&request, |text| {
        lines(
            text,
            &[
                ("request", request.name.to_string()),
                ("support request", request.support_request.clone()),
                ("environment", request.environment.to_string()),
                ("engineer", request.engineer.to_string()),
                ("approved there by", request.internal_approver.to_string()),
                ("reason", request.reason.clone()),
                ("scope", joined(&request.scope)),
                ("status", request.state.word().to_owned()),
                ("decided by", decided_by(&request)),
                ("requested", time(request.requested)),
                ("expires", time(request.expires)),
                ("access period", format!("{} h", request.hours)),
                ("access until", access_until(&request)),
            ],
        )
    })?;
    Ok(Outcome::Holds)
}

/// A status, in whichever case.
fn status(text: &str) -> Result<&'static str, String> {
    let mut all = RequestStatus::WORDS.into_iter();
    let found = all.find(|word| word.eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("expected one of {}", RequestStatus::WORDS.join(", ")))
}

fn decided_by(request: &LockboxRequest) -> String {
    match &request.state {
        RequestStatus::ActionNeeded | RequestStatus::Expired { .. } => "-".into(),
        RequestStatus::Approved { by, .. }
        | RequestStatus::Denied { by, .. }
        | RequestStatus::Ended { by, .. } => by.to_string(),
    }
}

fn access_until(request: &LockboxRequest) -> String {
    match &request.state {
        RequestStatus::Approved { until: at, .. } | RequestStatus::Ended { at, .. } => time(*at),
        _ => "-".into(),
    }
}

fn read_sql(database: &crate::resource::sql::SqlDatabase, sql: &str) -> Result<Vec<u8>, CliError> {
    let conn = database.connect()?;
    let failed = |e| CliError::from(database.explain(e));
    let mut statement = conn.prepare(sql).map_err(failed)?;
    if !statement.readonly() {
        return Err(CliError::new(
            "an engineer of the provider's only reads",
            "give a SELECT statement",
        ));
    }
    let mut rows = statement.query(()).map_err(failed)?;
    let mut text = String::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let value = row.get::<_, rusqlite::types::Value>(0).map_err(failed)?;
        use rusqlite::types::Value;
        match value {
            Value::Null => text.push_str("NULL"),
            Value::Integer(n) => text.push_str(&n.to_string()),
            Value::Real(x) => text.push_str(&x.to_string()),
            Value::Text(t) => text.push_str(&t.escape_debug().to_string()),
            Value::Blob(b) => text.push_str(&format!("x'{}'", hex::encode(b))),
        }
        text.push('\n');
    }
    Ok(text.into_bytes())
}
