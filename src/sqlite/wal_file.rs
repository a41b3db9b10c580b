use std::sync::Arc;

use super::medium::{Code, Medium, SealedIo, read_whole};
use super::shared::Shared;
use super::unit::{Place, TRAILER_LEN, UnitKind, Units};

// What SQLite sees (its file format, section 4).
const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 24;
const SALTS_LEN: usize = 8;
/// The two sums that end both kinds of header.
const SUMS_LEN: usize = 8;
// What is on the medium.
const SEALED_HEADER_LEN: usize = HEADER_LEN + TRAILER_LEN;
const SEALED_FRAME_HEADER_LEN: usize = FRAME_HEADER_LEN + TRAILER_LEN;

/// The write-ahead log. Header, frame headers and pages are units of their own, since SQLite
/// writes them one by one; a page authenticates the page number and the salts of its frame's
/// header, so that none passes for another page, place or generation of the log.
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
    /// The salts of the log's current generation, once this handle wrote a frame.
    salts: [u8; SALTS_LEN],
}

/// A range that SQLite reads or writes.
enum Part {
    Header,
    FrameHeader(u64),
    Page(u64),
    Frame(u64),
}

impl WalFile {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let page = shared.page_size().bytes();
        Self {
            units: Units::new(shared, UnitKind::WalHeader),
            page,
            sealed: vec![0; SEALED_FRAME_HEADER_LEN + page],
            last_header: None,
            salts: [0; SALTS_LEN],
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
        SEALED_HEADER_LEN as u64 + index * self.sealed.len() as u64
    }

    /// Opens the frame header in `self.sealed`; `None` when it is not authentic.
    fn open_frame_header(&mut self, index: u64) -> Result<Option<[u8; FRAME_HEADER_LEN]>, Code> {
        let mut header = [0; FRAME_HEADER_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        let authentic =
            self.units
                .open(place, &self.sealed[..SEALED_FRAME_HEADER_LEN], &mut header)?;
        Ok(authentic.then_some(header))
    }

    /// Opens the page in `self.sealed`; `false` when it is not authentic.
    fn open_page(&mut self, index: u64, wal: [u8; 12], page: &mut [u8]) -> Result<bool, Code> {
        let kind = UnitKind::WalPage;
        let (body, trailer) = page.split_at_mut(self.page - TRAILER_LEN);
        trailer.fill(0);
        let sealed = &self.sealed[SEALED_FRAME_HEADER_LEN..];
        self.units.open(Place { kind, index, wal }, sealed, body)
    }

    fn write_frame_header(
        &mut self,
        medium: &mut dyn Medium,
        index: u64,
        header: &[u8],
    ) -> Result<(), Code> {
        let mut header: [u8; FRAME_HEADER_LEN] = header.try_into().expect("its part is that long");
        // Once a transaction rewrote one of its pages in the log, SQLite writes the rest of its
        // frames without salts and sums, and adds them before the commit. The page is sealed
        // with the salts from the start; without the sums no recovery takes the frame.
        let salts = &mut header[8..8 + SALTS_LEN];
        match salts.iter().all(|&b| b == 0) {
            true => salts.copy_from_slice(&self.salts),
            false => self.salts.copy_from_slice(salts),
        }
        let mut sealed = [0; SEALED_FRAME_HEADER_LEN];
        let place = Place::new(UnitKind::WalFrameHeader, index);
        self.units.seal(place, &header, &mut sealed)?;
        medium.write_at(&sealed, self.frame_offset(index))?;
        self.last_header = Some((index, bound_fields(&header)));
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
        let wal = match self.last_header {
            Some((last, fields)) if last == index => fields,
            _ => self.fields_of(medium, index)?,
        };
        let kind = UnitKind::WalPage;
        let place = Place { kind, index, wal };
        let mut sealed = std::mem::take(&mut self.sealed);
        let done = self.units.seal(
            place,
            &page[..usable],
            &mut sealed[SEALED_FRAME_HEADER_LEN..],
        );
        let offset = self.frame_offset_of(&sealed, index) + SEALED_FRAME_HEADER_LEN as u64;
        let done = done.and_then(|()| medium.write_at(&sealed[SEALED_FRAME_HEADER_LEN..], offset));
        self.sealed = sealed;
        done
    }

    fn frame_offset_of(&self, sealed: &[u8], index: u64) -> u64 {
        SEALED_HEADER_LEN as u64 + index * sealed.len() as u64
    }

    /// SQLite rewrites a page within its frame when one transaction changes it twice.
    fn fields_of(&mut self, medium: &mut dyn Medium, index: u64) -> Result<[u8; 12], Code> {
        let offset = self.frame_offset(index);
        let there = read_whole(medium, &mut self.sealed[..SEALED_FRAME_HEADER_LEN], offset)?;
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
        self.read(medium, header, start)?;
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
}

/// Page number and salts of a frame header.
fn bound_fields(header: &[u8]) -> [u8; 12] {
    let mut fields = [0; 12];
    fields[..4].copy_from_slice(&header[..4]);
    fields[4..].copy_from_slice(&header[8..16]);
    fields
}

impl SealedIo for WalFile {
    fn read(&mut self, medium: &mut dyn Medium, buf: &mut [u8], offset: u64) -> Result<(), Code> {
        self.units.check()?;
        if buf.len() == SUMS_LEN {
            return self.read_sums(medium, buf, offset);
        }
        let Some(part) = self.part(buf.len(), offset) else {
            let why = "a read that is not a part of the write-ahead log: wrong page size";
            return Err(self.units.shared().refuse(Code::BAD_READ, why));
        };
        let (index, sealed_len) = match part {
            Part::Header => (0, SEALED_HEADER_LEN),
            Part::FrameHeader(index) => (index, SEALED_FRAME_HEADER_LEN),
            Part::Page(index) | Part::Frame(index) => (index, self.sealed.len()),
        };
        let at = match part {
            Part::Header => 0,
            _ => self.frame_offset(index),
        };
        if !read_whole(medium, &mut self.sealed[..sealed_len], at)? {
            buf.fill(0);
            return Err(Code::SHORT_READ);
        }
        match part {
            Part::Header => {
                let place = Place::new(UnitKind::WalHeader, 0);
                self.units.open(place, &self.sealed[..sealed_len], buf)?;
            }
            Part::FrameHeader(_) => {
                let header = self.open_frame_header(index)?;
                buf.copy_from_slice(&header.unwrap_or_default());
            }
            Part::Frame(_) => {
                let header = self.open_frame_header(index)?.unwrap_or_default();
                let (head, page) = buf.split_at_mut(FRAME_HEADER_LEN);
                head.copy_from_slice(&header);
                self.open_page(index, bound_fields(&header), page)?;
            }
            Part::Page(_) => {
                let opened = match self.open_frame_header(index)? {
                    Some(header) => self.open_page(index, bound_fields(&header), buf)?,
                    None => false,
                };
                if !opened {
                    buf.fill(0);
                    return Err(self.unauthentic(index));
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, medium: &mut dyn Medium, buf: &[u8], offset: u64) -> Result<(), Code> {
        self.units.check()?;
        match self.part(buf.len(), offset) {
            Some(Part::Header) => {
                let mut sealed = [0; SEALED_HEADER_LEN];
                let place = Place::new(UnitKind::WalHeader, 0);
                self.units.seal(place, buf, &mut sealed)?;
                self.last_header = None;
                medium.write_at(&sealed, 0)
            }
            Some(Part::FrameHeader(index)) => self.write_frame_header(medium, index, buf),
            Some(Part::Page(index)) => self.write_page(medium, index, buf),
            Some(Part::Frame(index)) => {
                self.write_frame_header(medium, index, &buf[..FRAME_HEADER_LEN])?;
                self.write_page(medium, index, &buf[FRAME_HEADER_LEN..])
            }
            None => Err(self.units.shared().refuse(
                Code::BAD_WRITE,
                "a write that is not a part of the write-ahead log: wrong page size",
            )),
        }
    }

    fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        let len = medium.len()?;
        let Some(frames) = len.checked_sub(SEALED_HEADER_LEN as u64) else {
            return Ok(0);
        };
        let whole = frames / self.sealed.len() as u64;
        Ok(HEADER_LEN as u64 + whole * (FRAME_HEADER_LEN + self.page) as u64)
    }

    fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
        self.last_header = None;
        medium.set_len(match len.checked_sub(HEADER_LEN as u64) {
            None if len == 0 => 0,
            None => SEALED_HEADER_LEN as u64,
            Some(frames) => {
                self.frame_offset(frames.div_ceil((FRAME_HEADER_LEN + self.page) as u64))
            }
        })
    }
}

/// Frames of the log that authenticate and carry the header's salts, from the first on, and the
/// bytes of the file that they make. `None` when one that does not is followed by one that does:
/// then the log was altered or cut in the middle. What follows the last whole frame of this
/// generation is the tail of an older one, or a torn write, which SQLite does not use.
pub(super) fn verify(
    shared: &Arc<Shared>,
    medium: &mut dyn Medium,
) -> Result<Option<(u64, u64)>, Code> {
    let mut wal = WalFile::new(shared.clone());
    wal.units.check()?;
    let frames = medium.len()?.saturating_sub(SEALED_HEADER_LEN as u64) / wal.sealed.len() as u64;
    if frames == 0 {
        return Ok(Some((0, 0)));
    }
    let mut header = [0; HEADER_LEN];
    wal.read(medium, &mut header, 0)?;
    let header_altered = header == [0; HEADER_LEN];
    let (mut whole, mut ended) = (0, false);
    let mut page = vec![0; wal.page];
    for index in 0..frames {
        let offset = wal.frame_offset(index);
        read_whole(medium, &mut wal.sealed, offset)?;
        let current = match wal.open_frame_header(index)? {
            Some(_) if header_altered => return Ok(None),
            Some(h) if h[8..16] == header[16..24] => {
                wal.open_page(index, bound_fields(&h), &mut page)?
            }
            _ => false,
        };
        match (current, ended) {
            (true, false) => whole += 1,
            (true, true) => return Ok(None),
            (false, _) => ended = true,
        }
    }
    Ok(Some((whole + 1, wal.frame_offset(whole))))
}
