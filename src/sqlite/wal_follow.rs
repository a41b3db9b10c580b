//! Reading a write-ahead log from its start: to go on where others ended, and to tell how far it is good.

use super::medium::{Code, Medium, read_whole};
use super::position::LogPosition;
use super::unit::{ID_LEN, Place, TRAILER_LEN, UnitId, UnitKind, id_of};
use super::wal_file::WalFile;
use super::wal_frames::{
    FRAME_HEADER_LEN, FRAME_UNIT_LEN, FRAME_UNIT_PLAIN_LEN, FrameHeader, Generation, HEADER_LEN,
    HEADER_UNIT_LEN, Log, LoggedFrame, SUMS_LEN, Sums, bound_fields, page_number, page_place,
    previous,
};

impl WalFile {
    /// Opens the log's header; `None` when there is none that is authentic.
    pub(super) fn open_header(
        &mut self,
        medium: &mut dyn Medium,
    ) -> Result<Option<([u8; HEADER_LEN], UnitId)>, Code> {
        let mut sealed = [0; HEADER_UNIT_LEN];
        let mut header = [0; HEADER_LEN];
        let place = Place::new(UnitKind::WalHeader, 0);
        let authentic =
            read_whole(medium, &mut sealed, 0)? && self.units.open(place, &sealed, &mut header)?;
        Ok(authentic.then(|| (header, id_of(&sealed))))
    }

    /// Opens the frame header in `self.sealed`; `None` when it is not authentic.
    pub(super) fn open_frame_header(&mut self, index: u64) -> Result<Option<FrameHeader>, Code> {
        let mut header = [0; FRAME_UNIT_PLAIN_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        let authentic = self
            .units
            .open(place, &self.sealed[..FRAME_UNIT_LEN], &mut header)?;
        Ok(authentic.then_some(header))
    }

    /// Opens the page in `self.sealed`; `false` when it is not authentic.
    pub(super) fn open_page(
        &mut self,
        index: u64,
        header: &[u8],
        page: &mut [u8],
    ) -> Result<bool, Code> {
        self.open_bound_page(index, bound_fields(header), page)
    }

    fn open_bound_page(
        &mut self,
        index: u64,
        bound: [u8; 12],
        page: &mut [u8],
    ) -> Result<bool, Code> {
        let (body, trailer) = page.split_at_mut(self.page - TRAILER_LEN);
        trailer.fill(0);
        let place = page_place(index, bound);
        self.units.open(place, &self.sealed[FRAME_UNIT_LEN..], body)
    }

    /// Reads the page of a frame whose header is known, and returns its number; `None` when the log has
    /// another frame there now, which its header tells.
    pub(super) fn read_known_page(
        &mut self,
        medium: &mut dyn Medium,
        index: u64,
        page: &mut [u8],
    ) -> Result<Option<u64>, Code> {
        let Some(bound) = self.log.as_ref().and_then(|log| log.bound_fields(index)) else {
            return Ok(None);
        };
        let at = self.frame_offset(index) + FRAME_UNIT_LEN as u64;
        let there = read_whole(medium, &mut self.sealed[FRAME_UNIT_LEN..], at)?;
        match there && self.open_bound_page(index, bound, page)? {
            true => Ok(Some(page_number(&bound))),
            false => Ok(None),
        }
    }

    /// SQLite sums frames anew, from the sums before them, after it rewrote a page within the log.
    pub(super) fn read_sums(
        &mut self,
        medium: &mut dyn Medium,
        sums: &mut [u8],
        offset: u64,
    ) -> Result<(), Code> {
        let mut header = [0; HEADER_LEN];
        let len = match offset {
            24 => HEADER_LEN,
            _ => FRAME_HEADER_LEN,
        };
        let header = &mut header[..len];
        let start = (offset + SUMS_LEN as u64).saturating_sub(len as u64);
        self.read(medium, &mut None, header, start)?;
        if header.iter().all(|&b| b == 0) {
            let why = "a header in the write-ahead log is not authentic";
            return Err(self.units.shared().refuse(Code::UNAUTHENTIC, why));
        }
        sums.copy_from_slice(&header[len - SUMS_LEN..]);
        Ok(())
    }

    /// Brings `self.log` up to what the medium holds, at most `end` frames: whole headers, each of
    /// which names the one before it.
    pub(super) fn follow(&mut self, medium: &mut dyn Medium, end: u64) -> Result<(), Code> {
        let mut there = [0; ID_LEN];
        let known = match &self.log {
            Some(log) => {
                read_whole(medium, &mut there, (HEADER_UNIT_LEN - TRAILER_LEN) as u64)?
                    && there == log.id
            }
            None => false,
        };
        if !known {
            let header = self.open_header(medium)?;
            let before = self.log.take();
            self.log = header.map(|(header, id)| Log::new(&header, id, before));
        }
        let Some(mut log) = self.log.take() else {
            return Ok(());
        };
        log.frames
            .truncate(usize::try_from(end).unwrap_or(usize::MAX));
        // These are committed; while the log is the same one, nobody writes over them.
        while let Some(last) = log.frames.last() {
            let at = self.frame_offset(log.frames.len() as u64) - self.page as u64;
            let at = at - TRAILER_LEN as u64;
            if read_whole(medium, &mut there, at)? && there == last.header {
                break;
            }
            log.frames.pop();
        }
        while (log.frames.len() as u64) < end {
            let index = log.frames.len() as u64;
            let offset = self.frame_offset(index);
            if !read_whole(medium, &mut self.sealed, offset)? {
                break;
            }
            let Some(header) = self.open_frame_header(index)? else {
                break;
            };
            if header[8..16] != log.salts || previous(&header) != log.last_header() {
                break;
            }
            let frame = LoggedFrame::of(&header, &self.sealed);
            log.frames.push(frame);
        }
        self.log = Some(log);
        Ok(())
    }

    /// How far the log has come, when this handle wrote to it last.
    pub(super) fn position(&self) -> Option<LogPosition> {
        let log = self.log.as_ref().filter(|_| self.followed)?;
        LogPosition::of(&log.committed())
    }

    /// The frames of the log from the first one to the first commit that frame `last` is part of;
    /// `None` when there is none.
    pub(super) fn through_commit_of(
        &mut self,
        medium: &mut dyn Medium,
        last: u64,
    ) -> Result<Option<Generation<'_>>, Code> {
        self.follow(medium, u64::MAX)?;
        let last = usize::try_from(last).unwrap_or(usize::MAX);
        let Some(log) = &mut self.log else {
            return Ok(None);
        };
        let end = log.end_of_commit(last);
        // What comes after may be on its way: a header without its page.
        log.frames.truncate(end.unwrap_or(0));
        Ok(end.map(|end| log.first(end)))
    }

    /// The frames that SQLite takes when it recovers the log: whole ones in a chain, with sums that
    /// fit, up to the last commit. `None` without a log.
    pub(super) fn recover(
        &mut self,
        medium: &mut dyn Medium,
    ) -> Result<Option<Generation<'_>>, Code> {
        self.units.check()?;
        let Some((header, _)) = self.open_header(medium)? else {
            return Ok(None);
        };
        self.follow(medium, u64::MAX)?;
        let Some(mut log) = self.log.take() else {
            return Ok(None);
        };
        let mut sums = Sums::of_header(&header);
        let mut page = vec![0; self.page];
        for index in 0..log.frames.len() {
            let at = self.frame_offset(index as u64);
            let whole = read_whole(medium, &mut self.sealed, at)?;
            let fits = match self.open_frame_header(index as u64)? {
                Some(header) if whole && self.open_page(index as u64, &header, &mut page)? => {
                    sums.fit(&header, &page)
                }
                _ => false,
            };
            if !fits {
                log.frames.truncate(index);
                break;
            }
        }
        Ok(Some(self.log.insert(log).committed()))
    }

    /// Told when another connection may have written to the log.
    pub(super) fn forget(&mut self) {
        self.followed = false;
        self.read_back = None;
        // What is not committed others write over, as far as they come: the rest stays in the file.
        if let Some(log) = &mut self.log {
            log.drop_uncommitted();
        }
    }

    /// Told when a write or a sync failed: what was to be committed may not be.
    pub(super) fn failed(&mut self) {
        self.followed = false;
        self.log = None;
        self.pending = None;
        self.synced = None;
    }
}
