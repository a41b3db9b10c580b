use std::sync::Arc;

use super::medium::{Code, Medium, read_whole};
use super::page_file::{Origin, PageFile};
use super::position::LogPosition;
use super::shared::Shared;
use super::unit::{ID_LEN, Place, TRAILER_LEN, UnitId, UnitKind, Units, copied, id_of};

// What SQLite sees (its file format, section 4).
const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const SALTS_LEN: usize = 8;
/// The two sums that end both kinds of header.
const SUMS_LEN: usize = 8;
// What is on the medium: after SQLite's frame header, the identity of the header before it and that of
// the page in the main file.
const HEADER_UNIT_LEN: usize = HEADER_LEN + TRAILER_LEN;
const FRAME_UNIT_PLAIN_LEN: usize = FRAME_HEADER_LEN + 2 * ID_LEN;
const FRAME_UNIT_LEN: usize = FRAME_UNIT_PLAIN_LEN + TRAILER_LEN;

/// The write-ahead log. Header, frame headers and pages are units of their own, since SQLite
/// writes them one by one; a page authenticates the page number and the salts of its frame's
/// header, so that none passes for another page, place or generation of the log, and each header
/// names the one before it, so that headers form a chain.
///
/// A part that is not authentic reads as zeros where SQLite recovers the log (its own checksums
/// then end the recovery there, as after a torn write), and is an error where it reads a page.
pub(super) struct WalFile {
    units: Units,
    page: usize,
    /// One frame as it is on the medium.
    sealed: Vec<u8>,
    /// The frame header written last: its frame, and what the page must authenticate.
    last_header: Option<(u64, [u8; 12])>,
    /// The log as far as this handle knows it.
    log: Option<Log>,
    /// Whether `log` is known to be what the medium holds, up to where SQLite writes next.
    followed: bool,
    /// The frame that SQLite read whole last: it does so before it writes a header anew.
    read_back: Option<u64>,
    /// While SQLite recovers: the frame that comes next, and the header that it must name.
    recovering: Option<(u64, UnitId)>,
}

struct Log {
    salts: [u8; SALTS_LEN],
    /// SQLite's count of the logs since the file was made.
    checkpoint: u32,
    id: UnitId,
    frames: Vec<LoggedFrame>,
}

/// What is known of a frame.
#[derive(Clone)]
pub(super) struct LoggedFrame {
    /// The page's number.
    pub page: u64,
    /// What the main file held as this page when the frame was written; `None` for nothing.
    pub before: Option<UnitId>,
    /// The identity that the page gets in the main file.
    pub id: UnitId,
    /// The frame header's identity.
    pub header: UnitId,
    commits: bool,
}

/// The frames of a log that are committed.
pub(super) struct Generation<'a> {
    pub salts: &'a [u8; SALTS_LEN],
    /// SQLite's count of the logs since the file was made.
    pub checkpoint: u32,
    pub frames: &'a [LoggedFrame],
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

type FrameHeader = [u8; FRAME_UNIT_PLAIN_LEN];

impl WalFile {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let page = shared.page_size().bytes();
        Self {
            units: Units::new(shared, UnitKind::WalHeader),
            page,
            sealed: vec![0; FRAME_UNIT_LEN + page],
            last_header: None,
            log: None,
            followed: false,
            read_back: None,
            recovering: None,
        }
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

    fn frame_offset(&self, index: u64) -> u64 {
        HEADER_UNIT_LEN as u64 + index * self.sealed.len() as u64
    }

    /// Opens the log's header; `None` when there is none that is authentic.
    fn open_header(
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
    fn open_frame_header(&mut self, index: u64) -> Result<Option<FrameHeader>, Code> {
        let mut header = [0; FRAME_UNIT_PLAIN_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        let authentic = self
            .units
            .open(place, &self.sealed[..FRAME_UNIT_LEN], &mut header)?;
        Ok(authentic.then_some(header))
    }

    /// Opens the page in `self.sealed`; `false` when it is not authentic.
    fn open_page(&mut self, index: u64, header: &[u8], page: &mut [u8]) -> Result<bool, Code> {
        let (body, trailer) = page.split_at_mut(self.page - TRAILER_LEN);
        trailer.fill(0);
        let place = page_place(index, bound_fields(header));
        self.units.open(place, &self.sealed[FRAME_UNIT_LEN..], body)
    }

    /// Brings `self.log` up to what the medium holds, at most `end` frames: whole headers, each of
    /// which names the one before it.
    fn follow(&mut self, medium: &mut dyn Medium, end: u64) -> Result<(), Code> {
        let Some((header, id)) = self.open_header(medium)? else {
            self.log = None;
            return Ok(());
        };
        let mut log = match self.log.take() {
            Some(log) if log.id == id => log,
            _ => Log::new(&header, id),
        };
        log.frames
            .truncate(usize::try_from(end).unwrap_or(usize::MAX));
        // Another connection may have written over what this one gave up. Since each header names
        // the one before it, the last that is still there vouches for all of them.
        let mut there = [0; ID_LEN];
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

    fn write_header(&mut self, medium: &mut dyn Medium, header: &[u8]) -> Result<(), Code> {
        let mut sealed = [0; HEADER_UNIT_LEN];
        let place = Place::new(UnitKind::WalHeader, 0);
        self.units.seal(place, header, &mut sealed)?;
        self.last_header = None;
        self.log = Some(Log::new(
            header.try_into().expect("its part is that long"),
            id_of(&sealed),
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
            self.follow(medium, index)?;
            self.followed = true;
        }
        self.recovering = None;
        let broken = || "the write-ahead log is not what was written to it".to_owned();
        let shared = self.units.shared();
        let log = self
            .log
            .as_mut()
            .filter(|log| log.frames.len() as u64 >= index);
        let Some(log) = log else {
            return Err(shared.refuse(Code::UNAUTHENTIC, &broken()));
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
            false => return Err(shared.refuse(Code::UNAUTHENTIC, &broken())),
        }
        let before = match at.checked_sub(1) {
            Some(last) => log.frames[last].header,
            None => log.id,
        };
        plain[FRAME_HEADER_LEN..FRAME_HEADER_LEN + ID_LEN].copy_from_slice(&before);
        if let Some(main) = main {
            let page = page_number(&plain);
            let trailer = main.file.trailer_of(main.medium, page)?;
            plain[FRAME_HEADER_LEN + ID_LEN..].copy_from_slice(&trailer[..ID_LEN]);
        }
        let mut sealed = [0; FRAME_UNIT_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        self.units.seal(place, &plain, &mut sealed)?;
        let mut frame = LoggedFrame::of_header(&plain, &sealed);
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
        medium.write_at(&sealed, self.frame_offset(index))?;
        self.last_header = Some((index, bound_fields(&plain)));
        Ok(())
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
        let offset = self.frame_offset(index) + FRAME_UNIT_LEN as u64;
        let sealed = &mut self.sealed[FRAME_UNIT_LEN..];
        self.units.seal(place, &page[..usable], sealed)?;
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(frame) = self.log.as_mut().and_then(|log| log.frames.get_mut(at)) {
            frame.id = copied(id_of(sealed));
        }
        medium.write_at(sealed, offset)
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

    /// SQLite sums frames anew, from the sums before them, after it rewrote a page within the log.
    fn read_sums(
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
        if buf.len() == SUMS_LEN {
            return self.read_sums(medium, buf, offset);
        }
        let Some(part) = self.part(buf.len(), offset) else {
            let why = "a read that is not a part of the write-ahead log: wrong page size";
            return Err(self.units.shared().refuse(Code::BAD_READ, why));
        };
        self.read_back = None;
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
                if let Some(main) = main.as_mut().filter(|main| main.file.wants_origin()) {
                    main.file.expect(Origin::Log {
                        frame: index,
                        page: page_number(&header),
                        id: copied(id_of(&self.sealed)),
                        plain: buf[..self.page - TRAILER_LEN].to_vec(),
                    });
                }
            }
            _ => {
                buf.fill(0);
                return Err(self.unauthentic(index));
            }
        }
        Ok(())
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
        match self.part(buf.len(), offset) {
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
        let len = medium.len()?;
        let Some(frames) = len.checked_sub(HEADER_UNIT_LEN as u64) else {
            return Ok(0);
        };
        let whole = frames / self.sealed.len() as u64;
        Ok(HEADER_LEN as u64 + whole * (FRAME_HEADER_LEN + self.page) as u64)
    }

    /// Cuts to the length that SQLite sees.
    pub(super) fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
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

    /// How far the log has come, when this handle wrote to it last.
    pub(super) fn position(&self) -> Option<LogPosition> {
        let log = self.log.as_ref().filter(|_| self.followed)?;
        LogPosition::of(&log.committed())
    }

    /// Told when another connection may have written to the log.
    pub(super) fn forget(&mut self) {
        self.followed = false;
        self.read_back = None;
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
        Ok(self
            .log
            .as_ref()
            .and_then(|log| log.through_commit_of(last)))
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
}

impl Log {
    fn new(header: &[u8; HEADER_LEN], id: UnitId) -> Self {
        Self {
            salts: header[16..24].try_into().expect("8 bytes"),
            checkpoint: u32::from_be_bytes(header[12..16].try_into().expect("4 bytes")),
            id,
            frames: Vec::new(),
        }
    }

    fn last_header(&self) -> UnitId {
        self.frames.last().map_or(self.id, |frame| frame.header)
    }

    fn through_commit_of(&self, last: usize) -> Option<Generation<'_>> {
        let after = self.frames.get(last..)?;
        let commit = last + after.iter().position(|frame| frame.commits)?;
        Some(self.first(commit + 1))
    }

    fn committed(&self) -> Generation<'_> {
        let commit = self.frames.iter().rposition(|frame| frame.commits);
        self.first(commit.map_or(0, |last| last + 1))
    }

    fn first(&self, count: usize) -> Generation<'_> {
        Generation {
            salts: &self.salts,
            checkpoint: self.checkpoint,
            frames: &self.frames[..count],
        }
    }
}

/// SQLite's running sums over header and frames (its file format, section 4.2).
struct Sums {
    big_endian: bool,
    sums: [u32; 2],
}

impl Sums {
    fn of_header(header: &[u8; HEADER_LEN]) -> Self {
        let mut sums = Self {
            big_endian: header[3] & 1 != 0,
            sums: [0; 2],
        };
        sums.add(&header[..HEADER_LEN - SUMS_LEN]);
        sums
    }

    fn add(&mut self, bytes: &[u8]) {
        let word = |b: [u8; 4]| match self.big_endian {
            true => u32::from_be_bytes(b),
            false => u32::from_le_bytes(b),
        };
        let [mut a, mut b] = self.sums;
        for pair in bytes.as_chunks::<8>().0 {
            let (first, second) = (
                word([pair[0], pair[1], pair[2], pair[3]]),
                word([pair[4], pair[5], pair[6], pair[7]]),
            );
            a = a.wrapping_add(first).wrapping_add(b);
            b = b.wrapping_add(second).wrapping_add(a);
        }
        self.sums = [a, b];
    }

    /// Whether the sums in the frame's header are those of all before it and of its page.
    fn fit(&mut self, header: &FrameHeader, page: &[u8]) -> bool {
        self.add(&header[..8]);
        self.add(page);
        let [a, b] = self.sums.map(u32::to_be_bytes);
        header[16..20] == a && header[20..24] == b
    }
}

impl LoggedFrame {
    /// Of a frame as it is on the medium, whose header is opened.
    fn of(header: &FrameHeader, sealed: &[u8]) -> Self {
        Self {
            id: copied(id_of(sealed)),
            ..Self::of_header(header, &sealed[..FRAME_UNIT_LEN])
        }
    }

    fn of_header(header: &FrameHeader, sealed: &[u8]) -> Self {
        let before: UnitId = header[FRAME_HEADER_LEN + ID_LEN..]
            .try_into()
            .expect("16 bytes");
        Self {
            page: page_number(header),
            before: Some(before).filter(|id| *id != [0; ID_LEN]),
            id: [0; ID_LEN],
            header: id_of(sealed),
            commits: header[4..8] != [0; 4],
        }
    }
}

fn page_number(header: &[u8]) -> u64 {
    u32::from_be_bytes(header[..4].try_into().expect("4 bytes")).into()
}

/// The identity of the header that this frame's names as the one before it.
fn previous(header: &FrameHeader) -> UnitId {
    let at = FRAME_HEADER_LEN..FRAME_HEADER_LEN + ID_LEN;
    header[at].try_into().expect("16 bytes")
}

fn page_place(index: u64, bound: [u8; 12]) -> Place {
    Place {
        bound,
        ..Place::new(UnitKind::WalPage, index)
    }
}

/// Page number and salts of a frame header.
fn bound_fields(header: &[u8]) -> [u8; 12] {
    let mut fields = [0; 12];
    fields[..4].copy_from_slice(&header[..4]);
    fields[4..].copy_from_slice(&header[8..16]);
    fields
}
