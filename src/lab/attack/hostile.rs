//! Files that claim what cannot be: lengths near 2^31 and 2^63, counts of everything, costs of zero
//! and of terabytes, values nested without end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::base::SystemClock;
use crate::crypto::SecretBytes;
use crate::lab::registry::FORMATS;
use crate::lab::{Attack, Control, Evidence, Lab, LabError, Outcome};
use crate::sqlite::PageSize;
use crate::vault::{KeyVault, LocalVault, RootKeySource};
use crate::world::Workspace;

use super::account::{Account, text};
use super::alter::{patched, with_tail};
use super::bout::{Bout, Reading, error_text};
use super::database::Database;
use super::strongbox::{Strongbox, failed, key_name};
use super::vault::Arm;

/// What a field is set to, in as many bytes as it has.
const VALUES_32: [u32; 4] = [0, 0x7fff_ffff, 0x8000_0000, u32::MAX];
const VALUES_64: [u64; 4] = [0, i64::MAX as u64, 1 << 63, u64::MAX];
/// More address space than this, and a length was believed before it was checked.
const GIB: u64 = 1 << 30;

/// Attack 27.
pub(in crate::lab) fn headers(lab: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(27);
    let dir = lab.scratch()?;
    let room = Room::now();
    let mut bout = Bout::new(Path::new("formats"), "");
    database(dir.path(), &mut bout)?;
    account(dir.path(), &mut bout)?;
    vault(dir.path(), &mut bout)?;
    key_backup(dir.path(), &mut bout)?;
    nested(dir.path(), &mut bout)?;
    let mut evidence = bout.finish("hostile values in every header field, costs, backups and JSON");
    room.judge(&mut evidence);
    Ok(vec![attack.outcome(None, FORMATS, evidence)])
}

/// The address space of this process, from its highest mark (`VmPeak`), which other attacks beside
/// this one raise by some hundred MiB at most.
struct Room(Option<(u64, u64)>);

impl Room {
    fn now() -> Self {
        Self(Self::read())
    }

    /// `VmPeak` and `VmSize`, in bytes.
    fn read() -> Option<(u64, u64)> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kib << 10)
        };
        Some((field("VmPeak:")?, field("VmSize:")?))
    }

    /// Whether anything like 2^31 bytes was asked for; and, as the control, whether that would show.
    fn judge(&self, evidence: &mut Evidence) {
        let (Some((before, _)), Some((after, size))) = (self.0, Self::read()) else {
            evidence
                .summary
                .push_str(" This system does not tell a process's memory.");
            evidence.tally.trials = 0;
            return;
        };
        let grown = after.saturating_sub(before);
        if grown >= GIB {
            evidence.tally.succeeded += 1;
            evidence.finding("this process", None, format!("{grown} bytes more at once"));
        }
        evidence.summary.push_str(&format!(
            " The process's address space grew by {} MiB at most.",
            grown >> 20
        ));
        // What a reader that believes a length of 2^31 does.
        let believed = (after - size) + 2 * GIB;
        let believed = usize::try_from(believed).unwrap_or(usize::MAX);
        let mut naive: Vec<u8> = Vec::new();
        let got = naive.try_reserve_exact(believed).is_ok();
        std::hint::black_box(&naive);
        let peak = Self::read().map_or(0, |(peak, _)| peak);
        let seen = peak.saturating_sub(after);
        evidence.control = Some(Control {
            fired: got && seen >= GIB,
            summary: format!(
                "a reader that believes such a length is seen: {} MiB.",
                seen >> 20
            ),
            ..Control::default()
        });
    }
}

/// Runs a trial; a panic is an answer, and a wrong one.
fn caught(trial: impl FnOnce() -> Reading) -> Reading {
    catch_unwind(AssertUnwindSafe(trial)).unwrap_or_else(|_| Reading::Data("a panic".to_owned()))
}

/// Sets each place of `at` to each value, and `read`s. What reads as before was not altered where it
/// counts: that is harmless.
fn fields(
    bout: &mut Bout,
    path: &Path,
    copies: &[u64],
    at: std::ops::Range<u64>,
    read: &dyn Fn() -> Reading,
) -> Result<(), LabError> {
    let good = caught(read);
    if let Reading::Refused(why) = &good {
        let why = format!("{} is not read as it was made: {why}", path.display());
        return Err(LabError::Report(why));
    }
    for offset in at.step_by(4) {
        let values = VALUES_32.iter().map(|v| v.to_le_bytes().to_vec());
        let wide = VALUES_64.iter().map(|v| v.to_le_bytes().to_vec());
        let values: Vec<_> = match offset % 8 {
            0 => values.chain(wide).collect(),
            _ => values.collect(),
        };
        for value in values {
            let patches: Vec<_> = copies.iter().map(|c| (c + offset, &value[..])).collect();
            let reading = patched(path, &patches, || caught(read))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let reading = match reading {
                same if same == good => Reading::Data(String::new()),
                other => other,
            };
            bout.record(reading, Some(offset), || {
                format!("{name}: {} at {offset}", hex::encode(&value))
            });
        }
    }
    Ok(())
}

fn database(dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let arm = Arm::with_key();
    let victim = Database::specimen(dir, "hostile.db", &arm, PageSize::DEFAULT, 27)?;
    let read = || victim.read();
    // Both slots alike: the fixed fields and the envelope, and the records at the slot's end.
    fields(bout, &victim.path, &[0, 2048], 0..152, &read)?;
    fields(bout, &victim.path, &[0, 2048], 1024..1088, &read)
}

fn account(dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let arm = Arm::with_key();
    let victim = Account::specimen(&dir.join("hostile"), &arm)?;
    let blob = victim.put("a.txt", text(27, 5000))?;
    let read = || victim.read(&blob);
    let header = victim.dir.join("account.atrest");
    fields(bout, &header, &[0], 0..88, &read)?;
    fields(bout, &header, &[784], 0..72, &read)?;
    fields(bout, &blob.extent, &[0], 0..128, &read)
}

/// A vault under a passphrase: the costs of its stretching stand in the file (docs/format.md).
fn vault(dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let words = || RootKeySource::Passphrase(SecretBytes::from_vec(b"hostile words".to_vec()));
    let strongbox = Strongbox::create_under(dir, "hostile-vault", words())?;
    let file = strongbox.file();
    let costs = 64 + 12;
    let fields: [(u64, &[u32]); 3] = [
        // KiB: so little, so much that a machine may have it (2 GiB), and what none has.
        (costs, &[0, 1, 2 << 20, 0x7fff_ffff, u32::MAX]),
        (costs + 4, &[0, 1, 0x7fff_ffff, u32::MAX]),
        (costs + 8, &[0, 0x7fff_ffff, u32::MAX]),
    ];
    for (at, values) in fields {
        for value in values {
            let bytes = value.to_le_bytes();
            let patches = [(at, &bytes[..]), (at + 2048, &bytes[..])];
            let reading = patched(&file, &patches, || {
                caught(|| {
                    let opened = LocalVault::open(&strongbox.dir, &words(), Arc::new(SystemClock));
                    match opened {
                        Ok(_) => Reading::Data("opened".to_owned()),
                        Err(e) => Reading::Refused(error_text(&e, dir)),
                    }
                })
            })?;
            bout.record(reading, Some(at), || format!("a cost of {value}"));
        }
    }
    Ok(())
}

fn key_backup(dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let strongbox = Strongbox::create(dir, "backup-vault")?;
    strongbox.import("payroll")?;
    let vault = strongbox.open().map_err(failed)?;
    let backup = vault.backup_key(&key_name("payroll")).map_err(failed)?;
    vault.delete_key(&key_name("payroll")).map_err(failed)?;
    vault.purge_key(&key_name("payroll")).map_err(failed)?;
    for at in (0..backup.len().min(96)).step_by(4) {
        for value in VALUES_32 {
            let mut altered = backup.clone();
            altered[at..at + 4].copy_from_slice(&value.to_le_bytes());
            if altered == backup {
                continue;
            }
            let reading = caught(|| match vault.restore_key(&altered) {
                Ok(_) => Reading::Data("restored".to_owned()),
                Err(e) => Reading::Refused(error_text(&e, dir)),
            });
            bout.record(reading, Some(at as u64), || "a key's backup".to_owned());
        }
    }
    Ok(())
}

/// The configuration of a working directory is JSON.
fn nested(dir: &Path, bout: &mut Bout) -> Result<(), LabError> {
    let work = dir.join("hostile-work");
    drop(super::served::workspace(&work)?);
    let config = work.join("atrest.json");
    let deep = |open: &str, close: &str| {
        format!("{}{}", open.repeat(200_000), close.repeat(200_000)).into_bytes()
    };
    for (what, json) in [
        ("lists in lists", deep("[", "]")),
        ("objects in objects", deep("{\"a\":", "}")),
        ("a number without end", vec![b'9'; 1 << 20]),
    ] {
        let reading = with_tail(&config, 0, &json, || {
            caught(|| {
                let ask = Arc::new(|_: &_| Err("nobody is asked".to_owned()));
                match Workspace::open(&work, ask, Arc::new(SystemClock)) {
                    Ok(_) => Reading::Data("opened".to_owned()),
                    Err(e) => Reading::Refused(error_text(&e, dir)),
                }
            })
        })?;
        bout.record(reading, None, || format!("atrest.json: {what}"));
    }
    Ok(())
}
