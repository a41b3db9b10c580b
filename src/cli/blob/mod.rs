mod args;
mod range;
mod scope;
mod verify;

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::resource::blob::{
    Attributes, BlobInfo, BlobName, Conditions, Encryption, Layers, ObjectsUrl, Pairs,
    StorageAccount,
};
use crate::resource::{Protection, ResourceError};

use super::protection::how;
use super::{CliError, Context, Outcome, table};
use args::{
    ClaimArgs, Command, ContainersArgs, CreateArgs, DeleteArgs, GetArgs, KeysArgs, ListArgs,
    PutArgs, twice,
};

pub use args::Args;
pub(super) use scope::state as scope_state;

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    match &args.command {
        Command::Create(args) => create(args, context),
        Command::Put(args) => put(args, context),
        Command::Get(args) => get(args, context),
        Command::List(args) => list(args, context),
        Command::Delete(args) => delete(args, context),
        Command::Containers(args) => containers(args, context),
        Command::Scope(args) => scope::run(args, context),
        Command::Claim(args) => claim(args, context),
        Command::Keys(args) => keys(args, context),
        Command::Verify(args) => verify::run(args, context),
    }?;
    Ok(Outcome::Holds)
}

#[derive(Serialize)]
struct Made {
    address: String,
    #[serde(flatten)]
    protection: Protection,
    infrastructure_encryption: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<ObjectsUrl>,
}

fn create(args: &CreateArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace()?;
    let protection = args.protection.protection(&workspace)?;
    let layers = args.twice.layers();
    workspace.create_storage_with(
        &args.account,
        protection.clone(),
        layers,
        args.bytes.as_ref(),
    )?;
    let made = Made {
        address: args.account.to_string(),
        protection,
        infrastructure_encryption: layers == Layers::Two,
        bytes: args.bytes.clone(),
    };
    context.output().answer(&made, |text| {
        use std::fmt::Write;
        let how = how(&made.protection);
        let twice = twice(made.infrastructure_encryption);
        writeln!(
            text,
            "{}: an empty storage account, {how}{twice}",
            made.address
        )?;
        match &made.bytes {
            Some(url) => writeln!(text, "  its bytes are at {url}"),
            None => Ok(()),
        }
    })
}

fn claim(args: &ClaimArgs, context: &Context) -> Result<(), CliError> {
    let bytes = context.workspace()?.claim_storage(&args.account)?;
    #[derive(Serialize)]
    struct Claimed {
        address: String,
        bytes: ObjectsUrl,
    }
    let claimed = Claimed {
        address: args.account.to_string(),
        bytes,
    };
    context.output().answer(&claimed, |text| {
        use std::fmt::Write;
        let Claimed { address, bytes } = &claimed;
        writeln!(
            text,
            "{address}: its objects at {bytes} are written from here only"
        )
    })
}

fn put(args: &PutArgs, context: &Context) -> Result<(), CliError> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file)?,
    };
    let (mut source, size) = source(&args.file)?;
    let account = context.workspace()?.open_storage(&args.account)?;
    match account.create_container(&args.within.container, &Pairs::new()) {
        Ok(_) | Err(ResourceError::Exists(_)) => {}
        Err(e) => return Err(e.into()),
    }
    let progress = context.output().progress("Storing");
    let encryption = match &args.scope {
        Some(scope) => Encryption::Scope(scope),
        None => Encryption::default(),
    };
    let info = account.put_with(
        &args.within.path(&name),
        &mut *source,
        encryption,
        &Conditions::default(),
        &mut || Ok(Attributes::default()),
        &mut |done| progress.set(done, size.max(done)),
    )?;
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
    let whole = account.info(&args.within.path(&args.name))?.size;
    // The whole is what it is once it is read: it may be replaced meanwhile.
    let range = args.range.map(|range| range.within(whole)).transpose()?;
    let Some(file) = &args.file else {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let mut stdout = File::from(stdout.map_err(CliError::output)?);
        return fetch(&account, args, range, whole, &mut stdout, context).map(drop);
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
        whole,
        temporary.as_file_mut(),
        context,
    )?;
    temporary
        .persist_noclobber(file)
        .map_err(|e| failed(e.error))?;
    context.output().answer(&info, |text| {
        use std::fmt::Write;
        let bytes = range.as_ref().map_or(info.size, |r| r.end - r.start);
        let file = file.display();
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
    range: Option<Range<u64>>,
    whole: u64,
    sink: &mut (dyn Write + Send),
    context: &Context,
) -> Result<BlobInfo, CliError> {
    let progress = context.output().progress("Reading");
    let total = range.as_ref().map_or(whole, |r| r.end - r.start);
    let got = account.get(&args.within.path(&args.name), range, sink, &mut |done| {
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
    let blobs = account.list(&args.within.container, &args.prefix)?;
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
    account.delete(&args.within.path(&args.name), &Conditions::default())?;
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

fn containers(args: &ContainersArgs, context: &Context) -> Result<(), CliError> {
    let account = context.workspace()?.open_storage(&args.account)?;
    let containers = account.containers("", "", usize::MAX)?;
    context.output().answer(&containers, |text| {
        for container in &containers {
            text.push_str(container.name.as_str());
            text.push('\n');
        }
        Ok(())
    })
}

fn keys(args: &KeysArgs, context: &Context) -> Result<(), CliError> {
    let account = context.workspace()?.open_storage(&args.account)?;
    if let Some(number) = args.renew {
        account.renew_access_key(number)?;
    }
    #[derive(Serialize)]
    struct Keys {
        account: String,
        key1: Zeroizing<String>,
        key2: Zeroizing<String>,
        connection_string: Zeroizing<String>,
    }
    let name = args.account.name.as_str();
    let [key1, key2] =
        (account.access_keys()?).map(|key| Zeroizing::new(STANDARD.encode(key.expose())));
    let keys = Keys {
        account: name.to_owned(),
        connection_string: Zeroizing::new(format!(
            "DefaultEndpointsProtocol=https;AccountName={name};AccountKey={};\
             EndpointSuffix=core.windows.net",
            *key1
        )),
        key1,
        key2,
    };
    context.output().answer(&keys, |text| {
        use std::fmt::Write;
        writeln!(text, "key1               {}", *keys.key1)?;
        writeln!(text, "key2               {}", *keys.key2)?;
        writeln!(text, "connection string  {}", *keys.connection_string)
    })
}
