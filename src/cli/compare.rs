//! `atrest prove --target`: the lab's attacks on other people's formats.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::lab::Verdict;
use crate::lab::compare::{
    Compared, ComparedAttack, OURS, Opaque, Ours, Plain, SqlCipher, Target, compare, look_at,
};

use super::prove::scratch_dir;
use super::{CliError, Context, Outcome, table};

#[derive(Serialize)]
struct Comparison {
    /// Each target's name, and what opens it.
    targets: Vec<(String, String)>,
    attacks: Vec<ComparedAttack>,
    looked_at: Vec<(String, Opaque)>,
}

pub(super) fn run(
    wanted: &[String],
    scratch: Option<&Path>,
    seed: u64,
    context: &Context,
) -> Result<Outcome, CliError> {
    let dir = scratch_dir(scratch)?;
    // The plain one is the control, wanted or not.
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(Plain {
        path: dir.path().join("plain.db"),
    })];
    let mut looked_at = Vec::new();
    for name in wanted {
        match name.as_str() {
            "plain" => {}
            OURS => targets.push(Box::new(Ours::create(dir.path())?)),
            "sqlcipher" => {
                let found = SqlCipher::find(dir.path().join("sqlcipher.db"));
                targets.push(Box::new(found.map_err(|e| {
                    CliError::new(e, "or leave the target sqlcipher out")
                })?));
            }
            path if Path::new(path).exists() => {
                looked_at.push((path.to_owned(), look_at(&PathBuf::from(path))?));
            }
            other => {
                return Err(CliError::new(
                    format_args!("{other:?} is no target, and no file"),
                    "give plain, sqlcipher, atrest, or the path of a file or directory",
                ));
            }
        }
    }
    let formats = wanted.len() > looked_at.len();
    let borrowed: Vec<&dyn Target> = targets.iter().map(Box::as_ref).collect();
    let comparison = Comparison {
        targets: match formats {
            true => borrowed.iter().map(|t| (t.name(), t.version())).collect(),
            false => Vec::new(),
        },
        attacks: match formats {
            true => compare(&borrowed, seed)?,
            false => Vec::new(),
        },
        looked_at,
    };
    context.output().answer(&comparison, |text| {
        if formats {
            text.push_str(&attacks(&comparison));
        }
        if !comparison.looked_at.is_empty() {
            text.push_str(&bytes(&comparison.looked_at));
        }
        Ok(())
    })?;
    // Others' formats are shown, not judged: only what this one says of itself can be wrong.
    let mut results = comparison.attacks.iter().flat_map(|a| &a.results);
    let failed = results.any(|r| r.target == OURS && r.verdict == Verdict::Fails);
    Ok(match failed {
        false => Outcome::Holds,
        true => Outcome::ClaimFails,
    })
}

fn attacks(comparison: &Comparison) -> String {
    let word = |result: &Compared| {
        let verdict = match result.verdict {
            Verdict::Holds => "stopped",
            Verdict::Fails => "NOT STOPPED",
            _ => "nothing proved",
        };
        format!("{verdict}: {}", result.seen)
    };
    let rows: Vec<Vec<String>> = (comparison.attacks.iter())
        .map(|attack| {
            let mut row = vec![attack.number.to_string(), attack.what.to_owned()];
            row.extend(attack.results.iter().map(word));
            row
        })
        .collect();
    let mut header = vec!["", "what the thief does"];
    header.extend(comparison.targets.iter().map(|(name, _)| name.as_str()));
    let mut text = table(&header, &[0], &rows);
    text.push('\n');
    for (name, version) in &comparison.targets {
        text.push_str(&format!("{name}: {version}\n"));
    }
    text.push_str(
        "Altered bytes are read and verified by the owner, with the key: \"stopped\" means that no alteration was\n\
         taken for right, and that the plain database fell to the same. Made-up data; default settings, 4 KiB pages.\n",
    );
    text
}

fn bytes(looked_at: &[(String, Opaque)]) -> String {
    let rows: Vec<Vec<String>> = looked_at
        .iter()
        .map(|(path, seen)| {
            vec![
                path.clone(),
                seen.bytes.to_string(),
                format!("{:.3}", seen.entropy),
                format!("{} of {}", seen.pages_flagged, seen.pages),
                seen.structures.to_string(),
                match seen.alarms.is_empty() {
                    true => "none".to_owned(),
                    false => seen.alarms.join(", "),
                },
            ]
        })
        .collect();
    let header = [
        "as bytes",
        "bytes",
        "bits per byte",
        "patterned pages",
        "structures",
        "alarms",
    ];
    table(&header, &[1, 2], &rows)
}
