//! What is told by names, sizes, counts and times.

use crate::envelope::ResourceKind;
use crate::lab::{Attack, Control, Evidence, Exhibit, Lab, LabError, Outcome, StolenCopy};
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::resource::{Protection, Wrapper};

use super::account::Account;
use super::alter::len;
use super::known::Known;
use super::leak::files_of;
use super::vault::LabVault;
use crate::lab::theft::duplicate;
use crate::lab::{Canary, CanaryOrigin, CanarySet};

/// Attack 24.
pub(in crate::lab) fn infer(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(24);
    let (names, sizes) = look_inside(lab, exhibit)?;
    Ok(vec![
        attack.outcome(
            Some("names of tables, columns and blobs"),
            exhibit,
            search_names(exhibit, &names)?,
        ),
        attack.declared(
            "sizes and counts",
            exhibit,
            told_sizes(lab, exhibit, sizes)?,
            "sizes tell how much there is: a database's pages, each blob's length, how many there are; and the \
             file system tells when each was written. Padding would cost space, and is not done.",
        ),
    ])
}

/// Names, and the size of each blob in bytes; of a database only names.
type Inside = (Vec<String>, Vec<u64>);

/// What the twin says, which holds the same data: so that no key is needed.
fn look_inside(lab: &Lab, exhibit: &Exhibit) -> Result<Inside, LabError> {
    let dir = lab.scratch()?;
    let path = duplicate(&exhibit.twin.path, dir.path())?;
    let none: Wrapper = LabVault::empty();
    let (id, plain) = (exhibit.twin.id, Protection::Plain);
    if exhibit.kind == ResourceKind::Sql {
        let connection = SqlDatabase::open(&path, id, plain, &none)?.connect()?;
        let mut schema = connection.prepare("SELECT sql FROM sqlite_schema WHERE sql NOT NULL")?;
        let names = schema.query_map([], |row| row.get(0))?;
        return Ok((names.collect::<Result<_, _>>()?, Vec::new()));
    }
    let blobs = StorageAccount::open(&path, id, plain, &none)?.blobs()?;
    let names = blobs
        .iter()
        .map(|blob| blob.path().name.as_str().to_owned());
    Ok((
        names.collect(),
        blobs.iter().map(|blob| blob.size).collect(),
    ))
}

fn search_names(exhibit: &Exhibit, names: &[String]) -> Result<Evidence, LabError> {
    let fit = |name: &&String| Canary::new(name.as_bytes(), CanaryOrigin::Planted).is_some();
    let step = names.len().div_ceil(CanarySet::MAX).max(1);
    let some: Vec<&String> = names.iter().filter(fit).step_by(step).collect();
    let look = |copy: &StolenCopy| -> Result<u64, LabError> {
        let files = files_of(exhibit.kind, copy)?;
        let known = Known::new(&some)?;
        // The names of files and directories are read as well.
        let paths: Vec<_> = files
            .iter()
            .filter_map(|f| f.strip_prefix(&copy.path).ok())
            .collect();
        let paths = paths
            .iter()
            .map(|p| p.to_string_lossy())
            .collect::<Vec<_>>()
            .join("\n");
        let in_paths = known.in_bytes("names", paths.as_bytes()).canary_hits;
        Ok(known.in_files(&files)?.canary_hits + in_paths)
    };
    let (found, control) = (look(&exhibit.protected)?, look(&exhibit.twin)?);
    let mut evidence = Evidence::of(format!(
        "{} of {} names, those long enough to be told from chance, looked for in bytes and file names: {found} found.",
        some.len(),
        names.len()
    ));
    evidence.tally.trials = some.len() as u64;
    evidence.tally.succeeded = found.min(evidence.tally.trials);
    evidence.tally.refused = evidence.tally.trials - evidence.tally.succeeded;
    evidence.control = Some(Control {
        fired: control > 0,
        summary: format!("found {control} times."),
        ..Control::default()
    });
    Ok(evidence)
}

/// How many pages the copy itself has: its twin was made anew, and may have others.
fn pages(lab: &Lab, exhibit: &Exhibit) -> Result<u64, LabError> {
    let dir = lab.scratch()?;
    let copy = &exhibit.protected;
    let path = duplicate(&copy.path, dir.path())?;
    let database = SqlDatabase::open(&path, copy.id, copy.protection.clone(), &lab.owner)?;
    let connection = database.connect()?;
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    Ok(pages.unsigned_abs())
}

fn told_sizes(lab: &Lab, exhibit: &Exhibit, mut sizes: Vec<u64>) -> Result<Evidence, LabError> {
    let mut lengths = Vec::new();
    let mut slack = 0;
    if exhibit.kind == ResourceKind::Sql {
        // In the main file, still in its log, or some in each. A page may be in the log more than once.
        let page = u64::from(super::sql::page_size(exhibit)?.get());
        for file in files_of(exhibit.kind, &exhibit.protected)? {
            lengths.push(len(&file)? / page);
        }
        lengths.push(lengths.iter().sum());
        sizes.push(pages(lab, exhibit)?);
        slack = sizes[0] / 4 + 2;
    } else {
        let account = Account {
            dir: exhibit.protected.path.clone(),
            id: exhibit.protected.id,
            protection: exhibit.protected.protection.clone(),
            wrapper: LabVault::empty(),
        };
        for extent in account.extents()? {
            lengths.push(account.blob_len(&extent)?);
        }
    }
    let mut evidence = Evidence::default();
    for size in &sizes {
        evidence.tally.trials += 1;
        match lengths.iter().position(|len| len.abs_diff(*size) <= slack) {
            Some(at) => {
                lengths.swap_remove(at);
                evidence.tally.succeeded += 1;
            }
            None => evidence.tally.refused += 1,
        }
    }
    let what = match exhibit.kind {
        ResourceKind::Sql => "numbers of pages told to within a quarter",
        _ => "lengths of blobs told to the last byte",
    };
    evidence.summary = format!(
        "{} of {} {what} by the lengths of sealed files.",
        evidence.tally.succeeded, evidence.tally.trials
    );
    // The design hides no size. So a run that does not read them off proves nothing, and never that it holds.
    evidence.control = Some(Control {
        fired: false,
        summary: "a plain file's length is its data's: nothing is compared with it.".to_owned(),
        ..Control::default()
    });
    Ok(evidence)
}
