//! A key version that was disabled after a rotation, and is enabled again by somebody.

use std::path::Path;

use crate::envelope::ResourceKind;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::ProtectedResource;
use crate::sqlite::PageSize;

use super::account::{Account, text};
use super::bout::{Bout, Reading, both_arms};
use super::database::Database;
use super::sql::page_size;
use super::vault::Arm;

/// Attack 17.
pub(in crate::lab) fn enabled_again(
    lab: &Lab,
    exhibit: &Exhibit,
) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(17);
    let run = |which: Which| {
        both_arms(lab, exhibit, |arm, dir| {
            let rotated = match exhibit.kind {
                ResourceKind::Sql => database(dir, arm, page_size(exhibit)?)?,
                _ => account(dir, arm)?,
            };
            Ok(attempt(arm, rotated, which))
        })
    };
    Ok(vec![
        attack.outcome(
            Some("a specimen that was rewrapped, with its old key version only"),
            exhibit,
            run(Which::Rewrapped)?,
        ),
        attack.declared(
            "a copy of it from before the rotation, with its old key version",
            exhibit,
            run(Which::Before)?,
            "a copy holds the wrapped key of its time, so a rotation does not shut copies taken before. \
             While the old version is disabled the copy stays shut, which is tried first; enabled again, \
             it opens. Delete and purge the old key where that must not be.",
        ),
    ])
}

#[derive(Clone, Copy, PartialEq)]
enum Which {
    Rewrapped,
    Before,
}

/// A specimen that was rewrapped, and a copy from before: what reading each gives.
struct Rotated {
    now: Box<dyn Fn() -> Reading>,
    before: Box<dyn Fn() -> Reading>,
    path: std::path::PathBuf,
}

fn database(dir: &Path, arm: &Arm, size: PageSize) -> Result<Rotated, LabError> {
    let now = Database::specimen(dir, "rotated", arm, size, 17)?;
    let elsewhere = dir.join("before");
    crate::base::create_dir_private(&elsewhere).map_err(|e| LabError::io(&elsewhere, e))?;
    let before = now.fork(&elsewhere)?;
    arm.rotate();
    if arm.is_protected() {
        now.open()?.rewrap(&arm.protection)?;
    }
    Ok(Rotated {
        path: now.path.clone(),
        now: Box::new(move || now.read()),
        before: Box::new(move || before.read()),
    })
}

fn account(dir: &Path, arm: &Arm) -> Result<Rotated, LabError> {
    let now = Account::specimen(&dir.join("rotated"), arm)?;
    let blob = now.put("a.txt", text(17, 5000))?;
    let before = now.fork(&dir.join("before"))?;
    arm.rotate();
    if arm.is_protected() {
        now.open()?.rewrap(&arm.protection)?;
    }
    let same = super::account::Blob {
        path: blob.path.clone(),
        bytes: blob.bytes.clone(),
        extent: blob.extent.clone(),
    };
    Ok(Rotated {
        path: now.dir.clone(),
        now: Box::new(move || now.read(&blob)),
        before: Box::new(move || before.read(&same)),
    })
}

fn attempt(arm: &Arm, rotated: Rotated, which: Which) -> Evidence {
    let mut bout = Bout::new(&rotated.path, "");
    let (attacked, did) = match which {
        Which::Rewrapped => (&rotated.now, "the rewrapped one read"),
        Which::Before => (&rotated.before, "the earlier copy read"),
    };
    arm.enable(false, false);
    bout.record(attacked(), None, || "it opens without any key".to_owned());
    arm.enable(true, false);
    bout.record(attacked(), None, || {
        "it opens with the old key version".to_owned()
    });
    let mut evidence = bout.finish(&format!("{did}, with no key version and with the old one"));
    if which == Which::Rewrapped && arm.is_protected() {
        arm.enable(false, true);
        if let Reading::Refused(why) = attacked() {
            // Then nothing was shown: it stays shut whatever the key.
            evidence.tally.trials = 0;
            evidence.summary = format!("with its new key version it does not open either: {why}");
        }
    }
    evidence
}
