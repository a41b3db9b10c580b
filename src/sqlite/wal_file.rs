use std::sync::Arc;

use super::medium::{Code, Medium, read_whole};
use super::page_file::PageFile;
use super::position::LogPosition;
use super::shared::Shared;
use super::unit::{ID_LEN, Place, TRAILER_LEN, UnitId, UnitKind, Units, copied, id_of};
use super::wal_frames::{
    FRAME_HEADER_LEN, FRAME_UNIT_LEN, FRAME_UNIT_PLAIN_LEN, FrameHeader, HEADER_LEN,
    HEADER_UNIT_LEN, Log, LoggedFrame, SALTS_LEN, SUMS_LEN, bound_fields, page_number, page_place,
    previous,
};

/// The write-ahead log. Header, frame headers and pages are units of their own, since SQLite
/// writes them one by one; a page authenticates the page number and the salts of its frame's
/// header, so that none passes for another page, place or generation of the log, and each header
/// names the one before it, so that headers form a chain.
///
/// A part that is not authentic reads as zeros where SQLite recovers the log (its own checksums
/// then end the recovery there, as after a torn write), and is an error where it reads a page.
pub(super) struct WalFile {
    pub(super) units: Units,
    pub(super) page: usize,
    /// One frame as it is on the medium.
    pub(super) sealed: Vec<u8>,
    /// The frame header written last: its frame, and what the page must authenticate.
    last_header: Option<(u64, [u8; 12])>,
    /// A frame header, in `sealed`, that goes to the medium with its page, which SQLite writes next.
    pub(super) pending: Option<u64>,
    /// The log as far as this handle knows it.
    pub(super) log: Option<Log>,
    /// Whether `log` is known to be what the medium holds, up to where SQLite writes next.
    pub(super) followed: bool,
    /// The frame that SQLite read whole last: it does so before it writes a header anew.
    pub(super) read_back: Option<u64>,
    /// How far the log is on the disk, when this handle wrote to it last and that is not told of.
    pub(super) synced: Option<LogPosition>,
    /// While SQLite recovers: the frame that comes next, and the header that it must name.
    recovering: Option<(u64, UnitId)>,
}

/// The main file of the connection whose log or journal is used.
pub(super) struct Main<'a> {
    pub file: &'a mut PageFile,
    pub medium: &'a mut dyn Medium,
}

/// A range that SQLite reads or writes.
enum Part {
    Header,
    FrameHeader(u64),
    Page(u64),
    Frame(u64),
}

const ALTERED: &str = "the write-ahead log is not what was written to it";

impl WalFile {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let page = shared.page_size().bytes();
        Self {
            units: Units::new(shared, UnitKind::WalHeader),
            page,
            sealed: vec![0; FRAME_UNIT_LEN + page],
            last_header: None,
            pending: None,
            log: None,
            followed: false,
            read_back: None,
            synced: None,
            recovering: None,
        }
    }

    /// Told when the log was synced.
    pub(super) fn synced(&mut self) {
        self.synced = self.position();
    }

    /// How far the log was synced by this handle since this was asked last.
    pub(super) fn take_synced(&mut self) -> Option<LogPosition> {
        self.synced.take()
    }

    fn part(&self, len: usize, offset: u64) -> Option<Part> {
        if offset == 0 {
            return (len == HEADER_LEN).then_some(Part::Header);
        }
        let at = offset.checked_sub(HEADER_LEN as u64)?;
        let frame = (FRAME_HEADER_LEN + self.page) as u64;
        let (index, within) = (at / frame, at % frame);
        match (within, len) {
            (0, FRAME_HEADER_LEN) => Some(Part::FrameHeader(index)),
            (0, n) if n as u64 == frame => Some(Part::Frame(index)),
            (24, n) if n == self.page => Some(Part::Page(index)),
            _ => None,
        }
    }

    pub(super) fn frame_offset(&self, index: u64) -> u64 {
        HEADER_UNIT_LEN as u64 + index * self.sealed.len() as u64
    }

    fn write_header(&mut self, medium: &mut dyn Medium, header: &[u8]) -> Result<(), Code> {
        let mut sealed = [0; HEADER_UNIT_LEN];
        let place = Place::new(UnitKind::WalHeader, 0);
        self.units.seal(place, header, &mut sealed)?;
        self.last_header = None;
        self.log = Some(Log::new(
            header.try_into().expect("its part is that long"),
            id_of(&sealed),
            self.log.take(),
        ));
        self.followed = true;
        medium.write_at(&sealed, 0)
    }

    fn write_frame_header(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Option<Main<'_>>,
        index: u64,
        header: &[u8],
    ) -> Result<(), Code> {
        if !self.followed {
            // All that is known is committed. Others only add to it, so that SQLite would write further
            // on, or begin another log, which has other salts.
            let goes_on = self.log.as_ref().is_some_and(|log| {
                log.frames.len() as u64 == index && header[8..8 + SALTS_LEN] == log.salts
            });
            if !goes_on {
                self.follow(medium, index)?;
            }
            self.followed = true;
        }
        self.recovering = None;
        let shared = self.units.shared();
        let log = self
            .log
            .as_mut()
            .filter(|log| log.frames.len() as u64 >= index);
        let Some(log) = log else {
            return Err(shared.refuse(Code::UNAUTHENTIC, ALTERED));
        };
        let at = usize::try_from(index).expect("no more than were counted");
        let anew = self.read_back == Some(index) && at < log.frames.len();
        let mut plain = [0; FRAME_UNIT_PLAIN_LEN];
        plain[..FRAME_HEADER_LEN].copy_from_slice(header);
        // Once a transaction rewrote one of its pages in the log, SQLite writes the rest of its
        // frames without salts and sums, and adds them before the commit. The page is sealed
        // with the salts from the start; without the sums no recovery takes the frame.
        let salts = &mut plain[8..8 + SALTS_LEN];
        match salts.iter().all(|&b| b == 0) {
            true => salts.copy_from_slice(&log.salts),
            false if *salts == log.salts => (),
            false => return Err(shared.refuse(Code::UNAUTHENTIC, ALTERED)),
        }
        let before = match at.checked_sub(1) {
            Some(last) => log.frames[last].header,
            None => log.id,
        };
        plain[FRAME_HEADER_LEN..FRAME_HEADER_LEN + ID_LEN].copy_from_slice(&before);
        if let Some(main) = main {
            let before = main.file.id_before(main.medium, page_number(&plain))?;
            plain[FRAME_HEADER_LEN + ID_LEN..].copy_from_slice(&before);
        }
        let sealed = &mut self.sealed[..FRAME_UNIT_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        self.units.seal(place, &plain, sealed)?;
        let mut frame = LoggedFrame::of_header(&plain, sealed);
        match anew {
            true => {
                frame.id = log.frames[at].id;
                log.frames[at] = frame;
            }
            false => {
                log.frames.truncate(at);
                log.frames.push(frame);
            }
        }
        self.last_header = Some((index, bound_fields(&plain)));
        self.pending = Some(index);
        match anew {
            true => self.write_pending(medium),
            false => Ok(()),
        }
    }

    /// Writes a frame header whose page did not follow.
    pub(super) fn write_pending(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        match self.pending.take() {
            Some(index) => {
                let offset = self.frame_offset(index);
                medium.write_at(&self.sealed[..FRAME_UNIT_LEN], offset)
            }
            None => Ok(()),
        }
    }

    fn write_page(&mut self, medium: &mut dyn Medium, index: u64, page: &[u8]) -> Result<(), Code> {
        let usable = self.page - TRAILER_LEN;
        if page[usable..].iter().any(|&b| b != 0) {
            return Err(self.units.shared().refuse(
                Code::BAD_WRITE,
                "pages do not leave 32 bytes reserved for the trailer",
            ));
        }
        let fields = match self.last_header {
            Some((last, fields)) if last == index => fields,
            _ => self.fields_of(medium, index)?,
        };
        let place = page_place(index, fields);
        let offset = self.frame_offset(index);
        let sealed = &mut self.sealed[FRAME_UNIT_LEN..];
        self.units.seal(place, &page[..usable], sealed)?;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(frame) = self.log.as_mut().and_then(|log| log.frames.get_mut(at)) {
            frame.id = copied(id_of(sealed));
        }
        match self.pending.take() {
            Some(_) => medium.write_at(&self.sealed, offset),
            None => medium.write_at(sealed, offset + FRAME_UNIT_LEN as u64),
        }
    }

    /// SQLite rewrites a page within its frame when one transaction changes it twice.
    fn fields_of(&mut self, medium: &mut dyn Medium, index: u64) -> Result<[u8; 12], Code> {
        let offset = self.frame_offset(index);
        let there = read_whole(medium, &mut self.sealed[..FRAME_UNIT_LEN], offset)?;
        match (there, self.open_frame_header(index)?) {
            (true, Some(header)) => Ok(bound_fields(&header)),
            _ => Err(self.unauthentic(index)),
        }
    }

    /// The error for a log that does not go on as it did.
    pub(super) fn altered(&self) -> Code {
        self.units.shared().refuse(Code::UNAUTHENTIC, ALTERED)
    }

    fn unauthentic(&self, index: u64) -> Code {
        let why = format!("frame {index} of the write-ahead log is not authentic");
        self.units.shared().refuse(Code::UNAUTHENTIC, &why)
    }

    /// Fills `buf` from `offset`. Past the end: zeros and [`Code::SHORT_READ`].
    pub(super) fn read(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Option<Main<'_>>,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.units.check()?;
        self.write_pending(medium)?;
        if buf.len() == SUMS_LEN {
            return self.read_sums(medium, buf, offset);
        }
        let Some(part) = self.part(buf.len(), offset) else {
            let why = "a read that is not a part of the write-ahead log: wrong page size";
            return Err(self.units.shared().refuse(Code::BAD_READ, why));
        };
        self.read_back = None;
        if let Part::Page(index) = part
            && let Some(page) = self.read_known_page(medium, index, buf)?
        {
            self.expect(main, index, page, buf);
            return Ok(());
        }
        let (index, sealed_len) = match part {
            Part::Header => return self.read_header(medium, buf),
            Part::FrameHeader(index) => (index, FRAME_UNIT_LEN),
            Part::Page(index) | Part::Frame(index) => (index, self.sealed.len()),
        };
        let at = self.frame_offset(index);
        if !read_whole(medium, &mut self.sealed[..sealed_len], at)? {
            buf.fill(0);
            return Err(Code::SHORT_READ);
        }
        let header = self.open_frame_header(index)?;
        match (part, header) {
            (Part::FrameHeader(_), header) => {
                let header = header.unwrap_or([0; FRAME_UNIT_PLAIN_LEN]);
                buf.copy_from_slice(&header[..FRAME_HEADER_LEN]);
            }
            (Part::Frame(_), header) => self.read_frame(index, header, buf)?,
            (_, Some(header)) if self.open_page(index, &header, buf)? => {
                self.expect(main, index, page_number(&header), buf);
            }
            _ => {
                buf.fill(0);
                return Err(self.unauthentic(index));
            }
        }
        Ok(())
    }

    /// Tells the main file that the page in `self.sealed` was read, which a checkpoint copies there.
    fn expect(&self, main: &mut Option<Main<'_>>, frame: u64, page: u64, plain: &[u8]) {
        if let Some(main) = main.as_mut().filter(|main| main.file.wants_origin()) {
            let (id, plain) = (
                copied(id_of(&self.sealed)),
                &plain[..self.page - TRAILER_LEN],
            );
            main.file.expect_logged(frame, page, id, plain);
        }
    }

    fn read_header(&mut self, medium: &mut dyn Medium, buf: &mut [u8]) -> Result<(), Code> {
        if medium.len()? < HEADER_UNIT_LEN as u64 {
            buf.fill(0);
            return Err(Code::SHORT_READ);
        }
        let header = self.open_header(medium)?;
        self.recovering = header.map(|(_, id)| (0, id));
        buf.copy_from_slice(&header.map_or([0; HEADER_LEN], |(header, _)| header));
        Ok(())
    }

    /// SQLite reads whole frames while it recovers the log, and before it sums one anew.
    fn read_frame(
        &mut self,
        index: u64,
        header: Option<FrameHeader>,
        buf: &mut [u8],
    ) -> Result<(), Code> {
        self.read_back = Some(index);
        buf.fill(0);
        let Some(header) = header else {
            return Ok(());
        };
        if let Some((next, before)) = self.recovering.filter(|(next, _)| *next == index) {
            if previous(&header) != before {
                return Ok(());
            }
            self.recovering = Some((next + 1, id_of(&self.sealed[..FRAME_UNIT_LEN])));
        }
        let (head, page) = buf.split_at_mut(FRAME_HEADER_LEN);
        head.copy_from_slice(&header[..FRAME_HEADER_LEN]);
        self.open_page(index, &header, page)?;
        Ok(())
    }

    /// Writes `buf` at `offset`; sealed bytes have reached the medium on return.
    pub(super) fn write(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Option<Main<'_>>,
        buf: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.units.check()?;
        let part = self.part(buf.len(), offset);
        if !matches!(part, Some(Part::Page(index)) if self.pending == Some(index)) {
            self.write_pending(medium)?;
        }
        match part {
            Some(Part::Header) => self.write_header(medium, buf),
            Some(Part::FrameHeader(index)) => self.write_frame_header(medium, main, index, buf),
            Some(Part::Page(index)) => self.write_page(medium, index, buf),
            Some(Part::Frame(index)) => {
                let (header, page) = buf.split_at(FRAME_HEADER_LEN);
                self.write_frame_header(medium, main, index, header)?;
                self.write_page(medium, index, page)
            }
            None => Err(self.units.shared().refuse(
                Code::BAD_WRITE,
                "a write that is not a part of the write-ahead log: wrong page size",
            )),
        }
    }

    /// The length that SQLite sees.
    pub(super) fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        self.write_pending(medium)?;
        let len = medium.len()?;
        let Some(frames) = len.checked_sub(HEADER_UNIT_LEN as u64) else {
            return Ok(0);
        };
        let whole = frames / self.sealed.len() as u64;
        Ok(HEADER_LEN as u64 + whole * (FRAME_HEADER_LEN + self.page) as u64)
    }

    /// Cuts to the length that SQLite sees.
    pub(super) fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
        self.write_pending(medium)?;
        self.last_header = None;
        self.forget();
        medium.set_len(match len.checked_sub(HEADER_LEN as u64) {
            None if len == 0 => 0,
            None => HEADER_UNIT_LEN as u64,
            Some(frames) => {
                self.frame_offset(frames.div_ceil((FRAME_HEADER_LEN + self.page) as u64))
            }
        })
    }
}
