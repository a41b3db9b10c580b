//! Backups that were made before a resource was protected.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::base::create_dir_private;
use crate::lab::inventory::readable;
use crate::lab::theft::{duplicate, files_below, read_at};
use crate::lab::{Attack, Control, Evidence, Exhibit, Lab, LabError, Outcome, Searcher};

use super::leak::files_of;

/// Of a compressed backup so much is made, in bytes.
const COMPRESSED: usize = 4 << 20;

/// Attack 20.
pub(in crate::lab) fn before(lab: &Lab, exhibit: &Exhibit) -> Result<Vec<Outcome>, LabError> {
    let dir = lab.scratch()?;
    let searcher = Searcher::new(&lab.canaries)?;
    let backups = backups(exhibit, dir.path())?;
    let mut evidence = Evidence::default();
    let mut readable_bytes = 0;
    for (what, files) in &backups {
        evidence.tally.trials += 1;
        let listed = readable(files, &searcher)?;
        if listed.is_empty() {
            evidence.tally.succeeded += 1;
            evidence.finding(exhibit.name.clone(), None, format!("{what} is not listed"));
        } else {
            evidence.tally.refused += 1;
        }
        for file in listed {
            readable_bytes += super::alter::len(&file.path)?;
        }
    }
    let sealed = files_of(exhibit.kind, &exhibit.protected)?;
    let wrongly = readable(&sealed, &searcher)?;
    evidence.summary = format!(
        "{} of {} backups from before are listed as plaintext; of {} files of the protected copy {} are.",
        evidence.tally.refused,
        evidence.tally.trials,
        sealed.len(),
        wrongly.len()
    );
    // A list that holds everything tells nothing.
    evidence.tally.succeeded += wrongly.len() as u64;
    evidence.tally.trials += wrongly.len() as u64;
    for file in wrongly {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        evidence.finding(name, None, format!("listed: {}", file.why.join(", ")));
    }
    evidence.control = Some(Control {
        fired: readable_bytes > 0,
        summary: format!(
            "the backups are worth having: {readable_bytes} bytes of them are readable."
        ),
        ..Control::default()
    });
    let part = "a copy of the unprotected files, as they are and compressed";
    Ok(vec![Attack::number(20).outcome(
        Some(part),
        exhibit,
        evidence,
    )])
}

/// What somebody may have kept of the resource before it was protected.
fn backups(exhibit: &Exhibit, dir: &Path) -> Result<Vec<(&'static str, Vec<PathBuf>)>, LabError> {
    let plain = dir.join("plain");
    create_dir_private(&plain).map_err(|e| LabError::io(&plain, e))?;
    duplicate(&exhibit.twin.path, &plain)?;
    let files = files_below(&plain)?;
    let mut start = Vec::new();
    for file in &files {
        start.extend(read_at(file, 0, COMPRESSED - start.len())?);
    }
    let (gzip, zstd) = (dir.join("backup.gz"), dir.join("backup.zst"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e| LabError::io(&path, e)
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed = encoder.write_all(&start).and_then(|()| encoder.finish());
    std::fs::write(&gzip, compressed.map_err(failed(&gzip))?).map_err(failed(&gzip))?;
    let compressed = zstd::encode_all(&start[..], 1).map_err(failed(&zstd))?;
    std::fs::write(&zstd, compressed).map_err(failed(&zstd))?;
    Ok(vec![
        ("the files as they were", files),
        ("a gzip archive", vec![gzip]),
        ("a zstd archive", vec![zstd]),
    ])
}
