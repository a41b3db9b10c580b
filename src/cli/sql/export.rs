use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::{CliError, Context};
use crate::resource::ResourceError;
use crate::world::ResourceAddress;

use super::address;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  atrest sql export finance /tmp/books-plain.db

Whoever can read FILE can read the data.")]
pub(super) struct ExportArgs {
    /// The database: NAME or [ENVIRONMENT/]sql/NAME
    #[arg(value_parser = address)]
    database: ResourceAddress,

    /// The file to write; it must not exist
    file: PathBuf,
}

pub(super) fn export(args: &ExportArgs, context: &Context) -> Result<(), CliError> {
    let output = context.output();
    let database = context.workspace()?.open_sql(&args.database)?;
    let progress = output.progress("Exporting");
    database.export(&args.file, &mut |done, total| progress.set(done, total))?;
    drop(progress);
    #[derive(Serialize)]
    struct Exported<'a> {
        file: &'a Path,
        bytes: u64,
    }
    let about = std::fs::metadata(&args.file).map_err(|e| ResourceError::io(&args.file, e))?;
    let exported = Exported {
        file: &args.file,
        bytes: about.len(),
    };
    output.answer(&exported, |text| {
        use std::fmt::Write;
        let file = exported.file.display();
        writeln!(text, "{file}: {} bytes, not protected", exported.bytes)
    })
}
