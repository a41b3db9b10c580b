//! Keeps the freshness record of a main file while pages of it are written.
//!
//! Over 400 lines because a transaction's pages, its journal and the free pages are counted into one record.

use std::collections::{BTreeSet, HashSet};

use super::medium::{Code, Medium};
use super::page_file::trailer_offset;
use super::record::{Pages, Record, Stage};
use super::unit::{ID_LEN, UnitId, Units};

/// Follows one connection's writes to the main file. SQLite's locks let one connection write at a
/// time, and each begins with the record that the last one left.
#[derive(Default)]
pub(super) struct Tracker {
    transaction: Option<Transaction>,
    /// The version to which a journal leads back that another connection left and that is being
    /// played back.
    restoring: Option<u64>,
    /// The database's size in pages, as page 1 said when it was last written.
    pub size_field: Option<u32>,
    /// What the journal says of free pages.
    free: FreePages,
}

/// Entries for which what follows transactions and checkpoints keeps room from one to the next, so that they allocate nothing.
pub(super) const ROOM: usize = 4096;

/// What a journal says of the free pages that its transaction may use again. SQLite writes over them
/// without a word in the journal, since what they hold is of no use to anyone; so a journal leads back to
/// all pages but these. After it was played back they are counted by what the file holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Free {
    /// They are the leaves of so many trunks of the list of free pages (SQLite's file format, section 1.5),
    /// from the first one on.
    pub trunks: u64,
    /// What they added to the sum of all pages before the transaction.
    pub sum: u128,
}

impl Free {
    pub(super) const LEN: usize = 24;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.sum.to_le_bytes());
        bytes[16..].copy_from_slice(&self.trunks.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            sum: u128::from_le_bytes(bytes[..16].try_into().expect("16 bytes")),
            trunks: u64::from_le_bytes(bytes[16..].try_into().expect("8 bytes")),
        }
    }
}

/// The free pages of a transaction whose journal is written.
#[derive(Default)]
struct FreePages {
    told: Free,
    /// The trunk after the last one; 0 for none.
    next: u64,
    leaves: HashSet<u64>,
}

impl FreePages {
    /// The set keeps its room, so that the next transaction allocates none; but not that of a huge one.
    fn forget(&mut self) {
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.clear();
        leaves.shrink_to(ROOM);
        *self = Self {
            leaves,
            ..Self::default()
        };
    }
}

/// The trunk after this one, and its leaves.
pub(super) fn trunk(image: &[u8]) -> (u64, impl Iterator<Item = u64>) {
    let most = image.len() / 4 - 2;
    let count = usize::try_from(number(image, 4)).map_or(most, |count| count.min(most));
    let leaves = (0..count).map(|n| number(image, 8 + 4 * n));
    (number(image, 0), leaves)
}

/// The first trunk, as page 1 says.
pub(super) fn first_trunk(image: &[u8]) -> u64 {
    number(image, 32)
}

fn number(image: &[u8], at: usize) -> u64 {
    let bytes = image[at..at + 4].try_into().expect("4 bytes");
    u64::from(u32::from_be_bytes(bytes))
}

struct Transaction {
    record: Record,
    base_version: u64,
    base: Pages,
    pages: Pages,
    changed: bool,
    /// The record that says that it is committing is on the disk, and what it counts.
    synced: bool,
}

/// A transaction that is over.
pub(super) struct Ended {
    /// Says so, once it is written.
    pub record: Record,
    /// Whether it is on the disk.
    pub synced: bool,
}

impl Tracker {
    /// A new journal begins. The transaction before was rolled back, when it is still known, by a connection
    /// that keeps its lock.
    pub(super) fn begin_journal(&mut self) {
        self.let_go();
        self.free.forget();
    }

    /// This page goes into the journal, as it was before the transaction. Whether [`Tracker::free`] has
    /// changed by that.
    pub(super) fn journaled(
        &mut self,
        units: &mut Units,
        medium: &mut dyn Medium,
        page: u64,
        image: &[u8],
    ) -> Result<bool, Code> {
        let free = &mut self.free;
        if page == 1 {
            free.next = first_trunk(image);
            return Ok(false);
        }
        if page != free.next {
            return Ok(false);
        }
        let (next, leaves) = trunk(image);
        for leaf in leaves {
            if free.leaves.insert(leaf)
                && leaf > 0
                && let Some(id) = id_at(units, medium, leaf)?
            {
                let summand = units.summand(leaf, &id)?;
                free.told.sum = free.told.sum.wrapping_add(summand);
            }
        }
        free.next = next;
        free.told.trunks += 1;
        Ok(true)
    }

    /// What the journal says of free pages.
    pub(super) fn free(&self) -> Free {
        self.free.told
    }

    /// Whether this page is one of them.
    pub(super) fn is_free(&self, page: u64) -> bool {
        self.free.leaves.contains(&page)
    }

    /// A journal is played back, which says this of the free pages. It leads to what was counted
    /// before, unless the transaction is this connection's own and its changes are known.
    pub(super) fn restores(&mut self, version: u64, free: Free) {
        if self.transaction.is_none() && self.restoring.is_none() {
            self.restoring = Some(version);
            self.free.forget();
        }
        self.restores_more(free);
    }

    /// The journal that is played back says this of the free pages, further on.
    pub(super) fn restores_more(&mut self, free: Free) {
        if self.restoring.is_some() && free.trunks > 0 {
            self.free.told = free;
        }
    }

    /// Before the first change of a transaction: reads the record, and marks it as open.
    pub(super) fn begin(&mut self, units: &mut Units, medium: &mut dyn Medium) -> Result<(), Code> {
        if self.transaction.is_some() {
            return Ok(());
        }
        let mut record = newest(units, medium)?;
        let (base_version, base) = match record.stage {
            _ if self.restoring == Some(record.base_version) => (record.base_version, record.base),
            Stage::Open => (record.version, record.base),
            Stage::Settled | Stage::Committing => (record.version, record.now),
        };
        if self.restoring.is_none() {
            record = Record {
                stage: Stage::Open,
                base_version,
                base,
                ..record.settled(base_version, base)
            };
            record.write(units, medium)?;
        }
        self.size_field = None;
        self.transaction = Some(Transaction {
            record,
            base_version,
            base,
            pages: base,
            changed: false,
            synced: false,
        });
        Ok(())
    }

    /// How many pages are counted; none outside a transaction.
    pub(super) fn count(&self) -> u64 {
        self.transaction.as_ref().map_or(0, |t| t.pages.count)
    }

    /// Whether a journal that another connection left is being played back.
    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// The transaction whose changes are counted. What a journal brings back is not: it leads to
    /// what was counted before.
    fn changing(&mut self) -> Option<&mut Transaction> {
        let restoring = self.restoring.is_some();
        self.transaction.as_mut().filter(|_| !restoring)
    }

    /// Page `page` was written as `new`; `old` is what the file held there before, when it was counted.
    pub(super) fn wrote(
        &mut self,
        units: &mut Units,
        page: u64,
        old: Option<UnitId>,
        new: &UnitId,
    ) -> Result<(), Code> {
        let Some(transaction) = self.changing() else {
            return Ok(());
        };
        if let Some(old) = old {
            transaction.pages.remove(units, page, &old)?;
        }
        transaction.pages.add(units, page, new)?;
        transaction.pages.count = transaction.pages.count.max(page);
        transaction.changed = true;
        Ok(())
    }

    /// The file is about to be cut to `count` pages.
    pub(super) fn cut(
        &mut self,
        units: &mut Units,
        medium: &mut dyn Medium,
        count: u64,
    ) -> Result<(), Code> {
        let Some(transaction) = self.changing() else {
            return Ok(());
        };
        let mut pages = transaction.pages;
        if count < pages.count {
            let cut = count + 1..=pages.count;
            remove_held(&mut pages, units, medium, cut)?;
            pages.count = count;
            transaction.pages = pages;
            transaction.changed = true;
        }
        Ok(())
    }

    /// All pages of the transaction are written and are about to be synced. `freed` are those of which a
    /// journal that was played back speaks as free.
    pub(super) fn commit(
        &mut self,
        units: &mut Units,
        medium: &mut dyn Medium,
        freed: BTreeSet<u64>,
    ) -> Result<(), Code> {
        // SQLite cuts the file after the commit: what goes then is not counted from now on.
        if let Some(size) = self.size_field {
            self.cut(units, medium, size.into())?;
        }
        let Some(transaction) = self
            .transaction
            .as_mut()
            .filter(|t| t.changed || self.restoring.is_some())
        else {
            return Ok(());
        };
        if self.restoring.is_some() {
            let mut pages = transaction.base;
            pages.sum = pages.sum.wrapping_sub(self.free.told.sum);
            let count = transaction.base.count;
            let freed = freed.into_iter().filter(|page| (1..=count).contains(page));
            add_held(&mut pages, units, medium, freed)?;
            transaction.pages = pages;
        }
        let next = transaction.record.version + 1;
        transaction.record = Record {
            stage: Stage::Committing,
            base_version: transaction.base_version,
            base: transaction.base,
            ..transaction.record.settled(next, transaction.pages)
        };
        transaction.changed = false;
        transaction.synced = false;
        transaction.record.write(units, medium)
    }

    /// What was written is on the disk. `true` when that is a transaction that is committing: until its
    /// journal is gone it may be undone.
    pub(super) fn synced(&mut self) -> bool {
        let committing = |t: &&mut Transaction| t.record.stage == Stage::Committing;
        match self.transaction.as_mut().filter(committing) {
            Some(transaction) => {
                transaction.synced = true;
                true
            }
            None => false,
        }
    }

    /// The lock goes, or a new journal begins.
    pub(super) fn let_go(&mut self) {
        self.restoring = None;
        self.transaction = None;
    }

    /// The transaction is committed, and its journal gone; returns one that changed something.
    pub(super) fn end(&mut self) -> Option<Ended> {
        self.restoring = None;
        let Transaction { record, synced, .. } = self.transaction.take()?;
        if record.stage != Stage::Committing {
            return None;
        }
        Some(Ended {
            record: record.settled(record.version, record.now),
            synced,
        })
    }

    /// The versions that a journal may lead back to, the likelier one first.
    pub(super) fn journal_versions(
        &self,
        units: &mut Units,
        medium: &mut dyn Medium,
    ) -> Result<[u64; 2], Code> {
        match &self.transaction {
            Some(t) => Ok([t.base_version, t.record.version]),
            None => {
                let record = newest(units, medium)?;
                Ok(match record.stage {
                    Stage::Committing if !units.shared().has_ended(record.version)? => {
                        [record.version, record.base_version]
                    }
                    _ => [record.version; 2],
                })
            }
        }
    }
}

/// The newest record, without which nothing may be written.
pub(super) fn newest(units: &mut Units, medium: &mut dyn Medium) -> Result<Record, Code> {
    match Record::read(units, medium)? {
        Some(record) => Ok(record),
        None => Err(units
            .shared()
            .refuse(Code::UNAUTHENTIC, "no freshness record is authentic")),
    }
}

/// The identity of the page that the file holds as `page`; `None` past its end.
pub(super) fn id_at(
    units: &Units,
    medium: &mut dyn Medium,
    page: u64,
) -> Result<Option<UnitId>, Code> {
    let size = units.shared().page_size().bytes();
    let mut id = [0; ID_LEN];
    let there = medium.read_at(&mut id, trailer_offset(page, size))?;
    Ok((there == ID_LEN).then_some(id))
}

/// Counts what the file holds as these pages, in ascending order, up to its end.
pub(super) fn add_held(
    pages: &mut Pages,
    units: &mut Units,
    medium: &mut dyn Medium,
    numbers: impl Iterator<Item = u64>,
) -> Result<(), Code> {
    for page in numbers {
        let Some(id) = id_at(units, medium, page)? else {
            break;
        };
        pages.add(units, page, &id)?;
    }
    Ok(())
}

/// Counts what the file holds as these pages, in ascending order, no more.
pub(super) fn remove_held(
    pages: &mut Pages,
    units: &mut Units,
    medium: &mut dyn Medium,
    numbers: impl Iterator<Item = u64>,
) -> Result<(), Code> {
    for page in numbers {
        let Some(id) = id_at(units, medium, page)? else {
            break;
        };
        pages.remove(units, page, &id)?;
    }
    Ok(())
}
