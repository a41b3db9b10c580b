//! `atrest prove --target`: the lab's attacks on other people's formats.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::lab::compare::{
    Compared, ComparedAttack, OURS, Opaque, Ours, Plain, SqlCipher, Target, compare, look_at,
};
use crate::lab::{CanarySet, Verdict};

use super::prove::scratch_dir;
use super::status::size;
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
    texts: &[String],
    scratch: Option<&Path>,
    seed: u64,
    context: &Context,
) -> Result<Outcome, CliError> {
    let texts = known(texts)?;
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
                let (progress, done) = (context.output().progress("Searching"), AtomicU64::new(0));
                let total = size(Path::new(path));
                let seen = look_at(Path::new(path), &texts, &|bytes| {
                    let before = done.fetch_add(bytes, Ordering::Relaxed);
                    progress.set(before + bytes, total);
                })?;
                looked_at.push((path.to_owned(), seen));
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
            text.push_str(&found(&comparison.looked_at, &texts));
        }
        Ok(())
    })?;
    // Others' formats are shown, not judged: only what this one says of itself can be wrong.
    let mut results = comparison.attacks.iter().flat_map(|a| &a.results);
    let failed = results.any(|r| r.target == OURS && r.verdict == Verdict::Fails);
    // And what somebody says is not there can be there.
    let found = comparison
        .looked_at
        .iter()
        .any(|(_, seen)| seen.found + seen.nonces_repeated > 0);
    Ok(match failed || found {
        false => Outcome::Holds,
        true => Outcome::ClaimFails,
    })
}

fn attacks(comparison: &Comparison) -> String {
    let cell = |result: &Compared| format!("{}: {}", word(result.verdict), result.seen);
    let rows: Vec<Vec<String>> = (comparison.attacks.iter())
        .map(|attack| {
            let mut row = vec![attack.number.to_string(), attack.what.to_owned()];
            row.extend(attack.results.iter().map(cell));
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

/// The texts to look for, of which each must prove something.
fn known(texts: &[String]) -> Result<CanarySet, CliError> {
    let mut known = CanarySet::default();
    for text in texts {
        if known.plant([text]) == 0 {
            return Err(CliError::new(
                format_args!("{text:?} is not to be looked for"),
                "give texts of at least 12 bytes and 7 different ones, none twice, and at most 48",
            ));
        }
    }
    Ok(known)
}

/// What a verdict on somebody's bytes says.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "stopped",
        Verdict::Fails => "NOT STOPPED",
        _ => "nothing proved",
    }
}

fn bytes(looked_at: &[(String, Opaque)]) -> String {
    let rows: Vec<Vec<String>> = looked_at
        .iter()
        .map(|(path, seen)| {
            let alarms = match seen.alarms.is_empty() {
                true => String::new(),
                false => format!(": {}", seen.alarms.join(", ")),
            };
            vec![
                path.clone(),
                seen.bytes.to_string(),
                format!("{:.3}", seen.entropy),
                format!("{} of {}", seen.pages_flagged, seen.pages),
                match seen.texts {
                    Some(verdict) => format!("{}: {} found", word(verdict), seen.found),
                    None => "not tried: none given".to_owned(),
                },
                match seen.members_passed {
                    0 => format!("{}{alarms}", word(seen.noise)),
                    n => format!(
                        "{}{alarms}; {n} compressed members not opened",
                        word(seen.noise)
                    ),
                },
                match seen.nonces {
                    0 => "not tried: no sealed files".to_owned(),
                    all => format!("{} of {all}", seen.nonces_repeated),
                },
            ]
        })
        .collect();
    let header = [
        "as bytes",
        "bytes",
        "bits per byte",
        "patterned pages",
        "2 search for known texts",
        "2 look for anything but noise",
        "25 nonces used again",
    ];
    table(&header, &[1, 2], &rows)
        + "Nothing opens these, so that attacks which alter a copy are not tried. Controls: rows that hold the texts.\n"
}

/// Where known texts were found.
fn found(looked_at: &[(String, Opaque)], texts: &CanarySet) -> String {
    let mut text = String::new();
    for (path, seen) in looked_at.iter().filter(|(_, seen)| seen.found > 0) {
        let rows: Vec<Vec<String>> = (seen.hits.iter())
            .map(|hit| {
                let key = hit.xor_key.map(|key| format!(", XORed with {key:#04x}"));
                vec![
                    texts.all()[hit.canary].to_string(),
                    format!("{}{}", hit.encoding, key.unwrap_or_default()),
                    hit.file.clone(),
                    hit.offset.to_string(),
                    hit.inside.clone().unwrap_or_default(),
                ]
            })
            .collect();
        let header = ["known text", "as", "in", "at byte", "inside"];
        text.push_str(&format!(
            "\n{path}, the first {} of {}\n",
            rows.len(),
            seen.found
        ));
        text.push_str(&table(&header, &[3], &rows));
    }
    text
}
