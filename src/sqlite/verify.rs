use std::sync::Arc;

use crate::base::beside;

use super::header::RECORD_PLACES;
use super::medium::{Code, Medium};
use super::overlay::Overlay;
use super::page_file::PageFile;
use super::position::{LogPosition, Position};
use super::record::{Pages, Record, Stage};
use super::shared::Shared;
use super::tracker;
use super::unit::{UnitId, UnitKind, Units};
use super::vfs::LowerFile;
use super::wal_file::WalFile;
use super::wal_frames::{Generation, LoggedFrame};

/// How often a file that others write to meanwhile is read anew.
const TRIES: usize = 5;

const CUT_SHORT: &str =
    "a transaction was cut short, and the journal that leads back is missing or not its own";

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
    let read = |state: &State, file: &mut PageFile, medium: &mut LowerFile| {
        read_all(shared, state, file, medium, progress)
    };
    steady(shared, State::is, read)?.transpose()
}

/// Compares the file's record and log with what is remembered of them. Called under a lock, after
/// SQLite has played back what a crash left. `None` when others wrote all the time; that they only add
/// to the log is no hindrance.
pub(super) fn check(
    shared: &Arc<Shared>,
    kept: Option<&Position>,
) -> Result<Option<Position>, Code> {
    let judge =
        |state: &State, _: &mut PageFile, _: &mut LowerFile| state.judge(shared.header(), kept);
    steady(shared, State::begins, judge)?
        .transpose()
        .map_err(|why| shared.refuse(Code::STALE, &why))
}

/// What `look` makes of the file while its record and log stay as they are, as `same` tells; `None` when
/// others wrote all the time.
fn steady<T>(
    shared: &Arc<Shared>,
    same: impl Fn(&State, &State) -> bool,
    mut look: impl FnMut(&State, &mut PageFile, &mut LowerFile) -> T,
) -> Result<Option<T>, Code> {
    let mut medium = LowerFile::open_path(shared.path())?;
    let mut file = PageFile::new(shared.clone(), 0);
    for _ in 0..TRIES {
        let state = State::of(shared, &mut file, &mut medium)?;
        let seen = look(&state, &mut file, &mut medium);
        if same(&state, &State::of(shared, &mut file, &mut medium)?) {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// Has what was written to the main file, and to its log, be on the disk.
pub(super) fn sync(shared: &Shared) -> Result<(), Code> {
    LowerFile::open_main(shared)?.sync()?;
    let log = beside(shared.path(), "-wal");
    match log.exists() {
        true => LowerFile::open_path(&log)?.sync(),
        false => Ok(()),
    }
}

/// How far the main file has come, at least, on the disk: a transaction that somebody is just committing
/// may be undone. `None` when it keeps no record.
pub(super) fn position(shared: &Shared) -> Result<Option<Position>, Code> {
    let (path, file) = (shared.path(), shared.file());
    let detached = Shared::detached(path, file, shared.facts(), shared.keys());
    let mut units = Units::new(Arc::new(detached), UnitKind::Page);
    units.check()?;
    let mut medium = LowerFile::open_main(shared)?;
    let record = Record::read(&mut units, &mut medium)?;
    medium.sync()?;
    Ok(record.map(|record| {
        let sure = record.settled(record.base_version, record.base);
        let record = match record.stage {
            Stage::Committing => &sure,
            _ => &record,
        };
        Position::new(shared.header(), record, None)
    }))
}

/// The versions that a rollback journal beside the file may lead back to, for when SQLite reads it
/// without the file.
pub(super) fn journal_versions(shared: &Arc<Shared>) -> Result<[u64; 2], Code> {
    let mut medium = LowerFile::open_path(shared.path())?;
    PageFile::new(shared.clone(), 0).journal_versions(&mut medium)
}

/// Sums up the pages anew, as a version later than `past`. Called while nobody else can write;
/// `None` when the log still holds commits.
pub(super) fn renew(shared: &Arc<Shared>, past: u64) -> Result<Option<()>, Code> {
    let page = shared.page_size().bytes();
    let mut medium = LowerFile::open_path(shared.path())?;
    let mut file = PageFile::new(shared.clone(), 0);
    file.check()?;
    if log_holds_commits(shared)? {
        return Ok(None);
    }
    let record = Record::read(&mut file.units, &mut medium)?
        .unwrap_or_else(|| Record::first(Pages::default()));
    let mut pages = Pages {
        count: file.pages(&mut medium)?,
        sum: 0,
    };
    let mut plain = vec![0; page];
    for number in 1..=pages.count {
        file.check()?;
        if number == shared.page_size().lock_page() {
            continue;
        }
        file.read_page(&mut medium, number, &mut plain)?;
        let id = file.last_id();
        pages.add(&mut file.units, number, &id)?;
    }
    let version = record.version.max(past) + 1;
    record
        .settled(version, pages)
        .write(&mut file.units, &mut medium)?;
    medium.sync()?;
    Ok(Some(()))
}

/// Before the key that was in use before goes: writes the record into each of its places, so that none
/// is left under it. `false` when the log still holds something that is.
pub(super) fn seal_records(shared: &Arc<Shared>) -> Result<bool, Code> {
    let mut medium = LowerFile::open_main(shared)?;
    let mut file = PageFile::new(shared.clone(), 0);
    file.check()?;
    let is_new = |frame: &LoggedFrame| {
        [&frame.header, &frame.id].map(|id| file.units.is_of_newest_key(id)) == [true; 2]
    };
    if in_log(shared, |log| log.frames.iter().all(is_new))? == Some(false) {
        return Ok(false);
    }
    let mut record = tracker::newest(&mut file.units, &mut medium)?;
    for _ in RECORD_PLACES {
        record = record.settled(record.version, record.now);
        record.write(&mut file.units, &mut medium)?;
        medium.sync()?;
    }
    Ok(true)
}

/// Whether the write-ahead log holds anything that SQLite takes.
pub(super) fn log_holds_commits(shared: &Arc<Shared>) -> Result<bool, Code> {
    Ok(in_log(shared, |log| !log.frames.is_empty())? == Some(true))
}

/// What `look` makes of the write-ahead log beside the main file, as far as SQLite takes it; `None` without
/// one.
fn in_log<T>(
    shared: &Arc<Shared>,
    look: impl FnOnce(&Generation<'_>) -> T,
) -> Result<Option<T>, Code> {
    let path = beside(shared.path(), "-wal");
    if !path.exists() {
        return Ok(None);
    }
    let mut log = WalFile::new(shared.clone());
    let found = log.recover(&mut LowerFile::open_path(&path)?)?;
    Ok(found.map(|log| look(&log)))
}

/// What the file's record and log say.
struct State {
    record: Option<Record>,
    /// Pages in the main file.
    pages: u64,
    overlay: Option<Overlay>,
    log: Option<LogPosition>,
    /// The salts of a log of which nothing is committed yet, and zeros without a log.
    salts: [u8; 8],
    /// The identities of the headers of the log's committed frames.
    frames: Vec<UnitId>,
}

impl State {
    /// Whether it is what is remembered, or newer; if not, why.
    fn judge(&self, header: u64, kept: Option<&Position>) -> Result<Position, String> {
        let Some(record) = &self.record else {
            return Err("it keeps no freshness record, and is remembered to keep one".into());
        };
        if self.is_cut_short() {
            return Err(CUT_SHORT.into());
        }
        if self.lacks_pages(record) {
            return Err(format!(
                "its main file has {} pages, and had {}",
                self.pages, record.now.count
            ));
        }
        let frames = self.frames.len() as u64;
        if record.log == self.salts && frames < record.log_frames {
            return Err(format!(
                "its write-ahead log has {frames} frames, and had {}",
                record.log_frames
            ));
        }
        let now = Position::new(header, record, self.log.clone());
        let Some(kept) = kept else {
            return match record.anchored {
                0 => Ok(now),
                told => Err(format!(
                    "the vault was told of its version {told} and remembers none: the vault is an older one, \
                     or this is a copy from elsewhere"
                )),
            };
        };
        if header < kept.header {
            return Err(
                "its header is an older one, from before its key was last rewrapped".into(),
            );
        }
        if record.version < kept.version {
            return Err(format!(
                "it is at version {}, and the vault remembers version {}",
                record.version, kept.version
            ));
        }
        if record.anchored > kept.version {
            return Err(format!(
                "the vault was told of its version {} and remembers version {}: the vault is an older one",
                record.anchored, kept.version
            ));
        }
        if record.version > kept.version {
            return match &kept.log {
                // It took the log in after that was cut.
                Some(log) if record.log == log.salts && record.log_frames < log.frames => {
                    Err(missing(log))
                }
                _ => Ok(now),
            };
        }
        if (record.now.count, record.now.sum) != (kept.count, kept.sum) {
            return Err("it is another version than the one that the vault remembers under its number: a fork".into());
        }
        match &kept.log {
            Some(log) if !self.holds(log, record) => Err(missing(log)),
            _ => Ok(now),
        }
    }

    /// Whether a transaction began to change the file and nothing leads back. The first one of a file
    /// without pages, of which none was written, changed nothing; SQLite then removes its journal.
    fn is_cut_short(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            record.stage == Stage::Open && (record.base.count, self.pages) != (0, 0)
        })
    }

    /// Whether pages at the end are gone. SQLite notices that as long as page 1 is there, which says how
    /// many there are; a file without it would pass for an empty database.
    fn lacks_pages(&self, record: &Record) -> bool {
        let logged = |page| {
            self.overlay
                .as_ref()
                .is_some_and(|o| o.counted(page).is_some())
        };
        (self.pages + 1..=record.now.count).any(|page| !logged(page))
    }

    /// Whether the log, or the main file that took it in, holds all that `kept` names.
    fn holds(&self, kept: &LogPosition, record: &Record) -> bool {
        if record.log == kept.salts && kept.frames <= record.log_frames {
            return true;
        }
        let last = usize::try_from(kept.frames - 1).ok();
        let there = last.and_then(|last| self.frames.get(last));
        self.salts == kept.salts && there == Some(&kept.last)
    }

    fn of(
        shared: &Arc<Shared>,
        file: &mut PageFile,
        medium: &mut dyn Medium,
    ) -> Result<Self, Code> {
        file.check()?;
        let record = match shared.is_fresh() {
            true => Some(tracker::newest(&mut file.units, medium)?),
            false => None,
        };
        let pages = file.pages(medium)?;
        let mut state = Self {
            record,
            pages,
            overlay: None,
            log: None,
            salts: [0; 8],
            frames: Vec::new(),
        };
        in_log(shared, |log| {
            state.salts = *log.salts;
            state.log = LogPosition::of(log);
            state.frames = log.frames.iter().map(|frame| frame.header).collect();
            let none = Record::first(Pages::default());
            let record = state.record.as_ref().unwrap_or(&none);
            state.overlay = Some(Overlay::new(record, log.salts, log.frames));
        })?;
        Ok(state)
    }

    fn is(&self, other: &Self) -> bool {
        self.begins(other) && self.log == other.log
    }

    /// Whether the other is this one, or has more in the same log.
    fn begins(&self, other: &Self) -> bool {
        self.record == other.record
            && self.salts == other.salts
            && other.frames.starts_with(&self.frames)
    }
}

fn missing(log: &LogPosition) -> String {
    format!(
        "commits are missing from its write-ahead log: of {} frames that it had, not all are there",
        log.frames
    )
}

fn read_all(
    shared: &Arc<Shared>,
    state: &State,
    file: &mut PageFile,
    medium: &mut dyn Medium,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Read, Code> {
    let page = shared.page_size().bytes();
    let (pages, len) = (file.pages(medium)?, medium.len()?);
    let lock_page = shared.page_size().lock_page();
    let mut plain = vec![0; page];
    let mut sum = 0u128;
    let counted = state.record.as_ref().map_or(0, |record| record.now.count);
    for number in 1..=pages {
        file.check()?;
        progress((number * page as u64).min(len), len);
        // A page that the log holds is not read here, and may be half written by a checkpoint.
        let id = match state.overlay.as_ref().and_then(|o| o.counted(number)) {
            Some(counted) => counted,
            None if number == lock_page => None,
            None => {
                let there = file.read_page(medium, number, &mut plain)?;
                there.then(|| file.last_id())
            }
        };
        if let Some(id) = id.filter(|_| number <= counted) {
            sum = sum.wrapping_add(file.units.summand(number, &id)?);
        }
    }
    for (number, id) in state.overlay.iter().flat_map(|o| o.counted_past(pages)) {
        if number <= counted {
            sum = sum.wrapping_add(file.units.summand(number, &id)?);
        }
    }
    match &state.record {
        Some(_) if state.is_cut_short() => Err(shared.refuse(Code::STALE, CUT_SHORT)),
        Some(record) if record.now.sum != sum => Err(shared.refuse(
            Code::STALE,
            "its pages are not those of its newest version: some are older, or of a fork of this file",
        )),
        _ => Ok(Read {
            units: pages + state.frames.len() as u64,
            bytes: len + (state.frames.len() * page) as u64,
        }),
    }
}
