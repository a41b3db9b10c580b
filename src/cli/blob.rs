use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::resource::blob::{BlobInfo, BlobName, StorageAccount};
use crate::resource::{ProtectedResource, Protection, ResourceError};
use crate::world::{BadAddress, Kind, ResourceAddress};

use super::protection::{ProtectionArgs, how};
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest blob`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob create invoices
  atrest blob put invoices july.pdf 2026/july.pdf
  atrest blob list invoices 2026/
  atrest blob get invoices 2026/july.pdf copy.pdf")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an empty storage account
    Create(CreateArgs),
    /// Store a file as a blob; replaces the blob of that name
    Put(PutArgs),
    /// Read a blob, or a range of it
    Get(GetArgs),
    /// List blobs by name; works when the customer's key is gone
    List(ListArgs),
    /// Delete a blob for good; works when the customer's key is gone
    Delete(DeleteArgs),
    /// Read and authenticate every byte
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob create invoices
  atrest blob create test/storage/twin --plain")]
struct CreateArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    #[command(flatten)]
    protection: ProtectionArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob put invoices july.pdf
  atrest blob put invoices july.pdf 2026/july.pdf
  tar c letters | atrest blob put archive - letters.tar")]
struct PutArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    /// The file to store; `-` reads standard input
    file: PathBuf,

    /// The blob's name; by default the file's
    name: Option<BlobName>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob get invoices july.pdf copy.pdf
  atrest blob get archive letters.tar | tar t
  atrest blob get archive letters.tar --range 0-511 | xxd

When it fails half way, a file is not written at all; what went to standard output is a part, each
byte of it authentic, and must be thrown away.")]
struct GetArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    /// The blob's name
    name: BlobName,

    /// The file to write, which must not exist; by default standard output
    file: Option<PathBuf>,

    /// Only these bytes, counted from 0, both ends included; without LAST to the end
    #[arg(long, value_name = "FIRST-[LAST]")]
    range: Option<ByteRange>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest blob list invoices
  atrest blob list invoices 2026/ --json")]
struct ListArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    /// Only names that start with this
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob delete invoices july.pdf

The blob's key goes with it. A copy that was taken before is not touched by this.")]
struct DeleteArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,

    /// The blob's name
    name: BlobName,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest blob verify invoices

Finds bytes that were altered, moved or cut. Does not find an old copy of the whole account.")]
struct VerifyArgs {
    /// The storage account: NAME or [ENVIRONMENT/]storage/NAME
    #[arg(value_parser = address)]
    account: ResourceAddress,
}

fn address(text: &str) -> Result<ResourceAddress, BadAddress> {
    ResourceAddress::of_kind(Kind::Storage, text)
}

/// `FIRST-LAST` or `FIRST-`, as in an HTTP range (RFC 9110, section 14.1.2).
#[derive(Clone, Copy, Debug)]
struct ByteRange {
    first: u64,
    last: Option<u64>,
}

impl FromStr for ByteRange {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected FIRST-LAST or FIRST-, as in 0-511";
        let (first, last) = text.split_once('-').ok_or(expected)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| expected);
        let range = Self {
            first: number(first)?,
            last: match last {
                "" => None,
                digits => Some(number(digits)?),
            },
        };
        match range.last {
            Some(last) if last < range.first => Err("LAST comes before FIRST"),
            _ => Ok(range),
        }
    }
}

impl ByteRange {
    /// Within a blob of `size` bytes; a LAST behind its end means its end.
    fn within(self, size: u64) -> Result<Range<u64>, CliError> {
        if self.first >= size {
            return Err(CliError::new(
                format_args!("the blob has {size} bytes and none at {}", self.first),
                "choose a range within it",
            ));
        }
        let end = self.last.map_or(size, |last| last.saturating_add(1));
        Ok(self.first..end.min(size))
    }
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::Create(args) => create(args, context),
        Command::Put(args) => put(args, context),
        Command::Get(args) => get(args, context),
        Command::List(args) => list(args, context),
        Command::Delete(args) => delete(args, context),
        Command::Verify(args) => verify(args, context),
    }?;
    Ok(Outcome::Holds)
}

#[derive(Serialize)]
struct Made {
    address: String,
    #[serde(flatten)]
    protection: Protection,
}

fn create(args: &CreateArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let protection = args.protection.protection(&workspace)?;
    workspace.create_storage(&args.account, protection.clone())?;
    let made = Made {
        address: args.account.to_string(),
        protection,
    };
    context.output().answer(&made, |text| {
        use std::fmt::Write;
        let how = how(&made.protection);
        writeln!(text, "{}: an empty storage account, {how}", made.address)
    })
}

fn put(args: &PutArgs, context: &Context) -> Result<(), CliError> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file)?,
    };
    let (mut source, size) = source(&args.file)?;
    let account = context.workspace()?.open_storage(&args.account)?;
    let progress = context.output().progress("Storing");
    let info = account.put(&name, &mut *source, &mut |done| {
        progress.set(done, size.max(done));
    })?;
    drop(progress);
    context.output().answer(&info, |text| {
        use std::fmt::Write;
        writeln!(text, "{}: stored, {} bytes", info.name, info.size)
    })
}

/// The last part of a path, as a blob's name.
fn name_of(file: &Path) -> Result<BlobName, CliError> {
    let advice = "give a name for the blob after the file";
    let last = file.file_name().filter(|_| file != Path::new("-"));
    let Some(last) = last.and_then(|name| name.to_str()) else {
        return Err(CliError::at(file, "no name to take over", advice));
    };
    last.parse().map_err(|e| CliError::new(e, advice))
}

/// What to read, and how many bytes it has, as far as that is known.
fn source(file: &Path) -> Result<(Box<dyn Read + Send>, u64), CliError> {
    let failed = |e| CliError::at(file, e, "give a file that can be read");
    if file == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
        return Ok((Box::new(File::from(stdin)), 0));
    }
    let opened = File::open(file).map_err(failed)?;
    let about = opened.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Box::new(opened), about.len()))
}

fn get(args: &GetArgs, context: &Context) -> Result<(), CliError> {
    let account = context.workspace()?.open_storage(&args.account)?;
    let whole = account.info(&args.name)?.size;
    let range = match args.range {
        Some(range) => range.within(whole)?,
        None => 0..whole,
    };
    let Some(file) = &args.file else {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let mut stdout = File::from(stdout.map_err(CliError::output)?);
        return fetch(&account, args, range, &mut stdout, context).map(drop);
    };
    let failed = |e| {
        CliError::at(
            file,
            e,
            "give a file that does not exist yet and can be written",
        )
    };
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut temporary = tempfile::Builder::new()
        .prefix(".atrest-")
        .tempfile_in(dir.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    if file.symlink_metadata().is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let info = fetch(
        &account,
        args,
        range.clone(),
        temporary.as_file_mut(),
        context,
    )?;
    temporary
        .persist_noclobber(file)
        .map_err(|e| failed(e.error))?;
    context.output().answer(&info, |text| {
        use std::fmt::Write;
        let (bytes, file) = (range.end - range.start, file.display());
        writeln!(
            text,
            "{file}: {bytes} of {} bytes, not protected",
            info.size
        )
    })
}

fn fetch(
    account: &StorageAccount,
    args: &GetArgs,
    range: Range<u64>,
    sink: &mut (dyn Write + Send),
    context: &Context,
) -> Result<BlobInfo, CliError> {
    let progress = context.output().progress("Reading");
    let total = range.end - range.start;
    let got = account.get(&args.name, Some(range), sink, &mut |done| {
        progress.set(done, total);
    });
    got.map_err(|e| match e {
        ResourceError::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe => {
            CliError::output(source)
        }
        other => other.into(),
    })
}

fn list(args: &ListArgs, context: &Context) -> Result<(), CliError> {
    let account = context.workspace()?.open_storage(&args.account)?;
    let blobs = account.list(&args.prefix)?;
    context.output().answer(&blobs, |text| {
        let rows: Vec<Vec<String>> = blobs
            .iter()
            .map(|b| {
                // To the second; JSON has the rest.
                let created = b.created.strftime("%Y-%m-%d %H:%M:%SZ");
                vec![b.size.to_string(), created.to_string(), b.name.to_string()]
            })
            .collect();
        match rows.as_slice() {
            [] => text.push_str("No blobs.\n"),
            rows => text.push_str(&table(&["Bytes", "Created", "Name"], &[0], rows)),
        }
        Ok(())
    })
}

fn delete(args: &DeleteArgs, context: &Context) -> Result<(), CliError> {
    let account = context.workspace()?.open_storage(&args.account)?;
    account.delete(&args.name)?;
    #[derive(Serialize)]
    struct Deleted<'a> {
        deleted: &'a BlobName,
    }
    let deleted = Deleted {
        deleted: &args.name,
    };
    context.output().answer(&deleted, |text| {
        use std::fmt::Write;
        writeln!(text, "{}: deleted", args.name)
    })
}

fn verify(args: &VerifyArgs, context: &Context) -> Result<(), CliError> {
    let output = context.output();
    let account = context.workspace()?.open_storage(&args.account)?;
    let progress = output.progress("Verifying");
    let verified = account.verify(&mut |done, total| progress.set(done, total))?;
    drop(progress);
    output.answer(&verified, |text| {
        use std::fmt::Write;
        let (address, units, bytes) = (&args.account, verified.units, verified.bytes);
        match account.protection() {
            Protection::Plain => writeln!(
                text,
                "{address}: {bytes} bytes read; nothing in a plain account can be authenticated"
            ),
            _ => writeln!(
                text,
                "{address}: {units} pages, manifests and chunks, {bytes} bytes, all authentic"
            ),
        }
    })
}
