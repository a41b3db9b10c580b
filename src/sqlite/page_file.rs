use std::sync::Arc;

use super::header::BLOCK_LEN;
use super::medium::{Code, Medium, SealedIo, read_whole};
use super::shared::Shared;
use super::unit::{Place, TRAILER_LEN, UnitKind, Units};

/// The main database file: a header block, then the pages, each sealed in its place.
pub(super) struct PageFile {
    units: Units,
    /// One page as it is on the medium.
    sealed: Vec<u8>,
    /// One page as SQLite sees it, for reads of a part.
    plain: Vec<u8>,
    /// Pages that are known to exist; 0 when nothing is known.
    known_pages: u64,
    /// `auto_vacuum` of a database that is still empty: 0 none, 1 full, 2 incremental.
    auto_vacuum: u8,
}

impl PageFile {
    pub(super) fn new(shared: Arc<Shared>, auto_vacuum: u8) -> Self {
        let page = shared.page_size().bytes();
        Self {
            units: Units::new(shared, UnitKind::Page),
            sealed: vec![0; page],
            plain: vec![0; page],
            known_pages: 0,
            auto_vacuum,
        }
    }

    /// Fails when the key may not be used now.
    pub(super) fn check(&mut self) -> Result<(), Code> {
        self.units.check()
    }

    /// Reads page `number` into `plain`; `false` when it lies past the end (then zeros).
    pub(super) fn read_page(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
        plain: &mut [u8],
    ) -> Result<bool, Code> {
        let offset = page_offset(number, plain.len());
        if !read_whole(medium, &mut self.sealed, offset)? {
            plain.fill(0);
            return Ok(false);
        }
        let usable = plain.len() - TRAILER_LEN;
        let (body, trailer) = plain.split_at_mut(usable);
        let place = Place::new(UnitKind::Page, number);
        if self.units.open(place, &self.sealed, body)? {
            trailer.fill(0);
            Ok(true)
        } else {
            Err(self.units.shared().refuse(
                Code::UNAUTHENTIC,
                &format!("page {number} is not authentic"),
            ))
        }
    }

    fn write_page(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
        plain: &[u8],
    ) -> Result<(), Code> {
        let usable = plain.len() - TRAILER_LEN;
        let place = Place::new(UnitKind::Page, number);
        let mut sealed = std::mem::take(&mut self.sealed);
        let done = self
            .units
            .seal(place, &plain[..usable], &mut sealed)
            .and_then(|()| medium.write_at(&sealed, page_offset(number, plain.len())));
        self.sealed = sealed;
        done
    }

    /// SQLite may skip pages that it never needs to write. A hole would read as zeros, and an
    /// attacker could make one: each skipped page is sealed as zeros instead.
    fn fill_gap(&mut self, medium: &mut dyn Medium, number: u64, page: usize) -> Result<(), Code> {
        if number <= self.known_pages + 1 {
            return Ok(());
        }
        self.known_pages = pages_of(medium.len()?, page);
        if number > self.known_pages + 1 {
            let zeros = vec![0; page];
            for skipped in self.known_pages + 1..number {
                self.write_page(medium, skipped, &zeros)?;
            }
            self.known_pages = number - 1;
        }
        Ok(())
    }

    /// What SQLite must see of a database that is still empty, or whose first page was torn while
    /// a journal that mends it waits: the page size and the reserved bytes.
    fn bare_header(&self) -> [u8; 100] {
        let mut header = [0; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[16..18].copy_from_slice(&self.units.shared().page_size().header_field());
        header[18] = 1;
        header[19] = 1;
        header[20] = TRAILER_LEN as u8;
        header[21..24].copy_from_slice(&[64, 32, 32]);
        // "Largest root b-tree page" and "incremental vacuum mode" (SQLite's file format, 1.3).
        header[55] = u8::from(self.auto_vacuum > 0);
        header[67] = u8::from(self.auto_vacuum == 2);
        header
    }

    fn refuse_write(&self, why: &str) -> Code {
        self.units.shared().refuse(Code::BAD_WRITE, why)
    }
}

impl SealedIo for PageFile {
    fn read(&mut self, medium: &mut dyn Medium, buf: &mut [u8], offset: u64) -> Result<(), Code> {
        self.units.check()?;
        let page = self.plain.len();
        let first = offset / page as u64 + 1;
        if buf.len() == page && offset.is_multiple_of(page as u64) {
            return match self.read_page(medium, first, buf)? {
                true => Ok(()),
                false => Err(Code::SHORT_READ),
            };
        }
        // SQLite reads parts of page 1 only: the file's header, its change counter.
        let start = (offset % page as u64) as usize;
        if start + buf.len() > page {
            return Err(self
                .units
                .shared()
                .refuse(Code::BAD_READ, "a read across pages: wrong page size"));
        }
        let mut plain = std::mem::take(&mut self.plain);
        let read = self.read_page(medium, first, &mut plain);
        buf.copy_from_slice(&plain[start..start + buf.len()]);
        self.plain = plain;
        let is_header = offset == 0 && buf.len() <= 100;
        match read {
            Ok(true) => Ok(()),
            Ok(false) | Err(Code::UNAUTHENTIC) if is_header => {
                buf.copy_from_slice(&self.bare_header()[..buf.len()]);
                match read {
                    Ok(_) => Err(Code::SHORT_READ),
                    Err(_) => Ok(()),
                }
            }
            Ok(false) => Err(Code::SHORT_READ),
            Err(code) => Err(code),
        }
    }

    fn write(&mut self, medium: &mut dyn Medium, buf: &[u8], offset: u64) -> Result<(), Code> {
        self.units.check()?;
        let page = self.plain.len();
        if buf.len() != page || !offset.is_multiple_of(page as u64) {
            return Err(self.refuse_write("the page size is fixed when a sealed database is made"));
        }
        let number = offset / page as u64 + 1;
        // VACUUM after `PRAGMA page_size` would pack smaller pages into ours.
        let size = self.units.shared().page_size().header_field();
        let reserves = number != 1 || usize::from(buf[20]) == TRAILER_LEN && buf[16..18] == size;
        if !reserves || buf[page - TRAILER_LEN..].iter().any(|&b| b != 0) {
            return Err(self.refuse_write(
                "pages have another size, or do not leave 32 bytes reserved for the trailer",
            ));
        }
        self.fill_gap(medium, number, page)?;
        self.write_page(medium, number, buf)?;
        self.known_pages = self.known_pages.max(number);
        Ok(())
    }

    fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        let page = self.plain.len();
        Ok(pages_of(medium.len()?, page) * page as u64)
    }

    fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
        let page = self.plain.len() as u64;
        self.known_pages = 0;
        medium.set_len(BLOCK_LEN as u64 + len.div_ceil(page) * page)
    }

    fn forget(&mut self) {
        self.known_pages = 0;
    }
}

/// Whole pages in a file of `len` bytes.
pub(super) fn pages_of(len: u64, page: usize) -> u64 {
    len.saturating_sub(BLOCK_LEN as u64) / page as u64
}

fn page_offset(number: u64, page: usize) -> u64 {
    BLOCK_LEN as u64 + (number - 1) * page as u64
}
