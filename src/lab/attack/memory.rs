//! Process memory: what is there while keys are in use, and after.
//!
//! Looked for are the 32 bytes of known keys. A key schedule of AES-256 begins with them, so that an
//! expanded key is found as well; keys derived from them are not looked for.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::{KeyRef, KeyVersionRef};
use crate::crypto::{KeyEncryptionKey, KeyKind, Secret, SecretBytes, WrapAlgorithm, random_bytes};
use crate::lab::process::{Needle, Process};
use crate::lab::registry::PROCESS;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::resource::Wrapper;
use crate::sqlite::PageSize;
use crate::vault::{KeySpec, KeyUpdate, KeyVault, KeyWrapper, VaultError, WrappedKey};
use crate::world::{WhichVault, Workspace};

use super::account::{Account, text};
use super::bout::{Bout, Reading};
use super::database::Database;
use super::dumps::Dumps;
use super::served::{KEY, Served, VAULT_AUDIENCE, VAULT_HOST, no_program, workspace};
use super::strongbox::{failed, key_name};
use super::vault::Arm;

/// Attack 21.
pub(in crate::lab) fn dump(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(21);
    let dir = lab.scratch()?;
    let own = data_keys(dir.path())?;
    let mut outcomes = vec![attack.outcome(
        Some("data encryption keys in this process, after their key is revoked and after closing"),
        PROCESS,
        own,
    )];
    let work = dir.path().join("work");
    let made = workspace(&work)?;
    let vault = made.vault(&WhichVault::Customer).map_err(failed)?;
    let bytes = random_bytes();
    let material = KeyEncryptionKey::from_oct(&bytes).expect("32 bytes");
    let spec = KeySpec::new(KeyKind::Oct256);
    vault
        .import_key(&key_name("known"), material, &spec)
        .map_err(failed)?;
    drop(vault);
    let part = "a vault's key in a server's process, after it is disabled and after a seal";
    let Some(served) = Served::start(lab, &work, &[])? else {
        outcomes.push(attack.outcome(Some(part), PROCESS, no_program()));
        return Ok(outcomes);
    };
    let needle = Needle::of(&bytes);
    let (evidence, uses, dumps) = vault_key(&served, &made, &needle, dir.path())?;
    outcomes.push(attack.outcome(Some(part), PROCESS, evidence));
    for (tool, told) in dumps.failures() {
        let part = format!("a vault's key in dumps of a server's process, by {tool}");
        outcomes.push(attack.outcome(Some(&part), PROCESS, told));
    }
    outcomes.push(attack.outcome(
        Some("uses of a server's key after it is disabled and after a seal"),
        PROCESS,
        uses,
    ));
    outcomes.push(attack.outcome(
        Some("core dumps of a server's process"),
        PROCESS,
        core_dumps(served)?,
    ));
    Ok(outcomes)
}

/// Whether a needle is in memory where it must not be.
fn gone(bout: &mut Bout, found: u64, when: &str) {
    let reading = match found {
        0 => Reading::Refused(format!("not in memory {when}")),
        n => Reading::Data(format!("{n} times")),
    };
    bout.record(reading, None, || format!("in memory {found} times {when}"));
}

fn data_keys(dir: &Path) -> Result<Evidence, LabError> {
    let own = Process::own();
    let mut bout = Bout::new(Path::new("memory"), "");
    let mut open = (0, 0);
    let mut look = |bout: &mut Bout,
                    what: &str,
                    arm: &Arm,
                    spy: &Spy,
                    read: &dyn Fn() -> Reading,
                    close: Box<dyn FnOnce()>|
     -> Result<(), LabError> {
        let needles = spy.seen();
        read();
        let found = own.count(&needles)?;
        open = (
            open.0 + needles.len(),
            open.1 + found.iter().filter(|n| **n > 0).count(),
        );
        arm.enable(false, false);
        if let Reading::Data(_) = read() {
            bout.record(Reading::Data("read".to_owned()), None, || {
                format!("{what} is read although its key is disabled")
            });
        }
        gone(
            bout,
            own.count(&needles)?.iter().sum(),
            &format!("of {what} after the key is revoked"),
        );
        arm.enable(true, true);
        read();
        close();
        gone(
            bout,
            own.count(&needles)?.iter().sum(),
            &format!("of {what} after it is closed"),
        );
        Ok(())
    };
    let arm = Arm::with_key();
    let spy = Spy::on(&arm);
    let spied = arm.through(spy.clone());
    let database = Database::specimen(dir, "memory.db", &spied, PageSize::DEFAULT, 21)?;
    let live = Arc::new(Mutex::new(Some(database.open()?)));
    let kept = live.clone();
    let read = move || {
        let live = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = live.as_ref().map(|live| {
            let connection = live.connect()?;
            let count = "SELECT count(*) FROM ledger WHERE memo > ''";
            connection
                .query_row(count, [], |row| row.get::<_, i64>(0))
                .map_err(|e| live.explain(e))
        });
        match counted {
            Some(Ok(rows)) => Reading::Data(rows.to_string()),
            _ => Reading::Refused("refused".to_owned()),
        }
    };
    let close = Box::new(move || {
        live.lock().unwrap_or_else(PoisonError::into_inner).take();
    });
    look(&mut bout, "a database's key", &arm, &spy, &read, close)?;

    let arm = Arm::with_key();
    let spy = Spy::on(&arm);
    let spied = arm.through(spy.clone());
    let account = Account::specimen(&dir.join("memory"), &spied)?;
    let blob = account.put("a.txt", text(21, 5000))?;
    let live = Arc::new(Mutex::new(Some(account.open()?)));
    let kept = live.clone();
    let read = move || {
        let live = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let got = live
            .as_ref()
            .map(|live| live.get(&blob.path, None, &mut std::io::sink(), &mut |_| ()));
        match got {
            Some(Ok(_)) => Reading::Data("read".to_owned()),
            _ => Reading::Refused("refused".to_owned()),
        }
    };
    let close = Box::new(move || {
        live.lock().unwrap_or_else(PoisonError::into_inner).take();
    });
    look(&mut bout, "an account's keys", &arm, &spy, &read, close)?;
    let mut evidence = bout.finish("memory searched for the bytes of data encryption keys");
    evidence.control = Some(Control {
        fired: open.1 == open.0 && open.0 > 0,
        summary: format!(
            "while they are open, {} of their {} keys are found there.",
            open.1, open.0
        ),
        ..Control::default()
    });
    Ok(evidence)
}

/// A vault that remembers what to look for of each data encryption key that passes through it under
/// the customer's key. A catalog's is under the provider's, and stays in use.
struct Spy {
    below: Wrapper,
    under: Option<KeyRef>,
    seen: Mutex<Vec<Needle>>,
}

impl Spy {
    fn on(arm: &Arm) -> Arc<Self> {
        Arc::new(Self {
            below: arm.wrapper.clone(),
            under: arm.protection.key().cloned(),
            seen: Mutex::default(),
        })
    }

    fn note(&self, under: &KeyRef, key: &Secret<32>) {
        if Some(under) != self.under.as_ref() {
            return;
        }
        let needle = Needle::of(key.expose());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&needle) {
            seen.push(needle);
        }
    }

    fn seen(&self) -> Vec<Needle> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl KeyWrapper for Spy {
    fn wrap_key(&self, key: &KeyRef, dek: &Secret<32>) -> Result<WrappedKey, VaultError> {
        self.note(key, dek);
        self.below.wrap_key(key, dek)
    }

    fn unwrap_key(
        &self,
        key: &KeyVersionRef,
        algorithm: WrapAlgorithm,
        wrapped: &[u8],
    ) -> Result<Secret<32>, VaultError> {
        let dek = self.below.unwrap_key(key, algorithm, wrapped)?;
        self.note(&key.key(), &dek);
        Ok(dek)
    }

    fn revision(&self) -> Arc<AtomicU64> {
        self.below.revision()
    }
}

/// The vault's own key, which its server holds in order to wrap: what is left of it in memory, and
/// whether it can still be used; and the dumps that were made meanwhile.
fn vault_key<'a>(
    served: &Served,
    made: &Workspace,
    needle: &'a Needle,
    dir: &'a Path,
) -> Result<(Evidence, Evidence, Dumps<'a>), LabError> {
    let process = Process::of(served.id());
    let needles = std::slice::from_ref(needle);
    let token = served.token(VAULT_AUDIENCE)?;
    let wrap = |key: &str| -> Result<u16, LabError> {
        let body = r#"{"alg":"A256KW","value":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        let path = format!("/keys/{key}/wrapkey?api-version=7.4");
        Ok(served.ask(VAULT_HOST, &token, "POST", &path, body)?.status)
    };
    // In its memory, and in a dump of it where there is one.
    let mut dumps = Dumps::new(served.id(), needle, dir);
    let mut count = |what: &str| -> Result<u64, LabError> {
        dumps.take(what, process.count(needles)?.iter().sum())
    };
    let vault = made.vault(&WhichVault::Customer).map_err(failed)?;
    let enable = |enabled| {
        let update = KeyUpdate {
            enabled: Some(enabled),
            ..KeyUpdate::default()
        };
        vault
            .update_key(&key_name("known"), None, &update)
            .map(drop)
            .map_err(failed)
    };
    let mut bout = Bout::new(Path::new("memory"), "");
    let used = wrap("known")?;
    let unlocked = count("unlocked")?;
    enable(false)?;
    let disabled = wrap("known")?;
    gone(&mut bout, count("disabled")?, "after the key is disabled");
    enable(true)?;
    wrap("known")?;
    vault
        .seal(SecretBytes::from_vec(b"a passphrase of the lab".to_vec()))
        .map_err(failed)?;
    let sealed = wrap(KEY)?;
    gone(&mut bout, count("sealed")?, "after the vault is sealed");
    let mut evidence = bout.finish("a server's memory searched for the bytes of a vault's key");
    evidence.summary.push_str(&dumps.told());
    evidence.control = Some(Control {
        fired: unlocked > 0,
        summary: format!("while it is in use the key is found {unlocked} times."),
        ..Control::default()
    });
    Ok((evidence, uses(used, disabled, sealed), dumps))
}

/// Judges the answers to a use of the key, in each state.
fn uses(used: u16, disabled: u16, sealed: u16) -> Evidence {
    let mut bout = Bout::new(Path::new("server"), "");
    for (status, when) in [(disabled, "once disabled"), (sealed, "once sealed")] {
        let reading = match status {
            403 | 503 => Reading::Refused(format!("{status} {when}")),
            _ => Reading::Data(status.to_string()),
        };
        bout.record(reading, None, || format!("answered with {status} {when}"));
    }
    let mut evidence = bout.finish("uses of the key");
    evidence.control = Some(Control {
        fired: used == 200,
        summary: format!("while it is in use: {used}."),
        ..Control::default()
    });
    evidence
}

/// The limit that the process has set itself, and a crash of it.
fn core_dumps(served: Served) -> Result<Evidence, LabError> {
    let zero = |limits: &str| {
        let line = limits
            .lines()
            .find_map(|l| l.strip_prefix("Max core file size"));
        line.map(|l| l.split_whitespace().take(2).eq(["0", "0"]))
    };
    let path = format!("/proc/{}/limits", served.id());
    let limits = std::fs::read_to_string(&path).map_err(|e| LabError::io(path.as_ref(), e))?;
    let mut bout = Bout::new(Path::new("limits"), "");
    let reading = match zero(&limits) {
        Some(true) => Reading::Refused("the limit is 0, and cannot be raised".to_owned()),
        _ => Reading::Data("a dump would be written".to_owned()),
    };
    bout.record(reading, None, || {
        "the limit on core dumps is not 0".to_owned()
    });
    let reading = match served.crash()? {
        false => Reading::Refused("a crash left no dump".to_owned()),
        true => Reading::Data("dumped".to_owned()),
    };
    bout.record(reading, None, || "a crash left a dump".to_owned());
    let mut evidence = bout.finish("core dumps");
    let other = "Max core file size        unlimited            unlimited            bytes";
    evidence.control = Some(Control {
        fired: zero(other) == Some(false),
        summary:
            "no process: the words that the system has for one without a limit are told from 0."
                .to_owned(),
        ..Control::default()
    });
    Ok(evidence)
}
