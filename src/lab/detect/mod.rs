//! Detectors: what can be seen in bytes without a key. Each one misses something that another one
//! sees (`docs/detectors.md`), so all run, in one pass and in bounded memory.

mod blocks;
#[cfg(test)]
mod calibration;
mod figures;
mod layout;
mod magic;
mod members;
mod profile;
mod scan;
mod search;
mod statistics;

pub use figures::{Figures, Hit, MagicFound};
pub use layout::Documented;
pub(super) use layout::{FRAME_HEADER, LOG_HEADER};
pub use profile::{PageKind, Profile};
pub use scan::{Scan, scan_copy, xor_of_copies};
pub use search::Searcher;

pub(in crate::lab) use scan::scan_files;
pub(super) use statistics::entropy;
pub use statistics::{CHI_SQUARE_LIMIT, DEFLATE_LIMIT, PAGE};
