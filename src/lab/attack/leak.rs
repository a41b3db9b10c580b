use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::envelope::ResourceKind;
use crate::lab::detect::scan_files;
use crate::lab::tools::Tool;
use crate::lab::{
    Attack, CanarySet, Control, Evidence, Exhibit, Figures, Lab, LabError, Outcome, Searcher,
    StolenCopy, Verdict,
};
use crate::sqlite::{PageSize, database_files};

use super::account::{Account, text};
use super::alter::read_all;
use super::bout::both_arms;
use super::database::Database;
use super::sql::page_size;
use super::vault::Arm;

/// The detectors' figures of a resource of `kind` whose copy is at `path`.
pub(in crate::lab) fn look(
    kind: ResourceKind,
    path: &Path,
    searcher: &Searcher,
) -> Result<Figures, LabError> {
    let root = match kind {
        ResourceKind::Sql => path.parent().unwrap_or(path),
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => path,
    };
    scan_files(root, &files_at(kind, path)?, searcher, &|_| ())
}

/// The files of a stolen copy.
pub(super) fn files_of(kind: ResourceKind, copy: &StolenCopy) -> Result<Vec<PathBuf>, LabError> {
    files_at(kind, &copy.path)
}

/// A database with its log and journal, or everything in an account.
pub(in crate::lab) fn files_at(kind: ResourceKind, path: &Path) -> Result<Vec<PathBuf>, LabError> {
    if kind == ResourceKind::Sql {
        return Ok(database_files(path));
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|e| LabError::io(path, e.into()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// Attack 2.
pub(in crate::lab) fn search(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(2);
    let searcher = Searcher::new(&lab.canaries)?;
    let twin = look(exhibit.kind, &exhibit.twin.path, &searcher)?;
    let protected = look(exhibit.kind, &exhibit.protected.path, &searcher)?;
    let mut outcomes = vec![
        attack.outcome(
            Some("known texts"),
            exhibit,
            known_texts(&lab.canaries, &twin, &protected),
        ),
        attack.outcome(
            Some("file structures"),
            exhibit,
            structures(&twin, &protected),
        ),
        attack.outcome(Some("statistics"), exhibit, statistics(&twin, &protected)),
    ];
    for outcome in &mut outcomes[..2] {
        not_all_opened(outcome, &protected);
    }
    let tools = Tool::SEARCHING.into_iter();
    let (here, absent): (Vec<Tool>, Vec<Tool>) = tools.partition(|tool| tool.is_here());
    let (evidence, failed) = with_tools(lab, exhibit, &here)?;
    if failed.len() < here.len() {
        outcomes.push(attack.outcome(Some("standard tools"), exhibit, evidence));
    }
    let last = outcomes.last_mut().expect("there are three at least");
    last.evidence.summary.push_str(&without(&absent));
    for (tool, how) in failed {
        let part = format!("standard tools: {}", tool.program());
        outcomes.push(attack.outcome(Some(&part), exhibit, Evidence::of(how)));
    }
    Ok(outcomes)
}

/// What was not opened may hold anything.
fn not_all_opened(outcome: &mut Outcome, figures: &Figures) {
    if figures.members_passed == 0 {
        return;
    }
    outcome.evidence.summary.push_str(&format!(
        " {} beginnings of compressed members were not followed, since too many others were open.",
        figures.members_passed
    ));
    if outcome.verdict == Verdict::Holds {
        outcome.verdict = Verdict::Inconclusive;
    }
}

/// Which tools are missing, in a sentence.
fn without(absent: &[Tool]) -> String {
    match absent {
        [] => String::new(),
        some => {
            let names: Vec<_> = some.iter().map(|tool| tool.program()).collect();
            format!(" Not installed, so not asked: {}.", names.join(", "))
        }
    }
}

/// Standard tools over both copies, and those that failed, with what they said. One that finds nothing in the
/// twin says nothing of the other.
fn with_tools(
    lab: &Lab,
    exhibit: &Exhibit,
    tools: &[Tool],
) -> Result<(Evidence, Vec<(Tool, String)>), LabError> {
    let scratch = lab.scratch()?;
    let find = |tool: Tool, copy: &StolenCopy| {
        tool.finds(
            &files_of(exhibit.kind, copy)?,
            &lab.canaries,
            scratch.path(),
        )
    };
    let (mut evidence, mut told, mut control) = (Evidence::default(), Vec::new(), Vec::new());
    let (mut fired, mut failed) = (0, Vec::new());
    for &tool in tools {
        let both = find(tool, &exhibit.twin)
            .and_then(|in_twin| Ok((in_twin, find(tool, &exhibit.protected)?)));
        let (in_twin, found) = match both {
            Err(e @ LabError::Tool { .. }) => {
                failed.push((tool, format!("{e}. What it did not find proves nothing.")));
                continue;
            }
            both => both?,
        };
        control.push(format!("{} {in_twin}", tool.program()));
        told.push(format!("{} {found}", tool.program()));
        fired += u64::from(in_twin > 0);
        if in_twin > 0 || found > 0 {
            evidence.tally.trials += 1;
            match found {
                0 => evidence.tally.refused += 1,
                n => {
                    evidence.tally.succeeded += 1;
                    let what = format!("{} finds {n}", tool.program());
                    evidence.finding(exhibit.name.clone(), None, what);
                }
            }
        }
    }
    evidence.summary = format!("Found in the protected copy: {}.", told.join(", "));
    evidence.control = Some(Control {
        fired: fired > 0,
        summary: format!("found: {}.", control.join(", ")),
        ..Control::default()
    });
    Ok((evidence, failed))
}

pub(super) fn known_texts(canaries: &CanarySet, twin: &Figures, protected: &Figures) -> Evidence {
    let canaries = canaries.all();
    let mut evidence = Evidence::of(format!(
        "{} known texts looked for in {} bytes, in every encoding: {} found.",
        canaries.len(),
        protected.bytes,
        protected.canary_hits
    ));
    evidence.tally.trials = canaries.len() as u64;
    evidence.tally.succeeded = protected.canary_hits.min(evidence.tally.trials);
    evidence.tally.refused = evidence.tally.trials - evidence.tally.succeeded;
    for hit in &protected.hits {
        let inside = hit
            .inside
            .as_deref()
            .map(|i| format!(" inside {i}"))
            .unwrap_or_default();
        let key = hit
            .xor_key
            .map(|k| format!(" XORed with {k:#04x}"))
            .unwrap_or_default();
        let what = format!("{} as {}{key}{inside}", canaries[hit.canary], hit.encoding);
        evidence.finding(hit.file.clone(), Some(hit.offset), what);
    }
    evidence.control = Some(Control {
        fired: twin.canary_hits > 0,
        summary: format!("found {} times in {} bytes.", twin.canary_hits, twin.bytes),
        ..Control::default()
    });
    evidence
}

pub(super) fn structures(twin: &Figures, protected: &Figures) -> Evidence {
    let listed = |f: &Figures| {
        let all = f
            .structures
            .iter()
            .map(|(what, n)| format!("{n} times {what}"));
        match all.collect::<Vec<_>>() {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        }
    };
    let found = protected.structures.values().sum();
    let mut evidence = Evidence::of(format!(
        "File signatures, b-tree pages and compressed members at every offset of {} bytes: {}.",
        protected.bytes,
        listed(protected)
    ));
    evidence.tally.trials = 1.max(found);
    evidence.tally.succeeded = found;
    evidence.tally.refused = evidence.tally.trials - found;
    for magic in &protected.magics {
        evidence.finding(magic.file.clone(), Some(magic.offset), magic.what.clone());
    }
    evidence.control = Some(Control {
        fired: !twin.structures.is_empty(),
        summary: format!("{}.", listed(twin)),
        ..Control::default()
    });
    evidence
}

pub(super) fn statistics(twin: &Figures, protected: &Figures) -> Evidence {
    let statistical = |f: &Figures| {
        let all = f.alarms().into_iter();
        all.filter(|a| !matches!(*a, "canaries" | "file structures"))
            .collect::<Vec<_>>()
    };
    const DETECTORS: u64 = 5;
    let alarms = statistical(protected);
    let mut evidence = Evidence::of(format!(
        "Chi-square of all bytes {:.0}; {} of {} pages above {}; deflate to {:.1} %; {} repeated \
         blocks; {} neighbours under one keystream. Alarms: {}.",
        protected.chi_square(),
        protected.pages_flagged,
        protected.pages,
        crate::lab::CHI_SQUARE_LIMIT,
        100.0 * protected.deflate_ratio(),
        protected.blocks_repeated,
        protected.pairs_flagged,
        if alarms.is_empty() {
            "none".to_owned()
        } else {
            alarms.join(", ")
        },
    ));
    evidence.tally.trials = DETECTORS;
    evidence.tally.succeeded = alarms.len() as u64;
    evidence.tally.refused = DETECTORS - evidence.tally.succeeded;
    let plain = statistical(twin);
    evidence.control = Some(Control {
        fired: !plain.is_empty(),
        summary: format!("alarms: {}.", plain.join(", ")),
        ..Control::default()
    });
    evidence
}

/// Attack 3.
pub(in crate::lab) fn stable_bytes(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let evidence = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => equal_over_databases(dir, arm, page_size(exhibit)?),
        _ => equal_over_extents(dir, arm),
    })?;
    Ok(vec![Attack::number(3).outcome(
        Some("specimens"),
        exhibit,
        evidence,
    )])
}

/// How many databases are compared; and how many extents.
const DATABASES: u32 = 50;
const EXTENTS: u32 = 16;

fn equal_over_databases(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    // The control needs a few only: they are all alike.
    let (count, header) = match arm.is_protected() {
        true => (DATABASES, 4096),
        false => (DATABASES / 5, 0),
    };
    let make = |i: u32| read_all(&Database::empty(dir, &i.to_string(), arm, size)?);
    let files: Vec<_> = (0..count)
        .into_par_iter()
        .map(make)
        .collect::<Result<_, _>>()?;
    Ok(stable(&files, header, "databases"))
}

fn equal_over_extents(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let account = Account::specimen(&dir.join("equal"), arm)?;
    let mut files = Vec::new();
    for i in 0..EXTENTS {
        files.push(account.put(&format!("{i}.txt"), text(1, 8000))?.sealed()?);
    }
    Ok(stable(&files, account.layout().0, "extents of equal blobs"))
}

/// Positions at which all files have the same byte. Random bytes agree at none: the chance is
/// 256^-15 for each, or less.
fn stable(files: &[Vec<u8>], header: usize, what: &str) -> Evidence {
    let shortest = files.iter().map(Vec::len).min().unwrap_or(0);
    let equal = |at: &usize| files.iter().all(|f| f[*at] == files[0][*at]);
    let in_header = (0..header.min(shortest)).filter(equal).count();
    let found: Vec<usize> = (header..shortest).filter(equal).collect();
    let documented = match header {
        0 => String::new(),
        _ => format!(" Their documented headers share {in_header} of {header} bytes."),
    };
    let mut evidence = Evidence::of(format!(
        "{} {what} compared at {} places: equal at {}.{documented}",
        files.len(),
        shortest.saturating_sub(header),
        found.len()
    ));
    evidence.tally.trials = shortest.saturating_sub(header) as u64;
    evidence.tally.succeeded = found.len() as u64;
    evidence.tally.refused = evidence.tally.trials - evidence.tally.succeeded;
    for at in found {
        let value = format!("the byte {:#04x} in all of them", files[0][at]);
        evidence.finding("specimen", Some(at as u64), value);
    }
    evidence
}
