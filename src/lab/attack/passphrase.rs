//! Guessing the passphrase that seals a vault.

use std::time::{Duration, Instant};

use crate::crypto::{SecretBytes, random_bytes, sha256};
use crate::lab::registry::VAULT;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::vault::{LocalVault, RootKeyKind, RootKeySource};

use super::bout::{Bout, Reading, error_text};
use super::own_vaults;
use super::strongbox::{Strongbox, failed};

/// Guesses at the vault that are timed.
const GUESSES: usize = 3;
/// Guesses at a fast hash that are timed.
const FAST_GUESSES: u32 = 200_000;
/// A list of passphrases as a thief has it, the vault's own at its end.
const LIST: [&str; 4] = ["password1", "letmein123", "qwerty12345", "Winter2026!"];
/// The least that a guess must cost: OWASP's advice for Argon2id, 19 MiB and two passes.
const LEAST: (u32, u32) = (19 * 1024, 2);

/// Attack 28.
pub(in crate::lab) fn guess(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(28);
    let dir = lab.scratch()?;
    let strong = hex::encode(random_bytes::<16>());
    let vault = Strongbox::create_under(dir.path(), "strong", words(&strong))?;
    let weak = Strongbox::create_under(dir.path(), "weak", words(LIST[LIST.len() - 1]))?;
    let mut outcomes = vec![
        attack.outcome(
            Some("a random passphrase: what a guess costs"),
            VAULT,
            cost(&vault)?,
        ),
        attack.declared(
            "a passphrase from a thief's list",
            VAULT,
            listed(&weak)?,
            "a weak passphrase stays weak: what a guess costs multiplies with how many are needed. Take a key \
             file, or a passphrase of five or more words drawn by dice.",
        ),
    ];
    for vault in &lab.vaults {
        let (part, name) = ("what a guess costs", own_vaults::named(vault));
        let record = LocalVault::root_record(&vault.dir).map_err(failed)?;
        outcomes.push(match record.kind() {
            RootKeyKind::KeyFile => {
                let why =
                    "its root key is in a file of 256 random bits: there is no passphrase to guess";
                own_vaults::not_tried(28, Some(part), &name, why)
            }
            RootKeyKind::Passphrase { .. } => {
                let copied = own_vaults::copied(lab, vault, words("nobody's"))?;
                attack.outcome(Some(part), &name, cost(&copied.strongbox)?)
            }
        });
    }
    Ok(outcomes)
}

fn words(text: &str) -> RootKeySource {
    RootKeySource::Passphrase(SecretBytes::from_vec(text.as_bytes().to_vec()))
}

/// Whether `text` opens the vault, and how long that takes to say.
fn try_one(vault: &Strongbox, text: &str) -> (Reading, Duration) {
    let begun = Instant::now();
    let clock = std::sync::Arc::new(crate::base::SystemClock);
    let opened = LocalVault::open(&vault.dir, &words(text), clock);
    let reading = match opened {
        Ok(_) => Reading::Data("opened".to_owned()),
        Err(e) => Reading::Refused(error_text(&e, &vault.dir)),
    };
    (reading, begun.elapsed())
}

fn cost(vault: &Strongbox) -> Result<Evidence, LabError> {
    let record = LocalVault::root_record(&vault.dir).map_err(failed)?;
    let mut bout = Bout::new(&vault.file(), "");
    let mut fastest = Duration::MAX;
    for guess in 0..GUESSES {
        let (reading, took) = try_one(vault, &format!("guess number {guess}"));
        bout.record(reading, None, || "a wrong passphrase opens it".to_owned());
        fastest = fastest.min(took);
    }
    let params = match record.kind() {
        RootKeyKind::Passphrase { argon2id } => argon2id,
        RootKeyKind::KeyFile => {
            return Err(LabError::Report("the vault is under no passphrase".into()));
        }
    };
    let cheap = params.memory_kib < LEAST.0 || params.passes < LEAST.1;
    let stated = match cheap {
        true => Reading::Data("cheap".to_owned()),
        false => Reading::Refused("a guess costs what it must".to_owned()),
    };
    bout.record(stated, None, || "a guess costs too little".to_owned());
    let mut evidence = bout.finish("guesses at the vault");
    let fast = fast_hash();
    let slower = fastest.as_secs_f64() / fast;
    evidence.summary.push_str(&format!(
        " One guess takes {} MiB and {:.0} ms of this machine (Argon2id, {} passes, {} lanes), {slower:.0} times \
         as long as one SHA-256. For a random choice among 2^40 that is {} years of one such machine on the average.",
        params.memory_kib / 1024,
        1e3 * fastest.as_secs_f64(),
        params.passes,
        params.lanes,
        years(fastest.as_secs_f64()),
    ));
    evidence.control = Some(Control {
        fired: slower > 1000.0,
        summary: format!(
            "a hash alone (SHA-256) gives away {:.1} million guesses a second.",
            1e-6 / fast
        ),
        ..Control::default()
    });
    Ok(evidence)
}

/// Half of 2^40 guesses of so many seconds, in years to three digits.
fn years(seconds: f64) -> String {
    let years = seconds * f64::from(1u32 << 20) * f64::from(1u32 << 19) / (365.25 * 86_400.0);
    match years {
        y if y >= 1000.0 => format!("{:.0} thousand", y / 1000.0),
        y => format!("{y:.0}"),
    }
}

/// Seconds that a guess takes when the passphrase is hashed once, with a salt.
fn fast_hash() -> f64 {
    let salt = random_bytes::<16>();
    let begun = Instant::now();
    let mut last = [0; 32];
    for guess in 0..FAST_GUESSES {
        last = sha256(&[&salt, &guess.to_le_bytes(), &last]);
    }
    std::hint::black_box(last);
    begun.elapsed().as_secs_f64() / f64::from(FAST_GUESSES)
}

fn listed(vault: &Strongbox) -> Result<Evidence, LabError> {
    let mut bout = Bout::new(&vault.file(), "");
    let mut took = Duration::ZERO;
    for text in LIST {
        let (reading, one) = try_one(vault, text);
        took += one;
        let is_found = matches!(reading, Reading::Data(_));
        bout.record(reading, None, || {
            "a passphrase of the list opens it".to_owned()
        });
        if is_found {
            break;
        }
    }
    let mut evidence = bout.finish("a list tried");
    evidence
        .summary
        .push_str(&format!(" It took {:.1} s.", took.as_secs_f64()));
    Ok(evidence)
}
