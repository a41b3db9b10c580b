//! What SQLite's doings mean for the freshness record of a main file.

use std::collections::BTreeSet;

use super::medium::{Code, Medium, read_whole};
use super::page_file::{Checkpoint, Origin, PageFile, pages_of, trailer_offset};
use super::position::{LogPosition, Position};
use super::record::Record;
use super::tracker::{self, Ended, Free, Tracker};
use super::unit::{TRAILER_LEN, UnitId, id_of};
use super::wal_file::WalFile;
use super::wal_frames::Generation;

impl PageFile {
    /// After a checkpoint that copied the whole log: the record takes it in.
    pub(super) fn take_in(
        &mut self,
        medium: &mut dyn Medium,
        log: &Generation<'_>,
        count: u64,
    ) -> Result<(), Code> {
        let record = tracker::newest(&mut self.units, medium)?;
        let overlay = std::mem::take(&mut self.overlay).of(&record, log.salts, log.frames);
        // What is counted by what the file holds must be there to stay before the record says so,
        // and the record before what it does not count any more goes.
        if overlay.skips(&record, count) {
            medium.sync()?;
        }
        let pages = overlay.taken_in(&record, &mut self.units, medium, count)?;
        self.overlay = overlay;
        let frames = log.frames.len() as u64;
        if pages == record.now && record.log == *log.salts && record.log_frames == frames {
            return Ok(());
        }
        let record = Record {
            log: *log.salts,
            log_frames: frames,
            ..record.settled(record.version + 1, pages)
        };
        record.write(&mut self.units, medium)?;
        if count < pages_of(medium.len()?, self.plain.len()) {
            medium.sync()?;
        }
        Ok(())
    }

    /// Cuts to the length that SQLite sees. After a checkpoint that copied all of the connection's
    /// log, the freshness record takes the log in.
    pub(super) fn truncate(
        &mut self,
        medium: &mut dyn Medium,
        log: Option<(&mut WalFile, &mut dyn Medium)>,
        len: u64,
    ) -> Result<(), Code> {
        let count = len.div_ceil(self.plain.len() as u64);
        self.check()?;
        self.known_pages = 0;
        self.forget_seen();
        let copied = self.copied.take();
        let checkpoint = std::mem::replace(&mut self.checkpoint, Checkpoint::No);
        if let Some(tracker) = &mut self.tracker {
            match (checkpoint, log) {
                (Checkpoint::Copied, Some((log, log_medium))) => {
                    if let Some(last) = copied {
                        match log.through_commit_of(log_medium, last)? {
                            Some(log) => self.take_in(medium, &log, count)?,
                            None => return Err(log.altered()),
                        }
                    }
                }
                _ => {
                    tracker.begin(&mut self.units, medium)?;
                    tracker.cut(&mut self.units, medium, count)?;
                    // SQLite takes no journal to be hot beside an empty file: once it is one, nothing
                    // leads back to the base, so the record must say before that it counts.
                    if count == 0 && tracker.is_restoring() {
                        tracker.commit(&mut self.units, medium, BTreeSet::new())?;
                        medium.sync()?;
                    }
                }
            }
        }
        self.set_pages(medium, count)
    }

    /// Told before SQLite copies the write-ahead log into this file, and after.
    pub(super) fn checkpoint(&mut self, copying: bool) {
        self.checkpoint = match copying {
            true => Checkpoint::Copying,
            false => Checkpoint::Copied,
        };
        if copying {
            self.copied = None;
        }
    }

    /// Told when the pages of a transaction are all written, before SQLite syncs them.
    pub(super) fn commit(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        self.units.check()?;
        let freed = self.freed(medium)?;
        match &mut self.tracker {
            Some(tracker) => tracker.commit(&mut self.units, medium, freed),
            None => Ok(()),
        }
    }

    /// The free pages of which a journal speaks that was played back: it brought back their list, too.
    fn freed(&mut self, medium: &mut dyn Medium) -> Result<BTreeSet<u64>, Code> {
        let mut freed = BTreeSet::new();
        let restoring = self.tracker.as_ref().filter(|t| t.is_restoring());
        let trunks = restoring.map_or(0, |tracker| tracker.free().trunks);
        if trunks == 0 {
            return Ok(freed);
        }
        let mut image = std::mem::take(&mut self.plain);
        let mut next = 1;
        for n in 0..=trunks {
            match self.read_page(medium, next, &mut image) {
                Ok(true) => (),
                // A verification finds it.
                Ok(_) | Err(Code::UNAUTHENTIC) => break,
                Err(code) => {
                    self.plain = image;
                    return Err(code);
                }
            }
            next = match n {
                0 => tracker::first_trunk(&image),
                _ => {
                    let (next, leaves) = tracker::trunk(&image[..image.len() - TRAILER_LEN]);
                    freed.extend(leaves);
                    next
                }
            };
            if next == 0 {
                break;
            }
        }
        self.plain = image;
        Ok(freed)
    }

    /// Told when the lock goes. A transaction that was not committed may have a journal that leads back still,
    /// since to roll back can fail, too: what its record says stands.
    pub(super) fn let_go(&mut self) {
        if let Some(tracker) = &mut self.tracker {
            tracker.let_go();
        }
        self.checkpoint = Checkpoint::No;
    }

    /// Told when a transaction is committed, and its journal gone.
    pub(super) fn end(&mut self, medium: &mut dyn Medium) {
        if let Some(tracker) = &mut self.tracker
            && let Some(Ended { record, synced }) = tracker.end()
        {
            let shared = self.units.shared_handle();
            shared.ended(record.version);
            if synced && shared.committed() {
                shared.anchor(&Position::new(shared.header(), &record, None));
            }
            // Says of what was told, too. Failing to say it is no harm: the record stays at "committing".
            let _ = record.write(&mut self.units, medium);
        }
        self.checkpoint = Checkpoint::No;
    }

    /// Told when what was written to this file, or to the connection's log, is on the disk; `log` is
    /// how far that has come.
    pub(super) fn synced(
        &mut self,
        medium: &mut dyn Medium,
        log: Option<LogPosition>,
    ) -> Result<(), Code> {
        let Some(tracker) = &mut self.tracker else {
            return Ok(());
        };
        // A position is told of only once no journal leads back from it.
        if tracker.synced() && log.is_none() {
            return Ok(());
        }
        let units = &mut self.units;
        let shared = units.shared_handle();
        let is_due = shared.committed();
        if !is_due && log.is_none() {
            return Ok(());
        }
        let record = tracker::newest(units, medium)?;
        let position = Position::new(shared.header(), &record, log);
        if !is_due {
            shared.tell_later(position);
            return Ok(());
        }
        // A checkpoint elsewhere may have written the record, and be about to sync it.
        if record.version > shared.anchored() {
            medium.sync()?;
        }
        shared.anchor(&position);
        Ok(())
    }

    /// Told when a transaction begins to read, or this file was written to.
    pub(super) fn forget_seen(&mut self) {
        self.seen = SeenPages::default();
    }

    /// Told when what is known of the file may have gone stale: a lock changed hands, a sync was done.
    pub(super) fn forget(&mut self) {
        self.known_pages = 0;
        self.origin = None;
    }

    /// The versions that a rollback journal may lead back to; zeros when none is kept.
    pub(super) fn journal_versions(&mut self, medium: &mut dyn Medium) -> Result<[u64; 2], Code> {
        match &self.tracker {
            Some(tracker) => {
                self.units.check()?;
                tracker.journal_versions(&mut self.units, medium)
            }
            None => Ok([0; 2]),
        }
    }

    /// The trailer of page `page` as the file has it now; zeros when there is none, or when
    /// nobody asks how fresh the file is.
    pub(super) fn trailer_of(
        &mut self,
        medium: &mut dyn Medium,
        page: u64,
    ) -> Result<[u8; TRAILER_LEN], Code> {
        let mut trailer = [0; TRAILER_LEN];
        let size = self.plain.len();
        if self.tracker.is_some()
            && page > 0
            && !read_whole(medium, &mut trailer, trailer_offset(page, size))?
        {
            trailer.fill(0);
        }
        Ok(trailer)
    }

    /// The identity of page `page` as the file has it now, for a connection that writes it to the log; zeros
    /// as for [`PageFile::trailer_of`].
    pub(super) fn id_before(&mut self, medium: &mut dyn Medium, page: u64) -> Result<UnitId, Code> {
        match self.seen.get(page) {
            Some(id) if self.tracker.is_some() => Ok(id),
            _ => Ok(id_of(&self.trailer_of(medium, page)?)),
        }
    }

    /// Page `page`, which had this trailer here, was read from the journal: SQLite may write it next.
    pub(super) fn expect_journaled(&mut self, page: u64, trailer: [u8; TRAILER_LEN]) {
        if self.tracker.is_some() {
            self.origin = Some(Origin::Journal { page, trailer });
        }
    }

    /// Page `page` was read from frame `frame` of the log, by a checkpoint that writes it next, with the identity
    /// that it has there.
    pub(super) fn expect_logged(&mut self, frame: u64, page: u64, id: UnitId, plain: &[u8]) {
        self.copied = self.copied.max(Some(frame));
        self.logged.clear();
        self.logged.extend_from_slice(plain);
        self.origin = Some(Origin::Log { page, id });
    }

    /// Whether pages that are read from the log go into this file, which then wants to know whence.
    pub(super) fn wants_origin(&self) -> bool {
        self.tracker.is_some() && self.checkpoint == Checkpoint::Copying
    }

    /// A journal that is played back leads to this version, and says that of the free pages.
    pub(super) fn restores(&mut self, version: u64, free: Free) {
        if let Some(tracker) = &mut self.tracker {
            tracker.restores(version, free);
        }
    }

    /// The journal that is played back goes on, and says this of the free pages by now.
    pub(super) fn restores_more(&mut self, free: Free) {
        if let Some(tracker) = &mut self.tracker {
            tracker.restores_more(free);
        }
    }

    /// A new journal begins.
    pub(super) fn begin_journal(&mut self) {
        if let Some(tracker) = &mut self.tracker {
            tracker.begin_journal();
        }
    }

    /// What the journal says of free pages.
    pub(super) fn free(&self) -> Free {
        self.tracker.as_ref().map_or(Free::default(), Tracker::free)
    }

    /// Whether the page at `offset` is one of them.
    pub(super) fn is_free(&self, offset: u64) -> bool {
        let page = offset / self.plain.len() as u64 + 1;
        self.tracker.as_ref().is_some_and(|t| t.is_free(page))
    }

    /// This page goes into the journal. Whether [`PageFile::free`] has changed by that.
    pub(super) fn journaled(
        &mut self,
        medium: &mut dyn Medium,
        page: u64,
        image: &[u8],
    ) -> Result<bool, Code> {
        match &mut self.tracker {
            Some(tracker) => tracker.journaled(&mut self.units, medium, page, image),
            None => Ok(false),
        }
    }
}

/// Identities of some pages that were read last: of those that the transaction writes, most were read
/// just before. While a transaction reads with a log, no page changes in the main file that it reads there:
/// a checkpoint copies what the log holds, and that the transaction reads from the log.
#[derive(Default)]
pub(super) struct SeenPages([(u64, UnitId); 16]);

impl SeenPages {
    pub(super) fn put(&mut self, page: u64, id: UnitId) {
        self.0[Self::place(page)] = (page, id);
    }

    /// No page has the number 0, by which an empty place goes.
    fn get(&self, page: u64) -> Option<UnitId> {
        let (number, id) = self.0[Self::place(page)];
        (number == page && page > 0).then_some(id)
    }

    fn place(page: u64) -> usize {
        (page % 16) as usize
    }
}
