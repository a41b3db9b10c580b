use std::path::PathBuf;

use crate::envelope::ResourceKind;
use crate::lab::detect::scan_files;
use crate::lab::{
    Attack, Control, Evidence, Exhibit, Figures, Lab, LabError, Outcome, Searcher, StolenCopy,
};

/// The detectors' figures of an exhibit: of its twin, and of its protected copy.
pub(in crate::lab) fn figures(
    lab: &Lab,
    exhibit: &Exhibit,
    searcher: &Searcher,
) -> Result<(Figures, Figures), LabError> {
    let scan = |copy: &StolenCopy| {
        let root = match exhibit.kind {
            ResourceKind::Sql => copy.path.parent().unwrap_or(&copy.path).to_owned(),
            ResourceKind::Storage | ResourceKind::StorageCatalog => copy.path.clone(),
        };
        scan_files(&root, &files(exhibit.kind, copy)?, searcher, &|_| ())
    };
    let _ = lab;
    Ok((scan(&exhibit.twin)?, scan(&exhibit.protected)?))
}

/// The files of a copy: a database with its log and journal, or everything in an account.
fn files(kind: ResourceKind, copy: &StolenCopy) -> Result<Vec<PathBuf>, LabError> {
    if kind == ResourceKind::Sql {
        let beside = |suffix| {
            let mut name = copy.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let all = ["", "-wal", "-journal"].map(beside);
        return Ok(all.into_iter().filter(|p| p.is_file()).collect());
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(&copy.path).sort_by_file_name() {
        let entry = entry.map_err(|e| LabError::io(&copy.path, e.into()))?;
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
    let (twin, protected) = figures(lab, exhibit, &searcher)?;
    Ok(vec![
        attack.outcome(
            Some("known texts"),
            exhibit,
            known_texts(lab, &twin, &protected),
        ),
        attack.outcome(Some("file structures"), exhibit, structures(&twin, &protected)),
        attack.outcome(Some("statistics"), exhibit, statistics(&twin, &protected)),
    ])
}

fn known_texts(lab: &Lab, twin: &Figures, protected: &Figures) -> Evidence {
    let canaries = lab.canaries.all();
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
        let inside = hit.inside.as_deref().map(|i| format!(" inside {i}")).unwrap_or_default();
        let key = hit.xor_key.map(|k| format!(" XORed with {k:#04x}")).unwrap_or_default();
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

fn structures(twin: &Figures, protected: &Figures) -> Evidence {
    let listed = |f: &Figures| {
        let all = f.structures.iter().map(|(what, n)| format!("{n} times {what}"));
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

fn statistics(twin: &Figures, protected: &Figures) -> Evidence {
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
        if alarms.is_empty() { "none".to_owned() } else { alarms.join(", ") },
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
pub(in crate::lab) fn stable_bytes(_lab: &Lab, _exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    Ok(Vec::new())
}
