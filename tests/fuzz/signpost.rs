//! The name of the shared memory, which lies beside a log.

use std::path::Path;

use crate::corpus::Entry;
use crate::files::{Layout, SIGNPOST, shared_memory};
use crate::mutate::Aim;
use crate::oracle::{self, Outcome};
use crate::run::Target;

pub fn entries(logs: &[(&'static str, Entry)]) -> Vec<(&'static str, Entry)> {
    let names = [
        ("absent", None),
        ("empty", Some("")),
        (
            "of_nothing",
            Some("atrest-00112233445566778899aabbccddeeff"),
        ),
        (
            "of_another_directory",
            Some("atrest-../../../../../../tmp/aaaaaaaaaaaaaaaaa"),
        ),
    ];
    let log = &logs
        .iter()
        .find(|(name, _)| *name == "one_commit")
        .unwrap()
        .1;
    names
        .map(|(name, signpost)| {
            let mut entry = log.clone();
            entry.files.0[SIGNPOST] = signpost.map(|name| name.as_bytes().to_vec());
            (name, entry)
        })
        .into()
}

/// Whatever the name is, the log is read as if there were none, and the name leads to memory of its own.
fn judge(entry: &Entry, path: &Path) -> Result<Outcome, String> {
    let outcome = oracle::sealed(entry, path)?;
    let left = path.with_file_name("db-shm").exists();
    match outcome {
        Outcome::Old if !left || shared_memory(path).is_some() => Ok(outcome),
        outcome => Err(format!("{outcome:?}, and it leads nowhere")),
    }
}

#[test]
fn no_name_beside_a_log_leads_to_memory_of_somebody_else() {
    let target = Target {
        name: "signpost",
        aim: Aim {
            layout: Layout::Sealed,
            files: &[SIGNPOST],
            within: 0..usize::MAX,
            forge: false,
        },
        share: 1,
        judge: &judge,
    };
    target.run();
}
