use std::sync::Arc;

use super::Conversion;
use super::header::BLOCK_LEN;
use super::medium::{Code, Medium, read_whole};
use super::overlay::Overlay;
use super::page_freshness::SeenPages;
use super::shared::Shared;
use super::side::{self, Side};
use super::tracker::{self, Tracker};
use super::unit::{NO_ID, Place, TRAILER_LEN, UnitId, UnitKind, Units, id_of};

/// The main database file: a header block, then the pages, each sealed in its place.
pub(super) struct PageFile {
    pub(super) units: Units,
    /// One page as it is on the medium.
    pub(super) sealed: Vec<u8>,
    /// One page as SQLite sees it, for reads of a part.
    pub(super) plain: Vec<u8>,
    /// The trailer of page 1 when it was read last, and how the page begins: SQLite looks there at
    /// each transaction. While the trailer is the same, so is the page.
    pub(super) first: Option<([u8; TRAILER_LEN], [u8; DATABASE_HEADER_LEN])>,
    pub(super) conversion: Conversion,
    /// While the file is converted to or from a plain one: that one, once it is opened.
    pub(super) side: Option<Side>,
    /// The changes of the header that are taken in.
    pub(super) changes: u64,
    /// Pages that are known to exist; 0 when nothing is known.
    pub(super) known_pages: u64,
    /// `auto_vacuum` of a database that is still empty: 0 none, 1 full, 2 incremental.
    auto_vacuum: u8,
    /// Keeps the freshness record, when the file has one.
    pub(super) tracker: Option<Tracker>,
    /// What was read from a journal or log to be written here next.
    pub(super) origin: Option<Origin>,
    /// What was read, when that is a page of the log. It is kept, so that a checkpoint allocates nothing for a page.
    pub(super) logged: Vec<u8>,
    /// Of the last checkpoint: its room is the next one's.
    pub(super) overlay: Overlay,
    pub(super) checkpoint: Checkpoint,
    /// The last frame of the log that the checkpoint copied.
    pub(super) copied: Option<u64>,
    pub(super) seen: SeenPages,
}

/// How SQLite stands with copying the write-ahead log into this file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkpoint {
    No,
    /// Pages are being copied.
    Copying,
    /// All that can be is copied; when that is all, SQLite sets the file's length next.
    Copied,
}

/// Where the page that SQLite writes next was read from. A page that goes back to what it was, or
/// that a checkpoint copies, is sealed again as it was sealed there, so that doing either once
/// more after a crash gives the same page.
pub(super) enum Origin {
    /// The journal: the page had this trailer in this file before the transaction.
    Journal {
        page: u64,
        trailer: [u8; TRAILER_LEN],
    },
    /// The log: the page there gets this identity, and has the bytes [`PageFile::logged`].
    Log { page: u64, id: UnitId },
}

/// Length of the header at the beginning of page 1 (SQLite's file format, section 1.3).
const DATABASE_HEADER_LEN: usize = 100;

impl PageFile {
    pub(super) fn new(shared: Arc<Shared>, auto_vacuum: u8) -> Self {
        let page = shared.page_size().bytes();
        let (changes, facts) = (shared.changes(), shared.facts());
        Self {
            tracker: facts.fresh.then(Tracker::default),
            conversion: facts.conversion,
            side: None,
            changes,
            units: Units::new(shared, UnitKind::Page),
            sealed: vec![0; page],
            plain: vec![0; page],
            first: None,
            known_pages: 0,
            auto_vacuum,
            origin: None,
            logged: Vec::new(),
            overlay: Overlay::default(),
            checkpoint: Checkpoint::No,
            copied: None,
            seen: SeenPages::default(),
        }
    }

    /// Reads page `number` into `plain`; `false` when it lies past the end (then zeros).
    pub(super) fn read_page(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
        plain: &mut [u8],
    ) -> Result<bool, Code> {
        let offset = page_offset(number, plain.len());
        let there = read_whole(medium, &mut self.sealed, offset)?;
        if self.conversion != Conversion::None
            && (there || self.conversion == Conversion::Decryption)
            && self.read_plain(number, plain)?
        {
            return Ok(true);
        }
        if !there {
            plain.fill(0);
            return Ok(false);
        }
        let usable = plain.len() - TRAILER_LEN;
        let (body, trailer) = plain.split_at_mut(usable);
        let place = Place::new(UnitKind::Page, number);
        if self.units.open(place, &self.sealed, body)? {
            trailer.fill(0);
            self.seen.put(number, id_of(&self.sealed));
            Ok(true)
        } else {
            Err(self.units.shared().refuse(
                Code::UNAUTHENTIC,
                &format!("page {number} is not authentic"),
            ))
        }
    }

    /// The identity of the page that [`PageFile::read_page`] read last.
    pub(super) fn last_id(&self) -> UnitId {
        id_of(&self.sealed)
    }

    fn write_page(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
        plain: &[u8],
    ) -> Result<(), Code> {
        let mut sealed = std::mem::take(&mut self.sealed);
        let done = self.write_sealed(medium, number, plain, &mut sealed);
        self.sealed = sealed;
        done
    }

    fn write_sealed(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Code> {
        let usable = plain.len() - TRAILER_LEN;
        self.forget_seen();
        let origin = self.origin.take();
        if self.conversion == Conversion::Decryption {
            return self.side()?.write(number, plain);
        }
        if !self.seal_as_before(origin, number, &plain[..usable], sealed)? {
            let place = Place::new(UnitKind::Page, number);
            self.units.seal(place, &plain[..usable], sealed)?;
        }
        let mut old = None;
        if let Some(tracker) = self.tracker.as_mut()
            && self.checkpoint != Checkpoint::Copying
        {
            // Pages of which nobody said anything, left by a crash beyond the end.
            for skipped in tracker.count() + 1..number {
                if let Some(id) = tracker::id_at(&self.units, medium, skipped)? {
                    tracker.wrote(&mut self.units, skipped, None, &id)?;
                }
            }
            if number <= tracker.count() {
                old = tracker::id_at(&self.units, medium, number)?;
            }
        }
        medium.write_at(sealed, page_offset(number, plain.len()))?;
        match self.tracker.as_mut() {
            Some(tracker) if self.checkpoint != Checkpoint::Copying => {
                tracker.wrote(&mut self.units, number, old, &id_of(sealed))
            }
            _ => Ok(()),
        }
    }

    /// Seals a page as it was sealed where it comes from; `false` when it is not that page. What
    /// decides are the page's own bytes: a nonce never serves for two of them.
    fn seal_as_before(
        &mut self,
        origin: Option<Origin>,
        number: u64,
        plain: &[u8],
        sealed: &mut [u8],
    ) -> Result<bool, Code> {
        let place = Place::new(UnitKind::Page, number);
        match origin {
            Some(Origin::Journal { page, trailer }) if page == number => {
                let id = id_of(&trailer);
                if id == NO_ID {
                    // It was in the plain file that this one is made from, and still is.
                    let was_plain = self.conversion == Conversion::Encryption;
                    if was_plain {
                        sealed.fill(0);
                    }
                    return Ok(was_plain);
                }
                self.units.seal_again(place, &id, plain, sealed)?;
                Ok(sealed.ends_with(&trailer))
            }
            Some(Origin::Log { page, id }) if page == number && self.logged == plain => {
                self.units.seal_again(place, &id, plain, sealed)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// SQLite may skip pages that it never needs to write. A hole would read as zeros, and an
    /// attacker could make one: each skipped page is sealed as zeros instead.
    fn fill_gap(&mut self, medium: &mut dyn Medium, number: u64, page: usize) -> Result<(), Code> {
        if number <= self.known_pages + 1 {
            return Ok(());
        }
        self.known_pages = self.pages(medium)?;
        if number > self.known_pages + 1 {
            let zeros = vec![0; page];
            let origin = self.origin.take();
            for skipped in self.known_pages + 1..number {
                self.write_page(medium, skipped, &zeros)?;
            }
            self.origin = origin;
            self.known_pages = number - 1;
        }
        Ok(())
    }

    /// What SQLite must see of a database that is still empty, or whose first page was torn while
    /// a journal that mends it waits: the page size and the reserved bytes.
    fn bare_header(&self) -> [u8; DATABASE_HEADER_LEN] {
        let mut header = [0; DATABASE_HEADER_LEN];
        header[..16].copy_from_slice(side::MAGIC);
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

    /// Fills `buf` from `offset`. Past the end: zeros and [`Code::SHORT_READ`].
    pub(super) fn read(
        &mut self,
        medium: &mut dyn Medium,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.check()?;
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
        if first == 1 && self.read_known(medium, buf, start)? {
            return Ok(());
        }
        let mut plain = std::mem::take(&mut self.plain);
        let read = self.read_page(medium, first, &mut plain);
        if let (1, Ok(true)) = (first, &read) {
            let trailer = &self.sealed[page - TRAILER_LEN..];
            let begin = &plain[..DATABASE_HEADER_LEN];
            self.first = Some((
                trailer.try_into().expect("32 bytes"),
                begin.try_into().expect("a page is longer"),
            ));
        }
        buf.copy_from_slice(&plain[start..start + buf.len()]);
        self.plain = plain;
        let is_header = offset == 0 && buf.len() <= DATABASE_HEADER_LEN;
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

    /// Reads from the beginning of page 1, when it is still what it was; `false` when it must be read.
    fn read_known(
        &mut self,
        medium: &mut dyn Medium,
        buf: &mut [u8],
        start: usize,
    ) -> Result<bool, Code> {
        // While it is decrypted others write page 1 elsewhere, and its trailer here stays as it is.
        let Some((trailer, begin)) = &self.first else {
            return Ok(false);
        };
        if self.conversion == Conversion::Decryption {
            return Ok(false);
        }
        let Some(known) = begin.get(start..start + buf.len()) else {
            return Ok(false);
        };
        let mut now = [0; TRAILER_LEN];
        let at = trailer_offset(1, self.plain.len());
        let same = read_whole(medium, &mut now, at)? && now == *trailer;
        if same {
            buf.copy_from_slice(known);
        }
        Ok(same)
    }

    /// Writes a page; its sealed bytes have reached the medium on return.
    pub(super) fn write(
        &mut self,
        medium: &mut dyn Medium,
        buf: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.check()?;
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
        if self.checkpoint != Checkpoint::Copying {
            self.checkpoint = Checkpoint::No;
            if let Some(tracker) = &mut self.tracker {
                tracker.begin(&mut self.units, medium)?;
            }
        }
        self.fill_gap(medium, number, page)?;
        self.write_page(medium, number, buf)?;
        self.known_pages = self.known_pages.max(number);
        if let (1, Some(tracker)) = (number, &mut self.tracker) {
            let size = buf[28..32].try_into().expect("4 bytes");
            tracker.size_field = Some(u32::from_be_bytes(size)).filter(|&size| size > 0);
        }
        Ok(())
    }

    /// The length that SQLite sees.
    pub(super) fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        self.check()?;
        Ok(self.pages(medium)? * self.plain.len() as u64)
    }
}

/// Whole pages in a file of `len` bytes.
pub(super) fn pages_of(len: u64, page: usize) -> u64 {
    len.saturating_sub(BLOCK_LEN as u64) / page as u64
}

/// Where page `number` lies.
pub(super) fn page_offset(number: u64, page: usize) -> u64 {
    BLOCK_LEN as u64 + (number - 1) * page as u64
}

/// Where the trailer of page `number` lies.
pub(super) fn trailer_offset(number: u64, page: usize) -> u64 {
    page_offset(number + 1, page) - TRAILER_LEN as u64
}
