use std::collections::HashMap;

use super::medium::{Code, Medium};
use super::record::{Pages, Record};
use super::tracker::{ROOM, add_held, remove_held};
use super::unit::{UnitId, Units};
use super::wal_frames::LoggedFrame;

/// What the frames of a write-ahead log mean for the sum of the main file's pages.
#[derive(Default)]
pub(super) struct Overlay(HashMap<u64, Overlaid>);

struct Overlaid {
    /// The identity by which the record counts the page.
    counted: Option<UnitId>,
    /// The identity that it gets in the main file.
    newest: UnitId,
}

impl Overlay {
    /// Of these frames of the log with the salts `log`, from its first one on.
    pub(super) fn new(record: &Record, log: &[u8; 8], frames: &[LoggedFrame]) -> Self {
        Self::default().of(record, log, frames)
    }

    /// The same, in the room of this one.
    pub(super) fn of(mut self, record: &Record, log: &[u8; 8], frames: &[LoggedFrame]) -> Self {
        let taken_in = if record.log == *log {
            record.log_frames
        } else {
            0
        };
        let pages = &mut self.0;
        pages.clear();
        pages.shrink_to(ROOM);
        for (index, frame) in (0u64..).zip(frames) {
            let taken_in = index < taken_in;
            let page = pages.entry(frame.page).or_insert(Overlaid {
                counted: frame.before.filter(|_| !taken_in),
                newest: frame.id,
            });
            if taken_in {
                page.counted = Some(frame.id);
            }
            page.newest = frame.id;
        }
        self
    }

    /// The identity by which the record counts `page`, when the log holds it.
    pub(super) fn counted(&self, page: u64) -> Option<Option<UnitId>> {
        self.0.get(&page).map(|p| p.counted)
    }

    /// The pages past page `last` that the log holds, and by which identity the record counts them.
    pub(super) fn counted_past(&self, last: u64) -> impl Iterator<Item = (u64, UnitId)> {
        let pages = self.0.iter().filter(move |(page, _)| **page > last);
        pages.filter_map(|(&page, overlaid)| Some((page, overlaid.counted?)))
    }

    /// The pages of the main file once all of these frames are in it and it has `count` pages.
    pub(super) fn taken_in(
        &self,
        record: &Record,
        units: &mut Units,
        medium: &mut dyn Medium,
        count: u64,
    ) -> Result<Pages, Code> {
        let mut pages = record.now;
        for (&page, overlaid) in &self.0 {
            if let Some(counted) = overlaid.counted.filter(|_| page <= record.now.count) {
                pages.remove(units, page, &counted)?;
            }
            if page <= count {
                pages.add(units, page, &overlaid.newest)?;
            }
        }
        // Pages that the log does not hold: cut off, or skipped and sealed as zeros.
        let skipped = |page: &u64| !self.0.contains_key(page);
        let cut = (count + 1..=record.now.count).filter(skipped);
        remove_held(&mut pages, units, medium, cut)?;
        let sealed = (record.now.count + 1..=count).filter(skipped);
        add_held(&mut pages, units, medium, sealed)?;
        pages.count = count;
        Ok(pages)
    }

    /// Whether a page was written to the main file that this log does not hold.
    pub(super) fn skips(&self, record: &Record, count: u64) -> bool {
        (record.now.count + 1..=count).any(|page| !self.0.contains_key(&page))
    }
}
