//! Steps 1 to 3: what the stolen copy is worth, without the key and with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::base::SystemClock;
use crate::crypto::KeyKind;
use crate::lab::{self, Figures, FiguresPair, Searcher, Selection, Stranger};
use crate::resource::sql::content_hash;
use crate::vault::VaultSettings;
use crate::world::{InitOptions, Kind, Workspace};

use super::stage::{PROTECTED, Pair, SQL, STORAGE, Stage, TWINS, key_name};
use crate::scenario::ScenarioError;
use crate::scenario::error::reason;
use crate::scenario::figures::{count, size, things};
use crate::scenario::teller::{Seen, Teller};

/// Attacks that ask what the bytes tell to somebody without the key.
const READING: [u8; 6] = [1, 2, 3, 11, 12, 25];
/// Attacks that alter bytes and hope that the owner does not notice.
const ALTERING: [u8; 12] = [4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 30];
/// The environment of the other customer.
const ELSEWHERE: &str = "loot";
/// Where the copy is restored beside its original.
pub(super) const RECOVERY: &str = "recovery";

/// Step 1: the positive control of everything that follows.
pub(super) fn twins(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let database = stage.stolen_copy(Kind::Sql, SQL.twin)?;
    let conn = Connection::open_with_flags(&database.path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let rows = conn
        .and_then(|conn| content_hash(&conn))
        .map(|content| content.rows());
    let rows_seen = match &rows {
        Ok(rows) => format!("opened with plain SQLite, {} read", things(*rows, "row")),
        Err(e) => format!("did not open: {e}"),
    };
    teller.fact(SQL.twin, &rows_seen);

    let searcher = Searcher::new(&stage.data.canaries)?;
    let sql = lab::scan_copy(&database.path, &searcher, &|_| ())?;
    let storage = stage.stolen_copy(Kind::Storage, STORAGE.twin)?;
    let storage = lab::scan_copy(&storage.path, &searcher, &|_| ())?;
    let structures: u64 = storage.structures.values().sum();
    teller.fact(
        STORAGE.twin,
        format!(
            "{} of known file formats carved out of {}",
            things(structures, "structure"),
            size(storage.bytes)
        ),
    );
    let found: BTreeSet<usize> = sql
        .hits
        .iter()
        .chain(&storage.hits)
        .map(|h| h.canary)
        .collect();
    let planted = stage.data.canaries.all();
    let example = found.first().and_then(|&at| planted.get(at));
    teller.fact(
        "Canaries",
        format!(
            "{} of {} found by searching the bytes{}",
            found.len(),
            planted.len(),
            example.map_or_else(String::new, |c| format!(", one is {c}"))
        ),
    );
    let readable = rows.is_ok_and(|rows| rows == stage.data.original.rows());
    let canaries = sql.canary_hits > 0 && storage.canary_hits > 0;
    let summary = format!("{rows_seen}; {} of {} canaries", found.len(), planted.len());
    teller.compare(
        "control-twins",
        "Unprotected, the stolen copy gives everything away: what follows can detect a leak",
        Seen::new(true, summary.clone()),
        Seen::new(readable && canaries && stage.data.twins_are_equal, summary),
    );
    Ok(())
}

/// Step 2: the thief has every byte, and not the key.
pub(super) fn without_key(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let elsewhere = elsewhere(stage)?;
    let protected = Stage::access(&elsewhere, ELSEWHERE, PROTECTED);
    let twins = Stage::access(&elsewhere, ELSEWHERE, TWINS);
    for (name, result) in &protected {
        let seen = match result {
            Ok(()) => "opens".to_owned(),
            Err(e) => format!("does not open: {}", reason(e)),
        };
        teller.fact(&format!("{name}, elsewhere"), seen);
    }
    teller.compare(
        "shut-elsewhere",
        "Restored into another environment with another vault, the copy does not open",
        Seen::refused(protected),
        Seen::worked(twins),
    );

    let searcher = Searcher::new(&stage.data.canaries)?;
    teller.report().canaries(&stage.data.canaries);
    let exhibits = stage.exhibits()?;
    for (exhibit, names) in exhibits.iter().zip([SQL, STORAGE]) {
        let pair = FiguresPair::take(exhibit, &stage.stolen, &searcher)?;
        figures(&names, &pair.plain.figures, &pair.protected.figures, teller);
        teller.report().figures(pair);
    }
    let stranger = Stranger {
        name: "another customer's vault".to_owned(),
        wrapper: elsewhere.wrapper(),
    };
    attacks(stage, vec![stranger], &READING, teller)
}

/// Step 3: the copy is good where its key is, and only unaltered.
pub(super) fn with_key(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let environment = RECOVERY.parse().expect("a name");
    let mut told = |done, total| teller.progress("Restoring", done, total);
    stage
        .workspace
        .restore(&stage.stolen, &environment, &mut told)?;
    let restored = stage.read(RECOVERY)?;
    let same = restored == stage.data.original;
    teller.fact(
        SQL.protected,
        format!(
            "opens: {}, SHA-256 {}",
            things(restored.rows(), "row"),
            short(&restored.sql.sha256())
        ),
    );
    teller.fact(
        "The original",
        format!(
            "{}, SHA-256 {}",
            things(stage.data.original.rows(), "row"),
            short(&stage.data.original.sql.sha256())
        ),
    );
    let blobs = restored.blobs.iter();
    let equal = blobs
        .filter(|(name, blob)| stage.data.original.blobs.get(*name) == Some(blob))
        .count();
    teller.fact(
        STORAGE.protected,
        format!(
            "opens: {} of {} blobs have the SHA-256 of their original",
            count(equal as u64),
            count(stage.data.original.blobs.len() as u64)
        ),
    );
    let summary = match same {
        true => "every table and every blob equals its original",
        false => "the restored copy differs from the original",
    };
    teller.compare(
        "opens-with-key",
        "Restored where its key is, the copy opens and holds the same data",
        Seen::new(same, summary),
        Seen::new(
            stage.data.original.rows() > 0,
            "the original holds rows to compare",
        ),
    );
    attacks(stage, Vec::new(), &ALTERING, teller)
}

/// Another customer's world, with the copy restored into it.
fn elsewhere(stage: &Stage) -> Result<Workspace, ScenarioError> {
    let options = InitOptions {
        environment: ELSEWHERE.parse().expect("a name"),
        customer_key: Some((key_name(), KeyKind::Oct256)),
        passphrase: None,
        vault: VaultSettings::default(),
    };
    let dir = stage.workspace.dir().join("elsewhere");
    let elsewhere = Workspace::init(&dir, options, Arc::new(SystemClock))?;
    let environment = ELSEWHERE.parse().expect("a name");
    elsewhere.restore(&stage.stolen, &environment, &mut |_, _| ())?;
    Ok(elsewhere)
}

/// What the detectors saw, protected beside plain.
fn figures(names: &Pair<&str>, plain: &Figures, sealed: &Figures, teller: &mut Teller<'_>) {
    let row = |figures: &Figures| {
        format!(
            "{:>4} canaries {:>5} structures {:>5.1}% patterned pages, deflates to {:>5.1}%",
            count(figures.canary_hits),
            count(figures.structures.values().sum()),
            100.0 * figures.pages_flagged as f64 / figures.pages.max(1) as f64,
            100.0 * figures.deflate_ratio()
        )
    };
    teller.fact(names.twin, row(plain));
    teller.fact(names.protected, row(sealed));
    let tell = |figures: &Figures| match figures.alarms() {
        alarms if alarms.is_empty() => "no detector fires".to_owned(),
        alarms => format!("these fire: {}", alarms.join(", ")),
    };
    teller.compare(
        &format!("noise/{}", names.protected),
        &format!(
            "To every detector the protected bytes of {} are noise",
            names.protected
        ),
        Seen::new(sealed.alarms().is_empty(), tell(sealed)),
        Seen::new(!plain.alarms().is_empty(), tell(plain)),
    );
}

/// The attacks that are no part of the story.
fn further() -> impl Iterator<Item = &'static lab::Attack> {
    lab::ATTACKS
        .iter()
        .filter(|attack| !READING.contains(&attack.number) && !ALTERING.contains(&attack.number))
}

/// That they were left out.
pub(super) fn left_out() -> Vec<lab::Outcome> {
    further().map(lab::Attack::left_out).collect()
}

/// Between steps 3 and 4: they are tried.
pub(super) fn others(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), ScenarioError> {
    let lab = stage.lab(Vec::new())?;
    let selection = Selection {
        only: further().map(|attack| attack.number).collect(),
        ..Selection::default()
    };
    let progress = |_: usize, _: usize, _: &str| ();
    teller.attacks(lab::run(&lab, &selection, &progress));
    Ok(())
}

fn attacks(
    stage: &Stage,
    strangers: Vec<Stranger>,
    numbers: &[u8],
    teller: &mut Teller<'_>,
) -> Result<(), ScenarioError> {
    let lab = stage.lab(strangers)?;
    let selection = Selection {
        only: numbers.iter().copied().collect(),
        ..Selection::default()
    };
    let outcomes = lab::run(&lab, &selection, &|_, _, _| ());
    teller.attacks(outcomes);
    Ok(())
}

fn short(hash: &str) -> &str {
    &hash[..16.min(hash.len())]
}
