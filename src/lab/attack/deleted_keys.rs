//! A deleted key waits in its vault to be recovered; a purged one is gone.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use crate::base::SystemClock;
use crate::lab::registry::VAULT;
use crate::lab::theft::{duplicate, files_below, list};
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::vault::{KeyVault, LocalVault, RootKeySource};

use super::bout::{Bout, Reading, error_text};
use super::known::Known;
use super::strongbox::{Strongbox, failed, key_name};

/// Attack 31.
pub(in crate::lab) fn read(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(31);
    let dir = lab.scratch()?;
    let strongbox = Strongbox::create(dir.path(), "vault")?;
    let bytes = strongbox.import("payroll")?;
    let known = Known::new(&[bytes])?;
    let before = copy(&strongbox, dir.path(), "live")?;
    let (sealed, opens) = before.sealed_key()?;
    let in_pages = Known::new(&[&bytes[..], &sealed[..]])?;
    let vault = strongbox.open().map_err(failed)?;
    vault.delete_key(&key_name("payroll")).map_err(failed)?;
    let deleted = copy(&strongbox, dir.path(), "deleted")?;
    vault.purge_key(&key_name("payroll")).map_err(failed)?;
    drop(vault);
    let purged = copy(&strongbox, dir.path(), "purged")?;
    Ok(vec![
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
    ])
}

/// The vault as it is now, elsewhere.
fn copy(strongbox: &Strongbox, dir: &Path, name: &str) -> Result<Strongbox, LabError> {
    let to = dir.join(name);
    for file in list(&strongbox.dir)? {
        crate::base::create_dir_private(&to).map_err(|e| LabError::io(&to, e))?;
        if file.is_file() {
            duplicate(&file, &to)?;
        }
    }
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
