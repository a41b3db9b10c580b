//! The demo: build a small world, fill it, steal a copy of everything on disk, and say step by step
//! what the copy is worth. Each step makes claims; each claim rests on what was measured in this
//! run, beside the same thing done to unprotected twins, where it has to come out the other way.
//!
//! | file         | what it is for |
//! |--------------|----------------|
//! | `source.rs`  | where the data comes from: made up, or the user's own, read only |
//! | `stage.rs`, `fill.rs` | the world that the steps act on |
//! | `copy.rs`    | steps 1 to 3: what the stolen copy is worth |
//! | `key.rs`     | steps 4 to 6: rotate, disable, purge |

mod copy;
mod fill;
mod key;
mod source;
mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::base::{create_dir_private, write_atomic};
use crate::crypto::KeyKind;
use crate::lab::{CANARY_FILE, Report, ReportMeta, sign_report};
use crate::world::WorldError;

use super::teller::{Audience, Teller};
use super::{Ran, ScenarioError};
use source::Sources;
use stage::Stage;

/// What to demonstrate, and with which data.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The working directory: missing or empty.
    pub dir: PathBuf,
    /// Made-up data and the lab's random choices come from this; keys never do.
    pub seed: u64,
    /// Rows of made-up data.
    pub rows: u64,
    /// The user's own SQLite database instead of a made-up one; read only.
    pub sql: Option<PathBuf>,
    /// The user's own files instead of made-up ones; read only.
    pub files: Option<PathBuf>,
    /// Kind of the customer's key.
    pub key_kind: KeyKind,
    /// This program, which tries all attacks of the list then: those on a server or process of its own need
    /// it. Without it only those on the stolen copy are tried.
    pub everything: Option<PathBuf>,
    /// The command that was run, as typed, for the report.
    pub command: String,
}

/// Runs the demo. The working directory stays, with the report in it.
///
/// # Errors
/// When the data cannot be had, or the world cannot be built: then nothing is left in the working
/// directory. When the report cannot be written.
pub fn run(options: &DemoOptions, audience: &mut dyn Audience) -> Result<Ran, ScenarioError> {
    let mut teller = Teller::new(Report::new(meta(options)), audience);
    let sources = Sources::new(options)?;
    let existed = options.dir.exists();
    let occupied = existed
        && fs::read_dir(&options.dir)
            .map_err(|e| ScenarioError::io(&options.dir, e))?
            .next()
            .is_some();
    if occupied {
        let dir = options.dir.display().to_string();
        return Err(WorldError::NotEmpty(dir).into());
    }
    let built = Stage::build(options, sources, &mut teller);
    let stage = built.inspect_err(|e| {
        // When somebody else came first, what is there is theirs.
        let theirs = |e: &WorldError| matches!(e, WorldError::NotEmpty(_) | WorldError::Busy(_));
        if !matches!(e, ScenarioError::World(e) if theirs(e)) {
            clear(&options.dir, existed);
        }
    })?;

    teller.step("1. The unprotected twins' copy", |t| copy::twins(&stage, t));
    teller.step("2. The protected copy, without its key", |t| {
        copy::without_key(&stage, t)
    });
    teller.step("3. The protected copy, where its key is", |t| {
        copy::with_key(&stage, t)
    });
    if options.everything.is_some() {
        teller.step("All other attacks of the list", |t| copy::others(&stage, t));
    }
    teller.step("4. The key is rotated", |t| key::rotated(&stage, t));
    teller.step("5. The key is disabled", |t| key::disabled(&stage, t));
    teller.step("6. The key is deleted and purged", |t| {
        key::purged(&stage, t)
    });
    if options.everything.is_none() {
        teller.attacks(copy::left_out());
    }
    let _ = fs::remove_dir_all(&stage.scratch);

    let mut report = teller.finish();
    let canaries = options.dir.join(CANARY_FILE);
    write_atomic(&canaries, &stage.data.canaries.to_json())
        .map_err(|e| ScenarioError::io(&canaries, e))?;
    let written = report.write(&options.dir)?;
    let signed = sign_report(&written.json, &stage.vault)?;
    Ok(Ran {
        report,
        written,
        signed,
    })
}

fn meta(options: &DemoOptions) -> ReportMeta {
    let shown = |path: &Option<PathBuf>| match path {
        Some(path) => path.display().to_string(),
        None => "made up".to_owned(),
    };
    let parameters = [
        ("database", shown(&options.sql)),
        ("files", shown(&options.files)),
        ("rows of made-up data", options.rows.to_string()),
        ("customer key", options.key_kind.to_string()),
    ];
    ReportMeta {
        title: "What a stolen copy is worth".to_owned(),
        command: options.command.clone(),
        generated: Timestamp::now(),
        seed: options.seed,
        parameters: BTreeMap::from(parameters.map(|(name, value)| (name.to_owned(), value))),
    }
}

/// Takes away what was built: all of it is ours, for the directory was missing or empty.
fn clear(dir: &Path, existed: bool) {
    let _ = fs::remove_dir_all(dir);
    if existed {
        let _ = create_dir_private(dir);
    }
}
