use std::sync::Arc;

use super::medium::{Code, Medium};
use super::shared::Shared;
use super::stream_file::{JOURNAL_CHUNK, StreamFile};
use super::tracker::Free;
use super::unit::{TRAILER_LEN, UnitKind};
use super::wal_file::Main;

/// With which each header of a rollback journal begins (SQLite's file format, section 3).
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// What SQLite uses of the sector that a header of a rollback journal takes.
const HEADER_LEN: usize = 28;
/// Where in such a sector it says what of free pages.
const FREE_AT: u64 = 32;
/// In place of the number of records: SQLite syncs nothing.
const NO_SYNC: [u8; 4] = [0xff; 4];

/// A rollback journal. It is bound to the version of the main file that it leads back to, so that no
/// older one passes for it. SQLite sees zeros where a page's trailer is; in the journal the trailer itself
/// stands there, so that a page that is rolled back becomes what it was, to the last byte.
///
/// Records of pages wait in memory, so that many are written at once, until something else of the
/// journal is written or read, or is synced. They MUST be written out before the main file changes:
/// then whoever finds the main file changed finds the records that bring it back.
pub(super) struct JournalFile {
    stream: StreamFile,
    /// Whether it is known which versions it may lead back to.
    bound: bool,
    /// A number of 4 bytes that was read or written, and where it ends. When a page follows, it is the
    /// page's number.
    number: Option<(u64, u64)>,
    /// A page on its way to the medium.
    image: Vec<u8>,
    /// Where the last header lies.
    header_at: u64,
    /// Whether what the headers say of free pages is on the disk, and whether it ever will be.
    free_synced: bool,
    unsynced: bool,
}

impl JournalFile {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            stream: StreamFile::journal(shared, UnitKind::Journal),
            bound: false,
            number: None,
            image: Vec::new(),
            header_at: 0,
            free_synced: true,
            unsynced: false,
        }
    }

    /// Each look at a journal, which another connection may have left, begins at its start or end;
    /// so does each new one.
    fn bind(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Main<'_>,
        offset: u64,
    ) -> Result<(), Code> {
        if offset == 0 || !self.bound {
            self.stream.write_out(medium)?;
            self.stream
                .lead_back_to(main.file.journal_versions(main.medium)?);
            self.bound = true;
        }
        Ok(())
    }

    /// Fills `buf` from `offset`. Past the end: zeros and [`Code::SHORT_READ`].
    pub(super) fn read(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Main<'_>,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.bind(medium, main, offset)?;
        self.stream.read(medium, buf, offset)?;
        let number = self.number.take();
        let page = self.stream.shared().page_size().bytes();
        match (number, buf.len()) {
            (_, 4) => self.number = Some(number_before(buf, offset)),
            // A super-journal's name at the journal's end is followed by the same bytes. A header that was not
            // synced yet begins with zeros: SQLite plays nothing back from there, but free pages may have been
            // written over since.
            (_, 8)
                if (buf == MAGIC || buf == [0; 8] && offset > 0)
                    && offset.is_multiple_of(JOURNAL_CHUNK as u64) =>
            {
                let mut free = [0; Free::LEN];
                match self.stream.read(medium, &mut free, offset + FREE_AT) {
                    Err(Code::SHORT_READ) => (),
                    read => self.restore(main, offset, Free::from_bytes(&read.map(|()| free)?)),
                }
            }
            (Some((at, number)), len) if at == offset && len == page => {
                let trailer = &mut buf[page - TRAILER_LEN..];
                let was = (&*trailer).try_into().expect("32 bytes");
                main.file.expect_journaled(number, was);
                trailer.fill(0);
            }
            _ => (),
        }
        Ok(())
    }

    /// SQLite read the header at `offset`, which says this of the free pages.
    fn restore(&mut self, main: &mut Main<'_>, offset: u64, free: Free) {
        if offset > 0 {
            // Or what SQLite finds behind its own transaction, left from a longer one.
            return main.file.restores_more(free);
        }
        // From its first header on it is of one version: behind it may be what is left of a longer
        // journal.
        let version = self.stream.leads_to();
        self.stream.lead_back_to([version; 2]);
        main.file.restores(version, free);
    }

    /// Writes `buf` at `offset`; sealed bytes have reached the medium on return, except of records.
    pub(super) fn write(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Main<'_>,
        buf: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        let is_header = buf.len() > HEADER_LEN && offset.is_multiple_of(JOURNAL_CHUNK as u64);
        if is_header && offset == 0 {
            main.file.begin_journal();
        }
        self.bind(medium, main, offset)?;
        let number = self.number.take();
        let page = self.stream.shared().page_size().bytes();
        // The number of the page that SQLite does not use stands before a super-journal's name.
        let name = self.stream.shared().page_size().lock_page();
        match (number, buf.len()) {
            (_, 4) => {
                self.number = Some(number_before(buf, offset));
                return self.stream.write_later(medium, buf, offset);
            }
            (Some((at, number)), len) if at == offset && len == page && number != name => {
                return self.write_page(medium, main, number, buf, offset);
            }
            // The header of the part of the journal that SQLite syncs next.
            _ if is_header => {
                self.header_at = offset;
                // In this mode nothing is ever synced.
                self.unsynced = buf[MAGIC.len()..][..4] == NO_SYNC;
                self.stream.write(medium, buf, offset)?;
                return self.write_free(medium, main);
            }
            _ => (),
        }
        self.stream.write(medium, buf, offset)
    }

    fn write_page(
        &mut self,
        medium: &mut dyn Medium,
        main: &mut Main<'_>,
        number: u64,
        page: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        let usable = &page[..page.len() - TRAILER_LEN];
        self.image.clear();
        self.image.extend_from_slice(usable);
        let trailer = main.file.trailer_of(main.medium, number)?;
        self.image.extend_from_slice(&trailer);
        self.stream.write_later(medium, &self.image, offset)?;
        match main.file.journaled(main.medium, number, usable)? {
            true => self.write_free(medium, main),
            false => Ok(()),
        }
    }

    /// Says which free pages the transaction may use again, and what they add to the sum of all pages, in
    /// bytes of the journal's header that SQLite does not look at.
    fn write_free(&mut self, medium: &mut dyn Medium, main: &Main<'_>) -> Result<(), Code> {
        let free = main.file.free();
        if free.trunks == 0 {
            return Ok(());
        }
        self.free_synced = false;
        self.stream
            .write(medium, &free.to_bytes(), self.header_at + FREE_AT)
    }

    /// Before a free page is written over, of which no record is in the journal and so none is synced: what
    /// is said of it is on the disk.
    pub(super) fn sync_free(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        if !self.free_synced && !self.unsynced {
            self.stream.write_out(medium)?;
            medium.sync()?;
            self.free_synced = true;
        }
        Ok(())
    }

    /// Told when SQLite has synced the journal.
    pub(super) fn synced(&mut self) {
        self.free_synced = true;
    }

    /// Hands the records that wait in memory to the medium.
    pub(super) fn write_out(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        self.stream.write_out(medium)
    }

    /// The transaction is over. Records that could not be written are of pages that were not changed,
    /// and must not get into a journal that another connection writes.
    pub(super) fn end(&mut self, medium: &mut dyn Medium) {
        let _ = self.stream.write_out(medium);
        self.stream.let_go();
    }

    /// The length that SQLite sees.
    pub(super) fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        self.stream.len(medium)
    }

    /// Cuts to the length that SQLite sees.
    pub(super) fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
        self.stream.truncate(medium, len)
    }
}

/// A number, and where it ends.
fn number_before(buf: &[u8], offset: u64) -> (u64, u64) {
    let number = u32::from_be_bytes(buf.try_into().expect("4 bytes"));
    (offset + 4, number.into())
}
