use std::collections::BTreeSet;
use std::path::PathBuf;

use askama::Template;

use crate::base::write_atomic;
use crate::world::Name;
use crate::world::landscape::{Coverage, CoverageRow, CoveredBy, Proof, Tried, Verdict};

use super::{caught_up, workspace};
use crate::cli::{CliError, Context, Outcome, table};

/// Arguments of `atrest coverage`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  atrest coverage prod                              one row per resource, offer, add-in and service
  atrest coverage prod --html coverage.html --write-json coverage.json
  atrest coverage --all --json
  atrest coverage prod --prove                      and what of it opens with the key pulled

A row says what the documentation says and what is so now: a supported offer without integration is under the
Microsoft-managed key. \"STALE\" is a promise whose date has passed. --prove reads each resource twice, once with every
key of the customer's refused: what is covered must be closed then, and what is not must open. Nothing is changed.
Exit code 1: a resource did otherwise, or could not be read to begin with.")]
pub struct Args {
    /// The environment, by its finance and operations or its Dataverse name
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    environment: Option<Name>,

    /// Every environment
    #[arg(long)]
    all: bool,

    /// Try what opens with the customer's keys pulled, without pulling them for anybody else
    #[arg(long)]
    prove: bool,

    /// Write it to FILE as a page that opens offline, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write it to FILE as JSON, too
    #[arg(long, value_name = "FILE")]
    write_json: Option<PathBuf>,
}

#[derive(Template)]
#[template(path = "coverage.html")]
struct Page<'a> {
    all: &'a [Coverage],
}

pub fn run(args: &Args, context: &Context) -> Result<Outcome, CliError> {
    let workspace = workspace(context)?;
    let landscape = caught_up(&workspace)?;
    let mut all = match &args.environment {
        Some(name) => vec![landscape.coverage(name.as_str())?],
        None => landscape.coverage_of_all()?,
    };
    if args.prove {
        all.iter_mut()
            .try_for_each(|coverage| landscape.prove(coverage))?;
    }
    let write = |file: &PathBuf, bytes: &[u8]| {
        let written = write_atomic(file, bytes);
        written
            .map_err(|e| CliError::at(file, e, "name a file in a directory that you can write to"))
    };
    if let Some(file) = &args.html {
        let page = Page { all: &all }.render();
        let page = page.map_err(|e| CliError::new(e, "tell its maintainers"))?;
        write(file, page.as_bytes())?;
    }
    if let Some(file) = &args.write_json {
        let json = serde_json::to_vec_pretty(&all);
        write(
            file,
            &json.map_err(|e| CliError::new(e, "tell its maintainers"))?,
        )?;
    }
    let text = |text: &mut String| {
        all.iter()
            .try_for_each(|coverage| write_text(text, coverage))
    };
    match (&args.environment, all.as_slice()) {
        (Some(_), [one]) => context.output().answer(one, text)?,
        _ => context.output().answer(&all, text)?,
    }
    let mut tried = all.iter().filter_map(|coverage| coverage.pulled.as_ref());
    let holds = tried.all(|tried| tried.iter().all(|one| one.proof == Proof::Holds));
    Ok(match holds {
        true => Outcome::Holds,
        false => Outcome::ClaimFails,
    })
}

fn write_text(text: &mut String, coverage: &Coverage) -> std::fmt::Result {
    use std::fmt::Write;
    write!(text, "{}", coverage.environment)?;
    if let Some(power) = coverage
        .power
        .as_ref()
        .filter(|power| **power != coverage.environment)
    {
        write!(text, " (Dataverse organisation {power})")?;
    }
    writeln!(
        text,
        ": {}, by the profile {}, {:.0}. State: {}\n",
        coverage.verdict, coverage.profile, coverage.as_of, coverage.state
    )?;
    let rows: Vec<_> = coverage.rows.iter().map(cells).collect();
    let header = [
        "what", "kind", "verdict", "under", "why", "as of", "promise",
    ];
    writeln!(text, "{}", table(&header, &[], &rows))?;
    let sources: BTreeSet<_> = (coverage.rows.iter())
        .map(|row| (row.as_of, row.source))
        .collect();
    for (as_of, source) in sources {
        writeln!(text, "As of {as_of}: \"{source}\"")?;
    }
    if let Some(tried) = &coverage.pulled {
        let rows: Vec<_> = tried.iter().map(tried_cells).collect();
        let header = ["with the customer's keys pulled", "under", "seen", "proof"];
        write!(text, "\n{}", table(&header, &[], &rows))?;
    }
    writeln!(text)
}

fn tried_cells(tried: &Tried) -> Vec<String> {
    let under = match tried.customers {
        true => "the customer's key",
        false => "no key of the customer's",
    };
    vec![
        tried.subject.clone(),
        under.to_owned(),
        seen(tried).to_owned(),
        tried.proof.to_string(),
    ]
}

fn seen(tried: &Tried) -> &str {
    match (&tried.refused, &tried.refused_when_pulled) {
        (Some(_), _) => "refused before the key was pulled",
        (None, Some(_)) => "refused",
        (None, None) => "opens",
    }
}

fn cells(row: &CoverageRow) -> Vec<String> {
    vec![
        row.subject.clone(),
        row.kind.to_owned(),
        row.verdict.to_string(),
        under(&row.protected),
        row.why.clone(),
        row.as_of.to_owned(),
        promise(row),
    ]
}

fn under(by: &CoveredBy) -> String {
    match by {
        CoveredBy::Customer { key } => {
            let name = key.split("/keys/").nth(1).unwrap_or(key);
            format!(
                "the customer's key {}",
                &name[..name.len().min(name.find('/').map_or(80, |at| at + 9))]
            )
        }
        CoveredBy::Microsoft => "the Microsoft-managed key".into(),
        CoveredBy::Both => "both keys".into(),
        CoveredBy::Nobody => "no key here".into(),
    }
}

fn promise(row: &CoverageRow) -> String {
    match (row.promise, row.promise_is_stale) {
        (None, _) => "-".into(),
        (Some(text), true) => format!("{text} (STALE)"),
        (Some(text), false) => text.to_owned(),
    }
}

fn proof_class(proof: &Proof) -> &'static str {
    match proof {
        Proof::Holds => "holds",
        Proof::Fails => "fails",
        Proof::Inconclusive => "open",
    }
}

fn class(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Covered => "holds",
        Verdict::Locked | Verdict::Partial => "open",
        _ => "fails",
    }
}
