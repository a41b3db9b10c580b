use std::path::PathBuf;
use std::sync::Arc;

use super::medium::{Code, Medium};
use super::page_file::{self, PageFile};
use super::record::{Record, Stage};
use super::shared::Shared;
use super::tracker::{self, Overlay};
use super::unit::UnitId;
use super::vfs::LowerFile;
use super::wal_file::WalFile;

/// How often a file that others write to meanwhile is read anew.
const TRIES: usize = 5;

/// What was read.
pub(super) struct Read {
    pub units: u64,
    pub bytes: u64,
}

/// Authenticates every page of the main file and the write-ahead log, up to where SQLite reads it; and
/// compares the sum of the pages with the freshness record. `None` when others wrote all the time.
pub(super) fn verify(
    shared: &Arc<Shared>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Read>, Code> {
    let mut medium = LowerFile::open_path(shared.path())?;
    let mut file = PageFile::new(shared.clone(), 0);
    for _ in 0..TRIES {
        let before = State::of(shared, &mut file, &mut medium)?;
        let read = read_all(shared, &before, &mut file, &mut medium, progress);
        if State::of(shared, &mut file, &mut medium)?.is(&before) {
            return read.map(Some);
        }
    }
    Ok(None)
}

/// What the file's record and log say.
pub(super) struct State {
    pub record: Option<Record>,
    overlay: Option<Overlay>,
    pub frames: u64,
    log: [u8; 8],
    last: Option<UnitId>,
}

impl State {
    pub(super) fn of(
        shared: &Arc<Shared>,
        file: &mut PageFile,
        medium: &mut dyn Medium,
    ) -> Result<Self, Code> {
        file.check()?;
        let record = match shared.is_fresh() {
            true => Some(tracker::newest(file.units(), medium)?),
            false => None,
        };
        let mut state = Self {
            record,
            overlay: None,
            frames: 0,
            log: [0; 8],
            last: None,
        };
        let mut name = shared.path().as_os_str().to_owned();
        name.push("-wal");
        let path = PathBuf::from(name);
        if !path.exists() {
            return Ok(state);
        }
        let mut medium = LowerFile::open_path(&path)?;
        let mut log = WalFile::new(shared.clone());
        if let Some(log) = log.recover(&mut medium)? {
            state.frames = log.frames.len() as u64;
            state.log = *log.salts;
            state.last = log.frames.last().map(|frame| frame.id);
            let overlay = |record| Overlay::new(record, log.salts, log.frames);
            state.overlay = state.record.as_ref().map(overlay);
        }
        Ok(state)
    }

    fn is(&self, other: &Self) -> bool {
        self.record == other.record
            && (self.log, self.frames, self.last) == (other.log, other.frames, other.last)
    }
}

fn read_all(
    shared: &Arc<Shared>,
    state: &State,
    file: &mut PageFile,
    medium: &mut dyn Medium,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Read, Code> {
    let page = shared.page_size().bytes();
    let len = medium.len()?;
    let pages = page_file::pages_of(len, page);
    let mut plain = vec![0; page];
    let mut sum = 0u128;
    let counted = state.record.as_ref().map_or(0, |record| record.now.count);
    for number in 1..=pages.max(counted) {
        file.check()?;
        let there = number <= pages && file.read_page(medium, number, &mut plain)?;
        progress((number * page as u64).min(len), len);
        let overlay = state.overlay.as_ref().and_then(|o| o.counted(number));
        let id = overlay.unwrap_or_else(|| there.then(|| file.last_id()));
        if let Some(id) = id.filter(|_| number <= counted) {
            sum = sum.wrapping_add(file.units().summand(number, &id)?);
        }
    }
    match &state.record {
        Some(record) if record.stage == Stage::Open => Err(shared.refuse(
            Code::STALE,
            "a transaction was cut short, and the journal that leads back is missing or not its own",
        )),
        Some(record) if record.now.sum != sum => Err(shared.refuse(
            Code::STALE,
            "its pages are not those of its newest version: some are older, or of a fork of this file",
        )),
        _ => Ok(Read {
            units: pages + state.frames,
            bytes: len + state.frames * page as u64,
        }),
    }
}
