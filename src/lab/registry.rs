//! The registry: what a thief tries, each with its claim. Over 400 lines because it is one table.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::envelope::ResourceKind;

use super::{Evidence, Exhibit, Lab, LabError, Verdict, attack};

/// How an attack runs on one exhibit. It may have several parts, each with its own outcome.
pub type OnExhibit = fn(&Lab, &Exhibit) -> Result<Vec<Outcome>, LabError>;
/// How an attack runs on what the lab makes for it.
pub type Once = fn(&Lab) -> Result<Vec<Outcome>, LabError>;

/// What an attack is run against.
pub enum Run {
    /// Each protected resource of these kinds.
    Each(&'static [ResourceKind], OnExhibit),
    /// Something that a run has one of, under this name: a vault, a server, the process.
    Once(&'static str, Once),
}

/// One thing that a thief does.
pub struct Attack {
    /// Its number in the threat model.
    pub number: u8,
    /// What the thief does.
    pub name: &'static str,
    /// What correct protection shows.
    pub claim: &'static str,
    /// How it runs, and against what.
    pub run: Run,
    /// How it runs on the working directory's own vaults, where it is on resources else.
    pub on_vaults: Option<Once>,
}

/// What came out of one part of one attack on one exhibit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The attack's number.
    pub attack: u8,
    /// The attack's name.
    pub name: String,
    /// What correct protection shows.
    pub claim: String,
    /// Which part of it, where it has several.
    pub part: Option<String>,
    /// The exhibit's name, or what else was attacked; `None` when it was not tried.
    pub exhibit: Option<String>,
    /// What came out.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub evidence: Evidence,
}

/// Which attacks to run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// These only; empty for all.
    pub only: BTreeSet<u8>,
    /// Never these.
    pub skip: BTreeSet<u8>,
    /// Leave out attacks that are not on a resource, unless `only` names them.
    pub resources_only: bool,
}

impl Selection {
    /// Whether attack `number` is chosen.
    pub fn contains(&self, number: u8) -> bool {
        (self.only.is_empty() || self.only.contains(&number)) && !self.skip.contains(&number)
    }

    /// Reads attack numbers, as typed.
    ///
    /// # Errors
    /// [`LabError::NoSuchAttack`].
    pub fn parse(only: &[String], skip: &[String]) -> Result<Self, LabError> {
        let numbers = |typed: &[String]| -> Result<BTreeSet<u8>, LabError> {
            let number = |text: &String| {
                let known = ATTACKS.iter().find(|a| a.number.to_string() == *text);
                known
                    .map(|a| a.number)
                    .ok_or_else(|| LabError::NoSuchAttack(text.clone()))
            };
            typed.iter().map(number).collect()
        };
        Ok(Self {
            only: numbers(only)?,
            skip: numbers(skip)?,
            resources_only: false,
        })
    }
}

type Job<'a> = Box<dyn Fn() -> Result<Vec<Outcome>, LabError> + Sync + 'a>;

/// Runs the chosen attacks on every exhibit that they apply to, side by side; the outcomes come in
/// the attacks' order. An attack whose set-up fails is inconclusive, with the cause. `progress` is
/// told attacks done, attacks in all, and the name of the one that ended.
pub fn run(
    lab: &Lab,
    selection: &Selection,
    progress: &(dyn Fn(usize, usize, &str) + Sync),
) -> Vec<Outcome> {
    let mut jobs: Vec<(&Attack, &str, Job<'_>)> = Vec::new();
    for attack in ATTACKS.iter().filter(|a| selection.contains(a.number)) {
        match attack.run {
            Run::Each(kinds, run) => {
                let fits = lab.exhibits.iter().filter(|e| kinds.contains(&e.kind));
                jobs.extend(fits.map(|e| {
                    let job: Job<'_> = Box::new(move || run(lab, e));
                    (attack, e.name.as_str(), job)
                }));
                let chosen = !selection.resources_only || selection.only.contains(&attack.number);
                if let Some(run) = attack
                    .on_vaults
                    .filter(|_| chosen && !lab.vaults.is_empty())
                {
                    jobs.push((attack, VAULTS, Box::new(move || run(lab))));
                }
            }
            Run::Once(target, run) => {
                if !selection.resources_only || selection.only.contains(&attack.number) {
                    jobs.push((attack, target, Box::new(move || run(lab))));
                }
            }
        }
    }
    let done = std::sync::atomic::AtomicUsize::new(0);
    let one = |(attack, target, job): &(&Attack, &str, Job<'_>)| {
        let outcomes = job().unwrap_or_else(|e| {
            let evidence = Evidence::of(format!("could not run: {e}"));
            vec![attack.outcome(None, target, evidence)]
        });
        let count = 1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        progress(count, jobs.len(), attack.name);
        outcomes
    };
    let outcomes: Vec<Vec<Outcome>> = jobs.par_iter().map(one).collect();
    outcomes.into_iter().flatten().collect()
}

impl Attack {
    /// The attack with this number.
    ///
    /// # Panics
    /// When there is none: for use by the attacks themselves.
    pub(super) fn number(number: u8) -> &'static Self {
        let found = ATTACKS.iter().find(|a| a.number == number);
        found.expect("the registry holds every attack")
    }

    /// The outcome that `evidence` gives.
    pub(super) fn outcome(
        &self,
        part: Option<&str>,
        target: &(impl AsRef<str> + ?Sized),
        evidence: Evidence,
    ) -> Outcome {
        Outcome {
            attack: self.number,
            name: self.name.to_owned(),
            claim: self.claim.to_owned(),
            part: part.map(str::to_owned),
            exhibit: Some(target.as_ref().to_owned()),
            verdict: evidence.verdict(),
            evidence,
        }
    }

    /// The outcome of a part that the design is known not to stop: "not protected" when it
    /// succeeds, for `reason`; and what `evidence` gives when it does not.
    pub(super) fn declared(
        &self,
        part: &str,
        target: &(impl AsRef<str> + ?Sized),
        mut evidence: Evidence,
        reason: &str,
    ) -> Outcome {
        let succeeded = evidence.verdict() == Verdict::Fails;
        if succeeded {
            evidence.reason = Some(reason.to_owned());
        }
        let mut outcome = self.outcome(Some(part), target, evidence);
        if succeeded {
            outcome.verdict = Verdict::NotProtected;
        }
        outcome
    }

    /// That a run leaves this attack out.
    pub fn left_out(&self) -> Outcome {
        Outcome {
            attack: self.number,
            name: self.name.to_owned(),
            claim: self.claim.to_owned(),
            part: None,
            exhibit: None,
            verdict: Verdict::NotTried,
            evidence: Evidence {
                reason: Some(
                    "it is no part of the demo's story, which is to end within seconds. `atrest demo --full` \
                     tries it on the same data, `atrest prove` on any working directory"
                        .to_owned(),
                ),
                ..Evidence::of("Left out of this run.")
            },
        }
    }
}

const SQL: &[ResourceKind] = &[ResourceKind::Sql];
const STORAGE: &[ResourceKind] = &[ResourceKind::Storage];
const BOTH: &[ResourceKind] = &[ResourceKind::Sql, ResourceKind::Storage];

const fn each(
    number: u8,
    name: &'static str,
    claim: &'static str,
    run: OnExhibit,
    kinds: &'static [ResourceKind],
) -> Attack {
    Attack {
        number,
        name,
        claim,
        run: Run::Each(kinds, run),
        on_vaults: None,
    }
}

const fn once(
    number: u8,
    name: &'static str,
    claim: &'static str,
    target: &'static str,
    run: Once,
) -> Attack {
    Attack {
        number,
        name,
        claim,
        run: Run::Once(target, run),
        on_vaults: None,
    }
}

const fn and_vaults(attack: Attack, run: Once) -> Attack {
    Attack {
        on_vaults: Some(run),
        ..attack
    }
}

/// What attacks are on that are on no resource.
pub(super) const VAULT: &str = "a vault";
const VAULTS: &str = "the vaults";
pub(super) const SERVER: &str = "the server";
pub(super) const PROCESS: &str = "the process";
pub(super) const FORMATS: &str = "every format";

/// Every attack of the threat model, by number. The command line, the report, the documents and
/// the tests read this one list.
pub static ATTACKS: &[Attack] = &[
    and_vaults(
        each(
            1,
            "open the copy without a key, with a wrong key, with another tenant's key",
            "refused, and no row or byte is read",
            attack::open::without_the_key,
            BOTH,
        ),
        attack::vault_files::opened,
    ),
    and_vaults(
        each(
            2,
            "search every byte taken for known texts, in every encoding, and carve files",
            "no canary, no file, no structure is found",
            attack::leak::search,
            BOTH,
        ),
        attack::vault_files::searched,
    ),
    each(
        3,
        "look for stable bytes: file magic, page-1 constants, equal bytes over many resources",
        "nothing but the documented header",
        attack::leak::stable_bytes,
        BOTH,
    ),
    each(
        4,
        "put one old page or blob chunk back",
        "detected",
        attack::past::parts,
        BOTH,
    ),
    each(
        5,
        "put the whole old file back",
        "detected against the epoch that the vault keeps",
        attack::past::whole,
        BOTH,
    ),
    each(
        6,
        "transplant a page: from another place, from another database, from a fork of this one",
        "refused: file identity and page number are authenticated",
        attack::sql::transplant,
        SQL,
    ),
    each(
        7,
        "swap pages, flip every byte in turn, zero a page",
        "refused, all of them; zeroes are no hole",
        attack::sql::alter,
        SQL,
    ),
    each(
        8,
        "cut the header or the tail, append pages",
        "refused",
        attack::sql::cut,
        SQL,
    ),
    each(
        9,
        "cut, delete, reorder or forge the write-ahead log",
        "refused, or the lost commits are reported",
        attack::past::logs,
        SQL,
    ),
    each(
        10,
        "plant a hot rollback journal with old pages",
        "refused, or not played back",
        attack::past::journals,
        SQL,
    ),
    each(
        11,
        "use checksums of a log's frames or of a journal as an oracle for a page's plaintext",
        "nothing to learn: logs and journals are sealed whole, and the log's index is in memory only",
        attack::oracle::checksums,
        SQL,
    ),
    each(
        12,
        "watch temporary files: sorter spills, statement journals, VACUUM",
        "no plaintext is ever written",
        attack::temporary::files,
        SQL,
    ),
    each(
        13,
        "reorder, repeat, drop, extend a blob's chunks",
        "refused; no byte past the valid prefix, and a cut blob is never called complete",
        attack::blob::chunks,
        STORAGE,
    ),
    each(
        14,
        "move chunks between blobs or between versions of one blob",
        "refused",
        attack::blob::move_chunks,
        STORAGE,
    ),
    each(
        15,
        "swap wrapped data keys between resources",
        "refused: the resource's identity is bound",
        attack::envelope::swap,
        BOTH,
    ),
    each(
        16,
        "downgrade a key version, an algorithm, a format version in a header",
        "refused: all of it is authenticated",
        attack::envelope::downgrade,
        BOTH,
    ),
    each(
        17,
        "re-enable the old key after a rotation",
        "the new copy stays shut; copies taken before still open, and the report says so",
        attack::past_keys::enabled_again,
        BOTH,
    ),
    each(
        18,
        "read the raw disk after encryption was enabled in place",
        "nothing, or the tool had said that old bytes are not scrubbed",
        attack::residue::in_place,
        BOTH,
    ),
    each(
        19,
        "read freelist pages and slack after deletes",
        "nothing",
        attack::residue::deleted,
        BOTH,
    ),
    each(
        20,
        "take a backup made before encryption was enabled",
        "the inventory lists it as plaintext",
        attack::backup::before,
        BOTH,
    ),
    once(
        21,
        "take a core dump or read process memory while unlocked, after revoke, after lock",
        "after: the known key bytes are gone; core dumps are off",
        PROCESS,
        attack::memory::dump,
    ),
    once(
        22,
        "read swap",
        "key pages are locked in memory",
        PROCESS,
        attack::swap::look,
    ),
    once(
        23,
        "read logs, errors, panics, audit records",
        "no key or data bytes in any encoding",
        PROCESS,
        attack::logs::read,
    ),
    each(
        24,
        "infer from sizes, names, times",
        "documented; names encrypted",
        attack::inference::infer,
        BOTH,
    ),
    and_vaults(
        each(
            25,
            "look for equal ciphertexts of equal plaintexts, and for repeated nonces over all pages, \
             versions and forked copies",
            "none, also after a copy is restored twice and both go on writing",
            attack::nonce::repeats,
            BOTH,
        ),
        attack::vault_files::repeats,
    ),
    each(
        26,
        "build a ciphertext that opens under two keys",
        "refused by key commitment",
        attack::commitment::two_keys,
        BOTH,
    ),
    once(
        27,
        "feed hostile headers: lengths of 2^31 and 2^63, nesting, key-derivation costs of 0 and huge",
        "refused before any allocation",
        FORMATS,
        attack::hostile::headers,
    ),
    once(
        28,
        "guess the passphrase that seals the vault's root",
        "costs what the report says a guess costs",
        VAULT,
        attack::passphrase::guess,
    ),
    once(
        29,
        "edit, delete, reorder audit records, cut the log's tail",
        "detected, the tail by an anchor kept elsewhere",
        VAULT,
        attack::audit::tamper,
    ),
    each(
        30,
        "restore an old vault file so that a purged key lives again",
        "detected",
        attack::purge::revived,
        BOTH,
    ),
    once(
        31,
        "read a soft-deleted key from a stolen vault; look for a purged one",
        "sealed; gone",
        VAULT,
        attack::deleted_keys::read,
    ),
    once(
        32,
        "restore a key backup into a foreign vault",
        "refused",
        VAULT,
        attack::key_backup::foreign,
    ),
    once(
        33,
        "call the server with no token, alg=none, wrong audience, an expired token, old TLS",
        "401 or refused",
        SERVER,
        attack::server::calls,
    ),
    once(
        34,
        "path traversal in names: ..%2f, NUL, overlong UTF-8, case folding; planted symlinks",
        "400 or refused; nothing outside the root changes",
        SERVER,
        attack::traversal::names,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attack_of_the_threat_model_is_missing_from_the_list() {
        let numbers: Vec<u8> = ATTACKS.iter().map(|a| a.number).collect();
        assert_eq!(numbers, (1..=34).collect::<Vec<u8>>());
    }

    #[test]
    fn a_mistyped_attack_is_an_error_and_not_an_empty_run() {
        let typed = |only: &str| Selection::parse(&[only.to_owned()], &[]);
        assert!(typed("7").unwrap().contains(7));
        assert!(!typed("7").unwrap().contains(8));
        assert!(typed("77").is_err());
    }
}
