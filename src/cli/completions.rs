use clap_complete::Shell;

use super::{CliError, Context, Outcome, command_tree};

/// Arguments of `atrest completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest completions bash > ~/.local/share/bash-completion/completions/atrest
  atrest completions fish > ~/.config/fish/completions/atrest.fish")]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command_tree(), "atrest", &mut script);
    context.output().raw(&script)?;
    Ok(Outcome::Holds)
}
