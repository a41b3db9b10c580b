use std::path::PathBuf;

use crate::lab;

use super::{CliError, Context, Outcome};

/// Arguments of `atrest steal`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest steal /tmp/stolen    then try: strings -r /tmp/stolen, atrest prove, atrest restore

The copy holds every file of every resource and atrest.json, byte for byte; never the vaults. It
needs no key.")]
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
    crate::base::create_dir_private(&args.into)
        .map_err(|e| CliError::at(&args.into, e, "give a directory that can be written to"))?;
    let absolute = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let robbed = workspace.at_rest();
    if robbed
        .iter()
        .any(|dir| absolute(&args.into).starts_with(absolute(dir)))
    {
        let advice = "give a directory outside the data";
        return Err(CliError::at(&args.into, "lies in the data to copy", advice));
    }
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
