mod export;
mod freshness;
mod in_place;
mod rows;

use std::io::Read;
use std::path::PathBuf;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection};
use serde::Serialize;

use crate::resource::sql::{SqlDatabase, content_hash};
use crate::resource::{ProtectedResource, Protection};
use crate::sqlite::PageSize;
use crate::world::{BadAddress, Kind, ResourceAddress};

use super::protection::{ProtectionArgs, how};
use super::{CliError, Context, Format, Outcome};

/// Arguments of `atrest sql`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql create finance
  atrest sql import ~/books.db finance
  atrest sql query finance 'SELECT * FROM invoice LIMIT 5'
  atrest sql export finance /tmp/books-plain.db")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an empty database
    Create(CreateArgs),
    /// Make a database that holds what a plain SQLite file holds; the file stays as it is
    Import(ImportArgs),
    /// Run statements that change it
    Exec(ExecArgs),
    /// Run one statement that reads it, and print the rows
    Query(QueryArgs),
    /// Write a plain, unprotected copy
    Export(export::ExportArgs),
    /// Read and authenticate every page
    Verify(VerifyArgs),
    /// Encrypt a plain one in its place, while it is in use
    Protect(in_place::ProtectArgs),
    /// Decrypt it in its place, while it is in use
    Unprotect(in_place::UnprotectArgs),
    /// Give it a new data encryption key and seal all pages anew, while it is in use
    Rekey(in_place::RekeyArgs),
    /// Show or set when it is compared with what the vault remembers of it
    Freshness(freshness::FreshnessArgs),
    /// Take it as it is for the newest, after it was put back on purpose
    Accept(freshness::AcceptArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql create finance
  atrest sql create test/sql/twin --plain --page-size 8192")]
struct CreateArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    #[command(flatten)]
    protection: ProtectionArgs,

    /// Bytes per page: a power of two from 512 to 65536
    #[arg(long, value_name = "BYTES", default_value_t = PageSize::DEFAULT.get(), value_parser = page_size)]
    page_size: u32,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql import ~/books.db finance
  atrest sql import ~/books.db twin --plain

Tables, indexes, views, triggers, full-text and R-tree tables, row ids and settings are copied, and
both are compared afterwards. Nobody may write to the file meanwhile.")]
struct ImportArgs {
    /// The SQLite file
    file: PathBuf,

    /// The database to make: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    #[command(flatten)]
    protection: ProtectionArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql exec finance 'CREATE TABLE invoice (id INTEGER PRIMARY KEY, total REAL)'
  sqlite3 old.db .dump | atrest sql exec finance -

Each statement takes effect by itself. Put BEGIN and COMMIT around those that belong together: when
one of them fails, none of them does.")]
struct ExecArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    /// The statements, with semicolons between them; `-` reads them from standard input
    sql: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest sql query finance 'SELECT name, total FROM invoice ORDER BY total DESC LIMIT 5'
  atrest sql query finance 'SELECT * FROM invoice' --format csv > invoices.csv

In a table, control characters are shown escaped. In CSV, text is in quotes and all else is not: an
empty field is NULL, x'00ff' a blob. In JSON, a blob is {\"base64\": \"...\"}; an infinite number is
9e999. Text that is not UTF-8 is treated as a blob.")]
struct QueryArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    /// The statement; `-` reads it from standard input
    sql: String,

    /// How to print the rows; by default a table, or JSON with --json
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest sql verify finance

Finds pages that were altered, moved or cut, and old ones that were put back: one by one, or with the
whole file.")]
struct VerifyArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,
}

fn address(text: &str) -> Result<ResourceAddress, BadAddress> {
    ResourceAddress::of_kind(Kind::Sql, text)
}

fn page_size(text: &str) -> Result<u32, String> {
    let size = text.parse().ok().and_then(PageSize::new);
    let size = size.ok_or("expected a power of two from 512 to 65536")?;
    Ok(size.get())
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::Create(args) => create(args, context),
        Command::Import(args) => import(args, context),
        Command::Exec(args) => exec(args, context),
        Command::Query(args) => query(args, context),
        Command::Export(args) => export::export(args, context),
        Command::Verify(args) => verify(args, context),
        Command::Protect(args) => in_place::protect(args, context),
        Command::Unprotect(args) => in_place::unprotect(args, context),
        Command::Rekey(args) => in_place::rekey(args, context),
        Command::Freshness(args) => freshness::freshness(args, context),
        Command::Accept(args) => freshness::accept(args, context),
    }?;
    Ok(Outcome::Holds)
}

#[derive(Serialize)]
struct Made {
    address: String,
    #[serde(flatten)]
    protection: Protection,
    page_size: u32,
    tables: usize,
    rows: u64,
    /// Over schema, settings and rows; the same for the file that was imported.
    sha256: String,
}

impl Made {
    fn tell(database: &SqlDatabase, address: &ResourceAddress) -> Result<Self, CliError> {
        let content = content_hash(&database.connect()?).map_err(|e| database.explain(e))?;
        Ok(Self {
            address: address.to_string(),
            protection: database.protection().clone(),
            page_size: database.page_size().get(),
            tables: content.tables.len(),
            rows: content.rows(),
            sha256: content.sha256(),
        })
    }
}

fn create(args: &CreateArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let protection = args.protection.protection(&workspace)?;
    let page_size = PageSize::new(args.page_size).expect("checked when it was parsed");
    let database = workspace.create_sql(&args.database, protection, page_size)?;
    let made = Made::tell(&database, &args.database)?;
    context.output().answer(&made, |text| {
        use std::fmt::Write;
        writeln!(
            text,
            "{}: an empty database, {}",
            made.address,
            how(&made.protection)
        )
    })
}

fn import(args: &ImportArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let protection = args.protection.protection(&workspace)?;
    let progress = context.output().progress("Importing");
    let database = workspace.import_sql(
        &args.database,
        protection,
        &args.file,
        &mut |done, total| {
            progress.set(done, total);
        },
    )?;
    let made = Made::tell(&database, &args.database)?;
    drop(progress);
    context.output().answer(&made, |text| {
        use std::fmt::Write;
        writeln!(
            text,
            "{}: imported, {}",
            made.address,
            how(&made.protection)
        )?;
        writeln!(
            text,
            "  {} tables with {} rows, equal to those of {}",
            made.tables,
            made.rows,
            args.file.display()
        )?;
        writeln!(text, "  sha-256 of the content {}", made.sha256)
    })
}

#[derive(Serialize)]
struct Executed {
    statements: u64,
    rows_changed: u64,
    /// Statements before the transaction that is open.
    #[serde(skip)]
    lasting: u64,
}

fn exec(args: &ExecArgs, context: &Context) -> Result<(), CliError> {
    let sql = statements(&args.sql)?;
    let database = context.workspace()?.open_sql(&args.database)?;
    let conn = database.connect()?;
    let mut done = Executed {
        statements: 0,
        rows_changed: 0,
        lasting: 0,
    };
    if let Err(e) = exec_all(&conn, &sql, &mut done) {
        let which = done.statements + 1;
        // Closing the connection rolls an open transaction back.
        let advice = match (conn.is_autocommit(), done.lasting) {
            (_, 0) => "nothing was changed".to_owned(),
            (true, n) => format!("what the {n} before it did stays"),
            (false, n) => format!("its transaction was rolled back, what the first {n} did stays"),
        };
        let cause = database.explain(e);
        return Err(CliError::new(
            format_args!("statement {which}: {cause}"),
            &advice,
        ));
    }
    if !conn.is_autocommit() {
        return Err(CliError::new(
            "the transaction was begun and not ended",
            "it was rolled back; end it with COMMIT",
        ));
    }
    context.output().answer(&done, |text| {
        use std::fmt::Write;
        writeln!(
            text,
            "{} statements, {} rows changed",
            done.statements, done.rows_changed
        )
    })
}

fn exec_all(conn: &Connection, sql: &str, done: &mut Executed) -> rusqlite::Result<()> {
    let mut batch = Batch::new(conn, sql);
    while let Some(mut statement) = batch.next()? {
        let before = conn.total_changes();
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
        drop(rows);
        done.statements += 1;
        if conn.is_autocommit() {
            done.lasting = done.statements;
        }
        done.rows_changed += conn.total_changes() - before;
    }
    Ok(())
}

fn query(args: &QueryArgs, context: &Context) -> Result<(), CliError> {
    let sql = statements(&args.sql)?;
    let output = context.output();
    let format = args.format.unwrap_or(match output.is_json() {
        true => Format::Json,
        false => Format::Table,
    });
    let database = context.workspace()?.open_sql(&args.database)?;
    let conn = database.connect()?;
    let failed = |e| CliError::from(database.explain(e));
    let mut statement = conn.prepare(&sql).map_err(failed)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(CliError::new(
            "not a statement that reads",
            "run it with `atrest sql exec`",
        ));
    }
    rows::print(&mut statement, format, output, failed)
}

fn verify(args: &VerifyArgs, context: &Context) -> Result<(), CliError> {
    let output = context.output();
    let database = context.workspace()?.open_sql(&args.database)?;
    let progress = output.progress("Verifying");
    let verified = database.verify(&mut |done, total| progress.set(done, total))?;
    drop(progress);
    output.answer(&verified, |text| {
        use std::fmt::Write;
        let (address, units, bytes) = (&args.database, verified.units, verified.bytes);
        match database.protection() {
            Protection::Plain => writeln!(
                text,
                "{address}: {bytes} bytes fit together; nothing in a plain database can be authenticated"
            ),
            _ => writeln!(text, "{address}: {units} pages and frames, {bytes} bytes, all authentic"),
        }
    })
}

/// The SQL of an argument, or of standard input.
fn statements(argument: &str) -> Result<String, CliError> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut sql = String::new();
    std::io::stdin()
        .read_to_string(&mut sql)
        .map_err(|e| CliError::new(format_args!("standard input: {e}"), "give SQL in UTF-8"))?;
    Ok(sql)
}
