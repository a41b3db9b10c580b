//! What a run says about controls of standards, and what it cannot say. The table is the whole of
//! it: nothing is claimed that is not a row here, and no row says that a control is met.
//! Over 400 lines because a hundred of them are the table, and a hundred its tests.

use serde::{Deserialize, Serialize};

use super::{Claim, KeyChain};
use crate::lab::Verdict;

/// What a run contributes to a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlStatus {
    /// What was seen supports it, for what was looked at.
    Supports,
    /// What was seen speaks against it.
    Against,
    /// Nothing in this run speaks to it.
    Silent,
    /// It is outside of what this program can be.
    Never,
}

/// A control, beside what this run saw of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlEvidence {
    /// The standard.
    pub standard: String,
    /// The control or section.
    pub control: String,
    /// What it asks, in a few words that are not the standard's.
    pub asks: String,
    /// What the run contributes.
    pub status: ControlStatus,
    /// What was seen.
    pub seen: String,
    /// The claims that were looked at, by their identifiers.
    pub claims: Vec<String>,
    /// What no run of this program shows.
    pub cannot: String,
}

/// A copy of a key that may be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCopy {
    /// Where.
    pub what: String,
    /// Whether one is left, as far as was seen.
    pub left: bool,
    /// How that is known.
    pub seen: String,
}

/// A key that was purged, and the copies of it that were looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The key.
    pub key: String,
    /// Every place that was looked at.
    pub copies: Vec<KeyCopy>,
}

impl Erasure {
    /// Whether an erase of the data is claimed: only when no copy of the key was found.
    pub fn is_claimed(&self) -> bool {
        !self.copies.is_empty() && self.copies.iter().all(|copy| !copy.left)
    }
}

/// A row of the table.
struct Row {
    standard: &'static str,
    control: &'static str,
    asks: &'static str,
    /// Attacks whose claims speak to it.
    attacks: &'static [u8],
    /// Other claims that do, by identifier.
    claims: &'static [&'static str],
    /// Beginnings of claims that speak against it whatever their verdict is.
    against: &'static [&'static str],
    cannot: &'static str,
}

/// Beginnings of the identifiers of claims about what was stolen and is not protected.
pub(super) const BARE: [&str; 2] = ["plain/", "readable/"];

const ROWS: &[Row] = &[
    Row {
        standard: "NIST SP 800-38D",
        control: "8.1 to 8.3",
        asks: "no nonce twice under one key; a bound on how often a key encrypts; whole tags",
        attacks: &[7, 13, 25],
        claims: &[],
        against: &[],
        cannot: "That a nonce never repeats is argued from the format (docs/format.md: nonces count under a key of \
                 each writer's own salt), and seen only for what was compared. Uses of a vault's key by \
                 callers (AES-GCM through its API) are not counted.",
    },
    Row {
        standard: "NIST SP 800-57 part 1",
        control: "5.3, 8.3",
        asks: "a key has states and an end, and is used only in those that allow it",
        attacks: &[17],
        claims: &[
            "rotation-rewraps",
            "rotation-opens",
            "disabled-stops",
            "enabled-heals",
            "deleted-stops",
        ],
        against: &[],
        cannot: "That keys are rotated on time, and that somebody decides it: the vault's rotation policy and audit \
                 log tell, the organisation answers.",
    },
    Row {
        standard: "PCI DSS 4.0.1",
        control: "3.5.1",
        asks: "stored account data is unreadable wherever it is stored",
        attacks: &[1, 2, 3, 11, 12, 18, 19],
        claims: &["shut-elsewhere"],
        against: &BARE,
        cannot: "That the copy holds every place where data is: logs, exports, backups and other systems are not in \
                 it unless they lie in the working directory. Which data are account data.",
    },
    Row {
        standard: "PCI DSS 4.0.1",
        control: "3.7.1 to 3.7.5",
        asks: "strong keys, stored safely, changed at the end of their time, retired when weakened",
        attacks: &[15, 16, 31, 32],
        claims: &["rotation-rewraps", "deleted-stops"],
        against: &[],
        cannot: "Split knowledge, custodians and their acknowledgement (3.7.6 to 3.7.8), and cryptoperiods: they are \
                 the organisation's.",
    },
    Row {
        standard: "ISO/IEC 27001:2022",
        control: "A.8.24",
        asks: "rules for the use of cryptography and for keys are defined, and followed",
        attacks: &[1, 6, 7, 14, 15, 16, 26],
        claims: &["rotation-opens", "disabled-stops"],
        against: &[],
        cannot: "The rules themselves, and that they cover what they should: this shows that some of them work.",
    },
    Row {
        standard: "SOC 2 (TSC 2017)",
        control: "CC6.1",
        asks: "logical access to information is restricted, also by encryption and by protecting keys",
        attacks: &[1, 15, 29, 33, 34],
        claims: &["shut-elsewhere", "disabled-stops", "purged-for-good"],
        against: &[],
        cannot: "Operation over a period (type 2), and access by people: it shows one moment.",
    },
];

/// The table for a run.
pub(super) fn controls(
    claims: &[Claim],
    keys: &[KeyChain],
    erasure: Option<&Erasure>,
) -> Vec<ControlEvidence> {
    let mut all: Vec<ControlEvidence> = ROWS.iter().map(|row| row.judge(claims)).collect();
    all.insert(1, strength(keys));
    all.insert(3, erase(erasure));
    all.insert(5, stronger(keys));
    all.push(ControlEvidence {
        standard: "FIPS 140-3".to_owned(),
        control: "validation".to_owned(),
        asks: "cryptography is done by a validated module".to_owned(),
        status: ControlStatus::Never,
        seen: "This is not a FIPS-validated module, whatever libraries it is built with."
            .to_owned(),
        claims: Vec::new(),
        cannot: "Where a validated module is required, nothing here counts.".to_owned(),
    });
    all
}

impl Row {
    fn is_against(&self, claim: &Claim) -> bool {
        self.against.iter().any(|p| claim.id.starts_with(p))
    }

    fn judge(&self, claims: &[Claim]) -> ControlEvidence {
        let speaks = |claim: &&Claim| {
            let of = |n: &u8| {
                let rest = claim.id.strip_prefix(&format!("attack-{n}"));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            claim.verdict != Verdict::NotTried
                && (self.attacks.iter().any(of)
                    || self.claims.contains(&claim.id.as_str())
                    || self.is_against(claim))
        };
        let related: Vec<&Claim> = claims.iter().filter(speaks).collect();
        let (bare, judged): (Vec<&Claim>, Vec<&Claim>) =
            related.iter().partition(|claim| self.is_against(claim));
        let count = |verdict| judged.iter().filter(|c| c.verdict == verdict).count();
        let (holds, fails) = (count(Verdict::Holds), count(Verdict::Fails) + bare.len());
        let told = [
            (holds, "hold"),
            (fails, "fail"),
            (count(Verdict::NotProtected), "declared not protected"),
            (count(Verdict::Inconclusive), "inconclusive"),
        ];
        let told = told.iter().filter(|(n, _)| *n > 0);
        let told: Vec<String> = told.map(|(n, what)| format!("{n} {what}")).collect();
        ControlEvidence {
            standard: self.standard.to_owned(),
            control: self.control.to_owned(),
            asks: self.asks.to_owned(),
            status: match (fails, holds) {
                (1.., _) => ControlStatus::Against,
                (0, 1..) => ControlStatus::Supports,
                (0, 0) => ControlStatus::Silent,
            },
            seen: match told.is_empty() {
                true => "Nothing in this run.".to_owned(),
                false => format!("Of {} claims: {}.", related.len(), told.join(", ")),
            },
            claims: related.iter().map(|c| c.id.clone()).collect(),
            cannot: self.cannot.to_owned(),
        }
    }
}

fn strength(keys: &[KeyChain]) -> ControlEvidence {
    let seen = keys.iter().map(|k| {
        format!(
            "{}: {} bits, the lesser of {} ({}) and AES-256 ({})",
            k.resource, k.strength_bits, k.kind, k.kek_bits, k.dek_bits
        )
    });
    let seen: Vec<String> = seen.collect();
    let enough = keys.iter().all(|k| k.strength_bits >= 112);
    ControlEvidence {
        standard: "NIST SP 800-57 part 1".to_owned(),
        control: "5.6.1, table 2".to_owned(),
        asks: "a chain of keys is as strong as its weakest, and at least 112 bits".to_owned(),
        status: match (keys.is_empty(), enough) {
            (true, _) => ControlStatus::Silent,
            (false, true) => ControlStatus::Supports,
            (false, false) => ControlStatus::Against,
        },
        seen: match seen.is_empty() {
            true => "Nothing in this run.".to_owned(),
            false => seen.join("; ") + ".",
        },
        claims: Vec::new(),
        cannot: "How keys were generated elsewhere and then imported. RSA of any size falls to a large quantum \
                 computer: what is stolen now can be opened then."
            .to_owned(),
    }
}

/// PCI DSS asks more than the weakest link: that the key on top is none the weaker.
fn stronger(keys: &[KeyChain]) -> ControlEvidence {
    let weak = keys.iter().filter(|k| k.kek_bits < k.dek_bits);
    let weak: Vec<String> = weak
        .map(|k| {
            format!(
                "{}: {} ({} bits) wraps a key of {} bits",
                k.resource, k.kind, k.kek_bits, k.dek_bits
            )
        })
        .collect();
    ControlEvidence {
        standard: "PCI DSS 4.0.1".to_owned(),
        control: "3.6.1".to_owned(),
        asks: "a key that encrypts keys is at least as strong as they are, and stored apart from them".to_owned(),
        status: match (keys.is_empty(), weak.is_empty()) {
            (true, _) => ControlStatus::Silent,
            (_, true) => ControlStatus::Supports,
            (_, false) => ControlStatus::Against,
        },
        seen: match (keys.is_empty(), weak.is_empty()) {
            (true, _) => "Nothing in this run.".to_owned(),
            (_, true) => "Every key that wraps is as strong as what it wraps; the vaults are not among what is stolen."
                .to_owned(),
            (_, false) => weak.join("; ") + ". A customer key of the kind oct-256 is as strong as what it wraps.",
        },
        claims: Vec::new(),
        cannot: "Who has access to the vault's root key, and that its custodians are few.".to_owned(),
    }
}

fn erase(erasure: Option<&Erasure>) -> ControlEvidence {
    let left = |e: &Erasure| {
        let left = e.copies.iter().filter(|c| c.left);
        left.map(|c| c.what.clone()).collect::<Vec<_>>().join(", ")
    };
    let (status, seen) = match erasure {
        None => (
            ControlStatus::Silent,
            "No key was purged in this run: no erase is claimed.".to_owned(),
        ),
        Some(e) if e.is_claimed() => (
            ControlStatus::Supports,
            format!(
                "{} was purged, and no copy of it was found: {}.",
                e.key,
                e.copies
                    .iter()
                    .map(|c| format!("{} ({})", c.what, c.seen))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        ),
        Some(e) => (
            ControlStatus::Against,
            format!(
                "{} was purged, but copies are left: {}. No erase is claimed.",
                e.key,
                left(e)
            ),
        ),
    };
    ControlEvidence {
        standard: "NIST SP 800-88".to_owned(),
        control: "cryptographic erase".to_owned(),
        asks: "data is erased by destroying its key, when no copy of the key is left".to_owned(),
        status,
        seen,
        claims: Vec::new(),
        cannot: "Copies of the vault's directory that others made (snapshots, backups of the disk, old blocks of an \
                 SSD): with the root key, each of them holds the purged key."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyKind;
    use crate::envelope::ResourceKind;
    use crate::lab::Evidence;

    fn claim(id: &str, verdict: Verdict) -> Claim {
        Claim {
            id: id.to_owned(),
            text: String::new(),
            verdict,
            evidence: Evidence::default(),
        }
    }

    fn find<'a>(all: &'a [ControlEvidence], control: &str) -> &'a ControlEvidence {
        all.iter().find(|c| c.control == control).unwrap()
    }

    #[test]
    fn a_control_is_supported_by_what_holds_and_by_nothing_else() {
        let status = |claims: &[Claim]| find(&controls(claims, &[], None), "3.5.1").status;
        let holds = claim("attack-2/finance/known-texts", Verdict::Holds);
        assert_eq!(status(&[]), ControlStatus::Silent);
        assert_eq!(
            status(&[claim("attack-2", Verdict::NotTried)]),
            ControlStatus::Silent
        );
        assert_eq!(
            status(&[claim("attack-2/x", Verdict::Inconclusive)]),
            ControlStatus::Silent
        );
        // Attack 25 is no attack 2.
        assert_eq!(
            status(&[claim("attack-25/x", Verdict::Holds)]),
            ControlStatus::Silent
        );
        assert_eq!(
            status(std::slice::from_ref(&holds)),
            ControlStatus::Supports
        );
        assert_eq!(
            status(&[holds, claim("attack-1/x", Verdict::Fails)]),
            ControlStatus::Against
        );
        // What nobody protected is readable, whatever was declared about it.
        for bare in ["plain/sql/x", "readable/export.csv"] {
            let all = [
                claim("attack-2/x", Verdict::Holds),
                claim(bare, Verdict::NotProtected),
            ];
            assert_eq!(status(&all), ControlStatus::Against, "{bare}");
        }
    }

    #[test]
    fn an_erase_is_claimed_only_when_no_copy_of_the_key_is_left() {
        let copy = |left| KeyCopy {
            what: "backup".to_owned(),
            left,
            seen: "audit log".to_owned(),
        };
        let erasure = |copies| Erasure {
            key: "k".to_owned(),
            copies,
        };
        let status =
            |e: Option<&Erasure>| find(&controls(&[], &[], e), "cryptographic erase").status;
        assert_eq!(status(None), ControlStatus::Silent);
        assert_eq!(status(Some(&erasure(vec![]))), ControlStatus::Against);
        assert_eq!(
            status(Some(&erasure(vec![copy(false)]))),
            ControlStatus::Supports
        );
        let one = erasure(vec![copy(false), copy(true)]);
        assert_eq!(status(Some(&one)), ControlStatus::Against);
    }

    #[test]
    fn a_weaker_key_on_top_is_told() {
        let chain = |kind| KeyChain::new("r", "k", kind, ResourceKind::Sql);
        let status = |kind| {
            let all = controls(&[], &[chain(kind)], None);
            (
                find(&all, "3.6.1").status,
                find(&all, "5.6.1, table 2").status,
            )
        };
        assert_eq!(
            status(KeyKind::Oct256),
            (ControlStatus::Supports, ControlStatus::Supports)
        );
        assert_eq!(
            status(KeyKind::Rsa2048),
            (ControlStatus::Against, ControlStatus::Supports)
        );
        assert_eq!(
            KeyChain::new("r", "k", KeyKind::Rsa2048, ResourceKind::Sql).strength_bits,
            112
        );
    }

    #[test]
    fn it_is_never_a_validated_module() {
        let all = controls(&[], &[], None);
        let fips = find(&all, "validation");
        assert_eq!(fips.status, ControlStatus::Never);
        assert!(fips.seen.contains("not a FIPS-validated module"));
    }
}
