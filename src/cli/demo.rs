use std::fmt::Display;
use std::path::PathBuf;

use crate::crypto::KeyKind;
use crate::scenario::demo::{self, DemoOptions};
use crate::scenario::sample::MIN_ROWS;

use super::{CliError, Context, Outcome, transcript, wrapping_kind};

/// Arguments of `atrest demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest demo                                    with made-up data, in a new directory
  atrest --dir tour demo --rows 100000           more of it, in a directory of your choice
  atrest demo --sql shop.db --files ~/Documents  with your own data, which is only read
  atrest demo --full                             with all 34 attacks, which takes up to a minute
  atrest demo --json | jq '.claims[].verdict'    for machines

The directory stays, with report.html, report.json and report.junit.xml in it. It holds a copy of
the data, also an unprotected one: delete it when you are done. The exit code is 0 only if every
claim holds, or is declared not to be protected.")]
pub struct Args {
    /// Your own SQLite database instead of a made-up one; it is only read
    #[arg(long, value_name = "FILE")]
    sql: Option<PathBuf>,

    /// Your own folder of files instead of made-up ones; they are only read
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,

    /// Rows of made-up data; documents in proportion
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u64).range(MIN_ROWS..=50_000_000))]
    rows: u64,

    /// The same seed makes up the same data, and draws the same canaries; keys are always new
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Kind of the customer's key: rsa-2048, rsa-3072, rsa-4096 or oct-256
    #[arg(long, value_name = "KIND", default_value_t = KeyKind::Rsa3072, value_parser = wrapping_kind)]
    key_kind: KeyKind,

    /// Try all 34 attacks of `atrest prove --list`, not only those that are part of the story
    #[arg(long)]
    full: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let dir = match context.dir_given() {
        Some(dir) => dir.to_owned(),
        None => fresh_dir("atrest-demo-")?,
    };
    let options = DemoOptions {
        dir: dir.clone(),
        seed: args.seed,
        rows: args.rows,
        sql: args.sql.clone(),
        files: args.files.clone(),
        key_kind: args.key_kind,
        everything: match args.full {
            true => Some(std::env::current_exe().map_err(|e| {
                let advice = "start it from its file, or leave --full out";
                CliError::new(format_args!("this program is not found: {e}"), advice)
            })?),
            false => None,
        },
        command: args.command(context),
    };
    transcript::told(context, &dir, |audience| demo::run(&options, audience))
}

/// A new directory where temporary files are.
pub(super) fn fresh_dir(prefix: &str) -> Result<PathBuf, CliError> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir();
    let made = made.map_err(|e| {
        let advice = "give a directory with --dir";
        CliError::at(&std::env::temp_dir(), e, advice)
    })?;
    Ok(made.keep())
}

impl Args {
    /// The command as it would be typed.
    fn command(&self, context: &Context) -> String {
        let mut words = vec!["atrest".to_owned()];
        let mut flag = |name: &str, value: Option<&dyn Display>| {
            words.extend(value.map(|value| format!("{name} {value}")));
        };
        flag(
            "--dir",
            context
                .dir_given()
                .map(|p| p.display())
                .as_ref()
                .map(|p| p as _),
        );
        flag(
            "demo",
            Some(&format_args!("--rows {} --seed {}", self.rows, self.seed)),
        );
        flag("--key-kind", Some(&self.key_kind));
        flag(
            "--sql",
            self.sql
                .as_ref()
                .map(|p| p.display())
                .as_ref()
                .map(|p| p as _),
        );
        flag(
            "--files",
            self.files
                .as_ref()
                .map(|p| p.display())
                .as_ref()
                .map(|p| p as _),
        );
        if self.full {
            words.push("--full".to_owned());
        }
        words.join(" ")
    }
}
