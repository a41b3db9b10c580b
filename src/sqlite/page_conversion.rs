//! What a conversion that is under way means for the pages of a main file.

use super::Conversion;
use super::medium::{Code, Medium};
use super::page_file::{PageFile, page_offset, pages_of};
use super::side::Side;
use super::tracker;
use super::unit::TRAILER_LEN;

impl PageFile {
    /// Fails when the key may not be used now. Takes in what the header says by now.
    pub(super) fn check(&mut self) -> Result<(), Code> {
        self.units.check()?;
        let shared = self.units.shared();
        let changes = shared.changes();
        if changes != self.changes {
            let facts = shared.facts();
            self.conversion = facts.conversion;
            self.tracker = match facts.fresh {
                true => Some(self.tracker.take().unwrap_or_default()),
                false => None,
            };
            (self.side, self.first, self.known_pages) = (None, None, 0);
            self.changes = changes;
        }
        Ok(())
    }

    /// The plain file that this one is converted from, or to.
    pub(super) fn side(&mut self) -> Result<&mut Side, Code> {
        let side = match self.side.take() {
            Some(side) => side,
            None => Side::open(self.units.shared(), self.conversion)?,
        };
        Ok(self.side.insert(side))
    }

    /// Reads a page that is plain, while the file is converted from or to a plain one: `sealed` holds
    /// what lies in its place here. `false` when it is sealed.
    pub(super) fn read_plain(&mut self, number: u64, plain: &mut [u8]) -> Result<bool, Code> {
        let read = match self.conversion {
            Conversion::Encryption if is_hole(&self.sealed) => self.side()?.read(number, plain)?,
            Conversion::Decryption => self.side()?.read(number, plain)?,
            _ => false,
        };
        if read {
            let trailer = self.sealed.len() - TRAILER_LEN;
            self.sealed[trailer..].fill(0);
        }
        Ok(read)
    }

    /// Syncs the plain file that is made, which pages are written to.
    pub(super) fn sync_side(&mut self) -> Result<(), Code> {
        match self.conversion {
            Conversion::Decryption => self.side()?.sync(),
            _ => Ok(()),
        }
    }

    /// Whether page `number` is as the conversion that is under way leaves it.
    pub(super) fn is_converted(
        &mut self,
        medium: &mut dyn Medium,
        number: u64,
    ) -> Result<bool, Code> {
        if number == self.units.shared().page_size().lock_page() {
            return Ok(true);
        }
        match self.conversion {
            Conversion::Decryption => self.side()?.has(number),
            _ => {
                let id = tracker::id_at(&self.units, medium, number)?;
                Ok(id.is_some_and(|id| self.units.is_of_newest_key(&id)))
            }
        }
    }

    /// Pages of the database.
    pub(super) fn pages(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        match self.conversion {
            Conversion::Decryption => self.side()?.pages(),
            _ => Ok(pages_of(medium.len()?, self.plain.len())),
        }
    }

    /// Has the database have so many pages, where that is not more.
    pub(super) fn set_pages(&mut self, medium: &mut dyn Medium, count: u64) -> Result<(), Code> {
        match self.conversion {
            Conversion::Decryption => self.side()?.set_pages(count),
            _ => medium.set_len(page_offset(count + 1, self.plain.len())),
        }
    }

    /// Cuts off what lies behind page `last`, the last one of the database, unless the freshness record
    /// counts it. Called while nobody reads or writes, and the log holds nothing.
    pub(super) fn cut_rest(&mut self, medium: &mut dyn Medium, last: u64) -> Result<(), Code> {
        let counted = match self.tracker {
            Some(_) => tracker::newest(&mut self.units, medium)?.now.count,
            None => 0,
        };
        match counted.max(last) < self.pages(medium)? {
            true => self.set_pages(medium, last.max(counted)),
            false => Ok(()),
        }
    }
}

/// Whether nothing was sealed yet in this place of a file that is made from a plain one.
fn is_hole(sealed: &[u8]) -> bool {
    sealed.ends_with(&[0; TRAILER_LEN])
}
