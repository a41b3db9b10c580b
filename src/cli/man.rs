use std::path::PathBuf;

use clap_mangen::Man;

use super::{CliError, Context, Outcome, command_tree};

/// Arguments of `atrest man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest man | man -l -            read the manual
  atrest man ~/.local/share/man/man1   install a page for each command")]
pub struct Args {
    /// Write one page per command into this directory, which must exist
    #[arg(value_name = "DIR")]
    into: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let Some(dir) = &args.into else {
        let mut page = Vec::new();
        Man::new(command_tree())
            .render(&mut page)
            .expect("writing to memory succeeds");
        context.output().raw(&page)?;
        return Ok(Outcome::Holds);
    };
    clap_mangen::generate_to(command_tree(), dir)
        .map_err(|e| CliError::at(dir, e, "give a directory that exists and can be written to"))?;
    Ok(Outcome::Holds)
}
