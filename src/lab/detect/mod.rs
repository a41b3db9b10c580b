//! Detectors: what can be seen in bytes without a key. Each one misses something that another one
//! sees (`docs/detectors.md`), so all run, in one pass and in bounded memory.

mod blocks;
#[cfg(test)]
mod calibration;
mod deflate;
mod figures;
mod files;
mod layout;
mod magic;
mod members;
mod neighbours;
mod profile;
mod scan;
mod search;
mod sieve;
mod statistics;

pub use figures::{Figures, Hit, MagicFound};
pub use files::scan_copy;
pub use layout::Documented;
pub(super) use layout::{FRAME_HEADER, JOURNAL_UNIT, LOG_HEADER};
pub use neighbours::xor_of_copies;
pub use profile::{PageKind, Profile};
pub use scan::{Scan, Search};
pub use search::Searcher;

pub(in crate::lab) use files::scan_files;
pub(super) use statistics::entropy;
pub use statistics::{CHI_SQUARE_LIMIT, DEFLATE_LIMIT, PAGE};
