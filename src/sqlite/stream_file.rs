use std::sync::Arc;

use super::medium::{Code, Medium};
use super::shared::Shared;
use super::unit::{Place, TRAILER_LEN, UnitKind, Units};

/// A file that SQLite writes at any byte: rollback journals, super-journals, temporary files. It
/// is cut into chunks, each sealed with its index and length; the last may be shorter.
///
/// A journal's chunk is 512 bytes: SQLite starts each header of a journal on a sector of that
/// size and never rewrites a synced sector that holds records, so a torn chunk never takes synced
/// records with it. What is written may wait in memory: of a temporary file always, of a journal
/// where it is said so.
pub(super) struct StreamFile {
    units: Units,
    kind: UnitKind,
    chunk: usize,
    /// One chunk as it is on the medium.
    sealed: Vec<u8>,
    /// The plain bytes of one chunk, and which.
    plain: Vec<u8>,
    held: Option<Held>,
    /// The length that SQLite sees, as far as this handle knows.
    end: Option<u64>,
    /// Sealed chunks that go to the medium in one write.
    stage: Vec<u8>,
    stage_at: u64,
    /// Whether others may look at the file: a journal, which outlives this handle.
    write_through: bool,
    /// The versions of the main file that a rollback journal may lead back to; the first one is
    /// what it is written for.
    versions: [u64; 2],
    /// Which of them the chunk that was read last leads back to.
    leads_to: u64,
}

struct Held {
    index: u64,
    len: usize,
    dirty: bool,
}

/// Bytes that are staged at most.
const STAGE_LEN: usize = 64 * 1024;
pub(super) const JOURNAL_CHUNK: usize = 512;
const TEMPORARY_CHUNK: usize = 4096;

impl StreamFile {
    /// A rollback journal or super-journal.
    pub(super) fn journal(shared: Arc<Shared>, kind: UnitKind) -> Self {
        Self::new(shared, kind, JOURNAL_CHUNK, true)
    }

    /// A temporary file under a key of its own, which is gone when it is closed.
    pub(super) fn temporary() -> Self {
        let shared = Shared::temporary();
        Self::new(shared, UnitKind::Temporary, TEMPORARY_CHUNK, false)
    }

    fn new(shared: Arc<Shared>, kind: UnitKind, chunk: usize, write_through: bool) -> Self {
        Self {
            units: Units::new(shared, kind),
            kind,
            chunk,
            sealed: vec![0; chunk + TRAILER_LEN],
            plain: vec![0; chunk],
            held: None,
            end: None,
            stage: Vec::new(),
            stage_at: 0,
            write_through,
            versions: [0; 2],
            leads_to: 0,
        }
    }

    /// The version of the main file that the chunk that was read last leads back to.
    pub(super) fn leads_to(&self) -> u64 {
        self.leads_to
    }

    /// The journal is looked at anew: it leads back to one of these versions of the main file.
    pub(super) fn lead_back_to(&mut self, versions: [u64; 2]) {
        self.held = None;
        self.versions = versions;
    }

    pub(super) fn shared(&self) -> &Shared {
        self.units.shared()
    }

    /// Where chunk `index` belongs, when the journal leads back to `version`.
    fn place(&self, index: u64, version: u64) -> Place {
        match self.kind {
            UnitKind::Journal => Place::journal(index, version),
            kind => Place::new(kind, index),
        }
    }

    fn stride(&self) -> u64 {
        (self.chunk + TRAILER_LEN) as u64
    }

    /// Plain bytes that a medium of `len` bytes holds.
    fn plain_len(&self, len: u64) -> u64 {
        let rest = len % self.stride();
        len / self.stride() * self.chunk as u64 + rest.saturating_sub(TRAILER_LEN as u64)
    }

    fn current_len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        match self.end {
            Some(end) => Ok(end),
            None => Ok(self.plain_len(medium.len()?)),
        }
    }

    /// Seals what is held, when it changed, and stages it.
    fn flush(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        let Some(&Held { index, len, .. }) = self.held.as_ref().filter(|held| held.dirty) else {
            return Ok(());
        };
        let plain = std::mem::take(&mut self.plain);
        let staged = self.stage_chunk(medium, index, &plain[..len]);
        self.plain = plain;
        staged?;
        if let Some(held) = &mut self.held {
            held.dirty = false;
        }
        Ok(())
    }

    fn stage_chunk(
        &mut self,
        medium: &mut dyn Medium,
        index: u64,
        plain: &[u8],
    ) -> Result<(), Code> {
        let offset = index * self.stride();
        let follows = self.stage_at + self.stage.len() as u64 == offset;
        if !follows || self.stage.len() >= STAGE_LEN {
            self.write_stage(medium)?;
            self.stage_at = offset;
        }
        let from = self.stage.len();
        self.stage.resize(from + plain.len() + TRAILER_LEN, 0);
        let place = self.place(index, self.versions[0]);
        self.units
            .seal(place, plain, &mut self.stage[from..])
            .inspect_err(|_| self.stage.truncate(from))
    }

    fn write_stage(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        if !self.stage.is_empty() {
            medium.write_at(&self.stage, self.stage_at)?;
            self.stage.clear();
        }
        Ok(())
    }

    /// Hands all that was written to the medium. What fails stays, and is tried again.
    pub(super) fn write_out(&mut self, medium: &mut dyn Medium) -> Result<(), Code> {
        self.flush(medium)?;
        self.write_stage(medium)
    }

    /// Others may write the file from now on: what this handle has not written, it never will.
    pub(super) fn let_go(&mut self) {
        self.held = None;
        self.end = None;
        self.stage.clear();
    }

    /// Brings chunk `index` into `self.plain`.
    fn hold(&mut self, medium: &mut dyn Medium, index: u64) -> Result<(), Code> {
        if matches!(&self.held, Some(held) if held.index == index) {
            return Ok(());
        }
        self.flush(medium)?;
        self.held = None;
        let mut plain = std::mem::take(&mut self.plain);
        let opened = self.open_chunk(medium, index, &mut plain);
        self.plain = plain;
        self.held = Some(Held {
            index,
            len: opened?,
            dirty: false,
        });
        Ok(())
    }

    /// Opens chunk `index`, which is not held, into `plain`, with zeros behind it; returns its length. A
    /// chunk that is not there is empty. A journal's chunk that is not authentic reads as zeros:
    /// SQLite's own checks end the playback there, as after a torn write.
    fn open_chunk(
        &mut self,
        medium: &mut dyn Medium,
        index: u64,
        plain: &mut [u8],
    ) -> Result<usize, Code> {
        let offset = index * self.stride();
        if (self.stage_at..self.stage_at + self.stage.len() as u64).contains(&offset) {
            self.write_stage(medium)?;
        }
        let there = match self.end {
            Some(end) if end <= index * self.chunk as u64 => 0,
            _ => medium.read_at(&mut self.sealed, offset)?,
        };
        let len = there.saturating_sub(TRAILER_LEN);
        plain[len..].fill(0);
        if len > 0 {
            let [version, other] = self.versions;
            let place = self.place(index, version);
            let sealed = &self.sealed[..len + TRAILER_LEN];
            let mut authentic = self.units.open(place, sealed, &mut plain[..len])?;
            self.leads_to = version;
            if !authentic && other != version {
                let place = self.place(index, other);
                authentic = self.units.open(place, sealed, &mut plain[..len])?;
                self.leads_to = other;
            }
            if !authentic && self.kind == UnitKind::Temporary {
                let why = "a temporary file is not authentic";
                return Err(self.units.shared().refuse(Code::UNAUTHENTIC, why));
            }
        }
        Ok(len)
    }

    /// Writes `bytes` at `within` of chunk `index`.
    fn put(
        &mut self,
        medium: &mut dyn Medium,
        index: u64,
        within: usize,
        bytes: &[u8],
    ) -> Result<(), Code> {
        if bytes.len() == self.chunk {
            if matches!(&self.held, Some(held) if held.index != index) {
                self.flush(medium)?;
            }
            self.stage_chunk(medium, index, bytes)?;
            self.held = None;
            return Ok(());
        }
        self.hold(medium, index)?;
        let end = within + bytes.len();
        let len = self.held.as_ref().map_or(0, |h| h.len).max(end);
        self.plain[within..end].copy_from_slice(bytes);
        self.held = Some(Held {
            index,
            len,
            dirty: true,
        });
        if len == self.chunk {
            self.flush(medium)?;
        }
        Ok(())
    }

    /// SQLite may leave a gap between what it wrote and a new header: the gap is sealed as zeros.
    /// The chunk before it is sealed anew, and may hold the end of a record that SQLite has synced:
    /// it is synced again before SQLite changes the page that this record brings back.
    fn fill_gap(&mut self, medium: &mut dyn Medium, offset: u64) -> Result<(), Code> {
        let mut at = self.current_len(medium)?;
        if at >= offset {
            return Ok(());
        }
        let within_chunk = !at.is_multiple_of(self.chunk as u64);
        let zeros = vec![0; self.chunk];
        while at < offset {
            let within = (at % self.chunk as u64) as usize;
            let count = (self.chunk - within).min((offset - at).min(self.chunk as u64) as usize);
            self.put(medium, at / self.chunk as u64, within, &zeros[..count])?;
            at += count as u64;
        }
        if self.write_through && within_chunk {
            self.write_out(medium)?;
            medium.sync()?;
        }
        Ok(())
    }

    /// Fills `buf` from `offset`. Past the end: zeros and [`Code::SHORT_READ`].
    pub(super) fn read(
        &mut self,
        medium: &mut dyn Medium,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.units.check()?;
        if self.write_through {
            // Another process may have written it since.
            self.write_out(medium)?;
            self.end = None;
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (index, within) = (at / self.chunk as u64, (at % self.chunk as u64) as usize);
            let rest = &mut buf[done..];
            let is_held = matches!(&self.held, Some(held) if held.index == index);
            let count = if within == 0 && rest.len() >= self.chunk && !is_held {
                self.open_chunk(medium, index, &mut rest[..self.chunk])?
            } else {
                self.hold(medium, index)?;
                let there = self.held.as_ref().map_or(0, |h| h.len);
                let count = there.saturating_sub(within).min(rest.len());
                rest[..count].copy_from_slice(&self.plain[within..within + count]);
                count
            };
            if count == 0 {
                rest.fill(0);
                return Err(Code::SHORT_READ);
            }
            done += count;
        }
        if self.write_through {
            // Another process may write a journal between two reads of this one.
            self.held = None;
        }
        Ok(())
    }

    /// Writes `buf` at `offset`; sealed bytes have reached the medium on return, except in
    /// temporary files. What was to be written later goes with them.
    pub(super) fn write(
        &mut self,
        medium: &mut dyn Medium,
        buf: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.write_later(medium, buf, offset)?;
        match self.write_through {
            true => self.write_out(medium),
            false => Ok(()),
        }
    }

    /// The same, but it may wait in memory for [`StreamFile::write_out`].
    pub(super) fn write_later(
        &mut self,
        medium: &mut dyn Medium,
        buf: &[u8],
        offset: u64,
    ) -> Result<(), Code> {
        self.units.check()?;
        if offset == 0 && self.write_through {
            // A new journal, perhaps after another process's.
            self.write_out(medium)?;
            self.end = None;
        }
        self.fill_gap(medium, offset)?;
        let end = self.current_len(medium)?;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let within = (at % self.chunk as u64) as usize;
            let count = (self.chunk - within).min(buf.len() - done);
            let bytes = &buf[done..done + count];
            self.put(medium, at / self.chunk as u64, within, bytes)?;
            done += count;
        }
        self.end = Some(end.max(offset + buf.len() as u64));
        Ok(())
    }

    /// The length that SQLite sees.
    pub(super) fn len(&mut self, medium: &mut dyn Medium) -> Result<u64, Code> {
        if self.write_through {
            self.write_out(medium)?;
            self.end = None;
        }
        self.current_len(medium)
    }

    /// Cuts to the length that SQLite sees.
    pub(super) fn truncate(&mut self, medium: &mut dyn Medium, len: u64) -> Result<(), Code> {
        if len >= self.current_len(medium)? {
            return Ok(());
        }
        let (index, rest) = (len / self.chunk as u64, (len % self.chunk as u64) as usize);
        self.write_out(medium)?;
        self.end = Some(len);
        if rest == 0 {
            self.held = self.held.take().filter(|held| held.index < index);
            return medium.set_len(index * self.stride());
        }
        self.units.check()?;
        self.hold(medium, index)?;
        self.held = Some(Held {
            index,
            len: rest,
            dirty: true,
        });
        self.plain[rest..].fill(0);
        medium.set_len(index * self.stride())?;
        self.write_out(medium)
    }
}
