use std::path::Path;

use crate::envelope::ResourceKind;
use crate::lab::{Attack, Evidence, Exhibit, Lab, LabError, Outcome};
use crate::resource::ProtectedResource;
use crate::sqlite::PageSize;

use super::account::{Account, text};
use super::alter::{patched, read_all, with_tail};
use super::bout::{Bout, Reading, both_arms, control};
use super::database::Database;
use super::sql::page_size;
use super::vault::Arm;

const ENVELOPE_LEN: usize = 768;
/// Where the two slots of a sealed database's header block begin, and the envelope in each.
const SLOTS: [usize; 2] = [0, 2048];
const ENVELOPE_IN_SLOT: usize = 64;
/// Where the envelopes of the account key and of the catalog's key lie in `account.atrest`.
const ACCOUNT_ENVELOPES: [usize; 2] = [16, 784];

/// A field that is changed: its name, its place, and what is put there.
struct Change {
    name: &'static str,
    at: usize,
    values: Vec<Vec<u8>>,
}

fn change(name: &'static str, at: usize, values: &[&[u8]]) -> Change {
    Change {
        name,
        at,
        values: values.iter().map(|v| v.to_vec()).collect(),
    }
}

/// Changes within an envelope (docs/format.md, "Envelope").
fn envelope_changes() -> Vec<Change> {
    vec![
        change(
            "envelope's format version",
            8,
            &[&[0, 0], &[2, 0], &[0xff, 0xff]],
        ),
        change("wrap algorithm", 10, &[&[0], &[1], &[2], &[3], &[0xff]]),
        change("resource kind", 11, &[&[0], &[1], &[2], &[3], &[0xff]]),
        change(
            "length of the wrapped key",
            12,
            &[&[0, 0], &[39, 0], &[0, 1], &[0xff, 0xff]],
        ),
        change(
            "length of the key's name",
            14,
            &[&[0], &[1], &[127], &[0xff]],
        ),
        change("resource", 16, &[&[0; 16]]),
        change("vault", 32, &[&[0; 16]]),
        change("key version", 48, &[&[0; 16]]),
        change("key name", 64, &[b"x"]),
    ]
}

/// Attack 15.
pub(in crate::lab) fn swap(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let evidence = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => swap_between_databases(dir, arm, page_size(exhibit)?),
        _ => swap_between_accounts(dir, arm),
    })?;
    Ok(vec![Attack::number(15).outcome(
        Some("specimens"),
        exhibit,
        evidence,
    )])
}

fn swap_between_databases(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let donor = Database::specimen(dir, "donor", arm, size, 1)?;
    let victim = Database::specimen(dir, "victim", arm, size, 2)?;
    let (theirs, mine) = (read_all(&donor.path)?, read_all(&victim.path)?);
    let mut bout = Bout::new(&victim.path, &victim.truth);
    let mut try_with = |what: &str, bytes: &[u8]| -> Result<(), LabError> {
        let reading = with_tail(&victim.path, 0, bytes, || victim.read())?;
        bout.record(reading, None, || what.to_owned());
        Ok(())
    };
    try_with("the whole file of the other database", &theirs)?;
    if arm.is_protected() {
        let mut altered = mine.clone();
        altered[..4096].copy_from_slice(&theirs[..4096]);
        try_with("the other database's header", &altered)?;
        let mut altered = mine;
        for slot in SLOTS {
            let envelope = slot + ENVELOPE_IN_SLOT..slot + ENVELOPE_IN_SLOT + ENVELOPE_LEN;
            altered[envelope.clone()].copy_from_slice(&theirs[envelope]);
        }
        try_with(
            "the other database's wrapped key in the own header",
            &altered,
        )?;
    }
    Ok(bout.finish("wrapped keys, headers and whole files of another database put in"))
}

fn swap_between_accounts(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let donor = Account::specimen(&dir.join("donor"), arm)?;
    donor.put("a.txt", text(1, 5000))?;
    let victim = Account::specimen(&dir.join("victim"), arm)?;
    let blob = victim.put("a.txt", text(2, 5000))?;
    let mut bout = Bout::new(&victim.dir, &blob.truth());
    // The whole directory of the other account, opened as this one.
    let moved = Account {
        dir: donor.dir.clone(),
        id: victim.id,
        protection: victim.protection.clone(),
        wrapper: victim.wrapper.clone(),
    };
    bout.record(moved.read(&blob), None, || {
        "all files of the other account".to_owned()
    });
    if arm.is_protected() {
        let header = victim.dir.join("account.atrest");
        let (theirs, mine) = (
            read_all(&donor.dir.join("account.atrest"))?,
            read_all(&header)?,
        );
        let [account, catalog] = ACCOUNT_ENVELOPES.map(|at| at..at + ENVELOPE_LEN);
        let with = |changes: &[(&std::ops::Range<usize>, &[u8])]| {
            let mut altered = mine.clone();
            for (range, bytes) in changes {
                altered[(*range).clone()].copy_from_slice(bytes);
            }
            altered
        };
        let cases = [
            ("the other account's header", theirs.clone()),
            (
                "the other account's account key",
                with(&[(&account, &theirs[account.clone()])]),
            ),
            (
                "the other account's catalog key",
                with(&[(&catalog, &theirs[catalog.clone()])]),
            ),
            (
                "account key and catalog key exchanged",
                with(&[
                    (&account, &mine[catalog.clone()]),
                    (&catalog, &mine[account.clone()]),
                ]),
            ),
        ];
        for (what, bytes) in cases {
            let reading = with_tail(&header, 0, &bytes, || victim.read(&blob))?;
            bout.record(reading, None, || what.to_owned());
        }
    }
    Ok(bout.finish("wrapped keys, headers and all files of another account put in"))
}

/// Attack 16.
pub(in crate::lab) fn downgrade(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(16);
    let fields = both_arms(lab, exhibit, |arm, dir| match exhibit.kind {
        ResourceKind::Sql => downgrade_database(dir, arm, page_size(exhibit)?),
        _ => downgrade_account(dir, arm),
    })?;
    let part = "the whole header from before a rotation put back";
    let old_header = match exhibit.kind {
        ResourceKind::Sql => attack.outcome(Some(part), exhibit, old_database_header(lab, exhibit)?),
        _ => attack.declared(
            part,
            exhibit,
            both_arms(lab, exhibit, |arm, dir| old_account_header(dir, arm))?,
            "the old header is authentic, and nobody remembers the newest one of a storage account. \
             It opens nothing to anyone who cannot use the old key version: disable that version \
             after a rotation. It takes write access to the disk.",
        ),
    };
    Ok(vec![
        attack.outcome(Some("each field of a specimen's headers"), exhibit, fields),
        old_header,
    ])
}

fn downgrade_database(dir: &Path, arm: &Arm, size: PageSize) -> Result<Evidence, LabError> {
    let victim = Database::specimen(dir, "downgraded", arm, size, 1)?;
    let mut bout = Bout::new(&victim.path, &victim.truth);
    if !arm.is_protected() {
        // The application's own version number, which SQLite keeps in its header.
        let version = [0, 0, 0, 7];
        let reading = patched(&victim.path, &[(60, &version)], || victim.read())?;
        bout.record(reading, Some(60), || {
            "the version in the header was changed".to_owned()
        });
        return Ok(bout.finish("fields of the header changed"));
    }
    let old = read_all(&victim.path)?;
    arm.rotate();
    victim.open()?.rewrap(&arm.protection)?;
    let mut changes = vec![
        change("format version", 8, &[&[0, 0], &[2, 0], &[0xff, 0xff]]),
        change("cipher", 10, &[&[0], &[2], &[0xff]]),
        change("page size", 11, &[&[0], &[9], &[16], &[32], &[0xff]]),
        change("reserved bytes of a page", 12, &[&[0], &[16], &[0xff]]),
        change("state", 13, &[&[1]]),
        change("file", 16, &[&[0; 16]]),
        change("sequence number", 32, &[&[0; 8], &[0xff; 8]]),
    ];
    let old_envelope = &old[ENVELOPE_IN_SLOT..ENVELOPE_IN_SLOT + ENVELOPE_LEN];
    let in_envelope = envelope_changes().into_iter().chain([
        change(
            "key version, to the one before the rotation",
            48,
            &[&old_envelope[48..64]],
        ),
        change(
            "wrapped key, to the one before the rotation",
            192,
            &[&old_envelope[192..704]],
        ),
        change(
            "the whole envelope, to the one before the rotation",
            0,
            &[old_envelope],
        ),
    ]);
    changes.extend(in_envelope.map(|c| Change {
        at: ENVELOPE_IN_SLOT + c.at,
        ..c
    }));
    let current = read_all(&victim.path)?;
    for change in changes {
        for value in &change.values {
            // In both slots: the second is there to survive a torn write, not to help here.
            let places = SLOTS.map(|slot| slot + change.at);
            if places
                .iter()
                .all(|&at| current[at..at + value.len()] == **value)
            {
                continue;
            }
            let patches = places.map(|at| (at as u64, &value[..]));
            let reading = patched(&victim.path, &patches, || victim.read())?;
            bout.record(reading, Some(places[0] as u64), || change.name.to_owned());
        }
    }
    Ok(bout.finish("fields of both header slots changed"))
}

fn downgrade_account(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let victim = Account::specimen(&dir.join("downgraded"), arm)?;
    let blob = victim.put("a.txt", text(1, 5000))?;
    let mut bout = Bout::new(&victim.dir, &blob.truth());
    if !arm.is_protected() {
        let reading = patched(&blob.extent, &[(0, b"0002")], || victim.read(&blob))?;
        bout.record(reading, Some(0), || {
            "the first bytes of an extent were changed".to_owned()
        });
        return Ok(bout.finish("first bytes changed"));
    }
    let header = victim.dir.join("account.atrest");
    let old = read_all(&header)?;
    arm.rotate();
    victim.open()?.rewrap(&arm.protection)?;
    let current = read_all(&header)?;
    let [account, catalog] = ACCOUNT_ENVELOPES;
    let mut changes = vec![change("account format version", 8, &[&[0, 0], &[2, 0]])];
    for at in [account, catalog] {
        changes.extend(
            envelope_changes()
                .into_iter()
                .map(|c| Change { at: at + c.at, ..c }),
        );
    }
    let old =
        |at: usize, range: std::ops::Range<usize>| old[at + range.start..at + range.end].to_vec();
    changes.push(change(
        "key version, to the one before the rotation",
        account + 48,
        &[&old(account, 48..64)],
    ));
    changes.push(change(
        "wrapped key, to the one before the rotation",
        account + 192,
        &[&old(account, 192..704)],
    ));
    let of_extent = [
        change(
            "extent's format version",
            8,
            &[&[0, 0], &[2, 0], &[0xff, 0xff]],
        ),
        change("cipher", 10, &[&[0], &[2], &[0xff]]),
        change("chunk size", 11, &[&[0], &[12], &[63], &[0xff]]),
    ];
    let sealed = blob.sealed()?;
    let files = [
        (&header, &current, &changes[..]),
        (&blob.extent, &sealed, &of_extent[..]),
    ];
    for (path, current, changes) in files {
        for change in changes {
            for value in &change.values {
                if current[change.at..change.at + value.len()] == **value {
                    continue;
                }
                let at = change.at as u64;
                let reading = patched(path, &[(at, value)], || victim.read(&blob))?;
                bout.record(reading, Some(at), || change.name.to_owned());
            }
        }
    }
    Ok(bout.finish("fields of the account's and an extent's header changed"))
}

/// The owner rotates the key and rewraps; then the header from before comes back. It is a success
/// of the attack when the data opens again with the old version. The control is somebody who opens it
/// and remembers nothing.
fn old_database_header(lab: &Lab, exhibit: &Exhibit) -> Result<Evidence, LabError> {
    let (dir, arm) = (lab.scratch()?, Arm::like(&exhibit.protected));
    let size = page_size(exhibit)?;
    let victim = Database::specimen(dir.path(), "rolled-back", &arm, size, 1)?.remembered(&arm)?;
    let old = read_all(&victim.path)?;
    arm.rotate();
    if arm.is_protected() {
        victim.open()?.rewrap(&arm.protection)?;
    }
    let put_back = |opener: &Database| -> Result<Evidence, LabError> {
        let mut bout = Bout::new(&opener.path, "refused");
        let reading = patched(&opener.path, &[(0, &old[..4096])], || opener.read())?;
        bout.record(opened(reading), Some(0), || {
            "it opens with the old key version".to_owned()
        });
        Ok(rolled_back(bout))
    };
    let mut evidence = put_back(&victim)?;
    let mut forgetful = control(put_back(&victim.forgotten())?);
    forgetful.summary = format!(
        "by who does not ask what the vault remembers: {}",
        forgetful.summary
    );
    evidence.control = Some(forgetful);
    Ok(evidence)
}

fn old_account_header(dir: &Path, arm: &Arm) -> Result<Evidence, LabError> {
    let victim = Account::specimen(&dir.join("rolled-back"), arm)?;
    let blob = victim.put("a.txt", text(1, 5000))?;
    let header = victim.dir.join("account.atrest");
    let mut bout = Bout::new(&header, "refused");
    let reading = match arm.protection.key() {
        None => victim.read(&blob),
        Some(_) => {
            let old = read_all(&header)?;
            arm.rotate();
            victim.open()?.rewrap(&arm.protection)?;
            with_tail(&header, 0, &old, || victim.read(&blob))?
        }
    };
    bout.record(opened(reading), Some(0), || {
        "it opens with the old key version".to_owned()
    });
    Ok(rolled_back(bout))
}

fn opened(reading: Reading) -> Reading {
    match reading {
        Reading::Data(_) => Reading::Data("opened".to_owned()),
        refused => refused,
    }
}

fn rolled_back(bout: Bout) -> Evidence {
    let opens = bout.succeeded();
    let mut evidence = bout.finish("the old header put back");
    evidence.summary = match opens {
        true => "The data opens under the old header, with the old key version.".to_owned(),
        false => "The old header is refused.".to_owned(),
    };
    evidence
}
