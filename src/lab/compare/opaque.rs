use std::path::Path;

use serde::Serialize;

use crate::lab::attack::nonce::Seen;
use crate::lab::theft::files_below;
use crate::lab::{
    CanarySet, Control, Documented, Evidence, Figures, Hit, LabError, Scan, Searcher, Verdict,
    scan_copy,
};

/// What the detectors see in bytes of any format: a file, a directory, an image of a disk, a block device.
/// Nothing opens it, so of the attacks there is only the one that searches.
#[derive(Clone, Debug, Serialize)]
pub struct Opaque {
    /// Bytes looked at.
    pub bytes: u64,
    /// Entropy, in bits per byte.
    pub entropy: f64,
    /// Pages of 4 KiB, and how many of them have a pattern.
    pub pages: u64,
    /// As said.
    pub pages_flagged: u64,
    /// File structures found.
    pub structures: u64,
    /// Beginnings of compressed members that were not followed, since too many others were open: with any, no
    /// search is complete.
    pub members_passed: u64,
    /// The detectors that raise an alarm.
    pub alarms: Vec<&'static str>,
    /// Attack 2, known texts: none when no texts were given. Its control is a file that holds them.
    pub texts: Option<Verdict>,
    /// Attack 2, anything but noise: its control is a file of plain rows.
    pub noise: Verdict,
    /// Attack 25: nonces of sealed pages and logs, and salts of extents, over all the files together; and how
    /// many of them were used again for something else.
    pub nonces: u64,
    /// As said.
    pub nonces_repeated: u64,
    /// How many known texts were found.
    pub found: u64,
    /// Where the first of them are.
    pub hits: Vec<Hit>,
}

/// Runs the detectors on what is at `path`, and searches it for `texts`. `progress` is told bytes done.
///
/// # Errors
/// It cannot be read.
pub fn look_at(
    path: &Path,
    texts: &CanarySet,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Opaque, LabError> {
    let searcher = Searcher::new(texts)?;
    let figures = scan_copy(path, &searcher, progress)?;
    let plain = plain_rows(texts, &searcher);
    let nonces = Seen::over(&files_below(path)?)?;
    let structures = figures.structures.values().sum();
    let known = judged(&figures, figures.canary_hits > 0, plain.canary_hits > 0);
    let alarms = figures.alarms();
    let noise = alarms.iter().any(|alarm| *alarm != "canaries");
    Ok(Opaque {
        bytes: figures.bytes,
        entropy: figures.entropy(),
        pages: figures.pages,
        pages_flagged: figures.pages_flagged,
        structures,
        members_passed: figures.members_passed,
        texts: (!texts.all().is_empty()).then_some(known),
        noise: judged(&figures, noise, !plain.alarms().is_empty()),
        alarms,
        nonces: nonces.count,
        nonces_repeated: nonces.repeats.len() as u64,
        found: figures.canary_hits,
        hits: figures.hits,
    })
}

/// The unprotected twin of bytes that nothing opens: rows that hold each of the texts.
pub(in crate::lab) fn plain_rows(texts: &CanarySet, searcher: &Searcher) -> Figures {
    let mut rows = Vec::new();
    for number in 0..1000 {
        rows.extend_from_slice(format!("{number};an entry;").as_bytes());
        for text in texts.all() {
            rows.extend_from_slice(text.bytes());
        }
        rows.push(b'\n');
    }
    let mut scan = Scan::new(searcher, "rows", Documented::none(), rows.len() as u64);
    scan.feed(&rows);
    scan.finish()
}

/// What came out of one trial. Nothing is proved of no bytes.
fn judged(figures: &Figures, succeeded: bool, fired: bool) -> Verdict {
    let mut evidence = Evidence::default();
    evidence.tally.trials = u64::from(figures.bytes > 0);
    evidence.tally.succeeded = u64::from(succeeded);
    evidence.tally.refused = evidence.tally.trials - evidence.tally.succeeded;
    // What was not opened may hold anything.
    evidence.control = Some(Control {
        fired: fired && figures.bytes > 0 && figures.members_passed == 0,
        ..Control::default()
    });
    evidence.verdict()
}
