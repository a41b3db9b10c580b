//! Positions: what is remembered of a file. Each is compared with files that lie beside their logs, as
//! docs/format.md says.

use std::cmp::Ordering;
use std::path::Path;

use atrest::sqlite::{Position, SealedDatabase, SealedError};

use crate::corpus::{self, Entry};
use crate::files::{FRAME_HEADER, Files, Layout, MAIN, PAGE, Scratch, WAL};
use crate::keyed;
use crate::mutate::Aim;
use crate::oracle::{self, Outcome};
use crate::run::Target;

const LEN: usize = Position::LEN;

pub fn entries(logs: &[(&'static str, Entry)]) -> Vec<(&'static str, Entry)> {
    let entries = logs.iter().map(|(name, entry)| {
        let file = File::new(entry);
        let files = Files::of_main(file.now.to_vec());
        (
            *name,
            Entry {
                files,
                state: Some(0),
                ..Entry::default()
            },
        )
    });
    let mut entries: Vec<_> = entries.collect();
    // A log without frames is none, whatever comes before its first one.
    let mut none = entries[0].1.clone();
    none.files.0[MAIN].as_mut().unwrap()[56..64].fill(0);
    none.state = None;
    entries.push(("log_without_frames", none));
    entries
}

/// A file and its log, and what they say.
struct File {
    db: SealedDatabase,
    now: [u8; LEN],
    log_salts: [u8; 8],
    headers: Vec<[u8; 16]>,
    /// Salts and number of frames of the log that the file has taken in.
    taken_in: ([u8; 8], u64),
    _dir: Scratch,
}

impl File {
    fn new(entry: &Entry) -> Self {
        let dir = Scratch::new();
        let path = dir.db();
        entry.files.place(&path);
        let db = oracle::open(&path).unwrap();
        let now = db.check_freshness(None).unwrap().to_bytes();
        let record = keyed::newest_record(entry.files.main());
        let taken_in = (record[72..80].try_into().unwrap(), number(&record, 80));
        let frames =
            entry.files.0[WAL].as_deref().unwrap_or_default()[64..].chunks(FRAME_HEADER + PAGE);
        let headers = frames
            .map(|frame| frame[56..72].try_into().unwrap())
            .collect();
        let log_salts = now[48..56].try_into().unwrap();
        Self {
            db,
            now,
            log_salts,
            headers,
            taken_in,
            _dir: dir,
        }
    }

    /// Whether a file may be at hand where `kept` is remembered.
    fn fits(&self, kept: &[u8; LEN]) -> bool {
        let has_log = kept[40] == 1;
        let (salts, frames) = (&kept[48..56], number(kept, 56));
        let took_in = self.taken_in.0 == salts;
        let holds = || {
            let last = usize::try_from(frames - 1).ok();
            let header = last.and_then(|last| self.headers.get(last));
            salts == self.log_salts
                && header.is_some_and(|header| kept[64..] == *header)
                && frames <= number(&self.now, 56)
        };
        let log_fits = match number(&self.now, 8).cmp(&number(kept, 8)) {
            Ordering::Less => false,
            Ordering::Equal => {
                let same = self.now[16..40] == kept[16..40];
                same && (!has_log || took_in && frames <= self.taken_in.1 || holds())
            }
            Ordering::Greater => !(has_log && took_in && self.taken_in.1 < frames),
        };
        number(&self.now, 0) >= number(kept, 0) && log_fits
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Whether bytes are a position: no others stand for the same.
fn is_position(b: &[u8; LEN]) -> bool {
    let zeros = match b[40] {
        0 => &b[40..],
        _ => &b[41..44],
    };
    b[40] <= 1 && zeros.iter().all(|&b| b == 0) && (b[40] == 0 || number(b, 56) > 0)
}

fn judge(files: &[File], entry: &Entry) -> Result<Outcome, String> {
    let mut bytes = [0; LEN];
    bytes
        .iter_mut()
        .zip(entry.files.main())
        .for_each(|(b, n)| *b = *n);
    let Some(position) = Position::from_bytes(&bytes) else {
        return match is_position(&bytes) {
            true => Err("a position is refused".to_owned()),
            false => Ok(Outcome::NoDatabase),
        };
    };
    if position.to_bytes() != bytes || !is_position(&bytes) {
        return Err("it parses, and is not what is written of it".to_owned());
    }
    let mut outcome = Outcome::Refused;
    for (at, file) in files.iter().enumerate() {
        match (file.db.check_freshness(Some(&position)), file.fits(&bytes)) {
            (Ok(_), true) => outcome = Outcome::Old,
            (Err(SealedError::Stale { .. }), false) => {}
            (said, fits) => return Err(format!("file {at}: fits {fits}, and {said:?}")),
        }
    }
    Ok(outcome)
}

#[test]
fn no_file_passes_for_as_new_as_a_position_that_it_has_not_come_to() {
    let files: Vec<_> = corpus::load("wal")
        .iter()
        .filter(|(_, e)| e.state.is_some())
        .map(|(_, e)| File::new(e))
        .collect();
    let target = Target {
        name: "position",
        aim: Aim {
            layout: Layout::Position,
            files: &[MAIN],
            within: 0..LEN,
            forge: false,
        },
        share: 1,
        judge: &|entry: &Entry, _: &Path| judge(&files, entry),
    };
    let seen = target.run();
    assert!(seen.contains_key(&Outcome::Old));
}
