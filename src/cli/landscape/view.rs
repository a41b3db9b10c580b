//! How environments and backups are shown.

use serde::Serialize;

use crate::world::landscape::{
    Backup, FinanceEnvironment, KeyState, Landscape, Link, NOT_LINKED, PowerEnvironment, SqlState,
    StorageState,
};

use crate::world::WorldError;

use super::{joined, lines, list, spelled, time};
use crate::cli::{CliError, Context, Outcome};

/// A row of `atrest env list`.
#[derive(Serialize)]
struct Row {
    name: String,
    kind: String,
    region: String,
    link: String,
    key: &'static str,
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    finance: Option<FinanceEnvironment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<PowerEnvironment>,
    sql: Option<SqlState>,
    storage: Option<StorageState>,
    /// What Dataverse answers to the question for the linked environment, when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_linked: Option<&'static str>,
    resources: Vec<String>,
}

pub fn backups(all: &[Backup], context: &Context) -> Result<(), CliError> {
    let row = |backup: &Backup| {
        let mut versions: Vec<_> = backup
            .parts
            .iter()
            .map(|part| part.protector.clone())
            .collect();
        versions.sort();
        versions.dedup();
        vec![
            backup.name.to_string(),
            backup.power.to_string(),
            time(backup.taken),
            time(backup.expires),
            joined(versions),
        ]
    };
    let header = [
        "backup",
        "of",
        "taken",
        "kept until",
        "needs the key versions",
    ];
    list(context.output(), all, &header, row)
}

pub fn list_all(landscape: &Landscape<'_>, context: &Context) -> Result<Outcome, CliError> {
    let mut rows = Vec::new();
    for finance in landscape.all::<FinanceEnvironment>()? {
        let key = match finance.link.completed() {
            Some(power) => landscape
                .get::<PowerEnvironment>(power.as_str())?
                .key
                .word(),
            None => "Microsoft-managed",
        };
        rows.push(Row {
            name: finance.name.to_string(),
            kind: format!("finance and operations, {}", spelled(&finance.kind)),
            region: finance.region.to_string(),
            link: match finance.link.completed() {
                Some(power) => format!("with {power}"),
                None => finance.link.word().to_owned(),
            },
            key,
        });
    }
    for power in landscape.all::<PowerEnvironment>()? {
        rows.push(Row {
            name: power.name.to_string(),
            kind: format!("Power Platform, {}", spelled(&power.kind)),
            region: power.region.to_string(),
            link: match &power.linked {
                Some(finance) => format!("with {finance}"),
                None => "not integrated".to_owned(),
            },
            key: power.key.word(),
        });
    }
    let row = |row: &Row| {
        vec![
            row.name.clone(),
            row.kind.clone(),
            row.region.clone(),
            row.link.clone(),
            row.key.to_owned(),
        ]
    };
    let header = ["environment", "kind", "region", "integration", "key"];
    list(context.output(), &rows, &header, row)?;
    Ok(Outcome::Holds)
}

pub fn show(landscape: &Landscape<'_>, name: &str, context: &Context) -> Result<Outcome, CliError> {
    let finances = landscape.all::<FinanceEnvironment>()?;
    let finance = finances
        .into_iter()
        .find(|finance| finance.name.as_str() == name);
    let power: Option<PowerEnvironment> = match &finance {
        Some(finance) => finance
            .link
            .completed()
            .map(|power| landscape.get(power.as_str()))
            .transpose()?,
        None => Some(landscape.get(name).map_err(|e| match e {
            // Of both kinds there is none.
            WorldError::NoEntity {
                name, listed_by, ..
            } => WorldError::NoEntity {
                kind: "environment",
                name,
                listed_by,
            },
            other => other,
        })?),
    };
    let mut resources = match &finance {
        Some(finance) => landscape.resources_of_finance(&finance.name),
        None => Vec::new(),
    };
    if let Some(power) = &power {
        resources = landscape.resources_of(power);
    }
    let shown = Shown {
        sql: match &power {
            Some(power) => Some(power.key.sql(landscape.now()?)),
            None => None,
        },
        storage: power.as_ref().map(|power| power.key.storage()),
        not_linked: power
            .as_ref()
            .and_then(|power| power.linked.is_none().then_some(NOT_LINKED)),
        resources: resources.iter().map(ToString::to_string).collect(),
        finance,
        power,
    };
    context.output().answer(&shown, |text| {
        if let Some(finance) = &shown.finance {
            lines(
                text,
                &[
                    ("environment", finance.name.to_string()),
                    ("kind", spelled(&finance.kind)),
                    ("project", finance.project.to_string()),
                    ("region", finance.region.to_string()),
                    ("integration", integration(&finance.link)),
                    ("offers", joined(&finance.offers)),
                    ("add-ins", joined(&finance.add_ins)),
                ],
            )?;
        }
        if let Some(power) = &shown.power {
            let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
            lines(
                text,
                &[
                    ("Dataverse", power.name.to_string()),
                    ("kind", spelled(&power.kind)),
                    ("region", power.region.to_string()),
                    ("managed", yes(power.managed)),
                    ("D365 apps", yes(power.d365_apps)),
                    ("licensed", yes(power.licensed)),
                    (
                        "linked to",
                        match &power.linked {
                            Some(finance) => finance.to_string(),
                            None => format!("nothing ({NOT_LINKED})"),
                        },
                    ),
                    ("key", power.key.word().to_owned()),
                    (
                        "policy",
                        power.key.policy().map_or("-".into(), ToString::to_string),
                    ),
                ],
            )?;
            lines(text, &trouble(power))?;
            if let Some(sql) = shown.sql {
                lines(text, &[("SQL databases", format!("{sql:?}"))])?;
            }
            if let Some(storage) = shown.storage {
                lines(text, &[("storage accounts", format!("{storage:?}"))])?;
            }
        }
        lines(text, &[("resources", joined(&shown.resources))])
    })?;
    Ok(Outcome::Holds)
}

fn integration(link: &Link) -> String {
    let word = link.word();
    match link {
        Link::InProgress { power, .. } => format!("{word}, with {power}"),
        Link::Failed { power, why, .. } => format!("{word}, with {power}: {why}"),
        Link::None | Link::Completed { .. } => word.to_owned(),
    }
}

/// Why an environment is not in use, or not all of it under its policy, and what becomes of it.
fn trouble(power: &PowerEnvironment) -> Vec<(&'static str, String)> {
    match &power.key {
        KeyState::Locked {
            since,
            trigger,
            restored,
            ..
        } => vec![
            ("locked", format!("since {}: {trigger}", time(*since))),
            match restored {
                Some(_) => (
                    "next",
                    format!(
                        "`atrest env enable {}`: the key can be used again",
                        power.name
                    ),
                ),
                None => {
                    let after = power.kind.deleted_after().as_hours() / 24;
                    (
                        "next",
                        format!(
                            "give the access to the key back; after {after} days it is deleted"
                        ),
                    )
                }
            },
        ],
        KeyState::Partial { why, policy, .. } => vec![
            ("failed", why.clone()),
            (
                "next",
                format!(
                    "put that right, and `atrest policy apply {policy} {}`",
                    power.name
                ),
            ),
        ],
        KeyState::Warning { what, .. } => vec![(
            "warning",
            format!("{what} stay under the Microsoft-managed key"),
        )],
        KeyState::Deleted { at, .. } => vec![(
            "deleted",
            format!("on {}, with its data and backups", time(*at)),
        )],
        KeyState::Mmk
        | KeyState::Applying { .. }
        | KeyState::Cmk { .. }
        | KeyState::Reverting { .. } => Vec::new(),
    }
}
