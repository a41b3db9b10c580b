//! Names that would lead out of the store, and links planted in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::base::{KeyName, VaultName, beside};
use crate::crypto::sha256;
use crate::lab::registry::SERVER;
use crate::lab::theft::files_below;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::resource::ResourceError;
use crate::resource::blob::{BlobName, ContainerName};
use crate::sqlite::PageSize;
use crate::world::Name;

use super::account::{Account, text};
use super::bout::{Bout, Reading, control, error_text};
use super::database::Database;
use super::served::{
    ACCOUNT, BLOB_HOST, STORAGE_AUDIENCE, Served, VAULT_AUDIENCE, VAULT_HOST, no_program, workspace,
};
use super::vault::Arm;

/// Names as a thief sends them in a URL, percent-encoded.
const NAMES: [&str; 22] = [
    "../secret",
    "..%2fsecret",
    "%2e%2e%2fsecret",
    "%2e%2e/secret",
    "..%5csecret",
    "..%252fsecret",
    "..%c0%afsecret",
    "%c0%ae%c0%ae%2fsecret",
    "..%e0%80%afsecret",
    "a/../../secret",
    "a/%2e%2e/%2e%2e/secret",
    "./secret",
    "%2fetc%2fpasswd",
    "//etc/passwd",
    "secret%00.txt",
    "secret%0a",
    "CON",
    "SECRET",
    "secret.",
    "%ff%fe",
    "..%ef%bc%8fsecret",
    "%f0%80%80%af",
];

/// Attack 34.
pub(in crate::lab) fn names(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(34);
    let dir = lab.scratch()?;
    let root = dir.path().join("root");
    workspace(&root)?;
    let (secret, token) = (dir.path().join("secret"), root.join("secret"));
    for path in [&secret, &token] {
        fs::write(path, "outside the store").map_err(|e| LabError::io(path, e))?;
    }
    let over_http = match Served::start(lab, &root, &[])? {
        Some(served) => on_the_wire(&served, dir.path())?,
        None => no_program(),
    };
    Ok(vec![
        attack.outcome(Some("in requests to the server"), SERVER, over_http),
        attack.outcome(
            Some("names of keys, vaults, environments, resources and containers"),
            SERVER,
            parsed(dir.path())?,
        ),
        attack.outcome(
            Some("symbolic links in a stolen account that is put back"),
            SERVER,
            links(dir.path())?,
        ),
        attack.outcome(
            Some("symbolic links in the place of a database, its journal and its log"),
            SERVER,
            links_at_a_database(dir.path())?,
        ),
    ])
}

/// Every file below `dir` with its hash, but for the log and what the store itself writes.
fn outside(dir: &Path, store: &Path) -> Result<BTreeMap<PathBuf, [u8; 32]>, LabError> {
    let mut all = BTreeMap::new();
    for path in files_below(dir)? {
        let ours = ["customer", "provider", "server", "log", "atrest.lock"]
            .map(|name| dir.join("root").join(name));
        if !path.starts_with(store) && !ours.iter().any(|own| path.starts_with(own)) {
            let bytes = fs::read(&path).map_err(|e| LabError::io(&path, e))?;
            all.insert(path, sha256(&[&bytes]));
        }
    }
    Ok(all)
}

fn on_the_wire(served: &Served, dir: &Path) -> Result<Evidence, LabError> {
    let store = dir.join("root/environments/lab").join(ACCOUNT);
    let before = outside(dir, &store)?;
    let mut bout = Bout::new(&served.dir, "");
    let (storage, vault) = (
        served.token(STORAGE_AUDIENCE)?,
        served.token(VAULT_AUDIENCE)?,
    );
    let made = served.ask(BLOB_HOST, &storage, "PUT", "/box?restype=container", "")?;
    if made.status != 201 {
        return Err(LabError::Report(format!(
            "no container was made: {}",
            made.body
        )));
    }
    let mut kept = 0;
    for name in NAMES.iter().map(|n| (*n).to_owned()).chain([long_name()]) {
        for path in [
            format!("/box/{name}"),
            format!("/{name}/blob"),
            format!("/{name}"),
        ] {
            for method in ["PUT", "GET", "DELETE"] {
                let answer = served.ask(BLOB_HOST, &storage, method, &path, "planted")?;
                let leaked = answer.body.contains("outside the store");
                kept += u64::from(method == "PUT" && answer.status == 201);
                let reading = judge(answer.status, leaked, outside(dir, &store)? == before);
                bout.record(reading, None, || format!("{method} {path}"));
            }
        }
        for path in [
            format!("/keys/{name}?api-version=7.4"),
            format!("/secrets/{name}?api-version=7.4"),
        ] {
            let answer = served.ask(VAULT_HOST, &vault, "GET", &path, "")?;
            let leaked = answer.body.contains("outside the store");
            let reading = judge(answer.status, leaked, outside(dir, &store)? == before);
            bout.record(reading, None, || format!("GET {path}"));
        }
    }
    let mut evidence = bout.finish("requests with such names");
    evidence.summary.push_str(&format!(
        " {kept} were taken as names of blobs, which are values in the catalog and never paths."
    ));
    if evidence.tally.succeeded == 0 {
        let none = " Nothing outside the store changed or was given.";
        evidence.summary.push_str(none);
    }
    evidence.control = Some(control(naive(dir)?));
    Ok(evidence)
}

/// A refusal, a name that is only a name (which is harmless), or a way out. A crash is no refusal.
fn judge(status: u16, leaked: bool, unchanged: bool) -> Reading {
    match (leaked, unchanged, status) {
        (true, _, _) | (_, false, _) => Reading::Data("a way out".to_owned()),
        (_, _, 0) => Reading::Data("the connection is closed".to_owned()),
        (_, _, 500 | 502..=599) => Reading::Data(format!("status {status}")),
        (_, _, 200..=202) => Reading::Data(String::new()),
        (_, _, 400..=499) => Reading::Refused("refused".to_owned()),
        _ => Reading::Refused(format!("status {status}")),
    }
}

fn long_name() -> String {
    "../".repeat(700) + "secret"
}

/// A store that joins the decoded name to its directory.
fn naive(dir: &Path) -> Result<Evidence, LabError> {
    let store = dir.join("naive/store");
    fs::create_dir_all(&store).map_err(|e| LabError::io(&store, e))?;
    let outside = dir.join("naive/secret");
    let mut bout = Bout::new(&store, "");
    for name in NAMES {
        fs::write(&outside, "outside the store").map_err(|e| LabError::io(&outside, e))?;
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        // Not below the directory of this attack, whatever the name.
        let path = store.join(decoded.trim_start_matches('/'));
        let _ = fs::write(&path, "planted");
        let reading = match fs::read(&outside) {
            Ok(bytes) if bytes == b"outside the store" => Reading::Refused("inside".to_owned()),
            _ => Reading::Data("overwritten".to_owned()),
        };
        bout.record(reading, None, || name.to_owned());
    }
    Ok(bout.finish("the same names in a store that joins them to its directory"))
}

fn parsed(dir: &Path) -> Result<Evidence, LabError> {
    let mut bout = Bout::new(Path::new("names"), "");
    for name in NAMES.iter().map(|n| (*n).to_owned()).chain([long_name()]) {
        let decoded = percent_encoding::percent_decode_str(&name)
            .decode_utf8_lossy()
            .into_owned();
        let accepted = [
            ("a key", decoded.parse::<KeyName>().is_ok()),
            ("a vault", decoded.parse::<VaultName>().is_ok()),
            ("a resource", decoded.parse::<Name>().is_ok()),
            ("a container", decoded.parse::<ContainerName>().is_ok()),
            ("a blob", BlobName::parse(&decoded).is_ok()),
        ];
        for (what, accepted) in accepted {
            // A blob's name is no path. Any other that is taken must be one plain component.
            let component = Path::new(&decoded).components().collect::<Vec<_>>();
            let plain = component.len() == 1
                && matches!(component[0], std::path::Component::Normal(_))
                && decoded
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let is_safe =
                plain || (what == "a blob" && !decoded.split(['/', '\\']).any(|s| s == ".."));
            let reading = match accepted && !is_safe {
                true => Reading::Data("accepted".to_owned()),
                false => Reading::Refused(match accepted {
                    true => "a plain name".to_owned(),
                    false => "no name".to_owned(),
                }),
            };
            bout.record(reading, None, || format!("{decoded:?} as {what}"));
        }
    }
    let mut evidence = bout.finish("such names read as names");
    evidence.control = Some(control(naive(dir)?));
    Ok(evidence)
}

/// The same for what SQLite opens, of which a journal and a log are made anew where there is none.
fn links_at_a_database(dir: &Path) -> Result<Evidence, LabError> {
    const OUTSIDE: &[u8] = b"what a thief cannot write to, and the owner of the database can";
    let arm = Arm::with_key();
    let mut bout = Bout::new(Path::new("database"), "");
    let mut naive = Control::default();
    for (ending, mode) in [("", "delete"), ("-journal", "delete"), ("-wal", "wal")] {
        let place = tempfile::tempdir_in(dir).map_err(|e| LabError::io(dir, e))?;
        let database = Database::specimen(place.path(), "linked", &arm, PageSize::DEFAULT, 34)?;
        let (target, link) = (place.path().join("target"), beside(&database.path, ending));
        let plant = || {
            let _ = fs::remove_file(&link);
            fs::write(&target, OUTSIDE)
                .and_then(|()| symlink(&target, &link))
                .map_err(|e| LabError::io(&link, e))
        };
        let changed = || fs::read(&target).map_or(true, |bytes| bytes != OUTSIDE);
        plant()?;
        // Whether it is refused or goes on past the link: what counts is what it reaches.
        let said = write_rows(&database, mode);
        let reading = match changed() {
            true => Reading::Data("changed".to_owned()),
            false => Reading::Refused(match said {
                Ok(()) => "what the link points to is left alone".to_owned(),
                Err(e) => error_text(&e, place.path()),
            }),
        };
        bout.record(reading, None, || {
            format!("what a link at the database{ending} points to was changed")
        });
        plant()?;
        let _ = fs::write(
            &link,
            b"a journal, as a program writes one that asks nothing",
        );
        naive.tally.trials += 1;
        naive.tally.succeeded += u64::from(changed());
    }
    let mut evidence = bout.finish("rows written where a link was planted");
    naive.fired = naive.tally.succeeded == naive.tally.trials;
    naive.summary = format!(
        "a program that opens them by name writes through {} of {} links.",
        naive.tally.succeeded, naive.tally.trials
    );
    evidence.control = Some(naive);
    Ok(evidence)
}

fn write_rows(database: &Database, mode: &str) -> Result<(), ResourceError> {
    let open = database.open()?;
    let connection = open.connect()?;
    connection
        .pragma_update(None, "journal_mode", mode)
        .and_then(|()| connection.execute_batch("UPDATE ledger SET amount = amount + 1"))
        .map_err(|e| open.explain(e))
}

/// A thief who can write puts links where files were: reading and writing through them must not
/// reach what they point to.
fn links(dir: &Path) -> Result<Evidence, LabError> {
    let run = |arm: &Arm, name: &str| -> Result<Evidence, LabError> {
        let place = dir.join(name);
        crate::base::create_dir_private(&place).map_err(|e| LabError::io(&place, e))?;
        let account = Account::specimen(&place.join("account"), arm)?;
        let blob = account.put("a.txt", text(34, 9000))?;
        let target = place.join("target");
        let planted = text(35, 9000);
        fs::write(&target, &planted).map_err(|e| LabError::io(&target, e))?;
        fs::remove_file(&blob.extent)
            .and_then(|()| symlink(&target, &blob.extent))
            .map_err(|e| LabError::io(&blob.extent, e))?;
        let mut bout = Bout::new(&account.dir, &blob.truth());
        bout.record(account.read(&blob), None, || {
            "what the link points to was given as the blob".to_owned()
        });
        // Both a deletion and a new version end the old extent.
        account.put("a.txt", text(36, 9000))?;
        let same = fs::read(&target).is_ok_and(|bytes| bytes == planted);
        let reading = match same {
            true => Reading::Refused("the link is removed, not what it points to".to_owned()),
            false => Reading::Data("changed".to_owned()),
        };
        bout.record(reading, None, || {
            "what the link points to was changed".to_owned()
        });
        Ok(bout.finish("an extent replaced by a link to a file outside"))
    };
    let (protected, plain) = (Arm::with_key(), Arm::plain());
    let mut evidence = run(&protected, "links")?;
    evidence.control = Some(Control {
        summary: "an unprotected account gives what the link points to.".to_owned(),
        ..control(run(&plain, "plain-links")?)
    });
    Ok(evidence)
}
