//! Scenario files: a world, the data in it, what happens to it, and what is expected of it, written in YAML
//! (docs/scenarios). A file is checked whole before anything is built; what it builds lies in one directory.
//!
//! | file         | what it is for |
//! |--------------|----------------|
//! | `format.rs`, `format_landscape.rs`, `words.rs`, `at.rs` | the format; its JSON Schema comes from it |
//! | `problem.rs`, `check.rs`, `check_landscape.rs`, `names.rs` | what is wrong with a file, and where |
//! | `stage.rs`, `data.rs`, `held.rs` | the world, and what its resources hold |
//! | `act.rs`, `expect.rs`, `load.rs` | what is done, and what is expected |
//! | `landscape.rs`, `govern.rs`, `covered.rs` | the same with tenants, policies, Customer Lockbox, coverage |

mod act;
mod at;
mod check;
mod check_landscape;
mod covered;
mod data;
mod expect;
mod format;
mod format_landscape;
mod govern;
mod held;
mod landscape;
mod load;
mod making;
mod names;
mod problem;
mod stage;
mod words;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::create_dir_private;
use crate::lab::{Report, ReportMeta, sign_report};
use crate::resource::ResourceError;
use crate::vault::VaultError;
use crate::world::{WhichVault, WorldError};

use super::error::reason as brief;
use super::teller::{Audience, Seen, Teller};
use super::{Ran, ScenarioError};
use at::At;
use format::{Act, Script};
use stage::{INSIDE, Stage};

pub use at::Position;
pub use problem::{BadFile, Problem};

/// What the clock says at the beginning of a story that does not say it.
const BEGINS: &str = "2026-03-01T00:00:00Z";
/// The longest file that is read, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// A scenario file that was read, and found to be right.
#[derive(Debug)]
pub struct Scenario {
    script: Script,
    file: PathBuf,
    base: PathBuf,
}

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where: missing or empty.
    pub dir: PathBuf,
    /// Whether the world that was built stays there. The report always does.
    pub keep: bool,
    /// The command that was run, as typed, for the report.
    pub command: String,
}

impl Scenario {
    /// Reads a scenario file and checks it whole: nothing is built. The data that it names is looked for below
    /// `data`, by default the file's own directory.
    ///
    /// # Errors
    /// [`ScenarioError::File`] with everything that is wrong with it; [`ScenarioError::Input`] when it cannot be
    /// read.
    pub fn read(file: &Path, data: Option<&Path>) -> Result<Self, ScenarioError> {
        let text = text(file)?;
        let base = match (data, file.parent()) {
            (Some(data), _) => data.to_owned(),
            (None, Some(dir)) if dir.as_os_str().is_empty() => PathBuf::from("."),
            (None, Some(dir)) => dir.to_owned(),
            (None, None) => PathBuf::from("."),
        };
        if !base.is_dir() {
            return Err(ScenarioError::input(
                &base,
                "no such folder; give the one with the data",
            ));
        }
        let script = parse(&text).map_err(|problem| BadFile::new(file, &text, vec![problem]))?;
        let problems = check::check(&script, &base);
        match problems.is_empty() {
            false => Err(BadFile::new(file, &text, problems).into()),
            true => Ok(Self {
                script,
                file: file.to_owned(),
                base,
            }),
        }
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.script.scenario
    }

    /// How many steps it has, and how many expectations.
    pub fn size(&self) -> (usize, usize) {
        let acts = self.script.steps.iter().flat_map(|step| &step.acts);
        let expectations = acts.filter(|act| act.value.is_expectation());
        (self.script.steps.len(), expectations.count())
    }

    /// Runs it, and writes the report into the directory.
    ///
    /// # Errors
    /// When the world cannot be built, or the machine fails: then nothing is left. When the report cannot be
    /// written.
    pub fn run(
        &self,
        options: &RunOptions,
        audience: &mut dyn Audience,
    ) -> Result<Ran, ScenarioError> {
        let dir = &options.dir;
        let existed = dir.exists();
        let occupied = existed
            && fs::read_dir(dir)
                .map_err(|e| ScenarioError::io(dir, e))?
                .next()
                .is_some();
        if occupied {
            return Err(WorldError::NotEmpty(dir.display().to_string()).into());
        }
        create_dir_private(dir).map_err(|e| ScenarioError::io(dir, e))?;
        let teller = Teller::new(Report::new(self.meta(options)), audience);
        let told = self.tell(dir, teller).and_then(|(stage, mut report)| {
            let written = report.write(dir)?;
            let vault = stage.vault(&WhichVault::Customer)?;
            let signed = sign_report(&written.json, &vault)?;
            Ok(Ran {
                report,
                written,
                signed,
            })
        });
        let scratch = ["scratch"];
        let goes = match told.is_ok() && options.keep {
            true => &scratch[..],
            false => &INSIDE[..],
        };
        for inside in goes {
            let _ = fs::remove_dir_all(dir.join(inside));
        }
        if told.is_err() && !existed {
            let _ = fs::remove_dir_all(dir);
        }
        told
    }

    fn tell(&self, dir: &Path, mut teller: Teller<'_>) -> Result<(Stage, Report), ScenarioError> {
        let script = &self.script;
        let build = |t: &mut Teller<'_>| Stage::build(script, &self.base, dir, t);
        let mut stage = teller.try_step("The world", build)?;
        let mut ended = None;
        for (number, step) in (1..).zip(&script.steps) {
            teller.try_step(&format!("{number}. {}", step.step), |teller| {
                for (at, act) in (1..).zip(&step.acts) {
                    let id = format!("step-{number}.{at}/{}", act.word());
                    self.turn(&mut stage, act, &id, &mut ended, teller)?;
                }
                Ok(())
            })?;
        }
        Ok((stage, teller.finish()))
    }

    /// One act of the story, unless that has ended.
    fn turn(
        &self,
        stage: &mut Stage,
        act: &At<Act>,
        id: &str,
        ended: &mut Option<String>,
        teller: &mut Teller<'_>,
    ) -> Result<(), ScenarioError> {
        let place = format!("{}:{}", self.file.display(), act.position.line);
        let told = act.told();
        if let Some(why) = &ended {
            if act.is_expectation() {
                teller.not_tried(id, &told, why);
            }
            return Ok(());
        }
        teller.at(place.clone());
        let done = match act.is_expectation() {
            true => stage.expect(act, id, teller),
            false => stage.perform(act, teller),
        };
        match done {
            Ok(()) => Ok(()),
            Err(e) if is_environments(&e) => Err(e),
            Err(e) => {
                let seen = Seen::new(false, e.to_string());
                let text = match act.is_expectation() {
                    true => told,
                    false => format!("It is possible to {told}"),
                };
                teller.expect(id, &text, seen);
                *ended = Some(format!("the story ended at {place}"));
                Ok(())
            }
        }
    }

    fn meta(&self, options: &RunOptions) -> ReportMeta {
        let mut parameters = BTreeMap::from([
            ("scenario".to_owned(), self.file.display().to_string()),
            ("data".to_owned(), self.base.display().to_string()),
        ]);
        if let Some(about) = &self.script.about {
            parameters.insert("about".to_owned(), about.trim().to_owned());
        }
        ReportMeta {
            title: self.script.scenario.clone(),
            command: options.command.clone(),
            generated: Timestamp::now(),
            seed: self.script.seed,
            parameters,
        }
    }
}

/// Whether it is the machine's failure, not the story's.
fn is_environments(error: &ScenarioError) -> bool {
    match error {
        ScenarioError::Io { .. }
        | ScenarioError::Lab(crate::lab::LabError::Io { .. })
        | ScenarioError::World(
            WorldError::Io { .. } | WorldError::Resource(ResourceError::Io { .. }),
        )
        | ScenarioError::Resource(ResourceError::Io { .. })
        | ScenarioError::Vault(VaultError::Store { .. }) => true,
        ScenarioError::World(WorldError::Vault(e)) => matches!(e, VaultError::Store { .. }),
        _ => false,
    }
}

fn text(file: &Path) -> Result<String, ScenarioError> {
    let unreadable =
        |e: std::io::Error| ScenarioError::input(file, format!("{e}; give a scenario file"));
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(ScenarioError::input(
            file,
            "longer than 1 MiB; no scenario is",
        ));
    }
    String::from_utf8(bytes).map_err(|_| ScenarioError::input(file, "it is not UTF-8 text"))
}

/// YAML, without what makes it long or deep from little.
fn parse(text: &str) -> Result<Script, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 24,
            max_nodes: 100_000,
            max_events: 300_000,
            max_aliases: 0,
            max_anchors: 0,
            max_merge_keys: 0,
            max_documents: 1,
        },
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| Problem::parser(&e))
}

/// The JSON Schema of the format (draft 2020-12), pretty printed, with a line's end.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Script);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

/// Every word that a step may hold, with what it does: the table of the documentation.
pub fn words() -> Vec<(String, String)> {
    let schema = serde_json::to_value(schemars::schema_for!(Act)).expect("a schema is JSON");
    let all = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let word = |one: &serde_json::Value| {
        let name = one["required"][0].as_str()?.to_owned();
        let about = one["description"].as_str()?.replace('\n', " ");
        Some((name, about))
    };
    all.iter().filter_map(word).collect()
}
