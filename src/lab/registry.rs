//! The registry: what a thief tries, each with its claim. Over 400 lines because it is one table.

use std::collections::BTreeSet;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::envelope::ResourceKind;

use super::{Evidence, Exhibit, Lab, LabError, Verdict, attack};

/// How an attack runs on one exhibit. It may have several parts, each with its own outcome.
pub type Run = fn(&Lab, &Exhibit) -> Result<Vec<Outcome>, LabError>;

/// One thing that a thief does.
pub struct Attack {
    /// Its number in the threat model.
    pub number: u8,
    /// What the thief does.
    pub name: &'static str,
    /// What correct protection shows.
    pub claim: &'static str,
    /// How it runs, and on which kinds of resource; `None` while it is not built.
    pub run: Option<(Run, &'static [ResourceKind])>,
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
    /// The exhibit's name; `None` when it was not tried.
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
        })
    }
}

/// Runs the chosen attacks on every exhibit that they apply to, side by side; the outcomes come in
/// the attacks' order. An attack whose set-up fails is inconclusive, with the cause. `progress` is
/// told attacks done, attacks in all, and the name of the one that ended.
pub fn run(
    lab: &Lab,
    selection: &Selection,
    progress: &(dyn Fn(usize, usize, &str) + Sync),
) -> Vec<Outcome> {
    let mut jobs: Vec<(&Attack, Option<(Run, &Exhibit)>)> = Vec::new();
    for attack in ATTACKS.iter().filter(|a| selection.contains(a.number)) {
        match attack.run {
            None => jobs.push((attack, None)),
            Some((run, kinds)) => {
                let fits = lab.exhibits.iter().filter(|e| kinds.contains(&e.kind));
                jobs.extend(fits.map(|e| (attack, Some((run, e)))));
            }
        }
    }
    let done = std::sync::atomic::AtomicUsize::new(0);
    let one = |(attack, job): &(&Attack, Option<(Run, &Exhibit)>)| {
        let outcomes = match job {
            None => vec![attack.not_tried()],
            Some((run, exhibit)) => match run(lab, exhibit) {
                Ok(outcomes) => outcomes,
                Err(e) => {
                    let evidence = Evidence::of(format!("could not run: {e}"));
                    vec![attack.outcome(None, exhibit, evidence)]
                }
            },
        };
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
        exhibit: &Exhibit,
        evidence: Evidence,
    ) -> Outcome {
        Outcome {
            attack: self.number,
            name: self.name.to_owned(),
            claim: self.claim.to_owned(),
            part: part.map(str::to_owned),
            exhibit: Some(exhibit.name.clone()),
            verdict: evidence.verdict(),
            evidence,
        }
    }

    /// The outcome of a part that the design is known not to stop: "not protected" when it
    /// succeeds, for `reason`; and what `evidence` gives when it does not.
    pub(super) fn declared(
        &self,
        part: &str,
        exhibit: &Exhibit,
        mut evidence: Evidence,
        reason: &str,
    ) -> Outcome {
        let succeeded = evidence.verdict() == Verdict::Fails;
        if succeeded {
            evidence.reason = Some(reason.to_owned());
        }
        let mut outcome = self.outcome(Some(part), exhibit, evidence);
        if succeeded {
            outcome.verdict = Verdict::NotProtected;
        }
        outcome
    }

    fn not_tried(&self) -> Outcome {
        Outcome {
            attack: self.number,
            name: self.name.to_owned(),
            claim: self.claim.to_owned(),
            part: None,
            exhibit: None,
            verdict: Verdict::NotTried,
            evidence: Evidence::of("the attack is not built yet"),
        }
    }
}

const SQL: &[ResourceKind] = &[ResourceKind::Sql];
const STORAGE: &[ResourceKind] = &[ResourceKind::Storage];
const BOTH: &[ResourceKind] = &[ResourceKind::Sql, ResourceKind::Storage];

const fn built(
    number: u8,
    name: &'static str,
    claim: &'static str,
    run: Run,
    kinds: &'static [ResourceKind],
) -> Attack {
    Attack {
        number,
        name,
        claim,
        run: Some((run, kinds)),
    }
}

const fn later(number: u8, name: &'static str, claim: &'static str) -> Attack {
    Attack {
        number,
        name,
        claim,
        run: None,
    }
}

/// Every attack of the threat model, by number. The command line, the report, the documents and
/// the tests read this one list.
pub static ATTACKS: &[Attack] = &[
    built(
        1,
        "open the copy without a key, with a wrong key, with another tenant's key",
        "refused, and no row or byte is read",
        attack::open::without_the_key,
        BOTH,
    ),
    built(
        2,
        "search every byte taken for known texts, in every encoding, and carve files",
        "no canary, no file, no structure is found",
        attack::leak::search,
        BOTH,
    ),
    built(
        3,
        "look for stable bytes: file magic, page-1 constants, equal bytes over many resources",
        "nothing but the documented header",
        attack::leak::stable_bytes,
        BOTH,
    ),
    built(
        4,
        "put one old page or blob chunk back",
        "detected",
        attack::past::parts,
        BOTH,
    ),
    built(
        5,
        "put the whole old file back",
        "detected against the epoch that the vault keeps",
        attack::past::whole,
        BOTH,
    ),
    built(
        6,
        "transplant a page: from another place, from another database, from a fork of this one",
        "refused: file identity and page number are authenticated",
        attack::sql::transplant,
        SQL,
    ),
    built(
        7,
        "swap pages, flip every byte in turn, zero a page",
        "refused, all of them; zeroes are no hole",
        attack::sql::alter,
        SQL,
    ),
    built(
        8,
        "cut the header or the tail, append pages",
        "refused",
        attack::sql::cut,
        SQL,
    ),
    built(
        9,
        "cut, delete, reorder or forge the write-ahead log",
        "refused, or the lost commits are reported",
        attack::past::logs,
        SQL,
    ),
    built(
        10,
        "plant a hot rollback journal with old pages",
        "refused, or not played back",
        attack::past::journals,
        SQL,
    ),
    built(
        11,
        "use checksums of log frames as an oracle for a page's plaintext",
        "nothing to learn: frames are sealed whole, and the log's index is in memory only",
        attack::oracle::checksums,
        SQL,
    ),
    built(
        12,
        "watch temporary files: sorter spills, statement journals, VACUUM",
        "no plaintext is ever written",
        attack::temporary::files,
        SQL,
    ),
    built(
        13,
        "reorder, repeat, drop, extend a blob's chunks",
        "refused; no byte past the valid prefix, and a cut blob is never called complete",
        attack::blob::chunks,
        STORAGE,
    ),
    built(
        14,
        "move chunks between blobs or between versions of one blob",
        "refused",
        attack::blob::move_chunks,
        STORAGE,
    ),
    built(
        15,
        "swap wrapped data keys between resources",
        "refused: the resource's identity is bound",
        attack::envelope::swap,
        BOTH,
    ),
    built(
        16,
        "downgrade a key version, an algorithm, a format version in a header",
        "refused: all of it is authenticated",
        attack::envelope::downgrade,
        BOTH,
    ),
    later(
        17,
        "re-enable the old key after a rotation",
        "the new copy stays shut; copies taken before still open, and the report says so",
    ),
    later(
        18,
        "read the raw disk after encryption was enabled in place",
        "nothing, or the tool had said that old bytes are not scrubbed",
    ),
    later(19, "read freelist pages and slack after deletes", "nothing"),
    later(
        20,
        "take a backup made before encryption was enabled",
        "the inventory lists it as plaintext",
    ),
    later(
        21,
        "take a core dump or read process memory while unlocked, after revoke, after lock",
        "after: the known key bytes are gone; core dumps are off",
    ),
    later(22, "read swap", "key pages are locked in memory"),
    later(
        23,
        "read logs, errors, panics, audit records",
        "no key or data bytes in any encoding",
    ),
    later(
        24,
        "infer from sizes, names, times",
        "documented; names encrypted",
    ),
    built(
        25,
        "look for equal ciphertexts of equal plaintexts, and for repeated nonces over all pages, \
         versions and forked copies",
        "none, also after a copy is restored twice and both go on writing",
        attack::nonce::repeats,
        BOTH,
    ),
    later(
        26,
        "build a ciphertext that opens under two keys",
        "refused by key commitment",
    ),
    later(
        27,
        "feed hostile headers: lengths of 2^31 and 2^63, nesting, key-derivation costs of 0 and huge",
        "refused before any allocation",
    ),
    later(
        28,
        "guess the passphrase that seals the vault's root",
        "costs what the report says a guess costs",
    ),
    later(
        29,
        "edit, delete, reorder audit records, cut the log's tail",
        "detected, the tail by an anchor kept elsewhere",
    ),
    built(
        30,
        "restore an old vault file so that a purged key lives again",
        "detected",
        attack::purge::revived,
        SQL,
    ),
    later(
        31,
        "read a soft-deleted key from a stolen vault; look for a purged one",
        "sealed; gone",
    ),
    later(32, "restore a key backup into a foreign vault", "refused"),
    later(
        33,
        "call the server with no token, alg=none, wrong audience, an expired token, old TLS",
        "401 or refused",
    ),
    later(
        34,
        "path traversal in names: ..%2f, NUL, overlong UTF-8, case folding; planted symlinks",
        "400 or refused; nothing outside the root changes",
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
