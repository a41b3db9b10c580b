//! What an auditor checks of a report: who signed it, that nothing of it was changed, that the stolen
//! files are those that it lists, and that the detectors still see in them what it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use super::sign::{ReportSignature, SIGNATURE_FILE};
use super::{CANARY_FILE, Looked, Report, SCHEMA};
use crate::crypto::sha256;
use crate::lab::theft::hash_file;
use crate::lab::{CanarySet, LabError, Searcher};

/// What to check a report with.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// `report.json`.
    pub report: PathBuf,
    /// The signature; `report.jws` beside the report when `None`.
    pub signature: Option<PathBuf>,
    /// Thumbprint of the key that must have signed it, as its owner told it.
    pub signer: Option<String>,
    /// The stolen files.
    pub stolen: Option<PathBuf>,
    /// The known texts that were looked for; `canaries.json` beside the report when `None`.
    pub canaries: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// It is as it must be.
    Right,
    /// It is not.
    Wrong,
    /// What it takes was not given.
    NotChecked,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// How it went.
    pub result: Checked,
    /// What was seen.
    pub seen: String,
}

impl Check {
    /// A check of `what`.
    pub fn new(what: impl Into<String>, result: Checked, seen: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            result,
            seen: seen.into(),
        }
    }

    fn of(what: impl Into<String>, result: Result<String, String>) -> Self {
        match result {
            Ok(seen) => Self::new(what, Checked::Right, seen),
            Err(seen) => Self::new(what, Checked::Wrong, seen),
        }
    }
}

impl Verification {
    /// The report's bytes and its signature, as they lie there. Nothing is checked yet.
    ///
    /// # Errors
    /// The report cannot be read. The signature's fault comes inside.
    pub fn read(&self) -> Result<(Vec<u8>, Result<ReportSignature, String>), LabError> {
        let bytes = fs::read(&self.report).map_err(|e| LabError::io(&self.report, e))?;
        let beside = || self.report.with_file_name(SIGNATURE_FILE);
        let path = self.signature.clone().unwrap_or_else(beside);
        let signature = match fs::read_to_string(&path) {
            Ok(text) => ReportSignature::parse(&text)
                .map_err(|why| format!("{} is not to be used: {why}", path.display())),
            Err(e) => Err(format!(
                "{}: {e}: without a signature nobody stands for the report",
                path.display()
            )),
        };
        Ok((bytes, signature))
    }

    /// Makes every check that the files given allow. When the signature does not fit, nothing else is
    /// looked at: an altered report is not believed in what it asks to be compared with.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<Check>, LabError> {
        let (bytes, signature) = self.read()?;
        let mut checks = Vec::new();
        let signature = match signature {
            Ok(signature) if signature.fits(&bytes) => signature,
            Ok(_) => {
                checks.push(Check::new(
                    "signature",
                    Checked::Wrong,
                    "does not fit the report: one of the two was changed, or it is of another report",
                ));
                return Ok(checks);
            }
            Err(why) => {
                checks.push(Check::new("signature", Checked::Wrong, why));
                return Ok(checks);
            }
        };
        let by = format!(
            "fits, ES256, by the key of thumbprint {}; it calls itself {}",
            signature.thumbprint, signature.kid
        );
        checks.push(Check::new("signature", Checked::Right, by));
        checks.push(self.signer(&signature));
        let report: Report = match serde_json::from_slice(&bytes) {
            Ok(report) => report,
            Err(e) => {
                let why = format!("is no report of the schema {SCHEMA}: {e}");
                checks.push(Check::new("schema", Checked::Wrong, why));
                return Ok(checks);
            }
        };
        checks.push(Check::of(
            "schema",
            match report.schema.as_str() {
                SCHEMA => Ok(SCHEMA.to_owned()),
                other => Err(format!("{other:?}: this version reads {SCHEMA}")),
            },
        ));
        for (name, hash) in &report.documents {
            checks.push(self.document(name, hash)?);
        }
        checks.extend(self.stolen_files(&report, progress)?);
        Ok(checks)
    }

    fn signer(&self, signature: &ReportSignature) -> Check {
        match &self.signer {
            None => Check::new(
                "signer",
                Checked::NotChecked,
                "anybody can sign with a key of his own: ask the vault's owner for the thumbprint, and give it with --signer",
            ),
            Some(expected) if expected.eq_ignore_ascii_case(&signature.thumbprint) => {
                Check::new("signer", Checked::Right, "the key that was expected")
            }
            Some(expected) => Check::new(
                "signer",
                Checked::Wrong,
                format!(
                    "signed by the key {}, and {expected} was expected",
                    signature.thumbprint
                ),
            ),
        }
    }

    fn document(&self, name: &str, hash: &str) -> Result<Check, LabError> {
        let path = match plain(Path::new(name)) {
            true => self.report.with_file_name(name),
            false => return Ok(Check::new(name, Checked::Wrong, "is no plain file name")),
        };
        Ok(match fs::read(&path) {
            Ok(bytes) if hex::encode(sha256(&[&bytes])) == hash => {
                Check::new(name, Checked::Right, "as it was when the report was signed")
            }
            Ok(_) => Check::new(
                name,
                Checked::Wrong,
                "was changed after the report was signed",
            ),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Check::new(name, Checked::NotChecked, "is not beside the report")
            }
            Err(e) => return Err(LabError::io(&path, e)),
        })
    }

    fn stolen_files(
        &self,
        report: &Report,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Check>, LabError> {
        let Some(stolen) = &self.stolen else {
            let why = "not given: --stolen names them where they were kept";
            return Ok(vec![Check::new("stolen files", Checked::NotChecked, why)]);
        };
        let mut checks = vec![Check::of("stolen files", hashes(report, stolen, progress)?)];
        if checks[0].result == Checked::Wrong {
            return Ok(checks);
        }
        let (searcher, searched) = match self.canaries(report)? {
            Ok(canaries) => (Searcher::new(&canaries)?, true),
            Err(check) => {
                let usable = check.result != Checked::Wrong;
                checks.push(check);
                if !usable {
                    return Ok(checks);
                }
                (Searcher::new(&CanarySet::default())?, false)
            }
        };
        for pair in &report.figures {
            for (which, looked) in [
                ("unprotected twin", &pair.plain),
                ("protected copy", &pair.protected),
            ] {
                let what = format!("detectors on {}, {which}", pair.name);
                let Some(path) = &looked.path else {
                    let why = "it was made for the run and went away with it";
                    checks.push(Check::new(what, Checked::NotChecked, why));
                    continue;
                };
                if !plain(Path::new(path)) {
                    checks.push(Check::new(what, Checked::Wrong, "its path is no plain one"));
                    continue;
                }
                let again = Looked::take(pair.kind, &stolen.join(path), &searcher)?;
                checks.push(Check::of(what, compare(looked, &again, searched)?));
            }
        }
        Ok(checks)
    }

    /// The known texts, when they are there and those of the report.
    fn canaries(&self, report: &Report) -> Result<Result<CanarySet, Check>, LabError> {
        let beside = || self.report.with_file_name(CANARY_FILE);
        let path = self.canaries.clone().unwrap_or_else(beside);
        let refused = |result, why: &str| Ok(Err(Check::new("known texts", result, why)));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && self.canaries.is_none() => {
                let why =
                    "canaries.json was not kept: what was searched for is not searched for again";
                return refused(Checked::NotChecked, why);
            }
            Err(e) => return Err(LabError::io(&path, e)),
        };
        let ours = report.canaries.as_ref().map(|c| c.sha256.as_str());
        if ours != Some(&hex::encode(sha256(&[&bytes]))) {
            return refused(
                Checked::Wrong,
                "are not those that the report was made with",
            );
        }
        match CanarySet::from_json(&bytes) {
            Ok(canaries) => Ok(Ok(canaries)),
            Err(e) => refused(Checked::Wrong, &e.to_string()),
        }
    }
}

/// Compares each stolen file with its hash, and looks for files that are not listed.
fn hashes(
    report: &Report,
    stolen: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Result<String, String>, LabError> {
    let listed: Vec<_> = report
        .thefts
        .iter()
        .flat_map(|t| &t.manifest.files)
        .collect();
    let total = listed.iter().map(|f| f.size).sum();
    let (mut done, mut wrong, mut known) = (0, Vec::new(), BTreeSet::new());
    progress(0, total);
    for file in &listed {
        known.insert(file.path.as_str());
        let path = stolen.join(&file.path);
        if !plain(Path::new(&file.path)) {
            wrong.push(format!("{:?} is no plain path", file.path));
        } else if !path.symlink_metadata().is_ok_and(|m| m.is_file()) {
            wrong.push(format!("{} is missing", file.path));
        } else if hash_file(&path)? != (file.size, file.sha256.clone()) {
            wrong.push(format!("{} was altered", file.path));
        }
        done += file.size;
        progress(done, total);
    }
    for entry in walkdir::WalkDir::new(stolen).follow_links(false) {
        let entry = entry.map_err(|e| LabError::io(stolen, e.into()))?;
        let inside = entry
            .path()
            .strip_prefix(stolen)
            .ok()
            .and_then(Path::to_str);
        if !entry.file_type().is_dir() && !inside.is_some_and(|path| known.contains(path)) {
            wrong.push(format!("{} is not in the report", entry.path().display()));
        }
    }
    Ok(match wrong.len() {
        0 => Ok(format!(
            "{} files, {total} bytes, each with its SHA-256",
            listed.len()
        )),
        n => {
            wrong.truncate(5);
            Err(format!(
                "{n} of them are not as listed: {}",
                wrong.join("; ")
            ))
        }
    })
}

/// Whether the detectors saw the same again. Both sides are compared as they are written.
fn compare(
    then: &Looked,
    now: &Looked,
    searched: bool,
) -> Result<Result<String, String>, LabError> {
    let written = |looked: &Looked| {
        let mut looked = looked.clone();
        looked.path = None;
        if !searched {
            looked.figures.canary_hits = 0;
            looked.figures.hits.clear();
        }
        let failed = |e: serde_json::Error| LabError::Report(e.to_string());
        let text = serde_json::to_string(&looked).map_err(failed)?;
        // Through text and back, as the report's numbers went.
        let value: serde_json::Value = serde_json::from_str(&text).map_err(failed)?;
        Ok::<_, LabError>(value)
    };
    let (then, now) = (written(then)?, written(now)?);
    let mut differ = Vec::new();
    for part in ["figures", "profile"] {
        let fields = then[part].as_object().into_iter().flatten();
        differ.extend(
            fields
                .filter(|(name, value)| now[part][name.as_str()] != **value)
                .map(|(name, value)| match value.is_number() {
                    true => format!("{name} is {} and not {value}", now[part][name.as_str()]),
                    false => format!("{name} differs"),
                }),
        );
    }
    let without = if searched {
        ""
    } else {
        ", but for known texts"
    };
    Ok(match differ.is_empty() {
        true => Ok(format!("every number is the same again{without}")),
        false => Err(format!("the report says otherwise: {}", differ.join("; "))),
    })
}

/// Whether a path is made of names only: it leads nowhere but below.
fn plain(path: &Path) -> bool {
    path.components().all(|c| matches!(c, Component::Normal(_))) && path != Path::new("")
}
