//! Keys and the swap space: whether the pages that hold them may leave the memory.

use std::path::Path;

use crate::crypto::Secret;
use crate::lab::process::locked_at;
use crate::lab::registry::PROCESS;
use crate::lab::{Attack, Control, Lab, LabError, Outcome};

use super::bout::{Bout, Reading};

/// Attack 22.
pub(in crate::lab) fn look(_: &Lab) -> Result<Vec<Outcome>, LabError> {
    let attack = Attack::number(22);
    let secrets: Vec<Secret<32>> = (0..16).map(|_| Secret::random()).collect();
    let ordinary = vec![1u8; 4 << 20];
    let mut bout = Bout::new(Path::new("/proc/self/smaps"), "");
    for secret in &secrets {
        let reading = match locked_at(address(secret))? {
            true => Reading::Refused("its page is locked".to_owned()),
            false => Reading::Data("not locked".to_owned()),
        };
        bout.record(reading, None, || {
            "a key's page may be swapped out".to_owned()
        });
    }
    let mut evidence = bout.finish("pages of keys looked up");
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swaps = swaps.lines().count().saturating_sub(1);
    evidence
        .summary
        .push_str(&format!(" This system has {swaps} places to swap to."));
    let unlocked = !locked_at(ordinary[2 << 20..].as_ptr() as usize)?;
    evidence.control = Some(Control {
        fired: unlocked,
        summary: "ordinary memory is not locked.".to_owned(),
        ..Control::default()
    });
    let locked = locked_in_all();
    drop(secrets);
    let part = "keys in this process";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    // A limit excuses only when it is reached.
    let used_up = |limit: u64| locked.is_some_and(|locked| locked + (64 << 10) >= limit);
    Ok(vec![match limit.current.filter(|limit| used_up(*limit)) {
        None => attack.outcome(Some(part), PROCESS, evidence),
        Some(bytes) => attack.declared(
            part,
            PROCESS,
            evidence,
            &format!(
                "this system lets the process lock {} KiB of memory, and they are used up; raise the limit \
                 (`ulimit -l`), encrypt the swap space, or have none.",
                bytes >> 10
            ),
        ),
    }])
}

/// What this process has locked in memory (`VmLck` of proc(5)), in bytes.
fn locked_in_all() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmLck:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Where its bytes lie.
fn address(secret: &Secret<32>) -> usize {
    secret.expose().as_ptr() as usize
}
