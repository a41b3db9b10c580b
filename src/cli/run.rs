use std::path::PathBuf;

use serde::Serialize;

use crate::scenario::file::{self, RunOptions, Scenario};

use super::{CliError, Context, Outcome, transcript};

/// Arguments of `atrest run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest run rotation.yaml                   run it in a new directory, which keeps the report only
  atrest run rotation.yaml --check           only say what is wrong with it, and where
  atrest --dir out run rotation.yaml --keep  run it in out/, and leave the world that it built there
  atrest run --schema > scenario.json        the format, for an editor that completes and checks

docs/scenarios describes the format, and has scenarios to begin with. Exit codes: 0 everything came out as
expected, 1 an expectation failed, 2 the file is wrong or the machine failed.")]
pub struct Args {
    /// The scenario file, in YAML
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    file: Option<PathBuf>,

    /// Check the file and do nothing
    #[arg(long)]
    check: bool,

    /// Leave the world that was built in the directory, beside the report
    #[arg(long, conflicts_with = "check")]
    keep: bool,

    /// Look for the data that the file names below this directory, by default the file's own
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Print the JSON Schema of scenario files
    #[arg(long, conflicts_with_all = ["file", "check", "keep", "data"])]
    schema: bool,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let Some(file) = args.file.as_ref().filter(|_| !args.schema) else {
        context.output().raw(file::schema().as_bytes())?;
        return Ok(Outcome::Holds);
    };
    let scenario = Scenario::read(file, args.data.as_deref())?;
    if args.check {
        return told(&scenario, context);
    }
    let dir = match context.dir_given() {
        Some(dir) => dir.to_owned(),
        None => super::demo::fresh_dir("atrest-run-")?,
    };
    let options = RunOptions {
        dir: dir.clone(),
        keep: args.keep,
        command: args.command(context),
    };
    transcript::told(context, &dir, |audience| scenario.run(&options, audience))
}

#[derive(Serialize)]
struct Checked<'a> {
    scenario: &'a str,
    steps: usize,
    expectations: usize,
}

fn told(scenario: &Scenario, context: &Context) -> Result<Outcome, CliError> {
    let (steps, expectations) = scenario.size();
    let checked = Checked {
        scenario: scenario.title(),
        steps,
        expectations,
    };
    context.output().answer(&checked, |text| {
        let title = scenario.title();
        text.push_str(&format!(
            "{title}: {steps} steps, {expectations} expectations; nothing is wrong\n"
        ));
        Ok(())
    })?;
    Ok(Outcome::Holds)
}

impl Args {
    /// The command as it would be typed.
    fn command(&self, context: &Context) -> String {
        let mut words = vec!["atrest".to_owned()];
        words.extend(
            context
                .dir_given()
                .map(|dir| format!("--dir {}", dir.display())),
        );
        words.push("run".to_owned());
        words.extend(self.file.iter().map(|file| file.display().to_string()));
        words.extend(
            self.data
                .iter()
                .map(|data| format!("--data {}", data.display())),
        );
        words.extend(self.keep.then(|| "--keep".to_owned()));
        words.join(" ")
    }
}
