//! How keys are shown.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::base::KeyName;
use crate::vault::{DeletedKey, KeyBundle, KeyOperation};

use super::super::table;
use super::{CliError, Context, Outcome};

/// What a change left: the key version concerned.
pub(super) fn changed(
    bundle: &KeyBundle,
    done: &str,
    context: &Context,
) -> Result<Outcome, CliError> {
    context.output().answer(bundle, |text| {
        writeln!(text, "{}: {done}", bundle.kid.name)?;
        writeln!(text, "  version     {}", bundle.kid.version)?;
        writeln!(
            text,
            "  kind        {}, {} bits of strength",
            bundle.kind,
            bundle.kind.strength_bits()
        )?;
        writeln!(text, "  thumbprint  {}", bundle.thumbprint)
    })?;
    Ok(Outcome::Holds)
}

/// Keys, each by its newest version.
pub(super) fn list(keys: &[KeyBundle], context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(&keys, |text| {
        if keys.is_empty() {
            return writeln!(text, "No keys; make one with `atrest key create NAME`.");
        }
        let rows: Vec<_> = keys
            .iter()
            .map(|key| [vec![key.kid.name.to_string()], version_row(key)].concat())
            .collect();
        let header = [
            "NAME",
            "VERSION",
            "KIND",
            "STATE",
            "OPERATIONS",
            "EXPIRES",
            "CREATED",
        ];
        text.write_str(&table(&header, &[], &rows))
    })?;
    Ok(Outcome::Holds)
}

/// One key, version by version.
pub(super) fn versions(versions: &[KeyBundle], context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(&versions, |text| {
        if let [.., newest] = versions {
            writeln!(text, "{}", newest.kid.key())?;
        }
        for version in versions {
            let a = &version.attributes;
            writeln!(text, "\nversion     {}", version.kid.version)?;
            writeln!(
                text,
                "kind        {}, {} bits of strength",
                version.kind,
                version.kind.strength_bits()
            )?;
            writeln!(text, "state       {}", state(version))?;
            writeln!(text, "operations  {}", operations(&version.operations))?;
            for (name, date) in [("not before", a.not_before), ("expires", a.expires)] {
                if let Some(date) = date {
                    writeln!(text, "{name:11} {date:.0}")?;
                }
            }
            writeln!(text, "created     {:.0}", a.created)?;
            writeln!(text, "updated     {:.0}", a.updated)?;
            writeln!(text, "thumbprint  {}", version.thumbprint)?;
        }
        Ok(())
    })?;
    Ok(Outcome::Holds)
}

/// Soft-deleted keys.
pub(super) fn deleted(keys: &[DeletedKey], context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(&keys, |text| {
        if keys.is_empty() {
            return writeln!(text, "No deleted keys.");
        }
        let rows: Vec<_> = keys
            .iter()
            .map(|key| {
                vec![
                    key.bundle.kid.name.to_string(),
                    format!("{:.0}", key.deleted),
                    format!("{:.0}", key.scheduled_purge),
                ]
            })
            .collect();
        text.write_str(&table(
            &["NAME", "DELETED", "RECOVERABLE UNTIL"],
            &[],
            &rows,
        ))
    })?;
    Ok(Outcome::Holds)
}

#[derive(Serialize)]
struct Purged<'a> {
    purged: &'a KeyName,
}

/// That a key is gone.
pub(super) fn purged(name: &KeyName, context: &Context) -> Result<Outcome, CliError> {
    context.output().answer(&Purged { purged: name }, |text| {
        writeln!(text, "{name}: purged")?;
        writeln!(text, "  gone for good, unless a backup of it is left")
    })?;
    Ok(Outcome::Holds)
}

#[derive(Serialize)]
struct BackedUp<'a> {
    key: &'a KeyName,
    file: &'a Path,
    bytes: usize,
}

/// Where a backup is.
pub(super) fn backed_up(
    name: &KeyName,
    file: &Path,
    bytes: usize,
    context: &Context,
) -> Result<Outcome, CliError> {
    context.output().answer(
        &BackedUp {
            key: name,
            file,
            bytes,
        },
        |text| {
            writeln!(
                text,
                "{name}: backed up to {} ({bytes} bytes)",
                file.display()
            )?;
            writeln!(
                text,
                "  sealed: only this vault restores it, also after a purge"
            )
        },
    )?;
    Ok(Outcome::Holds)
}

fn version_row(key: &KeyBundle) -> Vec<String> {
    let expires = key.attributes.expires.map(|date| format!("{date:.0}"));
    vec![
        key.kid.version.to_string()[..8].to_owned(),
        key.kind.to_string(),
        state(key).to_owned(),
        operations(&key.operations),
        expires.unwrap_or_else(|| "-".into()),
        format!("{:.0}", key.attributes.created),
    ]
}

fn state(key: &KeyBundle) -> &'static str {
    if key.attributes.enabled {
        "enabled"
    } else {
        "disabled"
    }
}

fn operations(operations: &[KeyOperation]) -> String {
    let all: Vec<_> = operations.iter().map(ToString::to_string).collect();
    all.join(",")
}
