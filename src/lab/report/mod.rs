//! The evidence report: `report.json` for machines and auditors, `report.html` for people. The
//! page needs nothing but itself: no script, no network, no font. `report.junit.xml` is for build servers.

mod chart;
mod controls;
mod figures;
mod html;
mod junit;
mod sign;
mod svg;
mod units;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::base::write_atomic;
use crate::crypto::{KeyKind, WrapAlgorithm, sha256};
use crate::envelope::ResourceKind;

use super::{CanarySet, Evidence, LabError, Manifest, Outcome, Verdict, tools};

pub use controls::{ControlEvidence, ControlStatus, Erasure, KeyCopy};
pub use figures::{FiguresPair, Looked};
pub use junit::{JunitCase, JunitResult, JunitSuite};
pub use sign::{ReportSignature, SIGNATURE_FILE, SIGNING_KEY, Signed, sign_report};
pub use verify::{Check, Checked, Verification};

/// The schema of `report.json`. A field may be added under the same name; a changed or removed one
/// makes a new name.
pub const SCHEMA: &str = "atrest-report/1";

/// The file that holds the known texts, where they are kept.
pub const CANARY_FILE: &str = "canaries.json";

/// What the report is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportMeta {
    /// The heading.
    pub title: String,
    /// The command that was run, as typed.
    pub command: String,
    /// When.
    pub generated: Timestamp,
    /// Every random choice of the run came from this.
    pub seed: u64,
    /// Other parameters, by name.
    pub parameters: BTreeMap<String, String>,
}

/// One step of the run, in the order in which it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What was done, in a few words.
    pub title: String,
    /// What came out, line by line.
    pub lines: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Something that is claimed, and what came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// A name that stays the same from run to run: "attack-7/finance".
    pub id: String,
    /// What is claimed, in one sentence.
    pub text: String,
    /// What came out.
    pub verdict: Verdict,
    /// What the verdict rests on.
    pub evidence: Evidence,
}

impl From<Outcome> for Claim {
    fn from(outcome: Outcome) -> Self {
        let mut id = format!("attack-{}", outcome.attack);
        for part in [&outcome.exhibit, &outcome.part].into_iter().flatten() {
            let plain = |c: char| if c.is_alphanumeric() { c } else { '-' };
            id.push('/');
            id.extend(part.chars().map(plain));
        }
        let target = outcome
            .exhibit
            .map(|e| format!("{e}, "))
            .unwrap_or_default();
        let part = outcome.part.map(|p| format!(" ({p})")).unwrap_or_default();
        let (number, name, claim) = (outcome.attack, outcome.name, outcome.claim);
        let text = format!("{target}attack {number}: {name}{part}. Expected: {claim}.");
        Self {
            id,
            text,
            verdict: outcome.verdict,
            evidence: outcome.evidence,
        }
    }
}

/// The keys between a resource's bytes and the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChain {
    /// The resource.
    pub resource: String,
    /// Its kind. The first reports do not tell it, and nothing that reads them asks.
    #[serde(default = "untold")]
    pub resource_kind: ResourceKind,
    /// The customer's or the service's key, as its identifier.
    pub key: String,
    /// Its kind.
    pub kind: KeyKind,
    /// How it wraps the data encryption key.
    pub wrap: WrapAlgorithm,
    /// Strength of the key that wraps, in bits; 0 in the first reports, which do not tell it.
    #[serde(default)]
    pub kek_bits: u32,
    /// Strength of the data encryption key, in bits; 0 likewise.
    #[serde(default)]
    pub dek_bits: u32,
    /// Strength of the whole, in bits: of the weakest link (NIST SP 800-57 part 1, table 2).
    pub strength_bits: u32,
}

fn untold() -> ResourceKind {
    ResourceKind::Sql
}

impl KeyChain {
    /// AES-256-GCM data under a data encryption key that a key of this kind wraps.
    ///
    /// # Panics
    /// When a key of this kind wraps none.
    pub fn new(
        resource: impl Into<String>,
        key: impl Into<String>,
        kind: KeyKind,
        resource_kind: ResourceKind,
    ) -> Self {
        const AES_256_BITS: u32 = 256;
        Self {
            resource: resource.into(),
            resource_kind,
            key: key.into(),
            kind,
            wrap: (kind.wrap_algorithm()).expect("a resource's key wraps data encryption keys"),
            kek_bits: kind.strength_bits(),
            dek_bits: AES_256_BITS,
            strength_bits: kind.strength_bits().min(AES_256_BITS),
        }
    }
}

/// A stolen copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Theft {
    /// What was robbed.
    pub label: String,
    /// What was taken.
    pub manifest: Manifest,
}

/// The known texts that were looked for, without giving them away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTexts {
    /// How many.
    pub count: usize,
    /// SHA-256 of the file that holds them ([`CANARY_FILE`]), 64 hexadecimal digits.
    pub sha256: String,
}

/// The report while it is being filled. Filling never fails; [`Report::write`] may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    schema: String,
    meta: ReportMeta,
    versions: BTreeMap<String, String>,
    notice: String,
    steps: Vec<Step>,
    claims: Vec<Claim>,
    figures: Vec<FiguresPair>,
    keys: Vec<KeyChain>,
    thefts: Vec<Theft>,
    canaries: Option<KnownTexts>,
    erasure: Option<Erasure>,
    /// What the run says about controls of standards; made when it is written. None in the first reports.
    #[serde(default)]
    controls: Vec<ControlEvidence>,
    /// SHA-256 of each document that was written beside the report, by name.
    documents: BTreeMap<String, String>,
}

/// Where a report was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The one for machines.
    pub json: PathBuf,
    /// The one for people.
    pub html: PathBuf,
    /// The one for build servers.
    pub junit: PathBuf,
}

impl Report {
    /// An empty report.
    pub fn new(meta: ReportMeta) -> Self {
        let machine = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
        let versions = [
            ("atrest", env!("CARGO_PKG_VERSION").to_owned()),
            ("SQLite", rusqlite::version().to_owned()),
            ("AES-256-GCM by", crate::crypto::backend().to_string()),
            ("Machine", machine),
        ];
        let notice = "This is not a FIPS-validated module, and this report is no certificate: it \
                      says what this run saw.";
        Self {
            schema: SCHEMA.to_owned(),
            meta,
            versions: versions.map(|(name, v)| (name.to_owned(), v)).into(),
            notice: notice.to_owned(),
            steps: Vec::new(),
            claims: Vec::new(),
            figures: Vec::new(),
            keys: Vec::new(),
            thefts: Vec::new(),
            canaries: None,
            erasure: None,
            controls: Vec::new(),
            documents: BTreeMap::new(),
        }
    }

    /// Adds a step.
    pub fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Adds a claim, or a whole [`Outcome`].
    pub fn claim(&mut self, claim: impl Into<Claim>) {
        self.claims.push(claim.into());
    }

    /// Adds detector figures.
    pub fn figures(&mut self, pair: FiguresPair) {
        self.figures.push(pair);
    }

    /// Adds the keys of a resource.
    pub fn keys(&mut self, keys: KeyChain) {
        self.keys.push(keys);
    }

    /// Adds a stolen copy.
    pub fn stolen(&mut self, label: impl Into<String>, manifest: Manifest) {
        let label = label.into();
        self.thefts.push(Theft { label, manifest });
    }

    /// Says which texts were looked for.
    pub fn canaries(&mut self, canaries: &CanarySet) {
        self.canaries = Some(KnownTexts {
            count: canaries.all().len(),
            sha256: hex::encode(sha256(&[&canaries.to_json()])),
        });
    }

    /// Says what became of a purged key's copies.
    pub fn erasure(&mut self, erasure: Erasure) {
        self.erasure = Some(erasure);
    }

    /// The claims so far.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// How many claims have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.claims.iter().filter(|c| c.verdict == verdict).count()
    }

    /// The weakest key chain's strength, in bits.
    pub fn strength_bits(&self) -> Option<u32> {
        self.keys.iter().map(|k| k.strength_bits).min()
    }

    /// 0 when at least one claim holds and each of the others holds, is declared not protected, or
    /// was not tried; else 1.
    pub fn exit_code(&self) -> u8 {
        let bad = self.claims.iter().any(|c| !c.verdict.is_acceptable());
        u8::from(bad || self.count(Verdict::Holds) == 0)
    }

    /// Writes `report.json`, `report.html` and `report.junit.xml` into the existing directory `dir`, each
    /// whole or not at all.
    /// The report holds the hashes of the two others, so that a signature over it covers all three; one
    /// that lies there already, over an earlier report, is removed.
    pub fn write(&mut self, dir: &Path) -> Result<Written, LabError> {
        self.controls = controls::controls(&self.claims, &self.keys, self.erasure.as_ref());
        let tools = tools::versions().iter();
        self.versions
            .extend(tools.map(|(tool, version)| ((*tool).to_owned(), version.clone())));
        let html = html::render(self)?;
        let written = Written {
            json: dir.join("report.json"),
            html: dir.join("report.html"),
            junit: dir.join("report.junit.xml"),
        };
        let junit = JunitSuite::from(&*self).to_xml();
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        self.documents = BTreeMap::from([
            (name(&written.html), hex::encode(sha256(&[html.as_bytes()]))),
            (name(&written.junit), hex::encode(sha256(&[&junit]))),
        ]);
        let json = serde_json::to_vec_pretty(self);
        let mut json = json.map_err(|e| LabError::Report(e.to_string()))?;
        json.push(b'\n');
        let stale = dir.join(SIGNATURE_FILE);
        match std::fs::remove_file(&stale) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(LabError::io(&stale, e));
            }
            _ => {}
        }
        let files: [(&Path, &[u8]); 3] = [
            (&written.json, &json),
            (&written.html, html.as_bytes()),
            (&written.junit, &junit),
        ];
        for (path, bytes) in files {
            write_atomic(path, bytes).map_err(|e| LabError::io(path, e))?;
        }
        Ok(written)
    }
}
