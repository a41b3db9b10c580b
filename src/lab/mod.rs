//! The stolen-copy lab: it takes a byte-for-byte copy of everything on disk, tries what a thief
//! would try, and says what came out.
//!
//! An [`Exhibit`] is a protected resource beside its plain twin, both stolen. Every [`Attack`] of
//! [`ATTACKS`] runs on both: on the twin it has to succeed, else it proves nothing and its verdict
//! is [`Verdict::Inconclusive`]. The lab has the right key, and hands it to every attack that
//! alters bytes: what is then refused is refused for the alteration. It works on copies of copies
//! only, in a directory of its own.

mod attack;
mod canary;
pub mod compare;
mod detect;
mod encodings;
mod erased;
mod exhibit;
mod inventory;
mod process;
mod registry;
mod report;
mod scene;
mod theft;
mod tools;
mod verdict;

pub use canary::{Canary, CanaryOrigin, CanarySet};
pub use detect::{
    CHI_SQUARE_LIMIT, DEFLATE_LIMIT, Documented, Figures, Hit, MagicFound, PAGE, PageKind, Profile,
    Scan, Search, Searcher, scan_copy, xor_of_copies,
};
pub use encodings::Encoding;
pub use erased::Erased;
pub use exhibit::{Exhibit, Lab, LabError, StolenCopy, StolenVault, Stranger};
pub use inventory::{Readable, readable};
pub use registry::{ATTACKS, Attack, OnExhibit, Once, Outcome, Run, Selection, run};
pub use report::{
    CANARY_FILE, Check, Checked, Claim, ControlEvidence, ControlStatus, Erasure, FiguresPair,
    JunitCase, JunitResult, JunitSuite, KeyChain, KeyCopy, KnownTexts, Looked, Report, ReportMeta,
    ReportSignature, SCHEMA, SIGNATURE_FILE, SIGNING_KEY, Signed, Step, Theft, Verification,
    Written, sign_report,
};
pub use scene::{STOLEN, Scene, exhibit, set_scene};
pub use theft::{Manifest, StolenFile, steal};
pub use verdict::{Control, Evidence, Finding, Tally, Verdict};
