//! A deleted key waits in its vault to be recovered; a purged one is gone.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::base::SystemClock;
use crate::lab::registry::VAULT;
use crate::lab::theft::{copy_vault, files_below};
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::vault::{KeyVault, LocalVault, RootKeySource};

use super::bout::{Bout, Reading, error_text};
use super::known::Known;
use super::own_vaults::{self, Copied, Part};
use super::strongbox::{Strongbox, failed, key_name};

/// Attack 31.
pub(in crate::lab) fn read(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(31);
    let dir = lab.scratch()?;
    let strongbox = Strongbox::create(dir.path(), "vault")?;
    let bytes = strongbox.import("payroll")?;
    let known = Known::new(&[bytes])?;
    let before = copy(&strongbox, dir.path(), "live")?;
    let (sealed, opens) = before.sealed_key(&key_name("payroll"))?;
    let in_pages = Known::new(&[&bytes[..], &sealed[..]])?;
    let vault = strongbox.open().map_err(failed)?;
    vault.delete_key(&key_name("payroll")).map_err(failed)?;
    let deleted = copy(&strongbox, dir.path(), "deleted")?;
    vault.purge_key(&key_name("payroll")).map_err(failed)?;
    drop(vault);
    let purged = copy(&strongbox, dir.path(), "purged")?;
    let mut outcomes = vec![
        attack.outcome(
            Some("a deleted key, by who has the file and not the root key"),
            VAULT,
            without_the_root_key(&deleted, &known, bytes, dir.path())?,
        ),
        attack.outcome(
            Some("a purged key, by who has the file and the root key"),
            VAULT,
            with_the_root_key(&purged, &before, &in_pages, opens)?,
        ),
    ];
    let purged_in = |own: Copied| {
        let part = "a key that is purged in a copy, by who has the file and the root key";
        Ok(vec![(part, purged_in(&own)?)])
    };
    outcomes.extend(own_vaults::each(lab, 31, &[&opened_by_others, &purged_in])?);
    Ok(outcomes)
}

/// The vault opened by who has its files, and another root key or none.
pub(super) fn opened_by_others(own: Copied) -> Result<Vec<Part>, LabError> {
    let dir = own.scratch.path();
    let mut bout = Bout::new(&own.strongbox.file(), "");
    refused_without(&own.strongbox, dir, &mut bout)?;
    let mut evidence = bout.finish("the vault opened");
    let opened = own.strongbox.open();
    evidence.control = Some(Control {
        fired: opened.is_ok(),
        summary: match opened {
            Ok(_) => "its own root key opens the copy.".to_owned(),
            Err(e) => format!("its own root key does not open the copy: {e}"),
        },
        ..Control::default()
    });
    let part = "opened by who has its files and not the root key";
    Ok(vec![(part, Ok(evidence))])
}

/// A key of the vault, purged in the copy, and what is left of it there.
fn purged_in(own: &Copied) -> Result<Result<Evidence, String>, LabError> {
    let vault = own.strongbox.open().map_err(failed)?;
    let key = match own_vaults::purgeable(&vault)? {
        Ok(key) => key,
        Err(why) => return Ok(Err(why)),
    };
    let before = copy(&own.strongbox, own.scratch.path(), "before")?;
    let (sealed, opens) = before.sealed_key(&key)?;
    vault.delete_key(&key).map_err(failed)?;
    vault.purge_key(&key).map_err(failed)?;
    drop(vault);
    let known = Known::new(&[&sealed])?;
    with_the_root_key(&own.strongbox, &before, &known, opens).map(Ok)
}

/// Opens a vault with another root key, and with none.
fn refused_without(stolen: &Strongbox, dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let other = Strongbox::create(dir, "other")?;
    let none = RootKeySource::KeyFile(dir.join("missing.key"));
    for (root, what) in [(&other.root, "another root key"), (&none, "no root key")] {
        let opened = LocalVault::open(&stolen.dir, root, Arc::new(SystemClock));
        let reading = match opened {
            Ok(_) => Reading::Data("opened".to_owned()),
            Err(e) => Reading::Refused(error_text(&e, dir)),
        };
        bout.record(reading, None, || format!("it opens with {what}"));
    }
    Ok(())
}

/// The vault as it is now, elsewhere.
fn copy(strongbox: &Strongbox, dir: &Path, name: &str) -> Result<Strongbox, LabError> {
    let to = dir.join(name);
    copy_vault(&strongbox.dir, &to)?;
    let root = match &strongbox.root {
        RootKeySource::KeyFile(path) => RootKeySource::KeyFile(path.clone()),
        RootKeySource::Passphrase(_) => unreachable!("this vault is under a key file"),
    };
    Ok(Strongbox { dir: to, root })
}

fn without_the_root_key(
    stolen: &Strongbox,
    known: &Known,
    bytes: [u8; 32],
    dir: &Path,
) -> Result<Evidence, LabError> {
    let mut bout = Bout::new(&stolen.file(), "");
    let seen = known.in_files(&files_below(&stolen.dir)?)?;
    let found = match seen.canary_hits {
        0 => Reading::Refused("the key's bytes are in no file of it".to_owned()),
        n => Reading::Data(format!("{n} times")),
    };
    bout.record(found, None, || "the key's bytes".to_owned());
    refused_without(stolen, dir, &mut bout)?;
    let mut evidence = bout.finish("the key looked for in every encoding, the vault opened");
    let plain = dir.join("plain.db");
    Connection::open(&plain)?.execute_batch(&format!(
        "CREATE TABLE versions (name, deleted, material);
         INSERT INTO versions VALUES ('payroll', 1, x'{}')",
        hex::encode(bytes)
    ))?;
    let hits = known.in_files(&[plain])?.canary_hits;
    evidence.control = Some(Control {
        fired: hits > 0,
        summary: format!("in an ordinary database file the key is found {hits} times."),
        ..Control::default()
    });
    Ok(evidence)
}

/// Looked for are the key's bytes and the ciphertext of its column, which who has the root key opens.
fn with_the_root_key(
    purged: &Strongbox,
    before: &Strongbox,
    known: &Known,
    opens: bool,
) -> Result<Evidence, LabError> {
    let look = |vault: &Strongbox| -> Result<(u64, usize), LabError> {
        let pages = vault.pages()?;
        Ok((known.in_bytes("pages", &pages).canary_hits, pages.len()))
    };
    let mut bout = Bout::new(&purged.file(), "");
    let (hits, len) = look(purged)?;
    let found = match hits {
        0 => Reading::Refused("neither the key nor its sealed column is in a page".to_owned()),
        n => Reading::Data(format!("{n} times")),
    };
    bout.record(found, None, || {
        "the key or its sealed column in a page".to_owned()
    });
    let did = format!("{len} bytes of pages decrypted, free ones too");
    let mut evidence = bout.finish(&did);
    let (hits, _) = look(before)?;
    evidence.control = Some(Control {
        fired: hits > 0 && opens,
        summary: format!(
            "a copy from before the deletion has the sealed column {hits} times, and the root key {} it.",
            if opens { "opens" } else { "does not open" }
        ),
        ..Control::default()
    });
    Ok(evidence)
}
