use std::path::Path;
use std::sync::Arc;

use crate::envelope::ResourceKind;
use crate::lab::theft::duplicate;
use crate::lab::{
    Attack, Control, Evidence, Exhibit, Lab, LabError, Outcome, StolenCopy, Stranger,
};
use crate::resource::blob::StorageAccount;
use crate::resource::sql::SqlDatabase;
use crate::resource::{Protection, ResourceError, Wrapper};

use super::bout::error_text;
use super::vault::{LabVault, LyingVault, Tenant};

/// Attack 1.
pub(in crate::lab) fn without_the_key(
    lab: &Lab,
    exhibit: &Exhibit,
) -> Result<Vec<Outcome>, LabError> {
    let mut evidence = Evidence::default();
    let made_up = [
        ("a vault without keys", LabVault::empty() as Wrapper),
        (
            "a vault that answers with another key",
            Arc::new(LyingVault) as Wrapper,
        ),
        (
            "another tenant's vault, with a key of the same kind",
            Arc::new(Tenant::default()) as Wrapper,
        ),
    ];
    let made_up = made_up.map(|(name, wrapper)| Stranger {
        name: name.to_owned(),
        wrapper,
    });
    for stranger in made_up.iter().chain(&lab.strangers) {
        let seen = glimpse(
            lab,
            exhibit.kind,
            &exhibit.protected,
            Some(&stranger.wrapper),
        )?;
        note(&mut evidence, exhibit, &stranger.name, seen);
    }
    let seen = glimpse(lab, exhibit.kind, &exhibit.protected, None)?;
    note(
        &mut evidence,
        exhibit,
        "no key, as an unprotected resource",
        seen,
    );
    evidence.summary = format!(
        "{} ways to open it without the right key: {} refused.",
        evidence.tally.trials, evidence.tally.refused
    );
    let plain = glimpse(lab, exhibit.kind, &exhibit.twin, None)?;
    evidence.control = Some(match plain {
        Ok(seen) => Control {
            fired: seen > 0,
            summary: format!(
                "opened without any key; {seen} {} seen.",
                things(exhibit.kind)
            ),
            ..Control::default()
        },
        Err(e) => Control {
            summary: format!("it did not open either: {e}"),
            ..Control::default()
        },
    });
    Ok(vec![Attack::number(1).outcome(None, exhibit, evidence)])
}

fn things(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Sql => "tables, indexes and views",
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => {
            "blob names"
        }
    }
}

fn note(evidence: &mut Evidence, exhibit: &Exhibit, who: &str, seen: Result<u64, String>) {
    evidence.tally.trials += 1;
    match seen {
        Err(e) => {
            evidence.tally.refused += 1;
            evidence.error(format!("{who}: {e}"));
        }
        Ok(n) => {
            evidence.tally.succeeded += 1;
            let what = format!("{who} saw {n} {}", things(exhibit.kind));
            evidence.finding(exhibit.name.clone(), None, what);
        }
    }
}

/// How much of a copy is seen with `wrapper`, or as an unprotected one: schema objects or names.
fn glimpse(
    lab: &Lab,
    kind: ResourceKind,
    copy: &StolenCopy,
    wrapper: Option<&Wrapper>,
) -> Result<Result<u64, String>, LabError> {
    let dir = lab.scratch()?;
    let path = duplicate(&copy.path, dir.path())?;
    let (protection, wrapper) = match wrapper {
        Some(wrapper) => (copy.protection.clone(), wrapper.clone()),
        None => (Protection::Plain, LabVault::empty() as Wrapper),
    };
    let seen = match kind {
        ResourceKind::Sql => schema_objects(&path, copy, protection, &wrapper),
        ResourceKind::Storage | ResourceKind::StorageCatalog | ResourceKind::StorageScope => {
            // A thief is not stopped by a file that says "protected".
            if protection == Protection::Plain {
                let _ = std::fs::remove_file(path.join("account.atrest"));
            }
            blob_names(&path, copy, protection, &wrapper)
        }
    };
    Ok(seen.map_err(|e| error_text(&e, dir.path())))
}

fn schema_objects(
    path: &Path,
    copy: &StolenCopy,
    protection: Protection,
    wrapper: &Wrapper,
) -> Result<u64, ResourceError> {
    let database = SqlDatabase::open(path, copy.id, protection, wrapper)?;
    let connection = database.connect()?;
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })
        .map(i64::unsigned_abs)
        .map_err(|e| database.explain(e))
}

/// Names, as far as their first blob can be read too.
fn blob_names(
    path: &Path,
    copy: &StolenCopy,
    protection: Protection,
    wrapper: &Wrapper,
) -> Result<u64, ResourceError> {
    let account = StorageAccount::open(path, copy.id, protection, wrapper)?;
    let names = account.blobs()?;
    if let Some(first) = names.first() {
        account.get(&first.path(), None, &mut std::io::sink(), &mut |_| ())?;
    }
    Ok(names.len() as u64)
}
