//! A key's backup leaves the vault; what it is worth elsewhere.

use std::path::Path;

use crate::base::KeyName;
use crate::lab::registry::VAULT;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::vault::{KeyBundle, KeyVault, LocalVault, VaultError};

use super::bout::{Bout, Reading, error_text};
use super::known::Known;
use super::own_vaults::{self, Copied};
use super::strongbox::{Strongbox, failed, key_name};

/// How many of a backup's bytes are altered.
const FLIPS: usize = 64;

/// Attack 32.
pub(in crate::lab) fn foreign(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(32);
    let dir = lab.scratch()?;
    let own = Strongbox::create(dir.path(), "own")?;
    let known = Known::new(&[own.import("payroll")?])?;
    let evidence = elsewhere(&own, &key_name("payroll"), Some(&known), dir.path())?;
    let mut outcomes = vec![attack.outcome(None, VAULT, evidence)];
    let backed_up = |own: Copied| {
        let part = "the backup of a key, made by a copy";
        let vault = own.strongbox.open().map_err(failed)?;
        let key = own_vaults::purgeable(&vault)?;
        drop(vault);
        let tried = |key: KeyName| elsewhere(&own.strongbox, &key, None, own.scratch.path());
        let came = match key {
            Ok(key) => Ok(tried(key)?),
            Err(why) => Err(why),
        };
        Ok(vec![(part, came)])
    };
    outcomes.extend(own_vaults::each(lab, 32, &[&backed_up])?);
    Ok(outcomes)
}

/// A backup of this key of a vault restored in another one, and, altered, in its own after a purge. Where the key's
/// bytes are known they are looked for in it.
fn elsewhere(
    own: &Strongbox,
    key: &KeyName,
    known: Option<&Known>,
    dir: &Path,
) -> Result<Evidence, LabError> {
    let vault = own.open().map_err(failed)?;
    let backup = vault.backup_key(key).map_err(failed)?;
    let foreign = Strongbox::create(dir, "foreign")?;
    let foreign = foreign.open().map_err(failed)?;

    let restored = |vault: &LocalVault, backup: &[u8]| reading(vault.restore_key(backup));
    let mut bout = Bout::new(&own.dir.join(format!("{key}.backup")), "");
    bout.record(restored(&foreign, &backup), None, || {
        "restored in a foreign vault".to_owned()
    });
    // Its public parts say that it is the foreign vault's own.
    let mut relabelled = backup.clone();
    let (from, to) = (vault.id(), foreign.id());
    let mut at = 0;
    while let Some(found) = find(&relabelled[at..], from.as_bytes()) {
        at += found;
        relabelled[at..at + 16].copy_from_slice(to.as_bytes());
    }
    bout.record(restored(&foreign, &relabelled), None, || {
        "restored after its vault's identity was changed".to_owned()
    });
    if let Some(known) = known {
        let found = match known.in_bytes("backup", &backup).canary_hits {
            0 => Reading::Refused("the key's bytes are not in the backup".to_owned()),
            n => Reading::Data(format!("{n} times")),
        };
        bout.record(found, None, || "the key's bytes".to_owned());
    }
    // Altered, it does not come back to its own vault either.
    vault.delete_key(key).map_err(failed)?;
    vault.purge_key(key).map_err(failed)?;
    for flip in 0..FLIPS {
        let at = flip * backup.len() / FLIPS;
        let mut altered = backup.clone();
        altered[at] ^= 1 << (flip % 8);
        bout.record(restored(&vault, &altered), Some(at as u64), || {
            "restored after one bit was flipped".to_owned()
        });
    }
    bout.record(restored(&vault, &backup[..backup.len() - 1]), None, || {
        "restored after its end was cut".to_owned()
    });
    let mut evidence = bout.finish("a backup restored elsewhere, relabelled and altered");
    let home = vault.restore_key(&backup);
    evidence.control = Some(Control {
        fired: home.is_ok(),
        summary: match home {
            Ok(_) => "unaltered, its own vault restores it after a purge.".to_owned(),
            Err(e) => format!("its own vault does not restore it: {e}"),
        },
        ..Control::default()
    });
    Ok(evidence)
}

fn reading(restored: Result<KeyBundle, VaultError>) -> Reading {
    match restored {
        Ok(_) => Reading::Data("restored".to_owned()),
        Err(e) => Reading::Refused(error_text(&e, "".as_ref())),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}
