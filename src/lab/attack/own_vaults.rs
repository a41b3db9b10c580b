//! The vaults of the working directory itself: the same attacks on copies of them. What needs the root key
//! has it where that lies in a file; a passphrase was asked for elsewhere, and the lab is not told it.

use crate::base::KeyName;
use crate::lab::theft::copy_vault;
use crate::lab::{Attack, Evidence, Lab, LabError, Outcome, StolenVault, Verdict};
use crate::vault::{KeyVault, LocalVault, Page, RootKeySource};

use super::strongbox::{Strongbox, failed};

/// A copy of a vault for one attack, in a directory that goes away with it.
pub(super) struct Copied {
    pub strongbox: Strongbox,
    /// Where the attack works.
    pub scratch: tempfile::TempDir,
}

/// What is done to each of the vaults that were stolen, each time with a copy that opens, and the parts of the attack
/// that it gives; without the root key nothing is tried, which is told.
pub(super) fn each(
    lab: &Lab,
    number: u8,
    tries: &[&dyn Fn(Copied) -> Result<Vec<Part>, LabError>],
) -> Result<Vec<Outcome>, LabError> {
    let mut outcomes = Vec::new();
    for vault in &lab.vaults {
        let name = named(vault);
        let Some(key) = &vault.key_file else {
            let why = "its root key is sealed under a passphrase, which the lab is not told: nothing that has \
                       to open a copy of it is tried";
            outcomes.push(not_tried(number, None, &name, why));
            continue;
        };
        let attack = Attack::number(number);
        for attempt in tries {
            let copied = copied(lab, vault, RootKeySource::KeyFile(key.clone()))?;
            match attempt(copied) {
                Ok(parts) => outcomes.extend(parts.into_iter().map(|(part, came)| match came {
                    Ok(evidence) => attack.outcome(Some(part), &name, evidence),
                    Err(why) => not_tried(number, Some(part), &name, &why),
                })),
                Err(e) => {
                    let evidence = Evidence::of(format!("could not run on a copy of it: {e}"));
                    outcomes.push(attack.outcome(None, &name, evidence));
                }
            }
        }
    }
    Ok(outcomes)
}

/// What an attack on a vault is called, and what came of it, or why it cannot be tried there.
pub(super) type Part = (&'static str, Result<Evidence, String>);

/// What a vault is called among the outcomes.
pub(super) fn named(vault: &StolenVault) -> String {
    format!("the vault {}", vault.name)
}

pub(super) fn not_tried(number: u8, part: Option<&str>, name: &str, why: &str) -> Outcome {
    let evidence = Evidence {
        reason: Some(why.to_owned()),
        ..Evidence::of("Not tried on this vault.")
    };
    let mut outcome = Attack::number(number).outcome(part, name, evidence);
    outcome.verdict = Verdict::NotTried;
    outcome
}

/// A copy of the copy.
pub(super) fn copied(
    lab: &Lab,
    vault: &StolenVault,
    root: RootKeySource,
) -> Result<Copied, LabError> {
    let scratch = lab.scratch()?;
    let dir = scratch.path().join("vault");
    copy_vault(&vault.dir, &dir)?;
    Ok(Copied {
        strongbox: Strongbox { dir, root },
        scratch,
    })
}

/// A key of the vault, or why there is none that an attack could purge.
pub(super) fn purgeable(vault: &LocalVault) -> Result<Result<KeyName, String>, LabError> {
    let keys = vault.keys(Page::all()).map_err(failed)?;
    let Some(bundle) = keys.into_iter().next() else {
        return Ok(Err("it has no key".to_owned()));
    };
    match vault.status().map_err(failed)?.settings.purge_protection {
        true => Ok(Err(
            "its purge protection lets nobody purge a key, in a copy of it neither".to_owned(),
        )),
        false => Ok(Ok(bundle.kid.name)),
    }
}
