//! Logs, errors, panics and audit records: whether what is secret is in what is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::{KeyEncryptionKey, KeyKind, Secret, SecretBytes, random_bytes};
use crate::lab::registry::PROCESS;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::sqlite::PageSize;
use crate::vault::{AuditFilter, KeySpec, KeyVault};
use crate::world::WhichVault;

use super::bout::{Bout, Reading};
use super::database::Database;
use super::known::{Known, marker};
use super::served::{
    BLOB_HOST, STORAGE_AUDIENCE, Served, VAULT_AUDIENCE, VAULT_HOST, no_program, workspace,
};
use super::strongbox::{failed, key_name};
use super::vault::Arm;

/// Attack 23.
pub(in crate::lab) fn read(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(23);
    let dir = lab.scratch()?;
    let mut outcomes = vec![attack.outcome(
        Some("errors, panics and what types print of themselves"),
        PROCESS,
        in_process(dir.path())?,
    )];
    let part = "a server's log, its answers to bad requests, and the audit records";
    outcomes.push(attack.outcome(Some(part), PROCESS, of_a_server(lab, dir.path())?));
    Ok(outcomes)
}

/// Records whether a known byte string is in what was told.
fn record(bout: &mut Bout, known: &Known, what: &str, told: &str) {
    let reading = match known.in_bytes(what, told.as_bytes()).canary_hits {
        0 => Reading::Refused(format!("nothing in {what}")),
        n => Reading::Data(format!("{n} times")),
    };
    bout.record(reading, None, || format!("in {what}"));
}

/// The control: the same search where a program logs what it should not.
fn careless(known: &Known, secrets: &[&[u8]]) -> Control {
    let lines = secrets.iter().enumerate().map(|(n, secret)| match n % 2 {
        0 => format!("DEBUG key={}\n", hex::encode(secret)),
        _ => format!("{{\"body\":\"{}\"}}\n", URL_SAFE_NO_PAD.encode(secret)),
    });
    let hits = known
        .in_bytes("log", lines.collect::<String>().as_bytes())
        .canary_hits;
    Control {
        fired: hits >= secrets.len() as u64,
        summary: format!("in a careless program's log they are found {hits} times."),
        ..Control::default()
    }
}

fn in_process(dir: &Path) -> Result<Evidence, LabError> {
    let (key, text) = (random_bytes::<32>(), marker("row that no error tells"));
    let known = Known::new(&[&key[..], text.as_bytes()])?;
    let mut bout = Bout::new(Path::new("errors"), "");
    let secret: Secret<32> = Secret::copy_from(&key).expect("32 bytes");
    let bytes = SecretBytes::from_vec(key.to_vec());
    let kek = KeyEncryptionKey::from_oct(&key).expect("32 bytes");
    record(
        &mut bout,
        &known,
        "what a key prints of itself",
        &format!("{secret:?} {bytes:?}"),
    );
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        // Without a word on standard error: what a panic carries is what it tells.
        std::panic::resume_unwind(Box::new(format!("gave up with {secret:?} and {bytes:?}")));
    }));
    let told = panicked.err().and_then(|p| p.downcast::<String>().ok());
    record(
        &mut bout,
        &known,
        "what a panic carries",
        told.as_deref().map_or("", |t| t),
    );
    let refused = kek.unwrap(crate::crypto::WrapAlgorithm::A256Kw, &key);
    record(
        &mut bout,
        &known,
        "a refusal to unwrap",
        &format!("{:?}", refused.err()),
    );

    let arm = Arm::with_key();
    let database = Database::specimen(dir, "errors.db", &arm, PageSize::DEFAULT, 23)?;
    let open = database.open()?;
    let connection = open.connect()?;
    connection.execute_batch("CREATE TABLE t (a TEXT UNIQUE CHECK (length(a) < 1000))")?;
    connection.execute("INSERT INTO t VALUES (?1)", [&text])?;
    let mut told = String::new();
    for statement in [
        "INSERT INTO t VALUES (?1)",
        "INSERT INTO t SELECT ?1 || zeroblob(2000)",
        "SELECT a FROM t WHERE a = ?1 AND nothing",
    ] {
        if let Err(e) = connection.execute(statement, [&text]) {
            let debug = format!("{e:?}");
            told += &format!("{debug} {}\n", open.explain(e));
        }
    }
    drop((connection, open));
    let middle = database.page_at(2) + 100;
    let reading = super::alter::patched(&database.path, &[(middle, &[0; 64])], || database.read())?;
    told += &format!("{reading:?}");
    record(&mut bout, &known, "errors of a database", &told);
    let mut evidence = bout.finish("what is told when things go wrong, searched in every encoding");
    evidence.control = Some(careless(&known, &[&key, text.as_bytes()]));
    Ok(evidence)
}

fn of_a_server(lab: &Lab, dir: &Path) -> Result<Evidence, LabError> {
    let work = dir.join("work");
    let made = workspace(&work)?;
    let (key, wrapped) = (random_bytes::<32>(), random_bytes::<32>());
    let (body, secret) = (
        marker("blob that no log tells"),
        marker("secret that no log tells"),
    );
    let known = Known::new(&[&key[..], &wrapped, body.as_bytes(), secret.as_bytes()])?;
    let vault = made.vault(&WhichVault::Customer).map_err(failed)?;
    let material = KeyEncryptionKey::from_oct(&key).expect("32 bytes");
    let spec = KeySpec::new(KeyKind::Oct256);
    vault
        .import_key(&key_name("known"), material, &spec)
        .map_err(failed)?;
    let Some(served) = Served::start(lab, &work, &[])? else {
        return Ok(no_program());
    };
    let (vaults, blobs) = (
        served.token(VAULT_AUDIENCE)?,
        served.token(STORAGE_AUDIENCE)?,
    );
    let value = URL_SAFE_NO_PAD.encode(wrapped);
    let right = format!(r#"{{"alg":"A256KW","value":"{value}"}}"#);
    let wrong = format!(
        r#"{{"alg":"A999","value":"{value}","k":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(key)
    );
    let put = format!(r#"{{"value":"{secret}"}}"#);
    let mut done = 0;
    let mut told = String::new();
    let mut ask = |host: &str, token: &str, method: &str, path: &str, body: &str| {
        let answer = served.ask(host, token, method, path, body)?;
        match answer.status {
            200..=299 => done += 1,
            _ => told += &answer.body,
        }
        Ok::<(), LabError>(())
    };
    let version = "api-version=7.4";
    ask(
        VAULT_HOST,
        &vaults,
        "POST",
        &format!("/keys/known/wrapkey?{version}"),
        &right,
    )?;
    ask(
        VAULT_HOST,
        &vaults,
        "POST",
        &format!("/keys/known/wrapkey?{version}"),
        &wrong,
    )?;
    ask(
        VAULT_HOST,
        &vaults,
        "POST",
        &format!("/keys/known/unwrapkey?{version}"),
        &right,
    )?;
    ask(
        VAULT_HOST,
        &vaults,
        "PUT",
        &format!("/secrets/known?{version}"),
        &put,
    )?;
    ask(
        VAULT_HOST,
        &vaults,
        "PUT",
        &format!("/secrets/known?{version}"),
        &put[1..],
    )?;
    ask(
        VAULT_HOST,
        &vaults,
        "PUT",
        &format!("/keys/known?{version}"),
        &wrong,
    )?;
    ask(BLOB_HOST, &blobs, "PUT", "/box?restype=container", "")?;
    ask(BLOB_HOST, &blobs, "PUT", "/box/a.txt", &body)?;
    ask(BLOB_HOST, &blobs, "PUT", "/box/a.txt?comp=blocklist", &body)?;
    ask(BLOB_HOST, "none", "PUT", "/box/b.txt", &body)?;
    let mut bout = Bout::new(Path::new("log"), "");
    record(&mut bout, &known, "answers to bad requests", &told);
    let log = served.log()?;
    record(&mut bout, &known, "the log", &log);
    let records = vault.audit(&AuditFilter::default()).map_err(failed)?;
    let records = serde_json::to_string(&records).map_err(|e| LabError::Report(e.to_string()))?;
    record(&mut bout, &known, "the audit records", &records);
    let mut evidence = bout.finish("what a server tells, searched in every encoding");
    evidence.summary.push_str(&format!(
        " {done} requests were served and the others refused; {} bytes of log, {} of audit records.",
        log.len(),
        records.len()
    ));
    let secrets = [&key[..], &wrapped, body.as_bytes(), secret.as_bytes()];
    let mut control = careless(&known, &secrets);
    // Nothing told of what never came.
    control.fired &= done >= 4 && !log.is_empty() && records.contains("known");
    evidence.control = Some(control);
    Ok(evidence)
}
