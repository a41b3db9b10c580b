//! Attacks on copies of the working directory's own resources, and the report about them.
//!
//! Over 400 lines because arguments, copies, attacks and report are one run, told in one order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::{create_dir_private, sabotage, write_atomic};
use crate::lab::{
    self, ATTACKS, CANARY_FILE, Claim, Erased, Evidence, FiguresPair, KeyChain, Lab, Report,
    ReportMeta, Run, STOLEN, Scene, Searcher, Selection, Step, Verdict, sign_report,
};
use crate::world::{ResourceAddress, WhichVault, Workspace};

use super::compare;
use super::vault::caller;
use super::{CliError, Context, Outcome, table};

/// Arguments of `atrest prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest prove --list                    what is tried, and against what
  atrest prove                           everything, on every protected resource
  atrest prove --only 6,7,8 --resource sql/ledger
  atrest prove --out evidence            with report.html, .json and .junit.xml, signed
  atrest prove --target plain --target sqlcipher --target atrest
                                         what each of these formats stops
  atrest prove --target disk.img --text 'Kim Akers, IBAN NL91ABNA'
                                         whether a text is anywhere on a disk, in any encoding
  atrest prove --out evidence --keep     and the stolen files, for `atrest report verify`

The working directory is only read: attacks work on copies, in a private temporary directory that
goes away at the end. An unprotected twin of each resource is made there, as the control, so the
data lies there in plain meanwhile. The vaults note each use of a key in their audit records. The key
that signs reports, atrest-report, is made in the customer's vault when it has none.")]
pub struct Args {
    /// Only these attacks, by number
    #[arg(long, value_name = "N", value_delimiter = ',')]
    only: Vec<String>,

    /// Not these attacks
    #[arg(long, value_name = "N", value_delimiter = ',')]
    skip: Vec<String>,

    /// Only this resource: ENVIRONMENT/sql/NAME or ENVIRONMENT/storage/NAME; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    resource: Vec<ResourceAddress>,

    /// Write report.html, report.json and report.junit.xml into this directory, which is made when it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Keep the stolen files in that directory, as `stolen`, and as `canaries.json` the texts that were looked
    /// for, which are pieces of the data in plain
    #[arg(long, requires = "out")]
    keep: bool,

    /// Do not sign the report
    #[arg(long, requires = "out")]
    unsigned: bool,

    /// The same seed makes the same random choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Make the copies below this directory instead of the system's for temporary files
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// List the attacks and do nothing
    #[arg(long)]
    list: bool,

    /// Instead: attack made-up databases of these formats side by side, plain, sqlcipher and atrest; or let
    /// the detectors look at any file, directory, image of a disk or block device, as bytes. May be repeated
    #[arg(long, value_name = "TARGET", conflicts_with_all = ["only", "skip", "resource", "out", "list"])]
    target: Vec<String>,

    /// Search those bytes for this text (its first 48 bytes), in every encoding; may be repeated. The exit code is 1 when it is there
    #[arg(long, value_name = "TEXT", requires = "target")]
    text: Vec<String>,
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    if !args.target.is_empty() {
        return compare::run(
            &args.target,
            &args.text,
            args.scratch.as_deref(),
            args.seed,
            context,
        );
    }
    let selection = Selection {
        resources_only: !args.resource.is_empty(),
        ..Selection::parse(&args.only, &args.skip)?
    };
    if !ATTACKS.iter().any(|a| selection.contains(a.number)) {
        return Err(nothing_tried());
    }
    if args.list {
        return list(&selection, context);
    }
    if let Some(out) = &args.out {
        room(out, args.keep)?;
    }
    let workspace = context.workspace()?;
    let dir = scratch_dir(args.scratch.as_deref())?;
    let started = Instant::now();
    let progress = context.output().progress("Stealing");
    let mut told = |done, total| progress.set(done, total);
    let scene = lab::set_scene(&workspace, &args.resource, dir.path(), args.seed, &mut told)?;
    drop(progress);
    let theft = step("The theft, and the unprotected twins", started);
    let canaries = scene.canaries.to_json();
    let mut report = report(
        args,
        &selection,
        &workspace,
        scene,
        theft,
        dir.path(),
        context,
    )?;
    let written = match &args.out {
        None => None,
        Some(out) => {
            if args.keep {
                keep(&dir.path().join(STOLEN), &canaries, out)?;
            }
            let written = report.write(out)?;
            let signed = match args.unsigned {
                true => None,
                false => {
                    let vault = workspace.keys(&WhichVault::Customer, &caller())?;
                    Some(sign_report(&written.json, &*vault)?)
                }
            };
            Some((written, signed))
        }
    };
    context.output().answer(&report, |text| {
        text.push_str(&verdicts(report.claims()));
        if let Some((files, signed)) = &written {
            text.push_str(&format!("\nFor people    {}\n", files.html.display()));
            text.push_str(&format!("For machines  {}\n", files.json.display()));
            text.push_str(&format!("JUnit XML     {}\n", files.junit.display()));
            text.push_str(&match signed {
                Some(s) => format!(
                    "Signature     {}, by the key {}\n",
                    s.path.display(),
                    s.thumbprint
                ),
                None => "Signature     none\n".to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(match report.exit_code() {
        0 => Outcome::Holds,
        _ => Outcome::ClaimFails,
    })
}

fn report(
    args: &Args,
    selection: &Selection,
    workspace: &Workspace,
    scene: Scene,
    theft: Step,
    scratch: &Path,
    context: &Context,
) -> Result<Report, CliError> {
    let mut parameters = BTreeMap::from([("attacks".to_owned(), chosen(args))]);
    parameters.extend(sabotage::told().map(|told| ("engine".to_owned(), told)));
    let mut report = Report::new(ReportMeta {
        title: "What a stolen copy is worth".to_owned(),
        command: "atrest prove".to_owned(),
        generated: Timestamp::now(),
        seed: args.seed,
        parameters,
    });
    report.step(theft);
    report.stolen("everything but the vaults", scene.manifest);
    for (resource, why) in scene.without_twin {
        let stolen = scratch.join(STOLEN);
        if let Some(gone) = Erased::of(workspace, &resource, &stolen, &why, &caller())? {
            gone.claims()?.into_iter().for_each(|c| report.claim(c));
            continue;
        }
        report.claim(Claim {
            id: format!("twin/{resource}"),
            text: format!("The attacks on {resource} have a control."),
            verdict: Verdict::Inconclusive,
            evidence: Evidence::of(format!(
                "No unprotected twin could be made, and so no attack on it proves anything: {why}. When it can be \
                 read again, prove again."
            )),
        });
    }
    for resource in scene.plain {
        report.claim(Claim {
            id: format!("plain/{resource}"),
            text: format!("{resource} is of no use to a thief."),
            verdict: Verdict::NotProtected,
            evidence: Evidence {
                reason: Some("no protection was chosen for it: `atrest protect` does".to_owned()),
                ..Evidence::of("It is stored as it is.")
            },
        });
    }
    for file in scene.readable {
        let path = file.path.display();
        report.claim(Claim {
            id: format!("readable/{path}"),
            text: format!("{path} is of no use to a thief."),
            verdict: Verdict::NotProtected,
            evidence: Evidence {
                reason: Some(
                    "it is no part of a resource, so nothing protects it: a backup from before, say, or an \
                     export. Move it away, or remove it"
                        .to_owned(),
                ),
                ..Evidence::of(format!("It can be read: {}.", file.why.join(", ")))
            },
        });
    }
    let lab = Lab {
        exhibits: scene.exhibits,
        owner: workspace.wrapper(),
        strangers: Vec::new(),
        vaults: scene.vaults,
        canaries: scene.canaries,
        seed: args.seed,
        scratch: scratch.to_owned(),
        program: std::env::current_exe().ok(),
    };
    let started = Instant::now();
    report.canaries(&lab.canaries);
    let searcher = Searcher::new(&lab.canaries)?;
    for exhibit in &lab.exhibits {
        report.figures(FiguresPair::take(
            exhibit,
            &scratch.join(STOLEN),
            &searcher,
        )?);
        if let Some(chain) = key_chain(workspace, exhibit)? {
            report.keys(chain);
        }
    }
    report.step(step("What the detectors see", started));
    let started = Instant::now();
    let progress = context.output().progress("Attacking");
    let outcomes = lab::run(&lab, selection, &|done, total, _| {
        progress.set(done as u64, total as u64);
    });
    // Where a resource could not be attacked, the report says more than this.
    let chosen_in_vain = !selection.only.is_empty() && report.exit_code() == 0;
    if outcomes.is_empty() && (!lab.exhibits.is_empty() || chosen_in_vain) {
        return Err(nothing_tried());
    }
    outcomes
        .into_iter()
        .for_each(|outcome| report.claim(outcome));
    report.step(step("The attacks", started));
    Ok(report)
}

/// What tries nothing is no proof.
fn nothing_tried() -> CliError {
    CliError::new(
        "nothing was tried: none of the chosen attacks is on what was chosen",
        "`atrest prove --list` says what each is on",
    )
}

/// A step of the run that ends now.
fn step(title: &str, started: Instant) -> Step {
    Step {
        title: title.to_owned(),
        lines: Vec::new(),
        seconds: started.elapsed().as_secs_f64(),
    }
}

/// A private directory that goes away with its handle.
pub(super) fn scratch_dir(below: Option<&Path>) -> Result<tempfile::TempDir, CliError> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("atrest-prove-");
    let dir = match below {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir(),
    };
    dir.map_err(|e| {
        let place = below.map_or_else(std::env::temp_dir, Path::to_owned);
        CliError::at(&place, e, "name another directory with --scratch")
    })
}

/// The directory for the report, and room in it for what is kept: before the work, not after it.
fn room(out: &Path, keep: bool) -> Result<(), CliError> {
    create_dir_private(out)
        .map_err(|e| CliError::at(out, e, "give a directory that can be written to"))?;
    let stolen = out.join(STOLEN);
    match keep && stolen.exists() {
        true => Err(CliError::at(
            &stolen,
            "is there already",
            "give another directory, or remove it",
        )),
        false => Ok(()),
    }
}

/// Keeps the stolen files and the known texts beside the report.
fn keep(stolen: &Path, canaries: &[u8], out: &Path) -> Result<(), CliError> {
    lab::steal(
        stolen,
        &[stolen.to_owned()],
        &out.join(STOLEN),
        &mut |_, _| (),
    )?;
    let path = out.join(CANARY_FILE);
    write_atomic(&path, canaries)
        .map_err(|e| CliError::at(&path, e, "give a directory that can be written to"))
}

fn key_chain(workspace: &Workspace, exhibit: &lab::Exhibit) -> Result<Option<KeyChain>, CliError> {
    let Some(key) = exhibit.protected.protection.key() else {
        return Ok(None);
    };
    for (which, id, _) in workspace.vaults()? {
        if id == key.vault {
            let bundle = workspace.keys(&which, &caller())?.key(&key.name, None)?;
            let id = key.to_string();
            return Ok(Some(KeyChain::new(
                exhibit.name.clone(),
                id,
                bundle.kind,
                exhibit.kind,
            )));
        }
    }
    Ok(None)
}

fn chosen(args: &Args) -> String {
    let numbers = |all: &[String]| all.join(", ");
    match (args.only.is_empty(), args.skip.is_empty()) {
        (true, true) => "all".to_owned(),
        (false, true) => numbers(&args.only),
        (true, false) => format!("all but {}", numbers(&args.skip)),
        (false, false) => format!("{} but {}", numbers(&args.only), numbers(&args.skip)),
    }
}

fn verdicts(claims: &[Claim]) -> String {
    let rows: Vec<Vec<String>> = claims
        .iter()
        .map(|claim| {
            let why = claim.evidence.reason.iter().map(|r| format!(" Why: {r}"));
            let summary = claim.evidence.summary.clone() + &why.collect::<String>();
            vec![claim.verdict.to_string(), claim.text.clone(), summary]
        })
        .collect();
    table(&["verdict", "claim", "what was seen"], &[], &rows)
}

#[derive(Serialize)]
struct Listed {
    number: u8,
    name: &'static str,
    claim: &'static str,
    against: Vec<String>,
}

fn list(selection: &Selection, context: &Context) -> Result<Outcome, CliError> {
    let attacks = ATTACKS.iter().filter(|a| selection.contains(a.number));
    let listed: Vec<Listed> = attacks
        .map(|attack| Listed {
            number: attack.number,
            name: attack.name,
            claim: attack.claim,
            against: match attack.run {
                Run::Each(kinds, _) => {
                    let vaults = attack.on_vaults.map(|_| "each vault".to_owned());
                    let kinds = kinds.iter().map(|kind| format!("each {kind}"));
                    kinds.chain(vaults).collect()
                }
                Run::Once(target, _) => vec![target.to_owned()],
            },
        })
        .collect();
    context.output().answer(&listed, |text| {
        let row = |a: &Listed| {
            vec![
                a.number.to_string(),
                a.name.to_owned(),
                a.claim.to_owned(),
                a.against.join(", "),
            ]
        };
        let rows: Vec<Vec<String>> = listed.iter().map(row).collect();
        let header = [
            "",
            "what the thief does",
            "what correct protection shows",
            "against",
        ];
        text.push_str(&table(&header, &[0], &rows));
        Ok(())
    })?;
    Ok(Outcome::Holds)
}
