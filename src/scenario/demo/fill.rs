//! Puts the data into the protected resources and into their twins, both at once.

use std::time::Instant;

use crate::lab::{CanarySet, KeyChain};
use crate::resource::Protection;
use crate::resource::sql::SqlDatabase;
use crate::sqlite::PageSize;
use crate::vault::KeyVault;
use crate::world::{Kind, WhichVault, Workspace};

use super::source::{Sources, SqlSource};
use super::stage::{ENVIRONMENT, Pair, SQL, STORAGE, address};
use crate::scenario::ScenarioError;
use crate::scenario::figures::{count, size, things};
use crate::scenario::measure::Fingerprint;
use crate::scenario::teller::Teller;

/// What was put in.
pub(super) struct Data {
    pub(super) original: Fingerprint,
    /// Whether the twins hold the same: what no comparison means anything without.
    pub(super) twins_are_equal: bool,
    pub(super) canaries: CanarySet,
}

/// Makes and fills all four resources, and closes them.
pub(super) fn fill(
    workspace: &Workspace,
    sources: &Sources,
    teller: &mut Teller<'_>,
) -> Result<Data, ScenarioError> {
    let started = Instant::now();
    let protection = workspace.default_protection();
    let sql = fill_sql(workspace, &sources.sql, &protection, teller)?;
    let storage = Pair {
        protected: workspace.create_storage(
            &address(ENVIRONMENT, Kind::Storage, STORAGE.protected),
            protection,
        )?,
        twin: workspace.create_storage(
            &address(ENVIRONMENT, Kind::Storage, STORAGE.twin),
            Protection::Plain,
        )?,
    };
    let total = sources.blobs.len() as u64;
    std::thread::scope(|scope| {
        let twin = scope.spawn(|| {
            sources
                .blobs
                .iter()
                .try_for_each(|blob| blob.put(&storage.twin).map(drop))
        });
        for (done, blob) in (1..).zip(&sources.blobs) {
            blob.put(&storage.protected)?;
            teller.progress("Storing blobs", done, total);
        }
        twin.join().expect("storing a blob does not panic")
    })?;

    let original = Fingerprint::take(&sql.protected, &storage.protected)?;
    let tables = original.sql.tables.len() as u64;
    let file = sql.protected.path().metadata().map_or(0, |m| m.len());
    teller.fact(
        SQL.protected,
        format!(
            "{} in {}, {} on disk, protected by the customer's key",
            things(original.rows(), "row"),
            things(tables, "table"),
            size(file)
        ),
    );
    teller.fact(
        STORAGE.protected,
        format!(
            "{} of {} together, protected by the customer's key",
            things(original.blobs.len() as u64, "blob"),
            size(original.blob_bytes())
        ),
    );
    if sources.skipped > 0 {
        let skipped = count(sources.skipped);
        teller.fact(
            "Left out",
            format!("{skipped} symbolic links or special files"),
        );
    }
    teller.fact(
        "Their twins",
        "the same, unprotected: what an attack must succeed on to prove anything",
    );
    teller.fact(
        "Filled in",
        format!("{:.1} s", started.elapsed().as_secs_f64()),
    );
    for (resource, what, key) in [
        (SQL.protected, Kind::Sql, sql.protected.envelope()),
        (
            STORAGE.protected,
            Kind::Storage,
            storage.protected.envelope(),
        ),
    ] {
        if let Some(envelope) = key {
            let vault = workspace.vault(&WhichVault::Customer)?;
            let kind = vault
                .key(&envelope.key.name, Some(envelope.key.version))?
                .kind;
            let chain = KeyChain::new(resource, envelope.key.to_string(), kind, what.into());
            teller.report().keys(chain);
        }
    }
    Ok(Data {
        twins_are_equal: original == Fingerprint::take(&sql.twin, &storage.twin)?,
        canaries: sources.canaries(&sql.twin)?,
        original,
    })
}

fn fill_sql(
    workspace: &Workspace,
    source: &SqlSource,
    protection: &Protection,
    teller: &mut Teller<'_>,
) -> Result<Pair<SqlDatabase>, ScenarioError> {
    let at = |name| address(ENVIRONMENT, Kind::Sql, name);
    match source {
        SqlSource::File(file) => {
            let mut import = |name, protection, what| {
                let mut told = |done, total| teller.progress(what, done, total);
                workspace.import_sql(&at(name), protection, file, &mut told)
            };
            Ok(Pair {
                protected: import(SQL.protected, protection.clone(), "Importing")?,
                twin: import(SQL.twin, Protection::Plain, "Importing the twin")?,
            })
        }
        SqlSource::Sample(sample) => {
            let create =
                |name, protection| workspace.create_sql(&at(name), protection, PageSize::DEFAULT);
            let pair = Pair {
                protected: create(SQL.protected, protection.clone())?,
                twin: create(SQL.twin, Protection::Plain)?,
            };
            let fill = |database: &SqlDatabase, told: &mut dyn FnMut(u64, u64)| {
                let mut conn = database.connect()?;
                sample
                    .fill_database(&mut conn, told)
                    .map_err(|e| database.explain(e))
            };
            std::thread::scope(|scope| {
                let twin = scope.spawn(|| fill(&pair.twin, &mut |_, _| ()));
                fill(&pair.protected, &mut |done, total| {
                    teller.progress("Inserting rows", done, total);
                })?;
                twin.join().expect("inserting rows does not panic")
            })?;
            Ok(pair)
        }
    }
}
