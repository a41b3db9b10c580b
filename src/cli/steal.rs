use std::path::{Path, PathBuf};

use crate::lab;

use super::{CliError, Context, Outcome};

/// Arguments of `atrest steal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest steal /tmp/stolen    then try: strings -r /tmp/stolen, atrest prove, atrest restore

The copy holds every file of every resource and atrest.json, byte for byte; never the vaults. It
needs no key. Of a storage account whose bytes are in an object store it takes none, and says so.")]
pub struct Args {
    /// Where the copy goes: a new or an empty directory
    into: PathBuf,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = context.workspace()?;
    let occupied = args
        .into
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        let advice = "give a new directory, or an empty one";
        return Err(CliError::at(&args.into, "not empty", advice));
    }
    let robbed = workspace.at_rest()?;
    let target = existing_part(&args.into);
    if robbed
        .iter()
        .any(|path| target.starts_with(existing_part(path)))
    {
        let advice = "give a directory outside the data";
        return Err(CliError::at(&args.into, "lies in the data to copy", advice));
    }
    crate::base::create_dir_private(&args.into)
        .map_err(|e| CliError::at(&args.into, e, "give a directory that can be written to"))?;
    let progress = context.output().progress("Stealing");
    let mut told = |done, total| progress.set(done, total);
    let manifest = lab::steal(workspace.dir(), &robbed, &args.into, &mut told)?;
    drop(progress);
    context.output().answer(&manifest, |text| {
        use std::fmt::Write;
        let (files, bytes) = (manifest.files.len(), manifest.bytes());
        writeln!(
            text,
            "{}: {files} files, {bytes} bytes",
            args.into.display()
        )?;
        for skipped in &manifest.skipped {
            writeln!(text, "  left out, no regular file: {skipped}")?;
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
}

/// As much of `path` as exists, without symbolic links.
fn existing_part(path: &Path) -> PathBuf {
    let found = path
        .ancestors()
        .find_map(|part| match part.as_os_str().is_empty() {
            true => Path::new(".").canonicalize().ok(),
            false => part.canonicalize().ok(),
        });
    found.unwrap_or_default()
}
